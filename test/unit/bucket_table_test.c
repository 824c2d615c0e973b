#include "proxy/bucket_table.h"

#include <pthread.h>

#include "test/test.h"

#define SECOND 1000000000ll
#define START  5000

static bool take(struct bucket_table *t, unsigned client, const struct gcra_rule *r, int64_t now_ms)
{
    char text[32];
    int n = snprintf(text, sizeof(text), "client %u", client);

    return bucket_table_take(t, (struct str){text, (size_t)n}, r, now_ms).allowed;
}

TEST(each_key_has_its_own_bucket)
{
    struct gcra_rule r = gcra_rule_of(1, 60 * SECOND, 2);
    struct bucket_table *t = bucket_table_new(100);

    for (unsigned i = 0; i < 50; i++)
        CHECK(take(t, i, &r, START));
    for (unsigned i = 0; i < 50; i++)
        CHECK(take(t, i, &r, START));
    for (unsigned i = 0; i < 50; i++)
        CHECK(!take(t, i, &r, START));
    CHECK_INT(bucket_table_count(t), 50);
    bucket_table_give_back(t, STR("client 7"), &r);
    bucket_table_give_back(t, STR("nobody"), &r);
    CHECK(!take(t, 6, &r, START));
    CHECK(take(t, 7, &r, START));
    CHECK(!take(t, 7, &r, START));
    CHECK_INT(bucket_table_count(t), 50);
    bucket_table_free(t);
}

TEST(the_longest_unused_makes_room)
{
    struct gcra_rule r = gcra_rule_of(1, 60 * SECOND, 1);
    struct bucket_table *t = bucket_table_new(3);

    CHECK(take(t, 1, &r, START));
    CHECK(take(t, 2, &r, START));
    CHECK(take(t, 3, &r, START));
    CHECK(!take(t, 1, &r, START)); /* 2 is the oldest now */
    CHECK(take(t, 4, &r, START));
    CHECK_INT(bucket_table_count(t), 3);
    CHECK_INT(bucket_table_evicted(t), 1);
    CHECK(!take(t, 1, &r, START));
    CHECK(!take(t, 3, &r, START));
    CHECK(!take(t, 4, &r, START));
    CHECK(take(t, 2, &r, START)); /* was forgotten */
    CHECK_INT(bucket_table_evicted(t), 2);
    CHECK(take(t, 5, &r, START + 120000)); /* whose bucket is full again has lost nothing */
    CHECK_INT(bucket_table_evicted(t), 2);
    bucket_table_free(t);
}

TEST(a_table_of_one_key)
{
    struct gcra_rule r = gcra_rule_of(1, 60 * SECOND, 1);
    struct bucket_table *t = bucket_table_new(1);

    for (unsigned i = 0; i < 100; i++)
        CHECK(take(t, i, &r, START));
    CHECK_INT(bucket_table_count(t), 1);
    CHECK(!take(t, 99, &r, START));
    bucket_table_free(t);
}

/* Many more keys than there is room for, some of them known: what is seen all the time stays. */
TEST(the_bound_holds_and_who_is_seen_stays)
{
    struct gcra_rule r = gcra_rule_of(1, 3600 * SECOND, 1);
    const uint32_t most = 10000;
    struct bucket_table *t = bucket_table_new(most);
    unsigned stays = 0;

    for (unsigned i = 0; i < 200000; i++) {
        (void)take(t, 1000 + i, &r, START);
        if (i % 100 == 0)
            stays += take(t, 7, &r, START);
    }
    CHECK_INT(stays, 1);
    CHECK(bucket_table_count(t) <= most);
    CHECK(bucket_table_count(t) > most - most / 10);
    CHECK_INT(bucket_table_evicted(t) + bucket_table_count(t), 200001);
    bucket_table_free(t);
}

/* ---- threads ---- */

#define THREADS 4
#define KEYS    3000

struct crowd {
    struct bucket_table *table;
    struct gcra_rule rule;
    atomic_uint allowed[KEYS];
};

static void *ask(void *arg)
{
    struct crowd *c = arg;

    for (unsigned round = 0; round < 10; round++) {
        for (unsigned i = 0; i < KEYS; i++)
            atomic_fetch_add(&c->allowed[i], take(c->table, i, &c->rule, START));
    }
    return NULL;
}

TEST(four_threads_get_exactly_what_each_key_has)
{
    static struct crowd c;
    pthread_t threads[THREADS];

    c.table = bucket_table_new(100000);
    c.rule = gcra_rule_of(1, 3600 * SECOND, 5);
    for (size_t i = 0; i < THREADS; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, ask, &c), 0);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < KEYS; i++)
        CHECK_INT(c.allowed[i], 5);
    CHECK_INT(bucket_table_count(c.table), KEYS);
    bucket_table_free(c.table);
}
