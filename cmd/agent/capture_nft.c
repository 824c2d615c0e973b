/* nftables through libnftables, because its context keeps one netlink socket for its whole life:
 * that socket owns `inet weft`.
 *
 * A plan becomes one text of nft commands, hence one netlink batch. Its chains stay registered and
 * are flushed and filled within the batch: each packet meets the old rules of a chain or the new
 * ones. Deleting and making the tables again was considered: then two hooks stand side by side for
 * a moment, and a packet between them can meet neither. For the same reason sets are anonymous.
 */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libmnl/libmnl.h>
#include <linux/netlink.h>
#include <nftables/libnftables.h>
#include <stdlib.h>
#include <unistd.h>

#include "cmd/agent/capture_backend.h"
#include "mesh/base/mem.h"

#define SCRIPT_MAX    (16u << 20)
#define NAT_PRIORITY  "-101" /* before Docker's DNAT at -100, which would otherwise win unseen */
#define GUARD_TABLE   "inet weft-guard"
#define CAPTURE_TABLE "inet weft"

struct nft {
    struct nft_ctx *ctx;
};

/* ---- a plan as text ---- */

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

/* One set per family. */
static void add_services(struct buf *b, const struct capture_plan *p, uint8_t family)
{
    size_t count;
    struct addr *services = capture_services(p, family, &count);
    char text[ADDR_TEXT_MAX];

    if (count > 0)
        buf_printf(b, "add rule " CAPTURE_TABLE " output %s daddr . tcp dport {",
                   header_of(family));
    for (size_t i = 0; i < count; i++)
        buf_printf(b, "%s %s . %u", i > 0 ? "," : "", addr_format_ip(&services[i], text),
                   services[i].port);
    if (count > 0)
        buf_printf(b, " } redirect to :%u\n", p->outbound_port);
    mem_free(services);
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
    buf_adds(b,
             "add rule " CAPTURE_TABLE " output meta l4proto != tcp return\n"
             "add rule " CAPTURE_TABLE " output tcp dport 22 return\n"
             "add rule " CAPTURE_TABLE " output ip daddr { 127.0.0.0/8, " CAPTURE_METADATA4
             " } return\n"
             "add rule " CAPTURE_TABLE " output ip6 daddr { ::1, " CAPTURE_METADATA6 " } return\n");
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

void capture_nft_format(const struct capture_plan *p, struct buf *out)
{
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
}

/* ---- libnftables ---- */

/* libnftables marks the culprit on further lines; the first one says it. */
static struct str first_line(const char *text)
{
    struct str all = str_from(text), line;

    return str_cut(&all, '\n', &line) ? line : all;
}

/* The library keeps what it read of the kernel's rules, more than a megabyte of mostly empty tables, until a command
 * fails. One does. */
static void forget_cache(struct nft *n)
{
    (void)nft_run_cmd_from_buffer(n->ctx, "}");
    (void)nft_ctx_get_error_buffer(n->ctx); /* reading it empties it */
}

static int run(struct nft *n, const char *script, struct err *err)
{
    struct str why;
    size_t at;

    if (nft_run_cmd_from_buffer(n->ctx, script) == 0) {
        forget_cache(n);
        return 0;
    }
    why = first_line(nft_ctx_get_error_buffer(n->ctx));
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

static void nft_close_context(struct nft *n)
{
    nft_ctx_free(n->ctx);
    mem_free(n);
}

static struct nft *open_context(struct err *err)
{
    /* nft_ctx_new ends the process when it gets no socket: so ask for one first. */
    struct mnl_socket *probe = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
    struct nft *n;

    if (!probe) {
        err_errno(err, ERR_UNSUPPORTED, "this kernel has no nftables");
        return NULL;
    }
    mnl_socket_close(probe);
    n = MEM_NEW(struct nft);
    n->ctx = nft_ctx_new(NFT_CTX_DEFAULT);
    if (n->ctx && nft_ctx_buffer_output(n->ctx) == 0 && nft_ctx_buffer_error(n->ctx) == 0) {
        close_on_exec();
        return n;
    }
    err_set(err, ERR_IO, "cannot start libnftables");
    if (n->ctx)
        nft_ctx_free(n->ctx);
    mem_free(n);
    return NULL;
}

static int run_plan(struct nft *n, const struct capture_plan *p, struct err *err)
{
    struct buf script;
    int rc;

    buf_init(&script, SCRIPT_MAX);
    capture_nft_format(p, &script);
    buf_addc(&script, '\0');
    if (script.failed)
        rc = err_set(err, ERR_LIMIT, "the capture rules are longer than %u bytes", SCRIPT_MAX);
    else
        rc = run(n, script.p, err);
    buf_done(&script);
    return rc;
}

/* The kernel judges a whole plan, then drops it: that tells about the tables, the owner flag and
 * every expression. A conflict with a running agent is the business of the first apply. */
static int try_kernel(struct nft *n, struct err *err)
{
    static const struct capture_inbound port = {1, true};
    struct addr service = {.family = 4, .port = 1, .ip = {240}};
    struct capture_plan p;
    struct err why;
    int rc;

    capture_plan_init(&p);
    p.inbound = &port;
    p.services = &service;
    p.inbound_count = p.service_count = 1;
    nft_ctx_set_dry_run(n->ctx, true);
    rc = run_plan(n, &p, &why);
    nft_ctx_set_dry_run(n->ctx, false);
    if (rc == 0 || why.code == ERR_CONFLICT)
        return 0;
    *err = why;
    return -1;
}

static void *nft_open(struct buf *why, struct err *err)
{
    struct nft *n = open_context(err);

    if (!n)
        return NULL;
    if (try_kernel(n, err) < 0) {
        nft_close_context(n);
        return NULL;
    }
    buf_adds(why, "the kernel takes a table with an owner");
    return n;
}

static int nft_apply(void *b, const struct capture_plan *p, enum capture_state *state,
                     struct err *err)
{
    if (run_plan(b, p, err) < 0)
        return -1;
    *state = CAPTURE_IN_FORCE;
    return 0;
}

static void look(struct nft *n, bool *has_table, bool *has_guard)
{
    struct str all, line;

    *has_table = *has_guard = false;
    if (nft_run_cmd_from_buffer(n->ctx, "list tables inet") != 0)
        return;
    all = str_from(nft_ctx_get_output_buffer(n->ctx));
    while (str_next(&all, '\n', &line)) {
        if (str_eq(str_trim(line), STR("table " GUARD_TABLE)))
            *has_guard = true;
        else if (str_starts(line, STR("table " CAPTURE_TABLE)))
            *has_table = true; /* nft adds a comment about the owner */
    }
}

static bool nft_is_whole(void *b)
{
    bool has_table, has_guard;

    look(b, &has_table, &has_guard);
    return has_table && has_guard;
}

static int remove_guard_table(struct nft *n, struct err *err)
{
    /* "add" first, so that a missing table is no error. */
    return run(n, "add table " GUARD_TABLE "\ndelete table " GUARD_TABLE "\n", err);
}

static void nft_close(void *b, bool had_applied, bool remove_guard)
{
    struct err ignored;

    /* Closing the socket would do; asking first makes it certain that the table is gone on return.
     */
    if (had_applied)
        (void)run(b, "delete table " CAPTURE_TABLE "\n",
                  &ignored); /* the kernel does it otherwise */
    if (had_applied && remove_guard)
        (void)remove_guard_table(b, &ignored); /* nothing to be done on the way out */
    nft_close_context(b);
}

/* An owned table is there exactly as long as its agent. */
static bool nft_is_held(void)
{
    struct err ignored;
    struct nft *n = open_context(&ignored);
    bool has_table = false, has_guard;

    if (n) {
        look(n, &has_table, &has_guard);
        nft_close_context(n);
    }
    return has_table;
}

static int nft_release(bool with_guard, bool *removed, struct err *err)
{
    bool has_table, has_guard;
    struct err none;
    struct nft *n;
    int rc;

    if (!with_guard) /* the kernel has removed the redirects */
        return 0;
    n = open_context(&none);
    if (!n) /* a kernel without nftables has no guard in it */
        return 0;
    look(n, &has_table, &has_guard);
    *removed |= has_guard;
    rc = remove_guard_table(n, err);
    nft_close_context(n);
    return rc;
}

const struct capture_ops capture_nft = {
    .name = "nftables",
    .open = nft_open,
    .apply = nft_apply,
    .is_whole = nft_is_whole,
    .close = nft_close,
    .is_held = nft_is_held,
    .release = nft_release,
};
