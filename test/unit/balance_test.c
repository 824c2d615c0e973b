#include "proxy/balance.h"

#include "test/unit/proxy_world.h"

static void init_weighted(struct choices *w, size_t count, const uint32_t *weights)
{
    choices_init(w, count);
    for (size_t i = 0; i < count; i++)
        w->c->endpoints->endpoints[i].weight = weights[i];
}

TEST(round_robin_takes_turns)
{
    struct choices w;

    choices_init(&w, 3);
    pick_many(&w, BALANCE_ROUND_ROBIN, 300);
    for (size_t i = 0; i < 3; i++)
        CHECK_INT(w.hits[i], 100);
    choices_done(&w);
}

TEST(weighted_round_robin_is_exact_per_cycle)
{
    static const uint32_t weights[] = {90, 9, 1};
    struct choices w;

    init_weighted(&w, 3, weights);
    pick_many(&w, BALANCE_ROUND_ROBIN, 100);
    CHECK_INT(w.hits[0], 90);
    CHECK_INT(w.hits[1], 9);
    CHECK_INT(w.hits[2], 1);
    choices_done(&w);
}

TEST(random_follows_the_weights)
{
    static const uint32_t weights[] = {8, 1, 1};
    struct choices w;

    init_weighted(&w, 3, weights);
    pick_many(&w, BALANCE_RANDOM, 10000);
    CHECK(w.hits[0] > 7700 && w.hits[0] < 8300);
    CHECK(w.hits[1] > 800 && w.hits[1] < 1200);
    choices_done(&w);
}

TEST(least_request_follows_the_weights_of_idle_ones_and_loads_by_weight)
{
    static const uint32_t weights[] = {8, 1, 1};
    struct choices w;

    init_weighted(&w, 3, weights);
    pick_many(&w, BALANCE_LEAST_REQUEST, 10000);
    CHECK(w.hits[0] > 7700 && w.hits[0] < 8300);
    for (int i = 0; i < 9; i++) /* more than eight times what the others have */
        endpoint_block_begin(w.v->blocks[0]);
    endpoint_block_begin(w.v->blocks[1]);
    endpoint_block_begin(w.v->blocks[2]);
    pick_many(&w, BALANCE_LEAST_REQUEST, 10000);
    CHECK(w.hits[0] < 7000);
    choices_done(&w);
}

TEST(least_request_avoids_the_busy_one)
{
    struct choices w;

    choices_init(&w, 2);
    for (int i = 0; i < 5; i++)
        endpoint_block_begin(w.v->blocks[0]);
    pick_many(&w, BALANCE_LEAST_REQUEST, 100);
    CHECK_INT(w.hits[0], 0);
    for (int i = 0; i < 5; i++)
        endpoint_block_end(w.v->blocks[0]);
    pick_many(&w, BALANCE_LEAST_REQUEST, 1000);
    CHECK(w.hits[0] > 300 && w.hits[1] > 300);
    choices_done(&w);
}

TEST(an_endpoint_already_tried_is_avoided_until_all_were)
{
    struct balance_tried tried = {0};
    struct choices w;
    size_t i;

    choices_init(&w, 3);
    balance_tried_add(&tried, &w.c->endpoints->endpoints[0].addr);
    balance_tried_add(&tried, &w.c->endpoints->endpoints[1].addr);
    for (int k = 0; k < 200; k++) {
        for (unsigned kind = BALANCE_LEAST_REQUEST; kind <= BALANCE_RANDOM; kind++)
            CHECK_INT(balance_pick(w.v, kind, &w.rng, NULL, &tried), 2);
    }
    balance_tried_add(&tried, &w.c->endpoints->endpoints[2].addr);
    i = balance_pick(w.v, BALANCE_RANDOM, &w.rng, NULL, &tried);
    CHECK(i < 3);
    choices_done(&w);
}

TEST(nobody_is_there_when_the_set_is_empty)
{
    struct choices w;

    choices_init(&w, 0);
    CHECK_INT(balance_pick(w.v, BALANCE_RANDOM, &w.rng, NULL, NULL), BALANCE_NONE);
    choices_done(&w);
}
