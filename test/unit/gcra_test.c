#include "proxy/gcra.h"

#include <pthread.h>

#include "test/test.h"

#define SECOND 1000000000ll
#define START  5000 /* any moment */

/* How many of `n` requests at one moment are allowed. */
static unsigned take(atomic_ullong *b, const struct gcra_rule *r, int64_t now_ms, unsigned n)
{
    unsigned allowed = 0;

    for (unsigned i = 0; i < n; i++)
        allowed += gcra_take(b, r, now_ms).allowed;
    return allowed;
}

TEST(a_burst_is_allowed_and_then_the_steady_rate)
{
    struct gcra_rule r = gcra_rule_of(10, SECOND, 3);
    atomic_ullong b;

    gcra_init(&b, START);
    CHECK_INT(take(&b, &r, START, 10), 3);
    CHECK_INT(take(&b, &r, START + 99, 10), 0);
    CHECK_INT(take(&b, &r, START + 100, 10), 1);
    CHECK_INT(take(&b, &r, START + 250, 10), 1);
    CHECK_INT(take(&b, &r, START + 300, 10), 1); /* the half was kept */
    CHECK_INT(take(&b, &r, START + 60000, 10), 3); /* a pause saves up no more than the burst */
}

TEST(what_is_refused_takes_nothing)
{
    struct gcra_rule r = gcra_rule_of(1, SECOND, 1);
    atomic_ullong b;

    gcra_init(&b, START);
    CHECK_INT(take(&b, &r, START, 1), 1);
    for (int64_t ms = 1; ms < 1000; ms++)
        CHECK_INT(take(&b, &r, START + ms, 1), 0);
    CHECK_INT(take(&b, &r, START + 1000, 2), 1);
}

TEST(an_interval_brings_all_requests_of_it)
{
    static const struct {
        uint32_t requests;
        int64_t interval_ns;
    } rows[] = {
        {1,       SECOND       },
        {3,       SECOND       },
        {7,       10 * SECOND  },
        {100,     60 * SECOND  },
        {99999,   3600 * SECOND},
        {1000000, SECOND       },
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct gcra_rule r = gcra_rule_of(rows[i].requests, rows[i].interval_ns, rows[i].requests);
        int64_t interval_ms = rows[i].interval_ns / 1000000;
        atomic_ullong b;

        gcra_init(&b, START);
        for (int64_t k = 0; k < 4; k++)
            CHECK_INT(take(&b, &r, START + k * interval_ms, rows[i].requests + 5), rows[i].requests);
    }
}

/* However requests come, an hour of 1000 a minute has no more than 60,000 and the burst. */
TEST(a_long_time_has_no_more_than_its_share)
{
    struct gcra_rule r = gcra_rule_of(1000, 60 * SECOND, 50);
    unsigned allowed = 0;
    atomic_ullong b;

    gcra_init(&b, START);
    for (int64_t ms = 0; ms <= 3600000; ms += 7)
        allowed += take(&b, &r, START + ms, 1);
    CHECK(allowed <= 60000 + 50);
    CHECK(allowed >= 60000 + 49);
}

TEST(the_verdict_says_what_is_left_and_when_more_comes)
{
    struct gcra_rule r = gcra_rule_of(10, SECOND, 3);
    struct gcra_verdict v;
    atomic_ullong b;

    gcra_init(&b, START);
    v = gcra_take(&b, &r, START);
    CHECK_INT(v.remaining, 2);
    CHECK_INT(v.reset_ms, 100);
    CHECK_INT(v.retry_ms, 0);
    (void)gcra_take(&b, &r, START);
    v = gcra_take(&b, &r, START);
    CHECK(v.allowed);
    CHECK_INT(v.remaining, 0);
    CHECK_INT(v.reset_ms, 300);
    CHECK_INT(v.retry_ms, 100);
    v = gcra_take(&b, &r, START + 40);
    CHECK(!v.allowed);
    CHECK_INT(v.remaining, 0);
    CHECK_INT(v.reset_ms, 260);
    CHECK_INT(v.retry_ms, 60);
}

TEST(what_is_given_back_can_be_taken_again)
{
    struct gcra_rule r = gcra_rule_of(1, SECOND, 2);
    atomic_ullong b;

    gcra_init(&b, START);
    CHECK_INT(take(&b, &r, START, 3), 2);
    gcra_give_back(&b, &r);
    CHECK_INT(take(&b, &r, START, 3), 1);
    gcra_give_back(&b, &r);
    gcra_give_back(&b, &r);
    CHECK(gcra_is_full(&b, START));
    CHECK_INT(take(&b, &r, START, 3), 2); /* no more than the bucket holds */
}

TEST(the_bounds_of_the_fields_do_not_overflow)
{
    static const struct {
        uint32_t requests;
        int64_t interval_ns;
        uint32_t burst;
    } rows[] = {
        {1000000000, 1000000,   1000000000},
        {1000000000, INT64_MAX, 1         },
        {1,          INT64_MAX, 1         },
        {1,          INT64_MAX, 1000000000},
        {1,          1000000,   1000000000},
        {1000000000, 1000000,   1         },
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct gcra_rule r = gcra_rule_of(rows[i].requests, rows[i].interval_ns, rows[i].burst);
        struct gcra_verdict v;
        atomic_ullong b;

        CHECK(r.step >= 1 && r.full >= r.step && r.full % r.step == 0);
        gcra_init(&b, START);
        v = gcra_take(&b, &r, START);
        CHECK(v.allowed);
        CHECK(v.remaining < rows[i].burst);
        CHECK(v.reset_ms >= 1 && v.reset_ms <= GCRA_FILL_MAX_MS);
        CHECK(v.retry_ms >= 0 && v.retry_ms <= GCRA_FILL_MAX_MS);
    }
}

/* The number is modulo 2^64, which 9 years of 1/64 ns are. */
TEST(a_bucket_goes_on_where_the_number_wraps)
{
    struct gcra_rule r = gcra_rule_of(10, SECOND, 3);
    int64_t wrap_ms = (int64_t)(UINT64_MAX / GCRA_TICKS_PER_MS);
    atomic_ullong b;

    gcra_init(&b, wrap_ms - 50);
    CHECK_INT(take(&b, &r, wrap_ms - 50, 5), 3);
    CHECK_INT(take(&b, &r, wrap_ms + 49, 5), 0);
    CHECK_INT(take(&b, &r, wrap_ms + 50, 5), 1);
    CHECK_INT(take(&b, &r, wrap_ms + 5000, 5), 3);
}

TEST(a_change_of_the_rule_keeps_the_bucket)
{
    struct gcra_rule hourly = gcra_rule_of(1, 3600 * SECOND, 10);
    struct gcra_rule quick = gcra_rule_of(10, SECOND, 10), small = gcra_rule_of(10, SECOND, 2);
    atomic_ullong b;

    gcra_init(&b, START);
    CHECK_INT(take(&b, &quick, START, 20), 10);
    CHECK_INT(take(&b, &small, START + 100, 20), 0); /* nine are owed, the bucket has room for two */
    CHECK_INT(take(&b, &small, START + 900, 20), 1);
    gcra_init(&b, START);
    CHECK_INT(take(&b, &hourly, START, 20), 10);
    CHECK_INT(take(&b, &quick, START, 20), 0); /* not for ten hours, but for one step */
    CHECK_INT(take(&b, &quick, START + 100, 20), 1);
}

/* A worker whose turn began earlier asks with an older clock. */
TEST(a_clock_that_is_behind_gets_nothing_extra)
{
    struct gcra_rule r = gcra_rule_of(10, SECOND, 3);
    atomic_ullong b;

    gcra_init(&b, START);
    CHECK_INT(take(&b, &r, START, 5), 3);
    CHECK_INT(take(&b, &r, START - 900, 5), 0);
    CHECK_INT(take(&b, &r, START + 99, 5), 0);
    CHECK_INT(take(&b, &r, START + 100, 5), 1);
}

/* ---- threads ---- */

#define THREADS 4
#define TRIES   50000

struct crowd {
    atomic_ullong bucket;
    struct gcra_rule rule;
    atomic_llong now_ms;
    atomic_uint allowed;
    bool stands; /* the clock does */
};

static void *ask(void *arg)
{
    struct crowd *c = arg;

    for (unsigned i = 0; i < TRIES; i++) {
        int64_t now_ms = !c->stands && i % 100 == 0 ? atomic_fetch_add(&c->now_ms, 1)
                                                     : atomic_load(&c->now_ms);

        atomic_fetch_add(&c->allowed, gcra_take(&c->bucket, &c->rule, now_ms).allowed);
    }
    return NULL;
}

static void run_crowd(struct crowd *c)
{
    pthread_t threads[THREADS];

    gcra_init(&c->bucket, START);
    atomic_init(&c->now_ms, START);
    for (size_t i = 0; i < THREADS; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, ask, c), 0);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

TEST(four_threads_get_exactly_what_is_there)
{
    struct crowd c = {.rule = gcra_rule_of(1000, SECOND, 77777), .stands = true};

    run_crowd(&c);
    CHECK_INT(c.allowed, 77777);
}

TEST(four_threads_get_no_more_while_the_clock_runs)
{
    struct crowd c = {.rule = gcra_rule_of(1000, SECOND, 100)};
    unsigned most;

    run_crowd(&c);
    most = (unsigned)(atomic_load(&c.now_ms) - START) + 100; /* one a millisecond */
    CHECK(c.allowed <= most);
    CHECK(c.allowed >= 100);
}
