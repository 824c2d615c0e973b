/* The embedded engine of store.h.
 *
 * Table kv holds the present, table log what happened: one row per changed key, numbered by seq. A
 * log row carries no value while the key still has the one it was given; the value moves into the
 * log when the key is overwritten or deleted. So a 64 MiB configuration is stored once, and a late
 * watcher still sees every value in order.
 *
 * A commit notes its events in a batch; batches are queued and delivered after COMMIT. A commit
 * from within a callback only queues; the delivery loop further up the stack gets to it. Replays
 * queue the same way, which is what keeps every watcher's events in order.
 */
#include <sqlite3.h>

#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mesh/base/file.h"
#include "mesh/base/mem.h"
#include "mesh/base/text.h"
#include "store/migrate.h"

#define APPLICATION_ID  0x77656674 /* "weft" */
#define BUSY_TIMEOUT_MS 2000       /* a person's sqlite3 shell may hold a lock for a moment */
#define TRIM_EVERY      64         /* transactions between two trims of the log */
#define PATH_BYTES      4096
#define QUICK           "PRAGMA quick_check(1)" /* pages and rows; the other looks at indexes too */
#define THOROUGH        "PRAGMA integrity_check(1)"

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

#define ROW "key, value, create_seq, mod_seq, version, lease"
#define KEY "key, '', create_seq, mod_seq, version, lease"

static const char *const sql[SQL_COUNT] = {
    [SQL_BEGIN] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_GET] = "SELECT " ROW " FROM kv WHERE key = ?1",
    [SQL_LIST] = "SELECT " ROW " FROM kv WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3",
    [SQL_LIST_DOWN] =
        "SELECT " ROW " FROM kv WHERE key >= ?1 AND key < ?2 ORDER BY key DESC LIMIT ?3",
    [SQL_KEYS] = "SELECT " KEY " FROM kv WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3",
    [SQL_KEYS_DOWN] =
        "SELECT " KEY " FROM kv WHERE key >= ?1 AND key < ?2 ORDER BY key DESC LIMIT ?3",
    [SQL_LEASED] = "SELECT " KEY " FROM kv WHERE lease = ?1 AND lease <> 0",
    [SQL_INSERT] = "INSERT INTO kv (key, value, create_seq, mod_seq, version, lease) "
                   "VALUES (?1, ?2, ?3, ?3, 1, ?4)",
    [SQL_UPDATE] = "UPDATE kv SET value = ?2, mod_seq = ?3, version = version + 1, lease = ?4 "
                   "WHERE key = ?1",
    [SQL_DELETE] = "DELETE FROM kv WHERE key = ?1",
    [SQL_LOG] = "INSERT INTO log (seq, key, deleted, create_seq, version) "
                "VALUES (?1, ?2, ?3, ?4, ?5)",
    [SQL_LOG_KEEP] = "UPDATE log SET value = (SELECT value FROM kv WHERE key = ?1) "
                     "WHERE seq = ?2 AND key = ?1 AND NOT deleted",
    [SQL_LOG_TRIM] = "DELETE FROM log WHERE seq <= ?1",
    [SQL_LOG_NEXT] = "SELECT min(seq) FROM log WHERE seq >= ?1",
    [SQL_LOG_READ] = "SELECT l.key, coalesce(l.value, k.value, ''), l.deleted, l.create_seq, "
                     "l.version FROM log AS l LEFT JOIN kv AS k ON k.key = l.key "
                     "AND k.mod_seq = l.seq WHERE l.seq = ?1 ORDER BY l.id",
    [SQL_META_GET] = "SELECT value FROM meta WHERE name = ?1",
    [SQL_META_SET] = "INSERT INTO meta (name, value) VALUES (?1, ?2) "
                     "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    [SQL_LEASES] = "SELECT id, ttl_ms FROM lease",
    [SQL_LEASE_ADD] = "INSERT INTO lease (id, ttl_ms) VALUES (?1, ?2)",
    [SQL_LEASE_DEL] = "DELETE FROM lease WHERE id = ?1",
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

/* ------------------------------------------------------------------- errors */

/* errno of the last call that failed on the write-ahead log: SQLite keeps the system's number of a
 * failed COMMIT nowhere else. */
static int log_errno(sqlite3 *db)
{
    sqlite3_file *log = NULL;
    int e = 0;

    if (sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log) == SQLITE_OK && log &&
        log->pMethods && log->pMethods->xFileControl(log, SQLITE_FCNTL_LAST_ERRNO, &e) != SQLITE_OK)
        e = 0;
    return e;
}

/* A write that failed for another reason is no full disk: who frees space would wait for nothing.
 */
static bool no_room(sqlite3 *db, int rc)
{
    int e, last;

    if ((rc & 0xff) == SQLITE_FULL)
        return true;
    if ((rc & 0xff) != SQLITE_IOERR)
        return false;
    e = sqlite3_system_errno(db);
    last = log_errno(db);
    return e == ENOSPC || e == EDQUOT || last == ENOSPC || last == EDQUOT;
}

static int failed(sqlite3 *db, int rc, struct err *err)
{
    if (no_room(db, rc))
        return err_set(err, ERR_FULL,
                       "no room on the disk of the database: nothing was changed; free some space "
                       "and try again (%s)",
                       sqlite3_errmsg(db));
    if ((rc & 0xff) == SQLITE_BUSY || (rc & 0xff) == SQLITE_LOCKED)
        return err_set(err, ERR_IO,
                       "another program holds a lock on the database: close it and try again");
    if ((rc & 0xff) == SQLITE_NOTADB)
        return err_set(err, ERR_INVALID,
                       "it is not a database of weft's: name another file, or restore a backup");
    if ((rc & 0xff) == SQLITE_CORRUPT)
        return err_set(err, ERR_IO, "the database is damaged (%s): restore a backup",
                       sqlite3_errmsg(db));
    return err_set(err, ERR_IO, "database: %s", sqlite3_errmsg(db));
}

/* --------------------------------------------------------------- statements */

static sqlite3_stmt *stmt(struct store *s, enum statement which)
{
    sqlite3_stmt *st = s->statements[which];

    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    return st;
}

/* Binding cannot fail but for lack of memory and for sizes that were bounded before. */
static void bind_key(sqlite3_stmt *st, int at, struct str key)
{
    sqlite3_bind_blob64(st, at, key.n ? key.p : "", key.n, SQLITE_STATIC);
}

static void bind_value(sqlite3_stmt *st, int at, struct str value)
{
    sqlite3_bind_text64(st, at, value.n ? value.p : "", value.n, SQLITE_STATIC, SQLITE_UTF8);
}

static struct str column(sqlite3_stmt *st, int at)
{
    const char *p = sqlite3_column_blob(st, at);

    return (struct str){p ? p : "", (size_t)sqlite3_column_bytes(st, at)};
}

/* Run a statement that gives no rows. */
static int run(struct store *s, sqlite3_stmt *st, struct err *err)
{
    int rc = sqlite3_step(st);

    if (rc != SQLITE_DONE)
        failed(s->db, rc, err);
    sqlite3_reset(st);
    return rc == SQLITE_DONE ? 0 : -1;
}

/* 1 row, 0 end, -1 failed. The end resets the statement. */
static int next_row(struct store *s, sqlite3_stmt *st, struct err *err)
{
    int rc = sqlite3_step(st);

    if (rc == SQLITE_ROW)
        return 1;
    if (rc != SQLITE_DONE)
        failed(s->db, rc, err);
    sqlite3_reset(st);
    return rc == SQLITE_DONE ? 0 : -1;
}

static int begin(struct store *s, struct err *err)
{
    return run(s, stmt(s, SQL_BEGIN), err);
}

static void rollback(struct store *s)
{
    for (size_t i = 0; i < SQL_COUNT; i++)
        sqlite3_reset(s->statements[i]);
    if (!sqlite3_get_autocommit(s->db)) /* some errors have rolled back already */
        sqlite3_step(stmt(s, SQL_ROLLBACK));
    sqlite3_reset(s->statements[SQL_ROLLBACK]);
}

static int meta_set(struct store *s, const char *name, int64_t value, struct err *err)
{
    sqlite3_stmt *st = stmt(s, SQL_META_SET);

    sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC);
    sqlite3_bind_int64(st, 2, value);
    return run(s, st, err);
}

static int meta_get(struct store *s, const char *name, int64_t *out, struct err *err)
{
    sqlite3_stmt *st = stmt(s, SQL_META_GET);
    int rc;

    sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC);
    rc = next_row(s, st, err);
    if (rc < 0)
        return -1;
    if (rc == 0)
        return err_set(err, ERR_IO, "the database lacks its %s: restore a backup", name);
    *out = sqlite3_column_int64(st, 0);
    sqlite3_reset(st);
    return 0;
}

/* --------------------------------------------------------------------- open */

static int exec(sqlite3 *db, const char *text, struct err *err)
{
    int rc = sqlite3_exec(db, text, NULL, NULL, NULL);

    return rc == SQLITE_OK ? 0 : failed(db, rc, err);
}

/* The first column of the first row of a PRAGMA, as a number; `text` (may be NULL) as text. */
static int pragma(sqlite3 *db, const char *text, int64_t *out, char *copy, size_t copy_bytes,
                  struct err *err)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db, text, -1, &st, NULL);

    if (rc == SQLITE_OK)
        rc = sqlite3_step(st);
    if (rc != SQLITE_ROW) {
        failed(db, rc, err);
        sqlite3_finalize(st);
        return -1;
    }
    if (out)
        *out = sqlite3_column_int64(st, 0);
    if (copy)
        snprintf(copy, copy_bytes, "%s", (const char *)sqlite3_column_text(st, 0));
    sqlite3_finalize(st);
    return 0;
}

/* The lock names one server per database; SQLite's own locks would let a second one write. */
static int take_lock(struct store *s, struct err *err)
{
    char name[PATH_BYTES];
    int n = snprintf(name, sizeof(name), "%s.lock", s->path);

    if (n < 0 || (size_t)n >= sizeof(name))
        return err_set(err, ERR_INVALID, "%s: the path is too long", s->path);
    s->lock_fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->lock_fd < 0)
        return err_errno(err, ERR_IO, "%s", name);
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB)) {
        if (errno == EWOULDBLOCK)
            return err_set(err, ERR_CONFLICT,
                           "%s is open in another weft server: stop that one first", s->path);
        return err_errno(err, ERR_IO, "%s", name);
    }
    return 0;
}

/* The file is 0600 before SQLite sees it; SQLite gives its -wal and -shm the same mode. */
static int make_file(const char *path, int flags, struct err *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | flags, 0600);

    if (fd < 0)
        return err_errno(err, errno == EEXIST ? ERR_CONFLICT : ERR_IO, "%s", path);
    if (fchmod(fd, 0600)) {
        close(fd);
        return err_errno(err, ERR_IO, "%s", path);
    }
    close(fd);
    return 0;
}

static int open_db(const char *path, int flags, sqlite3 **db, struct err *err)
{
    int rc = sqlite3_open_v2(path, db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW, NULL);

    if (rc != SQLITE_OK)
        return failed(*db, rc, err);
    sqlite3_extended_result_codes(*db, 1);
    sqlite3_busy_timeout(*db, BUSY_TIMEOUT_MS);
    sqlite3_db_config(*db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(*db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    return exec(*db,
                "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;"
                "PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL;",
                err);
}

/* Is it ours, and whole, as far as this PRAGMA looks? *version 0: an empty file. */
static int check_db(sqlite3 *db, const char *how, int64_t *version, struct err *err)
{
    char verdict[256];
    int64_t id, pages;

    if (pragma(db, "PRAGMA application_id", &id, NULL, 0, err) ||
        pragma(db, "PRAGMA user_version", version, NULL, 0, err) ||
        pragma(db, "PRAGMA page_count", &pages, NULL, 0, err))
        return -1;
    if (id != APPLICATION_ID && (id != 0 || pages > 0))
        return err_set(err, ERR_INVALID,
                       "it is not weft's database: name another file, or move this one away");
    if (*version > migrate_latest())
        return 0; /* migrate_run says so better */
    if (pragma(db, how, NULL, verdict, sizeof(verdict), err))
        return -1;
    if (strcmp(verdict, "ok") != 0)
        return err_set(err, ERR_IO, "the database is damaged (%s): restore a backup", verdict);
    return 0;
}

static int engine_copy(void *arg, const char *path, struct err *err)
{
    return store_backup(arg, path, err);
}

static int engine_apply(void *arg, const char *text, int version, struct err *err)
{
    struct store *s = arg;
    char mark[96];

    snprintf(mark, sizeof(mark), "PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT",
             APPLICATION_ID, version);
    if (exec(s->db, "BEGIN IMMEDIATE", err))
        return -1;
    if (exec(s->db, text, err) || exec(s->db, mark, err)) {
        struct err ignored;

        if (!sqlite3_get_autocommit(s->db))
            (void)exec(s->db, "ROLLBACK", &ignored); /* the first error is the one to tell */
        return -1;
    }
    return 0;
}

static int new_epoch(sqlite3 *db, struct err *err)
{
    char ulid[TEXT_ULID_MAX], text[128];

    snprintf(text, sizeof(text), "INSERT OR REPLACE INTO meta VALUES ('epoch', '%s')",
             text_ulid(text_wall_ms(), ulid));
    return exec(db, text, err);
}

static int load_leases(struct store *s, struct err *err)
{
    sqlite3_stmt *st = stmt(s, SQL_LEASES);
    int rc;

    while ((rc = next_row(s, st, err)) > 0) {
        if (s->lease_count == s->lease_cap) {
            s->lease_cap = s->lease_cap ? s->lease_cap * 2 : 16;
            s->leases = mem_realloc(s->leases, s->lease_cap * sizeof(*s->leases));
        }
        s->leases[s->lease_count++] =
            (struct lease){sqlite3_column_int64(st, 0), sqlite3_column_int64(st, 1), -1};
    }
    return rc;
}

static int load_state(struct store *s, struct err *err)
{
    char *copy = s->epoch;

    for (size_t i = 0; i < SQL_COUNT; i++) {
        int rc = sqlite3_prepare_v3(s->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &s->statements[i],
                                    NULL);

        if (rc != SQLITE_OK)
            return failed(s->db, rc, err);
    }
    if (meta_get(s, "seq", &s->seq, err) || meta_get(s, "compacted", &s->compacted, err))
        return -1;
    if (pragma(s->db, "SELECT count(*) FROM meta WHERE name = 'epoch'", &s->replay_seq, NULL, 0,
               err))
        return -1;
    if (s->replay_seq == 0 && new_epoch(s->db, err))
        return -1;
    s->replay_seq = INT64_MAX;
    if (pragma(s->db, "SELECT value FROM meta WHERE name = 'epoch'", NULL, copy, sizeof(s->epoch),
               err))
        return -1;
    return load_leases(s, err);
}

/* An empty file is what a broken disk leaves: it must not pass for a mesh without members. */
static int must_hold(const struct store *s, struct err *err)
{
    struct stat st;

    if (stat(s->path, &st))
        return err_errno(err, errno == ENOENT ? ERR_MISSING : ERR_IO, "the database %s", s->path);
    if (st.st_size == 0)
        return err_set(err, ERR_INVALID, "the database %s is empty: restore a backup", s->path);
    return 0;
}

static int prepare_file(struct store *s, struct err *err)
{
    struct migrate_engine engine = {engine_copy, engine_apply, s};
    int64_t version;
    char mode[16];

    if (open_db(s->path, SQLITE_OPEN_READWRITE, &s->db, err) ||
        check_db(s->db, QUICK, &version, err))
        return err_wrap(err, "%s", s->path);
    /* Refuse a newer file before anything, the journal mode too, is written to it. */
    if (version > migrate_latest() && migrate_run(&engine, (int)version, s->path, err))
        return err_wrap(err, "%s", s->path);
    if (pragma(s->db, "PRAGMA journal_mode = WAL", NULL, mode, sizeof(mode), err))
        return err_wrap(err, "%s", s->path);
    if (strcmp(mode, "wal") != 0)
        return err_set(err, ERR_IO,
                       "%s: write-ahead logging is not possible there: use a local disk", s->path);
    if (migrate_run(&engine, (int)version, s->path, err) || load_state(s, err))
        return err_wrap(err, "%s", s->path);
    return 0;
}

static int new_file(struct store *s, struct err *err)
{
    return take_lock(s, err) || make_file(s->path, O_EXCL, err) || prepare_file(s, err) ? -1 : 0;
}

static int old_file(struct store *s, struct err *err)
{
    return must_hold(s, err) || take_lock(s, err) || prepare_file(s, err) ? -1 : 0;
}

static int whole_file(struct store *s, struct err *err)
{
    int64_t version;
    int rc;

    if (must_hold(s, err) || take_lock(s, err))
        return -1;
    rc = open_db(s->path, SQLITE_OPEN_READWRITE, &s->db, err);
    if (rc == 0)
        rc = check_db(s->db, THOROUGH, &version, err);
    if (rc == 0 && version != migrate_latest())
        rc = err_set(err, ERR_UNSUPPORTED, "it has schema %lld, this weft %d: %s",
                     (long long)version, migrate_latest(),
                     version < migrate_latest() ? "start its server once, which migrates it"
                                                : "use the weft that wrote it");
    if (rc == 0)
        rc = load_state(s, err);
    return rc ? err_wrap(err, "%s", s->path) : 0;
}

static struct store *open_by(int (*prepare)(struct store *s, struct err *err), const char *path,
                             struct err *err)
{
    struct store *s = MEM_NEW(struct store);

    s->lock_fd = -1;
    s->queue_end = &s->queue;
    s->next_id = 1;
    s->replay_seq = INT64_MAX;
    s->path = str_dup(str_from(path));
    if (prepare(s, err)) {
        store_close(s);
        return NULL;
    }
    return s;
}

struct store *store_create(const char *path, struct err *err)
{
    return open_by(new_file, path, err);
}

struct store *store_open(const char *path, struct err *err)
{
    return open_by(old_file, path, err);
}

struct store *store_open_whole(const char *path, struct err *err)
{
    return open_by(whole_file, path, err);
}

void store_close(struct store *s)
{
    if (!s)
        return;
    assert(!s->delivering);
    while (s->watches) {
        struct store_watch *w = s->watches;

        s->watches = w->next;
        mem_free(w->prefix);
        mem_free(w);
    }
    for (size_t i = 0; i < SQL_COUNT; i++)
        sqlite3_finalize(s->statements[i]);
    sqlite3_close(s->db);
    if (s->lock_fd >= 0)
        close(s->lock_fd); /* the file stays: removing it would race with another opener */
    mem_free(s->leases);
    mem_free(s->path);
    mem_free(s);
}

int64_t store_seq(const struct store *s)
{
    return s->seq;
}

int64_t store_compacted(const struct store *s)
{
    return s->compacted;
}

const char *store_epoch(const struct store *s)
{
    return s->epoch;
}

/* ------------------------------------------------------------------ reading */

static void take_row(sqlite3_stmt *st, struct arena *a, struct store_kv *out)
{
    out->key = arena_str(a, column(st, 0));
    out->value = arena_str(a, column(st, 1));
    out->create_seq = sqlite3_column_int64(st, 2);
    out->mod_seq = sqlite3_column_int64(st, 3);
    out->version = sqlite3_column_int64(st, 4);
    out->lease = sqlite3_column_int64(st, 5);
}

int store_get(struct store *s, struct str key, struct arena *a, struct store_kv *out,
              struct err *err)
{
    sqlite3_stmt *st = stmt(s, SQL_GET);
    int rc;

    bind_key(st, 1, key);
    rc = next_row(s, st, err);
    if (rc < 0)
        return -1;
    *out = (struct store_kv){.key = arena_str(a, key)};
    if (rc > 0)
        take_row(st, a, out);
    sqlite3_reset(st);
    return 0;
}

/* The first key behind everything that starts with `prefix`. `last` has STORE_KEY_BYTES + 1 bytes.
 */
static struct str behind(struct str prefix, char *last)
{
    size_t n = MIN(prefix.n, STORE_KEY_BYTES);

    if (n)
        memcpy(last, prefix.p, n);
    while (n > 0 && (unsigned char)last[n - 1] == 0xff)
        n--;
    if (n == 0) { /* no end: longer than any key may be */
        memset(last, 0xff, STORE_KEY_BYTES + 1);
        return (struct str){last, STORE_KEY_BYTES + 1};
    }
    last[n - 1] = (char)((unsigned char)last[n - 1] + 1);
    return (struct str){last, n};
}

static sqlite3_stmt *range_statement(struct store *s, const struct store_range *r, char *first,
                                     char *last)
{
    static const enum statement which[2][2] = {
        {SQL_LIST, SQL_LIST_DOWN},
        {SQL_KEYS, SQL_KEYS_DOWN}
    };
    sqlite3_stmt *st = stmt(s, which[r->keys_only][r->descending]);
    struct str low = r->prefix, high = behind(r->prefix, last);
    size_t n = MIN(r->after.n, STORE_KEY_BYTES);

    if (n && !r->descending && str_cmp(r->after, low) >= 0) {
        memcpy(first, r->after.p, n); /* a NUL behind gives the next key there can be */
        first[n] = '\0';
        low = (struct str){first, n + 1};
    }
    if (n && r->descending && str_cmp(r->after, high) < 0)
        high = r->after;
    bind_key(st, 1, low);
    bind_key(st, 2, high);
    sqlite3_bind_int64(st, 3, r->limit ? (int64_t)MIN(r->limit, (size_t)INT32_MAX) + 1 : -1);
    return st;
}

int store_list(struct store *s, const struct store_range *range, struct arena *a,
               struct store_kv **rows, size_t *count, bool *more, struct err *err)
{
    char first[STORE_KEY_BYTES + 1], last[STORE_KEY_BYTES + 1];
    sqlite3_stmt *st = range_statement(s, range, first, last);
    struct store_kv *list = NULL;
    size_t n = 0, cap = 0;
    bool cut = false;
    int rc;

    while ((rc = next_row(s, st, err)) > 0) {
        if (range->limit && n == range->limit) {
            cut = true;
            break;
        }
        if (n == cap) {
            cap = cap ? cap * 2 : 32;
            list = mem_realloc(list, cap * sizeof(*list));
        }
        take_row(st, a, &list[n++]);
    }
    sqlite3_reset(st);
    if (rc >= 0) {
        *rows = arena_alloc(a, n * sizeof(*list));
        if (n)
            memcpy(*rows, list, n * sizeof(*list));
        *count = n;
        if (more)
            *more = cut;
    }
    mem_free(list);
    return rc < 0 ? -1 : 0;
}

/* ------------------------------------------------------------- transactions */

void store_txn_init(struct store_txn *t)
{
    arena_init(&t->arena);
    t->compare_count = 0;
    t->op_count = 0;
    t->bytes = 0;
}

void store_txn_done(struct store_txn *t)
{
    arena_done(&t->arena);
}

void store_txn_clear(struct store_txn *t)
{
    store_txn_done(t);
    store_txn_init(t);
}

static void add_compare(struct store_txn *t, enum store_test test, struct str key, struct str value,
                        int64_t mod_seq)
{
    t->bytes += key.n + value.n;
    if (t->compare_count++ >= STORE_TXN_OPS)
        return;
    t->compares[t->compare_count - 1] = (struct store_compare){
        test, arena_str(&t->arena, key), arena_str(&t->arena, value), mod_seq};
}

static void add_op(struct store_txn *t, enum store_op_kind kind, struct str key, struct str value,
                   int64_t lease)
{
    t->bytes += key.n + value.n;
    if (t->op_count++ >= STORE_TXN_OPS)
        return;
    t->ops[t->op_count - 1] =
        (struct store_op){kind, arena_str(&t->arena, key), arena_str(&t->arena, value), lease};
}

void store_txn_if(struct store_txn *t, enum store_test test, struct str key)
{
    assert(test == STORE_EXISTS || test == STORE_ABSENT);
    add_compare(t, test, key, STR_NONE, 0);
}

void store_txn_if_seq(struct store_txn *t, struct str key, int64_t mod_seq)
{
    add_compare(t, STORE_MOD_SEQ, key, STR_NONE, mod_seq);
}

void store_txn_if_value(struct store_txn *t, struct str key, struct str value)
{
    add_compare(t, STORE_VALUE, key, value, 0);
}

void store_txn_put(struct store_txn *t, struct str key, struct str value)
{
    add_op(t, STORE_PUT, key, value, 0);
}

void store_txn_put_leased(struct store_txn *t, struct str key, struct str value, int64_t lease)
{
    add_op(t, STORE_PUT, key, value, lease);
}

void store_txn_delete(struct store_txn *t, struct str key)
{
    add_op(t, STORE_DELETE, key, STR_NONE, 0);
}

void store_txn_delete_prefix(struct store_txn *t, struct str prefix)
{
    add_op(t, STORE_DELETE_PREFIX, prefix, STR_NONE, 0);
}

static const struct lease *find_lease(const struct store *s, int64_t id)
{
    for (size_t i = 0; i < s->lease_count; i++) {
        if (s->leases[i].id == id)
            return &s->leases[i];
    }
    return NULL;
}

static bool overlap(const struct store_op *a, const struct store_op *b)
{
    if (a->kind == STORE_DELETE_PREFIX && b->kind == STORE_DELETE_PREFIX)
        return false; /* etcd lets ranges overlap; the second finds less */
    if (a->kind == STORE_DELETE_PREFIX)
        return str_starts(b->key, a->key);
    if (b->kind == STORE_DELETE_PREFIX)
        return str_starts(a->key, b->key);
    return str_eq(a->key, b->key);
}

static int check_op(const struct store *s, const struct store_txn *t, size_t i, struct err *err)
{
    const struct store_op *op = &t->ops[i];

    if (op->key.n == 0 || op->key.n > STORE_KEY_BYTES)
        return err_set(err, ERR_INVALID, "a key has 1 to %u bytes, not %zu", STORE_KEY_BYTES,
                       op->key.n);
    if (op->kind == STORE_PUT && op->lease && !find_lease(s, op->lease))
        return err_set(err, ERR_MISSING, "lease %lld is not there or ran out",
                       (long long)op->lease);
    for (size_t j = 0; j < i; j++) {
        if (overlap(&t->ops[j], op))
            return err_set(err, ERR_INVALID, "key %.*s is written twice in one transaction",
                           STR_ARG(op->key));
    }
    return 0;
}

static int check_txn(const struct store *s, const struct store_txn *t, struct err *err)
{
    if (t->op_count > STORE_TXN_OPS || t->compare_count > STORE_TXN_OPS)
        return err_set(err, ERR_LIMIT,
                       "a transaction has at most %u compares and %u operations, not %zu and %zu",
                       STORE_TXN_OPS, STORE_TXN_OPS, t->compare_count, t->op_count);
    if (t->bytes > STORE_TXN_BYTES)
        return err_set(err, ERR_LIMIT, "a transaction has at most %u bytes, not %zu",
                       STORE_TXN_BYTES, t->bytes);
    for (size_t i = 0; i < t->op_count; i++) {
        if (check_op(s, t, i, err))
            return -1;
    }
    return 0;
}

/* *held: whether the compare is true now. */
static int test_compare(struct store *s, const struct store_compare *c, bool *held, struct err *err)
{
    sqlite3_stmt *st = stmt(s, SQL_GET);
    int rc;

    bind_key(st, 1, c->key);
    rc = next_row(s, st, err);
    if (rc < 0)
        return -1;
    switch (c->test) {
    case STORE_EXISTS:
        *held = rc > 0;
        break;
    case STORE_ABSENT:
        *held = rc == 0;
        break;
    case STORE_MOD_SEQ:
        *held = c->mod_seq == (rc > 0 ? sqlite3_column_int64(st, 3) : 0);
        break;
    case STORE_VALUE:
        *held = rc > 0 && str_eq(column(st, 1), c->value);
        break;
    }
    sqlite3_reset(st);
    return 0;
}

/* ------------------------------------------------------------------- events */

static bool watched(const struct store *s, struct str key)
{
    for (const struct store_watch *w = s->watches; w; w = w->next) {
        if (!w->closed && str_starts(key, (struct str){w->prefix, w->prefix_bytes}))
            return true;
    }
    return false;
}

static void note_event(struct batch *b, struct store_event e)
{
    if (b->count == b->cap) {
        b->cap = b->cap ? b->cap * 2 : 16;
        b->events = mem_realloc(b->events, b->cap * sizeof(*b->events));
    }
    e.key = arena_str(&b->arena, e.key);
    e.value = arena_str(&b->arena, e.value);
    b->events[b->count++] = e;
}

static struct batch *batch_new(void)
{
    struct batch *b = MEM_NEW(struct batch);

    arena_init(&b->arena);
    return b;
}

static void batch_free(struct batch *b)
{
    mem_free(b->events);
    arena_done(&b->arena);
    mem_free(b);
}

/* -------------------------------------------------------------- one change */

struct change {
    struct store *s;
    struct batch *batch;
    int64_t seq;    /* that this transaction gets if it changes something */
    size_t touched; /* keys */
};

/* The value that the log has not got yet goes there before the key loses it. */
static int keep_old(struct change *c, struct str key, int64_t mod_seq, struct err *err)
{
    sqlite3_stmt *st;

    if (mod_seq <= c->s->compacted)
        return 0;
    st = stmt(c->s, SQL_LOG_KEEP);
    bind_key(st, 1, key);
    sqlite3_bind_int64(st, 2, mod_seq);
    return run(c->s, st, err);
}

static int log_change(struct change *c, struct store_event e, struct err *err)
{
    sqlite3_stmt *st = stmt(c->s, SQL_LOG);

    sqlite3_bind_int64(st, 1, c->seq);
    bind_key(st, 2, e.key);
    sqlite3_bind_int(st, 3, e.deleted);
    sqlite3_bind_int64(st, 4, e.create_seq);
    sqlite3_bind_int64(st, 5, e.version);
    if (run(c->s, st, err))
        return -1;
    c->touched++;
    if (watched(c->s, e.key))
        note_event(c->batch, e);
    return 0;
}

/* *mod_seq 0: absent. */
static int look_up(struct store *s, struct str key, int64_t *create_seq, int64_t *mod_seq,
                   int64_t *version, struct err *err)
{
    sqlite3_stmt *st = stmt(s, SQL_GET);
    int rc;

    bind_key(st, 1, key);
    rc = next_row(s, st, err);
    if (rc < 0)
        return -1;
    *create_seq = rc ? sqlite3_column_int64(st, 2) : 0;
    *mod_seq = rc ? sqlite3_column_int64(st, 3) : 0;
    *version = rc ? sqlite3_column_int64(st, 4) : 0;
    sqlite3_reset(st);
    return 0;
}

static int put_key(struct change *c, const struct store_op *op, struct err *err)
{
    int64_t create_seq, mod_seq, version;
    sqlite3_stmt *st;

    if (look_up(c->s, op->key, &create_seq, &mod_seq, &version, err))
        return -1;
    if (mod_seq && keep_old(c, op->key, mod_seq, err))
        return -1;
    st = stmt(c->s, mod_seq ? SQL_UPDATE : SQL_INSERT);
    bind_key(st, 1, op->key);
    bind_value(st, 2, op->value);
    sqlite3_bind_int64(st, 3, c->seq);
    sqlite3_bind_int64(st, 4, op->lease);
    if (run(c->s, st, err))
        return -1;
    return log_change(c,
                      (struct store_event){false, op->key, op->value, c->seq,
                                           mod_seq ? create_seq : c->seq, version + 1},
                      err);
}

static int delete_key(struct change *c, struct str key, struct err *err)
{
    int64_t create_seq, mod_seq, version;
    sqlite3_stmt *st;

    if (look_up(c->s, key, &create_seq, &mod_seq, &version, err))
        return -1;
    if (!mod_seq)
        return 0;
    if (keep_old(c, key, mod_seq, err))
        return -1;
    st = stmt(c->s, SQL_DELETE);
    bind_key(st, 1, key);
    if (run(c->s, st, err))
        return -1;
    return log_change(c, (struct store_event){true, key, STR_NONE, c->seq, create_seq, version},
                      err);
}

static int delete_all(struct change *c, const struct store_kv *rows, size_t count, struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        if (delete_key(c, rows[i].key, err))
            return -1;
    }
    return 0;
}

static int delete_prefix(struct change *c, struct str prefix, struct err *err)
{
    struct store_range range = {.prefix = prefix, .keys_only = true};
    struct store_kv *rows;
    struct arena a;
    size_t count;
    int rc;

    arena_init(&a);
    rc = store_list(c->s, &range, &a, &rows, &count, NULL, err);
    if (rc == 0)
        rc = delete_all(c, rows, count, err);
    arena_done(&a);
    return rc;
}

static int apply_op(struct change *c, const struct store_op *op, struct err *err)
{
    switch (op->kind) {
    case STORE_PUT:
        return put_key(c, op, err);
    case STORE_DELETE:
        return delete_key(c, op->key, err);
    case STORE_DELETE_PREFIX:
        return delete_prefix(c, op->key, err);
    }
    return err_set(err, ERR_INVALID, "no such operation");
}

static int trim_log(struct store *s, int64_t upto, struct err *err)
{
    sqlite3_stmt *st = stmt(s, SQL_LOG_TRIM);

    sqlite3_bind_int64(st, 1, upto);
    return run(s, st, err) || meta_set(s, "compacted", upto, err) ? -1 : 0;
}

static void deliver(struct store *s);

static void enqueue(struct store *s, struct batch *b)
{
    b->id = s->next_id++;
    *s->queue_end = b;
    s->queue_end = &b->next;
}

/* Commit what the change did, or (rc not 0) undo it; tell the watchers. Takes the batch. */
static int finish(struct change *c, int rc, struct err *err)
{
    struct store *s = c->s;
    int64_t compacted = s->compacted;

    if (rc == 0 && c->touched) {
        rc = meta_set(s, "seq", c->seq, err);
        if (rc == 0 && c->seq % TRIM_EVERY == 0) {
            int64_t upto = MIN(c->seq - STORE_LOG_KEEP, s->replay_seq - 1);

            if (upto > compacted) {
                rc = trim_log(s, upto, err);
                compacted = upto;
            }
        }
    }
    if (rc == 0)
        rc = run(s, stmt(s, SQL_COMMIT), err);
    if (rc) {
        rollback(s);
        batch_free(c->batch);
        return -1;
    }
    if (c->touched) {
        s->seq = c->seq;
        s->compacted = compacted;
    }
    if (c->batch->count == 0) {
        batch_free(c->batch);
        return 0;
    }
    c->batch->seq = c->seq;
    enqueue(s, c->batch);
    deliver(s);
    return 0;
}

static int start(struct store *s, struct change *c, struct err *err)
{
    if (begin(s, err))
        return -1;
    *c = (struct change){s, batch_new(), s->seq + 1, 0};
    return 0;
}

int store_commit(struct store *s, const struct store_txn *t, struct store_result *out,
                 struct err *err)
{
    struct store_result result = {.succeeded = true};
    struct change c;
    int rc = 0;

    if (check_txn(s, t, err) || start(s, &c, err))
        return -1;
    for (size_t i = 0; rc == 0 && result.succeeded && i < t->compare_count; i++) {
        rc = test_compare(s, &t->compares[i], &result.succeeded, err);
        result.failed = i;
    }
    for (size_t i = 0; rc == 0 && result.succeeded && i < t->op_count; i++)
        rc = apply_op(&c, &t->ops[i], err);
    result.seq = c.touched ? c.seq : s->seq;
    if (result.succeeded)
        result.failed = 0;
    if (finish(&c, rc, err))
        return -1;
    *out = result;
    return 0;
}

/* ----------------------------------------------------------------- watching */

static void call_watch(struct store_watch *w, struct batch *b)
{
    struct store_event *mine = mem_array(b->count, sizeof(*mine));
    size_t n = 0;

    for (size_t i = 0; i < b->count; i++) {
        if (str_starts(b->events[i].key, (struct str){w->prefix, w->prefix_bytes}))
            mine[n++] = b->events[i];
    }
    if (n)
        w->fn(w->arg, mine, n, b->seq);
    mem_free(mine);
}

/* The events of one transaction of the log. */
static int read_log(struct store *s, int64_t seq, struct batch *b, struct err *err)
{
    sqlite3_stmt *st = stmt(s, SQL_LOG_READ);
    int rc;

    b->seq = seq;
    sqlite3_bind_int64(st, 1, seq);
    while ((rc = next_row(s, st, err)) > 0) {
        bool deleted = sqlite3_column_int(st, 2) != 0;

        note_event(
            b, (struct store_event){deleted, column(st, 0), deleted ? STR_NONE : column(st, 1), seq,
                                    sqlite3_column_int64(st, 3), sqlite3_column_int64(st, 4)});
    }
    return rc;
}

/* The next transaction in the log at or behind `from`; 0 if there is none. */
static int64_t next_logged(struct store *s, int64_t from)
{
    sqlite3_stmt *st = stmt(s, SQL_LOG_NEXT);
    struct err ignored;
    int64_t seq = 0;

    sqlite3_bind_int64(st, 1, from);
    if (next_row(s, st, &ignored) > 0)
        seq = sqlite3_column_int64(st, 0);
    sqlite3_reset(st);
    return seq;
}

/* from_seq..seq of the item for its one watcher. A database that cannot be read now ends the
 * replay, and with it the watch would have a hole: so it is closed, and its owner hears nothing
 * more. */
static void replay(struct store *s, struct batch *item)
{
    struct store_watch *w = item->replay;

    for (int64_t at = item->from_seq; !w->closed && (at = next_logged(s, at)) && at <= item->seq;
         at++) {
        struct batch *b = batch_new();
        struct err ignored;

        s->replay_seq = at;
        if (read_log(s, at, b, &ignored))
            w->closed = true;
        else if (b->count)
            call_watch(w, b);
        batch_free(b);
    }
    s->replay_seq = INT64_MAX;
}

static void reap_watches(struct store *s)
{
    for (struct store_watch **at = &s->watches; *at;) {
        struct store_watch *w = *at;

        if (w->closed) {
            *at = w->next;
            mem_free(w->prefix);
            mem_free(w);
        } else {
            at = &w->next;
        }
    }
}

static void deliver(struct store *s)
{
    struct batch *b;

    if (s->delivering)
        return;
    s->delivering = true;
    while ((b = s->queue)) {
        s->queue = b->next;
        if (!s->queue)
            s->queue_end = &s->queue;
        if (b->replay)
            replay(s, b);
        for (struct store_watch *w = b->replay ? NULL : s->watches; w; w = w->next) {
            if (!w->closed && b->id >= w->first_id)
                call_watch(w, b);
        }
        batch_free(b);
    }
    s->delivering = false;
    reap_watches(s);
}

struct store_watch *store_watch_open(struct store *s, struct str prefix, int64_t from_seq,
                                     store_watch_fn *fn, void *arg, struct err *err)
{
    struct store_watch **end = &s->watches, *w;

    if (from_seq > 0 && from_seq <= s->compacted) {
        err_set(err, ERR_MISSING,
                "compacted: what happened up to %lld is forgotten, and %lld was asked for; list "
                "again and watch from %lld",
                (long long)s->compacted, (long long)from_seq, (long long)s->seq + 1);
        return NULL;
    }
    w = MEM_NEW(struct store_watch);
    w->store = s;
    w->prefix = str_dup(prefix);
    w->prefix_bytes = prefix.n;
    w->fn = fn;
    w->arg = arg;
    while (*end)
        end = &(*end)->next;
    *end = w;
    if (from_seq > 0 && from_seq <= s->seq) {
        struct batch *item = batch_new();

        item->replay = w;
        item->from_seq = from_seq;
        item->seq = s->seq;
        enqueue(s, item);
    }
    w->first_id = s->next_id;
    deliver(s);
    return w;
}

void store_watch_close(struct store_watch *w)
{
    if (!w)
        return;
    w->closed = true;
    if (!w->store->delivering)
        reap_watches(w->store);
}

int store_compact(struct store *s, int64_t seq, struct err *err)
{
    int64_t upto = MIN(MIN(seq, s->seq), s->replay_seq - 1);

    if (upto <= s->compacted)
        return 0;
    if (begin(s, err))
        return -1;
    if (trim_log(s, upto, err) || run(s, stmt(s, SQL_COMMIT), err)) {
        rollback(s);
        return -1;
    }
    s->compacted = upto;
    return 0;
}

/* ------------------------------------------------------------------- leases */

int store_lease_grant(struct store *s, int64_t ttl_ms, int64_t now_ms, int64_t *id, struct err *err)
{
    struct lease l = {0, ttl_ms, now_ms + ttl_ms};
    sqlite3_stmt *st;

    if (ttl_ms <= 0)
        return err_set(err, ERR_INVALID, "a lease must live for some time");
    do
        l.id = (int64_t)(text_random_u64() >> 1);
    while (l.id == 0 || find_lease(s, l.id));
    st = stmt(s, SQL_LEASE_ADD);
    sqlite3_bind_int64(st, 1, l.id);
    sqlite3_bind_int64(st, 2, ttl_ms);
    if (run(s, st, err))
        return -1;
    if (s->lease_count == s->lease_cap) {
        s->lease_cap = s->lease_cap ? s->lease_cap * 2 : 16;
        s->leases = mem_realloc(s->leases, s->lease_cap * sizeof(*s->leases));
    }
    s->leases[s->lease_count++] = l;
    *id = l.id;
    return 0;
}

int store_lease_keep(struct store *s, int64_t id, int64_t now_ms, struct err *err)
{
    for (size_t i = 0; i < s->lease_count; i++) {
        if (s->leases[i].id == id) {
            s->leases[i].deadline_ms = now_ms + s->leases[i].ttl_ms;
            return 0;
        }
    }
    return err_set(err, ERR_MISSING, "lease %lld is not there or ran out", (long long)id);
}

static int delete_leased(struct change *c, int64_t id, struct err *err)
{
    sqlite3_stmt *st = stmt(c->s, SQL_LEASED);
    struct store_kv *rows = NULL;
    struct arena a;
    size_t n = 0, cap = 0;
    int rc;

    arena_init(&a);
    sqlite3_bind_int64(st, 1, id);
    while ((rc = next_row(c->s, st, err)) > 0) {
        if (n == cap) {
            cap = cap ? cap * 2 : 16;
            rows = mem_realloc(rows, cap * sizeof(*rows));
        }
        take_row(st, &a, &rows[n++]);
    }
    if (rc == 0)
        rc = delete_all(c, rows, n, err);
    mem_free(rows);
    arena_done(&a);
    if (rc)
        return -1;
    st = stmt(c->s, SQL_LEASE_DEL);
    sqlite3_bind_int64(st, 1, id);
    return run(c->s, st, err);
}

int store_lease_revoke(struct store *s, int64_t id, struct err *err)
{
    const struct lease *l = find_lease(s, id);
    struct lease saved;
    struct change c;
    size_t at;

    if (!l)
        return err_set(err, ERR_MISSING, "lease %lld is not there or ran out", (long long)id);
    if (start(s, &c, err))
        return -1;
    /* Gone from memory before the watchers run; back again if the disk refuses. */
    saved = *l;
    at = (size_t)(l - s->leases);
    s->leases[at] = s->leases[--s->lease_count];
    if (finish(&c, delete_leased(&c, id, err), err)) {
        s->leases[s->lease_count++] = saved;
        return -1;
    }
    return 0;
}

/* One lease that is over at now_ms, or 0. Leases of before the start begin their life here. */
static int64_t find_over(struct store *s, int64_t now_ms, int64_t *next_ms)
{
    *next_ms = -1;
    for (size_t i = 0; i < s->lease_count; i++) {
        struct lease *l = &s->leases[i];

        if (l->deadline_ms < 0)
            l->deadline_ms = now_ms + l->ttl_ms;
        if (l->deadline_ms <= now_ms)
            return l->id;
        if (*next_ms < 0 || l->deadline_ms < *next_ms)
            *next_ms = l->deadline_ms;
    }
    return 0;
}

int store_expire(struct store *s, int64_t now_ms, int64_t *next_ms, struct err *err)
{
    int64_t id, next;

    while ((id = find_over(s, now_ms, &next))) {
        if (store_lease_revoke(s, id, err))
            return -1;
    }
    if (next_ms)
        *next_ms = next;
    return 0;
}

/* -------------------------------------------------------------- maintenance */

static int copy_db(sqlite3 *from, sqlite3 *to, struct err *err)
{
    sqlite3_backup *b = sqlite3_backup_init(to, "main", from, "main");
    int rc;

    if (!b)
        return failed(to, sqlite3_errcode(to), err);
    sqlite3_backup_step(b, -1);
    rc = sqlite3_backup_finish(b);
    if (rc != SQLITE_OK)
        return failed(to, rc, err);
    /* One file, without a -wal beside it that somebody could forget to carry along. */
    return exec(to, "PRAGMA journal_mode = DELETE", err);
}

static int sync_folder(const char *path, struct err *err)
{
    const char *slash = strrchr(path, '/');
    char dir[PATH_BYTES];
    int fd, rc;

    snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path + 1) : 1, slash ? path : ".");
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, ERR_IO, "%s", dir);
    rc = fsync(fd);
    if (rc)
        err_errno(err, ERR_IO, "%s", dir);
    close(fd);
    return rc;
}

/* Copy `from` to the new file `path` by way of path.partial, so that a half one never has the name.
 */
static int copy_to(sqlite3 *from, const char *path, bool epoch, struct err *err)
{
    char part[PATH_BYTES];
    sqlite3 *to = NULL;
    int n = snprintf(part, sizeof(part), "%s.partial", path);
    int rc;

    if (n < 0 || (size_t)n >= sizeof(part))
        return err_set(err, ERR_INVALID, "%s: the path is too long", path);
    if (file_exists(path))
        return err_set(err, ERR_CONFLICT, "%s exists already: name another file", path);
    unlink(part); /* of a copy that was cut short */
    if (make_file(part, O_EXCL, err))
        return -1;
    rc = open_db(part, SQLITE_OPEN_READWRITE, &to, err);
    if (rc == 0)
        rc = copy_db(from, to, err);
    if (rc == 0 && epoch)
        rc = new_epoch(to, err);
    sqlite3_close(to);
    if (rc == 0 && rename(part, path))
        rc = err_errno(err, ERR_IO, "%s", path);
    if (rc) {
        unlink(part);
        return -1;
    }
    return sync_folder(path, err);
}

int store_backup(struct store *s, const char *path, struct err *err)
{
    return copy_to(s->db, path, false, err);
}

int store_restore(const char *backup, const char *path, struct err *err)
{
    char wal[PATH_BYTES];
    sqlite3 *from = NULL;
    int64_t version;
    int n = snprintf(wal, sizeof(wal), "%s-wal", path);
    int rc;

    if (n < 0 || (size_t)n >= sizeof(wal))
        return err_set(err, ERR_INVALID, "%s: the path is too long", path);
    if (file_exists(wal))
        return err_set(err, ERR_CONFLICT,
                       "%s belongs to a database that is not there: move it away first", wal);
    rc = open_db(backup, SQLITE_OPEN_READONLY, &from, err);
    if (rc == 0)
        rc = check_db(from, THOROUGH, &version, err);
    if (rc == 0 && (version == 0 || version > migrate_latest()))
        rc = err_set(err, version ? ERR_UNSUPPORTED : ERR_INVALID,
                     version ? "it has schema %lld, this weft knows up to %d: use the weft that "
                               "made it"
                             : "it is empty (schema %lld of %d)",
                     (long long)version, migrate_latest());
    if (rc)
        err_wrap(err, "%s", backup);
    else
        rc = copy_to(from, path, true, err);
    sqlite3_close(from);
    return rc;
}

int store_limit_bytes(struct store *s, int64_t bytes, struct err *err)
{
    char text[64];
    int64_t page, pages;

    if (pragma(s->db, "PRAGMA page_size", &page, NULL, 0, err))
        return -1;
    snprintf(text, sizeof(text), "PRAGMA max_page_count = %lld",
             bytes ? (long long)(bytes / page) : 1073741823LL);
    return pragma(s->db, text, &pages, NULL, 0, err);
}
