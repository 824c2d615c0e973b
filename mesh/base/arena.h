/* A bump allocator, released at once: one per document, per snapshot part, per exchange.
 *
 * Ownership: nothing in an arena is freed alone; nothing outside points in without holding
 *            the arena's owner.
 * Errors:    none; out of memory ends the process (sizes are bounded before allocation).
 * Threads:   one at a time while allocating; sealed contents may be read by many.
 */
#pragma once

#include "mesh/base/base.h"
#include "mesh/base/str.h"

struct arena_chunk;

struct arena {
    char *at;                  /* next free byte */
    char *end;                 /* one past the last free byte */
    struct arena_chunk *chunks; /* owned, newest first */
    size_t bytes;              /* handed out so far */
};

void arena_init(struct arena *a);
/* Start with memory of the caller's (the 2 KiB inside an exchange), which is never freed. */
void arena_init_with(struct arena *a, void *first, size_t first_bytes);
void arena_done(struct arena *a);

void *arena_alloc(struct arena *a, size_t bytes);  /* aligned for any type; not cleared */
void *arena_zalloc(struct arena *a, size_t bytes); /* cleared */
void *arena_array(struct arena *a, size_t count, size_t size); /* cleared; checks overflow */
struct str arena_str(struct arena *a, struct str s); /* a copy, with a NUL behind for free */
struct str arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define ARENA_NEW(a, type)      ((type *)arena_zalloc((a), sizeof(type)))
#define ARENA_ARRAY(a, n, type) ((type *)arena_array((a), (n), sizeof(type)))
