/* Redirecting mesh traffic, and nothing else, to the agent.
 *
 * Flow:      agent.c derives a plan from the snapshot, the registered services and resolv.conf;
 *            capture_apply puts it into the kernel; connections then arrive at the proxy's
 *            listeners and queries at cmd/agent/dns.c.
 * In the kernel, by either backend:
 *   redirects  gone when the agent is gone, by kill -9 too: traffic then flows as before.
 *   guard      stays after a death: refuses new connections from outside to STRICT ports that did
 *              not come through the redirect (redirected ones carry the agent's port when the guard
 *              looks), and connections to virtual addresses that nobody redirects.
 *   two routes the virtual ranges to lo, because without any route the kernel refuses before NAT.
 *              They stay with the guard, so that virtual addresses never leave the host.
 * Never taken: sockets that carry `mark`, port 22, the cloud metadata address, loopback
 * destinations (but for a nameserver that is one), forwarded traffic, ports in no plan.
 * Backends:
 *   nftables   table inet weft, owned by our netlink socket, so that the kernel removes it; the
 *              guard is inet weft-guard. A change is one transaction and done on return.
 *   iptables   chains WEFT_* in nat and filter of both families. A process of its own, the keeper
 *              (capture_keeper.h), makes every change and removes the redirects when the agent
 *              dies. A change is one transaction per table and family, and under way on return:
 *              watch capture_fd and call capture_settle.
 * Ownership: a plan is borrowed for the call.
 * Errors:    struct err; a plan that fails changes nothing, the plan before it stays in force.
 * Threads:   the control thread. With nftables, calls block for a netlink transaction; with
 *            iptables for the time to hand a file to the keeper. capture_open, capture_close and
 *            capture_release may run programs (XTABLES_RUN_MS each at most).
 * Limits:    CAPTURE_*_MAX below.
 */
#pragma once

#include <stdint.h>

#include "mesh/base/addr.h"
#include "mesh/base/err.h"
#include "mesh/base/str.h"

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

enum capture_mode { CAPTURE_OFF, CAPTURE_AUTO, CAPTURE_NFTABLES, CAPTURE_IPTABLES };

enum capture_state {
    CAPTURE_NONE,      /* nothing applied yet */
    CAPTURE_UNDER_WAY, /* the newest plan is on its way */
    CAPTURE_IN_FORCE,
    CAPTURE_REFUSED, /* the newest plan failed: apply again */
};

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

/* -1 when the plan cannot be: port 22 or an agent's port registered, a port twice, a limit, no
 * mark. */
int capture_plan_check(const struct capture_plan *p, struct err *err) MUST_USE;

/* Choose the backend (not CAPTURE_OFF) and try on the kernel what it needs; changes nothing yet.
 * AUTO: nftables if the kernel takes a table with an owner, else iptables. ERR_DENIED says which
 * capability is missing and how to get it; ERR_MISSING names the package; ERR_UNSUPPORTED says
 * what the kernel lacks. */
struct capture *capture_open(enum capture_mode mode, struct err *err) MUST_USE;
const char *capture_backend(const struct capture *c); /* "nftables" or "iptables" */
struct str capture_why(const struct capture *c);      /* that one, for the log */

/* Make `p` the rules in force, so that no packet meets a moment without rules; the routes are
 * there before it. Applying the same plan again is harmless and repairs what others removed. 0:
 * in force, or under way (capture_fd). ERR_CONFLICT: another agent redirects on this host. */
int capture_apply(struct capture *c, const struct capture_plan *p, struct err *err) MUST_USE;

/* Readable when an answer about a plan under way waits; -1: there never is one. Valid until the
 * next call of capture_apply, capture_settle or capture_close. */
int capture_fd(const struct capture *c);

/* Take answers, waiting at most wait_ms for the one about the newest plan. REFUSED fills *err. */
enum capture_state capture_settle(struct capture *c, int wait_ms, struct err *err);
enum capture_state capture_state(const struct capture *c);

/* Is there IPv6 on this host? Known after the first capture_apply; without it virtual IPv6
 * addresses must not be handed out. */
bool capture_has_ipv6(const struct capture *c);

/* To be asked now and then. False: rules are missing or the last plan failed, apply again. The
 * iptables backend looks in the background and puts back by itself what others removed. */
bool capture_is_whole(struct capture *c);

/* Stop redirecting and free `c` (NULL is fine). With `remove_guard` the guard and the routes go
 * too: an orderly stop leaves nothing behind. Without it STRICT ports stay closed and virtual
 * addresses refused, exactly as after a crash: for a restart, or a stop that must fail closed.
 * What this process never put there is left alone. */
void capture_close(struct capture *c, bool remove_guard);

/* Remove what an agent left that is dead, without being that agent; nothing there is fine. The
 * redirects, if its keeper died with it; `with_guard` also guard and routes. *removed: was there
 * anything? ERR_CONFLICT: an agent is alive, nothing is touched. An agent that starts meanwhile
 * waits. For the units (ExecStopPost, weft-guard) and for removing weft. */
int capture_release(bool with_guard, bool *removed, struct err *err) MUST_USE;
