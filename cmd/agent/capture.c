/* See capture.h: checks plans, chooses the backend, keeps routes and rules in step. */
#include "cmd/agent/capture.h"

#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cmd/agent/capture_backend.h"
#include "cmd/agent/capture_routes.h"
#include "mesh/base/mem.h"

#define WHY_MAX 512u

static const struct capture_ops *const backends[] = {&capture_nft, &capture_iptables};

struct capture {
    const struct capture_ops *ops;
    void *backend;
    struct routes *routes;
    struct buf why;
    struct cidr range4, range6; /* of the newest plan */
    enum capture_state state;
    bool has_ipv6;
    bool has_applied;
    bool has_leftovers; /* an agent died here before us, perhaps with another backend */
};

/* ---- plans ---- */

void capture_plan_init(struct capture_plan *p)
{
    bool well_formed;

    *p = (struct capture_plan){
        .mark = CAPTURE_MARK, .outbound_port = CAPTURE_OUTBOUND, .inbound_port = CAPTURE_INBOUND};
    well_formed = cidr_parse(str_from(CAPTURE_RANGE4), &p->range4) &&
                  cidr_parse(str_from(CAPTURE_RANGE6), &p->range6);

    assert(well_formed);
}

static bool is_agent_port(const struct capture_plan *p, uint16_t port)
{
    if (port == p->outbound_port || port == p->inbound_port)
        return true;
    for (size_t i = 0; i < p->dns_count; i++) {
        if (port == p->dns[i].port)
            return true;
    }
    return false;
}

static int check_inbound(const struct capture_plan *p, struct err *err)
{
    uint8_t seen[65536 / 8] = {0};

    if (p->inbound_count > CAPTURE_INBOUND_MAX)
        return err_set(err, ERR_LIMIT, "%zu inbound ports; at most %u can be captured",
                       p->inbound_count, CAPTURE_INBOUND_MAX);
    for (size_t i = 0; i < p->inbound_count; i++) {
        uint16_t port = p->inbound[i].port;

        if (port == 0)
            return err_set(err, ERR_INVALID, "inbound port 0 cannot be captured");
        if (port == CAPTURE_SSH_PORT)
            return err_set(err, ERR_INVALID,
                           "port 22 is never captured, so that nobody is locked out of the host: "
                           "register the service on another port");
        if (is_agent_port(p, port))
            return err_set(err, ERR_CONFLICT,
                           "port %u is the agent's own: register the service on another port",
                           port);
        if (seen[port / 8] & BIT(port % 8))
            return err_set(err, ERR_CONFLICT, "inbound port %u is registered twice", port);
        seen[port / 8] = (uint8_t)(seen[port / 8] | BIT(port % 8));
    }
    return 0;
}

static int check_dns(const struct capture_plan *p, struct err *err)
{
    char text[ADDR_TEXT_MAX];

    if (p->dns_count > CAPTURE_DNS_MAX)
        return err_set(err, ERR_LIMIT, "%zu nameservers; at most %u can be captured", p->dns_count,
                       CAPTURE_DNS_MAX);
    for (size_t i = 0; i < p->dns_count; i++) {
        const struct capture_dns *d = &p->dns[i];

        if (d->server.family == 0 || d->port == 0)
            return err_set(err, ERR_INVALID, "nameserver %zu needs an address and a port", i + 1);
        if (d->port == p->outbound_port || d->port == p->inbound_port)
            return err_set(err, ERR_CONFLICT, "port %u for DNS is another port of the agent",
                           d->port);
        for (size_t j = 0; j < i; j++) {
            if (addr_same_ip(&d->server, &p->dns[j].server))
                return err_set(err, ERR_CONFLICT, "nameserver %s is there twice",
                               addr_format_ip(&d->server, text));
            if (d->port == p->dns[j].port)
                return err_set(err, ERR_CONFLICT, "two nameservers share port %u", d->port);
        }
    }
    return 0;
}

int capture_plan_check(const struct capture_plan *p, struct err *err)
{
    if (p->mark == 0)
        return err_set(err, ERR_INVALID,
                       "capture needs a mark other than 0 for the agent's own sockets");
    if (p->outbound_port == 0 || p->inbound_port == 0 || p->outbound_port == p->inbound_port)
        return err_set(err, ERR_INVALID,
                       "outbound and inbound need two different ports, not %u and %u",
                       p->outbound_port, p->inbound_port);
    if ((p->range4.base.family != 0 && p->range4.base.family != 4) ||
        (p->range6.base.family != 0 && p->range6.base.family != 6))
        return err_set(err, ERR_INVALID, "a virtual range is of the wrong family");
    if (p->service_count > CAPTURE_SERVICE_MAX)
        return err_set(err, ERR_LIMIT,
                       "%zu addresses of ServiceEntries; at most %u can be captured",
                       p->service_count, CAPTURE_SERVICE_MAX);
    for (size_t i = 0; i < p->service_count; i++) {
        if (p->services[i].family == 0 || p->services[i].port == 0)
            return err_set(err, ERR_INVALID, "a ServiceEntry's address needs an IP and a port");
    }
    if (check_inbound(p, err) < 0)
        return -1;
    return check_dns(p, err);
}

/* By address, then port: the order that ranges of addresses need. */
static int compare_services(const void *a, const void *b)
{
    const struct addr *left = a, *right = b;
    int order = memcmp(left->ip, right->ip, sizeof(left->ip));

    return order ? order : (int)left->port - (int)right->port;
}

struct addr *capture_services(const struct capture_plan *p, uint8_t family, size_t *count)
{
    struct addr *sorted = mem_array(p->service_count + 1, sizeof(*sorted));
    size_t n = 0, kept = 0;

    for (size_t i = 0; i < p->service_count; i++) {
        if (p->services[i].family == family)
            sorted[n++] = p->services[i];
    }
    qsort(sorted, n, sizeof(*sorted), compare_services);
    for (size_t i = 0; i < n; i++) {
        if (kept == 0 || compare_services(&sorted[kept - 1], &sorted[i]) != 0)
            sorted[kept++] = sorted[i];
    }
    *count = kept;
    return sorted;
}

/* ---- opening ---- */

static int check_capability(struct err *err)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[2] = {{0}};

    if (syscall(SYS_capget, &header, sets) < 0)
        return err_errno(err, ERR_IO, "cannot read this process's capabilities");
    if (sets[0].effective & BIT(CAP_NET_ADMIN))
        return 0;
    return err_set(err, ERR_DENIED,
                   "capture needs the capability CAP_NET_ADMIN: run as root, or give the unit "
                   "AmbientCapabilities=CAP_NET_ADMIN");
}

/* The first backend that this host can do; *err tells about all that were tried. */
static bool open_backend(struct capture *c, enum capture_mode mode, struct err *err)
{
    struct err first = {0};

    if (mode != CAPTURE_IPTABLES) {
        c->ops = &capture_nft;
        c->backend = c->ops->open(&c->why, mode == CAPTURE_AUTO ? &first : err);
    }
    if (c->backend || mode == CAPTURE_NFTABLES)
        return c->backend;
    c->ops = &capture_iptables;
    if (mode == CAPTURE_AUTO)
        buf_printf(&c->why, "nftables cannot be used here (%s); ", first.text);
    c->backend = c->ops->open(&c->why, err);
    if (!c->backend && mode == CAPTURE_AUTO)
        (void)err_wrap(err, "neither nftables (%s) nor iptables can be used", first.text);
    return c->backend;
}

struct capture *capture_open(enum capture_mode mode, struct err *err)
{
    struct capture *c;

    assert(mode != CAPTURE_OFF);
    if (check_capability(err) < 0)
        return NULL;
    c = MEM_NEW(struct capture);
    buf_init(&c->why, WHY_MAX);
    c->routes = routes_open(err);
    if (c->routes && open_backend(c, mode, err)) {
        c->has_leftovers = routes_exist(c->routes);
        return c;
    }
    routes_close(c->routes);
    buf_done(&c->why);
    mem_free(c);
    return NULL;
}

const char *capture_backend(const struct capture *c)
{
    return c->ops->name;
}

struct str capture_why(const struct capture *c)
{
    return buf_str(&c->why);
}

/* ---- applying ---- */

static const struct capture_ops *other_backend(const struct capture *c)
{
    return c->ops == backends[0] ? backends[1] : backends[0];
}

/* The newest plan has come to its end: bring the routes in line. */
static void conclude(struct capture *c, const struct err *why)
{
    static const struct cidr none;
    bool removed = false;
    struct err ignored; /* a route too many does no harm, and the next plan tries again */

    if (c->state == CAPTURE_IN_FORCE) {
        if (!c->has_applied && c->has_leftovers)
            (void)other_backend(c)->release(true, &removed, &ignored); /* it can be done by hand */
        c->has_applied = true;
        (void)routes_trim(c->routes, &c->range4, &c->range6, &ignored);
    } else if (!c->has_applied && !c->has_leftovers && why->code != ERR_CONFLICT) {
        /* The other agent needs the routes on a conflict, a standing guard too; else the first
         * failure leaves nothing. */
        (void)routes_trim(c->routes, &none, &none, &ignored);
    }
}

static int begin(struct capture *c, const struct capture_plan *p, struct err *err)
{
    if (capture_plan_check(p, err) < 0)
        return -1;
    if (!c->has_applied && c->has_leftovers && other_backend(c)->is_held())
        return err_set(err, ERR_CONFLICT,
                       "another weft agent redirects on this host, by %s: stop it first",
                       other_backend(c)->name);
    if (routes_add(c->routes, p, &c->has_ipv6, err) < 0)
        return -1;
    c->range4 = p->range4;
    c->range6 = p->range6;
    return c->ops->apply(c->backend, p, &c->state, err);
}

int capture_apply(struct capture *c, const struct capture_plan *p, struct err *err)
{
    int rc = begin(c, p, err);

    if (rc < 0)
        c->state = CAPTURE_REFUSED;
    if (c->state != CAPTURE_UNDER_WAY)
        conclude(c, err);
    return rc;
}

int capture_fd(const struct capture *c)
{
    return c->ops->fd ? c->ops->fd(c->backend) : -1;
}

enum capture_state capture_state(const struct capture *c)
{
    return c->state;
}

enum capture_state capture_settle(struct capture *c, int wait_ms, struct err *err)
{
    enum capture_state before = c->state;

    if (!c->ops->settle)
        return c->state;
    c->state = c->ops->settle(c->backend, wait_ms, err);
    if (before == CAPTURE_UNDER_WAY && c->state != CAPTURE_UNDER_WAY)
        conclude(c, err);
    return c->state;
}

bool capture_has_ipv6(const struct capture *c)
{
    return c->has_ipv6;
}

bool capture_is_whole(struct capture *c)
{
    return c->state != CAPTURE_NONE && c->state != CAPTURE_REFUSED && c->ops->is_whole(c->backend);
}

/* ---- the end ---- */

void capture_close(struct capture *c, bool remove_guard)
{
    static const struct cidr none;
    struct err ignored;
    bool had_applied;

    if (!c)
        return;
    had_applied = c->has_applied || c->state == CAPTURE_UNDER_WAY;
    c->ops->close(c->backend, had_applied, remove_guard);
    if (had_applied && remove_guard)
        (void)routes_trim(c->routes, &none, &none,
                          &ignored); /* nothing to be done on the way out */
    routes_close(c->routes);
    buf_done(&c->why);
    mem_free(c);
}

int capture_release(bool with_guard, bool *removed, struct err *err)
{
    static const struct cidr none;
    struct routes *routes;
    int rc = 0;

    *removed = false;
    if (check_capability(err) < 0)
        return -1;
    for (size_t i = 0; i < COUNT(backends); i++) {
        if (backends[i]->is_held())
            return err_set(err, ERR_CONFLICT,
                           "a weft agent that is alive redirects by %s: stop it first",
                           backends[i]->name);
    }
    for (size_t i = 0; i < COUNT(backends); i++)
        rc |= backends[i]->release(with_guard, removed, err);
    if (!with_guard)
        return rc;
    routes = routes_open(err);
    if (!routes)
        return -1;
    *removed |= routes_exist(routes);
    rc |= routes_trim(routes, &none, &none, err);
    routes_close(routes);
    return rc;
}
