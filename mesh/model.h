/* The catalog: what one agent may see, in plain structs, and what the server makes from documents
 * and registrations. Compile reads it; sync carries it as JSON resources.
 *
 * Keys: a service is "NAMESPACE/FQDN"; reviews in default is
 * "default/reviews.default.svc.cluster.local". Ownership: everything lives in the catalog's arena.
 */
#pragma once

#include "mesh/base/addr.h"
#include "mesh/base/arena.h"
#include "mesh/base/map.h"
#include "mesh/base/node.h"

struct object; /* mesh/decode.h: a decoded document */

struct label {
    struct str key, value;
};

struct labels {
    struct label *items;
    size_t count;
};

struct service_port {
    uint16_t number;      /* what clients address */
    uint16_t target_port; /* default on the endpoint */
    struct str name;      /* "http", unique within the service */
    struct str protocol;  /* Istio's word, upper case: HTTP, TCP, GRPC, ...; empty: sniffed */
    bool is_plain;        /* of a workload: its PeerAuthentication disables mTLS on this port */
    bool is_anothers;     /* of a workload: another one of its host has that port; clients must not come here for it */
};

/* A name, its ports and its virtual addresses. */
struct service {
    struct str key, ns, name, fqdn; /* name: short; for a ServiceEntry host it is the host itself */
    struct addr vip4, vip6;         /* family 0 if there is none */
    struct addr *addresses; /* further addresses to capture (ServiceEntry addresses); port 0 */
    size_t address_count;
    struct service_port *ports;
    size_t port_count;
    bool is_external;     /* MESH_EXTERNAL: no mesh identity, no auto mTLS */
    bool is_original_dst; /* resolution NONE: dial where the client was going */
    struct str sans;      /* subjectAltNames, space-separated */
    struct str export_to; /* space-separated as in the document; empty is "*" */
    int64_t since_s;      /* creation of its ServiceEntry, 1 if unknown; 0: registered, or a Service */
    struct workload **workloads; /* where it runs; by catalog_build, else none */
    size_t workload_count;
    struct service *same_name; /* the next one of this fqdn; by catalog_build, else NULL */
};

/* One place where a service runs. */
struct workload {
    struct str service; /* key */
    struct str name;    /* workload name for metrics */
    struct str ns, account;
    struct str host_id, host;   /* empty for static ones */
    struct addr address;        /* port 0 */
    struct service_port *ports; /* by name: target_port is where it listens; number 0 */
    size_t port_count;
    struct labels labels;
    struct str identity; /* SPIFFE URI, empty if it has none */
    bool is_mesh;        /* an agent with mTLS stands there */
    uint32_t weight;
    struct str locality;
};

/* A service that runs on this very host behind this agent: compile's "self". */
struct local_service {
    struct str key, ns, name, fqdn, account, identity;
    uint16_t port;         /* what peers dial: the application's, captured; or that of `listen` */
    uint16_t service_port; /* what clients address */
    struct addr listen;    /* the agent listens here itself, nothing is captured; family 0: captured */
    struct str protocol;   /* as service_port.protocol */
    struct addr
        app; /* where to reach the application: address (127.0.0.1 or the host's) and port */
    struct labels labels;
    struct str locality; /* of the host: region/zone/subzone, or empty */
    bool is_gateway; /* no application: labels select Gateways, port is 0 */
    bool takes_proxy_header; /* a gateway behind a balancer that says so where connections come from */
};

/* What this agent opens for callers of this host, where nothing is redirected. */
struct local_listener {
    struct str name;
    struct addr bind;
    struct str service; /* as VirtualServices name a host; empty: HTTP, by the Host header */
    uint16_t port;      /* of the service; 0: its only one */
};

struct self {
    struct str host_id, host; /* ULID, name */
    struct str ns;            /* namespace of unmapped callers, "default" */
    struct addr address;      /* the host's own, port 0 */
    struct str locality;      /* region/zone/subzone, or empty */
    struct str identity;      /* of unmapped callers: spiffe://TD/ns/NS/sa/host-ID */
    struct local_service *services;
    size_t service_count;
    bool is_uncaptured; /* nothing is redirected: callers reach only what is bound */
    const struct local_listener *listeners;
    size_t listener_count;
    const uint16_t *own_ports; /* of the agent: no document may take them */
    size_t own_port_count;
};

/* Whose the calls of a host are, for rules: those of the one service, or else gateway, if there is exactly one; the host's own
 * otherwise, in the namespace of its gateways where there is nothing else. */
struct caller {
    const struct local_service *service; /* NULL: the host itself */
    struct str ns;
    const struct labels *labels; /* never NULL */
    bool is_gateway; /* nothing but gateways stands there: no Sidecar is for it */
};

/* Rules in the order of the objects. */
struct host_rule {
    struct host_rule *next;
    const struct object *object;
    size_t number; /* of the object */
    struct str host;
};

struct host_rules {
    struct host_rule *first, *last;
};

struct catalog {
    struct arena arena;
    uint64_t revision;
    struct str epoch;
    struct str trust_domain, domain, root_namespace;
    struct service **services;
    size_t service_count;
    struct workload **workloads;
    size_t workload_count;
    struct object **objects; /* VirtualService, DestinationRule, Gateway, PeerAuthentication that
                                this agent may see */
    size_t object_count;
    struct map objects_by_name; /* see catalog_object */
    /* By catalog_build, else empty: the VirtualServices and DestinationRules among the objects by
     * their completed hosts, wildcards apart. */
    struct map rules_by_host; /* host -> struct host_rules * */
    struct host_rules *wild_rules;
    struct map services_by_fqdn; /* in lower case -> the first struct service * of that name */
    struct map by_service; /* key -> struct service * */
    struct map
        subscribed; /* key -> non-NULL: rules and endpoints of this service are complete here */
};

/* ---- catalog_index.c ---- */

struct mesh_config;

/* One more of the objects, for which there must be room. The first of a kind and name is the one that is found. */
void catalog_add_object(struct catalog *c, struct object *o);
/* The document of that kind (enum kind_id), namespace and name, or NULL. */
const struct object *catalog_object(const struct catalog *c, unsigned kind, struct str ns, struct str name);
const struct mesh_config *catalog_mesh_config(const struct catalog *c); /* the one that counts, or NULL */

/* ---- model.c ---- */

/* Do namespaces `ns` see the service, by its exportTo? */
bool service_is_exported(const struct service *s, struct str ns);

struct str labels_get(const struct labels *l, struct str key); /* empty if absent */
bool labels_match(const struct labels *have,
                  const struct labels *want); /* every wanted one equal */

/* `ns`: of a host that speaks as itself. Lives as long as the services. */
struct caller model_caller(const struct local_service *services, size_t count, struct str ns);

/* Short names as Istio completes them: no dot, not "*", not an IP -> NAME.NS.svc.DOMAIN
 * (fields.md 1.3). */
struct str model_fqdn(struct arena *a, struct str host, struct str ns, struct str domain);
/* "ns/name" of the Gateway that a VirtualService in `ns` means: "name", "./name", "ns/name", or
 * Istio's old "name.ns" and "name.ns.svc.DOMAIN". "mesh" is itself. */
struct str model_gateway_ref(struct arena *a, struct str ref, struct str ns);
/* Where peers dial a service of the host with this address. Port 0. */
struct addr model_service_address(const struct local_service *s, const struct addr *host);
/* Where the workload listens for a port of a service: what it registered for that number, else what the service says. */
uint16_t model_target(const struct local_service *s, uint16_t number, uint16_t target);
struct str model_service_key(struct arena *a, struct str ns, struct str fqdn);
