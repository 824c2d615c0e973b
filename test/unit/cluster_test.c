#include "proxy/cluster.h"

#include "proxy/balance.h"
#include "test/unit/proxy_world.h"

static const uint16_t two_ports[] = {1001, 1002};

TEST(a_block_is_one_per_cluster_and_address_and_outlives_its_users)
{
    struct cluster_table t;
    struct addr a = loopback(1), b = loopback(2);
    struct endpoint_block *x, *y, *z;

    cluster_table_init(&t);
    x = cluster_block(&t, STR("c"), &a);
    y = cluster_block(&t, STR("c"), &a);
    z = cluster_block(&t, STR("d"), &a);
    CHECK(x == y);
    CHECK(x != z);
    CHECK_INT((uintptr_t)x % 64, 0);
    endpoint_block_begin(x);
    CHECK_INT(y->active, 1);
    endpoint_block_end(x);
    endpoint_block_unref(x);
    endpoint_block_unref(z);
    cluster_table_trim(&t); /* d's goes, c's is held by y */
    CHECK_INT(t.blocks.count, 1);
    x = cluster_block(&t, STR("c"), &a);
    CHECK(x == y);
    CHECK_INT(x->total, 1);
    endpoint_block_unref(x);
    endpoint_block_unref(y);
    z = cluster_block(&t, STR("c"), &b);
    endpoint_block_unref(z);
    cluster_table_trim(&t);
    CHECK_INT(t.blocks.count, 0);
    cluster_table_done(&t);
}

TEST(a_view_follows_the_endpoint_set_and_keeps_the_counts)
{
    struct cluster_table t;
    struct map views;
    struct cluster *c = cluster_part("c", CLUSTER_ENDPOINTS),
                   *next = cluster_part("c", CLUSTER_ENDPOINTS);
    struct snapshot *s = snapshot_new();
    struct cluster_view *v;
    struct endpoint_block *b;

    cluster_table_init(&t);
    map_init(&views);
    cluster_endpoints(c, two_ports, 1, NULL);
    cluster_endpoints(next, two_ports, 2, NULL);
    next->endpoints->endpoints[1].weight = 3;
    v = cluster_view_get(&views, &t, c, 1, 1);
    CHECK_INT(balance_levels_now(v)->items[0].weight, 1);
    CHECK(!v->levels.items[0].is_weighted);
    b = v->blocks[0];
    endpoint_block_begin(b);
    CHECK(cluster_view_get(&views, &t, next, 1, 1) == v);
    CHECK_INT(v->set->count, 2);
    CHECK_INT(balance_levels_now(v)->items[0].weight, 4);
    CHECK(v->levels.items[0].is_weighted);
    CHECK(v->blocks[0] == b);
    CHECK_INT(v->blocks[0]->active, 1);
    snapshot_seal(s, NULL);
    cluster_views_trim(&views, s); /* no snapshot names it any more */
    CHECK_INT(views.count, 0);
    snapshot_unref(s);
    cluster_views_done(&views);
    part_unref(c);
    part_unref(next);
    cluster_table_done(&t);
}

TEST(clusters_print_their_endpoints_with_counts)
{
    struct cluster_table t;
    struct snapshot *s = snapshot_new();
    struct cluster *c = cluster_part("outbound|80||a", CLUSTER_ENDPOINTS);
    struct endpoint_block *b;
    struct addr a = loopback(two_ports[0]);
    struct buf text;

    cluster_table_init(&t);
    cluster_endpoints(c, two_ports, 2, "spiffe://td/ns/n/sa/s");
    snapshot_add_cluster(s, c);
    snapshot_seal(s, NULL);
    b = cluster_block(&t, STR("outbound|80||a"), &a);
    endpoint_block_begin(b);
    buf_init(&text, 4096);
    cluster_print(&t, s, 0, &text);
    buf_addc(&text, 0);
    CHECK(strstr(text.p, "\"name\":\"outbound|80||a\",\"balance\":\"LEAST_REQUEST\"") != NULL);
    CHECK(strstr(text.p, "{\"address\":\"127.0.0.1:1001\",\"workload\":\"web-1\"") != NULL);
    CHECK(strstr(text.p, "\"active\":1,\"total\":1,\"connect_failures\":0") != NULL);
    CHECK(strstr(text.p, "127.0.0.1:1002") != NULL);
    buf_done(&text);
    endpoint_block_unref(b);
    snapshot_unref(s);
    cluster_table_done(&t);
}
