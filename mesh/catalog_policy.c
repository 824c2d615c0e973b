/* Whom a policy takes, and what it says of a port. */
#include "mesh/catalog.h"
#include "mesh/decode.h"
#include "mesh/kinds/kinds.h"
#include "mesh/kinds/peer_authentication.h"
#include "mesh/snapshot.h"

bool catalog_selects(struct str root_namespace, struct str ns, const struct labels *want, const struct local_service *s)
{
    return (str_eq(ns, root_namespace) || str_eq(ns, s->ns)) && labels_match(&s->labels, want);
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
