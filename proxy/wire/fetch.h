/* The client of the control plane: one request, one whole answer, over a Unix socket, TCP or TLS;
 * or an upgrade to a framed stream. Same engine as the data plane.
 *
 * Ownership: fetch_start gives a handle; `done` is called exactly once unless fetch_cancel came
 * first; then it is freed. Threads:   the loop given. fetch_wait is a convenience for command-line
 * tools: runs a loop of its own.
 */
#pragma once

#include "mesh/base/addr.h"
#include "mesh/base/buf.h"
#include "mesh/base/err.h"
#include "proxy/wire/http1.h"

struct fetch;
struct tls_context;

struct fetch_answer {
    unsigned status;
    const struct http_head *head;
    struct str body;
    struct io *io; /* upgraded (status 101): io_move it away inside `done`, with `first` */
    struct bytes *first;
    struct str peer_uri; /* TLS: the server's proven URI */
};

/* err is NULL on success (any status), else says why there is no answer. */
typedef void fetch_fn(void *arg, const struct fetch_answer *answer, const struct err *err);

struct fetch_request {
    const char *unix_path; /* or: */
    struct addr to;
    struct tls_context *tls;     /* NULL is plain */
    struct str sni, expect_uris; /* TLS: tls_new and tls_expect */
    struct str method, path, host;
    const struct http_field *fields; /* extra request fields */
    size_t field_count;
    struct str body;
    struct str content_type;
    const char *upgrade; /* protocol to upgrade to, or NULL */
    size_t answer_max;   /* bytes of body kept; more is an error */
    int64_t timeout_ms;  /* for the whole exchange; 0 for none */
    void (*on_data)(
        void *arg,
        struct str part); /* streamed answers: called with each part instead of collecting */
    uint32_t mark;        /* SO_MARK, 0 for none */
};

struct fetch *fetch_start(struct loop *l, const struct fetch_request *r, fetch_fn *done, void *arg);
void fetch_cancel(struct fetch *f);

/* Blocking: fills *status and `body` (its maximum is the bound). */
int fetch_wait(const struct fetch_request *r, unsigned *status, struct buf *body,
               struct err *err) MUST_USE;
