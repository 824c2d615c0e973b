/* Capture in the kernel, with real sockets. Every test has a network namespace of its own ("the
 * host") and one on the other end of a cable ("the peer"): 10.9.0.1 and fd09::1 here, 10.9.0.2 and
 * fd09::2 there. Only link routes exist, no default route. Needs root.
 *
 * EACH tests run with nftables and with both flavours of iptables: the story is the same, only how
 * to look into the kernel differs.
 *
 * A connection that the redirect answers with a listener's backlog exists before anybody accepts,
 * so one process plays everybody.
 */
#include "test/test.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cmd/agent/capture.h"
#include "cmd/agent/capture_keeper.h"
#include "cmd/agent/dns.h"
#include "mesh/base/loop.h"
#include "mesh/dns.h"
#include "proxy/origdst.h"

#define APP    8080 /* registered, strict or not as the test says */
#define OTHER  9090 /* registered, permissive */
#define NOBODY 7070 /* not registered */

#define SETTLE_MS 20000
#define CLEAN_MS  2000 /* what a keeper may take after the agent's death */

struct flavour {
    enum capture_mode mode;
    const char *program; /* of iptables, for its symlinks */
};

static const struct flavour nftables = {CAPTURE_NFTABLES, NULL},
                            iptables_nft = {CAPTURE_IPTABLES, "xtables-nft-multi"},
                            iptables_legacy = {CAPTURE_IPTABLES, "xtables-legacy-multi"};
static const struct flavour *flavour = &nftables; /* of the test that runs */

static void use(const struct flavour *f);

#define EACH(id)                                                                                   \
    static void each_##id(void);                                                                   \
    TEST(nftables_##id)                                                                            \
    {                                                                                              \
        use(&nftables);                                                                            \
        each_##id();                                                                               \
    }                                                                                              \
    TEST(iptables_nft_##id)                                                                        \
    {                                                                                              \
        use(&iptables_nft);                                                                        \
        each_##id();                                                                               \
    }                                                                                              \
    TEST(iptables_legacy_##id)                                                                     \
    {                                                                                              \
        use(&iptables_legacy);                                                                     \
        each_##id();                                                                               \
    }                                                                                              \
    static void each_##id(void)

struct world {
    int host, peer;                    /* namespaces */
    int outbound4, outbound6, inbound; /* the agent's listeners; inbound takes both families */
    int app, other, nobody;            /* applications on the host */
    int peer_app;                      /* 10.9.0.2:8080 */
    struct capture *capture;
    struct capture_plan plan;
    struct capture_inbound ports[2];
};

static void shell(const char *command)
{
    if (system(command) != 0) {
        print_error("failed: %s\n", command);
        fail();
    }
}

static bool shell_says(const char *command)
{
    return system(command) == 0;
}

static bool by_nft(void)
{
    return flavour->mode == CAPTURE_NFTABLES;
}

static char folder[] = "/tmp/weft-xtables-XXXXXX"; /* for the programs of a flavour, by these names */
static const char *const names[] = {"iptables",  "iptables-save",  "iptables-restore",
                                    "ip6tables", "ip6tables-save", "ip6tables-restore"};
static pid_t folder_owner; /* children that end leave it alone */

static void remove_folder(void)
{
    char path[256];

    if (getpid() != folder_owner)
        return;
    for (size_t i = 0; i < COUNT(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        unlink(path);
    }
    rmdir(folder);
}

/* The iptables of that flavour come first in PATH, for us and for the keeper. */
static void use(const struct flavour *f)
{
    static char before[4096];
    char path[8192];

    flavour = f;
    if (!before[0]) {
        snprintf(before, sizeof(before), "%s", getenv("PATH") ? getenv("PATH") : "/usr/bin:/bin");
        CHECK(mkdtemp(folder) != NULL);
        folder_owner = getpid();
        atexit(remove_folder);
    }
    for (size_t i = 0; f->program && i < COUNT(names); i++) {
        char target[256];

        snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        snprintf(target, sizeof(target), "/usr/sbin/%s", f->program);
        unlink(path);
        CHECK_INT(symlink(target, path), 0);
    }
    snprintf(path, sizeof(path), "%s:%s:/usr/sbin:/sbin", folder, before);
    CHECK_INT(setenv("PATH", path, 1), 0);
}

/* The keeper is this program by another name. */
__attribute__((constructor)) static void be_the_keeper(int argc, char **argv)
{
    if (argc > 0 && strcmp(argv[0], KEEPER_NAME) == 0)
        _exit(capture_keeper_run());
}

static int new_namespace(void)
{
    int fd;

    if (unshare(CLONE_NEWNET) < 0) {
        print_error("this test makes network namespaces and needs root: %s\n", strerror(errno));
        fail();
    }
    fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    return fd;
}

static void enter(int namespace)
{
    CHECK_INT(setns(namespace, CLONE_NEWNET), 0);
}

static struct addr address(const char *text)
{
    struct addr a;

    if (!addr_parse(str_from(text), &a)) {
        print_error("not an address: %s\n", text);
        fail();
    }
    return a;
}

static int bound(const char *at, int type, bool dual)
{
    struct addr a = address(at);
    struct sockaddr_storage raw;
    socklen_t size = addr_to_sockaddr(&a, &raw);
    int fd = socket(raw.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1, only6 = !dual;

    CHECK(fd >= 0);
    CHECK_INT(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
    if (raw.ss_family == AF_INET6)
        CHECK_INT(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only6, sizeof(only6)), 0);
    CHECK_INT(bind(fd, (struct sockaddr *)&raw, size), 0);
    if (type == SOCK_STREAM)
        CHECK_INT(listen(fd, 1024), 0);
    return fd;
}

static void lay_cable(struct world *w)
{
    char command[256];

    w->peer = new_namespace();
    shell("ip link set lo up");
    w->host = new_namespace();
    shell("ip link set lo up");
    snprintf(command, sizeof(command),
             "ip link add eth0 type veth peer name eth0 netns /proc/%d/fd/%d", getpid(), w->peer);
    shell(command);
    shell("ip addr add 10.9.0.1/24 dev eth0 && ip -6 addr add fd09::1/64 dev eth0 nodad && "
          "ip link set eth0 up");
    enter(w->peer);
    shell("ip addr add 10.9.0.2/24 dev eth0 && ip -6 addr add fd09::2/64 dev eth0 nodad && "
          "ip link set eth0 up");
    w->peer_app = bound("[::]:8080", SOCK_STREAM, true);
    enter(w->host);
}

static void world_init(struct world *w)
{
    struct err err;

    *w = (struct world){
        .ports = {{APP, true}, {OTHER, false}}
    };
    lay_cable(w);
    w->outbound4 = bound("127.0.0.1:15001", SOCK_STREAM, false);
    w->outbound6 = bound("[::1]:15001", SOCK_STREAM, false);
    w->inbound = bound("[::]:15006", SOCK_STREAM, true);
    w->app = bound("[::]:8080", SOCK_STREAM, true);
    w->other = bound("[::]:9090", SOCK_STREAM, true);
    w->nobody = bound("[::]:7070", SOCK_STREAM, true);
    capture_plan_init(&w->plan);
    w->plan.inbound = w->ports;
    w->plan.inbound_count = COUNT(w->ports);
    w->capture = capture_open(flavour->mode, &err);
    if (!w->capture)
        print_error("%s\n", err.text);
    CHECK(w->capture != NULL);
}

static int try_apply(struct capture *c, const struct capture_plan *p, struct err *err)
{
    if (capture_apply(c, p, err) < 0)
        return -1;
    return capture_settle(c, SETTLE_MS, err) == CAPTURE_IN_FORCE ? 0 : -1;
}

static void apply(struct world *w)
{
    struct err err = {0};

    if (try_apply(w->capture, &w->plan, &err) < 0) {
        print_error("%s\n", err.text);
        fail();
    }
}

static void world_done(struct world *w)
{
    int fds[] = {w->host, w->peer,  w->outbound4, w->outbound6, w->inbound,
                 w->app,  w->other, w->nobody,    w->peer_app};

    capture_close(w->capture, true);
    for (size_t i = 0; i < COUNT(fds); i++)
        close(fds[i]);
}

/* The descriptor, or -errno; a second at most. */
static int dial_marked(const char *to, uint32_t mark)
{
    struct addr a = address(to);
    struct sockaddr_storage raw;
    socklen_t size = addr_to_sockaddr(&a, &raw), n = sizeof(int);
    int fd = socket(raw.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error = 0;
    struct pollfd p = {.fd = fd, .events = POLLOUT};

    CHECK(fd >= 0);
    if (mark)
        CHECK_INT(setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)), 0);
    if (connect(fd, (struct sockaddr *)&raw, size) < 0 && errno != EINPROGRESS)
        error = errno;
    else if (poll(&p, 1, 1000) != 1)
        error = ETIMEDOUT;
    else
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n);
    if (error == 0)
        return fd;
    close(fd);
    return -error;
}

static int dial(const char *to)
{
    return dial_marked(to, 0);
}

static int dial_from_peer(const struct world *w, const char *to)
{
    int fd;

    enter(w->peer);
    fd = dial(to);
    enter(w->host);
    return fd;
}

/* `client` ended at `listener`, which learns that it was meant for `want` (NULL: not redirected).
 */
static void check_arrived(int client, int listener, const char *want)
{
    struct pollfd p = {.fd = listener, .events = POLLIN};
    char text[ADDR_TEXT_MAX];
    struct addr got;
    int fd;

    if (client < 0)
        print_error("connect: %s\n", strerror(-client));
    CHECK(client >= 0);
    CHECK_INT(poll(&p, 1, 1000), 1);
    fd = accept(listener, NULL, NULL);
    CHECK(fd >= 0);
    CHECK_INT(origdst_get(fd, &got), want != NULL);
    if (want)
        CHECK_TEXT(addr_format(&got, text), want);
    /* Bytes go both ways. */
    CHECK_INT(send(client, "x", 1, 0), 1);
    p.fd = fd;
    CHECK_INT(poll(&p, 1, 1000), 1);
    CHECK_INT(send(fd, "y", 1, 0), 1);
    p.fd = client;
    CHECK_INT(poll(&p, 1, 1000), 1);
    close(fd);
    close(client);
}

static void check_refused(int client)
{
    CHECK_INT(client, -ECONNREFUSED);
}

/* ---- outbound ---- */

EACH(virtual_addresses_reach_the_outbound_port_without_any_default_route)
{
    struct world w;

    world_init(&w);
    apply(&w);
    CHECK(capture_has_ipv6(w.capture));
    check_arrived(dial("240.240.0.7:80"), w.outbound4, "240.240.0.7:80");
    check_arrived(dial("240.240.255.1:65535"), w.outbound4, "240.240.255.1:65535");
    check_arrived(dial("[2001:2::7]:443"), w.outbound6, "[2001:2::7]:443");
    world_done(&w);
}

EACH(a_host_with_nothing_but_lo_is_enough)
{
    struct world w;

    world_init(&w);
    shell("ip link del eth0");
    apply(&w);
    check_arrived(dial("240.240.0.7:80"), w.outbound4, "240.240.0.7:80");
    check_arrived(dial("[2001:2::7]:80"), w.outbound6, "[2001:2::7]:80");
    world_done(&w);
}

EACH(without_ipv6_the_rest_works_and_it_is_said)
{
    struct world w;

    world_init(&w);
    shell("echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6");
    apply(&w);
    CHECK(!capture_has_ipv6(w.capture));
    check_arrived(dial("240.240.0.7:80"), w.outbound4, "240.240.0.7:80");
    world_done(&w);
}

EACH(addresses_of_service_entries_are_taken_by_address_and_port)
{
    struct world w;
    struct addr services[] = {address("10.9.0.2:8080"), address("[fd09::2]:8080"),
                              address("10.9.0.2:8080")}; /* one twice */

    world_init(&w);
    enter(w.peer);
    close(w.nobody);
    w.nobody = bound("[::]:8081", SOCK_STREAM, true);
    enter(w.host);
    w.plan.services = services;
    w.plan.service_count = COUNT(services);
    apply(&w);
    check_arrived(dial("10.9.0.2:8080"), w.outbound4, "10.9.0.2:8080");
    check_arrived(dial("[fd09::2]:8080"), w.outbound6, "[fd09::2]:8080");
    check_arrived(dial("10.9.0.2:8081"), w.nobody, NULL); /* another port */

    w.plan.service_count = 0;
    apply(&w);
    check_arrived(dial("10.9.0.2:8080"), w.peer_app, NULL);
    world_done(&w);
}

EACH(the_agents_own_sockets_are_exempt)
{
    struct world w;
    struct addr service = address("10.9.0.2:8080");

    world_init(&w);
    w.plan.services = &service;
    w.plan.service_count = 1;
    apply(&w);
    check_arrived(dial_marked("10.9.0.2:8080", CAPTURE_MARK), w.peer_app, NULL);
    check_arrived(dial_marked("127.0.0.1:8080", CAPTURE_MARK), w.app, NULL);
    check_arrived(dial_marked("10.9.0.1:8080", CAPTURE_MARK), w.app, NULL);
    check_refused(dial_marked("240.240.0.7:80", CAPTURE_MARK)); /* no loop: nobody is there */
    world_done(&w);
}

EACH(ssh_loopback_and_metadata_are_never_taken)
{
    struct world w;
    struct addr services[] = {address("10.9.0.2:22"), address("169.254.169.254:80"),
                              address("127.0.0.1:7070")};
    int ssh, metadata;

    world_init(&w);
    enter(w.peer);
    shell("ip addr add 169.254.169.254/32 dev eth0");
    ssh = bound("0.0.0.0:22", SOCK_STREAM, false);
    metadata = bound("169.254.169.254:80", SOCK_STREAM, false);
    enter(w.host);
    shell("ip route add 169.254.169.254 dev eth0");
    w.plan.services = services;
    w.plan.service_count = COUNT(services);
    apply(&w);
    check_arrived(dial("10.9.0.2:22"), ssh, NULL);
    check_arrived(dial("169.254.169.254:80"), metadata, NULL);
    check_arrived(dial("127.0.0.1:7070"), w.nobody, NULL);
    check_refused(dial("240.240.0.7:22"));
    close(ssh);
    close(metadata);
    world_done(&w);
}

/* ---- inbound ---- */

EACH(registered_ports_are_taken_from_outside_and_others_are_not)
{
    struct world w;

    world_init(&w);
    apply(&w);
    check_arrived(dial_from_peer(&w, "10.9.0.1:8080"), w.inbound, "10.9.0.1:8080");
    check_arrived(dial_from_peer(&w, "[fd09::1]:8080"), w.inbound, "[fd09::1]:8080");
    check_arrived(dial_from_peer(&w, "10.9.0.1:9090"), w.inbound, "10.9.0.1:9090");
    check_arrived(dial_from_peer(&w, "10.9.0.1:7070"), w.nobody, NULL);
    check_arrived(dial_from_peer(&w, "[fd09::1]:7070"), w.nobody, NULL);
    world_done(&w);
}

EACH(a_local_call_by_the_hosts_own_address_is_judged_and_loopback_is_not)
{
    struct world w;

    world_init(&w);
    apply(&w);
    check_arrived(dial("10.9.0.1:8080"), w.inbound, "10.9.0.1:8080");
    check_arrived(dial("[fd09::1]:8080"), w.inbound, "[fd09::1]:8080");
    check_arrived(dial("127.0.0.1:8080"), w.app, NULL);
    check_arrived(dial("[::1]:8080"), w.app, NULL);
    check_arrived(dial("10.9.0.1:7070"), w.nobody, NULL);
    check_arrived(dial("10.9.0.2:8080"), w.peer_app, NULL); /* the same port elsewhere */
    world_done(&w);
}

EACH(a_call_to_the_agents_own_port_shows_as_not_redirected)
{
    struct world w;

    world_init(&w);
    apply(&w);
    check_arrived(dial("127.0.0.1:15001"), w.outbound4, NULL);
    check_arrived(dial_from_peer(&w, "10.9.0.1:15006"), w.inbound, NULL);
    world_done(&w);
}

/* Packets on their way to the container. */
static int forwarded(void)
{
    for (int n = 0; n < 2; n++) {
        char command[256];

        snprintf(command, sizeof(command),
                 by_nft() ? "nft list table ip docker | grep -q 'packets %d '"
                          : "iptables -t mangle -L FORWARD -v -x -n | grep -Eq '^ +%d .* 10.8.0.2'",
                 n);
        if (shell_says(command))
            return n;
    }
    return -1;
}

/* Docker publishes a port with DNAT at -100 and would win against a later chain. */
EACH(a_published_port_of_a_container_is_taken_first_and_guarded)
{
    struct world w;

    world_init(&w);
    shell("echo 1 >/proc/sys/net/ipv4/ip_forward");
    shell("ip link add docker0 type veth peer name docker1 && ip link set docker1 up && ip addr "
          "add 10.8.0.1/24 dev docker0 && ip link set docker0 up");
    if (by_nft())
        shell("nft 'table ip docker { chain p { type nat hook prerouting priority -100; tcp dport "
              "{ 8080, 9090 } dnat to 10.8.0.2:80; }; chain f { type filter hook forward priority "
              "-10; ip daddr 10.8.0.2 counter; }; }'");
    else
        shell("iptables -t nat -N DOCKER && iptables -t nat -A PREROUTING -m addrtype --dst-type "
              "LOCAL -j DOCKER && iptables -t nat -A DOCKER -p tcp -m multiport --dports 8080,9090 "
              "-j DNAT --to-destination 10.8.0.2:80 && iptables -t mangle -A FORWARD -d 10.8.0.2 "
              "&& iptables -I FORWARD -d 10.8.0.2 -j ACCEPT");
    apply(&w);
    check_arrived(dial_from_peer(&w, "10.9.0.1:8080"), w.inbound, "10.9.0.1:8080");
    CHECK_INT(forwarded(), 0);

    capture_close(w.capture, false);
    w.capture = NULL;
    check_refused(dial_from_peer(&w, "10.9.0.1:8080"));
    CHECK_INT(forwarded(), 1);
    CHECK(dial_from_peer(&w, "10.9.0.1:9090") != -ECONNREFUSED); /* permissive: Docker's again */
    world_done(&w);
}

/* ---- life and death ---- */

static void check_nothing_left(void)
{
    if (by_nft())
        CHECK(shell_says("test -z \"$(nft list tables)\""));
    else
        CHECK(shell_says("! { iptables-save && ip6tables-save; } | grep -q WEFT_"));
    CHECK(shell_says("test -z \"$(ip route show proto 119; ip -6 route show proto 119)\""));
}

/* Another process that has applied the plan and waits to be killed. */
static pid_t start_agent(struct world *w)
{
    int ready[2];
    char byte;
    pid_t child;

    CHECK_INT(pipe(ready), 0);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        struct err err;
        struct capture *c;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        c = capture_open(flavour->mode, &err);
        if (!c || try_apply(c, &w->plan, &err) < 0 || write(ready[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close(ready[1]);
    CHECK_INT(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return child;
}

static bool redirects_are_there(void)
{
    if (by_nft())
        return shell_says("nft list tables | grep -qx 'table inet weft'");
    return shell_says("{ iptables-save && ip6tables-save; } | grep -q 'WEFT_[OP]'");
}

static bool guard_is_there(void)
{
    if (by_nft())
        return shell_says("nft list tables | grep -qx 'table inet weft-guard'");
    return shell_says("{ iptables-save && ip6tables-save; } | grep -q WEFT_GUARD");
}

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The kernel removes nftables' redirects within the death; iptables' are gone when the keeper is,
 * which ends within its time. */
static void wait_for_the_keeper(void)
{
    int64_t start = now_ms();

    if (by_nft())
        return;
    while (redirects_are_there())
        CHECK(now_ms() - start < CLEAN_MS);
    CHECK(!keeper_is_held());
}

static void kill_agent(pid_t child)
{
    int status;

    CHECK_INT(kill(child, SIGKILL), 0);
    CHECK_INT(waitpid(child, &status, 0), child);
    wait_for_the_keeper();
}

static void check_guarded(struct world *w)
{
    CHECK(guard_is_there());
    CHECK(!redirects_are_there());
    check_refused(dial_from_peer(w, "10.9.0.1:8080"));
    check_refused(dial_from_peer(w, "[fd09::1]:8080"));
    check_arrived(dial_from_peer(w, "10.9.0.1:9090"), w->other, NULL);
    check_arrived(dial_from_peer(w, "10.9.0.1:7070"), w->nobody, NULL);
    check_arrived(dial("127.0.0.1:8080"), w->app, NULL);
    check_refused(dial("240.240.0.7:80"));
    check_refused(dial("[2001:2::7]:80"));
}

EACH(after_kill_9_strict_ports_refuse_and_permissive_ones_answer)
{
    struct world w;
    struct err err = {0};
    bool removed;
    pid_t child;

    world_init(&w);
    child = start_agent(&w);
    check_arrived(dial_from_peer(&w, "10.9.0.1:8080"), w.inbound, "10.9.0.1:8080");
    check_arrived(dial("240.240.0.7:80"), w.outbound4, "240.240.0.7:80");
    kill_agent(child);
    check_guarded(&w);

    /* The next agent takes over what is there, and leaves nothing. */
    apply(&w);
    CHECK(capture_is_whole(w.capture));
    check_arrived(dial_from_peer(&w, "10.9.0.1:8080"), w.inbound, "10.9.0.1:8080");
    capture_close(w.capture, true);
    w.capture = NULL;
    check_nothing_left();
    CHECK_INT(capture_release(true, &removed, &err), 0); /* nothing there is fine */
    CHECK(!removed);
    world_done(&w);
}

EACH(an_orderly_stop_can_leave_the_guard_or_nothing)
{
    struct world w;
    struct err err = {0};
    bool removed;

    world_init(&w);
    apply(&w);
    capture_close(w.capture, false);
    w.capture = NULL;
    check_guarded(&w);
    CHECK_INT(capture_release(true, &removed, &err), 0);
    check_nothing_left();
    check_arrived(dial_from_peer(&w, "10.9.0.1:8080"), w.app, NULL);
    world_done(&w);
}

EACH(opening_alone_changes_nothing)
{
    struct world w;

    world_init(&w);
    check_nothing_left();
    capture_close(w.capture, true);
    w.capture = NULL;
    check_nothing_left();
    world_done(&w);
}

EACH(a_second_agent_is_told_so_and_disturbs_nothing)
{
    struct world w;
    struct err err = {0};
    bool removed;
    pid_t child;

    world_init(&w);
    child = start_agent(&w);
    CHECK_INT(try_apply(w.capture, &w.plan, &err), -1);
    CHECK_INT(err.code, ERR_CONFLICT);
    CHECK(strstr(err.text, "another weft agent") != NULL);
    CHECK_INT(capture_release(true, &removed, &err), -1);
    CHECK_INT(err.code, ERR_CONFLICT);
    check_arrived(dial("240.240.0.7:80"), w.outbound4, "240.240.0.7:80");
    kill_agent(child);
    apply(&w);
    world_done(&w);
}

TEST(flushing_everything_spares_the_redirects_and_applying_again_repairs_the_guard)
{
    struct world w;

    use(&nftables);
    world_init(&w);
    apply(&w);
    CHECK(capture_is_whole(w.capture));
    shell("nft flush ruleset");
    CHECK(!capture_is_whole(w.capture));
    check_arrived(dial("240.240.0.7:80"), w.outbound4, "240.240.0.7:80");
    apply(&w);
    CHECK(capture_is_whole(w.capture));
    world_done(&w);
}

/* A child that inherited the socket would keep the redirects up after the agent's death. */
TEST(netlink_sockets_are_not_inherited)
{
    struct world w;
    unsigned seen = 0;

    use(&nftables);
    world_init(&w);
    apply(&w);
    for (int fd = 0; fd < 256; fd++) {
        int domain = 0;
        socklen_t size = sizeof(domain);

        if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0 || domain != AF_NETLINK)
            continue;
        CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        seen++;
    }
    CHECK_INT(seen, 2);
    world_done(&w);
}

TEST(a_missing_capability_is_named_with_the_remedy)
{
    int status;
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0) {
        struct err err = {0};
        bool ok = setuid(65534) == 0 && !capture_open(CAPTURE_AUTO, &err) &&
                  err.code == ERR_DENIED && strstr(err.text, "CAP_NET_ADMIN") &&
                  strstr(err.text, "AmbientCapabilities");

        _exit(ok ? 0 : 1);
    }
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK_INT(status, 0);
}

/* What a unit's ExecStopPost does: the last net when the keeper was killed with its agent. */
static void kill_all(pid_t child)
{
    char path[64], line[64] = "";
    int status;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", child, child);
    f = fopen(path, "r");
    CHECK(f != NULL);
    CHECK(by_nft() || fgets(line, sizeof(line), f) != NULL);
    fclose(f);
    if (!by_nft())
        CHECK_INT(kill(atoi(line), SIGKILL), 0);
    CHECK_INT(kill(child, SIGKILL), 0);
    CHECK_INT(waitpid(child, &status, 0), child);
}

EACH(redirects_whose_keeper_died_too_can_be_released)
{
    struct world w;
    struct err err = {0};
    bool removed;

    world_init(&w);
    kill_all(start_agent(&w));
    CHECK_INT(redirects_are_there(), !by_nft());
    CHECK_INT(capture_release(false, &removed, &err), 0);
    CHECK_INT(removed, !by_nft());
    CHECK_INT(capture_release(false, &removed, &err), 0);
    CHECK(!removed);
    check_guarded(&w);
    CHECK_INT(capture_release(true, &removed, &err), 0);
    CHECK(removed);
    check_nothing_left();
    world_done(&w);
}

EACH(the_next_agent_takes_over_all_that_is_left)
{
    struct world w;

    world_init(&w);
    kill_all(start_agent(&w));
    w.plan.inbound_count = 1; /* and another plan */
    apply(&w);
    check_arrived(dial_from_peer(&w, "10.9.0.1:8080"), w.inbound, "10.9.0.1:8080");
    check_arrived(dial_from_peer(&w, "10.9.0.1:9090"), w.other, NULL);
    capture_close(w.capture, true);
    w.capture = NULL;
    check_nothing_left();
    world_done(&w);
}

/* The setting was changed while no agent ran. */
static void check_change_of_backend(const struct flavour *from, const struct flavour *to)
{
    struct world w;
    struct err err;
    pid_t child;

    use(from);
    world_init(&w);
    child = start_agent(&w);
    use(to);
    capture_close(w.capture, true);
    w.capture = capture_open(flavour->mode, &err);
    CHECK(w.capture != NULL);
    CHECK_INT(try_apply(w.capture, &w.plan, &err), -1); /* alive: not even by the other backend */
    CHECK_INT(err.code, ERR_CONFLICT);
    use(from);
    kill_agent(child);
    check_guarded(&w);
    use(to);
    apply(&w);
    check_arrived(dial_from_peer(&w, "10.9.0.1:8080"), w.inbound, "10.9.0.1:8080");
    capture_close(w.capture, true);
    w.capture = NULL;
    check_nothing_left();
    use(from);
    CHECK(!guard_is_there());
    world_done(&w);
}

TEST(an_agent_with_the_other_backend_takes_over_too)
{
    check_change_of_backend(&nftables, &iptables_legacy);
    check_change_of_backend(&iptables_legacy, &nftables);
}

/* ---- the keeper ---- */

static pid_t first_child(void)
{
    char line[64] = "";
    FILE *f = fopen("/proc/thread-self/children", "r");

    CHECK(f != NULL);
    CHECK(fgets(line, sizeof(line), f) != NULL);
    fclose(f);
    return atoi(line);
}

TEST(a_keeper_that_was_killed_is_started_again)
{
    struct world w;
    struct err err = {0};
    struct pollfd p;

    use(&iptables_nft);
    world_init(&w);
    apply(&w);
    CHECK_INT(kill(first_child(), SIGKILL), 0);
    p = (struct pollfd){.fd = capture_fd(w.capture), .events = POLLIN};
    CHECK_INT(poll(&p, 1, 1000), 1);
    CHECK_INT(capture_settle(w.capture, 0, &err), CAPTURE_REFUSED);
    CHECK(strstr(err.text, "has ended") != NULL);
    CHECK_INT(capture_fd(w.capture), -1);
    CHECK(!capture_is_whole(w.capture));
    apply(&w);
    CHECK(capture_is_whole(w.capture));
    check_arrived(dial("240.240.0.7:80"), w.outbound4, "240.240.0.7:80");
    world_done(&w);
}

static void check_repair(const struct flavour *f)
{
    static const char *const damages[] = {
        "iptables -t nat -F && ip6tables -t nat -F",
        "iptables -F",
        "iptables -F && iptables -X && iptables -t nat -F && iptables -t nat -X",
        "iptables -t nat -I PREROUTING -p tcp --dport 8080 -j ACCEPT", /* in front of us */
        "iptables -t nat -D WEFT_OUTPUT 1",
    };
    struct world w;

    use(f);
    world_init(&w);
    apply(&w);
    for (size_t i = 0; i < COUNT(damages); i++) {
        int64_t start = now_ms();

        shell(damages[i]);
        do { /* the next look may be seconds away */
            CHECK(now_ms() - start < 60000);
            CHECK(capture_is_whole(w.capture));
        } while (!shell_says("test \"$(iptables-save -t nat | grep -m1 '^-A PREROUTING')\" = "
                             "'-A PREROUTING -j WEFT_PREROUTING' && test \"$(iptables -t nat -S "
                             "WEFT_OUTPUT | sed -n 2p)\" = '-A WEFT_OUTPUT -m conntrack --ctstate "
                             "ESTABLISHED -j RETURN' && iptables -S INPUT | grep -q WEFT_"));
        check_arrived(dial_from_peer(&w, "10.9.0.1:8080"), w.inbound, "10.9.0.1:8080");
    }
    world_done(&w);
}

TEST(a_look_puts_back_what_others_removed_from_iptables)
{
    check_repair(&iptables_nft);
    check_repair(&iptables_legacy);
}

TEST(others_changing_iptables_meanwhile_do_not_disturb)
{
    struct world w;
    int status;
    pid_t child;

    use(&iptables_legacy);
    world_init(&w);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        execl("/bin/sh", "sh", "-c",
              "while :; do iptables -w 10 -t nat -A OUTPUT -d 10.1.1.1 -j ACCEPT; iptables -w 10 "
              "-t nat -D OUTPUT -d 10.1.1.1 -j ACCEPT; done",
              NULL);
        _exit(1);
    }
    for (unsigned i = 0; i < 50; i++) {
        w.plan.inbound_count = 1 + i % 2;
        apply(&w);
    }
    CHECK_INT(kill(child, SIGTERM), 0);
    CHECK_INT(waitpid(child, &status, 0), child);
    check_arrived(dial("240.240.0.7:80"), w.outbound4, "240.240.0.7:80");
    world_done(&w);
}

/* Somebody's program that has taken the name is no agent. */
TEST(a_stranger_cannot_take_the_lock)
{
    struct world w;
    int ready[2], status;
    char byte;
    pid_t child;

    use(&iptables_nft);
    world_init(&w);
    CHECK_INT(pipe(ready), 0);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        struct sockaddr_un at = {.sun_family = AF_UNIX, .sun_path = "\0weft-capture"};
        int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
        bool good = prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && setuid(65534) == 0 &&
                    bind(fd, (struct sockaddr *)&at,
                         (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 13)) == 0 &&
                    listen(fd, 1) == 0;

        if (write(ready[1], good ? "y" : "n", 1) == 1)
            pause();
        _exit(1);
    }
    CHECK_INT(read(ready[0], &byte, 1), 1);
    CHECK_INT(byte, 'y');
    apply(&w);
    check_arrived(dial("240.240.0.7:80"), w.outbound4, "240.240.0.7:80");
    CHECK_INT(kill(child, SIGKILL), 0);
    CHECK_INT(waitpid(child, &status, 0), child);
    close(ready[0]);
    close(ready[1]);
    world_done(&w);
}

/* ---- choosing a backend ---- */

/* As on a kernel without netfilter's netlink: sockets of that protocol do not exist. */
static void hide_nftables(void)
{
    struct sock_filter rows[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 5),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_NETLINK, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NETLINK_NETFILTER, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPROTONOSUPPORT),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {COUNT(rows), rows};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        _exit(9);
}

static void hide_iptables(void)
{
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", "/usr/sbin", "tmpfs", 0, NULL) != 0)
        _exit(9);
}

/* A process of its own opens and applies; 0 when `name` was chosen, or the error holds it. */
static void check_choice(enum capture_mode mode, bool nft, bool iptables, const char *name,
                         const char *why)
{
    struct world w;
    int status;
    pid_t child;

    use(&iptables_legacy);
    world_init(&w);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        struct err err = {0};
        struct capture *c;
        const char *got;

        if (!nft)
            hide_nftables();
        if (!iptables)
            hide_iptables();
        c = capture_open(mode, &err);
        got = c ? capture_backend(c) : err.text;
        if (!strstr(got, name) || (c && !strstr(capture_why(c).p, why)) ||
            (!c && !strstr(err.text, why)) || (c && try_apply(c, &w.plan, &err) < 0)) {
            print_error("%s, %s\n", got, err.text);
            _exit(1);
        }
        capture_close(c, true);
        _exit(0);
    }
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK_INT(status, 0);
    check_nothing_left();
    world_done(&w);
}

TEST(auto_prefers_nftables_and_falls_back_to_iptables_saying_why)
{
    check_choice(CAPTURE_AUTO, true, true, "nftables", "table with an owner");
    check_choice(CAPTURE_AUTO, false, true, "iptables", "this kernel has no nftables");
    check_choice(CAPTURE_IPTABLES, true, true, "iptables", "(legacy)");
}

TEST(a_backend_that_cannot_be_is_told_with_the_remedy)
{
    check_choice(CAPTURE_IPTABLES, true, false, "install the package iptables", "iptables-save");
    check_choice(CAPTURE_NFTABLES, false, true, "no nftables", "kernel");
    check_choice(CAPTURE_AUTO, false, false, "neither nftables", "install the package iptables");
}

/* ---- changing the plan ---- */

/* What a child that connects all the time counts. */
struct tally {
    volatile unsigned connects, lost, wrong;
    volatile bool stop;
};

/* `listener` must get every connection. */
static _Noreturn void connect_often(struct tally *t, const struct world *w, const char *to,
                                    int listener, bool from_peer)
{
    if (from_peer)
        enter(w->peer);
    while (!t->stop) {
        int fd = dial(to), got;
        struct linger none = {1, 0};
        struct pollfd p = {.fd = listener, .events = POLLIN};

        t->connects++;
        if (fd < 0) {
            t->lost++;
            continue;
        }
        got = poll(&p, 1, 1000) == 1 ? accept(listener, NULL, NULL) : -1;
        if (got < 0)
            t->wrong++;
        /* By reset, so that no port stays in TIME_WAIT. */
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
        close(fd);
        if (got >= 0)
            close(got);
    }
    _exit(0);
}

static void check_swaps(const char *to, bool inbound)
{
    struct world w;
    struct capture_inbound more[] = {
        {OTHER, false},
        {APP,   false},
        {1234,  true }
    };
    struct addr service = address("10.9.0.2:1234");
    unsigned swaps = flavour == &nftables ? 150 : 50; /* of iptables each takes several processes */
    struct tally *t =
        mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int status;
    pid_t child;

    CHECK(t != MAP_FAILED);
    world_init(&w);
    apply(&w);
    child = fork();
    CHECK(child >= 0);
    if (child == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0)
        connect_often(t, &w, to, inbound ? w.inbound : w.outbound4, inbound);
    for (unsigned i = 0; i < swaps || t->connects < 2000; i++) {
        w.plan.inbound = i % 2 ? w.ports : more;
        w.plan.inbound_count = i % 2 ? COUNT(w.ports) : COUNT(more);
        w.plan.services = &service;
        w.plan.service_count = i % 3 == 0;
        apply(&w);
    }
    t->stop = true;
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK_INT(t->lost, 0);
    CHECK_INT(t->wrong, 0);
    CHECK_INT(munmap(t, sizeof(*t)), 0);
    world_done(&w);
}

EACH(replacing_the_plan_loses_no_outbound_connection)
{
    check_swaps("240.240.0.7:80", false);
}

EACH(replacing_the_plan_loses_no_inbound_connection)
{
    check_swaps("10.9.0.1:8080", true);
}

TEST(others_changing_nftables_meanwhile_do_not_cost_the_ownership)
{
    struct world w;
    int status;
    pid_t child;

    use(&nftables);
    world_init(&w);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", "while :; do nft add table ip t; nft delete table ip t; done",
              NULL);
        _exit(1);
    }
    for (unsigned i = 0; i < 100; i++) {
        apply(&w);
        CHECK(capture_is_whole(w.capture));
    }
    CHECK_INT(kill(child, SIGTERM), 0);
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK(!shell_says("nft delete table inet weft 2>/dev/null")); /* still ours */
    world_done(&w);
}

EACH(a_changed_range_moves_its_route)
{
    struct world w;

    world_init(&w);
    apply(&w);
    CHECK(cidr_parse(STR("240.241.0.0/16"), &w.plan.range4));
    w.plan.range6 = (struct cidr){0};
    apply(&w);
    check_arrived(dial("240.241.0.7:80"), w.outbound4, "240.241.0.7:80");
    CHECK(shell_says("test \"$(ip route show proto 119 | wc -l)\" = 1"));
    CHECK(shell_says("test -z \"$(ip -6 route show proto 119)\""));
    world_done(&w);
}

EACH(a_plan_that_cannot_be_changes_nothing)
{
    static const struct {
        struct capture_inbound port;
        const char *want;
    } rows[] = {
        {{22, false},    "port 22 is never captured"  },
        {{15006, false}, "port 15006 is the agent's"  },
        {{15001, true},  "port 15001 is the agent's"  },
        {{15053, true},  "port 15053 is the agent's"  },
        {{0, false},     "port 0"                     },
        {{APP, false},   "port 8080 is registered twi"},
    };
    struct world w;
    struct capture_dns dns = {address("10.9.0.2:53"), 15053};

    world_init(&w);
    w.plan.dns = &dns;
    w.plan.dns_count = 1;
    apply(&w);
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct err err = {0};

        w.ports[1] = rows[i].port;
        CHECK_INT(try_apply(w.capture, &w.plan, &err), -1);
        if (!strstr(err.text, rows[i].want))
            CHECK_TEXT(err.text, rows[i].want);
    }
    check_arrived(dial_from_peer(&w, "10.9.0.1:9090"), w.inbound, "10.9.0.1:9090");
    world_done(&w);
}

EACH(many_service_addresses_fit)
{
    struct world w;
    size_t count = 20000;
    struct addr *services = calloc(count, sizeof(*services));

    CHECK(services != NULL);
    world_init(&w);
    for (size_t i = 0; i < count; i++)
        services[i] = (struct addr){
            .family = 4, .port = 80, .ip = {10, 9, (uint8_t)(i >> 8), (uint8_t)i}
        };
    w.plan.services = services;
    w.plan.service_count = count;
    apply(&w);
    check_arrived(dial("10.9.0.200:80"), w.outbound4, "10.9.0.200:80");
    free(services);
    world_done(&w);
}

/* ---- DNS ---- */

static int dial_udp(const char *to, uint32_t mark)
{
    struct addr a = address(to);
    struct sockaddr_storage raw;
    socklen_t size = addr_to_sockaddr(&a, &raw);
    int fd = socket(raw.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    CHECK(fd >= 0);
    if (mark)
        CHECK_INT(setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)), 0);
    CHECK_INT(connect(fd, (struct sockaddr *)&raw, size), 0);
    return fd;
}

/* What is sent on `client` comes to `server`, and the answer comes back as if from where it was
 * sent. */
static void check_datagram(int client, int server)
{
    struct pollfd p = {.fd = server, .events = POLLIN};
    struct sockaddr_storage from;
    socklen_t size = sizeof(from);
    char byte;

    CHECK_INT(send(client, "q", 1, 0), 1);
    CHECK_INT(poll(&p, 1, 1000), 1);
    CHECK_INT(recvfrom(server, &byte, 1, 0, (struct sockaddr *)&from, &size), 1);
    CHECK_INT(sendto(server, "a", 1, 0, (struct sockaddr *)&from, size), 1);
    p.fd = client;
    CHECK_INT(poll(&p, 1, 1000), 1);
    CHECK_INT(recv(client, &byte, 1, 0), 1); /* connected: only the address asked counts */
    close(client);
}

EACH(queries_to_each_nameserver_reach_its_own_port)
{
    struct world w;
    struct capture_dns dns[] = {
        {address("10.9.0.2:53"),  15053},
        {address("[fd09::2]:53"), 15054}
    };
    int first, second, real, elsewhere, tcp;

    world_init(&w);
    first = bound("127.0.0.1:15053", SOCK_DGRAM, false);
    second = bound("[::1]:15054", SOCK_DGRAM, false);
    tcp = bound("127.0.0.1:15053", SOCK_STREAM, false);
    enter(w.peer);
    real = bound("[::]:53", SOCK_DGRAM, true);
    shell("ip addr add 10.9.0.3/24 dev eth0");
    elsewhere = bound("10.9.0.3:53", SOCK_DGRAM, false);
    enter(w.host);
    w.plan.dns = dns;
    w.plan.dns_count = COUNT(dns);
    apply(&w);
    check_datagram(dial_udp("10.9.0.2:53", 0), first);
    check_datagram(dial_udp("[fd09::2]:53", 0), second);
    check_arrived(dial("10.9.0.2:53"), tcp, "10.9.0.2:53");
    check_datagram(dial_udp("10.9.0.2:53", CAPTURE_MARK), real);
    check_datagram(dial_udp("[fd09::2]:53", CAPTURE_MARK), real);
    check_datagram(dial_udp("10.9.0.3:53", 0), elsewhere); /* no nameserver of resolv.conf */
    w.plan.dns_count = 0;
    apply(&w);
    check_datagram(dial_udp("10.9.0.2:53", 0), real);
    close(first);
    close(second);
    close(tcp);
    close(elsewhere);
    close(real);
    world_done(&w);
}

/* The real name server behind the real redirect. */
static size_t ask(struct loop *loop, int fd, int nameserver, const char *name, uint8_t *answer,
                  size_t max)
{
    uint8_t q[64] = {0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0};
    size_t n = strlen(name);

    q[12] = (uint8_t)n;
    memcpy(q + 13, name, n);
    memcpy(q + 13 + n, "\0\0\1\0\1", 5);
    CHECK_INT(send(fd, q, 18 + n, 0), 18 + n);
    for (unsigned i = 0; i < 1000; i++) {
        struct sockaddr_storage from;
        socklen_t size = sizeof(from);
        ssize_t got;

        loop_turn(loop, 2);
        got = recvfrom(nameserver, q, sizeof(q), 0, (struct sockaddr *)&from, &size);
        if (got > 0) {
            q[2] = 0x81;
            q[3] = 0x83; /* no such name, says the real one */
            CHECK_INT(sendto(nameserver, q, (size_t)got, 0, (struct sockaddr *)&from, size), got);
        }
        got = recv(fd, answer, max, 0);
        if (got > 0)
            return (size_t)got;
    }
    return 0;
}

static void check_resolver(const char *nameserver, bool at_host)
{
    struct world w;
    struct err err;
    struct loop *loop = loop_new(&err);
    struct capture_dns dns = {address(nameserver), CAPTURE_DNS};
    struct dns_options o = {.loop = loop,
                            .nameservers = &dns.server,
                            .nameserver_count = 1,
                            .port = CAPTURE_DNS,
                            .mark = CAPTURE_MARK};
    struct dns_table *t = dns_table_new();
    struct addr vip = address("240.240.0.7:0");
    struct dns_server *d;
    uint8_t answer[512];
    int real, fd;

    world_init(&w);
    if (!at_host)
        enter(w.peer);
    real = bound(nameserver, SOCK_DGRAM, false);
    enter(w.host);
    w.plan.dns = &dns;
    w.plan.dns_count = 1;
    d = dns_server_open(&o, &err);
    CHECK(d != NULL);
    CHECK(dns_table_add(t, STR("reviews"), STR(""), &vip, 1));
    dns_server_apply(d, t);
    apply(&w);

    fd = dial_udp(nameserver, 0);
    CHECK_INT(ask(loop, fd, real, "reviews", answer, sizeof(answer)), 25 + 16);
    CHECK(memcmp(answer + 37, "\xf0\xf0\0\7", 4) == 0);
    CHECK_INT(ask(loop, fd, real, "another", answer, sizeof(answer)), 25);
    CHECK_INT(answer[3], 0x83);
    close(fd);
    close(real);
    dns_server_close(d);
    loop_free(loop);
    world_done(&w);
}

EACH(mesh_names_resolve_and_others_come_from_the_nameserver)
{
    check_resolver("10.9.0.2:53", false);
    check_resolver("[fd09::2]:53", false);
}

/* systemd-resolved, or no nameserver line at all. */
EACH(a_nameserver_on_loopback_works_too)
{
    check_resolver("127.0.0.53:53", true);
    check_resolver("127.0.0.1:53", true);
}
