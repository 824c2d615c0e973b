#include "cmd/notify.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "mesh/base/log.h"
#include "mesh/base/str.h"

static int connect_to(const char *name)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t n = strlen(name);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
    int fd;

    if ((name[0] != '/' && name[0] != '@') || n < 2 || n >= sizeof(to.sun_path))
        return -1; /* "vsock:..." is for whole machines */
    memcpy(to.sun_path, name, n);
    if (name[0] == '@')
        to.sun_path[0] = 0; /* an abstract name has its length, no end */
    else
        size = sizeof(to);
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, size)) {
        close(fd);
        return -1;
    }
    return fd;
}

static int64_t watchdog_ms(void)
{
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    uint64_t us, whose;

    if (!usec || !str_uint(str_from(usec), 1000, INT64_MAX, &us))
        return 0;
    if (pid && (!str_uint(str_from(pid), 1, INT32_MAX, &whose) || whose != (uint64_t)getpid()))
        return 0;
    return (int64_t)(us / 1000);
}

void notify_open(struct notify *n)
{
    const char *name = getenv("NOTIFY_SOCKET");

    *n = (struct notify){.fd = -1};
    if (name && *name) {
        n->fd = connect_to(name);
        if (n->fd < 0)
            log_warn("the service manager cannot be told anything, carrying on: $NOTIFY_SOCKET is %s", name);
        else
            n->watchdog_ms = watchdog_ms();
    }
    (void)unsetenv("NOTIFY_SOCKET"); /* fails for names with '=' only */
    (void)unsetenv("WATCHDOG_USEC");
    (void)unsetenv("WATCHDOG_PID");
}

void notify_close(struct notify *n)
{
    if (n->fd >= 0)
        close(n->fd);
    n->fd = -1;
}

int64_t notify_ping_ms(const struct notify *n)
{
    return n->watchdog_ms ? MIN(MAX(n->watchdog_ms / 4, 1), NOTIFY_PING_MS) : NOTIFY_PING_MS;
}

/* False: the manager does not read at the moment. */
static bool say(const struct notify *n, const char *text)
{
    return n->fd < 0 || send(n->fd, text, strlen(text), MSG_NOSIGNAL) >= 0;
}

void notify_status(struct notify *n, const char *fmt, ...)
{
    char text[NOTIFY_STATUS_MAX], line[NOTIFY_STATUS_MAX + 16];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    for (char *p = text; *p; p++) {
        if (*p == '\n')
            *p = ' '; /* a line would be a variable of its own */
    }
    if (strcmp(text, n->status) == 0)
        return;
    (void)snprintf(line, sizeof(line), "STATUS=%s", text);
    if (say(n, line))
        memcpy(n->status, text, sizeof(text));
}

void notify_ready(struct notify *n)
{
    n->is_ready = n->is_ready || say(n, "READY=1");
}

void notify_reloading(struct notify *n)
{
    struct timespec now;
    char line[64];

    clock_gettime(CLOCK_MONOTONIC, &now);
    (void)snprintf(line, sizeof(line), "RELOADING=1\nMONOTONIC_USEC=%lld",
                   (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
    if (n->is_ready && say(n, line))
        n->is_ready = false;
}

void notify_stopping(struct notify *n)
{
    (void)say(n, "STOPPING=1"); /* the end will tell it */
}

void notify_alive(struct notify *n)
{
    if (n->watchdog_ms)
        (void)say(n, "WATCHDOG=1"); /* lost: the next one is not far */
}

void notify_extend(struct notify *n, int64_t ms)
{
    char line[64];

    (void)snprintf(line, sizeof(line), "EXTEND_TIMEOUT_USEC=%lld", (long long)ms * 1000);
    (void)say(n, line); /* lost: said again at the next ping */
}
