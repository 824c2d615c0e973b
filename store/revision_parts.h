/* What the files of the configuration's revisions share; everybody else wants store/revision.h.
 *
 * Flow:      revision.c holds the head in memory and reads; revision_commit.c makes a new one;
 *            revision_history.c tells of old ones; revision_trim.c removes what nothing reaches.
 * Errors:    as in store/revision.h; a row that is missing or cannot be read is ERR_IO.
 */
#pragma once

#include "mesh/base/json.h"
#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "store/ledger.h"
#include "store/revision.h"
#include "store/revision_rows.h"
#include "store/row.h"
#include "store/store.h"

#define PAGES      256u
#define BATCH_OPS  100u
#define RECORD_MAX (1u << 29)
#define REF_MAX    64

struct revisions {
    struct store *store;
    struct revision_head head; /* values are struct object */
    char pages[PAGES][REF_MAX];
    int64_t head_seq; /* mod_seq of /head; 0 if there was no commit yet */
    struct store_watch *watch;
    struct commit *pending; /* becomes the head when the store says that it happened */
    bool stale;             /* another server committed and reading it failed */
    bool littered;          /* records of a failed commit could not be removed: no room, mostly */
};

/* ---- revision.c ---- */

unsigned revision_page_of(struct str key); /* 0 to PAGES - 1 */
/* A copy of it, in place of the one of that name. */
void revision_put_object(struct revision_head *head, const struct object *from);
int revision_compare_objects(const void *a, const void *b); /* for qsort */
struct str revision_obj_key(struct arena *a, struct str ref);
/* The text of a record, put together from its parts if it has any. */
int revision_read_record(struct store *s, const struct object *o, struct arena *a, struct str *out,
                         struct err *err);
/* ERR_MISSING: there is no such revision, or not any more. */
int revision_read_manifest(struct store *s, int64_t revision, struct arena *a, struct node **out,
                           struct err *err);
/* Every object of a revision; what fn sees is valid during the call. */
int revision_each_object(struct store *s, const struct node *manifest, object_fn *fn, void *arg,
                         struct err *err);
/* Memory as the store has it. On failure the old objects stay in view, but the pages may not:
 * nothing is committed until it has succeeded. */
int revision_load_head(struct revisions *r, struct err *err);
/* In the head; NULL if it is not there. */
struct object *revision_find_object(const struct revisions *r, struct str kind, struct str ns,
                                    struct str name);

/* ---- revision_commit.c ---- */

/* /head changed. Our own watch is the oldest on it, so that the head in memory is new before any
 * other watcher is called. */
void revision_on_head(void *arg, const struct store_event *events, size_t count, int64_t seq);
/* ERR_CONFLICT: the head is another. Reads it again first if it is stale. */
int revision_check_expected(struct revisions *r, int64_t expect_revision, struct err *err);
/* revision_commit without its limits, for what was within them once. `results` may be NULL. */
int revision_commit_any(struct revisions *r, const struct revision_change *changes, size_t count,
                        int64_t expect_revision, const struct ledger_audit *audit,
                        int64_t *revision, enum revision_result *results, struct err *err);

/* ---- revision_trim.c ---- */

/* Removes the records of commits that did not happen. */
int revision_sweep(struct store *s, struct err *err);
