/* Chains of pieces; a piece is a range of a refcounted slice.
 *
 * Small pieces are copied when they move (COPY_ALWAYS, or COPY_ROOM where the tail has room):
 * otherwise a peer that sends single bytes would make each of them hold a slice of 16 KiB, and
 * marks that count bytes would not bound memory. Writing behind a piece is allowed to whoever holds
 * the piece that ends at slice->used; others never see those bytes.
 */
#include "proxy/wire/bytes.h"

#include <errno.h>
#include <string.h>

#include "mesh/base/mem.h"

#define COPY_ALWAYS 256u
#define COPY_ROOM   2048u
#define POOL_KEEP   64u /* free slices kept per thread */
#define READ_SLICES 4u

struct slice {
    struct slice *next; /* in the pool */
    uint32_t refs;
    uint32_t used; /* filled from the front */
    size_t cap;
    char data[];
};

struct piece {
    struct piece *next;
    struct slice *slice;
    uint32_t at, n;
};

struct pool {
    struct slice *slices;
    struct piece *pieces;
    size_t slice_count, live;
};

static _Thread_local struct pool pool;

static struct slice *slice_new(size_t cap)
{
    struct slice *s = cap <= BYTES_SLICE ? pool.slices : NULL;

    if (s) {
        pool.slices = s->next;
        pool.slice_count--;
    } else {
        cap = MAX(cap, (size_t)BYTES_SLICE);
        s = mem_alloc(sizeof(*s) + cap);
        s->cap = cap;
    }
    pool.live++;
    s->next = NULL;
    s->refs = 1;
    s->used = 0;
    return s;
}

static void slice_unref(struct slice *s)
{
    if (--s->refs > 0)
        return;
    pool.live--;
    if (s->cap != BYTES_SLICE || pool.slice_count >= POOL_KEEP) {
        mem_free(s);
        return;
    }
    s->next = pool.slices;
    pool.slices = s;
    pool.slice_count++;
}

/* Takes the reference given. */
static struct piece *piece_new(struct slice *s, uint32_t at, uint32_t n)
{
    struct piece *p = pool.pieces;

    if (p)
        pool.pieces = p->next;
    else
        p = mem_alloc(sizeof(*p));
    *p = (struct piece){NULL, s, at, n};
    return p;
}

static void piece_free(struct piece *p)
{
    slice_unref(p->slice);
    p->next = pool.pieces;
    pool.pieces = p;
}

static size_t tail_room(const struct bytes *b)
{
    const struct piece *p = b->last;

    return p && p->at + p->n == p->slice->used ? p->slice->cap - p->slice->used : 0;
}

/* Only the last piece may be empty (room asked for and not used); it must not become an inner one.
 */
static void drop_empty_tail(struct bytes *b)
{
    struct piece *p = b->first;

    if (!b->last || b->last->n > 0)
        return;
    if (p == b->last) {
        b->first = b->last = NULL;
        piece_free(p);
        return;
    }
    while (p->next != b->last)
        p = p->next;
    piece_free(b->last);
    p->next = NULL;
    b->last = p;
}

static void link_piece(struct bytes *b, struct piece *p)
{
    drop_empty_tail(b);
    p->next = NULL;
    if (b->last)
        b->last->next = p;
    else
        b->first = p;
    b->last = p;
    b->n += p->n;
}

void bytes_init(struct bytes *b)
{
    *b = (struct bytes){NULL, NULL, 0};
}

void bytes_done(struct bytes *b)
{
    while (b->first) {
        struct piece *p = b->first;

        b->first = p->next;
        piece_free(p);
    }
    bytes_init(b);
}

void *bytes_tail(struct bytes *b, size_t *room)
{
    struct slice *s;

    *room = tail_room(b);
    if (*room == 0) {
        s = slice_new(BYTES_SLICE);
        link_piece(b, piece_new(s, 0, 0));
        *room = s->cap;
        return s->data;
    }
    return b->last->slice->data + b->last->slice->used;
}

void bytes_commit(struct bytes *b, size_t n)
{
    assert(n <= tail_room(b));
    b->last->slice->used += (uint32_t)n;
    b->last->n += (uint32_t)n;
    b->n += n;
}

void bytes_append(struct bytes *b, struct str s)
{
    while (s.n > 0) {
        size_t room;
        void *to = bytes_tail(b, &room);
        size_t n = MIN(room, s.n);

        memcpy(to, s.p, n);
        bytes_commit(b, n);
        s.p += n;
        s.n -= n;
    }
}

/* `n` bytes at `at` of a slice go behind `to`: by extending its last piece, by copying, or by
 * reference. */
static void add_range(struct bytes *to, struct slice *s, uint32_t at, uint32_t n)
{
    struct piece *last = to->last;

    if (last && last->n > 0 && last->slice == s && last->at + last->n == at) {
        last->n += n;
        to->n += n;
        return;
    }
    if (n <= COPY_ALWAYS || (n <= COPY_ROOM && tail_room(to) >= n)) {
        bytes_append(to, (struct str){s->data + at, n});
        return;
    }
    s->refs++;
    link_piece(to, piece_new(s, at, n));
}

static void drop_front_piece(struct bytes *b)
{
    struct piece *p = b->first;

    b->n -= p->n;
    b->first = p->next;
    if (!b->first)
        b->last = NULL;
    piece_free(p);
}

void bytes_move(struct bytes *to, struct bytes *from, size_t max)
{
    max = MIN(max, from->n);
    if (max == from->n && !to->first) { /* everything, into nothing */
        drop_empty_tail(from);
        *to = *from;
        bytes_init(from);
        return;
    }
    while (max > 0) {
        struct piece *p = from->first;

        if (p->n > max) {
            add_range(to, p->slice, p->at, (uint32_t)max);
            p->at += (uint32_t)max;
            p->n -= (uint32_t)max;
            from->n -= max;
            return;
        }
        max -= p->n;
        add_range(to, p->slice, p->at, p->n);
        drop_front_piece(from);
    }
}

void bytes_share(struct bytes *to, const struct bytes *from, size_t offset, size_t n)
{
    const struct piece *p = from->first;

    for (; p && n > 0; p = p->next) {
        uint32_t skip = (uint32_t)MIN(offset, (size_t)p->n);
        uint32_t take = (uint32_t)MIN(n, (size_t)(p->n - skip));

        offset -= skip;
        n -= take;
        if (take > 0)
            add_range(to, p->slice, p->at + skip, take);
    }
}

void bytes_drop(struct bytes *b, size_t n)
{
    assert(n <= b->n);
    while (n > 0) {
        struct piece *p = b->first;

        if (p->n > n) {
            p->at += (uint32_t)n;
            p->n -= (uint32_t)n;
            b->n -= n;
            return;
        }
        n -= p->n;
        drop_front_piece(b);
    }
}

struct str bytes_front(const struct bytes *b)
{
    if (b->n == 0)
        return STR_NONE;
    return (struct str){b->first->slice->data + b->first->at, b->first->n};
}

struct str bytes_flat(struct bytes *b, size_t n)
{
    struct slice *s;
    struct piece *p;

    assert(n <= b->n);
    if (n == 0 || b->first->n >= n)
        return (struct str){bytes_front(b).p, n};
    s = slice_new(n > BYTES_SLICE ? 2 * n
                                  : n); /* room to grow: the next call need not copy again */
    bytes_copy_out(b, 0, s->data, n);
    s->used = (uint32_t)n;
    bytes_drop(b, n);
    drop_empty_tail(b);
    p = piece_new(s, 0, (uint32_t)n);
    p->next = b->first;
    b->first = p;
    if (!b->last)
        b->last = p;
    b->n += n;
    return (struct str){s->data, n};
}

size_t bytes_copy_out(const struct bytes *b, size_t offset, void *out, size_t max)
{
    size_t done = 0;

    for (const struct piece *p = b->first; p && done < max; p = p->next) {
        size_t skip = MIN(offset, (size_t)p->n);
        size_t take = MIN(max - done, p->n - skip);

        offset -= skip;
        memcpy((char *)out + done, p->slice->data + p->at + skip, take);
        done += take;
    }
    return done;
}

size_t bytes_iov(const struct bytes *b, struct iovec *iov, size_t max)
{
    size_t count = 0;

    for (const struct piece *p = b->first; p && count < max; p = p->next) {
        if (p->n > 0)
            iov[count++] = (struct iovec){p->slice->data + p->at, p->n};
    }
    return count;
}

/* Fresh slices take what does not fit behind the tail; those that stay empty go back to the pool.
 */
ssize_t bytes_readv(struct bytes *b, int fd, size_t max)
{
    struct slice *fresh[READ_SLICES] = {NULL};
    struct iovec iov[READ_SLICES + 1];
    size_t room = MIN(tail_room(b), max), tail = room, count = 0, left;
    int failure;
    ssize_t n;

    if (tail > 0)
        iov[count++] = (struct iovec){b->last->slice->data + b->last->slice->used, tail};
    for (size_t i = 0; i < READ_SLICES && room < max; i++) {
        fresh[i] = slice_new(BYTES_SLICE);
        iov[count++] = (struct iovec){fresh[i]->data, MIN(fresh[i]->cap, max - room)};
        room += iov[count - 1].iov_len;
    }
    n = readv(fd, iov, (int)count);
    failure = errno;
    left = n > 0 ? (size_t)n : 0;
    if (tail > 0 && left > 0) {
        size_t take = MIN(tail, left);

        bytes_commit(b, take);
        left -= take;
    }
    for (size_t i = 0; i < READ_SLICES && fresh[i]; i++) {
        uint32_t take = (uint32_t)MIN(left, fresh[i]->cap);

        left -= take;
        fresh[i]->used = take;
        if (take > 0)
            link_piece(b, piece_new(fresh[i], 0, take));
        else
            slice_unref(fresh[i]);
    }
    errno = failure;
    return n;
}

void bytes_pool_trim(void)
{
    while (pool.slices) {
        struct slice *s = pool.slices;

        pool.slices = s->next;
        mem_free(s);
    }
    while (pool.pieces) {
        struct piece *p = pool.pieces;

        pool.pieces = p->next;
        mem_free(p);
    }
    pool.slice_count = 0;
}

size_t bytes_pool_live(void)
{
    return pool.live;
}
