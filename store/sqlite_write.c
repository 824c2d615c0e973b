/* Changes: events are noted in a batch, which is queued and delivered after COMMIT. */
#include "store/sqlite_parts.h"

#define TRIM_EVERY 64 /* transactions between two trims of the log */

/* ------------------------------------------------------------------- events */

static bool watched(const struct store *s, struct str key)
{
    for (const struct store_watch *w = s->watches; w; w = w->next) {
        if (!w->closed && str_starts(key, (struct str){w->prefix, w->prefix_bytes}))
            return true;
    }
    return false;
}

void db_note_event(struct batch *b, struct store_event e)
{
    if (b->count == b->cap) {
        b->cap = b->cap ? b->cap * 2 : 16;
        b->events = mem_realloc(b->events, b->cap * sizeof(*b->events));
    }
    e.key = arena_str(&b->arena, e.key);
    e.value = arena_str(&b->arena, e.value);
    b->events[b->count++] = e;
}

struct batch *db_batch_new(void)
{
    struct batch *b = MEM_NEW(struct batch);

    arena_init(&b->arena);
    return b;
}

void db_batch_free(struct batch *b)
{
    mem_free(b->events);
    arena_done(&b->arena);
    mem_free(b);
}

/* -------------------------------------------------------------- one change */

/* The value that the log has not got yet goes there before the key loses it. */
static int keep_old(struct change *c, struct str key, int64_t mod_seq, struct err *err)
{
    sqlite3_stmt *st;

    if (mod_seq <= c->s->compacted)
        return 0;
    st = db_stmt(c->s, SQL_LOG_KEEP);
    db_bind_key(st, 1, key);
    sqlite3_bind_int64(st, 2, mod_seq);
    return db_run(c->s, st, err);
}

static int log_change(struct change *c, struct store_event e, struct err *err)
{
    sqlite3_stmt *st = db_stmt(c->s, SQL_LOG);

    sqlite3_bind_int64(st, 1, c->seq);
    db_bind_key(st, 2, e.key);
    sqlite3_bind_int(st, 3, e.deleted);
    sqlite3_bind_int64(st, 4, e.create_seq);
    sqlite3_bind_int64(st, 5, e.version);
    if (db_run(c->s, st, err))
        return -1;
    c->touched++;
    if (watched(c->s, e.key))
        db_note_event(c->batch, e);
    return 0;
}

/* *mod_seq 0: absent. */
static int look_up(struct store *s, struct str key, int64_t *create_seq, int64_t *mod_seq,
                   int64_t *version, struct err *err)
{
    sqlite3_stmt *st = db_stmt(s, SQL_GET);
    int rc;

    db_bind_key(st, 1, key);
    rc = db_next_row(s, st, err);
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
    st = db_stmt(c->s, mod_seq ? SQL_UPDATE : SQL_INSERT);
    db_bind_key(st, 1, op->key);
    db_bind_value(st, 2, op->value);
    sqlite3_bind_int64(st, 3, c->seq);
    sqlite3_bind_int64(st, 4, op->lease);
    if (db_run(c->s, st, err))
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
    st = db_stmt(c->s, SQL_DELETE);
    db_bind_key(st, 1, key);
    if (db_run(c->s, st, err))
        return -1;
    return log_change(c, (struct store_event){true, key, STR_NONE, c->seq, create_seq, version},
                      err);
}

int db_delete_all(struct change *c, const struct store_kv *rows, size_t count, struct err *err)
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
        rc = db_delete_all(c, rows, count, err);
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

int db_trim_log(struct store *s, int64_t upto, struct err *err)
{
    sqlite3_stmt *st = db_stmt(s, SQL_LOG_TRIM);

    sqlite3_bind_int64(st, 1, upto);
    return db_run(s, st, err) || db_meta_set(s, "compacted", upto, err) ? -1 : 0;
}

void db_enqueue(struct store *s, struct batch *b)
{
    b->id = s->next_id++;
    *s->queue_end = b;
    s->queue_end = &b->next;
}

int db_finish(struct change *c, int rc, struct err *err)
{
    struct store *s = c->s;
    int64_t compacted = s->compacted;

    if (rc == 0 && c->touched) {
        rc = db_meta_set(s, "seq", c->seq, err);
        if (rc == 0 && c->seq % TRIM_EVERY == 0) {
            int64_t upto = MIN(c->seq - STORE_LOG_KEEP, db_replay_floor(s) - 1);

            if (upto > compacted) {
                rc = db_trim_log(s, upto, err);
                compacted = upto;
            }
        }
    }
    if (rc == 0)
        rc = db_run(s, db_stmt(s, SQL_COMMIT), err);
    if (rc) {
        db_rollback(s);
        db_batch_free(c->batch);
        return -1;
    }
    if (c->touched) {
        s->seq = c->seq;
        s->compacted = compacted;
    }
    if (c->batch->count == 0) {
        db_batch_free(c->batch);
        return 0;
    }
    c->batch->seq = c->seq;
    db_enqueue(s, c->batch);
    db_deliver(s);
    return 0;
}

int db_start(struct store *s, struct change *c, struct err *err)
{
    if (db_begin(s, err))
        return -1;
    *c = (struct change){s, db_batch_new(), s->seq + 1, 0};
    return 0;
}

int store_commit(struct store *s, const struct store_txn *t, struct store_result *out,
                 struct err *err)
{
    struct store_result result = {.succeeded = true};
    struct change c;
    int rc = 0;

    if (db_check_txn(s, t, err) || db_start(s, &c, err))
        return -1;
    for (size_t i = 0; rc == 0 && result.succeeded && i < t->compare_count; i++) {
        rc = db_test_compare(s, &t->compares[i], &result.succeeded, err);
        result.failed = i;
    }
    for (size_t i = 0; rc == 0 && result.succeeded && i < t->op_count; i++)
        rc = apply_op(&c, &t->ops[i], err);
    result.seq = c.touched ? c.seq : s->seq;
    if (result.succeeded)
        result.failed = 0;
    if (db_finish(&c, rc, err))
        return -1;
    *out = result;
    return 0;
}
