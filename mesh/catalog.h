/* The whole mesh as one catalog, from documents and registrations; and what one agent sees of it.
 * Used by the server.
 *
 * Flow:      publish.c builds after each change; session.c asks for views.
 * Merge:     a service exists by registration, by a Service document (endpoints: registered
 * workloads by selector) or by a ServiceEntry (endpoints: its own, or WorkloadEntries and
 * registered workloads by selector). One host name in one namespace is one service: documents add
 * ports that registrations do not have (fields.md 4.6: first definition of a port number stays).
 * Of several ServiceEntries of one host in one namespace the oldest describes it; a younger one adds
 * its ports and endpoints if it agrees (service_entry.h), else it has no part in that host.
 * Ownership: everything is copied into the catalog's arena, except objects, which must outlive it.
 * Threads:   pure, any.
 */
#pragma once

#include "mesh/base/findings.h"
#include "mesh/kinds/common.h"
#include "mesh/sync.h"

/* One registered workload, as the registry knows it. */
struct registered {
    struct local_service service; /* ports, labels, account */
    struct str host_id, host;
    struct addr address; /* of the host, port 0 */
    uint32_t weight;
    struct str locality;
};

struct catalog_input {
    struct object *const *objects;
    size_t object_count;
    const struct registered *registered;
    size_t registered_count;
    /* Names that were registered, with their ports, whether or not a host offers them now: an
     * answer "no healthy upstream" is better than a name that comes and goes with its last
     * instance. */
    const struct local_service *known;
    size_t known_count;
    uint64_t revision;
    struct str epoch, trust_domain, domain, root_namespace;
    /* The stable virtual addresses of a service; family 0 where there is none. */
    void (*vip)(void *arg, struct str ns, struct str fqdn, struct addr *vip4, struct addr *vip6);
    void *vip_arg;
};

void catalog_build(const struct catalog_input *in, struct catalog *out);

/* Who looks: a host with its services and what it subscribed to. */
struct viewer {
    struct str ns; /* of unmapped callers */
    const struct local_service *services;
    size_t service_count;
    const struct map *subscriptions; /* service keys -> non-NULL */
};

/* All resources of that agent (sync.h). A subscription brings the service's endpoints, the
 * VirtualServices and DestinationRules that concern it, and the same for every destination these
 * name. Gateways bring their VirtualServices likewise. The Sidecar of the host's callers
 * (model_caller, scope.h) bounds which services and VirtualServices there are for them; what rules
 * and gateways send to, and the host's own services, come all the same. */
void catalog_view(const struct catalog *all, const struct viewer *v, struct resources *out);

/* Is a policy in `ns` for this workload? One with targets: for those who offer such a service, by its name or because the
 * Service or ServiceEntry of `ns` takes them and the port; a gateway offers none. Else by the selector, where no labels take all
 * of the namespace, and the root namespace reaches all namespaces. Source: fields.md, WorkloadSelector, PolicyTargetReference.
 * PeerAuthentication differs. */
bool catalog_is_for(const struct catalog *c, struct str ns, const struct policy_target *t, const struct local_service *s);

/* The services by which a Service or ServiceEntry offers a workload: one that it selects, or that has the Service's name. */
struct offer {
    struct str *hosts;
    size_t host_count;
    uint16_t port; /* what clients address, to come to the port of the workload; 0: other ports only */
};

/* The i-th port of a Service or ServiceEntry; false: there is none. */
bool catalog_offered_port(const struct object *o, size_t i, struct service_port *out);

/* False: `o` is another kind, or does not take this workload. */
bool catalog_offers(const struct catalog *c, const struct object *o, const struct local_service *s, struct arena *a,
                    struct offer *out);

/* The document that a target names; NULL: there is none, as for a service that is registered alone. */
const struct object *catalog_target(const struct catalog *c, struct str ns, const struct target_ref *t);

/* The PeerAuthentication mode of a port of workloads with these labels: port > workload > namespace
 * > root namespace > PERMISSIVE; UNSET inherits; oldest wins (fields.md 4.6). Values as enum
 * mtls_mode of snapshot.h. */
int catalog_mtls_mode(struct object *const *objects, size_t count, struct str root_namespace,
                      struct str ns, const struct labels *labels, uint16_t port);
