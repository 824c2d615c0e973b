/* Traffic in memory: bounded chains of refcounted slices. Data is moved or shared, not copied.
 *
 * Ownership: a chain owns references to its slices until they are moved, dropped or bytes_done.
 * Threads:   slices come from a pool of the calling thread and must be released on that thread.
 * Limits:    a chain has no maximum of its own: whoever fills it checks bytes.n against its mark
 * first.
 */
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include "mesh/base/base.h"
#include "mesh/base/str.h"

#define BYTES_SLICE 16384u /* payload of a pooled slice */

struct piece; /* a range of a refcounted slice */

struct bytes {
    struct piece *first, *last;
    size_t n; /* bytes in the chain */
};

void bytes_init(struct bytes *b);
void bytes_done(struct bytes *b); /* drop everything; may be used again */

void bytes_append(struct bytes *b, struct str s); /* copies; fills the tail slice first */
void bytes_move(struct bytes *to, struct bytes *from,
                size_t max); /* at most max bytes, without copying */
void bytes_share(struct bytes *to, const struct bytes *from, size_t offset,
                 size_t n);                 /* more references */
void bytes_drop(struct bytes *b, size_t n); /* from the front; n <= b->n */

/* The first contiguous run (empty if none). */
struct str bytes_front(const struct bytes *b);
/* Make the first `n` bytes contiguous (n <= b->n, n <= LIMIT_HEAD_BYTES) and return them. */
struct str bytes_flat(struct bytes *b, size_t n);
size_t bytes_copy_out(const struct bytes *b, size_t offset, void *out, size_t max);

/* Room for reading into: a writable tail of at least 1 byte; then bytes_commit what was filled. */
void *bytes_tail(struct bytes *b, size_t *room);
void bytes_commit(struct bytes *b, size_t n);
size_t bytes_iov(const struct bytes *b, struct iovec *iov,
                 size_t max); /* for writev; returns count */
/* One readv of at most `max` bytes behind what is there. Returns what readv returns, with its
 * errno. */
ssize_t bytes_readv(struct bytes *b, int fd, size_t max);

/* Free memory that the calling thread's pool keeps; at thread exit and in leak tests. */
void bytes_pool_trim(void);
/* Slices in use by the calling thread: the leak ledger. */
size_t bytes_pool_live(void);
