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
    map_init(&t->breakers);
    map_init(&t->detectors);
}

void cluster_table_done(struct cluster_table *t)
{
    struct map_entry *e;

    for (size_t i = 0; (e = map_each(&t->blocks, &i));)
        endpoint_block_unref(e->value);
    for (size_t i = 0; (e = map_each(&t->breakers, &i));)
        breaker_unref(e->value);
    for (size_t i = 0; (e = map_each(&t->detectors, &i));)
        detector_unref(e->value);
    map_done(&t->detectors);
    map_done(&t->blocks);
    map_done(&t->breakers);
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
    for (size_t i = 0; (e = map_each(&t->breakers, &i));) {
        struct breaker *b = e->value;

        if (atomic_load_explicit(&b->refs, memory_order_acquire) == 1) {
            map_del(&t->breakers, e->key);
            breaker_unref(b);
        }
    }
    for (size_t i = 0; (e = map_each(&t->detectors, &i));) {
        struct detector *d = e->value;

        if (atomic_load_explicit(&d->refs, memory_order_acquire) == 1) {
            map_del(&t->detectors, e->key);
            detector_unref(d);
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

struct breaker *cluster_breaker(struct cluster_table *t, struct str cluster)
{
    struct breaker *b;

    pthread_mutex_lock(&t->lock);
    b = map_get(&t->breakers, cluster);
    if (!b) {
        b = breaker_new(cluster);
        map_put(&t->breakers, b->name, b);
    }
    breaker_ref(b);
    pthread_mutex_unlock(&t->lock);
    return b;
}

struct detector *cluster_detector(struct cluster_table *t, struct str cluster)
{
    struct detector *d;

    pthread_mutex_lock(&t->lock);
    d = map_get(&t->detectors, cluster);
    if (!d) {
        d = detector_new(cluster);
        map_put(&t->detectors, d->name, d);
    }
    detector_ref(d);
    pthread_mutex_unlock(&t->lock);
    return d;
}

/* ---- views ---- */

static void view_clear(struct cluster_view *v)
{
    if (!v->set)
        return;
    for (size_t i = 0; i < v->set->count; i++)
        endpoint_block_unref(v->blocks[i]);
    balance_levels_done(&v->levels);
    mem_free(v->blocks);
    mem_free(v->left_out);
    part_unref(v->set);
    v->left_out = NULL;
    v->blocks = NULL;
    v->set = NULL;
}

static void view_show(struct cluster_view *v, struct cluster_table *t, struct endpoint_set *set)
{
    view_clear(v);
    v->set = part_ref(set);
    v->blocks = mem_array(set->count, sizeof(*v->blocks));
    v->left_out = mem_array(set->count, sizeof(*v->left_out));
    for (size_t i = 0; i < set->count; i++) {
        long long unseen = 0;

        v->blocks[i] = cluster_block(t, v->breaker->name, &set->endpoints[i].addr);
        (void)atomic_compare_exchange_strong(&v->blocks[i]->since_ms, &unseen, MAX(v->now_ms, (int64_t)1));
    }
    outlier_show_all(v);
}

struct cluster_view *cluster_view_get(struct map *views, struct cluster_table *t,
                                      const struct cluster *c, uint64_t seed, int64_t now_ms)
{
    struct cluster_view *v = map_get(views, c->name);

    if (!v) {
        v = MEM_NEW(struct cluster_view);
        v->breaker = cluster_breaker(t, c->name);
        v->detector = cluster_detector(t, c->name);
        v->cursor = seed >> 8;
        link_init(&v->queue);
        link_init(&v->idle);
        link_init(&v->hungry);
        map_put(views, c->name, v);
    }
    v->now_ms = now_ms;
    if (c->endpoints && v->set != c->endpoints)
        view_show(v, t, c->endpoints);
    return v;
}

struct endpoint_block *cluster_view_here(struct cluster_view *v, struct cluster_table *t,
                                         const struct cluster *c)
{
    if (!v->here || !addr_eq(&v->here_addr, &c->local)) {
        endpoint_block_unref(v->here);
        v->here = cluster_block(t, c->name, &c->local);
        v->here_addr = c->local;
    }
    return v->here;
}

static void view_free(struct cluster_view *v)
{
    view_clear(v);
    endpoint_block_unref(v->here);
    breaker_unref(v->breaker);
    detector_unref(v->detector);
    mem_free(v);
}

void cluster_views_trim(struct map *views, const struct snapshot *s)
{
    struct map_entry *e;

    for (size_t i = 0; (e = map_each(views, &i));) {
        struct cluster_view *v = e->value;

        if (v->users > 0 || snapshot_cluster(s, v->breaker->name))
            continue;
        map_del(views, e->key);
        view_free(v);
    }
}

void cluster_views_look(struct map *views, const struct snapshot *s, int64_t now_ms)
{
    struct map_entry *e;

    for (size_t i = 0; (e = map_each(views, &i));) {
        struct cluster_view *v = e->value;
        const struct cluster *c = snapshot_cluster(s, v->breaker->name);

        if (c)
            outlier_refresh(v, c, now_ms);
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
                           const struct endpoint *ep, int64_t now_ms, struct buf *json)
{
    char addr[ADDR_TEXT_MAX];
    struct endpoint_block *b = cluster_block(t, c->name, &ep->addr);

    buf_printf(json, "{\"address\":\"%s\",\"workload\":", addr_format(&ep->addr, addr));
    buf_json(json, ep->workload);
    buf_adds(json, ",\"host\":");
    buf_json(json, ep->host);
    buf_adds(json, ",\"identity\":");
    buf_json(json, ep->identity);
    buf_adds(json, ",\"locality\":");
    buf_json(json, ep->locality);
    buf_printf(json, ",\"priority\":%u", ep->priority);
    buf_printf(json, ",\"mesh\":%s,\"local\":%s,\"weight\":%u", ep->is_mesh ? "true" : "false",
               ep->is_local ? "true" : "false", ep->weight);
    buf_printf(json, ",\"active\":%u,\"total\":%llu,\"connect_failures\":%llu,\"errors\":%llu,\"out\":%s}",
               atomic_load_explicit(&b->active, memory_order_relaxed),
               atomic_load_explicit(&b->total, memory_order_relaxed),
               atomic_load_explicit(&b->connect_failures, memory_order_relaxed),
               atomic_load_explicit(&b->errors, memory_order_relaxed),
               outlier_is_out(b, now_ms) ? "true" : "false");
    endpoint_block_unref(b);
}

static void print_breaker(struct cluster_table *t, const struct cluster *c, struct buf *json)
{
    static const struct {
        const char *name;
        enum breaker_kind kind;
    } rows[] = {
        {"connections", BREAKER_CONNECTIONS},
        {"pending",     BREAKER_PENDING    },
        {"requests",    BREAKER_REQUESTS   },
        {"retries",     BREAKER_RETRIES    },
    };
    struct breaker *b = cluster_breaker(t, c->name);

    for (size_t i = 0; i < COUNT(rows); i++)
        buf_printf(json, ",\"%s\":%u,\"%s_overflow\":%llu", rows[i].name,
                   atomic_load_explicit(&b->now[rows[i].kind], memory_order_relaxed), rows[i].name,
                   atomic_load_explicit(&b->overflows[rows[i].kind], memory_order_relaxed));
    breaker_unref(b);
}

static void print_detector(struct cluster_table *t, const struct cluster *c, struct buf *json)
{
    struct detector *d = cluster_detector(t, c->name);

    buf_printf(json, ",\"ejections\":%llu,\"ejections_overflow\":%llu",
               atomic_load_explicit(&d->ejections, memory_order_relaxed),
               atomic_load_explicit(&d->overflows, memory_order_relaxed));
    detector_unref(d);
}

void cluster_print(struct cluster_table *t, const struct snapshot *s, int64_t now_ms, struct buf *json)
{
    static const char *const balances[] = {"LEAST_REQUEST", "ROUND_ROBIN", "RANDOM", "PASSTHROUGH", "HASH"};

    buf_adds(json, "{\"clusters\":[");
    for (size_t i = 0; s && i < s->cluster_count; i++) {
        const struct cluster *c = s->clusters[i];
        struct endpoint only = {.addr = c->local, .weight = 1};

        buf_adds(json, i ? ",{\"name\":" : "{\"name\":");
        buf_json(json, c->name);
        buf_printf(json, ",\"balance\":\"%s\"", balances[c->balance]);
        print_breaker(t, c, json);
        if (c->outlier.is_on)
            print_detector(t, c, json);
        buf_adds(json, ",\"endpoints\":[");
        for (size_t k = 0; c->endpoints && k < c->endpoints->count; k++) {
            if (k > 0)
                buf_addc(json, ',');
            print_endpoint(t, c, &c->endpoints->endpoints[k], now_ms, json);
        }
        if (c->kind == CLUSTER_LOCAL && c->local.family)
            print_endpoint(t, c, &only, now_ms, json);
        buf_adds(json, "]}");
    }
    buf_adds(json, "]}");
}

/* ---- metrics ---- */

static uint64_t count_active(struct cluster_table *t, const struct cluster *c, int64_t now_ms)
{
    uint64_t n = 0;

    for (size_t i = 0; c->endpoints && i < c->endpoints->count; i++) {
        struct endpoint_block *b = cluster_block(t, c->name, &c->endpoints->endpoints[i].addr);

        n += outlier_is_out(b, now_ms);
        endpoint_block_unref(b);
    }
    return n;
}

static uint64_t read_series(struct cluster_table *t, const struct cluster *c, size_t family, int64_t now_ms)
{
    struct detector *d;
    uint64_t n;

    if (family == 0)
        return count_active(t, c, now_ms);
    d = cluster_detector(t, c->name);
    n = atomic_load_explicit(family == 1 ? &d->ejections : &d->overflows, memory_order_relaxed);
    detector_unref(d);
    return n;
}

void cluster_metrics(struct cluster_table *t, const struct snapshot *s, int64_t now_ms, struct buf *out)
{
    static const struct {
        const char *name, *type;
    } families[] = {
        {"envoy_cluster_outlier_detection_ejections_active",         "gauge"  },
        {"envoy_cluster_outlier_detection_ejections_enforced_total", "counter"},
        {"envoy_cluster_outlier_detection_ejections_overflow",       "counter"},
    };

    for (size_t f = 0; s && f < COUNT(families); f++) {
        bool named = false;

        for (size_t i = 0; i < s->cluster_count; i++) {
            const struct cluster *c = s->clusters[i];

            if (!c->outlier.is_on)
                continue;
            if (!named)
                buf_printf(out, "# TYPE %s %s\n", families[f].name, families[f].type);
            named = true;
            buf_printf(out, "%s{cluster_name=\"%.*s\"} %llu\n", families[f].name, STR_ARG(c->name),
                       (unsigned long long)read_series(t, c, f, now_ms));
        }
    }
}
