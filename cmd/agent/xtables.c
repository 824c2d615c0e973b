/* See xtables.h. Input goes through a file in memory and not a pipe: so nobody has to write while
 * the program runs, and the end of its output is the only event to wait for. */
#include "cmd/agent/xtables.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "mesh/base/file.h"

#define WHY_MAX     512u   /* bytes kept of what a program says on standard error */
#define END_LOOK_NS 500000 /* between looks whether a program that closed its output has ended */

#define QUOTE_(x) #x
#define QUOTE(x)  QUOTE_(x)

extern char **environ;

/* ---- a program ---- */

static int64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail */
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int xtables_file(struct str text, struct err *err)
{
    int fd = memfd_create("weft-rules", MFD_CLOEXEC);

    if (fd < 0)
        return err_errno(err, ERR_IO, "cannot make a file in memory for the rules");
    while (text.n > 0) {
        ssize_t n = write(fd, text.p, text.n);

        if (n < 0) {
            err_errno(err, ERR_IO, "cannot write the rules to a file in memory");
            (void)close(fd); /* it is given up */
            return -1;
        }
        text = str_sub(text, (size_t)n, text.n);
    }
    (void)lseek(fd, 0, SEEK_SET); /* a file in memory can */
    return fd;
}

static int spawn(const char *const *argv, const int fds[3], pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    int error;

    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    for (int i = 0; i < 3; i++)
        posix_spawn_file_actions_adddup2(&actions, fds[i], i);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    error =
        posix_spawn(pid, argv[0], &actions, &attributes, (char *const *)(uintptr_t)argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

/* Read both to their ends; false when the deadline came first, or there was too much. */
static bool collect(int out_fd, int why_fd, struct buf *out, struct buf *why, int64_t deadline_ms)
{
    struct pollfd p[2] = {
        {.fd = out_fd, .events = POLLIN},
        {.fd = why_fd, .events = POLLIN},
    };
    struct buf *to[2] = {out, why};
    char room[16384];

    while (p[0].fd >= 0 || p[1].fd >= 0) {
        int64_t left = deadline_ms - now_ms();

        if (left <= 0 || (poll(p, 2, (int)left) <= 0 && errno != EINTR))
            return false;
        for (size_t i = 0; i < 2; i++) {
            ssize_t n;

            if (p[i].fd < 0 || !p[i].revents)
                continue;
            n = read(p[i].fd, room, sizeof(room));
            if (n > 0)
                buf_add(to[i], (struct str){room, (size_t)n});
            else
                p[i].fd = -1;
        }
        if (out->failed)
            return false;
    }
    return true;
}

/* The exit status; -1 when it had to be killed. */
static int await(pid_t pid, bool kill_now, int64_t deadline_ms)
{
    const struct timespec look = {.tv_nsec = END_LOOK_NS};
    int status = 0;

    while (!kill_now) {
        pid_t ended = waitpid(pid, &status, WNOHANG);

        if (ended == pid)
            return status;
        kill_now = ended < 0 || now_ms() > deadline_ms;
        (void)nanosleep(&look, NULL); /* woken early is fine */
    }
    (void)kill(pid, SIGKILL);       /* it may have ended */
    (void)waitpid(pid, &status, 0); /* its status says nothing any more */
    return -1;
}

/* Its lines as one. */
static void add_reason(struct buf *b, struct str text)
{
    struct str line;
    size_t start = b->n;

    while (str_next(&text, '\n', &line)) {
        line = str_trim(line);
        if (line.n > 0)
            buf_printf(b, "%s%.*s", b->n > start ? " " : "", STR_ARG(line));
    }
}

static int judge(const char *program, int status, const struct buf *out, const struct buf *why,
                 struct err *err)
{
    struct buf reason;

    if (status == 0)
        return 0;
    if (out->failed)
        return err_set(err, ERR_LIMIT, "%s prints more than %zu bytes", program, out->max);
    if (status < 0)
        return err_set(err, ERR_IO, "%s did not end within %d s", program, XTABLES_RUN_MS / 1000);
    buf_init(&reason, 2 * WHY_MAX);
    add_reason(&reason, buf_str(why));
    if (reason.n > 0)
        (void)err_set(err, ERR_IO, "%.*s", STR_ARG(buf_str(&reason)));
    else
        (void)err_set(err, ERR_IO, "%s ended with %d without a reason", program, status);
    buf_done(&reason);
    return -1;
}

/* Run to the end; `in` is read from, its standard output appended to `out`. */
static int run(const char *const *argv, int in, struct buf *out, struct err *err)
{
    int64_t deadline_ms = now_ms() + XTABLES_RUN_MS;
    int out_pipe[2] = {-1, -1}, why_pipe[2] = {-1, -1}, status, error;
    struct buf why;
    pid_t pid;
    int rc = -1;

    buf_init(&why, WHY_MAX);
    if (pipe2(out_pipe, O_CLOEXEC) < 0 || pipe2(why_pipe, O_CLOEXEC) < 0) {
        err_errno(err, ERR_IO, "cannot make a pipe");
        goto out;
    }
    error = spawn(argv, (const int[]){in, out_pipe[1], why_pipe[1]}, &pid);
    if (error) {
        errno = error;
        err_errno(err, ERR_IO, "cannot start %s", argv[0]);
        goto out;
    }
    (void)close(out_pipe[1]); /* the program has its own */
    (void)close(why_pipe[1]);
    out_pipe[1] = why_pipe[1] = -1;
    status = collect(out_pipe[0], why_pipe[0], out, &why, deadline_ms)
                 ? await(pid, false, deadline_ms)
                 : await(pid, true, deadline_ms);
    rc = judge(argv[0], status, out, &why, err);
out:
    for (size_t i = 0; i < 2; i++) {
        if (out_pipe[i] >= 0)
            (void)close(out_pipe[i]); /* nothing is written back */
        if (why_pipe[i] >= 0)
            (void)close(why_pipe[i]);
    }
    buf_done(&why);
    return rc;
}

/* ---- which programs ---- */

static bool find_in(struct str folders, const char *name, char *path, size_t max)
{
    struct str folder;

    while (str_next(&folders, ':', &folder)) {
        int n = snprintf(path, max, "%.*s/%s", STR_ARG(folder), name);

        if (folder.n > 0 && n > 0 && (size_t)n < max && access(path, X_OK) == 0)
            return true;
    }
    return false;
}

static int find(const char *name, char *path, size_t max, struct err *err)
{
    if (find_in(str_from(getenv("PATH")), name, path, max) ||
        find_in(STR("/usr/sbin:/sbin:/usr/local/sbin"), name, path, max))
        return 0;
    return err_set(err, ERR_MISSING,
                   "the program %s is not on this host: install the package iptables", name);
}

/* "iptables-restore v1.8.9 (nf_tables)" */
static int ask_version(struct xtables *x, struct err *err)
{
    const char *const argv[] = {x->restore[XTABLES_V4], "--version", NULL};
    int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct str line, word;
    struct buf out;
    int rc;

    buf_init(&out, XTABLES_TEXT_MAX);
    rc = run(argv, in, &out, err);
    line = str_trim(buf_str(&out));
    if (rc == 0 && str_cut(&line, ' ', &word))
        (void)snprintf(x->version, sizeof(x->version), "%.*s", STR_ARG(line));
    buf_done(&out);
    (void)close(in); /* nothing was written */
    return rc;
}

int xtables_find(struct xtables *x, struct err *err)
{
    static const char *const prefixes[] = {"iptables", "ip6tables"};

    *x = (struct xtables){.families = file_exists("/proc/net/if_inet6") ? 2 : 1};
    for (unsigned f = 0; f < x->families; f++) {
        char name[32];

        (void)snprintf(name, sizeof(name), "%s-save", prefixes[f]);
        if (find(name, x->save[f], sizeof(x->save[f]), err) < 0)
            return -1;
        (void)snprintf(name, sizeof(name), "%s-restore", prefixes[f]);
        if (find(name, x->restore[f], sizeof(x->restore[f]), err) < 0)
            return -1;
    }
    return ask_version(x, err);
}

int xtables_save(const struct xtables *x, enum xtables_family f, struct xtables_state *out,
                 struct err *err)
{
    /* All tables that there are: with -t the legacy flavour would make the ones that are not. */
    const char *const argv[] = {x->save[f], NULL};
    int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct buf text;
    int rc;

    buf_init(&text, XTABLES_TEXT_MAX);
    rc = run(argv, in, &text, err);
    if (rc == 0)
        xtables_parse(buf_str(&text), out);
    buf_done(&text);
    (void)close(in); /* nothing was written */
    return rc;
}

int xtables_restore(const struct xtables *x, enum xtables_family f, struct str text, bool only_test,
                    struct err *err)
{
    const char *const argv[] = {
        x->restore[f], "--noflush", "-w", QUOTE(XTABLES_LOCK_S), only_test ? "--test" : NULL, NULL};
    int in = xtables_file(text, err);
    struct buf out;
    int rc;

    if (in < 0)
        return -1;
    buf_init(&out, XTABLES_TEXT_MAX);
    rc = run(argv, in, &out, err);
    buf_done(&out);
    (void)close(in); /* it was only read */
    return rc;
}
