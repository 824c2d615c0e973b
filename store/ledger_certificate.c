/* Certificates that were issued: which there are, and whose. */
#include "store/ledger_parts.h"

#include <string.h>

#include "mesh/base/mem.h"

#define CERTS_BATCH 60u

static struct str cert_path(struct arena *a, struct str serial)
{
    return arena_printf(a, "/cert/%.*s", STR_ARG(serial));
}

static struct str host_cert_path(struct arena *a, struct str host, struct str serial)
{
    return arena_printf(a, "/host-cert/%.*s/%.*s", STR_ARG(host), STR_ARG(serial));
}

static struct str encode_cert(const struct ledger_certificate *c, struct arena *a)
{
    struct buf b;

    buf_init(&b, ROW_BYTES);
    buf_addc(&b, '{');
    row_str(&b, "serial", c->serial);
    row_str(&b, "identity", c->identity);
    row_str(&b, "host", c->host);
    row_opt(&b, "pin", c->pin);
    row_int(&b, "issued_ms", c->issued_ms);
    row_int(&b, "not_after_ms", c->not_after_ms);
    buf_addc(&b, '}');
    return row_done(&b, a);
}

static void decode_cert(const struct node *m, struct arena *a, struct ledger_certificate *out)
{
    *out = (struct ledger_certificate){
        .serial = arena_str(a, node_text(m, "serial")),
        .identity = arena_str(a, node_text(m, "identity")),
        .host = arena_str(a, node_text(m, "host")),
        .pin = arena_str(a, node_text(m, "pin")),
        .issued_ms = row_number(m, "issued_ms"),
        .not_after_ms = row_number(m, "not_after_ms"),
    };
}

static int put_certs(struct store *s, const struct ledger_certificate *certs, size_t count,
                     const struct ledger_audit *audit, struct err *err)
{
    struct store_txn *t = MEM_NEW(struct store_txn);
    int rc;

    store_txn_init(t);
    for (size_t i = 0; i < count; i++) {
        store_txn_put(t, cert_path(&t->arena, certs[i].serial), encode_cert(&certs[i], &t->arena));
        store_txn_put(t, host_cert_path(&t->arena, certs[i].host, certs[i].serial), STR("{}"));
    }
    rc = ledger_write_txn(s, t, audit, err);
    store_txn_done(t);
    mem_free(t);
    return rc;
}

int ledger_certificate_add(struct store *s, const struct ledger_certificate *certs, size_t count,
                           const struct ledger_audit *audit, struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        if (certs[i].serial.n == 0 || certs[i].serial.n > HEX || str_has(certs[i].serial, '/'))
            return err_set(err, ERR_INVALID, "a certificate needs its serial number in hex");
    }
    for (size_t i = 0; i < count; i += CERTS_BATCH) {
        size_t n = MIN(count - i, CERTS_BATCH);

        if (put_certs(s, certs + i, n, i + n == count ? audit : NULL, err))
            return -1;
    }
    return 0;
}

int ledger_certificate_find(struct store *s, struct str serial, struct arena *a,
                            struct ledger_certificate *out, struct err *err)
{
    struct node *m;
    int64_t seq;

    if (ledger_get_row(s, cert_path(a, serial), "a certificate", a, &m, &seq, err))
        return -1;
    if (!m)
        return err_set(err, ERR_MISSING, "no certificate %.*s was issued here", STR_ARG(serial));
    decode_cert(m, a, out);
    return 0;
}

int ledger_certificate_list(struct store *s, struct str host, struct str after, size_t limit,
                            struct arena *a, struct ledger_certificate **out, size_t *count,
                            struct err *err)
{
    struct str prefix = host.n ? host_cert_path(a, host, STR("")) : STR("/cert/");
    struct store_range range = {.prefix = prefix, .limit = limit, .keys_only = true};
    struct ledger_certificate *list;
    struct store_kv *kvs;
    size_t n;

    if (after.n)
        range.after = arena_printf(a, "%.*s%.*s", STR_ARG(prefix), STR_ARG(after));
    if (store_list(s, &range, a, &kvs, &n, NULL, err))
        return -1;
    list = ARENA_ARRAY(a, n, struct ledger_certificate);
    for (size_t i = 0; i < n; i++) {
        if (ledger_certificate_find(s, str_sub(kvs[i].key, prefix.n, kvs[i].key.n), a, &list[i],
                                    err))
            return -1;
    }
    *out = list;
    *count = n;
    return 0;
}

/* One page of certificates: delete what is over. */
static int sweep_certs(struct store *s, int64_t before_ms, char *last, size_t *last_bytes,
                       bool *more, size_t *gone, struct err *err)
{
    struct store_range range = {
        .prefix = STR("/cert/"), .after = {last, *last_bytes},
             .limit = SWEEP_BATCH
    };
    struct store_txn *t = MEM_NEW(struct store_txn);
    struct store_kv *kvs;
    struct arena a;
    size_t n = 0;
    int rc;

    arena_init(&a);
    store_txn_init(t);
    rc = store_list(s, &range, &a, &kvs, &n, more, err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        struct ledger_certificate c;
        struct node *m;

        rc = row_parse(kvs[i].value, "a certificate", &a, &m, err);
        if (rc)
            break;
        decode_cert(m, &a, &c);
        *last_bytes = kvs[i].key.n;
        memcpy(last, kvs[i].key.p, kvs[i].key.n);
        if (c.not_after_ms >= before_ms)
            continue;
        store_txn_delete(t, kvs[i].key);
        store_txn_delete(t, host_cert_path(&a, c.host, c.serial));
        *gone += 1;
    }
    if (rc == 0 && t->op_count)
        rc = ledger_write_txn(s, t, NULL, err);
    store_txn_done(t);
    mem_free(t);
    arena_done(&a);
    return rc;
}

int ledger_certificate_sweep(struct store *s, int64_t now_ms, int64_t keep_ms, size_t *removed,
                             struct err *err)
{
    char last[STORE_KEY_BYTES];
    size_t last_bytes = 0, gone = 0;
    bool more = true;

    while (more) {
        if (sweep_certs(s, now_ms - keep_ms, last, &last_bytes, &more, &gone, err))
            return -1;
    }
    if (removed)
        *removed = gone;
    return 0;
}
