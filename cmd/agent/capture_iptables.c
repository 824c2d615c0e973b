/* The iptables backend, on the agent's side: makes the text of a plan and hands it to the keeper
 * (capture_keeper.h), which does the rest. A keeper that was killed is started again with the
 * next plan. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/agent/capture_backend.h"
#include "cmd/agent/capture_keeper.h"
#include "mesh/base/mem.h"

#define END_MS (4 * XTABLES_RUN_MS) /* for the keeper's last order, at the worst */

extern char **environ;

struct iptables {
    struct xtables x;
    int socket; /* to the keeper; -1: none runs */
    pid_t keeper;
    uint64_t number; /* of the newest plan */
    enum capture_state state;
};

/* ---- the keeper ---- */

static int start_keeper(struct iptables *t, struct err *err)
{
    char name[] = KEEPER_NAME;
    char *const argv[] = {name, NULL};
    posix_spawn_file_actions_t actions;
    int pair[2], error;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_errno(err, ERR_IO, "cannot make a socket for the keeper of the rules");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pair[1], STDIN_FILENO);
    error = posix_spawn(&t->keeper, "/proc/self/exe", &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    (void)close(pair[1]); /* the keeper has its own */
    if (error) {
        (void)close(pair[0]);
        errno = error;
        return err_errno(err, ERR_IO, "cannot start the keeper of the rules");
    }
    t->socket = pair[0];
    return 0;
}

static void bury_keeper(struct iptables *t)
{
    if (t->socket < 0)
        return;
    (void)shutdown(t->socket, SHUT_RDWR); /* its end is the keeper's last order */
    (void)close(t->socket);               /* nothing is under way on it */
    t->socket = -1;
    (void)waitpid(t->keeper, NULL, 0); /* it is ours, so it is there */
}

static int order(struct iptables *t, enum keeper_order what, const int *files, unsigned count,
                 struct err *err)
{
    union {
        char room[CMSG_SPACE(sizeof(int) * XTABLES_FAMILIES)];
        struct cmsghdr align;
    } control = {0};
    struct keeper_request r = {.number = t->number, .order = what};
    struct iovec part = {&r, sizeof(r)};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};

    if (count > 0) {
        struct cmsghdr *c = &control.align;

        m.msg_control = &control;
        m.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(c), files, sizeof(int) * count);
    }
    if (sendmsg(t->socket, &m, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof(r))
        return 0;
    return err_errno(err, ERR_IO, "the keeper of the iptables rules does not listen");
}

/* ---- the backend ---- */

/* Does this iptables know everything that a plan uses? */
static int try_programs(const struct xtables *x, struct err *err)
{
    static const struct capture_inbound port = {1, true};
    struct capture_dns dns = {.port = 2};
    struct capture_plan p;

    capture_plan_init(&p);
    p.inbound = &port;
    p.dns = &dns;
    p.inbound_count = p.dns_count = 1;
    for (unsigned f = 0; f < x->families; f++) {
        struct buf text;
        int rc;

        dns.server.family = f == XTABLES_V4 ? 4 : 6;
        buf_init(&text, XTABLES_TEXT_MAX);
        xtables_format(&p, dns.server.family, &text);
        rc = xtables_restore(x, f, buf_str(&text), true, err);
        buf_done(&text);
        if (rc < 0 && !strstr(x->version, "nf_tables"))
            return err_wrap(err, "iptables %s, which needs root, CAP_NET_RAW and /run/xtables.lock",
                            x->version);
        if (rc < 0)
            return err_wrap(err, "iptables %s", x->version);
    }
    return 0;
}

static void *iptables_open(struct buf *why, struct err *err)
{
    struct iptables *t = MEM_NEW(struct iptables);

    t->socket = -1;
    if (xtables_find(&t->x, err) == 0 && try_programs(&t->x, err) == 0 &&
        start_keeper(t, err) == 0) {
        buf_printf(why, "iptables %s%s", t->x.version,
                   t->x.families == 1 ? ", this host has no IPv6" : "");
        return t;
    }
    mem_free(t);
    return NULL;
}

static int iptables_apply(void *b, const struct capture_plan *p, enum capture_state *state,
                          struct err *err)
{
    struct iptables *t = b;
    int files[XTABLES_FAMILIES];
    unsigned made = 0;
    int rc = -1;

    if (t->socket < 0 && start_keeper(t, err) < 0)
        return -1;
    for (; made < t->x.families; made++) {
        struct buf text;

        buf_init(&text, XTABLES_TEXT_MAX);
        xtables_format(p, made == XTABLES_V4 ? 4 : 6, &text);
        files[made] = text.failed
                          ? err_set(err, ERR_LIMIT, "the capture rules are longer than %u bytes",
                                    XTABLES_TEXT_MAX)
                          : xtables_file(buf_str(&text), err);
        buf_done(&text);
        if (files[made] < 0)
            break;
    }
    if (made == t->x.families) {
        t->number++;
        rc = order(t, KEEPER_APPLY, files, made, err);
    }
    while (made-- > 0)
        (void)close(files[made]); /* the keeper has its own */
    if (rc == 0)
        *state = t->state = CAPTURE_UNDER_WAY;
    return rc;
}

static int iptables_fd(const void *b)
{
    return ((const struct iptables *)b)->socket;
}

static enum capture_state iptables_settle(void *b, int wait_ms, struct err *err)
{
    struct iptables *t = b;
    struct keeper_answer a;

    while (t->socket >= 0) {
        struct pollfd p = {.fd = t->socket, .events = POLLIN};
        ssize_t n;

        if (poll(&p, 1, t->state == CAPTURE_UNDER_WAY ? wait_ms : 0) <= 0)
            break;
        n = recv(t->socket, &a, sizeof(a), MSG_DONTWAIT);
        if (n != sizeof(a)) {
            bury_keeper(t);
            t->state = CAPTURE_REFUSED;
            err_set(err, ERR_IO, "the keeper of the iptables rules has ended");
        } else if (a.number == t->number) {
            t->state = a.code ? CAPTURE_REFUSED : CAPTURE_IN_FORCE;
            if (a.code)
                err_set(err, a.code, "%s", a.text);
        }
    }
    return t->state;
}

static bool iptables_is_whole(void *b)
{
    struct iptables *t = b;
    struct err ignored;

    /* While a plan is under way the keeper looks anyway; a failure shows with settle. */
    if (t->state == CAPTURE_IN_FORCE && t->socket >= 0)
        (void)order(t, KEEPER_LOOK, NULL, 0, &ignored);
    return t->socket >= 0;
}

static void iptables_close(void *b, bool had_applied, bool remove_guard)
{
    struct iptables *t = b;
    struct err err;

    if (t->socket >= 0 && had_applied) {
        t->number++;
        t->state = CAPTURE_UNDER_WAY;
        /* If this fails, the end of the socket still removes the redirects. */
        if (order(t, remove_guard ? KEEPER_REMOVE : KEEPER_RELEASE, NULL, 0, &err) == 0)
            (void)iptables_settle(t, END_MS, &err);
    }
    bury_keeper(t);
    mem_free(t);
}

static int iptables_release(bool with_guard, bool *removed, struct err *err)
{
    struct xtables x;
    struct err missing;

    if (xtables_find(&x, &missing) < 0) /* then nothing of ours can be there */
        return 0;
    return keeper_release(&x, with_guard, removed, err);
}

const struct capture_ops capture_iptables = {
    .name = "iptables",
    .open = iptables_open,
    .apply = iptables_apply,
    .fd = iptables_fd,
    .settle = iptables_settle,
    .is_whole = iptables_is_whole,
    .close = iptables_close,
    .is_held = keeper_is_held,
    .release = iptables_release,
};
