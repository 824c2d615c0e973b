/* What may happen to a request between its route and its destination.
 *
 * Flow:    exchange.c calls filters_request when the route is known, and again after a pause, until a verdict ends it;
 *          filters_response sees every response head before it is sent, our own answers too. A filter is a row of the
 *          table in filter.c, in Istio's order (fields.md 4.4); it acts on routes that say so.
 * Pause:   the filter has armed x->wait; it is asked again when that fires. The end of the exchange stops the timer,
 *          so nothing is left to cancel.
 * Bodies:  no filter sees them.
 * Threads: the worker's.
 */
#pragma once

#include "proxy/outcome.h"
#include "proxy/wire/http.h"

struct exchange;
struct limit;

enum filter_verdict { FILTER_CONTINUE, FILTER_PAUSE, FILTER_ANSWER };

/* In place of the endpoint's. */
struct filter_answer {
    enum outcome why;
    struct http_head head;
    struct str body;
};

/* The limit that answers tell of; NULL: none. */
struct limit_note {
    const struct limit *limit;
    uint32_t remaining;
    int64_t reset_ms;
};

/* What the filters remember of one exchange. */
struct filter_notes {
    unsigned at; /* the filter whose turn it is */
    bool delayed;
    bool cors; /* the request came from an origin that is allowed */
    struct limit_note limit;
};

struct filter {
    const char *name;
    enum filter_verdict (*request)(struct exchange *x, struct filter_answer *out);
    void (*response)(struct exchange *x, struct http_head *h); /* NULL: does not care */
};

extern const struct filter fault_filter, cors_filter, rate_limit_filter;

enum filter_verdict filters_request(struct exchange *x, struct filter_answer *out);
void filters_response(struct exchange *x, struct http_head *h);

/* An answer in place of the endpoint's, with the outcome's words as its body; callers that speak gRPC are told `grpc_status`
 * (-1: what `status` comes to). */
void filter_refusal(struct exchange *x, enum outcome why, unsigned status, int grpc_status, struct filter_answer *out);
