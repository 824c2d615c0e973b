/* Priorities and shares at work: who gets how much while endpoints go out and come back. */
#include "proxy/balance.h"

#include "test/unit/proxy_world.h"

#define MANY  CHOICES_MAX
#define PICKS 20000

static void init_levels(struct choices *w, const uint32_t *priorities)
{
    choices_init(w, MANY);
    for (size_t i = 0; i < MANY; i++)
        w->c->endpoints->endpoints[i].priority = priorities[i];
}

static void set_out(struct choices *w, size_t first, size_t last, bool is_out)
{
    for (size_t i = first; i <= last; i++)
        w->v->left_out[i] = is_out;
    balance_levels_done(&w->v->levels);
}

static bool is_about(size_t hits, double part)
{
    return (double)hits > (part - 0.02) * PICKS && (double)hits < (part + 0.02) * PICKS;
}

static size_t sum(const struct choices *w, size_t first, size_t last)
{
    size_t n = 0;

    for (size_t i = first; i <= last; i++)
        n += w->hits[i];
    return n;
}

static const uint32_t two_levels[MANY] = {0, 0, 0, 0, 0, 1, 1, 1, 1, 1};

TEST(the_first_priority_has_it_all_until_too_few_are_left)
{
    /* 1.4 x 4/5 is more than all, 1.4 x 3/5 is 84 %, 1.4 x 2/5 is 56 % */
    static const struct {
        size_t out;
        double first;
    } rows[] = {
        {0, 1}, {1, 1}, {2, 0.84}, {3, 0.56}, {4, 0.28}, {5, 0},
    };

    for (unsigned kind = BALANCE_LEAST_REQUEST; kind <= BALANCE_RANDOM; kind++) {
        struct choices w;

        init_levels(&w, two_levels);
        for (size_t i = 0; i < COUNT(rows); i++) {
            if (rows[i].out)
                set_out(&w, 0, rows[i].out - 1, true);
            pick_many(&w, kind, PICKS);
            CHECK(is_about(sum(&w, 0, 4), rows[i].first));
            for (size_t k = 0; k < rows[i].out; k++)
                CHECK_INT(w.hits[k], 0);
        }
        set_out(&w, 0, 4, false); /* they are back */
        pick_many(&w, kind, PICKS);
        CHECK_INT(sum(&w, 5, 9), 0);
        choices_done(&w);
    }
}

TEST(priorities_that_cannot_take_it_all_share_it_as_they_can)
{
    struct choices w;

    init_levels(&w, two_levels);
    set_out(&w, 0, 3, true); /* 28 % */
    set_out(&w, 5, 8, true); /* 28 % */
    pick_many(&w, BALANCE_RANDOM, PICKS);
    CHECK(is_about(w.hits[4], 0.5));
    CHECK(is_about(w.hits[9], 0.5));
    set_out(&w, 0, 9, true);
    CHECK_INT(balance_pick(w.v, BALANCE_RANDOM, &w.rng, NULL, NULL), BALANCE_NONE);
    choices_done(&w);
}

TEST(a_priority_panics_by_itself_and_only_while_all_together_are_short)
{
    static const uint32_t seven_and_three[MANY] = {0, 0, 0, 0, 0, 0, 0, 1, 1, 1};
    static const struct {
        const uint32_t *priorities;
        unsigned percent;
        size_t out_first, out_second;
        double first;          /* its part of the choices */
        size_t used[2];        /* endpoints that get some */
    } rows[] = {
        {two_levels, 50, 4, 0, 0.28, {1, 5}}, /* the second can take the rest: no panic at 20 % */
        {two_levels, 99, 5, 1, 0, {0, 4}},
        {two_levels, 50, 3, 3, 0.56, {2, 2}}, /* 56 and 56 is enough, */
        {two_levels, 40, 4, 3, 0.33, {5, 2}}, /* 28 and 56 is not: 20 % are too few, 40 % are not */
        {two_levels, 41, 4, 3, 0.5, {5, 5}}, /* all panic */
        {two_levels, 20, 4, 3, 0.33, {1, 2}},
        {two_levels, 0, 4, 3, 0.33, {1, 2}},
        {two_levels, 40, 5, 3, 0, {0, 2}}, /* nobody is asked who panics and can take nothing */
        {two_levels, 1, 5, 5, 0.5, {5, 5}},
        {seven_and_three, 50, 6, 2, 0.7, {7, 3}}, /* by size */
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        size_t first_count = rows[i].priorities == two_levels ? 5 : 7;
        struct choices w;

        init_levels(&w, rows[i].priorities);
        w.v->min_health_percent = rows[i].percent;
        set_out(&w, 0, rows[i].out_first - 1, true);
        if (rows[i].out_second)
            set_out(&w, first_count, first_count + rows[i].out_second - 1, true);
        for (unsigned kind = BALANCE_LEAST_REQUEST; kind <= BALANCE_RANDOM; kind++) {
            size_t used[2] = {0};

            pick_many(&w, kind, PICKS);
            CHECK(is_about(sum(&w, 0, first_count - 1), rows[i].first));
            for (size_t k = 0; k < MANY; k++)
                used[k < first_count ? 0 : 1] += w.hits[k] > 0;
            CHECK_INT(used[0], rows[i].used[0]);
            CHECK_INT(used[1], rows[i].used[1]);
        }
        choices_done(&w);
    }
}

TEST(in_a_panic_keys_and_weights_count_and_shares_do_not)
{
    static const uint32_t shares[] = {80, 20};
    size_t hits[4] = {0};
    struct choices w;

    choices_init(&w, 4);
    w.c->endpoints->shares = shares;
    w.c->endpoints->share_count = 2;
    w.c->endpoints->endpoints[3].share = 1;
    w.c->endpoints->endpoints[3].weight = 3;
    w.v->min_health_percent = 50;
    set_out(&w, 0, 2, true);
    pick_many(&w, BALANCE_RANDOM, PICKS);
    for (size_t i = 0; i < 4; i++)
        CHECK(is_about(w.hits[i], i < 3 ? 1 / 6.0 : 0.5));
    w.c->endpoints->ring_kind = RING_POINTS;
    w.c->endpoints->ring_size = 1024;
    endpoint_set_index(w.c->endpoints);
    for (uint64_t i = 0; i < 200; i++)
        hits[balance_pick(w.v, BALANCE_HASH, &w.rng, &(uint64_t){i * 0x9e3779b97f4a7c15u}, NULL)]++;
    for (size_t i = 0; i < 4; i++)
        CHECK(hits[i] > 10);
    choices_done(&w);
}

TEST(shares_hold_and_move_only_when_a_locality_is_short)
{
    static const uint32_t shares[] = {80, 20};
    struct choices w;

    choices_init(&w, MANY);
    w.c->endpoints->shares = shares;
    w.c->endpoints->share_count = 2;
    for (size_t i = 0; i < MANY; i++)
        w.c->endpoints->endpoints[i].share = i < 5 ? 0 : 1;
    w.c->endpoints->endpoints[0].weight = 4;
    for (unsigned kind = BALANCE_LEAST_REQUEST; kind <= BALANCE_RANDOM; kind++) {
        pick_many(&w, kind, PICKS);
        CHECK(is_about(sum(&w, 0, 4), 0.8));
        CHECK(is_about(w.hits[0], 0.4)); /* by weight within it */
        set_out(&w, 1, 1, true);         /* 1.4 x 4/5: still all of its share */
        pick_many(&w, kind, PICKS);
        CHECK(is_about(sum(&w, 0, 4), 0.8));
        set_out(&w, 0, 4, true);
        pick_many(&w, kind, PICKS);
        CHECK_INT(sum(&w, 5, 9), PICKS);
        set_out(&w, 0, 4, false);
    }
    choices_done(&w);
}

TEST(a_key_keeps_to_its_priority_and_comes_back_to_its_endpoint)
{
    struct choices w;
    size_t before[200];

    init_levels(&w, two_levels);
    w.c->endpoints->ring_kind = RING_POINTS;
    w.c->endpoints->ring_size = 1024;
    endpoint_set_index(w.c->endpoints);
    for (int round = 0; round < 3; round++) {
        for (uint64_t i = 0; i < COUNT(before); i++) {
            uint64_t hash = i * 0x9e3779b97f4a7c15u;
            size_t at = balance_pick(w.v, BALANCE_HASH, &w.rng, &hash, NULL);

            CHECK(at < 5);
            CHECK(round != 1 || (at != 2 && (before[i] == 2 || at == before[i]))); /* only its own keys move */
            CHECK(round != 2 || at == before[i]);
            if (round == 0)
                before[i] = at;
        }
        set_out(&w, 2, 2, round == 0);
    }
    choices_done(&w);
}

TEST(retries_may_leave_the_priorities_they_have_tried)
{
    struct balance_tried tried = {.goes_remote = true};
    struct choices w;

    init_levels(&w, two_levels);
    for (size_t i = 0; i < 2; i++) {
        CHECK(balance_pick(w.v, BALANCE_RANDOM, &w.rng, NULL, &tried) < 5);
        balance_tried_add(&tried, &w.c->endpoints->endpoints[i].addr);
    }
    for (int i = 0; i < 100; i++)
        CHECK(balance_pick(w.v, BALANCE_RANDOM, &w.rng, NULL, &tried) >= 5);
    tried.goes_remote = false;
    CHECK(balance_pick(w.v, BALANCE_RANDOM, &w.rng, NULL, &tried) < 5);
    tried.goes_remote = true;
    balance_tried_add(&tried, &w.c->endpoints->endpoints[7].addr); /* all were tried: as at first */
    CHECK(balance_pick(w.v, BALANCE_RANDOM, &w.rng, NULL, &tried) < 5);
    choices_done(&w);
}

/* The same cluster with one more endpoint, seen at `now_ms`. */
static void grow(struct choices *w, struct warmup_rule rule, int64_t now_ms)
{
    struct cluster *next = cluster_part("c", CLUSTER_ENDPOINTS);
    static const uint16_t ports[] = {1, 2};

    cluster_endpoints(next, ports, 2, NULL);
    next->endpoints->warmup = rule;
    part_unref(w->c);
    w->c = next;
    w->v = cluster_view_get(&w->views, &w->table, w->c, 1, now_ms);
}

TEST(a_new_endpoint_comes_to_its_weight_in_its_time)
{
    static const struct {
        struct warmup_rule rule;
        int64_t age_ms;
        double factor;
    } rows[] = {
        {{10000, 0.1, 1},   0,     0.1  },
        {{10000, 0.1, 1},   500,   0.1  },
        {{10000, 0.1, 1},   5000,  0.5  },
        {{10000, 0.1, 1},   10000, 1    },
        {{10000, 0.1, 1},   90000, 1    },
        {{10000, 0.1, 2},   2500,  0.5  }, /* steep at first */
        {{10000, 0.1, 0.5}, 5000,  0.25 }, /* steep at last */
        {{0},               0,     1    },
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        for (unsigned kind = BALANCE_LEAST_REQUEST; kind <= BALANCE_ROUND_ROBIN; kind++) {
            struct choices w;

            choices_init(&w, 1); /* at 1 */
            grow(&w, rows[i].rule, 1000000);
            (void)balance_pick(w.v, kind, &w.rng, NULL, NULL);
            (void)cluster_view_get(&w.views, &w.table, w.c, 1, 1000000 + rows[i].age_ms);
            pick_many(&w, kind, PICKS);
            CHECK(is_about(w.hits[1], rows[i].factor / (1 + rows[i].factor)));
            choices_done(&w);
        }
    }
}

TEST(endpoints_that_are_all_new_share_alike)
{
    struct choices w;

    choices_init(&w, 2);
    w.c->endpoints->warmup = (struct warmup_rule){10000, 0.1, 1};
    pick_many(&w, BALANCE_ROUND_ROBIN, PICKS);
    CHECK_INT(w.hits[0], PICKS / 2);
    CHECK(!w.v->levels.items[0].is_weighted);
    choices_done(&w);
}
