/* Listener, connections, requests. A connection's task hears its io while TLS shakes hands, then
 * its one stream at a time; the handler is called from that task, never from inside the codec.
 */
#include "proxy/wire/serve.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "mesh/base/file.h"
#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "proxy/wire/tls.h"

#define ACCEPTS_PER_TURN    64
#define BACKLOG             512
#define CONNECTIONS_DEFAULT 1024u
#define ACCEPT_RETRY_MS     100   /* out of descriptors: look again */
#define REQUEST_MS          60000 /* for a whole request from its head; then closed */

enum { ACCEPT_READY = 1, ACCEPT_AGAIN = 2 };
enum {
    CONN_IO_SHIFT = STREAM_NOTE_BITS,
    CONN_TIMER = 1 << (STREAM_NOTE_BITS + IO_NOTE_BITS),
    CONN_END = 2 << (STREAM_NOTE_BITS + IO_NOTE_BITS),
};

struct conn;

struct request {
    struct serve_request r; /* first: what handlers hold */
    struct conn *conn;
    struct stream *stream;
    struct http_head answer;
    struct buf body;
    size_t body_max;
    bool handled; /* the handler has it */
    bool begun;
    bool over; /* answered, or gone; on the reap list */
    struct reap reap;
};

struct conn {
    struct serve *serve;
    struct conn *next, *prev;
    struct task task;
    struct timer timer; /* handshake, then the request that is arriving */
    struct io io;       /* before http */
    struct http1 http;
    bool is_http;
    struct addr peer;
    int64_t uid, gid, pid;
    struct request *request;
    struct reap reap;
};

struct serve {
    struct loop *loop;
    struct serve_options o;
    struct str server_name;
    struct tls_context *tls;
    struct task task;
    struct watch watch;
    struct timer timer;
    struct conn *conns;
    size_t conn_count;
    struct reap reap;
};

/* Requests */

static struct request *request_of(struct serve_request *r)
{
    return CONTAINER(r, struct request, r);
}

static void request_reap(struct reap *reap)
{
    struct request *q = CONTAINER(reap, struct request, reap);

    buf_done(&q->body);
    mem_free(q);
}

/* The caller's pointer stays good until the end of the turn. */
static void request_drop(struct request *q)
{
    q->over = true;
    stream_release(q->stream);
    q->stream = NULL;
    if (q->conn->request == q)
        q->conn->request = NULL;
    loop_reap(q->conn->serve->loop, &q->reap, request_reap);
}

static void request_gone(struct request *q)
{
    void (*tell)(struct serve_request *) = q->handled ? q->r.on_gone : NULL;

    if (q->over)
        return;
    q->r.on_gone = NULL;
    q->over = true; /* an answer from inside the call goes nowhere */
    if (tell)
        tell(&q->r);
    request_drop(q);
}

static void answer(struct request *q, unsigned status, const char *content_type, struct str body)
{
    struct bytes out;

    if (q->over || q->begun)
        return;
    q->answer.status = status;
    q->answer.framing = HTTP_BODY_LENGTH;
    q->answer.content_length = body.n;
    if (content_type)
        http_add(&q->answer, STR("content-type"), str_from(content_type));
    stream_send_head(q->stream, &q->answer, body.n == 0);
    if (body.n > 0) {
        bytes_init(&out);
        bytes_append(&out, body);
        stream_send_data(q->stream, &out, true);
    }
    request_drop(q);
}

static void answer_error(struct request *q, unsigned status)
{
    struct serve *s = q->conn->serve;
    struct buf text;

    buf_init(&text, 4096);
    if (s->o.error_body)
        s->o.error_body(status, &text);
    else
        buf_printf(&text, "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%u}\n",
                   http_reason(status), status);
    answer(q, status, "application/problem+json", buf_str(&text));
    buf_done(&text);
}

static void fill_in(struct request *q)
{
    struct conn *c = q->conn;
    const struct http_head *h = &q->stream->in_head;
    struct serve_request *r = &q->r;

    r->head = h;
    r->method = h->method;
    r->path = http_path_only(h->path);
    r->query = str_sub(h->path, r->path.n + 1, h->path.n);
    r->peer = c->peer;
    r->uid = c->uid;
    r->gid = c->gid;
    r->pid = c->pid;
    r->owner = c->serve->o.owner;
    if (c->http.codec.io.tls) {
        r->peer_uri = tls_peer_uri(c->http.codec.io.tls);
        r->peer_fingerprint = tls_peer_fingerprint(c->http.codec.io.tls);
    }
}

static void request_new(void *owner, struct stream *s)
{
    struct conn *c = owner;
    struct request *q = MEM_NEW(struct request);

    q->conn = c;
    q->stream = s;
    c->request = q;
    q->body_max = c->serve->o.body_max;
    http_head_init(&q->answer, &s->arena, false);
    if (c->serve->server_name.n > 0)
        http_add(&q->answer, STR("server"), c->serve->server_name);
    stream_own(s, &c->task, 0);
    timer_in(&c->timer, REQUEST_MS);
}

/* The head was seen: how much body, and is it welcome? False: answered. */
static bool admit(struct request *q)
{
    struct serve_options *o = &q->conn->serve->o;
    const struct http_head *h = &q->stream->in_head;
    struct http_head go_on;

    fill_in(q);
    if (o->body_limit)
        o->body_limit(&q->r, &q->body_max);
    buf_init(&q->body, q->body_max);
    if (h->framing == HTTP_BODY_LENGTH && h->content_length > q->body_max) {
        answer_error(q, 413);
        return false;
    }
    if (h->expect_continue && h->framing != HTTP_BODY_NONE) {
        http_head_init(&go_on, &q->stream->arena, false);
        go_on.status = 100;
        stream_send_head(q->stream, &go_on, true);
    }
    return true;
}

static bool collect(struct request *q)
{
    struct stream *s = q->stream;

    while (s->in.n > 0) {
        struct str part = bytes_front(&s->in);

        if (part.n > q->body_max - q->body.n) {
            answer_error(q, 413);
            return false;
        }
        buf_add(&q->body, part);
        bytes_drop(&s->in, part.n);
    }
    bytes_done(&s->in);
    stream_consumed(s);
    return true;
}

static void request_step(struct request *q, unsigned notes)
{
    if ((notes & STREAM_NOTE_RESET) || q->stream->reset != STREAM_RESET_NONE) {
        request_gone(q);
        return;
    }
    if (q->handled)
        return;
    if (!q->r.head && !admit(q))
        return;
    if (!collect(q) || !q->stream->in_ended)
        return;
    timer_stop(&q->conn->timer);
    q->r.body = buf_str(&q->body);
    q->handled = true;
    q->conn->serve->o.handle(&q->r);
}

/* Connections */

static void accept_more(struct serve *s);

static void conn_reap(struct reap *reap)
{
    mem_free(CONTAINER(reap, struct conn, reap));
}

static void conn_close(struct conn *c)
{
    struct serve *s = c->serve;

    if (c->request)
        request_gone(c->request);
    if (c->is_http)
        http1_close(&c->http);
    io_close(&c->io);
    timer_stop(&c->timer);
    task_forget(&c->task);
    if (c->prev)
        c->prev->next = c->next;
    else
        s->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    s->conn_count--;
    loop_reap(s->loop, &c->reap, conn_reap);
}

static void on_http_idle(void *owner)
{
    (void)owner; /* the codec's own idle limit is enough */
}

static void on_http_end(void *owner)
{
    struct conn *c = owner;

    task_note(&c->task, CONN_END);
}

static const struct codec_owner_ops http_ops = {
    .on_stream = request_new, .on_idle = on_http_idle, .on_end = on_http_end};

static void conn_speak(struct conn *c)
{
    timer_stop(&c->timer);
    c->is_http = true;
    http1_server_init(&c->http, c->serve->loop, &c->io, NULL, &http_ops, c);
    c->http.codec.server_name = c->serve->server_name;
    if (c->serve->o.idle_ms) {
        c->http.codec.idle_ms_max = c->serve->o.idle_ms;
        timer_in(&c->http.timer, c->http.codec.idle_ms_max); /* its first idling has begun with another */
    }
}

static void conn_run(struct task *t, unsigned notes)
{
    struct conn *c = CONTAINER(t, struct conn, task);
    struct serve *s = c->serve;

    if (!c->is_http) {
        enum io_step step = (notes & CONN_TIMER) ? IO_FAILED : io_handshake(&c->io);

        if (step == IO_OK)
            conn_speak(c);
        else if (step != IO_AGAIN)
            conn_close(c);
    } else {
        if (c->request)
            request_step(c->request, notes);
        if (notes & (CONN_END | CONN_TIMER))
            conn_close(c);
    }
    accept_more(s);
}

static void peer_of(struct conn *c, int fd, const struct sockaddr_storage *sa)
{
    struct ucred cred;
    socklen_t n = sizeof(cred);

    c->uid = c->gid = c->pid = -1;
    if (sa->ss_family != AF_UNIX) {
        if (!addr_from_sockaddr((const struct sockaddr *)sa, &c->peer))
            c->peer.family = 0;
        return;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &n) == 0) {
        c->uid = (int64_t)cred.uid;
        c->gid = (int64_t)cred.gid;
        c->pid = (int64_t)cred.pid;
    }
}

static void conn_new(struct serve *s, int fd, const struct sockaddr_storage *sa)
{
    struct conn *c = MEM_NEW(struct conn);
    struct err err;
    struct tls *tls;

    c->serve = s;
    task_init(&c->task, s->loop, conn_run);
    timer_init(&c->timer, &c->task, CONN_TIMER);
    peer_of(c, fd, sa);
    c->next = s->conns;
    if (s->conns)
        s->conns->prev = c;
    s->conns = c;
    s->conn_count++;
    io_init(&c->io, &c->task, CONN_IO_SHIFT, fd);
    if (!s->tls) {
        conn_speak(c);
        return;
    }
    tls = tls_new(s->tls, STR(""), STR(""), &err);
    if (!tls) {
        conn_close(c);
        return;
    }
    io_start_tls(&c->io, tls, NULL);
    timer_in(&c->timer, LIMIT_HANDSHAKE_MS);
    task_note(&c->task, (unsigned)IO_NOTE_READ << CONN_IO_SHIFT);
}

/* Listener */

static void accept_more(struct serve *s)
{
    if (s->watch.fd >= 0 && !s->timer.at_ms)
        watch_want(&s->watch, s->conn_count < s->o.connections_max, false);
}

static void serve_run(struct task *t, unsigned notes)
{
    struct serve *s = CONTAINER(t, struct serve, task);

    (void)notes; /* readable, or time to try again: the same */
    for (unsigned i = 0; i < ACCEPTS_PER_TURN && s->conn_count < s->o.connections_max; i++) {
        struct sockaddr_storage sa;
        socklen_t n = sizeof(sa);
        int fd;

        memset(&sa, 0, sizeof(sa));
        fd = accept4(s->watch.fd, (struct sockaddr *)&sa, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            conn_new(s, fd, &sa);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            watch_want(&s->watch, false, false);
            timer_in(&s->timer, ACCEPT_RETRY_MS);
            return;
        } else if (errno == EAGAIN) {
            break;
        } /* else: that one is gone already */
    }
    accept_more(s);
}

struct serve *serve_new(struct loop *l, int listen_fd, const struct serve_options *o,
                        struct err *err)
{
    struct serve *s;

    if (!o->handle) {
        err_set(err, ERR_INVALID, "a server needs a handler");
        return NULL;
    }
    s = MEM_NEW(struct serve);
    s->loop = l;
    s->o = *o;
    if (s->o.connections_max == 0)
        s->o.connections_max = CONNECTIONS_DEFAULT;
    s->server_name = str_from(o->server_name);
    task_init(&s->task, l, serve_run);
    timer_init(&s->timer, &s->task, ACCEPT_AGAIN);
    watch_init(&s->watch, &s->task, listen_fd, ACCEPT_READY, 0);
    accept_more(s);
    return s;
}

void serve_set_tls(struct serve *s, struct tls_context *tls)
{
    struct tls_context *old = s->tls;

    s->tls = tls ? tls_context_ref(tls) : NULL;
    if (old)
        tls_context_unref(old);
}

static void serve_reap(struct reap *reap)
{
    mem_free(CONTAINER(reap, struct serve, reap));
}

void serve_free(struct serve *s)
{
    if (!s)
        return;
    watch_close(&s->watch);
    s->watch.fd = -1;
    timer_stop(&s->timer);
    task_forget(&s->task);
    while (s->conns)
        conn_close(s->conns);
    serve_set_tls(s, NULL);
    loop_reap(s->loop, &s->reap, serve_reap);
}

/* Listening sockets */

int serve_listen_tcp(const struct addr *at, struct err *err)
{
    char text[ADDR_TEXT_MAX];
    struct sockaddr_storage sa;
    socklen_t n = addr_to_sockaddr(at, &sa);
    int one = 1, fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    addr_format(at, text);
    if (fd < 0)
        return err_errno(err, ERR_IO, "cannot listen on %s", text);
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
        bind(fd, (struct sockaddr *)&sa, n) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    if (errno == EADDRINUSE)
        err_set(err, ERR_CONFLICT,
                "port %u is in use on this host (wanted %s): stop the program that has it (ss "
                "-ltnp 'sport = %u' "
                "names it) or choose another port",
                at->port, text, at->port);
    else
        err_errno(err, errno == EACCES ? ERR_DENIED : ERR_IO, "cannot listen on %s", text);
    close(fd);
    return -1;
}

/* A socket file that nobody listens on is a left-over and is removed. */
static int clear_stale(const char *path, const struct sockaddr_un *sa, struct err *err)
{
    struct stat st;
    int fd, failure;

    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : err_errno(err, ERR_IO, "cannot look at %s", path);
    if (!S_ISSOCK(st.st_mode))
        return err_set(err, ERR_CONFLICT,
                       "%s exists and is not a socket: remove it or choose another path", path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_errno(err, ERR_IO, "cannot make a socket");
    failure = connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) == 0 ? 0 : errno;
    close(fd);
    if (failure != ECONNREFUSED && failure != ENOENT)
        return err_set(err, ERR_CONFLICT,
                       "another process listens on %s: stop it or choose another path", path);
    if (unlink(path) < 0 && errno != ENOENT)
        return err_errno(err, ERR_IO, "cannot remove the stale socket %s", path);
    return 0;
}

/* /run is empty after a boot, so the socket's folder is made when it is not there. */
static int make_folder(const char *path, struct err *err)
{
    const char *slash = strrchr(path, '/');
    char folder[sizeof(((struct sockaddr_un *)NULL)->sun_path)];

    if (!slash || slash == path)
        return 0;
    (void)snprintf(folder, sizeof(folder), "%.*s", (int)(slash - path), path);
    return file_mkdirs(folder, 0755, err);
}

int serve_listen_unix(const char *path, unsigned mode, struct err *err)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    size_t n = strlen(path);
    int fd;

    if (n == 0 || n >= sizeof(sa.sun_path))
        return err_set(err, ERR_INVALID, "socket path must have 1 to %zu bytes: %s",
                       sizeof(sa.sun_path) - 1, path);
    memcpy(sa.sun_path, path, n);
    if (make_folder(path, err) || clear_stale(path, &sa, err) < 0)
        return -1;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_errno(err, ERR_IO, "cannot make a socket");
    /* The mode before bind is what the file is born with (less the umask); chmod then gives what
     * the umask took. */
    if (fchmod(fd, (mode_t)mode) == 0 && bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 &&
        chmod(path, (mode_t)mode) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    err_errno(err, errno == EADDRINUSE ? ERR_CONFLICT : ERR_IO, "cannot listen on %s", path);
    close(fd);
    return -1;
}

/* Answers */

void serve_answer(struct serve_request *r, unsigned status, const char *content_type,
                  struct str body)
{
    answer(request_of(r), status, content_type, body);
}

void serve_header(struct serve_request *r, const char *name, struct str value)
{
    struct request *q = request_of(r);

    if (!q->over && !q->begun)
        http_add(&q->answer, str_from(name), value);
}

void serve_begin(struct serve_request *r, unsigned status, const char *content_type)
{
    struct request *q = request_of(r);

    if (q->over || q->begun)
        return;
    q->begun = true;
    q->answer.status = status;
    q->answer.framing = HTTP_BODY_CHUNKED;
    if (content_type)
        http_add(&q->answer, STR("content-type"), str_from(content_type));
    stream_send_head(q->stream, &q->answer, false);
}

size_t serve_more(struct serve_request *r, struct str part)
{
    struct request *q = request_of(r);
    struct bytes out;

    if (q->over || !q->begun)
        return 0;
    bytes_init(&out);
    bytes_append(&out, part);
    stream_send_data(q->stream, &out, false);
    return io_pending(&q->conn->http.codec.io);
}

void serve_end(struct serve_request *r)
{
    struct request *q = request_of(r);
    struct bytes out;

    if (q->over || !q->begun)
        return;
    bytes_init(&out);
    stream_send_data(q->stream, &out, true);
    request_drop(q);
}

void serve_upgrade(struct serve_request *r, const char *protocol, struct io *to, struct task *task,
                   unsigned note_shift, struct bytes *first)
{
    struct request *q = request_of(r);
    struct conn *c = q->conn;

    if (!q->over && !q->begun && !http1_upgrade(&c->http, q->stream, str_from(protocol)))
        io_close(&c->http.codec.io); /* the new owner finds a dead io */
    http1_take_io(&c->http, to, task, note_shift, first);
    task_note(task, (unsigned)IO_NOTE_READ << note_shift);
    if (!q->over)
        request_drop(q);
    task_note(&c->task, CONN_END);
}
