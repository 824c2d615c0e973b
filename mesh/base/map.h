/* A hash map from strings to pointers, iterated in insertion order.
 *
 * Ownership: keys are copied; values belong to the caller.
 * Threads:   one.
 */
#pragma once

#include "mesh/base/base.h"
#include "mesh/base/str.h"

struct map_entry {
    struct str key; /* owned by the map, with a NUL behind */
    uint64_t hash;
    void *value; /* NULL marks a deleted entry; iteration must skip it */
};

struct map {
    struct map_entry *entries; /* in insertion order */
    size_t used, cap;          /* entries in use, incl. deleted ones */
    size_t count;              /* live entries */
    uint32_t *slots;           /* open addressing: index + 1 into entries */
    size_t slot_count;
};

void map_init(struct map *m);
void map_done(struct map *m);
void *map_get(const struct map *m, struct str key); /* NULL if absent */
void *map_put(struct map *m, struct str key, void *value); /* value != NULL; returns the old one */
void *map_del(struct map *m, struct str key);              /* returns the old value or NULL */

/* for (size_t i = 0; (e = map_each(m, &i));) { ... }  Deleting the current entry is allowed. */
struct map_entry *map_each(const struct map *m, size_t *i);
