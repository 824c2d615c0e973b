/* The agent's name server: answers mesh names, passes everything else on unchanged.
 *
 * Flow:      capture redirects port 53 of each nameserver to a port of its own here; a mesh
 *            name is answered from the table; any other message goes, byte for byte and by the same
 * transport, to the nameserver that the application had asked, and its answer comes back untouched.
 * Ownership: dns_server_apply takes the table over.
 * Errors:    opening reports through struct err. In traffic, when the nameserver is silent for
 *            DNS_FORWARD_MS, refuses, or too many queries are under way: SERVFAIL by UDP, a closed
 *            connection by TCP, so that the asker tries its next nameserver.
 * Threads:   everything on the loop given at opening.
 * Limits:    DNS_INFLIGHT_MAX queries by UDP, DNS_SESSIONS_MAX connections; both per server.
 * Before the first dns_server_apply every query is passed on.
 */
#pragma once

#include "mesh/base/addr.h"
#include "mesh/base/err.h"
#include "mesh/base/str.h"

#define DNS_FORWARD_MS      5000  /* a nameserver's time to answer */
#define DNS_SESSION_IDLE_MS 15000 /* a connection with nothing under way: closed */
#define DNS_INFLIGHT_MAX    2048u /* queries passed on by UDP and not answered: SERVFAIL */
#define DNS_SESSIONS_MAX    256u  /* connections: the next is closed at once */

struct dns_server;
struct dns_table;
struct loop;

struct dns_options {
    struct loop *loop;
    const struct addr *nameservers; /* port 0 means 53; at most DNS_SERVERS_MAX */
    size_t nameserver_count;
    uint16_t port; /* of the first nameserver (15053); the others follow it */
    uint32_t mark; /* SO_MARK of sockets towards nameservers, 0: none */
    /* A mesh name was asked for, on the loop's thread, before the answer is written; may be NULL.
     * It may call dns_server_apply. `name` and `key` (see dns_table_add) are valid during the call.
     */
    void (*on_lookup)(void *arg, struct str name, struct str key);
    void *arg;
};

struct dns_stats {
    uint64_t answered, forwarded, failed; /* queries; failed: SERVFAIL made here */
    size_t inflight, sessions;            /* now */
};

/* Listen by UDP and TCP on 127.0.0.1 and ::1, one port per nameserver. A nameserver's own family
 * must succeed, the other one may be missing (a host without IPv6). */
struct dns_server *dns_server_open(const struct dns_options *o, struct err *err) MUST_USE;
void dns_server_close(
    struct dns_server *d); /* NULL is fine; memory goes with the loop's next turn */

void dns_server_apply(struct dns_server *d, struct dns_table *t); /* replaces the whole table */
/* resolv.conf changed: the nth nameserver is again at the nth port, which capture must then be
 * told. Queries under way end as they began. On failure everything stays as it was. */
int dns_server_set_nameservers(struct dns_server *d, const struct addr *servers, size_t count,
                               struct err *err) MUST_USE;
void dns_server_stats(const struct dns_server *d, struct dns_stats *out);
