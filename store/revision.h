/* Configuration history: one commit makes one revision, nothing is edited in place.
 *
 * A commit first writes immutable records under /obj/TXID/ in small batches, then, in one
 * transaction that compares /head, puts /head, /rev/N and the audit row. What no kept revision
 * reaches is not there: whatever a crash leaves behind is swept at the next open. A revision's
 * manifest is 256 pages, chosen by the hash of an object's key; unchanged pages are shared with the
 * revision before.
 *
 * Flow:      cmd/server/api.c commits; publish.c reads the head; both see one struct revisions.
 * Ownership: struct revisions owns the head in memory. Objects of the head are valid until the next
 *            commit or revert. Other results live in the caller's arena.
 * Errors:    ERR_CONFLICT: not the expected revision; ERR_MISSING: no such revision; ERR_INVALID:
 * the same object twice in a commit; ERR_LIMIT: over LIMIT_APPLY_*; ERR_FULL, ERR_IO as in store.h.
 * Nothing is changed then. Threads:   one owner, the control thread. Limits: LIMIT_APPLY_DOCUMENTS
 * changes, LIMIT_APPLY_BYTES of source and again of objects. Units:     *_ms wall clock
 * milliseconds. Revisions count from 1; 0 is the empty configuration.
 */
#pragma once

#include "mesh/base/arena.h"
#include "mesh/base/err.h"
#include "mesh/base/map.h"
#include "mesh/base/str.h"

#define REVISION_HEAD_KEY "/head" /* watch this key of the store to hear of commits */

struct store;
struct revisions;
struct ledger_audit;

struct revision_object {
    struct str kind, ns, name;
    struct str object; /* canonical JSON, without creationTimestamp and resourceVersion */
    struct str file;   /* where it was written, as given */
    unsigned line;
    int64_t created_ms; /* creationTimestamp: first apply; kept across changes */
    int64_t revision;   /* resourceVersion: the commit that changed it last */
    struct str ref;     /* where its record is: TXID/INDEX */
};

struct revision_change {
    struct str kind, ns, name;
    struct str object; /* canonical JSON; not looked at if deleted */
    struct str source; /* the bytes as written, UTF-8 */
    struct str file;
    unsigned line;
    bool deleted;
};

enum revision_result {
    REVISION_UNCHANGED,
    REVISION_CREATED,
    REVISION_CHANGED,
    REVISION_DELETED,
    REVISION_ABSENT, /* asked to delete what is not there */
};

/* Everything live, by revision_key(): "Kind/ns/name" -> struct revision_object. */
struct revision_head {
    int64_t revision;
    struct map objects;
};

struct revision_entry {
    int64_t revision;
    int64_t at_ms;
    struct str who, source, message; /* actor, address, words of the operator */
    size_t created, changed, deleted;
    size_t objects; /* live after it */
};

/* Loads the head and sweeps what an unfinished commit left; on a full disk, the next commit does.
 */
struct revisions *revision_open(struct store *store, struct err *err);
void revision_close(struct revisions *r); /* NULL is fine */

int64_t revision_current(const struct revisions *r);
const struct revision_head *revision_head(const struct revisions *r);
struct str revision_key(struct arena *a, struct str kind, struct str ns, struct str name);
const struct revision_object *revision_get(const struct revisions *r, struct str kind,
                                           struct str ns, struct str name); /* NULL if absent */
/* Sorted by kind, namespace, name. An empty kind or namespace means all. Returns the count. */
size_t revision_list(const struct revisions *r, struct str kind, struct str ns, struct arena *a,
                     const struct revision_object ***out);

/* What a commit would do, without doing it. `results` has room for `count`. True if any would
 * change. */
bool revision_preview(const struct revisions *r, const struct revision_change *changes,
                      size_t count, enum revision_result *results);

/* expect_revision -1: any. `audit` says when, who, from where and why (now_ms, actor, source,
 * message,
 * ...) and is written with the commit; its revision fields are filled in here. *revision is the new
 * one, or the current one if nothing changed: then there is no commit and no audit row. `results`
 * may be NULL. */
int revision_commit(struct revisions *r, const struct revision_change *changes, size_t count,
                    int64_t expect_revision, const struct ledger_audit *audit, int64_t *revision,
                    enum revision_result *results, struct err *err);

/* Commit the contents of an old revision as a new one. */
int revision_revert(struct revisions *r, int64_t to, int64_t expect_revision,
                    const struct ledger_audit *audit, int64_t *revision, struct err *err);

/* Newest first, those below `before` (0: from the newest). */
int revision_history(struct revisions *r, int64_t before, size_t limit, struct arena *a,
                     struct revision_entry **out, size_t *count, struct err *err);
int revision_find(struct revisions *r, int64_t revision, struct arena *a,
                  struct revision_entry *out, struct err *err);
/* All objects as they were, sorted by kind, namespace, name. */
int revision_at(struct revisions *r, int64_t revision, struct arena *a,
                struct revision_object **out, size_t *count, struct err *err);
/* The source bytes of an object of any revision. */
int revision_source(struct revisions *r, const struct revision_object *o, struct arena *a,
                    struct str *out, struct err *err);

/* Forget all but the newest `keep` revisions and what only they reach. */
int revision_trim(struct revisions *r, int64_t keep, struct err *err);

/* What a walk through everything found; for a store that nobody else has open. */
struct revision_health {
    int64_t first, head; /* revisions that are kept, 0, 0 if there are none */
    size_t objects;      /* live */
    size_t orphans;      /* commits that a crash cut short: no revision reaches them */
};

/* Reads every object of every kept revision, each once, and changes nothing. ERR_IO: the first one
 * that is missing or does not fit. */
int revision_check(struct store *store, struct revision_health *out, struct err *err);
