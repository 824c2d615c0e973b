#include "proxy/balance.h"

#include "mesh/snapshot.h"
#include "proxy/balance_hash.h"

typedef size_t pick_fn(struct cluster_view *v, uint64_t *rng);

#define RESELECTIONS 5

uint64_t balance_random(uint64_t *rng)
{
    uint64_t z = (*rng += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* What pickers choose is a place in the view's list of usable endpoints. */

static uint64_t weight_of(const struct cluster_view *v, size_t place)
{
    return v->set->endpoints[v->usable[place]].weight;
}

/* The place that holds the `at`th unit of weight. */
static size_t at_weight(const struct cluster_view *v, uint64_t at)
{
    for (size_t i = 0; i < v->usable_count; i++) {
        uint64_t weight = weight_of(v, i);

        if (at < weight)
            return i;
        at -= weight;
    }
    return v->usable_count - 1;
}

static size_t pick_random(struct cluster_view *v, uint64_t *rng)
{
    uint64_t r = balance_random(rng);

    return v->is_weighted ? at_weight(v, r % v->weight_total) : (size_t)(r % v->usable_count);
}

/* Weighted: walking the units of weight by the golden step visits each once per cycle, well mixed.
 */
static size_t pick_round_robin(struct cluster_view *v, uint64_t *rng)
{
    uint64_t step, turn = v->cursor++;

    (void)rng; /* only its place in the table */
    if (!v->is_weighted)
        return (size_t)(turn % v->usable_count);
    step = v->weight_total * 618 / 1000 | 1;
    while (step > 1) { /* a step that shares no factor with the cycle */
        uint64_t a = v->weight_total, b = step;

        while (b) {
            uint64_t rest = a % b;

            a = b;
            b = rest;
        }
        if (a == 1)
            break;
        step -= 2;
    }
    return at_weight(v, (turn % v->weight_total) * step % v->weight_total);
}

static unsigned load_of(const struct cluster_view *v, size_t place)
{
    return atomic_load_explicit(&v->blocks[v->usable[place]]->active, memory_order_relaxed);
}

/* Two choices by weight, then the one with fewer active requests (for its weight). */
static size_t pick_least_request(struct cluster_view *v, uint64_t *rng)
{
    size_t a = pick_random(v, rng), b = pick_random(v, rng);
    uint64_t of_a, of_b;

    if (a == b && v->usable_count > 1)
        b = (a + 1) % v->usable_count;
    of_a = ((uint64_t)load_of(v, a) + 1) * weight_of(v, b);
    of_b = ((uint64_t)load_of(v, b) + 1) * weight_of(v, a);
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
    for (size_t i = 0; t && i < MIN(t->count, (size_t)BALANCE_TRIED_MAX); i++) {
        if (addr_eq(&t->addrs[i], a))
            return true;
    }
    return false;
}

bool balance_may_take(const struct cluster_view *v, size_t i, const struct balance_tried *tried)
{
    return !v->left_out[i] && !was_tried(tried, &v->set->endpoints[i].addr);
}

size_t balance_pick(struct cluster_view *v, unsigned kind, uint64_t *rng, const uint64_t *hash,
                    const struct balance_tried *tried)
{
    size_t at, first;

    if (!v->set || v->usable_count == 0)
        return BALANCE_NONE;
    if (v->set->ring.count > 0)
        return balance_hash_pick(v, hash ? *hash : balance_random(rng), tried);
    at = first = pickers[kind](v, rng);
    for (int again = 0; again < RESELECTIONS && !balance_may_take(v, v->usable[at], tried); again++)
        at = pickers[kind](v, rng);
    for (size_t n = 0; n < v->usable_count && !balance_may_take(v, v->usable[at], tried); n++)
        at = (at + 1) % v->usable_count; /* chance failed us, and an untried one may be left */
    return v->usable[balance_may_take(v, v->usable[at], tried) ? at : first];
}
