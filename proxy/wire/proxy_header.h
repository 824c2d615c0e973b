/* The PROXY protocol's header, versions 1 and 2: who a connection comes from, said by the balancer before us.
 *
 * Source:  the protocol's specification of 2020, sections 2.1 and 2.2. What cannot be a header is refused, never passed on.
 * Threads: any. Pure functions.
 */
#pragma once

#include "mesh/base/addr.h"

#define PROXY_HEADER_MAX 536u /* of what we read or write; longer headers of version 2 are refused */

enum proxy_header_verdict { PROXY_HEADER_MORE, PROXY_HEADER_WHOLE, PROXY_HEADER_BAD };

/* `p` are the first `n` bytes. Whole: *used bytes of it are the header; *from and *to are left alone where it says nothing
 * of them (LOCAL, UNKNOWN, unix sockets). */
enum proxy_header_verdict proxy_header_parse(const uint8_t *p, size_t n, size_t *used, struct addr *from, struct addr *to);

/* Both give the bytes in `out`, which has PROXY_HEADER_MAX. Addresses of different families, or none, are not said. */
struct str proxy_header_text(const struct addr *from, const struct addr *to, char *out);
struct str proxy_header_binary(const struct addr *from, const struct addr *to, char *out);
