#include "proxy/pick.h"

bool pick_endpoint(struct worker *w, const struct cluster *c, const struct addr *original,
                   const struct balance_tried *tried, const uint64_t *hash, struct picked *out)
{
    struct cluster_view *v;
    size_t i;

    if (c->kind == CLUSTER_ORIGINAL_DST || (c->kind == CLUSTER_LOCAL && !c->local.family)) {
        if (!original)
            return false;
        out->endpoint = NULL;
        out->addr = *original;
        out->block = cluster_block(&w->proxy->clusters, c->name, original);
        return true;
    }
    v = worker_view(w, c);
    if (c->kind == CLUSTER_LOCAL) {
        out->endpoint = NULL;
        out->addr = c->local;
        out->block = endpoint_block_ref(cluster_view_here(v, &w->proxy->clusters, c));
        return true;
    }
    outlier_refresh(v, c, loop_now_ms(w->loop));
    i = balance_pick(v, c->balance, &w->rng, hash, tried);
    if (i == BALANCE_NONE)
        return false;
    out->endpoint = &c->endpoints->endpoints[i];
    out->addr = out->endpoint->addr;
    out->block = endpoint_block_ref(v->blocks[i]);
    return true;
}
