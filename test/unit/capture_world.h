/* The ground of the tests of capture: the kernel, with real sockets. Every test has a network namespace of its own ("the
 * host") and one on the other end of a cable ("the peer"): 10.9.0.1 and fd09::1 here, 10.9.0.2 and
 * fd09::2 there. Only link routes exist, no default route. Needs root.
 *
 * EACH tests run with nftables and with both flavours of iptables: the story is the same, only how
 * to look into the kernel differs.
 *
 * A connection that the redirect answers with a listener's backlog exists before anybody accepts,
 * so one process plays everybody.
 */
#pragma once

#include "test/test.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/agent/capture.h"
#include "cmd/agent/capture_keeper.h"
#include "proxy/origdst.h"

#define APP    8080 /* registered, strict or not as the test says */
#define OTHER  9090 /* registered, permissive */
#define NOBODY 7070 /* not registered */

#define SETTLE_MS   20000
#define PATIENCE_MS 30000 /* for what has to happen, on a machine that may stand still */
#define CLEAN_MS    20000 /* for a keeper after the death of its agent; it wants 2 s where nothing stalls it */

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

__attribute__((unused)) static void shell(const char *command)
{
    if (system(command) != 0) {
        print_error("failed: %s\n", command);
        fail();
    }
}

__attribute__((unused)) static bool shell_says(const char *command)
{
    return system(command) == 0;
}

__attribute__((unused)) static bool by_nft(void)
{
    return flavour->mode == CAPTURE_NFTABLES;
}

static char folder[] = "/tmp/weft-xtables-XXXXXX"; /* for the programs of a flavour, by these names */
static const char *const names[] = {"iptables",  "iptables-save",  "iptables-restore",
                                    "ip6tables", "ip6tables-save", "ip6tables-restore"};
static pid_t folder_owner; /* children that end leave it alone */

__attribute__((unused)) static void remove_folder(void)
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
__attribute__((unused)) static void use(const struct flavour *f)
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

__attribute__((unused)) static int new_namespace(void)
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

__attribute__((unused)) static void enter(int namespace)
{
    CHECK_INT(setns(namespace, CLONE_NEWNET), 0);
}

__attribute__((unused)) static struct addr address(const char *text)
{
    struct addr a;

    if (!addr_parse(str_from(text), &a)) {
        print_error("not an address: %s\n", text);
        fail();
    }
    return a;
}

__attribute__((unused)) static int bound(const char *at, int type, bool dual)
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

__attribute__((unused)) static void lay_cable(struct world *w)
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

__attribute__((unused)) static void world_init(struct world *w)
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

__attribute__((unused)) static int try_apply(struct capture *c, const struct capture_plan *p, struct err *err)
{
    if (capture_apply(c, p, err) < 0)
        return -1;
    return capture_settle(c, SETTLE_MS, err) == CAPTURE_IN_FORCE ? 0 : -1;
}

__attribute__((unused)) static void apply(struct world *w)
{
    struct err err = {0};

    if (try_apply(w->capture, &w->plan, &err) < 0) {
        print_error("%s\n", err.text);
        fail();
    }
}

__attribute__((unused)) static void world_done(struct world *w)
{
    int fds[] = {w->host, w->peer,  w->outbound4, w->outbound6, w->inbound,
                 w->app,  w->other, w->nobody,    w->peer_app};

    capture_close(w->capture, true);
    for (size_t i = 0; i < COUNT(fds); i++)
        close(fds[i]);
}

/* The descriptor, or -errno; a second at most. */
__attribute__((unused)) static int dial_marked(const char *to, uint32_t mark)
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
    else if (poll(&p, 1, PATIENCE_MS) != 1)
        error = ETIMEDOUT;
    else
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n);
    if (error == 0)
        return fd;
    close(fd);
    return -error;
}

__attribute__((unused)) static int dial(const char *to)
{
    return dial_marked(to, 0);
}

__attribute__((unused)) static int dial_from_peer(const struct world *w, const char *to)
{
    int fd;

    enter(w->peer);
    fd = dial(to);
    enter(w->host);
    return fd;
}

/* `client` ended at `listener`, which learns that it was meant for `want` (NULL: not redirected).
 */
__attribute__((unused)) static void check_arrived(int client, int listener, const char *want)
{
    struct pollfd p = {.fd = listener, .events = POLLIN};
    char text[ADDR_TEXT_MAX];
    struct addr got;
    int fd;

    if (client < 0)
        print_error("connect: %s\n", strerror(-client));
    CHECK(client >= 0);
    CHECK_INT(poll(&p, 1, PATIENCE_MS), 1);
    fd = accept(listener, NULL, NULL);
    CHECK(fd >= 0);
    CHECK_INT(origdst_get(fd, &got), want != NULL);
    if (want)
        CHECK_TEXT(addr_format(&got, text), want);
    /* Bytes go both ways. */
    CHECK_INT(send(client, "x", 1, 0), 1);
    p.fd = fd;
    CHECK_INT(poll(&p, 1, PATIENCE_MS), 1);
    CHECK_INT(send(fd, "y", 1, 0), 1);
    p.fd = client;
    CHECK_INT(poll(&p, 1, PATIENCE_MS), 1);
    close(fd);
    close(client);
}

__attribute__((unused)) static void check_refused(int client)
{
    CHECK_INT(client, -ECONNREFUSED);
}
