#include "store/check.h"

#include "store/ledger.h"
#include "store/registry.h"
#include "store/row.h"
#include "store/store.h"

#define PAGE 500u /* rows in memory at a time */

typedef int row_fn(struct store *s, const struct store_kv *row, void *arg, struct arena *a,
                   struct err *err);

static int each_row(struct store *s, const char *prefix, row_fn *fn, void *arg, struct err *err)
{
    struct store_range range = {.prefix = str_from(prefix), .limit = PAGE};
    struct arena a, keep;
    bool more = true;
    int rc = 0;

    arena_init(&keep);
    while (rc == 0 && more) {
        struct store_kv *rows;
        size_t n;

        arena_init(&a);
        rc = store_list(s, &range, &a, &rows, &n, &more, err);
        for (size_t i = 0; rc == 0 && i < n; i++)
            rc = fn(s, &rows[i], arg, &a, err);
        if (rc == 0 && n)
            range.after = arena_str(&keep, rows[n - 1].key);
        arena_done(&a);
    }
    arena_done(&keep);
    return rc;
}

static int wrong(const struct store_kv *row, const char *how, struct err *err)
{
    return err_set(err, ERR_IO, "%.*s %s: restore a backup", STR_ARG(row->key), how);
}

/* The row of this key, as a JSON map. */
static int get_map(struct store *s, struct str key, struct arena *a, struct node **out,
                   struct err *err)
{
    struct store_kv kv;

    if (store_get(s, key, a, &kv, err))
        return -1;
    if (!kv.mod_seq)
        return err_set(err, ERR_IO, "%.*s is missing: restore a backup", STR_ARG(key));
    return row_parse(kv.value, "a row", a, out, err);
}

/* ---- hosts ---- */

static int leads_to(struct store *s, struct str key, struct str id, struct arena *a,
                    struct err *err)
{
    struct node *m;

    if (get_map(s, key, a, &m, err))
        return -1;
    if (!str_eq(node_text(m, "id"), id))
        return err_set(err, ERR_IO, "%.*s belongs to another host than %.*s: restore a backup",
                       STR_ARG(key), STR_ARG(id));
    return 0;
}

static int check_host(struct store *s, const struct store_kv *row, void *arg, struct arena *a,
                      struct err *err)
{
    struct check_counts *counts = arg;
    struct registry_host h;

    if (registry_decode_host(row->value, a, &h, err))
        return -1;
    if (!str_eq(row->key, registry_host_path(a, h.id)))
        return wrong(row, "has another id inside", err);
    counts->hosts++;
    return leads_to(s, registry_pin_path(a, h.pin), h.id, a, err) ||
                   leads_to(s, registry_name_path(a, h.name), h.id, a, err)
               ? -1
               : 0;
}

static int host_of(struct store *s, const struct store_kv *row, struct arena *a,
                   struct registry_host *h, struct err *err)
{
    struct store_kv host;
    struct node *m;

    if (row_parse(row->value, "a row", a, &m, err) ||
        store_get(s, registry_host_path(a, node_text(m, "id")), a, &host, err))
        return -1;
    if (!host.mod_seq)
        return wrong(row, "names a host that is not there", err);
    return registry_decode_host(host.value, a, h, err);
}

static int check_pin(struct store *s, const struct store_kv *row, void *arg, struct arena *a,
                     struct err *err)
{
    struct registry_host h;

    (void)arg; /* row_fn */
    if (host_of(s, row, a, &h, err))
        return -1;
    return str_eq(row->key, registry_pin_path(a, h.pin))
               ? 0
               : wrong(row, "is not the key of its host", err);
}

static int check_name(struct store *s, const struct store_kv *row, void *arg, struct arena *a,
                      struct err *err)
{
    struct registry_host h;

    (void)arg; /* row_fn */
    if (host_of(s, row, a, &h, err))
        return -1;
    return str_eq(row->key, registry_name_path(a, h.name))
               ? 0
               : wrong(row, "is not the name of its host", err);
}

int check_hosts(struct store *s, struct check_counts *out, struct err *err)
{
    return each_row(s, "/reg/host/", check_host, out, err) ||
                   each_row(s, "/reg/pin/", check_pin, NULL, err) ||
                   each_row(s, "/reg/hostname/", check_name, NULL, err)
               ? -1
               : 0;
}

/* ---- tokens ---- */

int check_tokens(struct store *s, struct check_counts *out, struct err *err)
{
    struct ledger_token *list;
    struct arena a;
    size_t count = 0;
    int rc;

    arena_init(&a);
    rc = ledger_token_list(s, &a, &list, &count, err);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        const struct ledger_token *t = &list[i];
        struct store_range range = {.prefix = arena_printf(&a, "/spent/%.*s/", STR_ARG(t->id)),
                                    .keys_only = true};
        struct store_kv *rows;
        size_t keys;

        rc = store_list(s, &range, &a, &rows, &keys, NULL, err);
        if (rc == 0 && (t->uses_left < 0 || t->uses_left > t->uses_max ||
                        (int64_t)keys > t->uses_max - t->uses_left))
            rc = err_set(err, ERR_IO,
                         "token %.*s was used by %zu keys, has %lld of %lld uses left: restore a "
                         "backup, or revoke it",
                         STR_ARG(t->id), keys, (long long)t->uses_left, (long long)t->uses_max);
    }
    if (rc == 0)
        out->tokens = count;
    arena_done(&a);
    return rc;
}
