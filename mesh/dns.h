/* DNS messages as far as a stub's neighbour needs them, the table of mesh names, and resolv.conf.
 * Pure: no sockets, no clock (RFC 1035, 2308, 6891).
 *
 * Flow:      cmd/agent/dns.c receives a message, dns_parse_query reads its question, dns_table_find
 *            says whether the mesh has that name; if so dns_format_answer writes the reply, else
 * the bytes are passed on untouched. Ownership: a table owns copies of names, keys and addresses;
 * immutable once it serves. Entries live as long as their table. Errors:    lookups and parsing
 * answer false or NULL: such a message is not ours to judge and is passed on. Threads:   none of
 * its own; a table belongs to one thread. Limits:    DNS_*_MAX.
 */
#pragma once

#include "mesh/base/addr.h"
#include "mesh/base/base.h"
#include "mesh/base/str.h"

#define DNS_NAME_MAX    255u     /* bytes of a name as text, without the final dot */
#define DNS_HEADER      12u      /* bytes */
#define DNS_UDP_MAX     512u     /* bytes of an answer by UDP to a query without EDNS */
#define DNS_MESSAGE_MAX 65535u   /* bytes */
#define DNS_TTL_MESH    5u       /* seconds, of mesh names */
#define DNS_ADDRS_MAX   64u      /* addresses of an entry; later ones are left out */
#define DNS_SERVERS_MAX 8u       /* nameserver lines that count */
#define DNS_TABLE_MAX   1000000u /* names */

enum dns_type { DNS_A = 1, DNS_AAAA = 28, DNS_OPT = 41 };
enum dns_class { DNS_IN = 1 };
enum dns_rcode {
    DNS_NOERROR = 0,
    DNS_FORMERR = 1,
    DNS_SERVFAIL = 2,
    DNS_NXDOMAIN = 3,
    DNS_NOTIMP = 4,
    DNS_BADVERS = 16, /* EDNS version; its high bits travel in the OPT record */
};

/* What a standard query with exactly one question says. */
struct dns_query {
    uint16_t id;
    uint16_t flags; /* the header's second word */
    uint16_t type, class;
    char name[DNS_NAME_MAX +
              1]; /* lower case, dotted, no final dot; "" for the root, see is_plain */
    size_t name_bytes;
    bool is_plain; /* only printable ASCII without dots inside labels; others have no name here */
    size_t question_end; /* offset behind the question */
    bool has_edns;
    uint8_t edns_version;
    size_t udp_bytes; /* what the asker takes by UDP; at least DNS_UDP_MAX */
};

/* False for anything that is not a well-formed standard query with one question. */
bool dns_parse_query(struct str message, struct dns_query *out) MUST_USE;

/* Is `answer` a response to `query` (same id, a response, same question up to case)? */
bool dns_is_answer(struct str query, struct str answer);

/* Write an answer to `message` (parsed as `q`): addresses of the type asked for, others are
 * passed over; none gives an empty answer. EDNS is answered with EDNS. What does not fit in `max`
 * bytes is left out and the answer marked as cut. Returns its size, 0 if not even the question
 * fits. */
size_t dns_format_answer(struct str message, const struct dns_query *q, enum dns_rcode rcode,
                         const struct addr *addrs, size_t count, uint32_t ttl_s, uint8_t *out,
                         size_t max) MUST_USE;

/* SERVFAIL to any message with a whole header, even one that dns_parse_query refuses; 0 if it has
 * none or is itself a response. */
size_t dns_format_failure(struct str message, uint8_t *out, size_t max) MUST_USE;

/* Names of the mesh. */
struct dns_entry {
    struct str name; /* lower case, "*.example.com" for a wildcard */
    struct str
        key; /* the adder's word for it, such as "default/reviews.default.svc.cluster.local" */
    const struct addr *addrs;
    size_t count;
};

struct dns_table *dns_table_new(void);
void dns_table_free(struct dns_table *t); /* NULL is fine */
/* The first entry of a name wins: false if it is there already, is no DNS name, or the table is
 * full. A name whose first label is "*" stands for every name below the rest, at any depth. */
bool dns_table_add(struct dns_table *t, struct str name, struct str key, const struct addr *addrs,
                   size_t count);
/* Exact names before wildcards, the longest wildcard first. Case and one final dot do not matter.
 */
const struct dns_entry *dns_table_find(const struct dns_table *t, struct str name);
size_t dns_table_count(const struct dns_table *t);

/* Nameservers of a resolv.conf's text, in order, without repetition, port 53. Lines with a zone
 * (fe80::1%eth0) are left out: they cannot be redirected. With no nameserver line at all it
 * is 127.0.0.1, as the C library has it. Returns how many; at most `max`. */
size_t dns_resolv_conf(struct str text, struct addr *servers, size_t max);
