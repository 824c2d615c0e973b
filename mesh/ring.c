#include "mesh/ring.h"

#include <math.h>
#include <stdlib.h>

#include "mesh/base/buf.h"
#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "mesh/base/xxh64.h"

#define NO_OWNER    UINT32_MAX
#define POINT_BYTES 256 /* of an address and a number */

static int by_key(const void *a, const void *b)
{
    const struct ring_owner *x = a, *y = b;
    int order = str_cmp(x->key, y->key);

    return order ? order : x->index < y->index ? -1 : x->index > y->index;
}

/* ---- ring ---- */

struct point {
    uint64_t hash;
    uint32_t owner;
    uint32_t rank; /* of the owner among the keys: decides where two hashes are equal */
};

static int by_hash(const void *a, const void *b)
{
    const struct point *x = a, *y = b;

    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return x->rank < y->rank ? -1 : x->rank > y->rank;
}

/* Points of one unit of weight: a power of two, so that it seldom changes with the owners and the points of those that
 * stay do not either. The least one that gives all of them `size` points and the lightest a whole one. */
static double points_per_weight(const struct ring_owner *owners, size_t count, uint64_t size)
{
    double total = 0, least = owners[0].weight, points = 1;

    for (size_t i = 0; i < count; i++) {
        total += owners[i].weight;
        least = MIN(least, owners[i].weight);
    }
    while (total * points < (double)size || least * points < 1)
        points *= 2;
    while (total * points / 2 >= (double)size && least * points / 2 >= 1)
        points /= 2;
    while (total * points > LIMIT_RING_POINTS)
        points /= 2;
    return points;
}

static uint64_t points_of(const struct ring_owner *o, double per_weight)
{
    return MAX((uint64_t)llround(o->weight * per_weight), (uint64_t)1);
}

static uint64_t point_hash(struct buf *text, struct str key, uint64_t number)
{
    char digits[STR_UINT_MAX];

    buf_clear(text);
    buf_add(text, key);
    buf_addc(text, '_');
    buf_add(text, str_of_uint(number, digits));
    return xxh64(buf_str(text), 0);
}

static struct point *make_points(const struct ring_owner *owners, size_t count, double per_weight, size_t *made)
{
    struct point *points;
    struct buf text;
    size_t all = 0, at = 0;

    for (size_t i = 0; i < count; i++)
        all += points_of(&owners[i], per_weight);
    points = mem_array(all, sizeof(*points));
    buf_init(&text, POINT_BYTES);
    for (size_t i = 0; i < count; i++) {
        for (uint64_t k = 0, own = points_of(&owners[i], per_weight); k < own; k++)
            points[at++] = (struct point){point_hash(&text, owners[i].key, k), owners[i].index, (uint32_t)i};
    }
    buf_done(&text);
    *made = all;
    return points;
}

static void build_points(struct ring *r, uint64_t size, const struct ring_owner *owners, size_t count, struct arena *a)
{
    struct point *points = make_points(owners, count, points_per_weight(owners, count, size), &r->count);

    qsort(points, r->count, sizeof(*points), by_hash);
    r->points = ARENA_ARRAY(a, r->count, uint64_t);
    r->owners = ARENA_ARRAY(a, r->count, uint32_t);
    for (size_t i = 0; i < r->count; i++) {
        r->points[i] = points[i].hash;
        r->owners[i] = points[i].owner;
    }
    mem_free(points);
}

/* ---- Maglev ---- */

/* An owner's wishes: slots in an order of its own, every one once. */
struct wishes {
    uint64_t at, skip;
    double due; /* turns until it may take its next slot */
};

static uint64_t next_wish(struct wishes *w, uint64_t size)
{
    uint64_t slot = w->at;

    w->at = (w->at + w->skip) % size;
    return slot;
}

/* In turns: who has its share's worth of turns takes the first free slot among its wishes. */
static void fill_slots(struct ring *r, struct wishes *wishes, const struct ring_owner *owners, size_t count,
                       double heaviest)
{
    for (size_t filled = 0, turn = 1; filled < r->count; turn++) {
        for (size_t i = 0; i < count && filled < r->count; i++) {
            uint64_t slot;

            if ((double)turn * owners[i].weight < wishes[i].due)
                continue;
            wishes[i].due += heaviest;
            do
                slot = next_wish(&wishes[i], r->count);
            while (r->owners[slot] != NO_OWNER);
            r->owners[slot] = owners[i].index;
            filled++;
        }
    }
}

static void build_slots(struct ring *r, uint64_t size, const struct ring_owner *owners, size_t count, struct arena *a)
{
    struct wishes *wishes = mem_array(count, sizeof(*wishes));
    double heaviest = 0;

    r->count = size;
    r->owners = ARENA_ARRAY(a, size, uint32_t);
    for (size_t i = 0; i < size; i++)
        r->owners[i] = NO_OWNER;
    for (size_t i = 0; i < count; i++) {
        wishes[i].at = xxh64(owners[i].key, 0) % size;
        wishes[i].skip = size > 1 ? xxh64(owners[i].key, 1) % (size - 1) + 1 : 0;
        wishes[i].due = 0;
        heaviest = MAX(heaviest, owners[i].weight);
    }
    fill_slots(r, wishes, owners, count, heaviest);
    mem_free(wishes);
}

void ring_build(struct ring *r, enum ring_kind kind, uint64_t size, struct ring_owner *owners, size_t count,
                struct arena *a)
{
    *r = (struct ring){0};
    if (count == 0)
        return;
    qsort(owners, count, sizeof(*owners), by_key);
    if (kind == RING_POINTS)
        build_points(r, size, owners, count, a);
    if (kind == RING_MAGLEV)
        build_slots(r, size, owners, count, a);
}

size_t ring_at(const struct ring *r, uint64_t hash)
{
    size_t low = 0, high = r->count;

    if (!r->points)
        return (size_t)(hash % r->count);
    while (low < high) { /* the first point that is not before it */
        size_t mid = low + (high - low) / 2;

        if (r->points[mid] < hash)
            low = mid + 1;
        else
            high = mid;
    }
    return low < r->count ? low : 0;
}
