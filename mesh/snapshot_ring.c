/* The ring of an endpoint set. */
#include "mesh/snapshot.h"


/* Where localities have shares, a locality's is divided among its endpoints by their weights. */
static double *divide_shares(const struct endpoint_set *set, struct arena *a)
{
    double *weights = ARENA_ARRAY(a, set->share_count + 1, double);

    for (size_t i = 0; i < set->count && set->share_count; i++)
        weights[set->endpoints[i].share] += MAX(set->endpoints[i].weight, 1u);
    for (size_t i = 0; i < set->share_count; i++)
        weights[i] = weights[i] > 0 ? set->shares[i] / weights[i] : 0;
    return weights;
}

void endpoint_set_index(struct endpoint_set *set)
{
    struct ring_owner *owners;
    struct arena tmp;
    double *per_weight;

    if (set->ring_kind == RING_NONE || set->ring.count > 0)
        return;
    arena_init(&tmp);
    owners = ARENA_ARRAY(&tmp, set->count + 1, struct ring_owner);
    per_weight = divide_shares(set, &tmp);
    for (size_t i = 0; i < set->count; i++) {
        char text[ADDR_TEXT_MAX];

        owners[i].key = arena_str(&tmp, str_from(addr_format(&set->endpoints[i].addr, text)));
        owners[i].weight = MAX(set->endpoints[i].weight, 1u);
        if (set->share_count)
            owners[i].weight *= per_weight[set->endpoints[i].share];
        owners[i].index = (uint32_t)i;
    }
    ring_build(&set->ring, set->ring_kind, set->ring_size, owners, set->count, &set->part.arena);
    arena_done(&tmp);
}
