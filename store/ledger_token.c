/* Join tokens: made, listed, revoked, swept. */
#include "store/ledger_parts.h"

#include "mesh/base/mem.h"

#define USES_MAX 1000000

struct str ledger_token_path(struct arena *a, struct str id)
{
    return arena_printf(a, "/token/%.*s", STR_ARG(id));
}

struct str ledger_spent_path(struct arena *a, struct str id, struct str pin)
{
    return arena_printf(a, "/spent/%.*s/%.*s", STR_ARG(id), STR_ARG(pin));
}

struct str ledger_encode_token(const struct ledger_token *t, struct arena *a)
{
    struct buf b;

    buf_init(&b, ROW_BYTES);
    buf_addc(&b, '{');
    row_str(&b, "id", t->id);
    row_str(&b, "secret", t->secret);
    row_int(&b, "uses_max", t->uses_max);
    row_int(&b, "uses_left", t->uses_left);
    row_int(&b, "created_ms", t->created_ms);
    row_int(&b, "expires_ms", t->expires_ms);
    row_opt(&b, "creator", t->creator);
    row_open(&b, "sources", '[');
    for (size_t i = 0; i < t->source_count; i++)
        row_str(&b, NULL, t->sources[i]);
    buf_addc(&b, ']');
    row_true(&b, "unrestricted", t->unrestricted);
    row_true(&b, "pending", t->pending);
    row_true(&b, "revoked", t->revoked);
    registry_encode_grants(&b, t->grants, t->grant_count);
    registry_encode_labels(&b, t->labels, t->label_count);
    buf_addc(&b, '}');
    return row_done(&b, a);
}

static void decode_token(const struct node *m, struct arena *a, struct ledger_token *out)
{
    const struct node *sources = node_get(m, STR("sources"));
    struct ledger_token t = {
        .id = arena_str(a, node_text(m, "id")),
        .secret = arena_str(a, node_text(m, "secret")),
        .uses_max = row_number(m, "uses_max"),
        .uses_left = row_number(m, "uses_left"),
        .created_ms = row_number(m, "created_ms"),
        .expires_ms = row_number(m, "expires_ms"),
        .creator = arena_str(a, node_text(m, "creator")),
        .unrestricted = node_is_true(m, "unrestricted"),
        .pending = node_is_true(m, "pending"),
        .revoked = node_is_true(m, "revoked"),
    };

    t.sources = ARENA_ARRAY(a, sources ? sources->count : 0, struct str);
    for (const struct node *n = sources ? sources->first : NULL; n; n = n->next)
        t.sources[t.source_count++] = arena_str(a, n->text);
    registry_decode_grants(m, a, &t.grants, &t.grant_count);
    registry_decode_labels(m, a, &t.labels, &t.label_count);
    *out = t;
}

static int check_token(const struct ledger_token *t, struct err *err)
{
    struct cidr c;

    if (t->id.n == 0 || t->id.n > 64 || str_has(t->id, '/') || !ledger_is_hash(t->secret))
        return err_set(err, ERR_INVALID, "a token needs an id and the SHA-256 of its secret");
    if (t->uses_max < 1 || t->uses_max > USES_MAX)
        return err_set(err, ERR_INVALID, "a token has 1 to %d uses, not %lld", USES_MAX,
                       (long long)t->uses_max);
    if (t->expires_ms <= t->created_ms)
        return err_set(err, ERR_INVALID, "a token must live for some time");
    for (size_t i = 0; i < t->source_count; i++) {
        if (!cidr_parse(t->sources[i], &c))
            return err_set(err, ERR_INVALID, "\"%.*s\" is not a range of addresses like 10.0.0.0/8",
                           STR_ARG(t->sources[i]));
    }
    return 0;
}

int ledger_token_add(struct store *s, const struct ledger_token *token,
                     const struct ledger_audit *audit, struct err *err)
{
    struct ledger_token row = *token;
    struct store_kv kv;
    struct store_txn t;
    struct str path;
    int rc;

    if (check_token(token, err))
        return -1;
    row.uses_left = row.uses_max;
    row.revoked = false;
    store_txn_init(&t);
    path = ledger_token_path(&t.arena, row.id);
    rc = store_get(s, path, &t.arena, &kv, err);
    if (rc == 0 && kv.mod_seq)
        rc = err_set(err, ERR_CONFLICT, "token %.*s exists already: make another", STR_ARG(row.id));
    if (rc == 0) {
        store_txn_if(&t, STORE_ABSENT, path);
        store_txn_put(&t, path, ledger_encode_token(&row, &t.arena));
        rc = ledger_write_txn(s, &t, audit, err);
    }
    store_txn_done(&t);
    return rc;
}

int ledger_token_list(struct store *s, struct arena *a, struct ledger_token **out, size_t *count,
                      struct err *err)
{
    struct store_range range = {.prefix = STR("/token/")};
    struct ledger_token *list;
    struct store_kv *kvs;
    size_t n;

    if (store_list(s, &range, a, &kvs, &n, NULL, err))
        return -1;
    list = ARENA_ARRAY(a, n, struct ledger_token);
    for (size_t i = 0; i < n; i++) {
        struct node *m;

        if (row_parse(kvs[i].value, "a token", a, &m, err))
            return -1;
        decode_token(m, a, &list[i]);
    }
    *out = list;
    *count = n;
    return 0;
}

int ledger_get_token(struct store *s, struct str id, struct arena *a, struct ledger_token *out,
                     int64_t *mod_seq, struct err *err)
{
    struct node *m;

    if (ledger_get_row(s, ledger_token_path(a, id), "a token", a, &m, mod_seq, err))
        return -1;
    if (m)
        decode_token(m, a, out);
    return 0;
}

int ledger_token_find(struct store *s, struct str id, struct arena *a, struct ledger_token *out,
                      struct err *err)
{
    int64_t seq;

    if (ledger_get_token(s, id, a, out, &seq, err))
        return -1;
    return seq ? 0 : err_set(err, ERR_MISSING, "there is no token %.*s", STR_ARG(id));
}

int ledger_token_revoke(struct store *s, struct str id, const struct ledger_audit *audit,
                        struct err *err)
{
    struct ledger_token token;
    struct store_txn t;
    struct str path;
    int64_t seq;
    int rc;

    store_txn_init(&t);
    path = ledger_token_path(&t.arena, id);
    rc = ledger_get_token(s, id, &t.arena, &token, &seq, err);
    if (rc == 0 && !seq)
        rc = err_set(err, ERR_MISSING, "there is no token %.*s", STR_ARG(id));
    if (rc == 0 && !token.revoked) {
        token.revoked = true;
        store_txn_if_seq(&t, path, seq);
        store_txn_put(&t, path, ledger_encode_token(&token, &t.arena));
        rc = ledger_write_txn(s, &t, audit, err);
    }
    store_txn_done(&t);
    return rc;
}

static bool token_is_over(const struct ledger_token *t, int64_t now_ms, int64_t keep_ms)
{
    if (t->expires_ms + keep_ms < now_ms)
        return true;
    /* A used up or revoked one is kept as long as it would have lived: its id must stay refused. */
    return (t->uses_left == 0 || t->revoked) && t->expires_ms < now_ms;
}

int ledger_token_sweep(struct store *s, int64_t now_ms, int64_t keep_ms, size_t *removed,
                       struct err *err)
{
    struct ledger_token *list;
    struct store_txn *t = MEM_NEW(struct store_txn);
    struct arena a;
    size_t n = 0, gone = 0;
    int rc;

    arena_init(&a);
    store_txn_init(t);
    rc = ledger_token_list(s, &a, &list, &n, err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        if (!token_is_over(&list[i], now_ms, keep_ms))
            continue;
        store_txn_delete(t, ledger_token_path(&a, list[i].id));
        store_txn_delete_prefix(t, ledger_spent_path(&a, list[i].id, STR("")));
        gone++;
        if (t->op_count >= SWEEP_BATCH) {
            rc = ledger_write_txn(s, t, NULL, err);
            store_txn_clear(t);
        }
    }
    if (rc == 0 && t->op_count)
        rc = ledger_write_txn(s, t, NULL, err);
    store_txn_done(t);
    mem_free(t);
    arena_done(&a);
    if (rc == 0 && removed)
        *removed = gone;
    return rc;
}
