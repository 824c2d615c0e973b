/* What a transaction asks for: collected, checked, compared. */
#include "store/sqlite_parts.h"

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

const struct lease *db_find_lease(const struct store *s, int64_t id)
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
    if (op->kind == STORE_PUT && op->lease && !db_find_lease(s, op->lease))
        return err_set(err, ERR_MISSING, "lease %lld is not there or ran out",
                       (long long)op->lease);
    for (size_t j = 0; j < i; j++) {
        if (overlap(&t->ops[j], op))
            return err_set(err, ERR_INVALID, "key %.*s is written twice in one transaction",
                           STR_ARG(op->key));
    }
    return 0;
}

int db_check_txn(const struct store *s, const struct store_txn *t, struct err *err)
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

int db_test_compare(struct store *s, const struct store_compare *c, bool *held, struct err *err)
{
    sqlite3_stmt *st = db_stmt(s, SQL_GET);
    int rc;

    db_bind_key(st, 1, c->key);
    rc = db_next_row(s, st, err);
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
        *held = rc > 0 && str_eq(db_column(st, 1), c->value);
        break;
    }
    sqlite3_reset(st);
    return 0;
}
