#include "proxy/balance.h"

#include "mesh/snapshot.h"
#include "proxy/balance_hash.h"

/* One of a level's places in `order`. */
typedef size_t pick_fn(struct cluster_view *v, const struct balance_level *at, uint64_t *rng);

#define RESELECTIONS   5
#define RETRIES_REMOTE 2 /* after so many tries their priorities are left, as Istio sets Envoy */

uint64_t balance_random(uint64_t *rng)
{
    uint64_t z = (*rng += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static size_t pick_random(struct cluster_view *v, const struct balance_level *at, uint64_t *rng)
{
    return balance_place(&v->levels, at, balance_random(rng) % at->weight);
}

/* Weighted: walking the units of weight by the golden step visits each once per cycle, well mixed.
 */
static size_t pick_round_robin(struct cluster_view *v, const struct balance_level *at, uint64_t *rng)
{
    uint64_t step, turn = v->cursor++;

    (void)rng; /* only its place in the table */
    if (!at->is_weighted)
        return at->first + (size_t)(turn % at->count);
    step = at->weight * 618 / 1000 | 1;
    while (step > 1) { /* a step that shares no factor with the cycle */
        uint64_t a = at->weight, b = step;

        while (b) {
            uint64_t rest = a % b;

            a = b;
            b = rest;
        }
        if (a == 1)
            break;
        step -= 2;
    }
    return balance_place(&v->levels, at, (turn % at->weight) * step % at->weight);
}

static unsigned load_of(const struct cluster_view *v, size_t place)
{
    return atomic_load_explicit(&v->blocks[v->levels.order[place]]->active, memory_order_relaxed);
}

/* Two choices by weight, then the one with fewer active requests for its weight; of two idle ones the first, so that
 * weights hold as well where little is under way. */
static size_t pick_least_request(struct cluster_view *v, const struct balance_level *at, uint64_t *rng)
{
    size_t a = pick_random(v, at, rng), b = pick_random(v, at, rng);
    uint64_t of_a, of_b;

    if (a == b)
        b = at->first + (a - at->first + 1) % at->count;
    of_a = load_of(v, a) * balance_weight(&v->levels, at, b);
    of_b = load_of(v, b) * balance_weight(&v->levels, at, a);
    return of_b < of_a ? b : a;
}

static pick_fn *const pickers[] = {
    [BALANCE_LEAST_REQUEST] = pick_least_request,
    [BALANCE_ROUND_ROBIN] = pick_round_robin,
    [BALANCE_RANDOM] = pick_random,
    [BALANCE_PASSTHROUGH] = pick_random, /* with an endpoint set there is nothing better */
    [BALANCE_HASH] = pick_random,        /* the same without a ring */
};

void balance_tried_add(struct balance_tried *t, const struct addr *a)
{
    t->addrs[t->count++ % BALANCE_TRIED_MAX] = *a;
}

static bool was_tried(const struct balance_tried *t, const struct addr *a)
{
    for (size_t i = 0; i < MIN(t->count, (size_t)BALANCE_TRIED_MAX); i++) {
        if (addr_eq(&t->addrs[i], a))
            return true;
    }
    return false;
}

bool balance_may_take(const struct cluster_view *v, size_t i, const struct balance_tried *tried)
{
    return !tried || tried->may_repeat || !was_tried(tried, &v->set->endpoints[i].addr);
}

/* The priorities of what was tried, as bits. */
static uint64_t tried_levels(const struct cluster_view *v, const struct balance_tried *tried)
{
    uint64_t levels = 0;

    if (!tried || !tried->goes_remote || tried->count < RETRIES_REMOTE)
        return 0;
    for (size_t i = 0; i < v->set->count; i++) {
        if (v->set->endpoints[i].priority < 64 && was_tried(tried, &v->set->endpoints[i].addr))
            levels |= (uint64_t)1 << v->set->endpoints[i].priority;
    }
    return levels;
}

static const struct balance_level *choose_level(struct cluster_view *v, uint64_t *rng, const uint64_t *hash,
                                                const struct balance_tried *tried)
{
    const struct balance_levels *l = balance_levels_now(v);
    uint64_t number = hash ? *hash : l->count > 1 ? balance_random(rng) : 0;

    return balance_level_choose(l, number, tried_levels(v, tried));
}

size_t balance_pick(struct cluster_view *v, unsigned kind, uint64_t *rng, const uint64_t *hash,
                    const struct balance_tried *tried)
{
    const struct balance_level *at;
    const uint32_t *order;
    size_t i, first;

    if (!v->set || v->set->count == 0)
        return BALANCE_NONE;
    at = choose_level(v, rng, hash, tried);
    if (!at)
        return BALANCE_NONE;
    if (v->set->ring.count > 0)
        return balance_hash_pick(v, at, hash ? *hash : balance_random(rng), tried);
    order = v->levels.order;
    i = first = pickers[kind](v, at, rng);
    for (int again = 0; again < RESELECTIONS && !balance_may_take(v, order[i], tried); again++)
        i = pickers[kind](v, at, rng);
    for (size_t n = 0; n < at->count && !balance_may_take(v, order[i], tried); n++)
        i = at->first + (i - at->first + 1) % at->count; /* chance failed us, and an untried one may be left */
    return balance_may_take(v, order[i], tried) ? order[i] : order[first];
}
