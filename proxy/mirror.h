/* Copies of requests that nobody waits for.
 *
 * Flow:      exchange.c starts them with the request, by the route's shares; exchange_request.c hands each piece of the
 *            body on. The answer is read and dropped.
 * Ownership: the worker's. A mirror outlives its exchange: it keeps its snapshot and its own copy of the head.
 * Limits:    LIMIT_MIRRORS per worker, LIMIT_STREAM_HIGH of body that waits, LIMIT_MIRROR_MS or the route's timeout in
 *            all. What goes beyond is dropped: a mirror never slows the request that it copies.
 * Threads:   the worker's.
 */
#pragma once

#include "mesh/base/base.h"

struct exchange;
struct worker;

/* The request's head is ready and its first try has begun. */
void mirrors_start(struct exchange *x);
/* The first `n` bytes of the client's body are about to go to the endpoint. */
void mirrors_feed(struct exchange *x, size_t n);
/* The request is complete. */
void mirrors_finish(struct exchange *x);
/* The exchange ends: those whose request is not complete end with it. */
void mirrors_abandon(struct exchange *x);
/* The worker stops. */
void mirrors_close_all(struct worker *w);
