/* Leases: keys that go when nobody keeps them. */
#include "store/sqlite_parts.h"

int store_lease_grant(struct store *s, int64_t ttl_ms, int64_t now_ms, int64_t *id, struct err *err)
{
    struct lease l = {0, ttl_ms, now_ms + ttl_ms};
    sqlite3_stmt *st;

    if (ttl_ms <= 0)
        return err_set(err, ERR_INVALID, "a lease must live for some time");
    do
        l.id = (int64_t)(text_random_u64() >> 1);
    while (l.id == 0 || db_find_lease(s, l.id));
    st = db_stmt(s, SQL_LEASE_ADD);
    sqlite3_bind_int64(st, 1, l.id);
    sqlite3_bind_int64(st, 2, ttl_ms);
    if (db_run(s, st, err))
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
    sqlite3_stmt *st = db_stmt(c->s, SQL_LEASED);
    struct store_kv *rows = NULL;
    struct arena a;
    size_t n = 0, cap = 0;
    int rc;

    arena_init(&a);
    sqlite3_bind_int64(st, 1, id);
    while ((rc = db_next_row(c->s, st, err)) > 0) {
        if (n == cap) {
            cap = cap ? cap * 2 : 16;
            rows = mem_realloc(rows, cap * sizeof(*rows));
        }
        db_take_row(st, &a, &rows[n++]);
    }
    if (rc == 0)
        rc = db_delete_all(c, rows, n, err);
    mem_free(rows);
    arena_done(&a);
    if (rc)
        return -1;
    st = db_stmt(c->s, SQL_LEASE_DEL);
    sqlite3_bind_int64(st, 1, id);
    return db_run(c->s, st, err);
}

int store_lease_revoke(struct store *s, int64_t id, struct err *err)
{
    const struct lease *l = db_find_lease(s, id);
    struct lease saved;
    struct change c;
    size_t at;

    if (!l)
        return err_set(err, ERR_MISSING, "lease %lld is not there or ran out", (long long)id);
    if (db_start(s, &c, err))
        return -1;
    /* Gone from memory before the watchers db_run; back again if the disk refuses. */
    saved = *l;
    at = (size_t)(l - s->leases);
    s->leases[at] = s->leases[--s->lease_count];
    if (db_finish(&c, delete_leased(&c, id, err), err)) {
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
