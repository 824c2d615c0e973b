/* What the files of the upstream share; everybody else wants proxy/upstream.h.
 *
 * Flow:      upstream.c dials and steps; upstream_pool.c keeps idle connections; upstream_queue.c
 *            counts connections and lets requests wait where a limit is reached; upstream_way.c
 *            decides on TLS and names; upstream_prelude.c and upstream_post.c ask forward proxies.
 */
#pragma once

#include "proxy/upstream.h"

/* ---- upstream.c ---- */

enum {
    UPSTREAM_NOTE_TIMER = 1 << IO_NOTE_BITS,
    UPSTREAM_NOTE_CODEC = 2 << IO_NOTE_BITS,
    UPSTREAM_NOTE_BITS = IO_NOTE_BITS + 2
};

/* The one close path. */
void upstream_close(struct upstream *u);
/* The waiter has room for its connection: dial. False: the waiter was answered, the room is still there. */
bool upstream_dial(struct upstream_wait *wait);
/* A connection of its pool, for a waiter. */
void upstream_give(struct upstream *u, struct upstream_wait *wait);
bool upstream_has_room(const struct upstream *u); /* for one more request */
bool upstream_is_quiet(const struct upstream *u); /* no request under way, or about to begin */
/* The wait is over: `up`, or why there is none. */
void upstream_answer(struct upstream_wait *wait, struct upstream *up, enum outcome why,
                     struct str failure);

/* ---- upstream_way.c ---- */

#define WAY_KEY_MAX 4096

/* Who must be at the other end, with which credentials we go there, and the pool that follows from it. */
struct way {
    bool is_tls;
    struct str creds;           /* key of worker_identity */
    struct worker_identity *id; /* NULL: we show none, and verify nobody */
    struct str sni, expect, key;
    struct pool *pool; /* NULL: bare */
    char text[WAY_KEY_MAX];
};

/* False: the waiter was answered. */
bool way_find(struct upstream_wait *wait, struct way *way);
bool way_is_local(const struct upstream_target *t); /* on this very host: an in-memory pair */
bool way_start_tls(struct upstream *u, const struct upstream_target *t, const struct way *way);

/* ---- upstream_prelude.c ---- */

#define PRELUDE_MAX 2048u

/* The PROXY header of a new connection, or empty; `out` has PRELUDE_MAX bytes. */
struct str prelude_proxy_header(const struct upstream_target *t, char *out);
/* Ask a forward proxy for a way to `authority`, "host:port". */
void prelude_ask(struct upstream *u, struct str authority);
/* IO_OK: the way is there, u->early holds what came behind the answer. IO_FAILED: `why` says it. */
enum io_step prelude_answered(struct upstream *u, char *why, size_t max);

/* ---- upstream_post.c ---- */

struct carry;

/* The same by POST; u->carry is there from then on, and the io is the codec's. */
void post_ask(struct upstream *u, struct str authority);
enum io_step post_answered(struct upstream *u, char *why, size_t max);
/* `to` becomes the way to the target; the upstream stays, to carry. */
void post_take(struct upstream *u, struct io *to, struct task *task, unsigned note_shift);
enum upstream_state post_carry(struct upstream *u); /* its step, in that state */
void post_end(struct upstream *u); /* harmless without one */

/* ---- upstream_pool.c ---- */

struct pool {
    struct str key;               /* owned */
    struct str cluster, creds; /* owned */
    uint64_t generation;       /* of the credentials; 0: plaintext */
    struct addr addr;
    bool has_endpoint; /* its address comes from an endpoint set */
    struct link idle; /* that have room */
    size_t idle_count, count;
    size_t waiters; /* that point here */
};

struct pool *pool_get(struct worker *w, const struct upstream_target *t, const struct way *way);
bool pool_is_current(struct worker *w, const struct pool *p); /* its certificate is */
/* The one used last that has room, or NULL: of those that are ready, or of those still being dialled. */
struct upstream *pool_take(struct pool *p, bool ready);
void pool_settle(struct upstream *u); /* into the list or out of it, by whether it has room */
void pool_leave(struct upstream *u);  /* nobody may have it; harmless if it was not there */

/* ---- upstream_queue.c ---- */

/* Dial now, wait for room, or answer that there is none. */
void queue_start(struct upstream_wait *wait);
void queue_leave(struct upstream_wait *wait);
/* The wait is over, or given up: it counts no more. */
void queue_forget(struct upstream_wait *wait);
/* A connection has room: perhaps it, or its slot, is what requests wait for. False: it is to be closed. */
bool queue_claim(struct upstream *u);
