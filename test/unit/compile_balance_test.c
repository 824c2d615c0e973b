/* loadBalancer of a DestinationRule becomes what the proxy balances by. */
#include "test/unit/compile_world.h"

static const struct cluster *compiled(struct world *w, const char *policy)
{
    const struct service *s;

    world_init(w);
    s = world_service(w, "default", "b", "10.1.0.1", "http:HTTP:80");
    world_workload(w, s, "192.0.2.1", "app=b");
    world_workload(w, s, "192.0.2.2", "app=b");
    world_apply(w, arena_printf(&w->arena,
                                "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: b, "
                                "namespace: default}\nspec: {host: b, %s}\n",
                                policy)
                       .p);
    world_compile(w);
    return world_cluster(w, "80||b.default");
}

#define POLICY(hash) "trafficPolicy: {loadBalancer: {consistentHash: {" hash "}}}"

TEST(each_key_and_table_of_a_document_reaches_the_cluster)
{
    static const struct {
        const char *policy;
        enum hash_by by;
        const char *name;
        enum ring_kind kind;
        uint64_t size, count;
    } rows[] = {
        {POLICY("httpHeaderName: X-User"),                                     HASH_BY_HEADER,  "x-user", RING_POINTS, 1024,  1024 },
        {POLICY("httpCookie: {name: Who}, ringHash: {minimumRingSize: 2000}"), HASH_BY_COOKIE,  "Who",    RING_POINTS, 2000,  2048 },
        {POLICY("httpQueryParameterName: q, minimumRingSize: 64"),             HASH_BY_QUERY,   "q",      RING_POINTS, 64,    64   },
        {POLICY("useSourceIp: true, maglev: {tableSize: 65537}"),              HASH_BY_SOURCE,  "",       RING_MAGLEV, 65537, 65537},
        {POLICY("maglev: {tableSize: 11}"),                                    HASH_BY_NOTHING, "",       RING_MAGLEV, 11,    11   },
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct world w;
        const struct cluster *c = compiled(&w, rows[i].policy);

        CHECK_INT(c->balance, BALANCE_HASH);
        CHECK_INT(c->hash.by, rows[i].by);
        CHECK_STR(c->hash.name, rows[i].name);
        CHECK(!c->hash.makes_cookie);
        CHECK_INT(c->endpoints->ring_kind, rows[i].kind);
        CHECK_INT(c->endpoints->ring_size, rows[i].size);
        CHECK_INT(c->endpoints->ring.count, rows[i].count);
        world_done(&w);
    }
}

TEST(a_cookie_that_is_made_has_the_attributes_asked_for)
{
    static const struct {
        const char *policy, *tail;
    } rows[] = {
        {POLICY("httpCookie: {name: c, ttl: 0s}"), "; HttpOnly"},
        {POLICY("httpCookie: {name: c, ttl: 60s, path: /p}"), "; Max-Age=60; Path=/p; HttpOnly"},
        {POLICY("httpCookie: {name: c, ttl: 1s, attributes: [{name: SameSite, value: Strict}, {name: Secure}]}"),
         "; Max-Age=1; SameSite=Strict; Secure; HttpOnly"},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct world w;
        const struct cluster *c = compiled(&w, rows[i].policy);

        CHECK(c->hash.makes_cookie);
        CHECK_STR(c->hash.cookie_tail, rows[i].tail);
        world_done(&w);
    }
}

/* C07, C08 */
TEST(a_port_replaces_the_policy_and_a_subset_inherits_it)
{
    struct world w;
    const struct cluster *c =
        compiled(&w, "trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: top}}}, subsets: [{name: own, "
                     "labels: {app: b}, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: sub}}}}, "
                     "{name: heir, labels: {app: b}}]");

    CHECK_STR(c->hash.name, "top");
    CHECK_STR(world_cluster(&w, "80|own|b.default")->hash.name, "sub");
    CHECK_STR(world_cluster(&w, "80|heir|b.default")->hash.name, "top");
    world_done(&w);
    c = compiled(&w, "trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: top}}, portLevelSettings: [{port: "
                     "{number: 80}, loadBalancer: {consistentHash: {httpHeaderName: port}}}]}");
    CHECK_STR(c->hash.name, "port");
    world_done(&w);
    c = compiled(&w, "trafficPolicy: {portLevelSettings: [{port: {number: 81}, loadBalancer: {consistentHash: "
                     "{httpHeaderName: port}}}]}");
    CHECK_INT(c->balance, BALANCE_LEAST_REQUEST);
    world_done(&w);
}

TEST(the_ring_is_taken_over_while_the_endpoints_stay_and_made_anew_when_they_change)
{
    struct world w;
    const struct cluster *c = compiled(&w, POLICY("httpHeaderName: a"));
    const struct endpoint_set *before = part_ref(c->endpoints);

    world_compile(&w);
    CHECK(world_cluster(&w, "80||b.default")->endpoints == before);
    world_workload(&w, w.c.services[0], "192.0.2.3", "app=b");
    world_compile(&w);
    c = world_cluster(&w, "80||b.default");
    CHECK(c->endpoints != before);
    CHECK_INT(c->endpoints->ring.count, 1536);
    part_unref((void *)(uintptr_t)before);
    world_done(&w);
}

TEST(warmup_reaches_the_endpoints_of_balancers_that_have_one)
{
    static const struct {
        const char *balancer;
        int64_t for_ms;
        double least, aggression;
    } rows[] = {
        {"warmup: {duration: 60s}",                                             60000, 0.1, 1  },
        {"simple: ROUND_ROBIN, warmup: {duration: 1500ms, minimumPercent: 25, aggression: 2.5}", 1500, 0.25, 2.5},
        {"warmupDurationSecs: 30s",                                             30000, 0.1, 1  },
        {"simple: RANDOM, warmup: {duration: 60s}",                             0,     0,   0  },
        {"consistentHash: {useSourceIp: true}, warmup: {duration: 60s}",        0,     0,   0  },
        {"simple: ROUND_ROBIN",                                                 0,     0,   0  },
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct world w;
        char policy[256];
        const struct cluster *c;

        snprintf(policy, sizeof(policy), "trafficPolicy: {loadBalancer: {%s}}", rows[i].balancer);
        c = compiled(&w, policy);
        CHECK_INT(c->endpoints->warmup.for_ms, rows[i].for_ms);
        CHECK(c->endpoints->warmup.least == rows[i].least);
        CHECK(c->endpoints->warmup.aggression == rows[i].aggression);
        world_done(&w);
    }
}
