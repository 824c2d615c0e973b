/* JSON of a snapshot's parts. Only the mesh/snapshot*.c include this.
 *
 * What is printed is what is hashed (snapshot.c), so every member of a part is printed.
 */
#pragma once

#include "mesh/base/buf.h"
#include "mesh/snapshot.h"

static inline void comma(struct buf *b)
{
    if (b->n > 0 && b->p[b->n - 1] != '{' && b->p[b->n - 1] != '[')
        buf_addc(b, ',');
}

static inline void key(struct buf *b, const char *name)
{
    comma(b);
    buf_printf(b, "\"%s\":", name);
}

static inline void put_text(struct buf *b, const char *name, struct str value)
{
    key(b, name);
    buf_json(b, value);
}

static inline void put_cstr(struct buf *b, const char *name, const char *value)
{
    put_text(b, name, str_from(value));
}

static inline void put_number(struct buf *b, const char *name, int64_t value)
{
    key(b, name);
    buf_printf(b, "%lld", (long long)value);
}

static inline void put_bool(struct buf *b, const char *name, bool value)
{
    key(b, name);
    buf_adds(b, value ? "true" : "false");
}

/* ---- snapshot_route.c ---- */

void print_vhost(struct buf *b, const struct vhost *v);
void print_weighted(struct buf *b, const struct weighted_cluster *clusters, size_t count,
                    uint32_t total);
