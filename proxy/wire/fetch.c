#include "proxy/wire/fetch.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "proxy/wire/tls.h"

enum {
    FETCH_IO_SHIFT = STREAM_NOTE_BITS,
    FETCH_TIMER = 1 << (STREAM_NOTE_BITS + IO_NOTE_BITS),
    FETCH_END = 2 << (STREAM_NOTE_BITS + IO_NOTE_BITS),
    FETCH_START = 4 << (STREAM_NOTE_BITS + IO_NOTE_BITS),
};

#define TARGET_MAX 256u /* text of the peer for messages */

enum fetch_state { FETCH_CONNECT, FETCH_HANDSHAKE, FETCH_EXCHANGE, FETCH_OVER };

struct fetch {
    struct loop *loop;
    struct fetch_request r; /* texts in `arena` */
    struct arena arena;
    fetch_fn *done;
    void *arg;
    struct task task;
    struct timer timer;
    struct io io; /* before http, and after an upgrade */
    struct http1 http;
    bool is_http;
    struct stream *stream;
    struct buf body;
    struct bytes first;
    enum fetch_state state;
    struct err early; /* why it could not even start; told on the loop */
    bool failed_early;
    char target[TARGET_MAX];
    struct reap reap;
};

static void reap_fetch(struct reap *reap)
{
    struct fetch *f = CONTAINER(reap, struct fetch, reap);

    arena_done(&f->arena);
    mem_free(f);
}

/* Everything down; the memory goes at the end of the turn. */
static void finish(struct fetch *f)
{
    if (f->state == FETCH_OVER)
        return;
    f->state = FETCH_OVER;
    if (f->stream)
        stream_release(f->stream);
    f->stream = NULL;
    if (f->is_http)
        http1_close(&f->http);
    io_close(&f->io);
    timer_stop(&f->timer);
    task_forget(&f->task);
    bytes_done(&f->first);
    buf_done(&f->body);
    if (f->r.tls)
        tls_context_unref(f->r.tls);
    loop_reap(f->loop, &f->reap, reap_fetch);
}

static void fail(struct fetch *f, const struct err *err)
{
    f->done(f->arg, NULL, err);
    finish(f);
}

static void fail_text(struct fetch *f, enum err_code code, const char *what, struct str why)
{
    struct err err;

    if (why.n > 0)
        err_set(&err, code, "%s %s: %.*s", what, f->target, STR_ARG(why));
    else
        err_set(&err, code, "%s %s", what, f->target);
    fail(f, &err);
}

static void succeed(struct fetch *f)
{
    struct fetch_answer a = {.status = f->stream->in_head.status,
                             .head = &f->stream->in_head,
                             .body = buf_str(&f->body)};
    const struct tls *tls = f->http.codec.io.tls;

    if (f->http.upgraded) {
        tls = NULL;
        http1_take_io(&f->http, &f->io, &f->task, FETCH_IO_SHIFT, &f->first);
        tls = f->io.tls;
        a.io = &f->io;
        a.first = &f->first;
    }
    if (tls)
        a.peer_uri = arena_str(&f->arena, tls_peer_uri(tls));
    f->done(f->arg, &a, NULL);
    finish(f);
}

/* Exchange */

static void on_no_stream(void *owner, struct stream *s)
{
    (void)owner; /* a client gets none */
    (void)s;
}

static void on_http_idle(void *owner)
{
    (void)owner; /* one exchange only */
}

static void on_http_end(void *owner)
{
    struct fetch *f = owner;

    task_note(&f->task, FETCH_END);
}

static const struct codec_owner_ops http_ops = {
    .on_stream = on_no_stream, .on_idle = on_http_idle, .on_end = on_http_end};

static void send_request(struct fetch *f)
{
    struct fetch_request *r = &f->r;
    struct http_head h;
    struct bytes body;

    http_head_init(&h, &f->arena, true);
    h.method = r->method;
    h.path = r->path;
    h.authority = r->host;
    for (size_t i = 0; i < r->field_count; i++)
        http_add(&h, r->fields[i].name, r->fields[i].value);
    if (r->content_type.n > 0)
        http_add(&h, STR("content-type"), r->content_type);
    if (r->upgrade)
        h.upgrade = str_from(r->upgrade);
    if (r->body.n > 0) {
        h.framing = HTTP_BODY_LENGTH;
        h.content_length = r->body.n;
    }
    stream_send_head(f->stream, &h, r->body.n == 0);
    if (r->body.n > 0) {
        bytes_init(&body);
        bytes_append(&body, r->body);
        stream_send_data(f->stream, &body, true);
    }
}

static void speak(struct fetch *f)
{
    f->state = FETCH_EXCHANGE;
    f->is_http = true;
    http1_client_init(&f->http, f->loop, &f->io, &http_ops, f);
    f->http.allow_upgrade = f->r.upgrade != NULL;
    f->stream = http1_open_stream(&f->http, &f->task, 0);
    send_request(f);
}

/* False: it is over. */
static bool collect(struct fetch *f)
{
    struct stream *s = f->stream;

    while (s->in.n > 0) {
        struct str part = bytes_front(&s->in);

        if (f->r.on_data) {
            f->r.on_data(f->arg, part);
            if (f->state == FETCH_OVER) /* cancelled inside */
                return false;
        } else if (part.n > f->r.answer_max - f->body.n) {
            fail_text(f, ERR_LIMIT, "the answer is too long from", STR(""));
            return false;
        } else {
            buf_add(&f->body, part);
        }
        bytes_drop(&s->in, part.n);
    }
    bytes_done(&s->in);
    stream_consumed(s);
    return true;
}

static void exchange_step(struct fetch *f, unsigned notes)
{
    struct stream *s = f->stream;

    if (s->in_has_head && s->in.n > 0 && !collect(f))
        return;
    if (s->in_ended) { /* whatever became of the rest */
        succeed(f);
    } else if (s->reset == STREAM_RESET_PROTOCOL) {
        fail_text(f, ERR_IO, "no valid HTTP answer from", str_from(f->http.codec.failure));
    } else if (s->reset != STREAM_RESET_NONE || (notes & FETCH_END)) {
        fail_text(f, ERR_IO, "the connection broke before the answer was complete, to",
                  io_failure(&f->http.codec.io));
    }
}

/* Connecting */

static void shake(struct fetch *f)
{
    switch (io_handshake(&f->io)) {
    case IO_OK:
        speak(f);
        break;
    case IO_AGAIN:
        break;
    case IO_EOF:
    case IO_FAILED:
        fail_text(f, ERR_IO, "no secure connection to", io_failure(&f->io));
        break;
    }
}

static void connected(struct fetch *f)
{
    struct err err;
    struct tls *tls;

    if (!f->r.tls) {
        speak(f);
        return;
    }
    tls = tls_new(f->r.tls, f->r.sni, STR(""), &err);
    if (!tls) {
        err_wrap(&err, "cannot start TLS to %s", f->target);
        fail(f, &err);
        return;
    }
    if (f->r.expect_uris.n > 0)
        tls_expect(tls, f->r.expect_uris);
    io_start_tls(&f->io, tls, NULL);
    f->state = FETCH_HANDSHAKE;
    shake(f);
}

static void fetch_run(struct task *t, unsigned notes)
{
    struct fetch *f = CONTAINER(t, struct fetch, task);

    if (f->failed_early) {
        fail(f, &f->early);
        return;
    }
    if (notes & FETCH_TIMER) {
        fail_text(f, ERR_IO, "no answer in time from", STR(""));
        return;
    }
    switch (f->state) {
    case FETCH_CONNECT:
        switch (io_connected(&f->io)) {
        case IO_OK:
            connected(f);
            break;
        case IO_AGAIN:
            break;
        case IO_EOF:
        case IO_FAILED:
            fail_text(f, ERR_IO, "cannot connect to", io_failure(&f->io));
            break;
        }
        break;
    case FETCH_HANDSHAKE:
        shake(f);
        break;
    case FETCH_EXCHANGE:
        exchange_step(f, notes);
        break;
    case FETCH_OVER:
        break;
    }
}

/* A Unix connect never waits: it succeeds, fails, or the backlog is full. */
static void connect_unix(struct fetch *f)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    size_t n = strlen(f->r.unix_path);
    int fd;

    if (n >= sizeof(sa.sun_path)) {
        f->failed_early = true;
        err_set(&f->early, ERR_INVALID, "socket path is longer than %zu bytes: %s",
                sizeof(sa.sun_path) - 1, f->r.unix_path);
        return;
    }
    memcpy(sa.sun_path, f->r.unix_path, n);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
        f->failed_early = true;
        err_errno(&f->early,
                  errno == ENOENT || errno == ECONNREFUSED ? ERR_MISSING
                  : errno == EACCES                        ? ERR_DENIED
                                                           : ERR_IO,
                  "cannot connect to %s", f->r.unix_path);
        if (fd >= 0)
            close(fd);
        return;
    }
    io_init(&f->io, &f->task, FETCH_IO_SHIFT, fd);
}

static void copy_request(struct fetch *f, const struct fetch_request *r)
{
    struct arena *a = &f->arena;
    struct http_field *fields = ARENA_ARRAY(a, r->field_count + 1, struct http_field);
    char at[ADDR_TEXT_MAX];

    f->r = *r;
    f->r.unix_path = r->unix_path ? arena_str(a, str_from(r->unix_path)).p : NULL;
    f->r.upgrade = r->upgrade ? arena_str(a, str_from(r->upgrade)).p : NULL;
    f->r.sni = arena_str(a, r->sni);
    f->r.expect_uris = arena_str(a, r->expect_uris);
    f->r.method = r->method.n > 0 ? arena_str(a, r->method) : STR("GET");
    f->r.path = r->path.n > 0 ? arena_str(a, r->path) : STR("/");
    f->r.host = r->host.n > 0 ? arena_str(a, r->host) : STR("localhost");
    f->r.body = arena_str(a, r->body);
    f->r.content_type = arena_str(a, r->content_type);
    for (size_t i = 0; i < r->field_count; i++)
        fields[i] =
            (struct http_field){arena_str(a, r->fields[i].name), arena_str(a, r->fields[i].value)};
    f->r.fields = fields;
    if (r->tls)
        f->r.tls = tls_context_ref(r->tls);
    if (r->unix_path)
        snprintf(f->target, sizeof(f->target), "%s", r->unix_path);
    else
        snprintf(f->target, sizeof(f->target), "%s", addr_format(&r->to, at));
}

struct fetch *fetch_start(struct loop *l, const struct fetch_request *r, fetch_fn *done, void *arg)
{
    struct fetch *f = MEM_NEW(struct fetch);

    f->loop = l;
    f->done = done;
    f->arg = arg;
    arena_init(&f->arena);
    bytes_init(&f->first);
    buf_init(&f->body, r->answer_max);
    task_init(&f->task, l, fetch_run);
    timer_init(&f->timer, &f->task, FETCH_TIMER);
    copy_request(f, r);
    if (r->timeout_ms > 0)
        timer_in(&f->timer, r->timeout_ms);
    if (f->r.unix_path)
        connect_unix(f);
    else
        io_connect(&f->io, &f->task, FETCH_IO_SHIFT, &f->r.to,
                   f->r.mark); /* io_connected tells what became of it */
    task_note(&f->task, FETCH_START);
    return f;
}

void fetch_cancel(struct fetch *f)
{
    finish(f);
}

/* Blocking */

struct wait {
    struct loop *loop;
    unsigned *status;
    struct buf *body;
    struct err *err;
    int result;
};

static void wait_done(void *arg, const struct fetch_answer *answer, const struct err *err)
{
    struct wait *w = arg;

    loop_stop(w->loop);
    if (err) {
        *w->err = *err;
        w->result = -1;
        return;
    }
    *w->status = answer->status;
    buf_add(w->body, answer->body);
}

int fetch_wait(const struct fetch_request *r, unsigned *status, struct buf *body, struct err *err)
{
    struct wait w = {.status = status, .body = body, .err = err};
    struct fetch_request bounded = *r;

    w.loop = loop_new(err);
    if (!w.loop)
        return -1;
    bounded.answer_max = body->max - body->n;
    fetch_start(w.loop, &bounded, wait_done, &w);
    loop_run(w.loop);
    loop_free(w.loop);
    return w.result;
}
