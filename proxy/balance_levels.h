/* Who may be chosen now, and how much of the traffic each gets: endpoints by priority, without those that are out.
 *
 * Flow:      cluster.c keeps one per view; balance.c asks for it before each choice. A new set, and outlier.c when somebody
 *            is left out or comes back, let it go, and so does time while endpoints warm up: then it is made anew.
 * Ownership: the view's.
 * Threads:   the worker's.
 * Units:     *_ms on the scale of the view's now_ms.
 * Source:    Envoy: a priority gets all traffic while at least 1/1.4 of its endpoints are usable, what it cannot take goes
 *            to the next ones; the same factor keeps the share of a locality. Where all priorities together cannot take
 *            it, one with a smaller part of usable endpoints than min_health_percent panics: those that are out are used as
 *            well, by their weight, and if all panic each gets what its endpoints are of all.
 */
#pragma once

#include "mesh/base/base.h"

struct cluster_view;

struct balance_level {
    unsigned load;      /* per cent of all choices */
    size_t first, count; /* in `order` */
    uint64_t weight;    /* of all */
    bool is_weighted;   /* weights differ */
    bool is_in_panic;   /* those that are out are used too: better a bad endpoint than none */
};

struct balance_levels {
    struct balance_level *items; /* by priority */
    size_t count;
    uint32_t *order; /* indices into the endpoint set */
    uint64_t *upto;  /* weights up to and with that one, in its level */
    int64_t good_ms; /* until then: endpoints warm up; INT64_MAX: none does */
};

void balance_levels_done(struct balance_levels *l); /* it may be made again */
/* As things stand; from `v`, whose `levels` it is. */
const struct balance_levels *balance_levels_now(struct cluster_view *v);

/* May the endpoint, of this level, be chosen? */
bool balance_level_uses(const struct cluster_view *v, const struct balance_level *at, size_t i);
/* The level for a choice, by a random number or the hash of a key, without those in `excluded` (bits), unless that
 * leaves none. NULL: nobody is usable. */
const struct balance_level *balance_level_choose(const struct balance_levels *l, uint64_t number, uint64_t excluded);
uint64_t balance_weight(const struct balance_levels *l, const struct balance_level *at, size_t place);
/* The place in `order` of the `unit`th unit of the level's weight. */
size_t balance_place(const struct balance_levels *l, const struct balance_level *at, uint64_t unit);
