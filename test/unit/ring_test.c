/* XXH64, rings and Maglev tables: the same everywhere, shares by weight, little movement. */
#include "test/test.h"

#include "mesh/base/limits.h"
#include "mesh/base/xxh64.h"
#include "mesh/ring.h"

#define MANY 10u
#define KEYS 20000u

static const enum ring_kind kinds[] = {RING_POINTS, RING_MAGLEV};

struct made {
    struct arena arena;
    struct ring ring;
};

/* Owners are "10.0.0.N:80"; `order` says who stands where, `weights` are by N. */
static void make(struct made *m, enum ring_kind kind, uint64_t size, const uint32_t *order, size_t count,
                 const double *weights)
{
    struct ring_owner owners[MANY];

    arena_init(&m->arena);
    for (size_t i = 0; i < count; i++)
        owners[i] = (struct ring_owner){arena_printf(&m->arena, "10.0.0.%u:80", order[i]),
                                        weights ? weights[order[i]] : 1, order[i]};
    ring_build(&m->ring, kind, size, owners, count, &m->arena);
}

static uint32_t owner_of(const struct made *m, uint64_t key)
{
    char text[STR_UINT_MAX];

    return m->ring.owners[ring_at(&m->ring, xxh64(str_of_uint(key, text), 0))];
}

static uint64_t size_of(enum ring_kind kind)
{
    return kind == RING_MAGLEV ? 65537 : 1024;
}

TEST(the_hash_gives_the_published_values)
{
    CHECK(xxh64(STR(""), 0) == 0xef46db3751d8e999u);
    CHECK(xxh64(STR("a"), 0) == 0xd24ec4f1a98c6e5bu);
    CHECK(xxh64(STR("abc"), 0) == 0x44bc2cf5ad770999u);
    CHECK(xxh64(STR("Nobody inspects the spammish repetition"), 0) == 0xfbcea83c8a378bf1u);
    CHECK(xxh64(STR("abc"), 1) != xxh64(STR("abc"), 0));
}

TEST(the_order_of_the_endpoints_does_not_matter)
{
    static const uint32_t forth[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, mixed[] = {7, 2, 9, 0, 4, 1, 8, 3, 6, 5};
    static const double weights[MANY] = {1, 2, 3, 1, 1, 5, 1, 1, 9, 1};

    for (size_t k = 0; k < COUNT(kinds); k++) {
        struct made a, b;

        make(&a, kinds[k], size_of(kinds[k]), forth, MANY, weights);
        make(&b, kinds[k], size_of(kinds[k]), mixed, MANY, weights);
        CHECK_INT(a.ring.count, b.ring.count);
        for (uint64_t key = 0; key < KEYS; key++)
            CHECK_INT(owner_of(&a, key), owner_of(&b, key));
        arena_done(&a.arena);
        arena_done(&b.arena);
    }
}

TEST(when_one_endpoint_leaves_a_ring_keeps_all_other_keys_and_maglev_nearly_all)
{
    static const uint32_t all[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, less[] = {0, 1, 2, 4, 5, 6, 7, 8, 9};
    static const struct {
        enum ring_kind kind;
        unsigned moved_max;
    } rows[] = {
        {RING_POINTS, 0         },
        {RING_MAGLEV, KEYS / 100},
    };

    for (size_t k = 0; k < COUNT(rows); k++) {
        struct made a, b;
        unsigned moved = 0, of_the_lost = 0;

        make(&a, rows[k].kind, size_of(rows[k].kind), all, 10, NULL);
        make(&b, rows[k].kind, size_of(rows[k].kind), less, 9, NULL);
        for (uint64_t key = 0; key < KEYS; key++) {
            uint32_t was = owner_of(&a, key), is = owner_of(&b, key);

            CHECK(is != 3);
            if (was == 3)
                of_the_lost++;
            else if (was != is)
                moved++;
        }
        CHECK(of_the_lost > KEYS / 20 && of_the_lost < KEYS / 5);
        CHECK(moved <= rows[k].moved_max);
        arena_done(&a.arena);
        arena_done(&b.arena);
    }
}

TEST(shares_follow_the_weights)
{
    static const uint32_t who[] = {0, 1, 2};
    static const double weights[] = {1, 2, 5};

    for (size_t k = 0; k < COUNT(kinds); k++) {
        unsigned entries[3] = {0};
        struct made m;

        make(&m, kinds[k], size_of(kinds[k]), who, 3, weights);
        for (size_t i = 0; i < m.ring.count; i++)
            entries[m.ring.owners[i]]++;
        for (size_t i = 0; i < 3; i++) {
            double want = weights[i] / 8 * (double)m.ring.count;

            CHECK(entries[i] > want - 2 && entries[i] < want + 2);
        }
        arena_done(&m.arena);
    }
}

TEST(a_ring_has_at_least_its_size_and_whole_numbers_of_points)
{
    static const uint32_t who[] = {0, 1, 2};
    static const double skewed[] = {1, 100000000, 1};
    struct made m;

    make(&m, RING_POINTS, 1024, who, 3, NULL);
    CHECK_INT(m.ring.count, 1536); /* 512 of each */
    arena_done(&m.arena);
    make(&m, RING_POINTS, 1024, who, 3, skewed);
    CHECK(m.ring.count <= LIMIT_RING_POINTS + 3);
    arena_done(&m.arena);
}

TEST(points_ascend_and_the_last_hash_wraps_to_the_first)
{
    static const uint32_t who[] = {0, 1, 2};
    struct made m;

    make(&m, RING_POINTS, 1024, who, 3, NULL);
    for (size_t i = 1; i < m.ring.count; i++)
        CHECK(m.ring.points[i - 1] <= m.ring.points[i]);
    CHECK_INT(ring_at(&m.ring, m.ring.points[7]), 7);
    CHECK_INT(ring_at(&m.ring, m.ring.points[7] + 1), 8);
    CHECK_INT(ring_at(&m.ring, UINT64_MAX), 0);
    arena_done(&m.arena);
}

TEST(one_endpoint_has_everything_and_none_leaves_an_empty_ring)
{
    static const uint32_t who[] = {4};
    struct made m;

    for (size_t k = 0; k < COUNT(kinds); k++) {
        make(&m, kinds[k], 7, who, 1, NULL);
        CHECK_INT(m.ring.count, kinds[k] == RING_MAGLEV ? 7 : 8);
        CHECK_INT(owner_of(&m, 1), 4);
        arena_done(&m.arena);
        make(&m, kinds[k], 7, who, 0, NULL);
        CHECK_INT(m.ring.count, 0);
        arena_done(&m.arena);
    }
}
