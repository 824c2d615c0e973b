/* localityLbSetting: where endpoints stand, who comes first for this host's callers, and who gets which share. */
#include "test/unit/compile_world.h"

#include "mesh/kinds/destination_rule.h"
#include "mesh/locality.h"

struct place {
    const char *ip, *locality, *labels;
};

static const struct place places[] = {
    {"192.0.2.1", "r1/z1/s1", "app=b,version=v1"},
    {"192.0.2.2", "r1/z1/s2", "app=b,version=v1"},
    {"192.0.2.3", "r1/z2",    "app=b,version=v2"},
    {"192.0.2.4", "r2/z1",    "app=b,version=v2"},
    {"192.0.2.5", "r3/z1",    "app=b"           },
    {"192.0.2.6", "",         "app=b"           },
};

/* What comes of service b for a caller in `from`. `ejects`: as if the policy had outlierDetection. */
static const struct cluster *compiled(struct world *w, const char *from, const char *balancer, bool ejects)
{
    static struct outlier_detection outlier;
    const struct service *s;

    world_init(w);
    w->self.locality = str_from(from);
    world_local(w, "default", "caller", 8080, "HTTP", "app=caller,version=v2");
    s = world_service(w, "default", "b", "10.1.0.1", "http:HTTP:80");
    for (size_t i = 0; i < COUNT(places); i++)
        world_workload(w, s, places[i].ip, places[i].labels)->locality = str_from(places[i].locality);
    world_apply(w, arena_printf(&w->arena,
                                "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: b, "
                                "namespace: default}\nspec: {host: b, trafficPolicy: {loadBalancer: {%s}}}\n",
                                balancer)
                       .p);
    if (ejects)
        ((struct destination_rule *)w->c.objects[0]->spec)->traffic_policy->outlier_detection = &outlier;
    world_compile(w);
    return world_cluster(w, "80||b.default");
}

/* "1:0 2:1 ...": last byte of the address and priority. */
static const char *priorities(struct world *w, const char *from, const char *balancer, bool ejects)
{
    const struct cluster *c = compiled(w, from, balancer, ejects);

    buf_clear(&w->text);
    for (size_t i = 0; i < c->endpoints->count; i++)
        buf_printf(&w->text, "%s%u:%u", i ? " " : "", c->endpoints->endpoints[i].addr.ip[3],
                   c->endpoints->endpoints[i].priority);
    return arena_str(&w->arena, buf_str(&w->text)).p;
}

TEST(priorities_are_by_distance_and_labels_and_only_where_failing_endpoints_are_found)
{
    static const struct {
        const char *from, *balancer;
        bool ejects;
        const char *want;
    } rows[] = {
        {"r1/z1/s1", "simple: RANDOM", false, "1:0 2:0 3:0 4:0 5:0 6:0"},
        {"r1/z1/s1", "simple: RANDOM", true, "1:0 2:1 3:2 4:3 5:3 6:3"}, /* the mesh's default is on */
        {"r1/z2", "simple: RANDOM", true, "1:1 2:1 3:0 4:2 5:2 6:2"},    /* without gaps */
        {"r1/z1/s1", "localityLbSetting: {enabled: false}", true, "1:0 2:0 3:0 4:0 5:0 6:0"},
        {"r1/z1/s1", "localityLbSetting: {failover: [{from: r1, to: r3}]}", true, "1:0 2:1 3:2 4:4 5:3 6:4"},
        {"r1/z1/s1", "localityLbSetting: {failover: [{from: r1, to: r3}]}", false, "1:0 2:0 3:0 4:0 5:0 6:0"},
        {"r2/z1", "localityLbSetting: {failover: [{from: r1, to: r3}]}", true, "1:1 2:1 3:1 4:0 5:1 6:1"},
        {"r1/z1/s1", "localityLbSetting: {failoverPriority: [version]}", true, "1:1 2:1 3:0 4:0 5:1 6:1"},
        {"r1/z1/s1", "localityLbSetting: {failoverPriority: ['version=v1']}", true, "1:0 2:0 3:1 4:1 5:1 6:1"},
        {"r1/z1/s1", "localityLbSetting: {failoverPriority: ['topology.kubernetes.io/region', version]}", true,
         "1:1 2:1 3:0 4:2 5:2 6:2"},
        {"r1/z1/s1", "localityLbSetting: {failoverPriority: [version], failover: [{from: r1, to: r3}]}", true,
         "1:2 2:3 3:0 4:1 5:4 6:5"},
        {"", "simple: RANDOM", true, "1:1 2:1 3:1 4:1 5:1 6:0"}, /* who does not know where he stands */
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct world w;

        CHECK_TEXT(priorities(&w, rows[i].from, rows[i].balancer, rows[i].ejects), rows[i].want);
        world_done(&w);
    }
}

#define SHARES                                                                                                         \
    "localityLbSetting: {distribute: [{from: r1/z1/*, to: {r1/z1/*: 70, r1/z2: 20, r2/*: 10}}, {from: r9/*, to: {r1: 100}}]}"

TEST(a_distribution_gives_shares_to_localities_and_none_to_the_others)
{
    static const uint32_t shares[] = {0, 0, 1, 2};
    struct world w;
    const struct cluster *c = compiled(&w, "r1/z1/s1", SHARES, false);

    CHECK_INT(c->endpoints->count, 4);
    CHECK_INT(c->endpoints->share_count, 3);
    CHECK_INT(c->endpoints->shares[0], 70);
    CHECK_INT(c->endpoints->shares[2], 10);
    for (size_t i = 0; i < 4; i++) {
        CHECK_INT(c->endpoints->endpoints[i].share, shares[i]);
        CHECK_INT(c->endpoints->endpoints[i].priority, 0);
    }
    world_done(&w);
    c = compiled(&w, "r2/z1", SHARES, true); /* no distribution is for him, and no failover beside one */
    CHECK_INT(c->endpoints->count, 6);
    CHECK_INT(c->endpoints->share_count, 0);
    world_done(&w);
}

TEST(the_ring_follows_the_shares)
{
    size_t points[4] = {0};
    struct world w;
    const struct cluster *c = compiled(&w, "r1/z1/s1", "consistentHash: {maglev: {tableSize: 10007}}, " SHARES, false);

    for (size_t i = 0; i < c->endpoints->ring.count; i++)
        points[c->endpoints->ring.owners[i]]++;
    CHECK(points[0] > 3490 && points[0] < 3515 && points[1] > 3490 && points[1] < 3515); /* 70 % of both */
    CHECK(points[2] > 1990 && points[2] < 2010);
    CHECK(points[3] > 990 && points[3] < 1010);
    world_done(&w);
}

TEST(the_mesh_has_a_setting_for_rules_without_one)
{
    struct world w;
    const struct cluster *c;

    (void)compiled(&w, "r1/z1/s1", "simple: RANDOM", true);
    world_apply(&w, "apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nmetadata: {name: default, namespace: "
                    "istio-system}\nspec: {localityLbSetting: {enabled: false}}\n");
    world_compile(&w);
    c = world_cluster(&w, "80||b.default");
    for (size_t i = 0; i < c->endpoints->count; i++)
        CHECK_INT(c->endpoints->endpoints[i].priority, 0);
    world_done(&w);
}

TEST(localities_have_up_to_three_names)
{
    static const char *const good[] = {"", "r", "r/z", "r/z/s", "eu-west_1.a/z/s"}, *const bad[] = {"/", "r/", "/z", "r//s", "r/*", "r z"};
    struct locality l = locality_of(STR("r/z"));
    struct err err;

    for (size_t i = 0; i < COUNT(good); i++)
        CHECK_INT(locality_check(str_from(good[i]), &err), 0);
    for (size_t i = 0; i < COUNT(bad); i++)
        CHECK_INT(locality_check(str_from(bad[i]), &err), -1);
    CHECK_STR(l.zone, "z");
    CHECK_INT(l.subzone.n, 0);
    CHECK(locality_is_within(&l, STR("r/*")) && locality_is_within(&l, STR("r")) && locality_is_within(&l, STR("*")));
    CHECK(!locality_is_within(&l, STR("r/z/s")) && !locality_is_within(&l, STR("r/y")));
}
