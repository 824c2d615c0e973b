/* See capture_routes.h. */
#include "cmd/agent/capture_routes.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <time.h>

#include "mesh/base/mem.h"

#define ROUTE_TAG  119
#define ROUTES_MAX 64u

struct routes {
    struct mnl_socket *socket;
    unsigned seq;
};

struct route_key {
    uint8_t family, bits;
    uint8_t ip[16];
};

struct route_list {
    struct route_key keys[ROUTES_MAX];
    size_t count;
};

struct routes *routes_open(struct err *err)
{
    struct mnl_socket *s = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    struct routes *r;

    if (!s || mnl_socket_bind(s, 0, MNL_SOCKET_AUTOPID) < 0) {
        err_errno(err, ERR_IO, "cannot open a netlink socket for routes");
        if (s)
            mnl_socket_close(s);
        return NULL;
    }
    r = MEM_NEW(struct routes);
    r->socket = s;
    r->seq = (unsigned)time(NULL);
    return r;
}

void routes_close(struct routes *r)
{
    if (!r)
        return;
    mnl_socket_close(r->socket);
    mem_free(r);
}

static struct nlmsghdr *route_request(struct routes *r, char *room, uint16_t type, uint16_t flags,
                                      uint8_t family, struct rtmsg **body)
{
    struct nlmsghdr *h = mnl_nlmsg_put_header(room);

    h->nlmsg_type = type;
    h->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
    h->nlmsg_seq = ++r->seq;
    *body = mnl_nlmsg_put_extra_header(h, sizeof(**body));
    (*body)->rtm_family = family;
    return h;
}

/* Send and take all answers; 0, or -1 with errno. */
static int route_talk(struct routes *r, const struct nlmsghdr *h, mnl_cb_t each, void *arg)
{
    char room[32768];
    unsigned port = mnl_socket_get_portid(r->socket);

    if (mnl_socket_sendto(r->socket, h, h->nlmsg_len) < 0)
        return -1;
    for (;;) {
        ssize_t n = mnl_socket_recvfrom(r->socket, room, sizeof(room));
        int step;

        if (n < 0)
            return -1;
        step = mnl_cb_run(room, (size_t)n, r->seq, port, each, arg);
        if (step <= MNL_CB_STOP)
            return step < 0 ? -1 : 0;
    }
}

static int route_change(struct routes *r, const struct route_key *key, bool add)
{
    static const uint8_t source4[4] = {127, 0, 0, 1};
    char room[512];
    struct rtmsg *body;
    bool is_v4 = key->family == AF_INET;
    struct nlmsghdr *h = route_request(
        r, room, add ? RTM_NEWROUTE : RTM_DELROUTE,
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
    return route_talk(r, h, NULL, NULL);
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

/* Those with our tag. */
static int list_ours(struct routes *r, struct route_list *list, struct err *err)
{
    static const uint8_t families[] = {AF_INET, AF_INET6};
    int rc = 0;

    list->count = 0;
    for (size_t i = 0; i < COUNT(families); i++) {
        char room[512];
        struct rtmsg *body;
        struct nlmsghdr *h = route_request(r, room, RTM_GETROUTE, NLM_F_DUMP, families[i], &body);

        /* No IPv6 in this kernel: then there is no route of it either. */
        if (route_talk(r, h, note_route, list) < 0 && families[i] == AF_INET)
            rc = err_errno(err, ERR_IO, "cannot list routes");
    }
    return rc;
}

static size_t range_keys(const struct cidr *range4, const struct cidr *range6,
                         struct route_key keys[2])
{
    const struct cidr *ranges[] = {range4, range6};
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

bool routes_exist(struct routes *r)
{
    struct route_list *list = MEM_NEW(struct route_list);
    struct err ignored;
    bool some = list_ours(r, list, &ignored) == 0 && list->count > 0;

    mem_free(list);
    return some;
}

int routes_trim(struct routes *r, const struct cidr *range4, const struct cidr *range6,
                struct err *err)
{
    struct route_list *list = MEM_NEW(struct route_list);
    struct route_key keep[2];
    size_t keep_count = range_keys(range4, range6, keep);
    int rc = list_ours(r, list, err);

    for (size_t i = 0; i < list->count; i++) {
        if (is_kept(&list->keys[i], keep, keep_count))
            continue;
        if (route_change(r, &list->keys[i], false) < 0 && errno != ESRCH && errno != ENOENT)
            rc = err_errno(err, ERR_IO, "cannot remove the route of a virtual range");
    }
    mem_free(list);
    return rc;
}

int routes_add(struct routes *r, const struct capture_plan *p, bool *has_ipv6, struct err *err)
{
    struct route_key keys[2];
    size_t count = range_keys(&p->range4, &p->range6, keys);

    *has_ipv6 = false;
    for (size_t i = 0; i < count; i++) {
        /* A route of somebody else's to the range will do: NAT comes before it is used. */
        bool there = route_change(r, &keys[i], true) == 0 || errno == EEXIST;

        if (keys[i].family == AF_INET6)
            *has_ipv6 = there; /* switched off on this host in one of several ways: carry on */
        else if (!there)
            return err_errno(err, ERR_IO,
                             "cannot add the route of the virtual addresses to lo (is lo up?)");
    }
    return 0;
}
