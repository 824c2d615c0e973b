/* What a request orders by Envoy's fields (x-envoy-retry-on, x-envoy-upstream-rq-timeout-ms and so on): the caller
 * itself, or a rule's headers for it. They are for us, the endpoint does not see them.
 *
 * Trust:   callers of this host may order; what comes from elsewhere, to a gateway or to an application, may not: there
 *          the rules alone say when and how long we try.
 * Threads: the worker's.
 * Source:  Envoy, configuration of the router filter.
 */
#pragma once

#include "proxy/wire/http.h"

struct exchange;

/* Takes out of a head as it came what this caller may not say, and what nobody here obeys. */
void orders_drop(const struct exchange *x, struct http_head *h);
/* Of x->request, before the rule's edits: into x->timeout_ms and x->retry. */
void orders_take_timeouts(struct exchange *x);
/* Behind them: into x->retry and x->retry_names. */
void orders_take_retries(struct exchange *x);
