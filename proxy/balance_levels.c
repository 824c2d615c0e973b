#include "proxy/balance_levels.h"

#include <math.h>

#include "mesh/base/mem.h"
#include "mesh/snapshot.h"
#include "proxy/cluster.h"

#define OVERPROVISIONING 1.4
#define PER_CENT         100u
#define WEIGHT_SCALE     10000 /* of weights that are no whole numbers */
#define EXCLUDABLE       64u
#define WARMUP_STEPS     100 /* weights of new endpoints rise so often in their time */

void balance_levels_done(struct balance_levels *l)
{
    mem_free(l->items);
    mem_free(l->order);
    mem_free(l->upto);
    *l = (struct balance_levels){0};
}

/* ---- weights ---- */

/* The part of its weight that a new endpoint has by now. */
static double warmth(const struct cluster_view *v, size_t i)
{
    const struct warmup_rule *r = &v->set->warmup;
    int64_t age_ms = v->now_ms - atomic_load_explicit(&v->blocks[i]->since_ms, memory_order_relaxed);

    if (r->for_ms == 0 || age_ms >= r->for_ms)
        return 1;
    return MAX(r->least, pow((double)MAX(age_ms, (int64_t)0) / (double)r->for_ms, 1 / r->aggression));
}

static bool is_anybody_warming(const struct cluster_view *v)
{
    for (size_t i = 0; i < v->set->count && v->set->warmup.for_ms > 0; i++) {
        if (warmth(v, i) < 1)
            return true;
    }
    return false;
}

/* The endpoints of a locality that has a fixed share. */
struct locality {
    size_t count, usable;
    double weight; /* of the usable ones */
};

static struct locality *count_localities(const struct cluster_view *v)
{
    const struct endpoint_set *set = v->set;
    struct locality *all = mem_array(set->share_count + 1, sizeof(*all));

    for (size_t i = 0; i < set->count; i++) {
        struct locality *at = &all[set->endpoints[i].share];

        at->count++;
        if (!v->left_out[i]) {
            at->usable++;
            at->weight += set->endpoints[i].weight * warmth(v, i);
        }
    }
    return all;
}

static double part_that_is_taken(size_t usable, size_t count)
{
    return count ? MIN(1.0, OVERPROVISIONING * (double)usable / (double)count) : 0;
}

static uint64_t weight_of(const struct cluster_view *v, const struct locality *localities,
                          const struct balance_level *level, size_t i)
{
    const struct endpoint *e = &v->set->endpoints[i];
    const struct locality *at;
    double weight = e->weight;
    bool is_shared = v->set->share_count > 0 && !level->is_in_panic;

    if (!is_shared && v->levels.good_ms == INT64_MAX)
        return e->weight;
    weight *= warmth(v, i);
    at = &localities[e->share];
    if (is_shared)
        weight *= v->set->shares[e->share] * part_that_is_taken(at->usable, at->count) / at->weight;
    return MAX((uint64_t)llround(weight * WEIGHT_SCALE), (uint64_t)1);
}

/* ---- health ---- */

/* What there is of one priority. */
struct stock {
    size_t all, usable;
    unsigned health; /* what it could take, in per cent of all choices */
};

static struct stock *count_stocks(const struct cluster_view *v, size_t count)
{
    struct stock *all = mem_array(count, sizeof(*all));

    for (size_t i = 0; i < v->set->count; i++) {
        struct stock *at = &all[v->set->endpoints[i].priority];

        at->all++;
        at->usable += !v->left_out[i];
    }
    for (size_t i = 0; i < count; i++) {
        all[i].health = (unsigned)(part_that_is_taken(all[i].usable, all[i].all) * PER_CENT);
        if (all[i].usable > 0)
            all[i].health = MAX(all[i].health, 1u);
    }
    return all;
}

static unsigned total_health(const struct stock *stocks, size_t count)
{
    unsigned total = 0;

    for (size_t i = 0; i < count; i++)
        total = MIN(total + stocks[i].health, PER_CENT);
    return total;
}

/* While all together can take it, nobody panics. True: all levels do. */
static bool find_panic(struct balance_levels *l, const struct cluster_view *v, const struct stock *stocks)
{
    bool everywhere = v->min_health_percent > 0;

    for (size_t i = 0; i < l->count && total_health(stocks, l->count) < PER_CENT; i++) {
        const struct stock *s = &stocks[i];

        l->items[i].is_in_panic = s->usable * PER_CENT < (size_t)v->min_health_percent * s->all;
        everywhere = everywhere && (l->items[i].is_in_panic || s->all == 0);
    }
    return everywhere && total_health(stocks, l->count) < PER_CENT;
}

/* ---- loads ---- */

/* By what each could take. Where all together cannot take it, they share it alike. */
static void share_by_health(struct balance_levels *l, const struct stock *stocks)
{
    unsigned total = total_health(stocks, l->count), left = PER_CENT;
    struct balance_level *first = NULL;

    for (size_t i = 0; i < l->count && total > 0; i++) {
        l->items[i].load = MIN(left, stocks[i].health * PER_CENT / total);
        left -= l->items[i].load;
        if (!first && stocks[i].health > 0)
            first = &l->items[i];
    }
    if (first)
        first->load += left; /* of roundings */
}

/* By the endpoints that each has, whatever their health. */
static void share_by_size(struct balance_levels *l, const struct stock *stocks, size_t all)
{
    unsigned left = PER_CENT;
    struct balance_level *first = NULL;

    for (size_t i = 0; i < l->count; i++) {
        l->items[i].load = (unsigned)(stocks[i].all * PER_CENT / all);
        left -= l->items[i].load;
        if (!first && stocks[i].all > 0)
            first = &l->items[i];
    }
    if (first)
        first->load += left; /* of roundings */
}

/* ---- levels ---- */

/* Those of one priority that may be used stand next to each other. */
static void fill_level(struct balance_levels *l, const struct cluster_view *v, const struct locality *localities,
                       struct balance_level *at)
{
    const struct endpoint_set *set = v->set;
    uint32_t priority = (uint32_t)(at - l->items);
    uint64_t first = 0;

    for (size_t i = 0; i < set->count; i++) {
        uint64_t weight;

        if (set->endpoints[i].priority != priority || !balance_level_uses(v, at, i))
            continue;
        weight = weight_of(v, localities, at, i);
        first = at->count ? first : weight;
        at->is_weighted = at->is_weighted || weight != first;
        at->weight += weight;
        l->order[at->first + at->count] = (uint32_t)i;
        l->upto[at->first + at->count++] = at->weight;
    }
}

static void make(struct balance_levels *l, const struct cluster_view *v)
{
    const struct endpoint_set *set = v->set;
    struct locality *localities = count_localities(v);
    struct stock *stocks;

    for (size_t i = 0; i < set->count; i++)
        l->count = MAX(l->count, set->endpoints[i].priority + (size_t)1);
    l->items = mem_array(l->count, sizeof(*l->items));
    l->order = mem_array(set->count, sizeof(*l->order));
    l->upto = mem_array(set->count, sizeof(*l->upto));
    stocks = count_stocks(v, l->count);
    if (find_panic(l, v, stocks))
        share_by_size(l, stocks, set->count);
    else
        share_by_health(l, stocks);
    for (size_t i = 0, at = 0; i < l->count; i++) {
        l->items[i].first = at;
        fill_level(l, v, localities, &l->items[i]);
        at += l->items[i].count;
    }
    mem_free(stocks);
    mem_free(localities);
}

bool balance_level_uses(const struct cluster_view *v, const struct balance_level *at, size_t i)
{
    return at->is_in_panic || !v->left_out[i];
}

const struct balance_levels *balance_levels_now(struct cluster_view *v)
{
    struct balance_levels *l = &v->levels;

    if (l->items && v->now_ms < l->good_ms)
        return l;
    balance_levels_done(l);
    l->good_ms = is_anybody_warming(v) ? v->now_ms + v->set->warmup.for_ms / WARMUP_STEPS + 1 : INT64_MAX;
    make(l, v);
    return l;
}

/* ---- choices ---- */

static bool is_excluded(uint64_t excluded, size_t level)
{
    return level < EXCLUDABLE && (excluded >> level & 1);
}

/* A level without load may stand in when those that have one are left out. */
static const struct balance_level *first_usable(const struct balance_levels *l, uint64_t excluded)
{
    for (size_t i = 0; i < l->count; i++) {
        if (l->items[i].count > 0 && !is_excluded(excluded, i))
            return &l->items[i];
    }
    return NULL;
}

const struct balance_level *balance_level_choose(const struct balance_levels *l, uint64_t number, uint64_t excluded)
{
    unsigned total = 0, at;

    for (size_t i = 0; i < l->count; i++)
        total += is_excluded(excluded, i) ? 0 : l->items[i].load;
    if (total == 0 && excluded) {
        const struct balance_level *other = first_usable(l, excluded);

        return other ? other : balance_level_choose(l, number, 0);
    }
    at = total ? (unsigned)(number % total) : 0;
    for (size_t i = 0; i < l->count && total; i++) {
        unsigned load = is_excluded(excluded, i) ? 0 : l->items[i].load;

        if (at < load)
            return &l->items[i];
        at -= load;
    }
    return NULL;
}

uint64_t balance_weight(const struct balance_levels *l, const struct balance_level *at, size_t place)
{
    return place == at->first ? l->upto[place] : l->upto[place] - l->upto[place - 1];
}

size_t balance_place(const struct balance_levels *l, const struct balance_level *at, uint64_t unit)
{
    size_t low = at->first, high = at->first + at->count - 1;

    if (!at->is_weighted)
        return at->first + (size_t)(unit % at->count);
    while (low < high) { /* the first that ends behind it */
        size_t mid = low + (high - low) / 2;

        if (l->upto[mid] <= unit)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}
