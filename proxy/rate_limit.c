#include "proxy/rate_limit.h"

#include <inttypes.h>

#include "mesh/base/mem.h"
#include "proxy/bucket_table.h"

struct limiter {
    atomic_uint refs;
    atomic_ullong bucket;      /* of a limit without a key */
    struct bucket_table *keys; /* of one with a key */
    atomic_ullong allowed, refused;
};

static struct limiter *limiter_new(const struct limit *l, int64_t now_ms)
{
    struct limiter *m = MEM_NEW(struct limiter);

    atomic_init(&m->refs, 1);
    gcra_init(&m->bucket, now_ms);
    if (l->key != LIMIT_KEY_NONE)
        m->keys = bucket_table_new(l->keys_max);
    return m;
}

static struct limiter *limiter_ref(struct limiter *m)
{
    atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    return m;
}

static void limiter_unref(struct limiter *m)
{
    if (atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1)
        return;
    bucket_table_free(m->keys);
    mem_free(m);
}

static struct gcra_rule rule_of(const struct limit *l)
{
    return gcra_rule_of(l->requests, l->interval_ns, l->burst);
}

struct gcra_verdict limiter_take(struct limiter *m, const struct limit *l, struct str key, int64_t now_ms)
{
    const struct gcra_rule r = rule_of(l);

    return m->keys ? bucket_table_take(m->keys, key, &r, now_ms) : gcra_take(&m->bucket, &r, now_ms);
}

void limiter_give_back(struct limiter *m, const struct limit *l, struct str key)
{
    const struct gcra_rule r = rule_of(l);

    if (m->keys)
        bucket_table_give_back(m->keys, key, &r);
    else
        gcra_give_back(&m->bucket, &r);
}

void limiter_count(struct limiter *m, bool allowed)
{
    atomic_fetch_add_explicit(allowed ? &m->allowed : &m->refused, 1, memory_order_relaxed);
}

/* ---- the table ---- */

void limiter_table_init(struct limiter_table *t)
{
    pthread_mutex_init(&t->lock, NULL);
    map_init(&t->limiters);
}

void limiter_table_done(struct limiter_table *t)
{
    limiters_done(&t->limiters);
    pthread_mutex_destroy(&t->lock);
}

void limiter_table_trim(struct limiter_table *t)
{
    struct map_entry *e;

    pthread_mutex_lock(&t->lock);
    for (size_t i = 0; (e = map_each(&t->limiters, &i));) {
        struct limiter *m = e->value;

        /* New references are only made under the lock, so nobody else can hold or get one. */
        if (atomic_load_explicit(&m->refs, memory_order_acquire) == 1) {
            map_del(&t->limiters, e->key);
            limiter_unref(m);
        }
    }
    pthread_mutex_unlock(&t->lock);
}

static struct limiter *find_or_make(struct limiter_table *t, const struct limit *l, int64_t now_ms)
{
    struct limiter *m;

    pthread_mutex_lock(&t->lock);
    m = map_get(&t->limiters, l->bucket);
    if (!m) {
        m = limiter_new(l, now_ms);
        map_put(&t->limiters, l->bucket, m);
    }
    limiter_ref(m);
    pthread_mutex_unlock(&t->lock);
    return m;
}

/* ---- a worker's view ---- */

struct limiter *limiter_get(struct map *view, struct limiter_table *t, const struct limit *l, int64_t now_ms)
{
    struct limiter *m = map_get(view, l->bucket);

    if (!m) {
        m = find_or_make(t, l, now_ms);
        map_put(view, l->bucket, m);
    }
    return m;
}

/* The names of all buckets of a snapshot. */
static void name_buckets(const struct snapshot *s, struct map *names)
{
    map_init(names);
    for (size_t i = 0; i < s->listener_count; i++) {
        for (size_t k = 0; k < s->listeners[i]->limit_count; k++)
            map_put(names, s->listeners[i]->limits[k].bucket, s->listeners[i]);
    }
}

void limiters_trim(struct map *view, const struct snapshot *s)
{
    struct map_entry *e;
    struct map wanted;

    if (view->count == 0)
        return;
    name_buckets(s, &wanted);
    for (size_t i = 0; (e = map_each(view, &i));) {
        struct limiter *m = e->value;

        if (map_get(&wanted, e->key))
            continue;
        map_del(view, e->key);
        limiter_unref(m);
    }
    map_done(&wanted);
}

void limiters_done(struct map *view)
{
    struct map_entry *e;

    for (size_t i = 0; (e = map_each(view, &i));)
        limiter_unref(e->value);
    map_done(view);
}

/* ---- printing ---- */

/* What one limit has to say; all 0 where no request has come yet. */
struct numbers {
    const struct listener *listener;
    const struct limit *limit;
    uint64_t allowed, refused, keys, evicted;
};

static void read_numbers(struct limiter_table *t, struct numbers *n)
{
    struct limiter *m;

    pthread_mutex_lock(&t->lock);
    m = map_get(&t->limiters, n->limit->bucket);
    if (m) {
        n->allowed = atomic_load_explicit(&m->allowed, memory_order_relaxed);
        n->refused = atomic_load_explicit(&m->refused, memory_order_relaxed);
        if (m->keys) {
            n->keys = bucket_table_count(m->keys);
            n->evicted = bucket_table_evicted(m->keys);
        }
    }
    pthread_mutex_unlock(&t->lock);
}

static void print_row(struct buf *out, const char *name, const struct numbers *n, const char *result, uint64_t value)
{
    buf_printf(out, "%s{workload=\"%.*s\",namespace=\"%.*s\",rate_limit=\"%.*s\",limit=\"%.*s\"%s} %" PRIu64 "\n", name,
               STR_ARG(n->listener->workload), STR_ARG(n->listener->workload_ns), STR_ARG(n->limit->object),
               STR_ARG(n->limit->name), result, value);
}

static void print_head(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void print_numbers(struct buf *out, const struct numbers *list, size_t count)
{
    static const char requests[] = "weft_rate_limit_requests_total", keys[] = "weft_rate_limit_keys",
                      evicted[] = "weft_rate_limit_evicted_total";

    print_head(out, requests, "counter", "Requests that a RateLimit judged.");
    for (size_t i = 0; i < count; i++) {
        print_row(out, requests, &list[i], ",result=\"allowed\"", list[i].allowed);
        print_row(out, requests, &list[i], ",result=\"refused\"", list[i].refused);
    }
    print_head(out, keys, "gauge", "Buckets of clients that are kept now.");
    for (size_t i = 0; i < count; i++) {
        if (list[i].limit->key != LIMIT_KEY_NONE)
            print_row(out, keys, &list[i], "", list[i].keys);
    }
    print_head(out, evicted, "counter", "Buckets that made room before they were full again.");
    for (size_t i = 0; i < count; i++) {
        if (list[i].limit->key != LIMIT_KEY_NONE)
            print_row(out, evicted, &list[i], "", list[i].evicted);
    }
}

/* The listeners of a workload share buckets: each is printed once. */
void limiter_table_print(struct limiter_table *t, const struct snapshot *s, struct buf *out)
{
    struct numbers *list;
    struct map names;
    size_t count = 0;

    if (!s)
        return;
    name_buckets(s, &names);
    list = mem_array(names.count + 1, sizeof(*list));
    for (size_t i = 0; i < s->listener_count; i++) {
        const struct listener *l = s->listeners[i];

        for (size_t k = 0; k < l->limit_count; k++) {
            if (!map_del(&names, l->limits[k].bucket))
                continue;
            list[count] = (struct numbers){.listener = l, .limit = &l->limits[k]};
            read_numbers(t, &list[count++]);
        }
    }
    if (count > 0)
        print_numbers(out, list, count);
    mem_free(list);
    map_done(&names);
}
