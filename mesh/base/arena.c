#include "mesh/base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "mesh/base/mem.h"

#define ALIGN       _Alignof(max_align_t)
#define FIRST_BYTES 1024u
#define CHUNK_BYTES (64u << 10) /* chunks double up to this; larger requests get their own */

struct arena_chunk {
    struct arena_chunk *next;
    size_t bytes; /* of data */
    _Alignas(max_align_t) char data[];
};

void arena_init(struct arena *a)
{
    *a = (struct arena){0};
}

void arena_init_with(struct arena *a, void *first, size_t first_bytes)
{
    char *at = first;
    size_t skip = (ALIGN - (uintptr_t)at % ALIGN) % ALIGN;

    *a = (struct arena){0};
    if (first_bytes > skip) {
        a->at = at + skip;
        a->end = at + first_bytes;
    }
}

void arena_done(struct arena *a)
{
    struct arena_chunk *c = a->chunks;

    while (c) {
        struct arena_chunk *next = c->next;

        mem_free(c);
        c = next;
    }
    *a = (struct arena){0};
}

static struct arena_chunk *add_chunk(struct arena *a, size_t bytes)
{
    struct arena_chunk *c = mem_alloc(sizeof(*c) + bytes);

    c->bytes = bytes;
    c->next = a->chunks;
    a->chunks = c;
    return c;
}

static void *alloc_slow(struct arena *a, size_t bytes)
{
    size_t size = a->chunks ? a->chunks->bytes * 2 : FIRST_BYTES;
    struct arena_chunk *c;

    if (size > CHUNK_BYTES)
        size = CHUNK_BYTES;
    /* A large object must not throw away the rest of the chunk in use. */
    if (bytes > size / 4 && a->at) {
        c = add_chunk(a, bytes);
        if (c->next) {
            a->chunks = c->next;
            c->next = a->chunks->next;
            a->chunks->next = c;
        }
        return c->data;
    }
    c = add_chunk(a, MAX(bytes, size));
    a->at = c->data + bytes;
    a->end = c->data + c->bytes;
    return c->data;
}

void *arena_alloc(struct arena *a, size_t bytes)
{
    char *p = a->at;

    if (bytes > SIZE_MAX / 2)
        return mem_alloc(SIZE_MAX); /* cannot be had: ends the process */
    bytes = bytes ? (bytes + ALIGN - 1) / ALIGN * ALIGN : ALIGN;
    a->bytes += bytes;
    if (p && bytes <= (size_t)(a->end - p)) {
        a->at = p + bytes;
        return p;
    }
    return alloc_slow(a, bytes);
}

void *arena_zalloc(struct arena *a, size_t bytes)
{
    return memset(arena_alloc(a, bytes), 0, bytes);
}

void *arena_array(struct arena *a, size_t count, size_t size)
{
    size_t bytes;

    if (__builtin_mul_overflow(count, size, &bytes))
        bytes = SIZE_MAX;
    return arena_zalloc(a, bytes);
}

struct str arena_str(struct arena *a, struct str s)
{
    char *p = arena_alloc(a, s.n + 1);

    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return (struct str){p, s.n};
}

struct str arena_printf(struct arena *a, const char *fmt, ...)
{
    char small[256];
    char *p;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(small, sizeof(small), fmt, ap);
    va_end(ap);
    if (n < 0)
        return arena_str(a, STR_NONE);
    if ((size_t)n < sizeof(small))
        return arena_str(a, (struct str){small, (size_t)n});
    p = arena_alloc(a, (size_t)n + 1);
    va_start(ap, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return (struct str){p, (size_t)n};
}
