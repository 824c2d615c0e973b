/* What keeps a caller with its endpoint: the hash of its key, and what that leads to.
 *
 * Flow:    attempt.c and tunnel.c ask for the hash once per request or connection; balance.c picks by it.
 * Errors:  no key (no such header, ...): none, and the choice is random.
 * Threads: the worker's.
 * Source:  Envoy's hash policies: XXH64 of the value; an address is hashed as its text, without the port.
 */
#pragma once

#include "proxy/balance.h"

struct cluster;
struct http_head;
struct str;

/* Of a connection whose bytes are opaque: by its source alone. */
bool balance_hash_connection(const struct cluster *c, const struct addr *remote, uint64_t *hash);

/* `set_cookie` gets the value of a Set-Cookie field, if the rule makes a cookie and the request has none; it lives in
 * the head's arena. `local` and `remote` are the ends of the connection: its requests get the same cookie. */
bool balance_hash_request(const struct cluster *c, const struct http_head *h, const struct addr *remote,
                          const struct addr *local, uint64_t *hash, struct str *set_cookie);

/* The endpoint of that level that the hash leads to, or, if it must not be taken, the next one that may. For a set with a
 * ring. */
size_t balance_hash_pick(const struct cluster_view *v, const struct balance_level *at, uint64_t hash,
                         const struct balance_tried *tried);
