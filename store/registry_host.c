/* Hosts, and what they may offer. */
#include "store/registry_parts.h"

#include <string.h>

#include "mesh/identity.h"

#define REJOIN_MS  600000 /* a lost answer is given again */
#define NAME_BYTES 253u

/* -------------------------------------------------------------------- hosts */

bool registry_host_name_ok(struct str name)
{
    struct str label;

    if (name.n == 0 || name.n > NAME_BYTES || name.p[name.n - 1] == '.')
        return false;
    while (str_next(&name, '.', &label)) {
        if (!identity_label_ok(label))
            return false;
    }
    return true;
}

int registry_no_host(struct str id, struct err *err)
{
    return err_set(err, ERR_MISSING, "host %.*s is not known: see the list of hosts", STR_ARG(id));
}

int registry_write_txn(struct registry *r, struct store_txn *t, const struct ledger_audit *audit,
                       struct err *err)
{
    if (audit && ledger_audit_add(r->store, t, audit, err))
        return -1;
    return row_commit(r->store, t, "the registry was changed meanwhile: try again", err);
}

/* Put a changed host row, on condition that it is still the one we saw. `t` may hold more. */
static int put_host(struct registry *r, const struct host *old, const struct registry_host *h,
                    struct store_txn *t, const struct ledger_audit *audit, struct err *err)
{
    struct str path = registry_host_path(&t->arena, h->id);
    struct str row = registry_encode_host(&t->arena, h);

    store_txn_if_seq(t, path, old->mod_seq);
    store_txn_put(t, path, row);
    return registry_write_txn(r, t, audit, err);
}

int registry_host_approve(struct registry *r, struct str id, bool unrestricted,
                          const struct registry_grant *grants, size_t count,
                          const struct ledger_audit *audit, struct err *err)
{
    const struct host *old = registry_find_host(r, id);
    struct registry_host h;
    struct store_txn t;
    int rc;

    if (!old)
        return registry_no_host(id, err);
    if (old->seen.state == REGISTRY_EJECTED)
        return err_set(err, ERR_DENIED,
                       "host %.*s was ejected: its key stays refused; let it join anew with a new "
                       "key",
                       STR_ARG(old->seen.name));
    h = old->seen;
    h.state = REGISTRY_ACTIVE;
    h.unrestricted = unrestricted;
    h.grant_count = unrestricted ? 0 : count;
    store_txn_init(&t);
    h.grants = ARENA_ARRAY(&t.arena, count, struct registry_grant);
    if (count)
        memcpy(h.grants, grants, count * sizeof(*grants));
    rc = put_host(r, old, &h, &t, audit, err);
    store_txn_done(&t);
    return rc;
}

int registry_host_rename(struct registry *r, struct str id, struct str name,
                         const struct ledger_audit *audit, struct err *err)
{
    const struct host *old = registry_find_host(r, id);
    struct registry_host h;
    struct store_txn t;
    int rc;

    if (!old)
        return registry_no_host(id, err);
    if (str_eq(name, old->seen.name))
        return 0;
    if (!registry_host_name_ok(name))
        return err_set(err, ERR_INVALID,
                       "\"%.*s\" is not a host name: lower-case letters, digits and '-', in parts "
                       "separated by '.'",
                       STR_ARG(name));
    if (map_get(&r->names, name))
        return err_set(err, ERR_CONFLICT, "the name %.*s is taken by another host: choose another",
                       STR_ARG(name));
    h = old->seen;
    h.name = name;
    store_txn_init(&t);
    store_txn_if(&t, STORE_ABSENT, registry_name_path(&t.arena, name));
    store_txn_delete(&t, registry_name_path(&t.arena, old->seen.name));
    store_txn_put(&t, registry_name_path(&t.arena, name),
                  arena_printf(&t.arena, "{\"id\":\"%.*s\"}", STR_ARG(id)));
    rc = put_host(r, old, &h, &t, audit, err);
    store_txn_done(&t);
    return rc;
}

int registry_host_set(struct registry *r, struct str id, struct str address,
                      const struct registry_label *labels, size_t count,
                      const struct ledger_audit *audit, struct err *err)
{
    const struct host *old = registry_find_host(r, id);
    struct registry_host h;
    struct store_txn t;
    int rc = 0;

    if (!old)
        return registry_no_host(id, err);
    if (count > LABELS_MAX)
        return err_set(err, ERR_LIMIT, "a host has at most %u labels, not %zu", LABELS_MAX, count);
    store_txn_init(&t);
    h = old->seen;
    h.address = address;
    h.labels = ARENA_ARRAY(&t.arena, count, struct registry_label);
    h.label_count = count;
    if (count)
        memcpy(h.labels, labels, count * sizeof(*labels));
    if (!str_eq(registry_encode_host(&t.arena, &h), registry_encode_host(&t.arena, &old->seen)))
        rc = put_host(r, old, &h, &t, audit, err);
    store_txn_done(&t);
    return rc;
}

int registry_host_rejoin(struct registry *r, struct str id, int64_t joins, int64_t now_ms,
                         int64_t *next, struct err *err)
{
    const struct host *old = registry_find_host(r, id);
    struct registry_host h;
    struct store_txn t;
    int rc;

    if (!old)
        return registry_no_host(id, err);
    if (old->seen.state == REGISTRY_EJECTED)
        return err_set(err, ERR_DENIED, "host %.*s was ejected", STR_ARG(old->seen.name));
    if (joins == old->seen.joins - 1 && now_ms - old->seen.last_join_ms <= REJOIN_MS) {
        *next = old->seen.joins;
        return 0;
    }
    if (joins != old->seen.joins)
        return err_set(
            err, ERR_CONFLICT,
            "host %.*s shows join counter %lld where %lld was expected: two machines seem "
            "to run with one key (a cloned disk?); stop one, delete its key and let it "
            "join anew",
            STR_ARG(old->seen.name), (long long)joins, (long long)old->seen.joins);
    h = old->seen;
    h.joins++;
    h.last_join_ms = now_ms;
    store_txn_init(&t);
    rc = put_host(r, old, &h, &t, NULL, err);
    store_txn_done(&t);
    if (rc)
        return -1;
    *next = joins + 1;
    return 0;
}

int registry_host_delete(struct registry *r, struct str id, const struct ledger_audit *audit,
                         struct err *err)
{
    const struct host *old = registry_find_host(r, id);
    struct store_txn t;
    struct str path;
    int rc;

    if (!old)
        return registry_no_host(id, err);
    store_txn_init(&t);
    path = registry_host_path(&t.arena, id);
    store_txn_if_seq(&t, path, old->mod_seq);
    store_txn_delete(&t, path);
    store_txn_delete(&t, registry_name_path(&t.arena, old->seen.name));
    store_txn_delete(&t, registry_pin_path(&t.arena, old->seen.pin));
    store_txn_delete(&t, registry_workloads_path(&t.arena, id));
    rc = registry_write_txn(r, &t, audit, err);
    store_txn_done(&t);
    return rc;
}

/* ------------------------------------------------------------------- grants */

static bool grant_field(struct str granted, struct str asked)
{
    return str_eq(granted, STR("*")) || str_eq(granted, asked);
}

bool registry_granted(bool unrestricted, const struct registry_grant *grants, size_t count,
                      struct str ns, struct str service, struct str account)
{
    for (size_t i = 0; i < count; i++) {
        struct str owner = grants[i].account.n ? grants[i].account : service;

        if (grant_field(grants[i].ns, ns) && grant_field(grants[i].service, service) &&
            grant_field(owner, account))
            return true;
    }
    return unrestricted;
}

static int outside(const struct registry_host *h, struct str ns, struct str service,
                   struct str account, struct err *err)
{
    struct buf b;

    buf_init(&b, 400);
    for (size_t i = 0; i < h->grant_count; i++) {
        const struct registry_grant *g = &h->grants[i];

        buf_printf(&b, "%s%.*s/%.*s", i ? ", " : "", STR_ARG(g->ns), STR_ARG(g->service));
        if (g->account.n)
            buf_printf(&b, " (account %.*s)", STR_ARG(g->account));
    }
    err_set(
        err, ERR_DENIED,
        "host %.*s may not offer %.*s/%.*s as account %.*s: it was granted %.*s; let it join with "
        "a token for %.*s/%.*s, or grant it to the host",
        STR_ARG(h->name), STR_ARG(ns), STR_ARG(service), STR_ARG(account),
        h->grant_count ? (int)b.n : 7, h->grant_count ? b.p : "nothing", STR_ARG(ns),
        STR_ARG(service));
    buf_done(&b);
    return -1;
}

int registry_claimed(const struct registry *r, const struct registry_host *h, struct str ns,
                     struct str service, struct str account, struct err *err)
{
    const struct registry_service *s;

    for (size_t i = 0; (s = registry_service_each(r, &i));) {
        bool same_name = str_eq(s->name, service);

        if (!str_eq(s->ns, ns) || str_eq(s->owner, h->id) ||
            (!same_name && !str_eq(s->account, account)))
            continue;
        return err_set(err, ERR_DENIED,
                       "host %.*s may not offer %.*s/%.*s as account %.*s: the %s belongs to "
                       "others; let it join with "
                       "a token for it (weft token create --service %.*s/%.*s)",
                       STR_ARG(h->name), STR_ARG(ns), STR_ARG(service), STR_ARG(account),
                       same_name ? "name" : "account", STR_ARG(ns), STR_ARG(service));
    }
    return 0;
}

int registry_may(const struct registry *r, struct str host, struct str ns, struct str service,
                 struct str account, struct err *err)
{
    const struct host *h = registry_find_host(r, host);
    struct str wanted = account.n ? account : service;
    const struct service *s;

    if (!h)
        return registry_no_host(host, err);
    if (h->seen.state == REGISTRY_PENDING)
        return err_set(err, ERR_DENIED,
                       "host %.*s waits for approval: approve it, then it may offer services",
                       STR_ARG(h->seen.name));
    if (h->seen.state == REGISTRY_EJECTED)
        return err_set(err, ERR_DENIED, "host %.*s was ejected: it has to join anew with a new key",
                       STR_ARG(h->seen.name));
    if (!registry_granted(h->seen.unrestricted, h->seen.grants, h->seen.grant_count, ns, service,
                          wanted))
        return outside(&h->seen, ns, service, wanted, err);
    if (str_starts(wanted, STR("host-")))
        return err_set(err, ERR_DENIED,
                       "account %.*s is not for services: host-... is what callers of a host are",
                       STR_ARG(wanted));
    s = registry_find_service(r, ns, service);
    if (s && !str_eq(s->seen.account, wanted))
        return err_set(err, ERR_DENIED,
                       "service %.*s/%.*s belongs to account %.*s, not to %.*s: set account = %.*s "
                       "in its definition, or choose another name",
                       STR_ARG(ns), STR_ARG(service), STR_ARG(s->seen.account), STR_ARG(wanted),
                       STR_ARG(s->seen.account));
    if (registry_granted(false, h->seen.grants, h->seen.grant_count, ns, service, wanted))
        return 0;
    return registry_claimed(r, &h->seen, ns, service, wanted, err);
}
