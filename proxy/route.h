/* Which route, cluster and retry? Pure functions over a snapshot's parts.
 *
 * Flow:    exchange.c calls route_find per request, tunnel.c calls route_tcp per connection.
 * Threads: any. Nothing is allocated, but in the head's arena for headers that came several times.
 */
#pragma once

#include "mesh/match.h"
#include "mesh/snapshot.h"
#include "proxy/outcome.h"
#include "proxy/wire/http.h"

/* First match wins. MATCH_FAILED: a regular expression reached its limit, the request must be
 * refused. */
enum match_result route_find(const struct vhost *v, const struct http_head *h,
                             const struct route **out);
/* The TCP route whose subnets hold the original destination and whose names the client asks for (lower case, empty:
 * none): the one of the most specific name, then the first. NULL for none. */
const struct tcp_route *route_tcp(const struct listener *l, const struct addr *original, struct str server_name);
/* By weight; `random` is uniform. NULL if there are no clusters. */
const struct weighted_cluster *route_choose(const struct weighted_cluster *clusters, size_t count,
                                            uint32_t weight_total, uint64_t random);

/* Does the policy want another try after this end of one? `head` is the response, NULL if none
 * came; `names`: of the headers that ask for one, joined by commas; `request_sent`: the request's head had been handed
 * to a connection. */
bool route_retry_wanted(const struct retry_policy *p, enum outcome o, const struct http_head *head,
                        struct str names, bool request_sent);
/* How long to wait before extra try number `retry` (from 1): full jitter, at most 10 times the
 * base. */
int64_t route_backoff_ms(const struct retry_policy *p, unsigned retry, uint64_t random);
