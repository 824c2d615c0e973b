/* The small HTTP face of daemons: the server's API, the agent's admin pages. One listening socket
 * (TCP, TLS or Unix), whole bodies within a bound, one handler; answers may be streamed (watch) or
 * the connection upgraded (weft-sync). The same engine as the data plane (http1.h on io.h).
 *
 * Ownership: serve_new takes the listening descriptor. A request lives until it was answered or its
 * peer is gone. Threads:   the loop given.
 */
#pragma once

#include "mesh/base/addr.h"
#include "mesh/base/err.h"
#include "proxy/wire/http1.h"

struct serve;
struct tls_context;

struct serve_request {
    const struct http_head *head;
    struct str method, path, query; /* path without the query, percent-decoding not applied */
    struct str body;                /* whole */
    struct addr peer;               /* family 0 on a Unix socket */
    int64_t uid, gid, pid;          /* Unix socket peer credentials; -1 on TCP */
    struct str peer_uri;            /* TLS: the proven SPIFFE URI, or empty */
    struct str peer_fingerprint;
    void *owner; /* of serve_options */
    void *user;  /* free for the handler (kept between calls) */
    void (*on_gone)(
        struct serve_request *r); /* set by a handler that has not answered yet or streams: the peer
                                     left, r is freed after the call */
};

/* Answer at once or later, exactly once per request, by one of the serve_* calls below. */
typedef void serve_fn(struct serve_request *r);

struct serve_options {
    serve_fn *handle;
    void *owner;
    size_t body_max; /* bytes; larger: 413 as problem+json */
    struct str (*error_body)(
        unsigned status,
        struct buf *out); /* body of errors made here; NULL: problem+json default */
    size_t connections_max;
    const char *server_name;
    /* May change the bound once the head is known, by path and caller; NULL: body_max. */
    void (*body_limit)(const struct serve_request *r, size_t *max);
    int64_t idle_ms; /* a connection without a request is closed; 0: LIMIT_IDLE_MS */
};

struct serve *serve_new(struct loop *l, int listen_fd, const struct serve_options *o,
                        struct err *err) MUST_USE;
/* Handshake new connections with this from now on (renewal swaps it); NULL is plain. */
void serve_set_tls(struct serve *s, struct tls_context *tls);
void serve_free(struct serve *s); /* closes the socket and every connection */

/* Listening sockets. A stale Unix socket file is replaced; a live one is ERR_CONFLICT. Port in use:
 * ERR_CONFLICT that names the port and what to do. */
int serve_listen_tcp(const struct addr *at, struct err *err);
int serve_listen_unix(const char *path, unsigned mode, struct err *err);

void serve_answer(struct serve_request *r, unsigned status, const char *content_type,
                  struct str body);
/* More fields for the answer to come (ETag, Retry-After, ...); before serve_answer or serve_begin.
 */
void serve_header(struct serve_request *r, const char *name, struct str value);
void serve_begin(struct serve_request *r, unsigned status,
                 const char *content_type); /* then serve_more..., serve_end */
size_t serve_more(struct serve_request *r,
                  struct str part); /* returns bytes still queued, for dropping slow readers */
void serve_end(struct serve_request *r);
/* Answer 101 with `Upgrade: protocol` and hand the bare io over (io_move into `to`, with bytes
 * already read in `first`). The request is gone afterwards. */
void serve_upgrade(struct serve_request *r, const char *protocol, struct io *to, struct task *task,
                   unsigned note_shift, struct bytes *first);
