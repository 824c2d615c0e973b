/* Ports of this machine, and snapshots by hand: parts as the compiler would make them. */
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mesh/base/mem.h"
#include "mesh/base/text.h"
#include "mesh/snapshot.h"
#include "test/test.h"

#define UNUSED __attribute__((unused))

/* ---- ports ---- */

UNUSED static struct addr loopback(uint16_t port)
{
    return (struct addr){
        .family = 4, .port = port, .ip = {127, 0, 0, 1}
    };
}

/* -1: it is taken. */
static int listen_at(uint16_t port)
{
    struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 && listen(fd, 64) == 0)
        return fd;
    close(fd);
    return -1;
}

static int listen_any(uint16_t *port)
{
    struct sockaddr_in sa;
    socklen_t n = sizeof(sa);
    int fd = listen_at(0);

    assert_true(fd >= 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &n), 0);
    *port = ntohs(sa.sin_port);
    return fd;
}

static uint16_t given_ports[64];

static bool was_given(uint16_t port)
{
    for (size_t i = 0; i < COUNT(given_ports); i++) {
        if (given_ports[i] == port)
            return true;
    }
    return false;
}

/* None of those that the kernel gives to connections and to who asks for any: of such a one another process could have
 * made the source of a connection before it is listened at. */
static uint16_t any_port(void)
{
    unsigned low = 32768, high = 60999, port = 0;
    FILE *range = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");

    if (range && fscanf(range, "%u %u", &low, &high) != 2)
        low = 32768;
    if (range)
        fclose(range);
    for (int i = 0; i < 1000 && (i == 0 || (port >= low && port <= high)); i++)
        port = 20000 + (unsigned)(text_random_u64() % 45000);
    return (uint16_t)port;
}

/* Nobody listens on it, and it is none of those given lately: two listeners with SO_REUSEPORT would share its connections. */
UNUSED static uint16_t free_port(void)
{
    static size_t at;
    uint16_t port;
    int fd;

    do {
        port = any_port();
        fd = was_given(port) ? -1 : listen_at(port);
    } while (fd < 0);
    close(fd);
    return given_ports[at++ % COUNT(given_ports)] = port;
}

/* ---- snapshots ---- */

static void unref_cluster(struct part *p)
{
    part_unref(((struct cluster *)(void *)p)->endpoints);
}

static void unref_listener(struct part *p)
{
    part_unref(((struct listener *)(void *)p)->http);
}

static void unref_table(struct part *p)
{
    struct route_table *t = (struct route_table *)(void *)p;

    for (size_t i = 0; i < t->vhost_count; i++)
        part_unref(t->vhosts[i]);
    map_done(&t->by_host);
}

UNUSED static struct cluster *cluster_part(const char *name, enum cluster_kind kind)
{
    struct cluster *c = part_new(sizeof(*c));

    c->part.unref_children = unref_cluster;
    c->name = arena_str(&c->part.arena, str_from(name));
    c->kind = kind;
    c->connect_timeout_ms = 2000;
    c->sni = STR("outbound_.80_._.svc.test");
    c->service_fqdn = STR("svc.test");
    c->service_name = STR("svc");
    c->service_ns = STR("default");
    return c;
}

UNUSED static void cluster_endpoints(struct cluster *c, const uint16_t *ports, size_t count,
                                     const char *identity)
{
    struct endpoint_set *set = part_new(sizeof(*set));

    set->cluster = arena_str(&set->part.arena, c->name);
    set->endpoints = ARENA_ARRAY(&set->part.arena, count, struct endpoint);
    set->count = count;
    for (size_t i = 0; i < count; i++) {
        struct endpoint *ep = &set->endpoints[i];

        ep->addr = loopback(ports[i]);
        ep->weight = 1;
        ep->is_mesh = identity != NULL;
        ep->identity = identity ? arena_str(&set->part.arena, str_from(identity)) : STR("");
        ep->workload = ep->app = ep->canonical_service = STR("web-1");
        ep->workload_ns = STR("default");
        ep->version = STR("v1");
        ep->canonical_revision = STR("latest");
        ep->host = STR("host-b");
    }
    c->endpoints = set;
}

UNUSED static struct listener *listener_part(enum listener_kind kind, uint16_t port,
                                             enum app_protocol protocol)
{
    struct listener *l = part_new(sizeof(*l));

    l->part.unref_children = unref_listener;
    l->name = arena_printf(&l->part.arena, "127.0.0.1_%u", port);
    l->kind = kind;
    l->is_bound = kind == LISTENER_GATEWAY;
    l->protocol = protocol;
    l->at = loopback(port);
    l->workload = l->app = l->canonical_service = STR("caller-1");
    l->workload_ns = STR("default");
    l->version = l->canonical_revision = STR("v7");
    l->service_fqdn = STR("svc.test");
    l->service_name = STR("svc");
    l->service_ns = STR("default");
    return l;
}

/* One virtual host for every name, one route for every path. */
UNUSED static struct route *listener_route(struct listener *l, const char *cluster)
{
    struct route_table *t = part_new(sizeof(*t));
    struct vhost *v = part_new(sizeof(*v));
    struct arena *a = &v->part.arena;

    t->part.unref_children = unref_table;
    map_init(&t->by_host);
    t->name = STR("80");
    t->vhosts = ARENA_NEW(&t->part.arena, struct vhost *);
    t->vhosts[0] = v;
    t->vhost_count = 1;
    v->name = STR("svc.test:80");
    v->domains = ARENA_NEW(a, struct str);
    v->domains[0] = STR("svc.test");
    v->domain_count = 1;
    v->routes = ARENA_NEW(a, struct route);
    v->route_count = 1;
    v->routes[0].name = STR("default");
    v->routes[0].clusters = ARENA_NEW(a, struct weighted_cluster);
    v->routes[0].clusters[0].cluster = arena_str(a, str_from(cluster));
    v->routes[0].clusters[0].weight = 1;
    v->routes[0].cluster_count = 1;
    v->routes[0].weight_total = 1;
    v->service = STR("default/svc.test");
    l->http = t;
    return &v->routes[0];
}

UNUSED static void listener_tcp(struct listener *l, const char *cluster)
{
    struct arena *a = &l->part.arena;

    l->tcp = ARENA_NEW(a, struct tcp_route);
    l->tcp_count = 1;
    l->tcp[0].name = STR("tcp");
    l->tcp[0].clusters = ARENA_NEW(a, struct weighted_cluster);
    l->tcp[0].clusters[0].cluster = arena_str(a, str_from(cluster));
    l->tcp[0].clusters[0].weight = 1;
    l->tcp[0].cluster_count = 1;
    l->tcp[0].weight_total = 1;
}
