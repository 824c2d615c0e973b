/* What a service manager hears, by a socket of its own. */
#include "cmd/notify.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "test/test.h"

/* The manager's end, at a path or at "@name". */
static int manager(const char *name)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    size_t n = strlen(name);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    memcpy(at.sun_path, name, n);
    if (name[0] == '@')
        at.sun_path[0] = 0;
    CHECK(fd >= 0);
    CHECK_INT(bind(fd, (struct sockaddr *)&at,
                   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (name[0] != '@'))),
              0);
    return fd;
}

static void check_heard(int fd, const char *want)
{
    char text[1024];
    ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

    text[n > 0 ? n : 0] = 0;
    CHECK_TEXT(text, want); /* "" is nothing at all */
}

static void name_of(char *out, size_t size, const char *start)
{
    (void)snprintf(out, size, "%s-notify-%d", start, (int)getpid());
}

TEST(a_path_and_an_abstract_name_are_told_the_same)
{
    static const char *const starts[] = {"/tmp/weft", "@weft"};

    for (size_t i = 0; i < COUNT(starts); i++) {
        struct notify n;
        char name[64];
        int fd;

        name_of(name, sizeof(name), starts[i]);
        fd = manager(name);
        CHECK_INT(setenv("NOTIFY_SOCKET", name, 1), 0);
        notify_open(&n);
        CHECK(getenv("NOTIFY_SOCKET") == NULL); /* no child speaks for us */
        notify_status(&n, "serving %d\nREADY=1", 7);
        check_heard(fd, "STATUS=serving 7 READY=1"); /* one variable, whatever the text holds */
        notify_status(&n, "serving %d\nREADY=1", 7);
        check_heard(fd, ""); /* no news */
        notify_ready(&n);
        check_heard(fd, "READY=1");
        notify_ready(&n);
        check_heard(fd, "");
        notify_alive(&n);
        check_heard(fd, ""); /* nobody asked for it */
        notify_extend(&n, 30000);
        check_heard(fd, "EXTEND_TIMEOUT_USEC=30000000");
        notify_stopping(&n);
        check_heard(fd, "STOPPING=1");
        notify_close(&n);
        close(fd);
        if (name[0] == '/')
            unlink(name);
    }
}

TEST(what_a_busy_manager_did_not_take_is_said_again)
{
    struct notify n;
    char name[64], text[128];
    int fd;

    name_of(name, sizeof(name), "@weft");
    fd = manager(name);
    CHECK_INT(setenv("NOTIFY_SOCKET", name, 1), 0);
    notify_open(&n);
    for (int i = 0; i < 100000 && send(n.fd, "X", 1, MSG_DONTWAIT) == 1; i++)
        continue; /* until its queue is full */
    notify_ready(&n);
    notify_status(&n, "serving");
    CHECK(!n.is_ready);
    while (recv(fd, text, sizeof(text), 0) > 0)
        continue;
    notify_ready(&n);
    check_heard(fd, "READY=1");
    notify_status(&n, "serving");
    check_heard(fd, "STATUS=serving");
    notify_close(&n);
    close(fd);
}

TEST(after_a_reload_ready_is_said_again)
{
    struct notify n;
    char name[64], text[128];
    long long at;
    ssize_t size;
    int fd;

    name_of(name, sizeof(name), "@weft");
    fd = manager(name);
    CHECK_INT(setenv("NOTIFY_SOCKET", name, 1), 0);
    notify_open(&n);
    notify_reloading(&n);
    check_heard(fd, ""); /* still starting: there is nothing to load again */
    notify_ready(&n);
    check_heard(fd, "READY=1");
    notify_reloading(&n);
    size = recv(fd, text, sizeof(text) - 1, 0);
    CHECK(size > 0);
    text[size > 0 ? size : 0] = 0;
    CHECK_INT(sscanf(text, "RELOADING=1\nMONOTONIC_USEC=%lld", &at), 1);
    notify_ready(&n);
    check_heard(fd, "READY=1");
    notify_close(&n);
    close(fd);
}

TEST(the_watchdog_is_ours_only_by_its_pid)
{
    static const struct {
        const char *usec;
        int pid; /* 0: not said; 1: ours; -1: another's */
        int64_t watchdog_ms, ping_ms;
    } rows[] = {
        {NULL,          0,  0,     NOTIFY_PING_MS},
        {"30000000",    1,  30000, NOTIFY_PING_MS}, /* a quarter is more than we wait with a status */
        {"2000000",     0,  2000,  500           },
        {"2000000",     -1, 0,     NOTIFY_PING_MS},
        {"1",           1,  0,     NOTIFY_PING_MS}, /* below a millisecond nobody can mean it */
        {"2000000 per", 1,  0,     NOTIFY_PING_MS},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct notify n;
        char name[64], pid[16];
        int fd;

        name_of(name, sizeof(name), "@weft");
        fd = manager(name);
        (void)snprintf(pid, sizeof(pid), "%d", (int)getpid() + (rows[i].pid < 0));
        CHECK_INT(setenv("NOTIFY_SOCKET", name, 1), 0);
        if (rows[i].usec)
            CHECK_INT(setenv("WATCHDOG_USEC", rows[i].usec, 1), 0);
        if (rows[i].pid)
            CHECK_INT(setenv("WATCHDOG_PID", pid, 1), 0);
        notify_open(&n);
        CHECK_INT(n.watchdog_ms, rows[i].watchdog_ms);
        CHECK_INT(notify_ping_ms(&n), rows[i].ping_ms);
        notify_alive(&n);
        check_heard(fd, rows[i].watchdog_ms ? "WATCHDOG=1" : "");
        notify_close(&n);
        close(fd);
    }
}

TEST(without_a_manager_nothing_is_said)
{
    static const char *const names[] = {NULL, "", "/nowhere/notify", "vsock:2:1", "@"};

    for (size_t i = 0; i < COUNT(names); i++) {
        struct notify n;

        if (names[i])
            CHECK_INT(setenv("NOTIFY_SOCKET", names[i], 1), 0);
        notify_open(&n);
        CHECK_INT(n.fd, -1);
        notify_ready(&n);
        notify_status(&n, "alone");
        notify_alive(&n);
        notify_close(&n);
    }
}

