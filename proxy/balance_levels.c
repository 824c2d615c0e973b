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

static uint64_t weight_of(const struct cluster_view *v, const struct locality *localities, size_t i)
{
    const struct endpoint *e = &v->set->endpoints[i];
    const struct locality *at;
    double weight = e->weight;

    if (v->set->share_count == 0 && v->levels.good_ms == INT64_MAX)
        return e->weight;
    weight *= warmth(v, i);
    at = &localities[e->share];
    if (v->set->share_count > 0)
        weight *= v->set->shares[e->share] * part_that_is_taken(at->usable, at->count) / at->weight;
    return MAX((uint64_t)llround(weight * WEIGHT_SCALE), (uint64_t)1);
}

/* ---- levels ---- */

/* Those of one priority that may be used stand next to each other. Returns how many it has in all. */
static size_t fill_level(struct balance_levels *l, const struct cluster_view *v, const struct locality *localities,
                         struct balance_level *at)
{
    const struct endpoint_set *set = v->set;
    uint32_t priority = (uint32_t)(at - l->items);
    uint64_t first = 0;
    size_t all = 0;

    for (size_t i = 0; i < set->count; i++) {
        uint64_t weight;

        if (set->endpoints[i].priority != priority)
            continue;
        all++;
        if (v->left_out[i])
            continue;
        weight = weight_of(v, localities, i);
        first = at->count ? first : weight;
        at->is_weighted = at->is_weighted || weight != first;
        at->weight += weight;
        l->order[at->first + at->count] = (uint32_t)i;
        l->upto[at->first + at->count++] = at->weight;
    }
    return all;
}

/* `health` is what each could take, in per cent of all. Where all together cannot take it, they share it alike. */
static void share_load(struct balance_levels *l, const unsigned *health)
{
    unsigned total = 0, left = PER_CENT;
    struct balance_level *first = NULL;

    for (size_t i = 0; i < l->count; i++)
        total = MIN(total + health[i], PER_CENT);
    for (size_t i = 0; i < l->count && total > 0; i++) {
        l->items[i].load = MIN(left, health[i] * PER_CENT / total);
        left -= l->items[i].load;
        if (!first && health[i] > 0)
            first = &l->items[i];
    }
    if (first)
        first->load += left; /* of roundings */
}

static void make(struct balance_levels *l, const struct cluster_view *v)
{
    const struct endpoint_set *set = v->set;
    struct locality *localities = count_localities(v);
    unsigned *health;

    for (size_t i = 0; i < set->count; i++)
        l->count = MAX(l->count, set->endpoints[i].priority + (size_t)1);
    l->items = mem_array(l->count, sizeof(*l->items));
    l->order = mem_array(set->count, sizeof(*l->order));
    l->upto = mem_array(set->count, sizeof(*l->upto));
    health = mem_array(l->count, sizeof(*health));
    for (size_t i = 0, at = 0; i < l->count; i++) {
        size_t all;

        l->items[i].first = at;
        all = fill_level(l, v, localities, &l->items[i]);
        at += l->items[i].count;
        health[i] = (unsigned)(part_that_is_taken(l->items[i].count, all) * PER_CENT);
        if (l->items[i].count > 0)
            health[i] = MAX(health[i], 1u);
    }
    share_load(l, health);
    mem_free(health);
    mem_free(localities);
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
