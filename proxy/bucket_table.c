/* A shard is an array of buckets, linked twice: in chains by hash, and in a ring from the newest to the oldest. Links are
 * indexes, so that the array may move when it grows; entry 0 is the ring's own. */
#include "proxy/bucket_table.h"

#include <pthread.h>

#include "mesh/base/mem.h"

#define SHARDS_MAX  64u
#define FIRST_CAP   16u
#define RING        0u /* also the end of a chain */

struct entry {
    uint64_t hash;
    atomic_ullong bucket;
    uint32_t chain;        /* the next of the same head */
    uint32_t newer, older;
};

struct shard {
    pthread_mutex_t lock;
    struct entry *entries;
    uint32_t *heads; /* as many as `cap` */
    uint32_t count, cap, most; /* entries in use and allocated, without the ring's; the bound */
    uint64_t evicted;
};

struct bucket_table {
    struct shard *shards;
    uint32_t shard_count; /* a power of two */
};

/* ---- shards ---- */

static void shard_init(struct shard *s, uint32_t most)
{
    pthread_mutex_init(&s->lock, NULL);
    s->most = most;
    s->entries = mem_array(1, sizeof(struct entry));
}

static uint32_t *head_of(struct shard *s, uint64_t hash)
{
    return &s->heads[(uint32_t)hash & (s->cap - 1)];
}

static void chain(struct shard *s, uint32_t i)
{
    uint32_t *head = head_of(s, s->entries[i].hash);

    s->entries[i].chain = *head;
    *head = i;
}

static void unchain(struct shard *s, uint32_t i)
{
    uint32_t *at = head_of(s, s->entries[i].hash);

    while (*at != i)
        at = &s->entries[*at].chain;
    *at = s->entries[i].chain;
}

static void ring_cut(struct shard *s, uint32_t i)
{
    struct entry *e = &s->entries[i];

    s->entries[e->newer].older = e->older;
    s->entries[e->older].newer = e->newer;
}

static void ring_first(struct shard *s, uint32_t i)
{
    struct entry *ring = &s->entries[RING], *e = &s->entries[i];

    e->newer = RING;
    e->older = ring->older;
    s->entries[e->older].newer = i;
    ring->older = i;
}

static void grow(struct shard *s)
{
    s->cap = s->cap ? s->cap * 2 : FIRST_CAP;
    s->entries = mem_realloc(s->entries, (s->cap + 1) * sizeof(struct entry));
    mem_free(s->heads);
    s->heads = mem_array(s->cap, sizeof(uint32_t));
    for (uint32_t i = 1; i <= s->count; i++)
        chain(s, i);
}

static uint32_t find(struct shard *s, uint64_t hash)
{
    uint32_t i = s->cap ? *head_of(s, hash) : RING;

    while (i != RING && s->entries[i].hash != hash)
        i = s->entries[i].chain;
    return i;
}

/* Place for a new one: a fresh entry, or that of the oldest. */
static uint32_t make_room(struct shard *s, int64_t now_ms)
{
    uint32_t i;

    if (s->count < s->most) {
        if (s->count == s->cap)
            grow(s);
        return ++s->count;
    }
    i = s->entries[RING].newer;
    unchain(s, i);
    ring_cut(s, i);
    if (!gcra_is_full(&s->entries[i].bucket, now_ms))
        s->evicted++;
    return i;
}

static uint32_t find_or_make(struct shard *s, uint64_t hash, int64_t now_ms)
{
    uint32_t i = find(s, hash);

    if (i != RING) {
        ring_cut(s, i);
    } else {
        i = make_room(s, now_ms);
        s->entries[i].hash = hash;
        gcra_init(&s->entries[i].bucket, now_ms);
        chain(s, i);
    }
    ring_first(s, i);
    return i;
}

/* ---- the table ---- */

struct bucket_table *bucket_table_new(uint32_t keys_max)
{
    struct bucket_table *t = MEM_NEW(struct bucket_table);

    t->shard_count = 1;
    while (t->shard_count < SHARDS_MAX && keys_max / (t->shard_count * 2) >= BUCKET_SHARD_KEYS)
        t->shard_count *= 2;
    t->shards = mem_array(t->shard_count, sizeof(struct shard));
    for (uint32_t i = 0; i < t->shard_count; i++)
        shard_init(&t->shards[i], keys_max / t->shard_count);
    return t;
}

void bucket_table_free(struct bucket_table *t)
{
    if (!t)
        return;
    for (uint32_t i = 0; i < t->shard_count; i++) {
        pthread_mutex_destroy(&t->shards[i].lock);
        mem_free(t->shards[i].entries);
        mem_free(t->shards[i].heads);
    }
    mem_free(t->shards);
    mem_free(t);
}

/* Chains go by the low half of the hash, shards by the high one. */
static struct shard *lock_shard(struct bucket_table *t, uint64_t hash)
{
    struct shard *s = &t->shards[(uint32_t)(hash >> 32) & (t->shard_count - 1)];

    pthread_mutex_lock(&s->lock);
    return s;
}

struct gcra_verdict bucket_table_take(struct bucket_table *t, struct str key, const struct gcra_rule *r, int64_t now_ms)
{
    uint64_t hash = str_hash(key);
    struct shard *s = lock_shard(t, hash);
    uint32_t i = find_or_make(s, hash, now_ms);
    struct gcra_verdict v = gcra_take(&s->entries[i].bucket, r, now_ms);

    pthread_mutex_unlock(&s->lock);
    return v;
}

void bucket_table_give_back(struct bucket_table *t, struct str key, const struct gcra_rule *r)
{
    uint64_t hash = str_hash(key);
    struct shard *s = lock_shard(t, hash);
    uint32_t i = find(s, hash);

    if (i != RING)
        gcra_give_back(&s->entries[i].bucket, r);
    pthread_mutex_unlock(&s->lock);
}

uint64_t bucket_table_count(struct bucket_table *t)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < t->shard_count; i++) {
        pthread_mutex_lock(&t->shards[i].lock);
        n += t->shards[i].count;
        pthread_mutex_unlock(&t->shards[i].lock);
    }
    return n;
}

uint64_t bucket_table_evicted(struct bucket_table *t)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < t->shard_count; i++) {
        pthread_mutex_lock(&t->shards[i].lock);
        n += t->shards[i].evicted;
        pthread_mutex_unlock(&t->shards[i].lock);
    }
    return n;
}
