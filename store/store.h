/* What the server remembers, shaped like etcd: keys (bytes) with values (JSON text), one number per
 * transaction, compare-and-write, ordered watches, leases. sqlite.c is the engine; nothing above it
 * needs SQL, so that a second engine fits behind the same face.
 *
 * Flow:      cmd/server opens it; revision.c, registry.c and ledger.c keep their records in it.
 * Ownership: struct store is opened and closed by its owner. Results are copied into the caller's
 *            arena. A transaction copies the keys and values it is given.
 * Errors:    ERR_FULL: no room on the disk, nothing was changed. ERR_IO: the database could not be
 *            read or written, nothing was changed. ERR_INVALID: a transaction against the rules.
 *            ERR_LIMIT: over the bounds below. ERR_MISSING from store_watch_open: the seq asked for
 *            was compacted. ERR_UNSUPPORTED from store_open: written by a newer weft.
 *            What returned 0 is on the disk (fsync) and survives kill -9.
 * Threads:   one owner, the control thread. Callbacks run on it.
 * Limits:    STORE_TXN_OPS, STORE_TXN_BYTES (etcd's, enforced on every engine), STORE_LOG_KEEP.
 * Units:     *_ms milliseconds; seq counts transactions from 1.
 */
#pragma once

#include "mesh/base/arena.h"
#include "mesh/base/err.h"
#include "mesh/base/str.h"

#define STORE_TXN_OPS   128u /* compares, and again operations, of one transaction */
#define STORE_TXN_BYTES ((1u << 20) * 3u / 2u) /* keys and values of one transaction: 1.5 MiB */
#define STORE_KEY_BYTES 1024u                  /* of a key */
#define STORE_LOG_KEEP  10000 /* transactions that a late watcher can still replay */

struct store;
struct store_watch;

/* Makes the database (file mode 0600), which must not exist. */
struct store *store_create(const char *path, struct err *err);
/* Opens it and migrates it, after an automatic copy beside it. Refuses a file that is missing,
 * empty, damaged, not weft's, from a newer weft, or open in another process. */
struct store *store_open(const char *path, struct err *err);
/* The database as it lies there, after a check of every page and index: it must exist and have this
 * program's schema, and nothing is made, migrated or repaired. For a look at a stopped server. */
struct store *store_open_whole(const char *path, struct err *err);
void store_close(struct store *s); /* NULL is fine */

int64_t store_seq(const struct store *s);       /* of the last transaction; 0 in an empty store */
int64_t store_compacted(const struct store *s); /* the log holds what is newer than this seq */
/* Names this history of the database: changes when a backup is restored, so that nobody takes its
 * lower numbers for old news. */
const char *store_epoch(const struct store *s);

/* ------------------------------------------------------------------ reading */

struct store_kv {
    struct str key, value;
    int64_t create_seq; /* transaction that made the key */
    int64_t mod_seq;    /* transaction that changed it last; 0: there is no such key */
    int64_t version;    /* changes since it was made, from 1 */
    int64_t lease;      /* 0 if none */
};

/* An absent key is not an error: out->mod_seq is 0. */
int store_get(struct store *s, struct str key, struct arena *a, struct store_kv *out,
              struct err *err);

struct store_range {
    struct str prefix;
    struct str after; /* only keys behind this one: the last key of the page before; may be empty */
    size_t limit;     /* 0: all */
    bool keys_only;   /* leave values empty */
    bool descending;  /* newest keys first; `after` then means before */
};

/* Keys in bytewise order. *more (may be NULL) says that the limit cut the answer. */
int store_list(struct store *s, const struct store_range *range, struct arena *a,
               struct store_kv **rows, size_t *count, bool *more, struct err *err);

/* ------------------------------------------------------------------ writing */

enum store_test { STORE_EXISTS, STORE_ABSENT, STORE_MOD_SEQ, STORE_VALUE };

struct store_compare {
    enum store_test test;
    struct str key, value; /* value: STORE_VALUE */
    int64_t mod_seq;       /* STORE_MOD_SEQ; 0 is true of an absent key */
};

enum store_op_kind { STORE_PUT, STORE_DELETE, STORE_DELETE_PREFIX };

struct store_op {
    enum store_op_kind kind;
    struct str key, value;
    int64_t lease; /* STORE_PUT: the key vanishes with this lease; 0 for none */
};

/* All compares must hold, then all operations happen, at one seq. As in etcd a key may be written
 * only once in a transaction. */
struct store_txn {
    struct arena arena;
    struct store_compare compares[STORE_TXN_OPS];
    struct store_op ops[STORE_TXN_OPS];
    size_t compare_count, op_count; /* beyond STORE_TXN_OPS: counted, and refused by store_commit */
    size_t bytes;
};

struct store_result {
    bool succeeded; /* the compares held */
    size_t failed;  /* if not: index of the first compare that did not hold */
    int64_t seq;    /* of this transaction; the current one if nothing changed */
};

void store_txn_init(struct store_txn *t);
void store_txn_done(struct store_txn *t);
void store_txn_clear(struct store_txn *t); /* empty, for use again */
void store_txn_if(struct store_txn *t, enum store_test test, struct str key); /* EXISTS or ABSENT */
void store_txn_if_seq(struct store_txn *t, struct str key, int64_t mod_seq);
void store_txn_if_value(struct store_txn *t, struct str key, struct str value);
void store_txn_put(struct store_txn *t, struct str key, struct str value);
void store_txn_put_leased(struct store_txn *t, struct str key, struct str value, int64_t lease);
void store_txn_delete(struct store_txn *t, struct str key); /* an absent key is fine */
void store_txn_delete_prefix(struct store_txn *t,
                             struct str prefix); /* one operation, as in etcd */

/* 0 with out->succeeded false if a compare did not hold: nothing was changed then. A transaction
 * that changes nothing (only deletes of absent keys) takes no seq. Watchers are called before this
 * returns, unless it was called from a watcher: then after that one returned. */
int store_commit(struct store *s, const struct store_txn *t, struct store_result *out,
                 struct err *err);

/* ----------------------------------------------------------------- watching */

struct store_event {
    bool deleted;
    struct str key, value; /* value is empty if deleted */
    int64_t seq;           /* of the transaction; mod_seq of a put */
    int64_t create_seq, version;
};

/* Called once per transaction that touched the prefix, in order of seq, none left out; on the
 * owner's thread, never nested. It may read, commit, open and close watches (its own too); events
 * are valid during the call only. */
typedef void store_watch_fn(void *arg, const struct store_event *events, size_t count, int64_t seq);

/* from_seq 0: what happens from now on. Otherwise first what happened at from_seq and later,
 * delivered before this returns (or, when called from a watcher, after that returns). ERR_MISSING
 * if part of it was compacted: list again, then watch from store_seq() + 1. */
struct store_watch *store_watch_open(struct store *s, struct str prefix, int64_t from_seq,
                                     store_watch_fn *fn, void *arg, struct err *err);
void store_watch_close(struct store_watch *w); /* NULL is fine; no call after this */

/* Forget the log up to and with `seq`, but not what a watch has still to hear of it. The store does
 * it by itself beyond STORE_LOG_KEEP. */
int store_compact(struct store *s, int64_t seq, struct err *err);

/* ------------------------------------------------------------------- leases */

/* now_ms is any clock that does not go back (loop_now_ms). Expiry lives in memory: after a restart
 * every lease gets its whole life again, as in etcd, counted from the first store_expire. */
int store_lease_grant(struct store *s, int64_t ttl_ms, int64_t now_ms, int64_t *id,
                      struct err *err);
int store_lease_keep(struct store *s, int64_t id, int64_t now_ms,
                     struct err *err);                                /* ERR_MISSING */
int store_lease_revoke(struct store *s, int64_t id, struct err *err); /* its keys go too */
/* Revoke what ran out. Returns through *next_ms (may be NULL) when to call again, or -1. */
int store_expire(struct store *s, int64_t now_ms, int64_t *next_ms, struct err *err);

/* -------------------------------------------------------------- maintenance */

/* A consistent copy while running, mode 0600. `path` must not exist. */
int store_backup(struct store *s, const char *path, struct err *err);
/* Makes the database `path`, which must not exist, from a backup, with a new epoch. */
int store_restore(const char *backup, const char *path, struct err *err);

/* For tests: no more than this many bytes, as if the disk were full there. 0 lifts it. */
int store_limit_bytes(struct store *s, int64_t bytes, struct err *err);
