/* Virtual addresses: given once, by hash, and kept. */
#include "store/registry_parts.h"

#include "mesh/base/hash.h"
#include "mesh/vip.h"

static bool is_used(const struct registry *r, const struct addr *a)
{
    char text[ADDR_TEXT_MAX];

    return map_get(&r->used, str_from(addr_format_ip(a, text)));
}

/* One try. *done false: another server took an address meanwhile. */
static int claim_vip(struct registry *r, struct str key, struct str ns, struct str fqdn,
                     const struct vip *v, bool *done, struct err *err)
{
    char v4[ADDR_TEXT_MAX], v6[ADDR_TEXT_MAX];
    struct str paths[3], owner;
    struct store_result result;
    struct store_txn t;
    struct buf b;
    int rc;

    addr_format_ip(&v->v4, v4);
    addr_format_ip(&v->v6, v6);
    store_txn_init(&t);
    paths[0] = arena_printf(&t.arena, "/reg/vip/%.*s", STR_ARG(key));
    paths[1] = arena_printf(&t.arena, "/reg/vip4/%s", v4);
    paths[2] = arena_printf(&t.arena, "/reg/vip6/%s", v6);
    buf_init(&b, 4096);
    buf_addc(&b, '{');
    row_str(&b, "ns", ns);
    row_str(&b, "name", fqdn);
    owner = arena_printf(&t.arena, "%.*s}", STR_ARG(buf_str(&b)));
    row_str(&b, "v4", str_from(v4));
    row_str(&b, "v6", str_from(v6));
    buf_addc(&b, '}');
    for (size_t i = 0; i < COUNT(paths); i++) {
        store_txn_if(&t, STORE_ABSENT, paths[i]);
        store_txn_put(&t, paths[i], i ? owner : buf_str(&b));
    }
    rc = store_commit(r->store, &t, &result, err);
    if (rc == 0)
        *done = result.succeeded;
    buf_done(&b);
    store_txn_done(&t);
    return rc;
}

/* What the store knows and memory does not know yet. */
static int stored_vip(struct registry *r, struct str key, struct arena *a, struct vip *v,
                      bool *found, struct err *err)
{
    struct store_kv kv;
    struct node *m;

    if (store_get(r->store, arena_printf(a, "/reg/vip/%.*s", STR_ARG(key)), a, &kv, err))
        return -1;
    *found = false;
    if (!kv.mod_seq)
        return 0;
    if (row_parse(kv.value, "a virtual address", a, &m, err))
        return -1;
    *found = addr_parse_ip(node_text(m, "v4"), &v->v4) && addr_parse_ip(node_text(m, "v6"), &v->v6);
    return 0;
}

static int allocate_vip(struct registry *r, struct str key, struct str ns, struct str fqdn,
                        struct arena *a, struct vip *v, struct err *err)
{
    bool done = false;

    if (stored_vip(r, key, a, v, &done, err))
        return -1;
    for (uint64_t i = 0; !done && i < VIP_COUNT; i++) {
        vip_candidate(key, i, &v->v4, &v->v6);
        if (is_used(r, &v->v4) || is_used(r, &v->v6))
            continue;
        if (claim_vip(r, key, ns, fqdn, v, &done, err))
            return -1;
    }
    if (!done)
        return err_set(err, ERR_LIMIT,
                       "all %u virtual addresses are taken: delete services and forget their names",
                       VIP_COUNT);
    return 0;
}

int registry_vip(struct registry *r, struct str ns, struct str fqdn, struct addr *vip4,
                 struct addr *vip6, struct err *err)
{
    const struct vip *known;
    struct vip v = {0};
    struct arena a;
    struct str key;
    int rc = 0;

    if (ns.n + fqdn.n + 16 > STORE_KEY_BYTES)
        return err_set(err, ERR_INVALID, "the name %.*s is too long", STR_ARG(fqdn));
    arena_init(&a);
    key = registry_pair(&a, ns, fqdn);
    known = map_get(&r->vips, key);
    if (known)
        v = *known;
    else
        rc = allocate_vip(r, key, ns, fqdn, &a, &v, err);
    arena_done(&a);
    if (rc)
        return -1;
    *vip4 = v.v4;
    *vip6 = v.v6;
    return 0;
}

int registry_vip_forget(struct registry *r, struct str ns, struct str fqdn, struct err *err)
{
    char text[ADDR_TEXT_MAX];
    const struct vip *v;
    struct store_txn t;
    struct str key;
    int rc = 0;

    store_txn_init(&t);
    key = registry_pair(&t.arena, ns, fqdn);
    v = map_get(&r->vips, key);
    if (registry_service_at(r, key))
        rc = err_set(err, ERR_CONFLICT,
                     "service %.*s still needs its virtual address: delete the service first",
                     STR_ARG(fqdn));
    else if (!v)
        rc = err_set(err, ERR_MISSING, "%.*s has no virtual address", STR_ARG(fqdn));
    if (rc == 0) {
        store_txn_delete(&t, arena_printf(&t.arena, "/reg/vip/%.*s", STR_ARG(key)));
        store_txn_delete(&t, arena_printf(&t.arena, "/reg/vip4/%s", addr_format_ip(&v->v4, text)));
        store_txn_delete(&t, arena_printf(&t.arena, "/reg/vip6/%s", addr_format_ip(&v->v6, text)));
        rc = registry_write_txn(r, &t, NULL, err);
    }
    store_txn_done(&t);
    return rc;
}
