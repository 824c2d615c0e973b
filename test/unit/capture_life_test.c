/* Agents that begin, end and die, the keeper behind them, and the choice of a backend. */
#include "test/unit/capture_world.h"

#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>

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
    CHECK_INT(poll(&p, 1, PATIENCE_MS), 1);
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
