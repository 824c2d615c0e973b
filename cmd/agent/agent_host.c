/* Who this host is in the mesh, and what is set up on it: redirects and names. */
#include "cmd/agent/agent_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cmd/agent/capture.h"
#include "cmd/agent/dns.h"
#include "cmd/agent/guard.h"
#include "mesh/base/limits.h"
#include "mesh/base/log.h"
#include "mesh/base/mem.h"
#include "mesh/compile.h"
#include "mesh/dns.h"
#include "mesh/identity.h"

/* ---- who we are ---- */

static struct str service_identity(const struct agent *a, struct str ns, struct str account,
                                   struct arena *arena)
{
    struct buf b;
    struct str out;

    buf_init(&b, 4096);
    identity_service(&b, str_from(a->member.trust_domain), ns, account);
    out = arena_str(arena, buf_str(&b));
    buf_done(&b);
    return out;
}

void agent_service_name(struct str ns, struct str name, struct buf *out)
{
    buf_init(out, 2048);
    buf_add(out, ns);
    buf_addc(out, '/');
    buf_add(out, name);
}

bool agent_is_refused(const struct agent *a, const struct local_service *s)
{
    struct buf name;
    bool refused;

    agent_service_name(s->ns, s->name, &name);
    refused = map_get(&a->refused, buf_str(&name));
    buf_done(&name);
    return refused;
}

/* What documents must not take from us. */
static void own_ports(const struct agent *a, struct self *self, struct arena *arena)
{
    const struct agent_settings *s = &a->settings;
    const uint16_t fixed[] = {s->outbound.port, s->inbound.port, s->admin.port, s->metrics.port, s->health.port};
    uint16_t *list = ARENA_ARRAY(arena, COUNT(fixed) + CAPTURE_DNS_MAX, uint16_t);
    size_t n = 0;

    for (size_t i = 0; i < COUNT(fixed); i++)
        list[n++] = fixed[i];
    for (size_t i = 0; s->dns && i < CAPTURE_DNS_MAX; i++)
        list[n++] = (uint16_t)(s->dns_port + i);
    self->own_ports = list;
    self->own_port_count = n;
}

void agent_build_self(struct agent *a, const struct local_set *local, struct arena *arena)
{
    size_t n = 0;

    a->self.services = ARENA_ARRAY(arena, local->service_count + 1, struct local_service);
    for (size_t i = 0; i < local->service_count; i++) {
        struct local_service s = local->services[i];

        if (agent_is_refused(a, &s))
            continue;
        s.fqdn = model_fqdn(arena, s.name, s.ns, str_from(a->member.domain));
        s.key = model_service_key(arena, s.ns, s.fqdn);
        s.identity = service_identity(a, s.ns, s.account, arena);
        a->self.services[n++] = s;
    }
    a->self.service_count = n;
    a->self.listeners = local->listeners;
    a->self.listener_count = local->listener_count;
    a->self.is_uncaptured = !a->settings.capture;
    own_ports(a, &a->self, arena);
}

void agent_rebuild_self(struct agent *a)
{
    agent_build_self(a, &a->local, &a->services_arena);
}

int agent_read_services(struct agent *a, struct err *err)
{
    struct local_set local;
    struct findings f;
    struct arena arena;

    arena_init(&arena);
    findings_init(&f, &arena);
    if (services_read(a->settings.config_dir, &a->settings, &a->self.address, &arena, &local, &f)) {
        (void)command_findings(&f, err);
        arena_done(&arena);
        return -1;
    }
    arena_done(&a->services_arena);
    a->services_arena = arena;
    a->local = local;
    map_done(&a->refused); /* a changed file may be acceptable now */
    agent_rebuild_self(a);
    return 0;
}

/* The address that the kernel would use towards the server; nothing is sent. */
static int own_address(const struct addr *server, struct addr *out)
{
    struct sockaddr_storage to, from;
    socklen_t n = addr_to_sockaddr(server, &to), from_n = sizeof(from);
    int fd = socket(server->family == 6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool good;

    good = fd >= 0 && connect(fd, (struct sockaddr *)&to, n) == 0 &&
           getsockname(fd, (struct sockaddr *)&from, &from_n) == 0 &&
           addr_from_sockaddr((struct sockaddr *)&from, out);
    if (fd >= 0)
        (void)close(fd); /* it carried nothing */
    out->port = 0;
    return good ? 0 : -1;
}

static int find_address(struct agent *a, struct err *err)
{
    struct addr server;

    a->self.address = a->settings.address;
    if (a->self.address.family ||
        (a->member.address && addr_parse_ip(str_from(a->member.address), &a->self.address)))
        return 0;
    if (a->standalone) /* nobody else dials it */
        return addr_parse_ip(STR("127.0.0.1"), &a->self.address) ? 0 : -1;
    if (addr_parse(str_from(a->member.servers[0]), &server) &&
        own_address(&server, &a->self.address) == 0)
        return 0;
    return err_set(err, ERR_INVALID,
                   "this host's address is not clear: set address = IP in %s/agent.ini",
                   a->settings.config_dir);
}

int agent_init_self(struct agent *a, struct err *err)
{
    a->self.host_id = str_from(a->member.host_id);
    a->self.host = str_from(a->member.name);
    a->self.ns = STR("default");
    a->self.locality = a->settings.locality;
    return find_address(a, err);
}

void agent_name_callers(struct agent *a)
{
    char name[64];
    struct buf b;
    int n = snprintf(name, sizeof(name), "host-%s", a->member.host_id);

    for (int i = 0; i < n; i++)
        name[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + 32 : name[i]);
    buf_init(&b, 4096);
    identity_service(&b, str_from(a->member.trust_domain), a->self.ns, str_from(name));
    a->identity = str_dup(buf_str(&b));
    a->self.identity = str_from(a->identity);
    buf_done(&b);
}

/* ---- capture and names ---- */

/* (address, port) of ServiceEntries and Services that callers see. */
struct pairs {
    struct addr *list;
    size_t count;
};

static void add_pair(void *arg, const struct addr *at)
{
    struct pairs *p = arg;

    if (p->count < CAPTURE_SERVICE_MAX)
        p->list[p->count++] = *at;
}

/* What is redirected to the agent: the others it opens itself. */
static size_t inbound_ports(const struct snapshot *s, struct capture_inbound *out)
{
    size_t n = 0;

    for (size_t i = 0; i < s->listener_count; i++) {
        const struct listener *l = s->listeners[i];

        if (l->kind == LISTENER_INBOUND && !l->is_bound)
            out[n++] = (struct capture_inbound){l->at.port, l->mtls == MTLS_STRICT || l->tls};
    }
    return n;
}

void agent_watch_capture(struct agent *a)
{
    int fd = capture_fd(a->capture);

    if (fd < 0)
        return;
    watch_init(&a->capture_watch, &a->task, fd, NOTE_CAPTURE, 0);
    watch_want(&a->capture_watch, true, false);
}

void agent_unwatch_capture(struct agent *a)
{
    if (a->capture_watch.fd >= 0)
        (void)watch_detach(&a->capture_watch); /* it is capture's */
}

int agent_give_plan(struct agent *a, const struct capture_plan *p, struct err *err)
{
    int rc;

    agent_unwatch_capture(a);
    rc = capture_apply(a->capture, p, err);
    agent_watch_capture(a);
    return rc;
}

/* For the next boot. */
static void store_guard(const struct agent *a, const struct capture_plan *p)
{
    struct err err;

    if (guard_store(a->settings.state_dir, p, &err))
        log_warn("which ports are STRICT is not on the disk, will try again with the next rules; "
                 "a boot closes those of before: %s",
                 err.text);
}

int agent_apply_capture(struct agent *a, struct err *err)
{
    struct capture_plan plan;
    struct capture_inbound *inbound = mem_array(a->snapshot->listener_count + 1, sizeof(*inbound));
    struct pairs pairs = {mem_array(CAPTURE_SERVICE_MAX, sizeof(struct addr)), 0};
    struct capture_dns dns[CAPTURE_DNS_MAX];
    int rc;

    capture_plan_init(&plan);
    plan.mark = CAPTURE_MARK;
    plan.outbound_port = a->settings.outbound.port;
    plan.inbound_port = a->settings.inbound.port;
    compile_addresses(&a->catalog, &a->self, add_pair, &pairs);
    plan.services = pairs.list;
    plan.service_count = pairs.count;
    plan.inbound = inbound;
    plan.inbound_count = inbound_ports(a->snapshot, inbound);
    plan.dns = dns;
    for (size_t i = 0; a->dns && i < a->nameserver_count && i < CAPTURE_DNS_MAX; i++)
        dns[plan.dns_count++] =
            (struct capture_dns){a->nameservers[i], (uint16_t)(a->settings.dns_port + i)};
    rc = agent_give_plan(a, &plan, err);
    if (rc == 0 && !a->standalone)
        store_guard(a, &plan);
    mem_free(inbound);
    mem_free(pairs.list);
    return rc;
}

struct naming {
    struct dns_table *table;
    bool has_ipv6; /* a virtual IPv6 address is of no use to a host without IPv6 */
};

static void add_name(void *arg, struct str name, const struct addr *vip4, const struct addr *vip6,
                     struct str key)
{
    const struct naming *to = arg;
    struct addr addrs[2];
    size_t n = 0;

    if (vip4 && vip4->family)
        addrs[n++] = *vip4;
    if (to->has_ipv6 && vip6 && vip6->family)
        addrs[n++] = *vip6;
    if (n)
        (void)dns_table_add(to->table, name, key, addrs,
                            n); /* false: an older entry has the name */
}

static void apply_names(struct agent *a)
{
    struct naming to = {dns_table_new(), !a->capture || capture_has_ipv6(a->capture)};

    compile_names(&a->catalog, &a->self, add_name, &to);
    dns_server_apply(a->dns, to.table);
}

void agent_apply_host(struct agent *a)
{
    struct err err;

    if (a->capture && !a->is_stopping && agent_apply_capture(a, &err))
        log_error("capture rules were not changed, will try again: %s", err.text);
    if (a->dns)
        apply_names(a);
    report_soon(a->report);
}
