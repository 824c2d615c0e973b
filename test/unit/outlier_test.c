/* Which failures leave an endpoint out, and for how long. The clock is a number. */
#include "proxy/outlier.h"

#include <pthread.h>

#include "proxy/balance.h"
#include "test/unit/proxy_world.h"

/* `count` endpoints, and a policy that leaves any of them out after three errors for 1 s. */
static void world_init(struct choices *w, size_t count)
{
    choices_init(w, count);
    w->c->outlier = (struct outlier_policy){.is_on = true,
                                            .errors = 3,
                                            .interval_ms = 10000,
                                            .base_ms = 1000,
                                            .max_percent = 100};
}

static void status(struct choices *w, size_t i, unsigned code, unsigned times)
{
    while (times-- > 0)
        outlier_report(w->v, w->c, w->v->blocks[i], OUTLIER_ANSWER, code, w->now);
}

static void local(struct choices *w, size_t i, enum outlier_result result, unsigned times)
{
    while (times-- > 0)
        outlier_report(w->v, w->c, w->v->blocks[i], result, 0, w->now);
}

static size_t count_usable(struct cluster_view *v)
{
    const struct balance_levels *l = balance_levels_now(v);
    size_t n = 0;

    for (size_t i = 0; i < l->count; i++)
        n += l->items[i].count;
    return n;
}

static size_t usable(struct choices *w)
{
    outlier_refresh(w->v, w->c, w->now);
    return count_usable(w->v);
}

static bool is_out(const struct choices *w, size_t i)
{
    return outlier_is_out(w->v->blocks[i], w->now);
}

TEST(errors_in_a_row_leave_an_endpoint_out_for_a_while)
{
    struct choices w;

    world_init(&w, 3);
    CHECK_INT(usable(&w), 3);
    status(&w, 1, 500, 2);
    status(&w, 1, 404, 1); /* breaks the row */
    status(&w, 1, 599, 2);
    CHECK_INT(usable(&w), 3);
    status(&w, 1, 503, 1);
    CHECK(is_out(&w, 1));
    CHECK_INT(usable(&w), 2);
    for (uint64_t rng = 1, i = 0; i < 100; i++)
        CHECK(balance_pick(w.v, BALANCE_LEAST_REQUEST, &rng, NULL, NULL) != 1);
    w.now += 999;
    CHECK_INT(usable(&w), 2);
    w.now += 1;
    CHECK_INT(usable(&w), 3);
    CHECK_INT(w.v->detector->ejections, 1);
    choices_done(&w);
}

TEST(ejections_grow_and_are_forgiven)
{
    struct choices w;

    world_init(&w, 2);
    for (int64_t n = 1; n <= 3; n++) { /* 1 s, 2 s, 3 s */
        status(&w, 0, 500, 3);
        w.now += n * 1000 - 1;
        CHECK(is_out(&w, 0));
        w.now += 1;
        CHECK(!is_out(&w, 0));
    }
    w.now += 20000; /* two intervals: 3 - 2 + 1 */
    status(&w, 0, 500, 3);
    w.now += 1999;
    CHECK(is_out(&w, 0));
    w.now += 1;
    CHECK(!is_out(&w, 0));
    w.c->outlier.base_ms = 200000; /* never longer than 300 s */
    status(&w, 0, 500, 3);
    w.now += 299999;
    CHECK(is_out(&w, 0));
    w.now += 1;
    CHECK(!is_out(&w, 0));
    choices_done(&w);
}

TEST(gateway_errors_have_a_row_of_their_own)
{
    struct choices w;

    world_init(&w, 2);
    w.c->outlier.errors = 0;
    w.c->outlier.gateway_errors = 2;
    status(&w, 0, 500, 9);
    CHECK(!is_out(&w, 0));
    status(&w, 0, 502, 1);
    status(&w, 0, 500, 1);
    status(&w, 0, 504, 1);
    CHECK(!is_out(&w, 0));
    local(&w, 0, OUTLIER_LOCAL, 1); /* counts as one, too */
    CHECK(is_out(&w, 0));
    choices_done(&w);
}

TEST(failed_connects_count_as_errors_unless_split)
{
    struct choices w;

    world_init(&w, 2);
    local(&w, 0, OUTLIER_LOCAL, 2);
    local(&w, 0, OUTLIER_CONNECTED, 1); /* is no answer */
    local(&w, 0, OUTLIER_LOCAL, 1);
    CHECK(is_out(&w, 0));
    w.c->outlier.splits_local = true;
    w.c->outlier.local_failures = 2;
    local(&w, 1, OUTLIER_LOCAL, 1);
    status(&w, 1, 500, 2);
    local(&w, 1, OUTLIER_CONNECTED, 1); /* breaks the row of connects alone */
    local(&w, 1, OUTLIER_LOCAL, 1);
    CHECK(!is_out(&w, 1));
    status(&w, 1, 500, 1);
    CHECK(is_out(&w, 1));
    w.now += 1000;
    local(&w, 1, OUTLIER_LOCAL, 1); /* the row that it left with is over */
    CHECK(!is_out(&w, 1));
    local(&w, 1, OUTLIER_LOCAL, 1);
    CHECK(is_out(&w, 1));
    choices_done(&w);
}

TEST(only_the_statuses_that_were_named_count)
{
    static uint32_t statuses[] = {429, 500};
    struct choices w;

    world_init(&w, 1);
    w.c->outlier.statuses = statuses;
    w.c->outlier.status_count = COUNT(statuses);
    status(&w, 0, 503, 9);
    CHECK(!is_out(&w, 0));
    status(&w, 0, 429, 2);
    status(&w, 0, 500, 1);
    CHECK(is_out(&w, 0));
    choices_done(&w);
}

TEST(a_gateway_error_that_was_not_named_is_a_success)
{
    static uint32_t statuses[] = {502};
    struct choices w;

    world_init(&w, 2);
    w.c->outlier.errors = 0;
    w.c->outlier.gateway_errors = 2;
    w.c->outlier.statuses = statuses;
    w.c->outlier.status_count = COUNT(statuses);
    status(&w, 0, 503, 9);
    status(&w, 0, 502, 1);
    status(&w, 0, 503, 1);
    status(&w, 0, 502, 1);
    CHECK(!is_out(&w, 0));
    status(&w, 0, 502, 1);
    CHECK(is_out(&w, 0));
    choices_done(&w);
}

TEST(who_is_back_begins_anew_whatever_was_under_way)
{
    struct choices w;

    world_init(&w, 2);
    w.c->outlier.gateway_errors = 3;
    status(&w, 0, 502, 2);
    status(&w, 0, 500, 1); /* out by the row of all errors */
    CHECK(is_out(&w, 0));
    status(&w, 0, 502, 2); /* answers to what was sent before */
    w.now += 1000;
    status(&w, 0, 502, 2);
    CHECK(!is_out(&w, 0));
    status(&w, 0, 502, 1);
    CHECK(is_out(&w, 0));
    CHECK_INT(w.v->detector->ejections, 2);
    choices_done(&w);
}

TEST(forgiveness_takes_no_longer_than_the_greatest_ejection_asked_for)
{
    struct choices w;

    world_init(&w, 2);
    w.c->outlier.base_ms = 100000;
    for (int n = 1; n <= 20; n++) {
        status(&w, 0, 500, 3);
        w.now += MIN(n, 3) * 100000;
        CHECK(!is_out(&w, 0));
    }
    w.now += 4 * 10000; /* four ejections are counted, no twenty: four intervals forgive them */
    status(&w, 0, 500, 3);
    w.now += 99999;
    CHECK(is_out(&w, 0));
    w.now += 1;
    CHECK(!is_out(&w, 0));
    choices_done(&w);
}

TEST(no_more_are_out_than_may_be)
{
    struct choices w;

    world_init(&w, 10);
    w.c->outlier.max_percent = 10;
    status(&w, 0, 500, 3);
    status(&w, 1, 500, 3);
    CHECK_INT(usable(&w), 9);
    CHECK_INT(w.v->detector->overflows, 1);
    w.now += 1000;
    status(&w, 1, 500, 3);
    CHECK(is_out(&w, 1));
    choices_done(&w);

    world_init(&w, 2); /* C13: one of two would be half */
    w.c->outlier.max_percent = 10;
    status(&w, 0, 500, 9);
    CHECK_INT(usable(&w), 2);
    choices_done(&w);
}

TEST(without_enough_healthy_ones_all_are_used)
{
    struct choices w;

    world_init(&w, 4);
    w.c->outlier.min_health_percent = 50;
    status(&w, 0, 500, 3);
    status(&w, 1, 500, 3);
    CHECK_INT(usable(&w), 2);
    status(&w, 2, 500, 3);
    CHECK_INT(usable(&w), 4);
    w.c->outlier.min_health_percent = 0;
    status(&w, 3, 500, 3);
    CHECK_INT(usable(&w), 0);
    CHECK_INT(balance_pick(w.v, BALANCE_RANDOM, &(uint64_t){1}, NULL, NULL), BALANCE_NONE);
    choices_done(&w);
}

TEST(every_priority_is_judged_for_itself)
{
    struct choices w;

    world_init(&w, 4);
    for (size_t i = 1; i < 4; i++)
        w.c->endpoints->endpoints[i].priority = (uint32_t)i;
    w.c->outlier.min_health_percent = 50;
    for (size_t i = 0; i < 3; i++)
        status(&w, i, 500, 3);
    CHECK_INT(usable(&w), 1); /* who can take it all */
    status(&w, 3, 500, 3);
    CHECK_INT(usable(&w), 4);
    w.c->outlier.min_health_percent = 0; /* a changed rule counts at once */
    CHECK_INT(usable(&w), 0);
    choices_done(&w);
}

/* What was logged since the last time. */
static size_t count_lines(FILE *log, const char *what)
{
    char line[512];
    size_t n = 0;

    rewind(log);
    while (fgets(line, sizeof(line), log))
        n += strstr(line, what) != NULL;
    rewind(log);
    CHECK_INT(ftruncate(fileno(log), 0), 0);
    return n;
}

TEST(a_return_is_told_once_with_how_long_it_took)
{
    int saved = dup(STDERR_FILENO);
    FILE *log = tmpfile();
    struct cluster_view *other;
    struct map views;
    struct choices w;
    size_t told[5];

    world_init(&w, 2);
    map_init(&views); /* another worker's */
    other = cluster_view_get(&views, &w.table, w.c, 1, 1);
    dup2(fileno(log), STDERR_FILENO);
    status(&w, 1, 500, 3);
    (void)usable(&w);
    w.now += 999;
    (void)usable(&w);
    told[0] = count_lines(log, "endpoint is back");
    w.now += 1;
    outlier_refresh(other, w.c, w.now);
    (void)usable(&w);
    told[1] = count_lines(log, "endpoint is back cluster=c endpoint=127.0.0.1:2 out_ms=1000\n");
    status(&w, 1, 500, 3);
    w.now += 2000;
    status(&w, 1, 500, 3); /* nobody has looked between */
    told[2] = count_lines(log, "endpoint is back cluster=c endpoint=127.0.0.1:2 out_ms=2000\n");
    w.now += 500;
    w.c->outlier.is_on = false; /* before its time */
    (void)usable(&w);
    outlier_refresh(other, w.c, w.now);
    told[3] = count_lines(log, "endpoint is back cluster=c endpoint=127.0.0.1:2 out_ms=500\n");
    w.now += 9000;
    (void)usable(&w);
    told[4] = count_lines(log, "endpoint");
    dup2(saved, STDERR_FILENO);
    close(saved);
    fclose(log);
    for (size_t i = 0; i < COUNT(told); i++)
        CHECK_INT(told[i], i > 0 && i < 4);
    cluster_views_done(&views);
    choices_done(&w);
}

TEST(weights_are_those_of_who_is_left)
{
    struct choices w;
    size_t hits[3] = {0};
    uint64_t rng = 7;

    world_init(&w, 3);
    w.c->endpoints->endpoints[2].weight = 98;
    w.c->endpoints->endpoints[1].weight = 1;
    outlier_show_all(w.v);
    status(&w, 2, 500, 3);
    CHECK_INT(usable(&w), 2);
    CHECK_INT(balance_levels_now(w.v)->items[0].weight, 2);
    CHECK(!w.v->levels.items[0].is_weighted);
    for (int i = 0; i < 200; i++)
        hits[balance_pick(w.v, BALANCE_ROUND_ROBIN, &rng, NULL, NULL)]++;
    CHECK_INT(hits[0], 100);
    CHECK_INT(hits[1], 100);
    choices_done(&w);
}

TEST(a_policy_that_goes_lets_all_come_back)
{
    struct choices w;

    world_init(&w, 2);
    status(&w, 0, 500, 3);
    CHECK_INT(usable(&w), 1);
    w.c->outlier.is_on = false;
    CHECK_INT(usable(&w), 2);
    status(&w, 1, 500, 9);
    CHECK_INT(usable(&w), 2);
    choices_done(&w);
}

/* ---- several workers ---- */

#define WORKERS 4
#define ROUNDS  3000u

struct shared {
    struct cluster_table *table;
    struct cluster *c;
    size_t victim;
    atomic_uint reported;
};

static void *report_errors(void *arg)
{
    struct shared *s = arg;
    struct map views;
    struct cluster_view *v;

    map_init(&views);
    v = cluster_view_get(&views, s->table, s->c, 1, 1);
    for (unsigned i = 0; i < ROUNDS; i++) {
        outlier_report(v, s->c, v->blocks[s->victim], OUTLIER_ANSWER, 500, 1);
        atomic_fetch_add(&s->reported, 1);
        outlier_refresh(v, s->c, 1);
        assert_true(count_usable(v) >= 1);
    }
    cluster_views_done(&views);
    return NULL;
}

TEST(four_workers_count_one_row_and_eject_once)
{
    struct shared s;
    struct choices w;
    pthread_t threads[WORKERS];

    world_init(&w, 2);
    w.now = 1;
    w.c->outlier.errors = WORKERS * ROUNDS;
    w.c->outlier.max_percent = 50;
    s = (struct shared){.table = &w.table, .c = w.c};
    for (size_t i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, report_errors, &s), 0);
    for (size_t i = 0; i < WORKERS; i++)
        pthread_join(threads[i], NULL);
    CHECK_INT(s.reported, WORKERS * ROUNDS);
    CHECK_INT(w.v->detector->ejections, 1); /* by the very last */
    CHECK(is_out(&w, 0));
    CHECK_INT(usable(&w), 1);
    choices_done(&w);
}
