/* IP addresses, ports and CIDR blocks. Values, compared by content; IPv4-mapped IPv6 is
 * folded to IPv4 by addr_from_sockaddr, so that one peer has one address. */
#pragma once

#include <sys/socket.h>

#include "mesh/base/base.h"
#include "mesh/base/buf.h"
#include "mesh/base/str.h"

struct addr {
    uint8_t family; /* 0 none, 4, 6 */
    uint16_t port;  /* host byte order; 0 if there is none */
    uint8_t ip[16]; /* network order; IPv4 uses the first four, the rest are 0 */
};

struct cidr {
    struct addr base; /* port 0, host bits 0 */
    uint8_t bits;
};

#define ADDR_TEXT_MAX 64 /* "[...]:65535" with the NUL */

bool addr_parse_ip(struct str s, struct addr *out) MUST_USE;   /* no port, no brackets, no zone */
bool addr_parse(struct str s, struct addr *out) MUST_USE;      /* 1.2.3.4:80 or [::1]:80 */
bool cidr_parse(struct str s, struct cidr *out) MUST_USE;      /* 10.0.0.0/8; a bare IP is /32 or /128 */
bool cidr_has(const struct cidr *c, const struct addr *a);
bool addr_eq(const struct addr *a, const struct addr *b);      /* address and port */
bool addr_same_ip(const struct addr *a, const struct addr *b); /* address alone */
bool addr_is_loopback(const struct addr *a);
bool addr_is_any(const struct addr *a);
uint64_t addr_hash(const struct addr *a);

/* With the port, or without if it is 0. `text` has ADDR_TEXT_MAX bytes; returns it. */
const char *addr_format(const struct addr *a, char *text);
const char *addr_format_ip(const struct addr *a, char *text);

socklen_t addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *out);
bool addr_from_sockaddr(const struct sockaddr *sa, struct addr *out) MUST_USE;
