/* The embedded engine of store.h: statements, and reading.
 *
 * Table kv holds the present, table log what happened: one row per changed key, numbered by seq. A
 * log row carries no value while the key still has the one it was given; the value moves into the
 * log when the key is overwritten or deleted. So a 64 MiB configuration is stored once, and a late
 * watcher still sees every value in order.
 */
#include "store/sqlite_parts.h"

#include <errno.h>
#include <string.h>

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

int db_failed(sqlite3 *db, int rc, struct err *err)
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

sqlite3_stmt *db_stmt(struct store *s, enum statement which)
{
    sqlite3_stmt *st = s->statements[which];

    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    return st;
}

void db_bind_key(sqlite3_stmt *st, int at, struct str key)
{
    sqlite3_bind_blob64(st, at, key.n ? key.p : "", key.n, SQLITE_STATIC);
}

void db_bind_value(sqlite3_stmt *st, int at, struct str value)
{
    sqlite3_bind_text64(st, at, value.n ? value.p : "", value.n, SQLITE_STATIC, SQLITE_UTF8);
}

struct str db_column(sqlite3_stmt *st, int at)
{
    const char *p = sqlite3_column_blob(st, at);

    return (struct str){p ? p : "", (size_t)sqlite3_column_bytes(st, at)};
}

int db_run(struct store *s, sqlite3_stmt *st, struct err *err)
{
    int rc = sqlite3_step(st);

    if (rc != SQLITE_DONE)
        db_failed(s->db, rc, err);
    sqlite3_reset(st);
    return rc == SQLITE_DONE ? 0 : -1;
}

int db_next_row(struct store *s, sqlite3_stmt *st, struct err *err)
{
    int rc = sqlite3_step(st);

    if (rc == SQLITE_ROW)
        return 1;
    if (rc != SQLITE_DONE)
        db_failed(s->db, rc, err);
    sqlite3_reset(st);
    return rc == SQLITE_DONE ? 0 : -1;
}

int db_begin(struct store *s, struct err *err)
{
    return db_run(s, db_stmt(s, SQL_BEGIN), err);
}

void db_rollback(struct store *s)
{
    for (size_t i = 0; i < SQL_COUNT; i++)
        sqlite3_reset(s->statements[i]);
    if (!sqlite3_get_autocommit(s->db)) /* some errors have rolled back already */
        sqlite3_step(db_stmt(s, SQL_ROLLBACK));
    sqlite3_reset(s->statements[SQL_ROLLBACK]);
}

int db_meta_set(struct store *s, const char *name, int64_t value, struct err *err)
{
    sqlite3_stmt *st = db_stmt(s, SQL_META_SET);

    sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC);
    sqlite3_bind_int64(st, 2, value);
    return db_run(s, st, err);
}

int db_meta_get(struct store *s, const char *name, int64_t *out, struct err *err)
{
    sqlite3_stmt *st = db_stmt(s, SQL_META_GET);
    int rc;

    sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC);
    rc = db_next_row(s, st, err);
    if (rc < 0)
        return -1;
    if (rc == 0)
        return err_set(err, ERR_IO, "the database lacks its %s: restore a backup", name);
    *out = sqlite3_column_int64(st, 0);
    sqlite3_reset(st);
    return 0;
}

/* ------------------------------------------------------------------ reading */

void db_take_row(sqlite3_stmt *st, struct arena *a, struct store_kv *out)
{
    out->key = arena_str(a, db_column(st, 0));
    out->value = arena_str(a, db_column(st, 1));
    out->create_seq = sqlite3_column_int64(st, 2);
    out->mod_seq = sqlite3_column_int64(st, 3);
    out->version = sqlite3_column_int64(st, 4);
    out->lease = sqlite3_column_int64(st, 5);
}

int store_get(struct store *s, struct str key, struct arena *a, struct store_kv *out,
              struct err *err)
{
    sqlite3_stmt *st = db_stmt(s, SQL_GET);
    int rc;

    db_bind_key(st, 1, key);
    rc = db_next_row(s, st, err);
    if (rc < 0)
        return -1;
    *out = (struct store_kv){.key = arena_str(a, key)};
    if (rc > 0)
        db_take_row(st, a, out);
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
    sqlite3_stmt *st = db_stmt(s, which[r->keys_only][r->descending]);
    struct str low = r->prefix, high = behind(r->prefix, last);
    size_t n = MIN(r->after.n, STORE_KEY_BYTES);

    if (n && !r->descending && str_cmp(r->after, low) >= 0) {
        memcpy(first, r->after.p, n); /* a NUL behind gives the next key there can be */
        first[n] = '\0';
        low = (struct str){first, n + 1};
    }
    if (n && r->descending && str_cmp(r->after, high) < 0)
        high = r->after;
    db_bind_key(st, 1, low);
    db_bind_key(st, 2, high);
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

    while ((rc = db_next_row(s, st, err)) > 0) {
        if (range->limit && n == range->limit) {
            cut = true;
            break;
        }
        if (n == cap) {
            cap = cap ? cap * 2 : 32;
            list = mem_realloc(list, cap * sizeof(*list));
        }
        db_take_row(st, a, &list[n++]);
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
