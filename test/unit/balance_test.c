#include "proxy/balance.h"

#include "test/unit/proxy_world.h"

#define MANY 3u

struct world {
    struct cluster_table table;
    struct map views;
    struct cluster *c;
    struct cluster_view *v;
    uint64_t rng;
    size_t hits[MANY];
};

static void world_init(struct world *w, size_t count, const uint32_t *weights)
{
    static const uint16_t ports[MANY] = {1, 2, 3};

    memset(w, 0, sizeof(*w));
    cluster_table_init(&w->table);
    map_init(&w->views);
    w->c = cluster_part("c", CLUSTER_ENDPOINTS);
    cluster_endpoints(w->c, ports, count, NULL);
    for (size_t i = 0; weights && i < count; i++)
        w->c->endpoints->endpoints[i].weight = weights[i];
    w->v = cluster_view_get(&w->views, &w->table, w->c, 12345, 1);
    w->rng = 42;
}

static void world_done(struct world *w)
{
    cluster_views_done(&w->views);
    part_unref(w->c);
    cluster_table_done(&w->table);
}

static void pick_many(struct world *w, unsigned kind, size_t times)
{
    memset(w->hits, 0, sizeof(w->hits));
    for (size_t i = 0; i < times; i++)
        w->hits[balance_pick(w->v, kind, &w->rng, NULL, NULL)]++;
}

TEST(round_robin_takes_turns)
{
    struct world w;

    world_init(&w, 3, NULL);
    pick_many(&w, BALANCE_ROUND_ROBIN, 300);
    for (size_t i = 0; i < 3; i++)
        CHECK_INT(w.hits[i], 100);
    world_done(&w);
}

TEST(weighted_round_robin_is_exact_per_cycle)
{
    static const uint32_t weights[] = {90, 9, 1};
    struct world w;

    world_init(&w, 3, weights);
    pick_many(&w, BALANCE_ROUND_ROBIN, 100);
    CHECK_INT(w.hits[0], 90);
    CHECK_INT(w.hits[1], 9);
    CHECK_INT(w.hits[2], 1);
    world_done(&w);
}

TEST(random_follows_the_weights)
{
    static const uint32_t weights[] = {8, 1, 1};
    struct world w;

    world_init(&w, 3, weights);
    pick_many(&w, BALANCE_RANDOM, 10000);
    CHECK(w.hits[0] > 7700 && w.hits[0] < 8300);
    CHECK(w.hits[1] > 800 && w.hits[1] < 1200);
    world_done(&w);
}

TEST(least_request_follows_the_weights_of_idle_ones_and_loads_by_weight)
{
    static const uint32_t weights[] = {8, 1, 1};
    struct world w;

    world_init(&w, 3, weights);
    pick_many(&w, BALANCE_LEAST_REQUEST, 10000);
    CHECK(w.hits[0] > 7700 && w.hits[0] < 8300);
    for (int i = 0; i < 9; i++) /* more than eight times what the others have */
        endpoint_block_begin(w.v->blocks[0]);
    endpoint_block_begin(w.v->blocks[1]);
    endpoint_block_begin(w.v->blocks[2]);
    pick_many(&w, BALANCE_LEAST_REQUEST, 10000);
    CHECK(w.hits[0] < 7000);
    world_done(&w);
}

TEST(least_request_avoids_the_busy_one)
{
    struct world w;

    world_init(&w, 2, NULL);
    for (int i = 0; i < 5; i++)
        endpoint_block_begin(w.v->blocks[0]);
    pick_many(&w, BALANCE_LEAST_REQUEST, 100);
    CHECK_INT(w.hits[0], 0);
    for (int i = 0; i < 5; i++)
        endpoint_block_end(w.v->blocks[0]);
    pick_many(&w, BALANCE_LEAST_REQUEST, 1000);
    CHECK(w.hits[0] > 300 && w.hits[1] > 300);
    world_done(&w);
}

TEST(an_endpoint_already_tried_is_avoided_until_all_were)
{
    struct balance_tried tried = {0};
    struct world w;
    size_t i;

    world_init(&w, 3, NULL);
    balance_tried_add(&tried, &w.c->endpoints->endpoints[0].addr);
    balance_tried_add(&tried, &w.c->endpoints->endpoints[1].addr);
    for (int k = 0; k < 200; k++) {
        for (unsigned kind = BALANCE_LEAST_REQUEST; kind <= BALANCE_RANDOM; kind++)
            CHECK_INT(balance_pick(w.v, kind, &w.rng, NULL, &tried), 2);
    }
    balance_tried_add(&tried, &w.c->endpoints->endpoints[2].addr);
    i = balance_pick(w.v, BALANCE_RANDOM, &w.rng, NULL, &tried);
    CHECK(i < 3);
    world_done(&w);
}

TEST(nobody_is_there_when_the_set_is_empty)
{
    struct world w;

    world_init(&w, 0, NULL);
    CHECK_INT(balance_pick(w.v, BALANCE_RANDOM, &w.rng, NULL, NULL), BALANCE_NONE);
    world_done(&w);
}
