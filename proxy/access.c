#include "proxy/access.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "mesh/base/mem.h"
#include "proxy/outcome.h"

#define WRITE_WAIT_MS 1000 /* then what it should have taken is dropped */

/* ---- text ---- */

static void add_text(struct buf *b, struct str s)
{
    if (s.n == 0) {
        buf_addc(b, '-');
        return;
    }
    for (size_t i = 0; i < s.n; i++) { /* nobody may forge a line or a field's end */
        unsigned char c = (unsigned char)s.p[i];

        if (c < 0x20 || c == 0x7f || c == '"' || c == '\\')
            buf_printf(b, "\\x%02x", c);
        else
            buf_addc(b, (char)c);
    }
}

static void add_quoted(struct buf *b, struct str s)
{
    buf_adds(b, " \"");
    add_text(b, s);
    buf_addc(b, '"');
}

static void add_word(struct buf *b, struct str s)
{
    buf_addc(b, ' ');
    add_text(b, s);
}

static struct str addr_text(const struct addr *a, char *text)
{
    return a->family ? str_from(addr_format(a, text)) : STR_NONE;
}

static void add_time(struct buf *b, int64_t wall_ms)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    char text[32];

    gmtime_r(&seconds, &tm);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    buf_printf(b, "[%s.%03dZ]", text, (int)(wall_ms % 1000));
}

static void add_request(struct buf *b, const struct access_line *l)
{
    buf_adds(b, " \"");
    add_text(b, l->method);
    add_word(b, l->path);
    add_word(b, l->protocol);
    buf_addc(b, '"');
}

void access_format(const struct access_line *l, struct buf *b)
{
    char flags[RESPONSE_FLAGS_TEXT], addr[ADDR_TEXT_MAX];

    add_time(b, l->start_wall_ms);
    add_request(b, l);
    buf_printf(b, " %u %s %s %s", l->code, response_flags_format(l->flags, flags),
               l->details ? l->details : "-", l->termination ? l->termination : "-");
    add_quoted(b, l->transport_failure);
    buf_printf(b, " %" PRIu64 " %" PRIu64 " %" PRId64 " ", l->bytes_received, l->bytes_sent,
               l->duration_ms);
    if (l->service_time_ms >= 0)
        buf_printf(b, "%" PRId64, l->service_time_ms);
    else
        buf_addc(b, '-');
    add_quoted(b, l->forwarded_for);
    add_quoted(b, l->user_agent);
    add_quoted(b, l->request_id);
    add_quoted(b, l->authority);
    add_quoted(b, addr_text(&l->upstream_host, addr));
    add_word(b, l->cluster);
    add_word(b, addr_text(&l->upstream_local, addr));
    add_word(b, addr_text(&l->downstream_local, addr));
    add_word(b, addr_text(&l->downstream_remote, addr));
    add_word(b, l->server_name);
    add_word(b, l->route);
    buf_addc(b, '\n');
}

/* ---- rings ---- */

static void wake(const struct access_log *a)
{
    uint64_t one = 1;

    if (write(a->wake, &one, sizeof(one)) < 0)
        return; /* the counter is full: it is awake already */
}

static void ring_put(struct access_log *a, struct access_ring *r, struct str line)
{
    size_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    size_t tail = atomic_load_explicit(&r->tail, memory_order_acquire);
    size_t used = head - tail, at = head % ACCESS_RING_BYTES;
    size_t before_wrap = MIN(line.n, ACCESS_RING_BYTES - at);

    if (line.n > ACCESS_RING_BYTES - used) {
        atomic_fetch_add_explicit(&r->dropped, 1, memory_order_relaxed);
        return;
    }
    memcpy(r->bytes + at, line.p, before_wrap);
    memcpy(r->bytes, line.p + before_wrap, line.n - before_wrap);
    atomic_store_explicit(&r->head, head + line.n, memory_order_release);
    atomic_fetch_add_explicit(&r->lines, 1, memory_order_relaxed);
    if (used + line.n < ACCESS_RING_BYTES / 2) {
        r->woken = false;
    } else if (!r->woken) {
        r->woken = true;
        wake(a);
    }
}

void access_write(struct access_log *a, size_t ring, const struct access_line *line)
{
    struct buf text;

    if (!access_is_on(a))
        return;
    buf_init(&text, ACCESS_LINE_BYTES);
    access_format(line, &text);
    if (text.failed && text.n > 0)
        text.p[text.n - 1] = '\n';
    ring_put(a, &a->rings[ring], buf_str(&text));
    buf_done(&text);
}

/* ---- the writer ---- */

/* A reader that has stopped must hold up neither the log of others nor our end: PIPE_BUF bytes
 * never block once poll says that there is room. */
static bool write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        struct pollfd pfd = {.fd = fd, .events = POLLOUT};
        ssize_t done;

        if (poll(&pfd, 1, WRITE_WAIT_MS) <= 0)
            return false;
        done = write(fd, p, MIN(n, (size_t)PIPE_BUF));
        if (done < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (done <= 0)
            return false;
        p += done;
        n -= (size_t)done;
    }
    return true;
}

static void ring_take(struct access_log *a, struct access_ring *r)
{
    size_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    size_t head = atomic_load_explicit(&r->head, memory_order_acquire);

    while (tail != head) {
        size_t at = tail % ACCESS_RING_BYTES;
        size_t n = MIN(head - tail, ACCESS_RING_BYTES - at);
        int fd = atomic_load_explicit(&a->fd, memory_order_acquire);

        if (fd < 0 || !write_all(fd, r->bytes + at, n))
            atomic_fetch_add_explicit(&r->dropped, 1, memory_order_relaxed);
        tail += n;
        atomic_store_explicit(&r->tail, tail, memory_order_release);
    }
}

static void *writer(void *arg)
{
    struct access_log *a = arg;
    bool last = false;

    while (!last) {
        struct pollfd pfd = {.fd = a->wake, .events = POLLIN};
        uint64_t count;

        last = atomic_load_explicit(&a->stopping, memory_order_acquire);
        if (!last && poll(&pfd, 1, ACCESS_FLUSH_MS) > 0 && read(a->wake, &count, sizeof(count)) < 0)
            continue;
        for (size_t i = 0; i < a->count; i++)
            ring_take(a, &a->rings[i]);
    }
    return NULL;
}

static void free_rings(struct access_log *a)
{
    for (size_t i = 0; i < a->count; i++)
        mem_free(a->rings[i].bytes);
    mem_free(a->rings);
    a->rings = NULL;
    a->count = 0;
}

int access_start(struct access_log *a, size_t rings, int fd, struct err *err)
{
    memset(a, 0, sizeof(*a));
    a->fd = fd;
    a->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (a->wake < 0)
        return err_errno(err, ERR_IO, "access log: eventfd");
    a->rings = mem_array(rings, sizeof(*a->rings));
    a->count = rings;
    for (size_t i = 0; i < rings; i++)
        a->rings[i].bytes = mem_alloc(ACCESS_RING_BYTES);
    if (pthread_create(&a->thread, NULL, writer, a) != 0) {
        free_rings(a);
        close(a->wake);
        return err_set(err, ERR_IO, "access log: the writer thread cannot be started");
    }
    (void)pthread_setname_np(a->thread, "weft-access"); /* for ps -T */
    a->started = true;
    return 0;
}

void access_stop(struct access_log *a)
{
    if (!a->started)
        return;
    atomic_store_explicit(&a->stopping, true, memory_order_release);
    wake(a);
    pthread_join(a->thread, NULL);
    close(a->wake);
    free_rings(a);
    a->started = false;
}

bool access_is_on(const struct access_log *a)
{
    return atomic_load_explicit(&a->fd, memory_order_relaxed) >= 0;
}

uint64_t access_dropped(const struct access_log *a)
{
    uint64_t n = 0;

    for (size_t i = 0; i < a->count; i++)
        n += atomic_load_explicit(&a->rings[i].dropped, memory_order_relaxed);
    return n;
}
