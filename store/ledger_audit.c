/* The audit log: each row holds the hash of the one before. */
#include "store/ledger_parts.h"

#include <string.h>

#include "mesh/base/text.h"

#define PAGE 500u

static const char zeros[] = "0000000000000000000000000000000000000000000000000000000000000000";

static struct str hash_hex(struct str text, struct arena *a)
{
    uint8_t hash[HASH_BYTES];
    struct buf b;

    hash_sha256(text, hash);
    buf_init(&b, HEX);
    text_hex(&b, hash, sizeof(hash));
    return row_done(&b, a);
}

static struct str encode_audit(int64_t n, const struct ledger_audit *audit, struct str previous,
                               struct arena *a)
{
    struct buf b, at;

    buf_init(&at, 64);
    text_time(&at, audit->now_ms, true);
    buf_init(&b, ROW_BYTES);
    buf_addc(&b, '{');
    row_int(&b, "n", n);
    row_str(&b, "at", buf_str(&at));
    row_int(&b, "at_ms", audit->now_ms);
    ledger_put_text(&b, "actor", audit->actor);
    ledger_put_text(&b, "source", audit->source);
    ledger_put_text(&b, "action", audit->action);
    ledger_put_text(&b, "object", audit->object);
    ledger_put_text(&b, "verdict", audit->verdict.n ? audit->verdict : STR("ok"));
    ledger_put_text(&b, "message", audit->message);
    ledger_put_text(&b, "digest", audit->digest);
    if (audit->revision_before || audit->revision) {
        row_int(&b, "revision_before", audit->revision_before);
        row_int(&b, "revision", audit->revision);
    }
    row_str(&b, "previous", previous);
    buf_addc(&b, '}');
    buf_done(&at);
    return row_done(&b, a);
}

int ledger_audit_add(struct store *s, struct store_txn *t, const struct ledger_audit *audit,
                     struct err *err)
{
    struct str row, previous = str_from(zeros);
    struct node *head;
    int64_t seq, n = 1;

    if (ledger_get_row(s, STR("/audit-head"), "the head of the audit log", &t->arena, &head, &seq,
                       err))
        return -1;
    if (head) {
        n = row_number(head, "n") + 1;
        previous = node_text(head, "hash");
    }
    row = encode_audit(n, audit, previous, &t->arena);
    store_txn_if_seq(t, STR("/audit-head"), seq);
    store_txn_put(t, STR("/audit-head"),
                  arena_printf(&t->arena, "{\"n\":%lld,\"hash\":\"%.*s\"}", (long long)n,
                               STR_ARG(hash_hex(row, &t->arena))));
    store_txn_put(t, row_number_key(&t->arena, "/audit/", n), row);
    return 0;
}

int ledger_audit_write(struct store *s, const struct ledger_audit *audit, struct err *err)
{
    struct store_txn t;
    int rc;

    store_txn_init(&t);
    rc = ledger_write_txn(s, &t, audit, err);
    store_txn_done(&t);
    return rc;
}

static int decode_audit(const struct store_kv *kv, struct arena *a, struct ledger_row *out,
                        struct err *err)
{
    struct node *m;

    if (row_parse(kv->value, "a row of the audit log", a, &m, err))
        return -1;
    *out = (struct ledger_row){
        .number = row_number(m, "n"),
        .audit = {.now_ms = row_number(m, "at_ms"),
                  .actor = node_text(m, "actor"),
                  .source = node_text(m, "source"),
                  .action = node_text(m, "action"),
                  .object = node_text(m, "object"),
                  .verdict = node_text(m, "verdict"),
                  .message = node_text(m, "message"),
                  .digest = node_text(m, "digest"),
                  .revision_before = row_number(m, "revision_before"),
                  .revision = row_number(m, "revision")},
        .previous = node_text(m, "previous"),
        .json = kv->value,
    };
    return 0;
}

int ledger_audit_list(struct store *s, int64_t before, size_t limit, struct arena *a,
                      struct ledger_row **rows, size_t *count, struct err *err)
{
    struct store_range range = {.prefix = STR("/audit/"), .limit = limit, .descending = true};
    struct ledger_row *list;
    struct store_kv *kvs;
    size_t n;

    if (before > 0)
        range.after = row_number_key(a, "/audit/", before);
    if (store_list(s, &range, a, &kvs, &n, NULL, err))
        return -1;
    list = ARENA_ARRAY(a, n, struct ledger_row);
    for (size_t i = 0; i < n; i++) {
        if (decode_audit(&kvs[i], a, &list[i], err))
            return -1;
    }
    *rows = list;
    *count = n;
    return 0;
}

/* Where the chain stands while it is walked. */
struct chain {
    int64_t n; /* rows seen */
    char hash[HEX + 1];
    char last_key[64];
    size_t last_key_bytes;
};

static int broken(int64_t n, const char *how, struct err *err)
{
    return err_set(err, ERR_CONFLICT, "audit row %lld %s: the log was tampered with", (long long)n,
                   how);
}

static int walk_page(struct store *s, struct chain *c, bool *more, struct err *err)
{
    struct store_range range = {
        .prefix = STR("/audit/"), .after = {c->last_key, c->last_key_bytes},
             .limit = PAGE
    };
    struct store_kv *kvs;
    struct arena a;
    size_t count;
    int rc;

    arena_init(&a);
    rc = store_list(s, &range, &a, &kvs, &count, more, err);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        struct str key = row_number_key(&a, "/audit/", c->n + 1);
        struct ledger_row row;

        if (!str_eq(kvs[i].key, key))
            rc = broken(c->n + 1, "is missing", err);
        else if (decode_audit(&kvs[i], &a, &row, err) || row.number != c->n + 1)
            rc = broken(c->n + 1, "was changed", err);
        else if (!str_eq(row.previous, str_from(c->hash)))
            rc = broken(c->n, "was changed", err);
        if (rc)
            break;
        c->n++;
        memcpy(c->hash, hash_hex(kvs[i].value, &a).p, HEX);
        memcpy(c->last_key, key.p, key.n);
        c->last_key_bytes = key.n;
    }
    arena_done(&a);
    return rc;
}

int ledger_audit_verify(struct store *s, int64_t *rows, struct err *err)
{
    struct chain c = {0};
    struct node *head;
    struct arena a;
    bool more = true;
    int64_t seq;
    int rc = 0;

    memcpy(c.hash, zeros, HEX);
    while (rc == 0 && more)
        rc = walk_page(s, &c, &more, err);
    arena_init(&a);
    if (rc == 0)
        rc = ledger_get_row(s, STR("/audit-head"), "the head of the audit log", &a, &head, &seq,
                            err);
    if (rc == 0 && c.n != (head ? row_number(head, "n") : 0))
        rc = broken(c.n + 1, "is missing", err);
    if (rc == 0 && head && !str_eq(node_text(head, "hash"), str_from(c.hash)))
        rc = broken(c.n, "was changed", err);
    arena_done(&a);
    if (rc == 0)
        *rows = c.n;
    return rc;
}
