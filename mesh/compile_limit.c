/* RateLimits as limits of listeners. Those of one workload share their buckets, whatever listener a request comes to; two
 * workloads of a host never do. */
#include "mesh/compile_parts.h"

#include "mesh/catalog.h"
#include "mesh/kinds/rate_limit.h"

static enum limit_key key_of(const struct rate_limit_key *k)
{
    if (!k)
        return LIMIT_KEY_NONE;
    if (k->header.n)
        return LIMIT_KEY_HEADER;
    return k->principal ? LIMIT_KEY_PRINCIPAL : LIMIT_KEY_ADDRESS;
}

/* Buckets that are kept by something else, or in a table of another size, are others. */
static struct str bucket_name(struct arena *a, const struct local_service *s, const struct limit *l)
{
    static const char *const kinds[] = {"all", "address", "principal", "header"};

    return arena_printf(a, "%.*s %.*s %.*s %s:%.*s/%u", STR_ARG(s->key), STR_ARG(l->object), STR_ARG(l->name),
                        kinds[l->key], STR_ARG(l->header), l->keys_max);
}

static void fill(struct arena *a, const struct local_service *s, const struct object *o,
                 const struct rate_limit_rule *from, struct limit *l)
{
    l->object = compile_join(a, o->meta.ns, o->meta.name);
    l->name = arena_str(a, from->name);
    l->rule = arena_str(a, from->route);
    l->key = key_of(from->key);
    if (l->key == LIMIT_KEY_HEADER)
        l->header = compile_lower(a, from->key->header);
    l->requests = from->requests;
    l->burst = from->burst;
    l->interval_ns = from->interval_ns;
    l->keys_max = l->key == LIMIT_KEY_NONE ? 1 : from->keys_max;
    l->status = from->status;
    l->has_headers = from->headers == RATE_LIMIT_HEADERS_ON;
    l->bucket = bucket_name(a, s, l);
}

static bool selects(const struct build *b, const struct object *o, const struct local_service *s)
{
    const struct rate_limit *r = o->spec;

    return catalog_is_for(b->c, o->meta.ns, &r->target, s);
}

void compile_limits(struct build *b, const struct local_service *s, struct listener *l)
{
    struct arena *a = &l->part.arena;
    size_t count = 0;

    for (size_t i = 0; i < b->limit_count; i++) {
        if (selects(b, b->limits[i], s))
            count += ((const struct rate_limit *)b->limits[i]->spec)->limits_count;
    }
    if (count == 0)
        return;
    l->limits = ARENA_ARRAY(a, count, struct limit);
    for (size_t i = 0; i < b->limit_count; i++) {
        const struct rate_limit *r = b->limits[i]->spec;

        for (size_t k = 0; selects(b, b->limits[i], s) && k < r->limits_count; k++)
            fill(a, s, b->limits[i], &r->limits[k], &l->limits[l->limit_count++]);
    }
}
