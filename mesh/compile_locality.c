/* localityLbSetting: which endpoints come first for callers of this host, or which share each locality has.
 * Source: fields.md 4.5; the order is Istio's. */
#include "mesh/compile_parts.h"

#include <stdlib.h>

#include "mesh/kinds/common.h"
#include "mesh/kinds/mesh_config.h"
#include "mesh/locality.h"

#define NOWHERE    UINT32_MAX /* not within any locality of a distribution */
#define DISTANCES  5u         /* 0 to 4 */
#define ELSEWHERE  3u
#define LAST       4u /* elsewhere, and not where the caller's region fails over to */

/* ---- shares ---- */

static const struct locality_distribute *distribution_for(const struct locality_lb *lb, const struct locality *caller)
{
    for (size_t i = 0; i < lb->distribute_count; i++) {
        if (locality_is_within(caller, lb->distribute[i].from))
            return &lb->distribute[i];
    }
    return NULL;
}

static uint32_t share_of(const struct locality_distribute *d, struct str text)
{
    struct locality l = locality_of(text);

    for (size_t i = 0; i < d->to_count; i++) {
        if (locality_is_within(&l, d->to[i].key))
            return (uint32_t)i;
    }
    return NOWHERE;
}

/* Endpoints in none of the localities get nothing: they leave the set. */
static void distribute(struct endpoint_set *set, const struct locality_distribute *d)
{
    uint32_t *shares = ARENA_ARRAY(&set->part.arena, d->to_count, uint32_t);
    size_t kept = 0;

    for (size_t i = 0; i < d->to_count; i++)
        shares[i] = d->to[i].value;
    for (size_t i = 0; i < set->count; i++) {
        uint32_t share = share_of(d, set->endpoints[i].locality);

        if (share == NOWHERE)
            continue;
        set->endpoints[kept] = set->endpoints[i];
        set->endpoints[kept++].share = share;
    }
    set->count = kept;
    set->shares = shares;
    set->share_count = d->to_count;
}

/* ---- priorities ---- */

/* The value of a label, of which places have some by their locality. */
static struct str label_of(const struct labels *labels, const struct locality *l, struct str key)
{
    struct str value = labels_get(labels, key);

    if (value.n)
        return value;
    if (str_eq(key, STR("topology.kubernetes.io/region")))
        return l->region;
    if (str_eq(key, STR("topology.kubernetes.io/zone")))
        return l->zone;
    return str_eq(key, STR("topology.istio.io/subzone")) ? l->subzone : STR_NONE;
}

/* How many labels are left from the first that differs; "key=value" asks for a value of its own. */
static uint32_t label_rank(const struct build *b, const struct locality_lb *lb, const struct locality *caller,
                           const struct labels *labels, const struct locality *place)
{
    for (size_t i = 0; i < lb->failover_priority_count; i++) {
        struct str value = lb->failover_priority[i], key = value;

        if (!str_cut(&value, '=', &key))
            value = label_of(b->labels, caller, key);
        if (!str_eq(value, label_of(labels, place, key)))
            return (uint32_t)(lb->failover_priority_count - i);
    }
    return 0;
}

static uint32_t distance_rank(const struct locality_lb *lb, const struct locality *caller, const struct locality *place)
{
    uint32_t distance = locality_distance(caller, place);

    for (size_t i = 0; lb && i < lb->failover_count && distance == ELSEWHERE; i++) {
        if (str_eq(lb->failover[i].from, caller->region))
            return str_eq(lb->failover[i].to, place->region) ? ELSEWHERE : LAST;
    }
    return distance;
}

/* Labels first, then the distance, where it is asked for or nothing else is. */
static uint32_t rank_of(const struct build *b, const struct locality_lb *lb, const struct locality *caller,
                        const struct labels *labels, struct str text)
{
    struct locality place = locality_of(text);
    bool by_labels = lb && lb->failover_priority_count > 0;
    uint32_t rank = by_labels ? label_rank(b, lb, caller, labels, &place) : 0;

    if (by_labels && lb->failover_count == 0)
        return rank;
    return rank * DISTANCES + distance_rank(lb, caller, &place);
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

/* Ranks that exist become 0, 1, 2, ... */
static void close_gaps(struct endpoint_set *set, struct arena *tmp)
{
    uint32_t *ranks = ARENA_ARRAY(tmp, set->count + 1, uint32_t), next = 0;

    for (size_t i = 0; i < set->count; i++)
        ranks[i] = set->endpoints[i].priority;
    qsort(ranks, set->count, sizeof(*ranks), by_value);
    for (size_t i = 0; i < set->count; i++) {
        if (i == 0 || ranks[i] != ranks[next])
            ranks[i == 0 ? 0 : ++next] = ranks[i];
    }
    for (size_t i = 0; i < set->count; i++) {
        const uint32_t *at = bsearch(&set->endpoints[i].priority, ranks, next + 1, sizeof(*ranks), by_value);

        set->endpoints[i].priority = (uint32_t)(at - ranks);
    }
}

/* ---- which ---- */

/* The rule's setting takes the place of the mesh's. NULL and true: the defaults, which is by distance. */
static bool setting_for(const struct build *b, const struct load_balancer *lb, const struct locality_lb **out)
{
    *out = lb && lb->locality ? lb->locality : b->mesh ? b->mesh->locality : NULL;
    return !*out || !(*out)->has_enabled || (*out)->enabled;
}

void compile_locality(struct build *b, struct endpoint_set *set, const struct labels *const *labels,
                      const struct load_balancer *lb, bool ejects)
{
    struct locality caller = locality_of(b->self->locality);
    const struct locality_distribute *d;
    const struct locality_lb *setting;

    if (!setting_for(b, lb, &setting))
        return;
    if (setting && setting->distribute_count > 0) {
        d = distribution_for(setting, &caller);
        if (d)
            distribute(set, d);
        return;
    }
    if (!ejects)
        return; /* nobody would ever leave the first priority */
    for (size_t i = 0; i < set->count; i++)
        set->endpoints[i].priority = rank_of(b, setting, &caller, labels[i], set->endpoints[i].locality);
    close_gaps(set, &b->tmp);
}
