/* What the files of the compiler share. Only mesh/compile*.c include this; everybody else wants
 * mesh/compile.h.
 *
 * Flow:      compile.c gathers services and rules into struct build; compile_listener.c asks
 *            compile_vhost.c and compile_route.c for what a listener serves, compile_cluster.c
 * makes what routes name, compile_gateway.c opens gateways. Ownership: all of it lives in build.tmp
 * for one call of compile(); what goes into the result is copied into the arena of its part.
 * Errors:    findings in build.f.
 * Threads:   none of it is shared between threads.
 * Units:     *_ms milliseconds.
 */
#pragma once

#include "mesh/base/findings.h"
#include "mesh/model.h"
#include "mesh/scope.h"
#include "mesh/snapshot.h"

struct self;
struct server_tls;
struct inbound;
struct offer;
struct virtual_service;
struct destination_rule;
struct traffic_policy;
struct subset;
struct mesh_config;
struct destination;
struct http_rule;
struct rule_destination;

#define HOUR_MS 3600000

/* Who somebody is in metrics and logs. */
struct who {
    struct str workload, ns, app, version, canonical_service, canonical_revision;
};

/* An HTTP rule and whose it is: names of destinations belong to the namespace of that one. */
struct sourced_rule {
    const struct http_rule *rule;
    const struct object *from;
};

/* A VirtualService with its hosts completed, and delegates replaced by their rules. */
struct rules {
    const struct object *object;
    const struct virtual_service *spec;
    struct str *hosts;
    struct sourced_rule *http;
    size_t http_count, http_cap;
    int group; /* of visibility: 0 own namespace only, 1 exported to it by name, 2 public */
    bool is_for_mesh; /* callers of this host follow it */
};

/* What the DestinationRules of one service come to. */
struct policy {
    const struct traffic_policy *top; /* NULL: none */
    const struct subset **subsets;
    size_t subset_count;
};

/* The blocks that hold for one port of one subset. */
struct blocks {
    const struct load_balancer *balance;
    const struct connection_pool *pool;
    const struct client_tls *tls;
    const struct retry_budget *budget;
    const struct tunnel_settings *tunnel;
    const struct outlier_detection *outlier;
    const struct proxy_protocol *proxy;
};

struct policy_rule {
    const struct object *object;
    const struct destination_rule *spec;
    struct str host;          /* completed */
    struct policy_rule *next; /* of this host */
};

/* A route table that is being filled. */
struct table {
    struct route_table *made;
    struct map taken; /* domain -> non-NULL */
    struct vhost **vhosts;
    size_t count, cap;
};

struct build {
    const struct catalog *c;
    const struct self *self;
    struct findings *f;
    struct snapshot *out;
    struct arena tmp; /* everything that is not part of the result */
    const struct mesh_config *mesh; /* NULL: there is none */
    /* the caller */
    struct str ns, identity;
    const struct labels *labels;
    struct who who;
    struct scope scope; /* of the caller */
    /* the services that exist here, one per host name, own namespace first; those that only rules,
     * gateways or this host itself need come after the ones that callers see */
    struct service **services;
    size_t seen_count, service_count;
    struct map by_fqdn;    /* -> struct service * */
    struct map mesh_names; /* "reviews" -> the service that is reviews.mesh */
    /* rules, best first */
    struct rules *rules;
    size_t rules_count;
    struct map exact_rules; /* host -> struct rules *: of mesh callers, the best of each host */
    struct map wild_rules;  /* the same for wildcards */
    struct policy_rule *policies;
    size_t policy_count;
    bool has_wild_policies;
    struct map policies_by_host; /* -> the best struct policy_rule * of that host, wildcards too */
    struct object **gateways; /* oldest first */
    size_t gateway_count;
    struct object **limits; /* RateLimits, oldest first */
    size_t limit_count;
    struct map tables;    /* name -> struct table * */
    struct map listeners; /* names in use -> non-NULL */
};

/* ---- compile.c: small helpers, the caller, services and rules ---- */

struct str compile_lower(struct arena *a, struct str s);
struct str compile_join(struct arena *a, struct str ns, struct str name);
struct str compile_object_name(struct build *b, const struct object *o);
void *compile_room(struct arena *a, void *array, size_t count, size_t *cap, size_t size);

/* Durations of documents (ns, maybe DURATION_UNSET), rounded up. */
int64_t compile_ms_or(int64_t ns, int64_t unset_ms);

bool compile_is_subscribed(const struct build *b, const struct service *s);
enum app_protocol compile_protocol_of(struct str word);
bool compile_is_http2(struct str word); /* HTTP2, GRPC, GRPC-WEB */
bool compile_is_grpc_web(struct str word);
void compile_version(struct listener *l, struct str word); /* what the listener has to know of its port's protocol */
enum cluster_http compile_http_of(struct str word);
void compile_who_is(struct arena *a, const struct labels *l, struct str workload, struct str ns,
                    struct who *out);

/* Documents: lists of namespaces, age, and which VirtualService serves a host. */
bool compile_has_export(const struct str *list, size_t count, struct str want);
int compile_visibility(const struct build *b, const struct object *o, struct str ns);
const struct rules *compile_rules_for(const struct build *b, struct str fqdn);

/* Called once per name, before compile_each_form returns. */
typedef void compile_form_fn(void *arg, struct str form);

#define FORMS_MAX 6 /* of compile_each_form */

void compile_each_form(struct build *b, const struct service *s, compile_form_fn *fn, void *arg);
size_t compile_service_addresses(struct build *b, const struct service *s, struct addr **out);

/* ---- compile_delegate.c ---- */

void compile_expand(struct build *b, struct rules *r); /* fills r->http */

/* ---- compile_route.c: what VirtualServices say, as routes ---- */

/* Where rules are applied: by whom, through which gateways, on which port. */
struct place {
    uint16_t port;
    const struct str *gateways; /* "mesh", or "ns/name" of every Gateway of the listener */
    size_t gateway_count;
    struct str ns; /* of the caller */
    const struct labels *labels;
};

/* A virtual host that is being filled. */
struct filling {
    struct build *b;
    struct vhost *vhost;
    struct route *routes; /* in b->tmp */
    size_t count, cap;
};

/* Where a rule sends to. */
struct targets {
    struct weighted_cluster *clusters;
    size_t count;
    uint32_t total;
    struct str pending; /* a service among them that has to be subscribed to first, or empty */
};

/* A listener's TCP routes while they grow. */
struct tcp_filling {
    struct build *b;
    struct listener *listener;
    struct tcp_route *routes; /* in b->tmp */
    size_t count, cap;
    bool is_closed; /* the last one takes everything */
    struct str pending;
};

struct place compile_mesh_place(const struct build *b, uint16_t port);
bool compile_names_place(struct build *b, const struct str *refs, size_t count, struct str own_ns,
                         const struct place *p);

struct route *compile_new_route(struct filling *v);
void compile_match(struct filling *v, const struct object *o, const struct match_string *from,
                   struct match_string *to);
void compile_add_routes(struct filling *v, const struct rules *rules, const struct place *p);
/* Of a request to the host's own application: tried again only where it never began. */
void compile_inbound_retry(struct retry_policy *out);
void compile_add_default_route(struct filling *v, const struct service *s, uint16_t port);
void compile_add_pending_route(struct filling *v, const struct service *s);
bool compile_is_catch_all(const struct route *r);

void compile_add_tcp_routes(struct tcp_filling *t, const struct rules *rules,
                            const struct place *p);
/* False: the rules have none for this place. */
bool compile_add_tls_routes(struct tcp_filling *t, const struct rules *rules, const struct place *p);
void compile_add_plain_tcp_route(struct tcp_filling *t, struct str name, struct str cluster);
void compile_tcp_end(struct tcp_filling *t);
void compile_service_tcp(struct build *b, struct listener *l, const struct service *s,
                         const struct service_port *port);

/* ---- compile_action.c: what a rule does with a request ---- */

/* The cluster's name; `pending` gets the key of its service if that must be subscribed to first. */
struct str compile_destination(struct build *b, struct arena *a, const struct destination *d,
                               struct str ns, uint16_t used_port, struct str *pending);
void compile_targets(struct build *b, struct arena *a, const struct rule_destination *list,
                     size_t count, struct str ns, uint16_t used_port, struct targets *out);
/* All of `r` but its name, match, timeout and retries. */
void compile_action(struct filling *v, const struct object *o, const struct http_rule *rule,
                    uint16_t port, struct route *r);

/* ---- compile_vhost.c: route tables and their virtual hosts ---- */

struct table *compile_table_for(struct build *b, struct str name);
void compile_tables_end(struct build *b);
struct filling compile_vhost_begin(struct build *b, struct str name);
void compile_vhost_end(struct filling *v, struct table *t);
void compile_service_routes(struct filling *v, const struct service *s,
                            const struct service_port *port);
void compile_service_vhost(struct build *b, const struct service *s,
                           const struct service_port *port, struct table *t, uint16_t number);
void compile_unregistered_hosts(struct build *b, struct table *t);

/* ---- compile_ingress.c: what is taken in, by registration or by the Sidecar of the workload ---- */

/* One port of this host behind which a service stands. */
struct inbound {
    const struct local_service *service;
    uint16_t port;
    struct str protocol; /* as service_port.protocol */
    struct addr listen;  /* the agent listens here itself; family 0: by redirect */
    struct addr app;
    const struct connection_pool *pool; /* the Sidecar's; NULL: that of DestinationRules */
    const struct server_tls *tls; /* what ends here in place of the mesh's; NULL: none. `protocol` is what is within */
    const struct offer *offer; /* the document that has this port; NULL: the registration, or a Sidecar */
    uint16_t offered_port;     /* what clients of that address */
    const struct service *offered; /* the service of that, for metrics; NULL: that of `service` */
};

void compile_inbound(struct build *b, const struct local_service *s);

/* ---- compile_policy.c: which DestinationRules count ---- */

void compile_find_policy(struct build *b, const struct service *s, struct str caller, struct policy *out); /* for its callers */
/* Lays the blocks of `p` (NULL: none) for a port over those in `out`. */
void compile_lay_over(const struct traffic_policy *p, uint16_t port, struct blocks *out);
/* The limits of a service on its own host, by DestinationRules; NULL: none. */
const struct connection_pool *compile_own_pool(struct build *b, const struct inbound *in);
/* The next Service or ServiceEntry behind `after` (NULL: the first) that offers the workload; NULL: that was all. */
const struct object *compile_next_offer(struct build *b, const struct local_service *s, const struct object *after,
                                        struct offer *out);

/* ---- compile_cluster.c: services as clusters with endpoints ---- */

struct str compile_cluster_name(struct arena *a, uint16_t port, struct str subset, struct str fqdn);
void compile_clusters(struct build *b);
void compile_inbound_cluster(struct build *b, const struct inbound *in, struct str name);

/* ---- compile_balance.c: how endpoints are chosen ---- */

struct load_balancer;

void compile_balance(struct cluster *c, const struct load_balancer *lb);        /* NULL: the defaults */
void compile_ring(struct endpoint_set *set, const struct load_balancer *lb); /* likewise */
void compile_warmup(struct endpoint_set *set, const struct load_balancer *lb);

/* ---- compile_locality.c: near endpoints first ---- */

/* `labels`: of the workload behind each endpoint; `ejects`: failing endpoints are found and left out. Endpoints that
 * callers of this host must not use leave the set. */
void compile_locality(struct build *b, struct endpoint_set *set, const struct labels *const *labels,
                      const struct load_balancer *lb, bool ejects);

/* ---- compile_tls.c: certificates that are not the mesh's ---- */

struct str compile_words(struct arena *a, const struct str *list, size_t count); /* "one two" */
/* Of a client: the files that it names, or its Credential. False: there is no such Credential, or it lacks what the mode
 * needs; then `m` stays empty, and leads nowhere. */
void compile_client_files(struct arena *a, const struct client_tls *t, struct tls_material *m);
bool compile_client_credential(struct build *b, struct arena *a, struct str ns, const struct client_tls *t,
                               struct tls_material *m);
/* NULL, or why the server cannot be opened. */
const char *compile_tls_end(struct build *b, struct arena *a, const struct server_tls *t, struct str ns,
                            bool is_http, struct tls_end **out);

/* ---- compile_listener.c: outbound and inbound ---- */

struct listener *compile_new_listener(struct str name, enum listener_kind kind,
                                      enum app_protocol protocol, const struct addr *at);
void compile_listener_who(struct listener *l, const struct who *who);
void compile_outbound(struct build *b);
/* NULL, or why the port cannot be taken in. */
const char *compile_take_in(struct build *b, const struct inbound *in);

/* ---- compile_limit.c: how many requests a listener of this service takes ---- */

void compile_limits(struct build *b, const struct local_service *s, struct listener *l);

/* ---- compile_bound.c: what callers of this host connect to without capture ---- */

void compile_bound(struct build *b);

/* ---- compile_egress.c: the same, as the Sidecar of the callers wants it; after compile_bound ---- */

void compile_egress(struct build *b);

/* ---- compile_gateway.c: what a gateway service opens ---- */

void compile_gateway(struct build *b, const struct local_service *s);
