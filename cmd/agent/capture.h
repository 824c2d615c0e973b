/* Redirecting mesh traffic, and nothing else, to the agent: nftables rules, routes and the guard.
 *
 * Flow:      agent.c derives a plan from the snapshot, the registered services and resolv.conf;
 *            capture_apply puts it into the kernel in one transaction; connections then arrive at
 *            the proxy's listeners and queries at cmd/agent/dns.c.
 * In the kernel:
 *   inet weft         owned by our netlink socket ("flags owner"): redirects. The kernel removes it
 * the moment the process is gone, by kill -9 too: traffic then flows as before. inet weft-guard
 * plain, and stays: refuses new connections from outside to STRICT ports that did not come through
 * the redirect (redirected ones carry the agent's port when the guard looks), and connections to
 * virtual addresses that nobody redirects. two routes        the virtual ranges to lo, because
 * without any route the kernel refuses before NAT. They stay with the guard, so that virtual
 * addresses never leave the host. Never taken: sockets that carry `mark`, port 22, the cloud
 * metadata address, loopback destinations (but for a nameserver that is one), forwarded traffic,
 * ports in no plan. Ownership: struct capture owns the netlink socket; a plan is borrowed for the
 * call. Errors:    struct err; a plan that fails changes nothing in nftables, the plan before it
 * stays in force. Threads:   the control thread. Calls block for the length of a netlink
 * transaction. Limits:    CAPTURE_*_MAX below.
 */
#pragma once

#include <stdint.h>

#include "mesh/base/addr.h"
#include "mesh/base/buf.h"
#include "mesh/base/err.h"

#define CAPTURE_RANGE4      "240.240.0.0/16" /* virtual addresses; Istio's automatic range */
#define CAPTURE_RANGE6      "2001:2::/48"
#define CAPTURE_MARK        0x77656674u /* "weft"; SO_MARK of the agent's own sockets */
#define CAPTURE_OUTBOUND    15001       /* default redirect ports */
#define CAPTURE_INBOUND     15006
#define CAPTURE_DNS         15053 /* first nameserver; the next ones follow */
#define CAPTURE_SERVICE_MAX 65536u
#define CAPTURE_INBOUND_MAX 4096u
#define CAPTURE_DNS_MAX     8u

struct capture;

/* A registered service's port. */
struct capture_inbound {
    uint16_t port;
    bool is_strict; /* the guard keeps plaintext out while no agent redirects */
};

/* A nameserver of resolv.conf and the agent's port that stands for it: a redirect of UDP loses the
 * original destination, so each nameserver has its own. */
struct capture_dns {
    struct addr server; /* queries to its port 53 are taken; server.port is ignored */
    uint16_t port;
};

struct capture_plan {
    struct cidr range4, range6;  /* virtual ranges, all TCP ports; base.family 0: none */
    const struct addr *services; /* (address, port) of ServiceEntries; the port may not be 0 */
    size_t service_count;
    const struct capture_inbound *inbound;
    size_t inbound_count;
    const struct capture_dns *dns; /* none: DNS is left alone */
    size_t dns_count;
    uint32_t mark; /* not 0 */
    uint16_t outbound_port, inbound_port;
};

/* A plan with the defaults above and nothing registered. */
void capture_plan_init(struct capture_plan *p);

/* The rules of a plan as nft reads them: what capture_apply would do (for --dry-run). -1 when the
 * plan cannot be: port 22 or an agent's port registered, a port twice, a limit, no mark. */
int capture_format(const struct capture_plan *p, struct buf *out, struct err *err) MUST_USE;

/* Checks CAP_NET_ADMIN and opens the netlink socket; changes nothing yet. ERR_DENIED says which
 * capability is missing and how to get it. */
struct capture *capture_open(struct err *err) MUST_USE;

/* Make `p` the rules in force: one transaction, so no packet meets a moment without rules; the
 * routes are there before it. Applying the same plan again is harmless and repairs what
 * others removed. ERR_CONFLICT: another process (another agent) owns the table. */
int capture_apply(struct capture *c, const struct capture_plan *p, struct err *err) MUST_USE;

/* Is there IPv6 on this host? Known after the first capture_apply; without it virtual IPv6
 * addresses must not be handed out. */
bool capture_has_ipv6(const struct capture *c);

/* Are both tables still there? `nft flush ruleset` spares ours but takes the guard: then apply
 * again. */
bool capture_is_whole(struct capture *c);

/* Stop redirecting and free `c` (NULL is fine). With `remove_guard` the guard and the routes go
 * too: an orderly stop leaves nothing behind. Without it STRICT ports stay closed and virtual
 * addresses refused, exactly as after a crash: for a restart, or a stop that must fail closed. */
void capture_close(struct capture *c, bool remove_guard);

/* Remove the guard and the routes that an agent left, without being that agent; nothing there is
 * fine. For `weft leave` and the unit's clean-up. Never touches a running agent's redirects. */
int capture_remove_guard(struct err *err) MUST_USE;
