#include "proxy/pick.h"

bool pick_endpoint(struct worker *w, const struct cluster *c, const struct addr *original,
                   const struct balance_tried *tried, struct picked *out)
{
    struct cluster_view *v;
    size_t i;

    if (c->kind != CLUSTER_ENDPOINTS) {
        bool is_here = c->kind == CLUSTER_LOCAL && c->local.family;

        if (!is_here && !original)
            return false;
        out->endpoint = NULL;
        out->addr = is_here ? c->local : *original;
        out->block = cluster_block(&w->proxy->clusters, c->name, &out->addr);
        return true;
    }
    v = cluster_view_get(&w->views, &w->proxy->clusters, c, worker_random(w));
    i = balance_pick(v, c->balance, &w->rng, tried);
    if (i == BALANCE_NONE)
        return false;
    out->endpoint = &c->endpoints->endpoints[i];
    out->addr = out->endpoint->addr;
    out->block = endpoint_block_ref(v->blocks[i]);
    return true;
}
