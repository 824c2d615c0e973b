/* What a route changes in messages: header edits, rewrites, the place a redirect leads to.
 *
 * Order:   of a request: its destination's edits, the route's edits, the authority (the route's before the
 *          destination's), the path. Of a response: the destination's edits, the route's. Within one block: removed,
 *          set, added; a value that comes to nothing edits nothing. Variables see what was removed and what an earlier
 *          block did, not what their own sets; %REQ()% in a response sees the request as it went out.
 * Threads: the worker's.
 */
#pragma once

#include "proxy/outcome.h"
#include "proxy/wire/http.h"

struct exchange;

/* Edits x->request. OUTCOME_NONE, or OUTCOME_ROUTE_FAILED where an expression reached its limit. */
enum outcome edit_request(struct exchange *x);
void edit_response(struct exchange *x, struct http_head *h);
/* Of a redirect route, in the exchange's arena; empty if it does not fit. */
struct str edit_location(struct exchange *x);
