/* Ejections: a host is put out, and its key refused from then on. */
#include "store/ledger_parts.h"

#include "mesh/base/text.h"

static struct str encode_ejection(const struct registry_host *h, struct str reason, int64_t at_ms,
                                  struct arena *a)
{
    struct buf b;

    buf_init(&b, ROW_BYTES);
    buf_addc(&b, '{');
    row_str(&b, "host", h->id);
    row_str(&b, "name", h->name);
    ledger_put_text(&b, "reason", reason);
    row_str(&b, "pin", h->pin);
    row_int(&b, "at_ms", at_ms);
    buf_addc(&b, '}');
    return row_done(&b, a);
}

int ledger_eject(struct store *s, struct str host, struct str reason,
                 const struct ledger_audit *audit, struct err *err)
{
    int64_t at_ms = audit ? audit->now_ms : text_wall_ms();
    struct registry_host h;
    struct store_txn t;
    struct str path, row;
    int64_t seq;
    int rc;

    store_txn_init(&t);
    path = registry_host_path(&t.arena, host);
    rc = ledger_get_host(s, host, &t.arena, &h, &seq, err);
    if (rc == 0 && !seq)
        rc = err_set(err, ERR_MISSING, "host %.*s is not known: see the list of hosts",
                     STR_ARG(host));
    if (rc == 0 && h.state == REGISTRY_EJECTED)
        rc = err_set(err, ERR_CONFLICT, "host %.*s is ejected already", STR_ARG(h.name));
    if (rc == 0) {
        h.state = REGISTRY_EJECTED;
        row = encode_ejection(&h, reason, at_ms, &t.arena);
        store_txn_if_seq(&t, path, seq);
        store_txn_put(&t, path, registry_encode_host(&t.arena, &h));
        store_txn_delete(&t, registry_workloads_path(&t.arena, h.id));
        store_txn_put(&t, arena_printf(&t.arena, "/eject/%.*s", STR_ARG(h.id)), row);
        store_txn_put(&t, arena_printf(&t.arena, "/eject-pin/%.*s", STR_ARG(h.pin)), row);
        rc = ledger_write_txn(s, &t, audit, err);
    }
    store_txn_done(&t);
    return rc;
}

int ledger_ejection_list(struct store *s, struct arena *a, struct ledger_ejection **out,
                         size_t *count, struct err *err)
{
    struct store_range range = {.prefix = STR("/eject/")};
    struct ledger_ejection *list;
    struct store_kv *kvs;
    size_t n;

    if (store_list(s, &range, a, &kvs, &n, NULL, err))
        return -1;
    list = ARENA_ARRAY(a, n, struct ledger_ejection);
    for (size_t i = 0; i < n; i++) {
        struct node *m;

        if (row_parse(kvs[i].value, "an ejection", a, &m, err))
            return -1;
        list[i] = (struct ledger_ejection){.host = node_text(m, "host"),
                                           .name = node_text(m, "name"),
                                           .reason = node_text(m, "reason"),
                                           .pin = node_text(m, "pin"),
                                           .at_ms = row_number(m, "at_ms")};
    }
    *out = list;
    *count = n;
    return 0;
}

bool ledger_ejected(struct store *s, struct str host_or_pin)
{
    static const char *const folders[] = {"/eject/", "/eject-pin/"};
    bool found = false;
    struct arena a;

    arena_init(&a);
    for (size_t i = 0; i < COUNT(folders); i++) {
        struct store_kv kv;
        struct err ignored;

        /* Who cannot be looked up is refused. */
        if (store_get(s, arena_printf(&a, "%s%.*s", folders[i], STR_ARG(host_or_pin)), &a, &kv,
                      &ignored) ||
            kv.mod_seq)
            found = true;
    }
    arena_done(&a);
    return found;
}
