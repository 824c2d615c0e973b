/* Opening a database, a new one or one that must be whole, and closing it. */
#include "store/sqlite_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/migrate.h"

#define ROW             "key, value, create_seq, mod_seq, version, lease"
#define KEY             "key, '', create_seq, mod_seq, version, lease"
#define APPLICATION_ID  0x77656674 /* "weft" */
#define BUSY_TIMEOUT_MS 2000       /* a person's sqlite3 shell may hold a lock for a moment */
#define QUICK           "PRAGMA quick_check(1)" /* pages and rows; the other looks at indexes too */

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

int db_exec(sqlite3 *db, const char *text, struct err *err)
{
    int rc = sqlite3_exec(db, text, NULL, NULL, NULL);

    return rc == SQLITE_OK ? 0 : db_failed(db, rc, err);
}

int db_pragma(sqlite3 *db, const char *text, int64_t *out, char *copy, size_t copy_bytes,
              struct err *err)
{
    sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(db, text, -1, &st, NULL);

    if (rc == SQLITE_OK)
        rc = sqlite3_step(st);
    if (rc != SQLITE_ROW) {
        db_failed(db, rc, err);
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

int db_make_file(const char *path, int flags, struct err *err)
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

int db_open(const char *path, int flags, sqlite3 **db, struct err *err)
{
    int rc = sqlite3_open_v2(path, db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW, NULL);

    if (rc != SQLITE_OK)
        return db_failed(*db, rc, err);
    sqlite3_extended_result_codes(*db, 1);
    sqlite3_busy_timeout(*db, BUSY_TIMEOUT_MS);
    sqlite3_db_config(*db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(*db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    return db_exec(*db,
                   "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;"
                   "PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL;",
                   err);
}

int db_check(sqlite3 *db, const char *how, int64_t *version, struct err *err)
{
    char verdict[256];
    int64_t id, pages;

    if (db_pragma(db, "PRAGMA application_id", &id, NULL, 0, err) ||
        db_pragma(db, "PRAGMA user_version", version, NULL, 0, err) ||
        db_pragma(db, "PRAGMA page_count", &pages, NULL, 0, err))
        return -1;
    if (id != APPLICATION_ID && (id != 0 || pages > 0))
        return err_set(err, ERR_INVALID,
                       "it is not weft's database: name another file, or move this one away");
    if (*version > migrate_latest())
        return 0; /* migrate_run says so better */
    if (db_pragma(db, how, NULL, verdict, sizeof(verdict), err))
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
    if (db_exec(s->db, "BEGIN IMMEDIATE", err))
        return -1;
    if (db_exec(s->db, text, err) || db_exec(s->db, mark, err)) {
        struct err ignored;

        if (!sqlite3_get_autocommit(s->db))
            (void)db_exec(s->db, "ROLLBACK", &ignored); /* the first error is the one to tell */
        return -1;
    }
    return 0;
}

int db_new_epoch(sqlite3 *db, struct err *err)
{
    char ulid[TEXT_ULID_MAX], text[128];

    snprintf(text, sizeof(text), "INSERT OR REPLACE INTO meta VALUES ('epoch', '%s')",
             text_ulid(text_wall_ms(), ulid));
    return db_exec(db, text, err);
}

static int load_leases(struct store *s, struct err *err)
{
    sqlite3_stmt *st = db_stmt(s, SQL_LEASES);
    int rc;

    while ((rc = db_next_row(s, st, err)) > 0) {
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
    int64_t epochs;

    for (size_t i = 0; i < SQL_COUNT; i++) {
        int rc = sqlite3_prepare_v3(s->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &s->statements[i],
                                    NULL);

        if (rc != SQLITE_OK)
            return db_failed(s->db, rc, err);
    }
    if (db_meta_get(s, "seq", &s->seq, err) || db_meta_get(s, "compacted", &s->compacted, err))
        return -1;
    if (db_pragma(s->db, "SELECT count(*) FROM meta WHERE name = 'epoch'", &epochs, NULL, 0, err))
        return -1;
    if (epochs == 0 && db_new_epoch(s->db, err))
        return -1;
    if (db_pragma(s->db, "SELECT value FROM meta WHERE name = 'epoch'", NULL, s->epoch,
                  sizeof(s->epoch), err))
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

    if (db_open(s->path, SQLITE_OPEN_READWRITE, &s->db, err) ||
        db_check(s->db, QUICK, &version, err))
        return err_wrap(err, "%s", s->path);
    /* Refuse a newer file before anything, the journal mode too, is written to it. */
    if (version > migrate_latest() && migrate_run(&engine, (int)version, s->path, err))
        return err_wrap(err, "%s", s->path);
    if (db_pragma(s->db, "PRAGMA journal_mode = WAL", NULL, mode, sizeof(mode), err))
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
    return take_lock(s, err) || db_make_file(s->path, O_EXCL, err) || prepare_file(s, err) ? -1 : 0;
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
    rc = db_open(s->path, SQLITE_OPEN_READWRITE, &s->db, err);
    if (rc == 0)
        rc = db_check(s->db, THOROUGH, &version, err);
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
