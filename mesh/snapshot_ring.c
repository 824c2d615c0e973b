/* The ring of an endpoint set. */
#include "mesh/snapshot.h"


void endpoint_set_index(struct endpoint_set *set)
{
    struct ring_owner *owners;
    struct arena tmp;

    if (set->ring_kind == RING_NONE || set->ring.count > 0)
        return;
    arena_init(&tmp);
    owners = ARENA_ARRAY(&tmp, set->count + 1, struct ring_owner);
    for (size_t i = 0; i < set->count; i++) {
        char text[ADDR_TEXT_MAX];

        owners[i].key = arena_str(&tmp, str_from(addr_format(&set->endpoints[i].addr, text)));
        owners[i].weight = MAX(set->endpoints[i].weight, 1u);
        owners[i].index = (uint32_t)i;
    }
    ring_build(&set->ring, set->ring_kind, set->ring_size, owners, set->count, &set->part.arena);
    arena_done(&tmp);
}
