/* Whom a policy takes, and what it says of a port. */
#include "mesh/catalog.h"
#include "mesh/decode.h"
#include "mesh/kinds/kinds.h"
#include "mesh/kinds/peer_authentication.h"
#include "mesh/kinds/service.h"
#include "mesh/kinds/service_entry.h"
#include "mesh/snapshot.h"

static bool is_entry(const struct target_ref *t)
{
    return str_eq(t->kind, STR("ServiceEntry"));
}

const struct object *catalog_target(const struct catalog *c, struct str ns, const struct target_ref *t)
{
    return catalog_object(c, is_entry(t) ? KIND_SERVICE_ENTRY : KIND_SERVICE, ns, t->name);
}

bool catalog_offered_port(const struct object *o, size_t i, struct service_port *out)
{
    const struct service_document *d = o->spec;
    const struct service_entry *e = o->spec;

    if (o->meta.kind->id == KIND_SERVICE && i < d->ports_count)
        *out = (struct service_port){(uint16_t)d->ports[i].port, (uint16_t)d->ports[i].target_port, d->ports[i].name,
                                     d->ports[i].protocol, false, false};
    else if (o->meta.kind->id == KIND_SERVICE_ENTRY && i < e->ports_count)
        *out = (struct service_port){(uint16_t)e->ports[i].number, (uint16_t)e->ports[i].target_port, e->ports[i].name,
                                     e->ports[i].protocol, false, false};
    else
        return false;
    return true;
}

static bool selects(const struct object *o, const struct local_service *s)
{
    const struct service_document *d = o->spec;
    const struct service_entry *e = o->spec;

    if (o->meta.kind->id == KIND_SERVICE)
        return d->selector.count && labels_match(&s->labels, &d->selector);
    return o->meta.kind->id == KIND_SERVICE_ENTRY && e->workload_selector &&
           labels_match(&s->labels, &e->workload_selector->labels);
}

/* The port under which clients know that of the workload; 0: there is none. */
static uint16_t port_of(const struct object *o, const struct local_service *s)
{
    struct service_port p;

    for (size_t i = 0; catalog_offered_port(o, i, &p); i++) {
        if (model_target(s, p.number, p.target_port) == s->port)
            return p.number;
    }
    return 0;
}

static bool takes(const struct object *o, const struct local_service *s)
{
    return o && selects(o, s) && port_of(o, s) > 0;
}

static bool is_attached(const struct catalog *c, struct str ns, const struct target_ref *t, const struct local_service *s)
{
    const struct object *o = catalog_target(c, ns, t);

    if (s->is_gateway || !str_eq(ns, s->ns))
        return false;
    return (!is_entry(t) && str_eq(t->name, s->name)) || takes(o, s);
}

bool catalog_offers(const struct catalog *c, const struct object *o, const struct local_service *s, struct arena *a,
                    struct offer *out)
{
    const struct service_entry *e = o->spec;
    bool is_service = o->meta.kind->id == KIND_SERVICE;

    if (s->is_gateway || !str_eq(o->meta.ns, s->ns) || !(selects(o, s) || (is_service && str_eq(o->meta.name, s->name))))
        return false;
    *out = (struct offer){.port = port_of(o, s)};
    if (is_service) {
        out->hosts = ARENA_NEW(a, struct str);
        out->hosts[out->host_count++] = model_fqdn(a, o->meta.name, o->meta.ns, c->domain);
    } else {
        out->hosts = e->hosts;
        out->host_count = e->hosts_count;
    }
    return true;
}

bool catalog_is_for(const struct catalog *c, struct str ns, const struct policy_target *t, const struct local_service *s)
{
    const struct target_ref *ref;

    if (!policy_target_at(t, 0))
        return (str_eq(ns, c->root_namespace) || str_eq(ns, s->ns)) && labels_match(&s->labels, &t->selector.labels);
    for (size_t i = 0; (ref = policy_target_at(t, i)); i++) {
        if (is_attached(c, ns, ref, s))
            return true;
    }
    return false;
}

/* ---- PeerAuthentication ---- */

static int mode_of(enum peer_mtls_mode mode, int otherwise)
{
    switch (mode) {
    case PEER_MTLS_DISABLE:
        return MTLS_DISABLE;
    case PEER_MTLS_STRICT:
        return MTLS_STRICT;
    case PEER_MTLS_PERMISSIVE:
        return MTLS_PERMISSIVE;
    case PEER_MTLS_UNSET:
        break;
    }
    return otherwise;
}

/* The oldest policy on one level: 0 mesh, 1 namespace, 2 workload. */
static const struct peer_authentication *policy_at(struct object *const *objects, size_t count,
                                                   struct str ns, const struct labels *labels,
                                                   bool by_labels)
{
    const struct object *best = NULL;

    for (size_t i = 0; i < count; i++) {
        const struct peer_authentication *p = objects[i]->spec;

        if (objects[i]->meta.kind->id != KIND_PEER_AUTHENTICATION ||
            !str_eq(objects[i]->meta.ns, ns))
            continue;
        if ((p->selector.labels.count != 0) != by_labels ||
            (by_labels && !labels_match(labels, &p->selector.labels)))
            continue;
        if (!best || object_older_first(objects[i], best) < 0)
            best = objects[i];
    }
    return best ? best->spec : NULL;
}

int catalog_mtls_mode(struct object *const *objects, size_t count, struct str root_namespace,
                      struct str ns, const struct labels *labels, uint16_t port)
{
    const struct peer_authentication *p = policy_at(objects, count, root_namespace, labels, false);
    int mode = p ? mode_of(p->mtls.mode, MTLS_PERMISSIVE) : MTLS_PERMISSIVE;

    if (str_eq(ns, root_namespace))
        return mode; /* selector policies of the root namespace do not take part */
    p = policy_at(objects, count, ns, labels, false);
    mode = p ? mode_of(p->mtls.mode, mode) : mode;
    p = policy_at(objects, count, ns, labels, true);
    if (!p)
        return mode;
    mode = mode_of(p->mtls.mode, mode);
    for (size_t i = 0; i < p->port_level_count; i++) {
        if (p->port_level[i].port == port)
            return mode_of(p->port_level[i].value.mode, mode);
    }
    return mode;
}
