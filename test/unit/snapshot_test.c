/* Parts and roots by hand: references, sharing, lookups, printing. What compile makes of rules is
 * in compile_test.c. */
#include "test/test.h"

#include "mesh/base/buf.h"
#include "mesh/base/json.h"
#include "mesh/snapshot.h"

static int children_freed;

static void count_children(struct part *p)
{
    (void)p; /* only that it was called counts */
    children_freed++;
}

TEST(a_part_lives_until_its_last_reference)
{
    struct cluster *c = part_new(sizeof(struct cluster));

    children_freed = 0;
    c->part.unref_children = count_children;
    CHECK(part_ref(c) == c);
    part_unref(c);
    CHECK_INT(children_freed, 0);
    part_unref(c);
    CHECK_INT(children_freed, 1);
    part_unref(NULL);
    CHECK(snapshot_unref(NULL) == NULL);
}

static void free_table(struct part *p)
{
    struct route_table *t = CONTAINER(p, struct route_table, part);

    for (size_t i = 0; i < t->vhost_count; i++)
        part_unref(t->vhosts[i]);
    map_done(&t->by_host);
}

static void free_listener(struct part *p)
{
    part_unref(CONTAINER(p, struct listener, part)->http);
}

/* One virtual host per domain, named like it. */
static struct route_table *table(const char *const *domains, size_t count)
{
    struct route_table *t = part_new(sizeof(struct route_table));

    t->part.unref_children = free_table;
    t->name = STR("80");
    t->vhosts = ARENA_ARRAY(&t->part.arena, count, struct vhost *);
    for (size_t i = 0; i < count; i++) {
        struct vhost *v = part_new(sizeof(struct vhost));

        v->name = str_from(domains[i]);
        v->domains = ARENA_ARRAY(&v->part.arena, 1, struct str);
        v->domains[0] = v->name;
        v->domain_count = 1;
        t->vhosts[t->vhost_count++] = v;
    }
    return t;
}

static struct listener *listener(enum listener_kind kind, const char *at, struct route_table *t)
{
    struct listener *l = part_new(sizeof(struct listener));

    l->part.unref_children = free_listener;
    l->kind = kind;
    l->is_bound = kind == LISTENER_GATEWAY;
    l->name = str_from(at);
    CHECK(addr_parse(str_from(at), &l->at));
    l->http = t;
    return l;
}

static struct snapshot *sealed(const char *const *domains, size_t count,
                               const struct snapshot *previous)
{
    struct snapshot *s = snapshot_new();

    snapshot_add_listener(s, listener(LISTENER_OUTBOUND, "10.0.0.1:80", table(domains, count)));
    snapshot_add_listener(s, listener(LISTENER_OUTBOUND, "0.0.0.0:443", NULL));
    snapshot_add_listener(s, listener(LISTENER_INBOUND, "0.0.0.0:9000", NULL));
    snapshot_add_listener(s, listener(LISTENER_GATEWAY, "0.0.0.0:8443", NULL));
    snapshot_seal(s, previous);
    return s;
}

static void check_find(const struct route_table *t, const char *host, const char *want)
{
    const struct vhost *v = route_table_find(t, str_from(host));

    if (want ? !v || !str_eq(v->name, str_from(want)) : v != NULL)
        fail_msg("%s: got %.*s, want %s", host, v ? (int)v->name.n : 4, v ? v->name.p : "none",
                 want ? want : "none");
}

TEST(hosts_are_found_exactly_then_by_the_longest_suffix_then_by_the_star)
{
    static const char *const domains[] = {"a.example.com", "*.example.com", "*.b.example.com", "*",
                                          "*-x.org",       "[fd00::1]"};
    struct snapshot *s = sealed(domains, COUNT(domains), NULL);
    const struct route_table *t = s->listeners[0]->http;

    check_find(t, "a.example.com", "a.example.com");
    check_find(t, "A.EXAMPLE.COM", "a.example.com");
    check_find(t, "a.example.com:8080", "a.example.com");
    check_find(t, "a.example.com.", "a.example.com");
    check_find(t, "c.example.com", "*.example.com");
    check_find(t, "c.b.example.com", "*.b.example.com");
    check_find(t, "d.c.b.example.com", "*.b.example.com");
    check_find(t, "b.example.com", "*.example.com");
    check_find(t, "example.com", "*"); /* *.example.com does not cover it */
    check_find(t, "", "*");
    check_find(t, ":80", "*");
    check_find(t, "a-x.org", "*-x.org");
    check_find(t, "[fd00::1]:80", "[fd00::1]");
    check_find(t, "[FD00::1]", "[fd00::1]");
    check_find(t, "fd00::1", "[fd00::1]");
    snapshot_unref(s);
}

TEST(a_domain_with_its_port_comes_before_the_name_where_the_table_has_ports)
{
    static const char *const domains[] = {"a.test", "a.test:81", "[fd00::1]", "[fd00::1]:81"};
    struct snapshot *s = sealed(domains, COUNT(domains), NULL);
    struct route_table *t = s->listeners[0]->http;

    check_find(t, "a.test:81", "a.test"); /* not without being told */
    t->has_ports = true;
    check_find(t, "a.test:81", "a.test:81");
    check_find(t, "A.TEST:81", "a.test:81");
    check_find(t, "a.test", "a.test");
    check_find(t, "a.test:8", "a.test");
    check_find(t, "a.test:", "a.test");
    check_find(t, "[FD00::1]:81", "[fd00::1]:81");
    check_find(t, "fd00::1", "[fd00::1]");
    check_find(t, "a.test:811111111", "a.test");
    snapshot_unref(s);
}

TEST(bound_listeners_are_found_by_their_address_and_captured_ones_are_not)
{
    struct snapshot *s = snapshot_new();
    struct listener *in = listener(LISTENER_INBOUND, "10.0.0.2:9000", NULL),
                    *out = listener(LISTENER_OUTBOUND, "127.0.0.1:80", NULL);
    struct addr at;

    in->is_bound = out->is_bound = true;
    snapshot_add_listener(s, in);
    snapshot_add_listener(s, out);
    snapshot_add_listener(s, listener(LISTENER_OUTBOUND, "10.0.0.1:80", NULL));
    snapshot_seal(s, NULL);
    CHECK(snapshot_bound(s, &in->at) == in && snapshot_bound(s, &out->at) == out);
    CHECK(snapshot_inbound(s, 9000) == in); /* for pairs in memory */
    CHECK(!snapshot_outbound(s, &out->at)); /* nothing is redirected there */
    CHECK(addr_parse(STR("10.0.0.1:80"), &at));
    CHECK(!snapshot_bound(s, &at) && snapshot_outbound(s, &at));
    snapshot_unref(s);
}

TEST(an_overlong_host_is_nobodys)
{
    static const char *const domains[] = {"*.com"};
    struct snapshot *s = sealed(domains, COUNT(domains), NULL);
    char host[400];

    memset(host, 'a', sizeof(host));
    memcpy(host + sizeof(host) - 4, ".com", 4);
    CHECK(!route_table_find(s->listeners[0]->http, (struct str){host, sizeof(host)}));
    CHECK(route_table_find(s->listeners[0]->http, (struct str){host + 200, 200}) != NULL);
    snapshot_unref(s);
}

TEST(listeners_are_found_by_address_then_by_port)
{
    static const char *const domains[] = {"a"};
    struct snapshot *s = sealed(domains, COUNT(domains), NULL);
    struct addr at;

    CHECK(addr_parse(STR("10.0.0.1:80"), &at));
    CHECK(snapshot_outbound(s, &at) == s->listeners[0]);
    CHECK(addr_parse(STR("10.0.0.2:80"), &at));
    CHECK(!snapshot_outbound(s, &at));
    CHECK(addr_parse(STR("10.0.0.2:443"), &at));
    CHECK(snapshot_outbound(s, &at) == s->listeners[1]);
    CHECK(addr_parse(STR("[fd00::5]:443"), &at));
    CHECK(snapshot_outbound(s, &at) == s->listeners[1]);
    CHECK(snapshot_inbound(s, 9000) == s->listeners[2]);
    CHECK(!snapshot_inbound(s, 80));
    CHECK(addr_parse(STR("10.0.0.2:8443"), &at)); /* a gateway's socket is its own */
    CHECK(!snapshot_outbound(s, &at));
    CHECK(!snapshot_inbound(s, 8443));
    snapshot_unref(s);
}

TEST(equal_parts_are_shared_and_a_changed_table_shares_its_equal_hosts)
{
    static const char *const one[] = {"a", "b"}, *const two[] = {"a", "c"};
    struct snapshot *first = sealed(one, 2, NULL), *same = sealed(one, 2, first),
                    *other = sealed(two, 2, same);

    CHECK(first->listeners[0] == same->listeners[0]);
    CHECK(same->listeners[0] != other->listeners[0]);
    CHECK(same->listeners[1] == other->listeners[1]);
    CHECK(same->listeners[0]->http->vhosts[0] == other->listeners[0]->http->vhosts[0]);
    CHECK(same->listeners[0]->http->vhosts[1] != other->listeners[0]->http->vhosts[1]);
    snapshot_unref(first);
    snapshot_unref(same);
    check_find(other->listeners[0]->http, "a", "a");
    check_find(other->listeners[0]->http, "c", "c");
    check_find(other->listeners[0]->http, "b", NULL);
    snapshot_unref(other);
}

static void free_cluster(struct part *p)
{
    part_unref(CONTAINER(p, struct cluster, part)->endpoints);
}

static struct snapshot *with_cluster(int64_t timeout, uint32_t weight,
                                     const struct snapshot *previous)
{
    struct snapshot *s = snapshot_new();
    struct cluster *c = part_new(sizeof(struct cluster));
    struct endpoint_set *set = part_new(sizeof(struct endpoint_set));

    set->endpoints = ARENA_ARRAY(&set->part.arena, 1, struct endpoint);
    set->endpoints[0].weight = weight;
    set->count = 1;
    c->part.unref_children = free_cluster;
    c->name = STR("c");
    c->connect_timeout_ms = timeout;
    c->endpoints = set;
    snapshot_add_cluster(s, c);
    snapshot_seal(s, previous);
    return s;
}

TEST(endpoints_are_shared_apart_from_their_cluster)
{
    struct snapshot *a = with_cluster(1, 1, NULL), *b = with_cluster(2, 1, a),
                    *c = with_cluster(2, 2, b);

    CHECK(a->clusters[0] != b->clusters[0]);
    CHECK(a->clusters[0]->endpoints == b->clusters[0]->endpoints);
    CHECK(b->clusters[0] != c->clusters[0]);
    CHECK(b->clusters[0]->endpoints != c->clusters[0]->endpoints);
    CHECK(snapshot_cluster(c, STR("c")) == c->clusters[0]);
    CHECK(!snapshot_cluster(c, STR("d")));
    snapshot_unref(a);
    snapshot_unref(b);
    CHECK_INT(c->clusters[0]->endpoints->endpoints[0].weight, 2);
    snapshot_unref(c);
}

TEST(a_dump_is_json)
{
    static const char *const domains[] = {"a", "*.b"};
    struct snapshot *s = sealed(domains, 2, NULL);
    struct arena a;
    struct node *n;
    struct err err;
    struct buf b;

    arena_init(&a);
    buf_init(&b, 1 << 20);
    snapshot_dump(s, &b);
    if (json_read(buf_str(&b), &a, &n, &err))
        fail_msg("%s in %.*s", err.text, STR_ARG(buf_str(&b)));
    CHECK_INT(node_get(n, STR("listeners"))->count, 4);
    CHECK_INT(node_get(n, STR("routeTables"))->count, 1);
    CHECK_STR(node_text(node_at(node_get(n, STR("listeners")), 0), "routeTable"), "80");
    snapshot_unref(s);
    buf_done(&b);
    arena_done(&a);
}
