/* See capture_keeper.h. Everything here may block: it is the keeper's whole business. */
#include "cmd/agent/capture_keeper.h"

#include <errno.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "mesh/base/file.h"
#include "mesh/base/log.h"

#define LOCK_NAME      "weft-capture"
#define KEEPER_LOCK_MS 2000 /* a clean-up takes milliseconds */
#define LOCK_PAUSE_MS  5
#define LOCK_QUEUE     1024 /* who waits for a clean-up asks KEEPER_LOCK_MS / LOCK_PAUSE_MS times */
#define STATUS_MAX     65536
#define CLEAN_TRIES    240 /* a minute of them; then the unit or the next agent has to do it */
#define CLEAN_PAUSE_MS 250
#define LOOK_SHARE     100 /* looking takes a hundredth of the time; */
#define SLOW_SHARE     20  /* a twentieth at most where that would come too seldom, on a busy machine; */
#define REPAIR_SHARE   10  /* a tenth after a repair: who removes rules may not be through yet */
#define LOOK_PAUSE_MS  5000

struct keeper {
    struct xtables x;
    int lock; /* -1: not held */
    bool has_applied;
    struct buf plan[XTABLES_FAMILIES]; /* in force */
    int64_t next_look_ms;
};

static int64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail */
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- the lock ---- */

static socklen_t lock_address(struct sockaddr_un *out)
{
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(out->sun_path + 1, LOCK_NAME, sizeof(LOCK_NAME) - 1); /* a zero first: abstract */
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + sizeof(LOCK_NAME));
}

/* Who may change iptables anyway need not be kept from holding the lock; who may not is no keeper.
 */
static bool may_be_keeper(const struct ucred *who)
{
    char path[64];
    struct buf status;
    struct str text, line;
    uint64_t effective = 0;
    struct err err;

    if (who->uid == 0 || who->uid == geteuid())
        return true;
    (void)snprintf(path, sizeof(path), "/proc/%d/status", who->pid);
    buf_init(&status, STATUS_MAX);
    text = file_read(path, &status, &err) == 0 ? buf_str(&status) : STR_NONE;
    while (str_next(&text, '\n', &line)) {
        if (str_starts(line, STR("CapEff:")) &&
            !str_hex(str_trim(str_sub(line, 7, line.n)), UINT64_MAX, &effective))
            effective = 0;
    }
    buf_done(&status);
    return effective & BIT(CAP_NET_ADMIN);
}

/* Is there a holder that is one of ours? *pid says who. */
static bool meet_holder(pid_t *pid)
{
    struct sockaddr_un at;
    socklen_t size = lock_address(&at), n = sizeof(struct ucred);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct ucred who;
    bool met;

    if (fd < 0)
        return false;
    /* A full queue is no keeper's: they empty it. */
    met = connect(fd, (struct sockaddr *)&at, size) == 0 &&
          getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) == 0;
    (void)close(fd); /* nothing was sent */
    if (!met)
        return false;
    *pid = who.pid;
    return may_be_keeper(&who);
}

static bool wait_for_holder(pid_t *pid)
{
    const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * 1000000L};
    int64_t until_ms = now_ms() + KEEPER_LOCK_MS;

    while (meet_holder(pid)) {
        if (now_ms() > until_ms)
            return true;
        (void)nanosleep(&pause, NULL); /* woken early is fine */
    }
    return false;
}

/* Those who looked whether we live. */
static void empty_queue(int lock)
{
    int fd;

    while (lock >= 0 && (fd = accept4(lock, NULL, NULL, SOCK_CLOEXEC)) >= 0)
        (void)close(fd); /* there is nothing to say */
}

bool keeper_is_held(void)
{
    pid_t pid;

    return wait_for_holder(&pid);
}

static int take_lock(struct keeper *k, struct err *err)
{
    struct sockaddr_un at;
    socklen_t size = lock_address(&at);
    pid_t pid = 0;

    if (k->lock >= 0)
        return 0;
    if (wait_for_holder(&pid))
        return err_set(err, ERR_CONFLICT,
                       "process %d redirects on this host: is another weft agent running?", pid);
    k->lock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (k->lock < 0)
        return err_errno(err, ERR_IO, "cannot make a socket");
    if (bind(k->lock, (struct sockaddr *)&at, size) == 0 && listen(k->lock, LOCK_QUEUE) == 0)
        return 0;
    if (errno == EADDRINUSE) {
        log_warn("a process that is no agent holds the abstract socket " LOCK_NAME
                 ": carrying on without the lock that keeps two agents apart");
        return 0;
    }
    (void)close(k->lock); /* it was never bound */
    k->lock = -1;
    return err_errno(err, ERR_IO, "cannot take the lock " LOCK_NAME);
}

/* ---- changing rules ---- */

static int put(const struct keeper *k, enum xtables_family f, struct str plan, bool only_if_broken,
               bool *changed, struct err *err)
{
    struct xtables_state found;
    struct buf input;
    int rc;

    if (xtables_save(&k->x, f, &found, err) < 0)
        return -1;
    *changed = !only_if_broken || !xtables_is_whole(plan, &found);
    if (!*changed) {
        xtables_state_done(&found);
        return 0;
    }
    buf_init(&input, XTABLES_TEXT_MAX);
    xtables_compose(&found, plan, &input);
    xtables_state_done(&found);
    rc = input.failed ? err_set(err, ERR_LIMIT, "the capture rules are longer than %u bytes",
                                XTABLES_TEXT_MAX)
                      : xtables_restore(&k->x, f, buf_str(&input), false, err);
    buf_done(&input);
    return rc;
}

/* *removed, when there was something: true. */
static int take_away(const struct xtables *x, bool filter, bool *removed, struct err *err)
{
    int rc = 0;

    for (unsigned f = 0; f < x->families; f++) {
        struct xtables_state found;
        struct buf input;

        if (xtables_save(x, f, &found, err) < 0)
            return -1;
        buf_init(&input, XTABLES_TEXT_MAX);
        xtables_remove(&found, true, filter, &input);
        *removed |= input.n > 0;
        if (input.n > 0 && xtables_restore(x, f, buf_str(&input), false, err) < 0)
            rc = -1;
        buf_done(&input);
        xtables_state_done(&found);
    }
    return rc;
}

int keeper_release(const struct xtables *x, bool with_guard, bool *removed, struct err *err)
{
    struct keeper k = {.x = *x, .lock = -1};
    int rc;

    if (take_lock(&k, err) < 0)
        return -1;
    rc = take_away(&k.x, with_guard, removed, err);
    if (k.lock >= 0)
        (void)close(k.lock); /* nothing was written to it */
    return rc;
}

/* All families or none: what was there comes back when one fails. */
static int apply(struct keeper *k, struct buf plan[XTABLES_FAMILIES], struct err *err)
{
    struct err ignored;
    bool changed = false;
    unsigned f;

    if (take_lock(k, err) < 0)
        return -1;
    for (f = 0; f < k->x.families; f++) {
        /* Once more: somebody may have changed a chain between the look and the change. */
        if (put(k, f, buf_str(&plan[f]), false, &changed, err) < 0 &&
            put(k, f, buf_str(&plan[f]), false, &changed, err) < 0)
            break;
    }
    if (f == k->x.families) {
        for (f = 0; f < k->x.families; f++) {
            buf_done(&k->plan[f]);
            k->plan[f] = plan[f];
            plan[f] = (struct buf){0};
        }
        k->has_applied = true;
        return 0;
    }
    if (!k->has_applied) {
        (void)take_away(&k->x, false, &changed, &ignored); /* the reason to report is in err */
        return -1;
    }
    for (f = 0; f < k->x.families; f++)
        (void)put(k, f, buf_str(&k->plan[f]), true, &changed, &ignored);
    return -1;
}

static int64_t pause_after(int64_t took_ms, bool repaired)
{
    return repaired ? REPAIR_SHARE * took_ms : MIN(LOOK_SHARE * took_ms, MAX(SLOW_SHARE * took_ms, LOOK_PAUSE_MS));
}

static int look(struct keeper *k, struct err *err)
{
    int64_t start_ms = now_ms();
    bool changed, any = false;
    int rc = 0;

    if (!k->has_applied || start_ms < k->next_look_ms)
        return 0;
    for (unsigned f = 0; f < k->x.families && rc == 0; f++) {
        rc = put(k, f, buf_str(&k->plan[f]), true, &changed, err);
        any |= changed;
    }
    if (any && rc == 0)
        log_warn("somebody removed or moved rules of ours in iptables: they were put back");
    k->next_look_ms = now_ms() + pause_after(now_ms() - start_ms, any);
    return rc;
}

static void clean_after_death(struct keeper *k)
{
    const struct timespec pause = {.tv_nsec = CLEAN_PAUSE_MS * 1000000L};
    struct err err;
    bool any = false;

    for (unsigned i = 0; i < CLEAN_TRIES; i++) {
        if (take_away(&k->x, false, &any, &err) == 0) {
            log_warn("the agent is dead: redirects are removed, the guard stays");
            return;
        }
        if (i == 0)
            log_error("the agent is dead and its redirects cannot be removed, trying again: %s",
                      err.text);
        (void)nanosleep(&pause, NULL); /* woken early is fine */
    }
    log_error("redirects of a dead agent stay: weft agent release");
}

/* ---- talking ---- */

struct inbox {
    struct keeper_request request;
    int files[XTABLES_FAMILIES];
    unsigned file_count;
};

static void drop_files(struct inbox *in)
{
    for (unsigned i = 0; i < in->file_count; i++)
        (void)close(in->files[i]); /* only read from */
    in->file_count = 0;
}

/* 1 when there is one, 0 when none waits, -1 at the end. */
static int receive(struct inbox *in)
{
    union {
        char room[CMSG_SPACE(sizeof(int) * XTABLES_FAMILIES)];
        struct cmsghdr align;
    } control;
    struct iovec part = {&in->request, sizeof(in->request)};
    struct msghdr m = {.msg_iov = &part,
                       .msg_iovlen = 1,
                       .msg_control = &control,
                       .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(STDIN_FILENO, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    in->file_count = 0;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    if (n != sizeof(in->request))
        return -1;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        in->file_count = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(in->files, CMSG_DATA(c), in->file_count * sizeof(int));
    }
    return 1;
}

static void answer(const struct inbox *to, const struct err *err)
{
    struct keeper_answer a = {.number = to->request.number};

    if (err) {
        a.code = err->code;
        memcpy(a.text, err->text, sizeof(a.text));
    }
    /* A dead agent, and one that lets two hundred answers wait, goes without. */
    (void)send(STDIN_FILENO, &a, sizeof(a), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static int read_plan(const struct inbox *in, unsigned f, struct buf *out, struct err *err)
{
    char room[65536];
    ssize_t n;

    while ((n = read(in->files[f], room, sizeof(room))) > 0)
        buf_add(out, (struct str){room, (size_t)n});
    if (n < 0 || out->failed)
        return err_set(err, ERR_IO, "the keeper cannot read the plan");
    return 0;
}

static int serve_apply(struct keeper *k, const struct inbox *in, struct err *err)
{
    struct buf plan[XTABLES_FAMILIES] = {0};
    int rc = 0;

    if (in->file_count != k->x.families)
        return err_set(err, ERR_IO, "the keeper got %u plans for %u families", in->file_count,
                       k->x.families);
    for (unsigned f = 0; f < k->x.families; f++)
        buf_init(&plan[f], XTABLES_TEXT_MAX);
    for (unsigned f = 0; f < k->x.families && rc == 0; f++)
        rc = read_plan(in, f, &plan[f], err);
    if (rc == 0)
        rc = apply(k, plan, err);
    for (unsigned f = 0; f < k->x.families; f++)
        buf_done(&plan[f]);
    return rc;
}

/* False when this was the last order. */
static bool serve(struct keeper *k, const struct inbox *in)
{
    struct err err;
    bool any = false;
    int rc = 0;

    switch (in->request.order) {
    case KEEPER_APPLY:
        rc = serve_apply(k, in, &err);
        break;
    case KEEPER_LOOK:
        if (look(k, &err) < 0)
            answer(in, &err);
        return true;
    case KEEPER_RELEASE:
    case KEEPER_REMOVE:
        rc = take_away(&k->x, in->request.order == KEEPER_REMOVE, &any, &err);
        break;
    }
    answer(in, rc < 0 ? &err : NULL);
    return in->request.order == KEEPER_APPLY || rc < 0;
}

/* A plan that waits behind a newer one is out of date, and a look in front of one not needed. */
static int receive_newest(struct inbox *in)
{
    struct keeper_request next;
    int got = receive(in);

    while (got > 0 &&
           recv(STDIN_FILENO, &next, sizeof(next), MSG_PEEK | MSG_DONTWAIT) == sizeof(next) &&
           next.order == KEEPER_APPLY) {
        drop_files(in);
        got = receive(in);
    }
    return got;
}

int capture_keeper_run(void)
{
    struct keeper k = {.lock = -1};
    struct inbox in = {0};
    sigset_t all;
    struct err err;
    bool go_on = true;

    /* What ends the agent's process group is not meant for us: we end when the agent has. */
    sigfillset(&all);
    (void)sigprocmask(SIG_SETMASK, &all, NULL);
    (void)prctl(PR_SET_NAME, KEEPER_NAME); /* for ps */
    log_name(KEEPER_NAME);
    if (xtables_find(&k.x, &err) < 0) {
        log_error("%s", err.text);
        return 1;
    }
    while (go_on) {
        struct pollfd p[2] = {
            {.fd = STDIN_FILENO, .events = POLLIN},
            {.fd = k.lock,       .events = POLLIN},
        };
        int got;

        (void)poll(p, 2, -1); /* whatever it says: both are looked at */
        empty_queue(k.lock);
        got = receive_newest(&in);
        if (got < 0)
            break;
        if (got > 0)
            go_on = serve(&k, &in);
        drop_files(&in);
    }
    if (go_on && k.has_applied)
        clean_after_death(&k);
    for (unsigned f = 0; f < XTABLES_FAMILIES; f++)
        buf_done(&k.plan[f]);
    return 0;
}
