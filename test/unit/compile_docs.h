/* Documents for tests of the compiler. Unless said otherwise: service b in default on 10.1.0.1:80 HTTP with two workloads, v1 and
 * v2. Numbers such as A21 and C26 are rows of the behavioural checklist (what Istio does). */
#pragma once

#include "test/unit/compile_world.h"

#define B      "10.1.0.1:80"
#define B_HOST "b.default.svc.cluster.local"

static inline void start(struct world *w)
{
    struct service *b;

    world_init(w);
    b = world_service(w, "default", "b", "10.1.0.1", "http:HTTP:80:8080");
    world_workload(w, b, "192.0.2.1", "app=b,version=v1");
    world_workload(w, b, "192.0.2.2", "app=b,version=v2");
}

/* Rules of a VirtualService for b, as the text under `http:`. */
static inline void rules(struct world *w, const char *http)
{
    world_apply(w, arena_printf(&w->arena,
                                "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
                                "metadata: {name: r, namespace: default}\n"
                                "spec:\n  hosts: [b]\n  http:\n%s",
                                http)
                       .p);
}

static inline const char *routes_of(const char *http)
{
    static char text[2048];
    struct world w;

    start(&w);
    rules(&w, http);
    world_compile(&w);
    snprintf(text, sizeof(text), "%s", world_routes(&w, B, "b"));
    world_done(&w);
    return text;
}

static inline void virtual_service(struct world *w, const char *ns, const char *name, int day,
                                   const char *spec)
{
    world_apply(
        w, arena_printf(
               &w->arena,
               "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
               "metadata: {name: %s, namespace: %s, creationTimestamp: 2026-01-%02dT00:00:00Z}\n"
               "spec: %s\n",
               name, ns, day, spec)
               .p);
}

static inline void destination_rule(struct world *w, const char *ns, const char *name, int day,
                                    const char *spec)
{
    world_apply(
        w, arena_printf(
               &w->arena,
               "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
               "metadata: {name: %s, namespace: %s, creationTimestamp: 2026-01-%02dT00:00:00Z}\n"
               "spec: %s\n",
               name, ns, day, spec)
               .p);
}

static inline int balance(struct world *w, const char *cluster)
{
    world_compile(w);
    CHECK(world_cluster(w, cluster) != NULL);
    return (int)world_cluster(w, cluster)->balance;
}

#define ROUTE_B "    route: [{destination: {host: b}}]\n"

static inline void gateway(struct world *w, const char *ns, const char *name, int day, const char *servers)
{
    world_apply(
        w, arena_printf(
               &w->arena,
               "apiVersion: networking.istio.io/v1\nkind: Gateway\n"
               "metadata: {name: %s, namespace: %s, creationTimestamp: 2026-01-%02dT00:00:00Z}\n"
               "spec: {selector: {gw: edge}, servers: %s}\n",
               name, ns, day, servers)
               .p);
}

static inline void start_edge(struct world *w)
{
    start(w);
    world_local(w, "edge", "edge", 0, "", "gw=edge");
}

#define HTTP_80(hosts) "[{port: {number: 80, name: http, protocol: HTTP}, hosts: [" hosts "]}]"
#define GATE           "gateway_0.0.0.0:80"

#define TO_B(subset) "[{route: [{destination: {host: b, subset: " subset "}}]}]}"

#define SIMPLE(kind) "trafficPolicy: {loadBalancer: {simple: " kind "}}"
