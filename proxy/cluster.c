#include "proxy/cluster.h"

#include <stdlib.h>
#include <string.h>

#include "mesh/base/mem.h"
#include "mesh/snapshot.h"

#define KEY_MAX 1024

static struct endpoint_block *block_new(void)
{
    void *p = aligned_alloc(64, sizeof(struct endpoint_block));

    if (!p)
        abort();
    memset(p, 0, sizeof(struct endpoint_block));
    ((struct endpoint_block *)p)->refs = 1;
    return p;
}

struct endpoint_block *endpoint_block_ref(struct endpoint_block *b)
{
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

void endpoint_block_unref(struct endpoint_block *b)
{
    if (b && atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1)
        free(b);
}

void endpoint_block_begin(struct endpoint_block *b)
{
    atomic_fetch_add_explicit(&b->active, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&b->total, 1, memory_order_relaxed);
}

void endpoint_block_end(struct endpoint_block *b)
{
    atomic_fetch_sub_explicit(&b->active, 1, memory_order_relaxed);
}

void cluster_table_init(struct cluster_table *t)
{
    pthread_mutex_init(&t->lock, NULL);
    map_init(&t->blocks);
}

void cluster_table_done(struct cluster_table *t)
{
    struct map_entry *e;

    for (size_t i = 0; (e = map_each(&t->blocks, &i));)
        endpoint_block_unref(e->value);
    map_done(&t->blocks);
    pthread_mutex_destroy(&t->lock);
}

void cluster_table_trim(struct cluster_table *t)
{
    struct map_entry *e;

    pthread_mutex_lock(&t->lock);
    for (size_t i = 0; (e = map_each(&t->blocks, &i));) {
        struct endpoint_block *b = e->value;

        /* New references are only made under the lock, so nobody else can hold or get one. */
        if (atomic_load_explicit(&b->refs, memory_order_acquire) == 1) {
            map_del(&t->blocks, e->key);
            endpoint_block_unref(b);
        }
    }
    pthread_mutex_unlock(&t->lock);
}

static struct str block_key(struct str cluster, const struct addr *a, char *text)
{
    char addr[ADDR_TEXT_MAX];
    size_t n = MIN(cluster.n, (size_t)(KEY_MAX - ADDR_TEXT_MAX - 1)), m;

    if (n > 0)
        memcpy(text, cluster.p, n);
    text[n++] = '\n';
    m = strlen(addr_format(a, addr));
    memcpy(text + n, addr, m);
    return (struct str){text, n + m};
}

struct endpoint_block *cluster_block(struct cluster_table *t, struct str cluster,
                                     const struct addr *a)
{
    char text[KEY_MAX];
    struct str key = block_key(cluster, a, text);
    struct endpoint_block *b;

    pthread_mutex_lock(&t->lock);
    b = map_get(&t->blocks, key);
    if (!b) {
        b = block_new();
        map_put(&t->blocks, key, b);
    }
    endpoint_block_ref(b);
    pthread_mutex_unlock(&t->lock);
    return b;
}

/* ---- views ---- */

static void view_clear(struct cluster_view *v)
{
    if (!v->set)
        return;
    for (size_t i = 0; i < v->set->count; i++)
        endpoint_block_unref(v->blocks[i]);
    mem_free(v->blocks);
    part_unref(v->set);
    v->blocks = NULL;
    v->set = NULL;
}

static void view_show(struct cluster_view *v, struct cluster_table *t, struct endpoint_set *set)
{
    view_clear(v);
    v->set = part_ref(set);
    v->blocks = mem_array(set->count, sizeof(*v->blocks));
    v->weight_total = 0;
    v->is_weighted = false;
    for (size_t i = 0; i < set->count; i++) {
        v->blocks[i] = cluster_block(t, v->name, &set->endpoints[i].addr);
        v->weight_total += set->endpoints[i].weight;
        if (set->endpoints[i].weight != set->endpoints[0].weight)
            v->is_weighted = true;
    }
}

struct cluster_view *cluster_view_get(struct map *views, struct cluster_table *t,
                                      const struct cluster *c, uint64_t seed)
{
    struct cluster_view *v = map_get(views, c->name);

    if (!v) {
        v = MEM_NEW(struct cluster_view);
        v->name = (struct str){str_dup(c->name), c->name.n};
        v->cursor = seed >> 8;
        map_put(views, c->name, v);
    }
    if (c->endpoints && v->set != c->endpoints)
        view_show(v, t, c->endpoints);
    return v;
}

static void view_free(struct cluster_view *v)
{
    view_clear(v);
    free((void *)(uintptr_t)v->name.p);
    mem_free(v);
}

void cluster_views_trim(struct map *views, const struct snapshot *s)
{
    struct map_entry *e;

    for (size_t i = 0; (e = map_each(views, &i));) {
        struct cluster_view *v = e->value;

        if (snapshot_cluster(s, v->name))
            continue;
        map_del(views, v->name);
        view_free(v);
    }
}

void cluster_views_done(struct map *views)
{
    struct map_entry *e;

    for (size_t i = 0; (e = map_each(views, &i));)
        view_free(e->value);
    map_done(views);
}

/* ---- printing ---- */

static void print_endpoint(struct cluster_table *t, const struct cluster *c,
                           const struct endpoint *ep, struct buf *json)
{
    char addr[ADDR_TEXT_MAX];
    struct endpoint_block *b = cluster_block(t, c->name, &ep->addr);

    buf_printf(json, "{\"address\":\"%s\",\"workload\":", addr_format(&ep->addr, addr));
    buf_json(json, ep->workload);
    buf_adds(json, ",\"host\":");
    buf_json(json, ep->host);
    buf_adds(json, ",\"identity\":");
    buf_json(json, ep->identity);
    buf_printf(json, ",\"mesh\":%s,\"local\":%s,\"weight\":%u", ep->is_mesh ? "true" : "false",
               ep->is_local ? "true" : "false", ep->weight);
    buf_printf(json, ",\"active\":%u,\"total\":%llu,\"connect_failures\":%llu,\"errors\":%llu}",
               atomic_load_explicit(&b->active, memory_order_relaxed),
               atomic_load_explicit(&b->total, memory_order_relaxed),
               atomic_load_explicit(&b->connect_failures, memory_order_relaxed),
               atomic_load_explicit(&b->errors, memory_order_relaxed));
    endpoint_block_unref(b);
}

void cluster_print(struct cluster_table *t, const struct snapshot *s, struct buf *json)
{
    static const char *const balances[] = {"LEAST_REQUEST", "ROUND_ROBIN", "RANDOM", "PASSTHROUGH"};

    buf_adds(json, "{\"clusters\":[");
    for (size_t i = 0; s && i < s->cluster_count; i++) {
        const struct cluster *c = s->clusters[i];
        struct endpoint only = {.addr = c->local, .weight = 1};

        buf_adds(json, i ? ",{\"name\":" : "{\"name\":");
        buf_json(json, c->name);
        buf_printf(json, ",\"balance\":\"%s\",\"endpoints\":[", balances[c->balance]);
        for (size_t k = 0; c->endpoints && k < c->endpoints->count; k++) {
            if (k > 0)
                buf_addc(json, ',');
            print_endpoint(t, c, &c->endpoints->endpoints[k], json);
        }
        if (c->kind == CLUSTER_LOCAL && c->local.family)
            print_endpoint(t, c, &only, json);
        buf_adds(json, "]}");
    }
    buf_adds(json, "]}");
}
