/* nftables through libnftables, because its context keeps one netlink socket for its whole life:
 * that socket owns `inet weft`. Routes go by rtnetlink through libmnl.
 *
 * A plan becomes one text of nft commands, hence one netlink batch. Its chains stay registered and
 * are flushed and filled within the batch: each packet meets the old rules of a chain or the new
 * ones. Deleting and making the tables again was considered: then two hooks stand side by side for
 * a moment, and a packet between them can meet neither. For the same reason sets are anonymous.
 */
#include "cmd/agent/capture.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libmnl/libmnl.h>
#include <linux/capability.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <nftables/libnftables.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "mesh/base/mem.h"

#define SCRIPT_MAX    (16u << 20)
#define ROUTE_TAG     119 /* rtm_protocol of our routes, by which the next agent knows them */
#define ROUTES_MAX    64u
#define SSH_PORT      22u
#define NAT_PRIORITY  "-101" /* before Docker's DNAT at -100, which would otherwise win unseen */
#define METADATA4     "169.254.169.254"
#define METADATA6     "fd00:ec2::254"
#define GUARD_TABLE   "inet weft-guard"
#define CAPTURE_TABLE "inet weft"

struct capture {
    struct nft_ctx *nft;
    struct mnl_socket *route;
    unsigned seq;
    bool has_ipv6;
    bool applied;
};

struct route_key {
    uint8_t family, bits;
    uint8_t ip[16];
};

struct route_list {
    struct route_key keys[ROUTES_MAX];
    size_t count;
};

void capture_plan_init(struct capture_plan *p)
{
    bool well_formed;

    *p = (struct capture_plan){
        .mark = CAPTURE_MARK, .outbound_port = CAPTURE_OUTBOUND, .inbound_port = CAPTURE_INBOUND};
    well_formed = cidr_parse(str_from(CAPTURE_RANGE4), &p->range4) &&
                  cidr_parse(str_from(CAPTURE_RANGE6), &p->range6);

    assert(well_formed);
}

/* ---- a plan as text ---- */

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
        if (port == SSH_PORT)
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

static int check_plan(const struct capture_plan *p, struct err *err)
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

/* "ip" or "ip6", as nft calls the header. */
static const char *header_of(uint8_t family)
{
    return family == 4 ? "ip" : "ip6";
}

static void add_range(struct buf *b, const struct cidr *c)
{
    char text[ADDR_TEXT_MAX];

    buf_printf(b, "%s daddr %s/%u", header_of(c->base.family), addr_format_ip(&c->base, text),
               c->bits);
}

static int compare_services(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct addr));
}

/* One set per family; the sorted copy leaves out what is there twice, which nft refuses. */
static void add_services(struct buf *b, const struct capture_plan *p, uint8_t family)
{
    struct addr *sorted = mem_array(p->service_count + 1, sizeof(*sorted));
    size_t count = 0, written = 0;
    char text[ADDR_TEXT_MAX];

    for (size_t i = 0; i < p->service_count; i++) {
        const struct addr *from = &p->services[i];

        if (from->family != family)
            continue;
        sorted[count].family = family;
        sorted[count].port = from->port;
        memcpy(sorted[count++].ip, from->ip, family == 4 ? 4 : 16);
    }
    qsort(sorted, count, sizeof(*sorted), compare_services);
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && compare_services(&sorted[i - 1], &sorted[i]) == 0)
            continue;
        if (written++ == 0)
            buf_printf(b, "add rule " CAPTURE_TABLE " output %s daddr . tcp dport {",
                       header_of(family));
        buf_printf(b, "%s %s . %u", written > 1 ? "," : "", addr_format_ip(&sorted[i], text),
                   sorted[i].port);
    }
    if (written > 0)
        buf_printf(b, " } redirect to :%u\n", p->outbound_port);
    mem_free(sorted);
}

/* "{ 80, 8080 }" of all inbound ports or of the strict ones; false and nothing if there is none. */
static bool add_ports(struct buf *b, const char *before, const struct capture_plan *p,
                      bool only_strict)
{
    size_t written = 0;

    for (size_t i = 0; i < p->inbound_count; i++) {
        if (only_strict && !p->inbound[i].is_strict)
            continue;
        buf_printf(b, "%s %u", written == 0 ? before : ",", p->inbound[i].port);
        written++;
    }
    if (written > 0)
        buf_adds(b, " }");
    return written > 0;
}

/* Order matters: what is never taken comes before what is. */
static void add_output(struct buf *b, const struct capture_plan *p)
{
    const struct cidr *ranges[] = {&p->range4, &p->range6};
    char text[ADDR_TEXT_MAX];

    /* Matches nothing here (NAT chains see only first packets), but holds connection tracking: with
     * the last rule that needs it the kernel ends tracking, and with it the translation of
     * connections that a drain still serves. */
    buf_adds(b, "add rule " CAPTURE_TABLE " output ct state established return\n");
    buf_printf(b, "add rule " CAPTURE_TABLE " output meta mark 0x%08" PRIx32 " return\n", p->mark);
    /* First, because on some clouds the nameserver is the metadata address, and with
     * systemd-resolved it is a loopback address. */
    for (size_t i = 0; i < p->dns_count; i++)
        buf_printf(b,
                   "add rule " CAPTURE_TABLE
                   " output %s daddr %s meta l4proto { tcp, udp } th dport 53 redirect to :%u\n",
                   header_of(p->dns[i].server.family), addr_format_ip(&p->dns[i].server, text),
                   p->dns[i].port);
    buf_adds(b, "add rule " CAPTURE_TABLE " output meta l4proto != tcp return\n"
                "add rule " CAPTURE_TABLE " output tcp dport 22 return\n"
                "add rule " CAPTURE_TABLE " output ip daddr { 127.0.0.0/8, " METADATA4 " } return\n"
                "add rule " CAPTURE_TABLE " output ip6 daddr { ::1, " METADATA6 " } return\n");
    for (size_t i = 0; i < COUNT(ranges); i++) {
        if (ranges[i]->base.family == 0)
            continue;
        buf_adds(b, "add rule " CAPTURE_TABLE " output ");
        add_range(b, ranges[i]);
        buf_printf(b, " meta l4proto tcp redirect to :%u\n", p->outbound_port);
    }
    add_services(b, p, 4);
    add_services(b, p, 6);
    /* A call by the host's own address is judged like one from outside. */
    if (add_ports(b, "add rule " CAPTURE_TABLE " output fib daddr type local tcp dport {", p,
                  false))
        buf_printf(b, " redirect to :%u\n", p->inbound_port);
}

static void add_prerouting(struct buf *b, const struct capture_plan *p)
{
    /* `fib` keeps out what this host merely forwards. */
    if (add_ports(b,
                  "add rule " CAPTURE_TABLE
                  " prerouting iifname != \"lo\" fib daddr type local tcp dport {",
                  p, false))
        buf_printf(b, " redirect to :%u\n", p->inbound_port);
}

static void add_guard(struct buf *b, const struct capture_plan *p)
{
    static const char *const chains[] = {"output", "forward"};
    const struct cidr *ranges[] = {&p->range4, &p->range6};

    if (add_ports(b, "add rule " GUARD_TABLE " input iifname != \"lo\" tcp dport {", p, true))
        buf_adds(b, " ct state new reject with tcp reset\n");
    /* A published port of a container: by then it carries the container's port. */
    if (add_ports(b,
                  "add rule " GUARD_TABLE " forward meta l4proto tcp ct status dnat "
                  "ct original proto-dst {",
                  p, true))
        buf_adds(b, " ct state new reject with tcp reset\n");
    for (size_t c = 0; c < COUNT(chains); c++) {
        for (size_t i = 0; i < COUNT(ranges); i++) {
            if (ranges[i]->base.family == 0)
                continue;
            buf_printf(b, "add rule " GUARD_TABLE " %s ", chains[c]);
            add_range(b, ranges[i]);
            buf_adds(b, " meta l4proto tcp reject with tcp reset\n");
            buf_printf(b, "add rule " GUARD_TABLE " %s ", chains[c]);
            add_range(b, ranges[i]);
            buf_adds(b, " reject\n");
        }
    }
}

int capture_format(const struct capture_plan *p, struct buf *out, struct err *err)
{
    if (check_plan(p, err) < 0)
        return -1;
    buf_adds(out, "add table " CAPTURE_TABLE " { flags owner; }\n"
                  "add chain " CAPTURE_TABLE " output "
                  "{ type nat hook output priority " NAT_PRIORITY "; policy accept; }\n"
                  "add chain " CAPTURE_TABLE " prerouting "
                  "{ type nat hook prerouting priority " NAT_PRIORITY "; policy accept; }\n"
                  "add table " GUARD_TABLE "\n"
                  "add chain " GUARD_TABLE
                  " input { type filter hook input priority 0; policy accept; }\n"
                  "add chain " GUARD_TABLE
                  " forward { type filter hook forward priority 0; policy accept; }\n"
                  "add chain " GUARD_TABLE
                  " output { type filter hook output priority 0; policy accept; }\n"
                  "flush chain " CAPTURE_TABLE " output\n"
                  "flush chain " CAPTURE_TABLE " prerouting\n"
                  "flush chain " GUARD_TABLE " input\n"
                  "flush chain " GUARD_TABLE " forward\n"
                  "flush chain " GUARD_TABLE " output\n");
    add_output(out, p);
    add_prerouting(out, p);
    add_guard(out, p);
    if (out->failed)
        return err_set(err, ERR_LIMIT, "the capture rules are longer than %zu bytes", out->max);
    return 0;
}

/* ---- routes ---- */

static struct nlmsghdr *route_request(struct capture *c, char *room, uint16_t type, uint16_t flags,
                                      uint8_t family, struct rtmsg **body)
{
    struct nlmsghdr *h = mnl_nlmsg_put_header(room);

    h->nlmsg_type = type;
    h->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
    h->nlmsg_seq = ++c->seq;
    *body = mnl_nlmsg_put_extra_header(h, sizeof(**body));
    (*body)->rtm_family = family;
    return h;
}

/* Send and take all answers; 0, or -1 with errno. */
static int route_talk(struct capture *c, const struct nlmsghdr *h, mnl_cb_t each, void *arg)
{
    char room[32768];
    unsigned port = mnl_socket_get_portid(c->route);

    if (mnl_socket_sendto(c->route, h, h->nlmsg_len) < 0)
        return -1;
    for (;;) {
        ssize_t n = mnl_socket_recvfrom(c->route, room, sizeof(room));
        int step;

        if (n < 0)
            return -1;
        step = mnl_cb_run(room, (size_t)n, c->seq, port, each, arg);
        if (step <= MNL_CB_STOP)
            return step < 0 ? -1 : 0;
    }
}

static int route_change(struct capture *c, const struct route_key *key, bool add)
{
    static const uint8_t source4[4] = {127, 0, 0, 1};
    char room[512];
    struct rtmsg *body;
    bool is_v4 = key->family == AF_INET;
    struct nlmsghdr *h = route_request(
        c, room, add ? RTM_NEWROUTE : RTM_DELROUTE,
        (uint16_t)(NLM_F_ACK | (add ? NLM_F_CREATE | NLM_F_EXCL : 0)), key->family, &body);

    body->rtm_dst_len = key->bits;
    body->rtm_table = RT_TABLE_MAIN;
    body->rtm_protocol = ROUTE_TAG;
    body->rtm_scope = is_v4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
    body->rtm_type = RTN_UNICAST;
    mnl_attr_put(h, RTA_DST, is_v4 ? 4 : 16, key->ip);
    mnl_attr_put_u32(h, RTA_OIF, if_nametoindex("lo"));
    /* A source that always exists: a host without an address to choose would refuse the connection.
     */
    if (add)
        mnl_attr_put(h, RTA_PREFSRC, is_v4 ? 4 : 16,
                     is_v4 ? (const void *)source4 : (const void *)&in6addr_loopback);
    return route_talk(c, h, NULL, NULL);
}

static int note_destination(const struct nlattr *attr, void *arg)
{
    struct route_key *key = arg;
    uint16_t n = mnl_attr_get_payload_len(attr);

    if (mnl_attr_get_type(attr) == RTA_DST && (n == 4 || n == 16))
        memcpy(key->ip, mnl_attr_get_payload(attr), n);
    return MNL_CB_OK;
}

static int note_route(const struct nlmsghdr *h, void *arg)
{
    struct route_list *list = arg;
    const struct rtmsg *body = mnl_nlmsg_get_payload(h);
    struct route_key *key;

    if (h->nlmsg_type != RTM_NEWROUTE || body->rtm_protocol != ROUTE_TAG ||
        body->rtm_table != RT_TABLE_MAIN || list->count == ROUTES_MAX)
        return MNL_CB_OK;
    key = &list->keys[list->count++];
    *key = (struct route_key){.family = body->rtm_family, .bits = body->rtm_dst_len};
    return mnl_attr_parse(h, sizeof(*body), note_destination, key);
}

static bool is_kept(const struct route_key *key, const struct route_key *keep, size_t keep_count)
{
    for (size_t i = 0; i < keep_count; i++) {
        if (memcmp(key, &keep[i], sizeof(*key)) == 0)
            return true;
    }
    return false;
}

/* Remove every route with our tag but those in `keep`. */
static int routes_trim(struct capture *c, const struct route_key *keep, size_t keep_count,
                       struct err *err)
{
    static const uint8_t families[] = {AF_INET, AF_INET6};
    struct route_list *list = MEM_NEW(struct route_list);
    int rc = 0;

    for (size_t i = 0; i < COUNT(families); i++) {
        char room[512];
        struct rtmsg *body;
        struct nlmsghdr *h = route_request(c, room, RTM_GETROUTE, NLM_F_DUMP, families[i], &body);

        /* No IPv6 in this kernel: then there is no route of it either. */
        if (route_talk(c, h, note_route, list) < 0 && families[i] == AF_INET)
            rc = err_errno(err, ERR_IO, "cannot list routes");
    }
    for (size_t i = 0; i < list->count; i++) {
        if (is_kept(&list->keys[i], keep, keep_count))
            continue;
        if (route_change(c, &list->keys[i], false) < 0 && errno != ESRCH && errno != ENOENT)
            rc = err_errno(err, ERR_IO, "cannot remove the route of a virtual range");
    }
    mem_free(list);
    return rc;
}

static size_t plan_routes(const struct capture_plan *p, struct route_key keys[2])
{
    const struct cidr *ranges[] = {&p->range4, &p->range6};
    size_t count = 0;

    for (size_t i = 0; i < COUNT(ranges); i++) {
        const struct addr *base = &ranges[i]->base;

        if (base->family == 0)
            continue;
        keys[count] = (struct route_key){.family = base->family == 4 ? AF_INET : AF_INET6,
                                         .bits = ranges[i]->bits};
        memcpy(keys[count++].ip, base->ip, base->family == 4 ? 4 : 16);
    }
    return count;
}

static int routes_add(struct capture *c, const struct route_key *keys, size_t count,
                      struct err *err)
{
    c->has_ipv6 = false;
    for (size_t i = 0; i < count; i++) {
        /* A route of somebody else's to the range will do: NAT comes before it is used. */
        bool there = route_change(c, &keys[i], true) == 0 || errno == EEXIST;

        if (keys[i].family == AF_INET6)
            c->has_ipv6 = there; /* switched off on this host in one of several ways: carry on */
        else if (!there)
            return err_errno(err, ERR_IO,
                             "cannot add the route of the virtual addresses to lo (is lo up?)");
    }
    return 0;
}

/* ---- nftables ---- */

/* libnftables marks the culprit on further lines; the first one says it. */
static struct str first_line(const char *text)
{
    struct str all = str_from(text), line;

    return str_cut(&all, '\n', &line) ? line : all;
}

static int run(struct capture *c, const char *script, struct err *err)
{
    struct str why;
    size_t at;

    if (nft_run_cmd_from_buffer(c->nft, script) == 0)
        return 0;
    why = first_line(nft_ctx_get_error_buffer(c->nft));
    if (str_find(why, STR("Operation not permitted"), &at))
        return err_set(err, ERR_CONFLICT,
                       "the nftables table " CAPTURE_TABLE " belongs to another process: "
                       "is another weft agent running on this host?");
    if (str_find(why, STR("Operation not supported"), &at))
        return err_set(
            err, ERR_UNSUPPORTED,
            "this kernel refuses a table with an owner (Linux 5.12 or later has it): %.*s",
            STR_ARG(why));
    return err_set(err, ERR_IO, "nftables: %.*s",
                   STR_ARG(why.n > 0 ? why : STR("refused without a reason")));
}

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

/* libnftables opens its socket without CLOEXEC and does not show it. A child that inherited it
 * would keep the redirects alive after our death. */
static void close_on_exec(void)
{
    DIR *dir = opendir("/proc/self/fd");
    struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        uint64_t fd;
        int domain = 0, protocol = 0;
        socklen_t size = sizeof(int);

        if (!str_uint(str_from(entry->d_name), 0, INT32_MAX, &fd))
            continue;
        if (getsockopt((int)fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 &&
            domain == AF_NETLINK &&
            getsockopt((int)fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) == 0 &&
            protocol == NETLINK_NETFILTER)
            fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    }
    if (dir)
        closedir(dir);
}

static struct mnl_socket *open_netlink(int bus, struct err *err)
{
    struct mnl_socket *s = mnl_socket_open2(bus, SOCK_CLOEXEC);

    if (s && mnl_socket_bind(s, 0, MNL_SOCKET_AUTOPID) == 0)
        return s;
    err_errno(err, ERR_IO, "cannot open a netlink socket");
    if (s)
        mnl_socket_close(s);
    return NULL;
}

struct capture *capture_open(struct err *err)
{
    struct capture *c;
    struct mnl_socket *probe;

    if (check_capability(err) < 0)
        return NULL;
    /* nft_ctx_new ends the process when it gets no socket: so ask for one first. */
    probe = open_netlink(NETLINK_NETFILTER, err);
    if (!probe)
        return NULL;
    mnl_socket_close(probe);

    c = MEM_NEW(struct capture);
    c->seq = (unsigned)time(NULL);
    c->route = open_netlink(NETLINK_ROUTE, err);
    if (!c->route) {
        mem_free(c);
        return NULL;
    }
    c->nft = nft_ctx_new(NFT_CTX_DEFAULT);
    if (!c->nft || nft_ctx_buffer_output(c->nft) != 0 || nft_ctx_buffer_error(c->nft) != 0) {
        err_set(err, ERR_IO, "cannot start libnftables");
        if (c->nft)
            nft_ctx_free(c->nft);
        mnl_socket_close(c->route);
        mem_free(c);
        return NULL;
    }
    close_on_exec();
    return c;
}

int capture_apply(struct capture *c, const struct capture_plan *p, struct err *err)
{
    struct route_key keys[2];
    size_t count = plan_routes(p, keys);
    struct buf script;
    struct err ignored;
    int rc = -1;

    buf_init(&script, SCRIPT_MAX);
    if (capture_format(p, &script, err) < 0)
        goto out;
    buf_addc(&script, '\0');
    if (script.failed) {
        err_set(err, ERR_LIMIT, "the capture rules are longer than %u bytes", SCRIPT_MAX);
        goto out;
    }
    if (routes_add(c, keys, count, err) < 0)
        goto out;
    rc = run(c, script.p, err);
    if (rc == 0) {
        c->applied = true;
        rc = routes_trim(c, keys, count, err);
    } else if (!c->applied && err->code != ERR_CONFLICT) {
        /* The other agent needs the routes on a conflict; else the first failure leaves nothing. */
        (void)routes_trim(c, NULL, 0, &ignored); /* the reason to report is already in err */
    }
out:
    buf_done(&script);
    return rc;
}

bool capture_has_ipv6(const struct capture *c)
{
    return c->has_ipv6;
}

bool capture_is_whole(struct capture *c)
{
    struct str all, line;
    bool has_table = false, has_guard = false;

    if (nft_run_cmd_from_buffer(c->nft, "list tables inet") != 0)
        return false;
    all = str_from(nft_ctx_get_output_buffer(c->nft));
    while (str_next(&all, '\n', &line)) {
        has_table |= str_starts(line, STR("table " CAPTURE_TABLE)) &&
                     !str_starts(line, STR("table " GUARD_TABLE));
        has_guard |= str_starts(line, STR("table " GUARD_TABLE));
    }
    return has_table && has_guard;
}

static int remove_guard_of(struct capture *c, struct err *err)
{
    /* "add" first, so that a missing table is no error. */
    int rc = run(c, "add table " GUARD_TABLE "\ndelete table " GUARD_TABLE "\n", err);

    return routes_trim(c, NULL, 0, err) < 0 ? -1 : rc;
}

static void release(struct capture *c)
{
    nft_ctx_free(c->nft);
    mnl_socket_close(c->route);
    mem_free(c);
}

void capture_close(struct capture *c, bool remove_guard)
{
    struct err ignored;

    if (!c)
        return;
    /* Closing the socket would do; asking first makes it certain that the table is gone on return.
     */
    if (c->applied)
        (void)run(c, "delete table " CAPTURE_TABLE "\n",
                  &ignored); /* the kernel does it otherwise */
    if (remove_guard)
        (void)remove_guard_of(c, &ignored); /* nothing to be done on the way out */
    release(c);
}

int capture_remove_guard(struct err *err)
{
    struct capture *c = capture_open(err);
    int rc;

    if (!c)
        return -1;
    rc = remove_guard_of(c, err);
    release(c);
    return rc;
}
