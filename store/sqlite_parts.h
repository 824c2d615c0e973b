/* What the files of the embedded engine share; everybody else wants store/store.h.
 *
 * Flow:      sqlite_open.c opens and checks; sqlite.c runs statements and reads; sqlite_txn.c
 *            collects what a transaction is to do and sqlite_write.c does it, with events for
 *            sqlite_watch.c; sqlite_lease.c ends keys, sqlite_copy.c makes and takes backups.
 * Errors:    from SQLite by db_failed, which tells a full disk, a lock and damage apart.
 * Threads:   one, the control thread.
 */
#pragma once

#include <sqlite3.h>

#include "mesh/base/mem.h"
#include "mesh/base/text.h"
#include "store/store.h"

#define PATH_BYTES 4096
#define THOROUGH   "PRAGMA integrity_check(1)"

enum statement {
    SQL_BEGIN,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_GET,
    SQL_LIST,
    SQL_LIST_DOWN,
    SQL_KEYS,
    SQL_KEYS_DOWN,
    SQL_LEASED,
    SQL_INSERT,
    SQL_UPDATE,
    SQL_DELETE,
    SQL_LOG,
    SQL_LOG_KEEP,
    SQL_LOG_TRIM,
    SQL_LOG_NEXT,
    SQL_LOG_READ,
    SQL_META_GET,
    SQL_META_SET,
    SQL_LEASES,
    SQL_LEASE_ADD,
    SQL_LEASE_DEL,
    SQL_COUNT
};

struct lease {
    int64_t id, ttl_ms;
    int64_t deadline_ms; /* -1: not known yet, counted from the next store_expire */
};

/* One transaction's events, or (replay set) what one new watcher has to be told first. */
struct batch {
    struct batch *next;
    struct arena arena;
    struct store_event *events;
    size_t count, cap;
    int64_t seq;
    uint64_t id;
    struct store_watch *replay;
    int64_t from_seq;
};

struct store_watch {
    struct store_watch *next;
    struct store *store;
    char *prefix;
    size_t prefix_bytes;
    store_watch_fn *fn;
    void *arg;
    uint64_t first_id; /* batches before this one belong to the replay, or to nobody */
    bool closed;
};

struct store {
    sqlite3 *db;
    sqlite3_stmt *statements[SQL_COUNT];
    int lock_fd;
    char *path;
    char epoch[TEXT_ULID_MAX];
    int64_t seq, compacted;
    struct lease *leases;
    size_t lease_count, lease_cap;
    struct store_watch *watches; /* in order of opening */
    struct batch *queue, **queue_end;
    uint64_t next_id;
    int64_t replay_seq; /* the log from here on is being read; INT64_MAX if not */
    bool delivering;
};

/* A write transaction under way. */
struct change {
    struct store *s;
    struct batch *batch;
    int64_t seq;    /* that this transaction gets if it changes something */
    size_t touched; /* keys */
};

/* ---- sqlite.c ---- */

/* The sentence for a result of SQLite that is no success. Always -1. */
int db_failed(sqlite3 *db, int rc, struct err *err);
/* Reset and without bindings: one use at a time. */
sqlite3_stmt *db_stmt(struct store *s, enum statement which);
/* Binding cannot fail but for lack of memory and for sizes that were bounded before. */
void db_bind_key(sqlite3_stmt *st, int at, struct str key);
void db_bind_value(sqlite3_stmt *st, int at, struct str value);
struct str db_column(sqlite3_stmt *st, int at); /* valid until the next step */
/* Run a statement that gives no rows. */
int db_run(struct store *s, sqlite3_stmt *st, struct err *err);
/* 1 row, 0 end, -1 failed. The end resets the statement. */
int db_next_row(struct store *s, sqlite3_stmt *st, struct err *err);
int db_begin(struct store *s, struct err *err);
void db_rollback(struct store *s); /* resets every statement */
int db_meta_set(struct store *s, const char *name, int64_t value, struct err *err);
int db_meta_get(struct store *s, const char *name, int64_t *out, struct err *err);
void db_take_row(sqlite3_stmt *st, struct arena *a, struct store_kv *out);

/* ---- sqlite_open.c ---- */

int db_exec(sqlite3 *db, const char *text, struct err *err);
/* The first column of the first row: as a number, and copied as text. Both may be NULL. */
int db_pragma(sqlite3 *db, const char *text, int64_t *out, char *copy, size_t copy_bytes,
              struct err *err);
/* The file is 0600 before SQLite sees it; SQLite gives its -wal and -shm the same mode. */
int db_make_file(const char *path, int flags, struct err *err);
int db_open(const char *path, int flags, sqlite3 **db, struct err *err);
/* Is it ours, and whole, as far as this PRAGMA looks? *version 0: an empty file. */
int db_check(sqlite3 *db, const char *how, int64_t *version, struct err *err);
/* As if it were another database: who watched the old one has to list again. */
int db_new_epoch(sqlite3 *db, struct err *err);

/* ---- sqlite_txn.c ---- */

const struct lease *db_find_lease(const struct store *s, int64_t id);
int db_check_txn(const struct store *s, const struct store_txn *t, struct err *err);
/* *held: whether the compare is true now. */
int db_test_compare(struct store *s, const struct store_compare *c, bool *held, struct err *err);

/* ---- sqlite_write.c ---- */

/* Texts are copied into the batch. */
void db_note_event(struct batch *b, struct store_event e);
struct batch *db_batch_new(void);
void db_batch_free(struct batch *b);
int db_delete_all(struct change *c, const struct store_kv *rows, size_t count, struct err *err);
/* Within a transaction of the caller's, who sets s->compacted when it is committed. */
int db_trim_log(struct store *s, int64_t upto, struct err *err);
void db_enqueue(struct store *s, struct batch *b); /* takes the batch */
/* Commit what the change did, or (rc not 0) undo it; tell the watchers. Takes the batch. */
int db_finish(struct change *c, int rc, struct err *err);
int db_start(struct store *s, struct change *c, struct err *err); /* ends with db_finish */

/* ---- sqlite_watch.c ---- */

/* Calls the watchers for all that is queued; from within one, nothing: the call above goes on. */
void db_deliver(struct store *s);
/* The log from here on is wanted by a replay, under way or queued. INT64_MAX if by none. */
int64_t db_replay_floor(const struct store *s);
