#include "mesh/base/map.h"

#include <string.h>

#include "mesh/base/mem.h"

/* Entries stand in insertion order; slots hold index + 1 into them, found by linear probing.
 * A deleted entry keeps its slot (its value is NULL), and both go when the map next grows. */

#define FIRST_CAP 8

void map_init(struct map *m)
{
    *m = (struct map){0};
}

static void free_key(struct map_entry *e)
{
    union {
        const char *given;
        char *owned;
    } key = {.given = e->key.p};

    mem_free(key.owned);
    e->key = STR_NONE;
}

void map_done(struct map *m)
{
    for (size_t i = 0; i < m->used; i++)
        free_key(&m->entries[i]);
    mem_free(m->entries);
    mem_free(m->slots);
    *m = (struct map){0};
}

static void put_slot(struct map *m, uint64_t hash, size_t index)
{
    size_t mask = m->slot_count - 1;
    size_t i = (size_t)hash & mask;

    while (m->slots[i])
        i = (i + 1) & mask;
    m->slots[i] = (uint32_t)(index + 1);
}

/* Squeeze deleted entries out, and double if the live ones need it. */
static void rebuild(struct map *m)
{
    size_t kept = 0;

    for (size_t i = 0; i < m->used; i++) {
        if (m->entries[i].value)
            m->entries[kept++] = m->entries[i];
        else
            free_key(&m->entries[i]);
    }
    m->used = kept;
    if (m->cap == 0)
        m->cap = FIRST_CAP;
    else if (kept >= m->cap / 2)
        m->cap *= 2;
    m->entries = mem_realloc(m->entries, m->cap * sizeof(*m->entries));
    m->slot_count = m->cap * 2;
    mem_free(m->slots);
    m->slots = mem_array(m->slot_count, sizeof(*m->slots));
    for (size_t i = 0; i < kept; i++)
        put_slot(m, m->entries[i].hash, i);
}

static struct map_entry *lookup(const struct map *m, struct str key, uint64_t hash)
{
    size_t mask = m->slot_count - 1;

    if (m->count == 0)
        return NULL;
    for (size_t i = (size_t)hash & mask; m->slots[i]; i = (i + 1) & mask) {
        struct map_entry *e = &m->entries[m->slots[i] - 1];

        if (e->value && e->hash == hash && str_eq(e->key, key))
            return e;
    }
    return NULL;
}

void *map_get(const struct map *m, struct str key)
{
    struct map_entry *e = lookup(m, key, str_hash(key));

    return e ? e->value : NULL;
}

void *map_put(struct map *m, struct str key, void *value)
{
    uint64_t hash = str_hash(key);
    struct map_entry *e = lookup(m, key, hash);
    void *old;

    assert(value);
    if (e) {
        old = e->value;
        e->value = value;
        return old;
    }
    if (m->used == m->cap)
        rebuild(m);
    e = &m->entries[m->used];
    *e = (struct map_entry){
        {str_dup(key), key.n},
        hash, value
    };
    put_slot(m, hash, m->used);
    m->used++;
    m->count++;
    return NULL;
}

void *map_del(struct map *m, struct str key)
{
    struct map_entry *e = lookup(m, key, str_hash(key));
    void *old;

    if (!e)
        return NULL;
    old = e->value;
    e->value = NULL; /* the key stays until rebuild: the caller may be holding it */
    m->count--;
    return old;
}

struct map_entry *map_each(const struct map *m, size_t *i)
{
    while (*i < m->used) {
        struct map_entry *e = &m->entries[(*i)++];

        if (e->value)
            return e;
    }
    return NULL;
}
