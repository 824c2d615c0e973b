/* What owners send. Heads go to nghttp2 at once; bodies wait in their stream until it asks for them, so that many streams
 * share the connection and each keeps to its credit. */
#include "proxy/wire/http2_parts.h"

#include <string.h>

#include "mesh/base/hash.h"
#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "mesh/base/text.h"

#define PENDING_MAX   LIMIT_STREAM_HIGH /* bytes that wait for the socket: then nghttp2 keeps the rest */
#define FRAME_HEAD    9u
#define PSEUDO_FIELDS 6u
#define FRAME_WORTH   4 /* frames of the peer that one of ours excuses */

static struct http2_stream *find(const struct http2 *c, int32_t id)
{
    return nghttp2_session_get_stream_user_data(c->session, id);
}

/* ---- heads ---- */

/* Fields that the codec writes itself, or that HTTP/2 does not have (RFC 9113 8.2.2). */
static bool is_ours(struct str name)
{
    static const struct str names[] = {
        STR_INIT("host"),    STR_INIT("connection"), STR_INIT("keep-alive"),
        STR_INIT("upgrade"), STR_INIT("content-length"), STR_INIT("proxy-connection"),
        STR_INIT("transfer-encoding"), STR_INIT("http2-settings"),
    };

    for (size_t i = 0; i < COUNT(names); i++) {
        if (str_eq(name, names[i]))
            return true;
    }
    return false;
}

/* RFC 8441: there is no key and so no proof of it. */
static bool is_websocket_key(struct str name)
{
    return str_eq(name, STR("sec-websocket-key")) || str_eq(name, STR("sec-websocket-accept"));
}

struct fields {
    nghttp2_nv *at;
    size_t count;
};

/* Secrets that an attacker might guess by the size of compressed heads (RFC 7541 7.1). */
static uint8_t flags_of(const struct http_field *f)
{
    bool secret = str_eq(f->name, STR("authorization")) ||
                  (str_eq(f->name, STR("cookie")) && f->value.n < 20);

    return secret ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE;
}

static void put(struct fields *to, const struct http_field *f)
{
    to->at[to->count++] = (nghttp2_nv){
        .name = (uint8_t *)(uintptr_t)f->name.p,
        .namelen = f->name.n,
        .value = (uint8_t *)(uintptr_t)(f->value.n ? f->value.p : ""),
        .valuelen = f->value.n,
        .flags = flags_of(f),
    };
}

static void put_pair(struct fields *to, struct str name, struct str value)
{
    struct http_field f = {name, value};

    put(to, &f);
}

static void put_all(struct fields *to, const struct http_field *f, size_t count, bool is_tunnel)
{
    for (size_t i = 0; i < count; i++) {
        bool out = is_ours(f[i].name) || (is_tunnel && is_websocket_key(f[i].name)) ||
                   (str_eq(f[i].name, STR("te")) && !str_eq(f[i].value, STR("trailers")));

        if (!out)
            put(to, &f[i]);
    }
}

static struct fields fields_new(size_t count)
{
    return (struct fields){.at = mem_alloc((count + PSEUDO_FIELDS) * sizeof(nghttp2_nv))};
}

static void put_length(struct fields *to, const struct http_head *h, char *text)
{
    if (h->framing == HTTP_BODY_LENGTH)
        put_pair(to, STR("content-length"), str_of_uint(h->content_length, text));
}

/* ---- bodies ---- */

static bool has_room(const struct http2_stream *h)
{
    return h->out.n < LIMIT_STREAM_HIGH;
}

static void out_finished(struct http2_stream *h)
{
    h->sent_end = true;
    if (h->s.out_sent)
        return;
    h->s.out_ended = h->s.out_sent = true;
    stream_note(&h->s, STREAM_NOTE_SENT);
}

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *buf, size_t max,
                         uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    struct http2 *c = arg;
    struct http2_stream *h = find(c, id);
    size_t n;

    (void)session; /* it is the connection's */
    (void)buf;     /* send_body moves the bytes */
    (void)source;
    if (!h)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* let go in the middle */
    n = MIN(h->out.n, max);
    if (n == 0 && !h->out_end) {
        h->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (n < h->out.n || !h->out_end)
        return (ssize_t)n;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (h->out_trailer_count > 0) {
        struct fields f = fields_new(h->out_trailer_count);

        put_all(&f, h->out_trailers, h->out_trailer_count, false);
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        if (nghttp2_submit_trailer(c->session, id, f.at, f.count) != 0)
            n = 0;
        mem_free(f.at);
    }
    return (ssize_t)n;
}

static int send_body(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t n,
                     nghttp2_data_source *source, void *arg)
{
    struct http2 *c = arg;
    struct http2_stream *h = find(c, frame->hd.stream_id);

    (void)session; /* it is the connection's */
    (void)source;
    if (!h)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (c->out.n + io_pending(&c->codec.io) >= PENDING_MAX)
        return NGHTTP2_ERR_WOULDBLOCK;
    bytes_append(&c->out, (struct str){(const char *)head, FRAME_HEAD});
    bytes_move(&c->out, &h->out, n);
    h->moved_ms = http2_now_ms(c);
    if (h->is_full && h->out.n < LIMIT_STREAM_LOW) {
        h->is_full = false;
        stream_note(&h->s, STREAM_NOTE_ROOM);
    }
    return 0;
}

static ssize_t send_bytes(nghttp2_session *session, const uint8_t *p, size_t n, int flags, void *arg)
{
    struct http2 *c = arg;

    (void)session; /* it is the connection's */
    (void)flags;
    if (c->out.n + io_pending(&c->codec.io) >= PENDING_MAX)
        return NGHTTP2_ERR_WOULDBLOCK;
    bytes_append(&c->out, (struct str){(const char *)p, n});
    return (ssize_t)n;
}

/* RFC 9113 8.1. */
static void stop_peer(struct http2 *c, int32_t id)
{
    (void)nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, id, NGHTTP2_NO_ERROR);
}

void http2_stop(struct http2 *c, struct http2_stream *h)
{
    h->stop_ms = 0;
    stop_peer(c, h->id);
}

/* The peer needs more credit than it has to send what its head has promised. */
static bool is_long(const struct http2 *c, const struct http2_stream *h)
{
    const struct http_head *head = &h->s.in_head;
    int32_t credit = nghttp2_session_get_stream_local_window_size(c->session, h->id);

    return head->framing == HTTP_BODY_LENGTH && head->content_length > h->s.in_body_bytes + (uint32_t)MAX(credit, 0);
}

/* Most of those are all but whole, and end by themselves; what they break until then is said as ever. Of one that cannot
 * the end of the answer and the word to stop come together: curl 7.88 waits for ever between them. */
static void stop_soon(struct http2 *c, struct http2_stream *h)
{
    if (h->is_tunnel || is_long(c, h)) {
        http2_stop(c, h);
        return;
    }
    h->stop_ms = http2_now_ms(c) + LIMIT_H2_STOP_MS;
    http2_wake_by(c, h->stop_ms);
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *f, void *arg)
{
    struct http2 *c = arg;
    struct http2_stream *h = f->hd.stream_id ? find(c, f->hd.stream_id) : NULL;
    bool ends = (f->hd.type == NGHTTP2_DATA || f->hd.type == NGHTTP2_HEADERS) &&
                (f->hd.flags & NGHTTP2_FLAG_END_STREAM);

    if (f->hd.type == NGHTTP2_GOAWAY && f->goaway.error_code != NGHTTP2_NO_ERROR)
        http2_broken(c, nghttp2_http2_strerror(f->goaway.error_code)); /* found by nghttp2 itself, or told already */
    if (f->hd.type == NGHTTP2_DATA || f->hd.type == NGHTTP2_HEADERS)
        http2_reward(&c->frames, FRAME_WORTH);
    if (!ends)
        return 0;
    if (c->codec.is_server) /* who gets answers may also change its mind */
        http2_reward(&c->resets, 1);
    if (h)
        out_finished(h);
    if ((h && !h->released) || nghttp2_session_get_stream_remote_close(session, f->hd.stream_id) != 0)
        return 0;
    if (h)
        stop_soon(c, h);
    else
        stop_peer(c, f->hd.stream_id);
    return 0;
}

static int on_frame_not_send(nghttp2_session *session, const nghttp2_frame *f, int error, void *arg)
{
    struct http2 *c = arg;
    struct http2_stream *h = f->hd.type == NGHTTP2_HEADERS ? find(c, f->hd.stream_id) : NULL;

    (void)session; /* it is the connection's */
    (void)error;
    if (h && !c->codec.is_server) /* the peer goes away */
        http2_detach(h, STREAM_RESET_REFUSED);
    return 0;
}

void http2_set_callbacks_out(nghttp2_session_callbacks *cb)
{
    nghttp2_session_callbacks_set_send_callback(cb, send_bytes);
    nghttp2_session_callbacks_set_send_data_callback(cb, send_body);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, on_frame_not_send);
}

bool http2_flush(struct http2 *c)
{
    int rc = nghttp2_session_send(c->session);

    if (c->out.n > 0)
        (void)io_write(&c->codec.io, &c->out); /* a dead io drops it, and the driver sees that */
    bytes_done(&c->out);
    return rc == 0;
}

void http2_credit(struct http2 *c, struct http2_stream *h)
{
    size_t n = h ? h->held - MIN(h->held, h->s.in.n) : 0;

    if (n > 0) {
        h->held -= n;
        c->held -= n;
        (void)nghttp2_session_consume_stream(c->session, h->id, n);
        http2_kick(c);
    }
    if (c->owed > 0 && c->held <= LIMIT_H2_HELD_BYTES) {
        (void)nghttp2_session_consume_connection(c->session, c->owed);
        c->owed = 0;
        http2_kick(c);
    }
}

void http2_answer(struct http2 *c, int32_t id, unsigned status)
{
    char text[STR_UINT_MAX], zero[STR_UINT_MAX], date[HTTP_DATE_MAX];
    struct fields f = fields_new(1);

    put_pair(&f, STR(":status"), str_of_uint(status, text));
    put_pair(&f, STR("date"), http_date(loop_wall_ms(c->codec.loop), date));
    if (c->codec.server_name.n > 0)
        put_pair(&f, STR("server"), c->codec.server_name);
    put_pair(&f, STR("content-length"), str_of_uint(0, zero));
    (void)nghttp2_submit_response(c->session, id, f.at, f.count, NULL);
    mem_free(f.at);
    http2_kick(c);
}

/* ---- the owner's calls ---- */

static void reset(struct http2_stream *h, uint32_t code, enum stream_reset why)
{
    struct http2 *c = h->c;

    if (h->id > 0)
        (void)nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, h->id, code);
    http2_detach(h, why);
}

static void send_response_head(struct http2 *c, struct http2_stream *h, const struct http_head *head,
                               bool end)
{
    static const nghttp2_data_provider body = {.read_callback = read_body};
    char status[STR_UINT_MAX], length[STR_UINT_MAX];
    struct fields f = fields_new(head->count);
    bool accepts = h->is_tunnel && (head->status == 101 || head->framing == HTTP_BODY_TUNNEL);
    int rc;

    end = end || h->is_head || head->status == 204 || head->status == 304;
    put_pair(&f, STR(":status"), str_of_uint(head->status == 101 && accepts ? 200 : head->status, status));
    put_all(&f, head->fields, head->count, h->is_tunnel);
    if (head->status < 200 && !accepts) {
        rc = nghttp2_submit_headers(c->session, NGHTTP2_FLAG_NONE, h->id, NULL, f.at, f.count, NULL);
    } else {
        if (!accepts && head->status != 204)
            put_length(&f, head, length);
        rc = nghttp2_submit_response(c->session, h->id, f.at, f.count, end ? NULL : &body);
        h->s.out_head_sent = true;
        h->s.out_ended = h->out_end = end;
        if (h->is_tunnel && !accepts)
            http2_end_in(h); /* it stays HTTP: the request was the head */
    }
    mem_free(f.at);
    if (rc != 0)
        reset(h, NGHTTP2_INTERNAL_ERROR, STREAM_RESET_LOCAL);
}

/* RFC 6455 4.2.2: what a server of HTTP/1.1 would prove; over HTTP/2 nobody does, so it is done here. */
static void remember_websocket(struct http2_stream *h, const struct http_head *head)
{
    uint8_t digest[HASH_SHA1_BYTES];
    struct str key;
    struct buf text;

    if (!str_eq_nocase(head->upgrade, STR("websocket")) ||
        !http_get(head, STR("sec-websocket-key"), &key))
        return;
    hash_sha1(arena_printf(&h->s.arena, "%.*s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", STR_ARG(key)), digest);
    buf_init(&text, 64);
    text_base64(&text, (struct str){(const char *)digest, sizeof(digest)});
    h->accept = arena_str(&h->s.arena, buf_str(&text));
    buf_done(&text);
}

/* RFC 8441 3: not to a peer that has greeted without it. Before that, what it takes is not known. */
static bool takes_tunnels(const struct http2 *c)
{
    return !c->greeted ||
           nghttp2_session_get_remote_settings(c->session, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1;
}

/* Of a request; a CONNECT has its method and authority alone (RFC 9113 8.5). */
static void put_pseudo(struct fields *f, struct http2_stream *h, const struct http_head *head)
{
    bool is_connect = h->is_tunnel && head->upgrade.n == 0;

    put_pair(f, STR(":method"), h->is_tunnel ? STR("CONNECT") : head->method);
    if (!is_connect)
        put_pair(f, STR(":scheme"), h->c->codec.io.tls ? STR("https") : STR("http"));
    if (head->authority.n > 0) /* HTTP/1.0 may have none */
        put_pair(f, STR(":authority"), head->authority);
    if (!is_connect)
        put_pair(f, STR(":path"), head->path);
    if (!h->is_tunnel || is_connect)
        return;
    put_pair(f, STR(":protocol"), head->upgrade);
    h->asked = arena_str(&h->s.arena, head->upgrade);
    remember_websocket(h, head);
}

static void send_request_head(struct http2 *c, struct http2_stream *h, const struct http_head *head,
                              bool end)
{
    static const nghttp2_data_provider body = {.read_callback = read_body};
    char length[STR_UINT_MAX];
    struct fields f;

    h->is_tunnel = head->framing == HTTP_BODY_TUNNEL;
    h->is_head = !h->is_tunnel && str_eq(head->method, STR("HEAD")); /* that becomes a CONNECT */
    if (h->is_tunnel && head->upgrade.n > 0 && !takes_tunnels(c)) {
        c->codec.failure = "the peer takes no extended CONNECT";
        reset(h, NGHTTP2_CANCEL, STREAM_RESET_PROTOCOL);
        return;
    }
    f = fields_new(head->count);
    put_pseudo(&f, h, head);
    put_all(&f, head->fields, head->count, h->is_tunnel);
    if (!h->is_tunnel && !end)
        put_length(&f, head, length);
    h->s.out_head_sent = true;
    h->s.out_ended = h->out_end = end;
    h->id = nghttp2_submit_request(c->session, NULL, f.at, f.count, end ? NULL : &body, h);
    mem_free(f.at);
    if (h->id <= 0) {
        h->id = 0;
        http2_detach(h, STREAM_RESET_REFUSED); /* no ids are left, or the peer goes away */
    }
}

static void op_send_head(struct stream *s, const struct http_head *head, bool end)
{
    struct http2_stream *h = http2_stream_of(s);
    struct http2 *c = h->c;

    if (s->out_head_sent)
        return;
    if (c->codec.is_server)
        send_response_head(c, h, head, end);
    else
        send_request_head(c, h, head, end);
    http2_kick(c);
}

static void resume(struct http2_stream *h)
{
    if (!h->deferred)
        return;
    h->deferred = false;
    (void)nghttp2_session_resume_data(h->c->session, h->id);
    http2_kick(h->c);
}

static void op_send_data(struct stream *s, struct bytes *from, bool end)
{
    struct http2_stream *h = http2_stream_of(s);

    if (!s->out_head_sent || s->out_ended) {
        bytes_done(from);
        return;
    }
    if (h->out.n == 0)
        h->moved_ms = http2_now_ms(h->c);
    s->out_body_bytes += from->n;
    bytes_move(&h->out, from, from->n);
    bytes_done(from);
    if (!has_room(h))
        h->is_full = true;
    s->out_ended = h->out_end = end;
    http2_wake_by(h->c, h->moved_ms + LIMIT_WRITE_STALL_MS);
    resume(h);
    http2_kick(h->c);
}

static void op_send_trailers(struct stream *s, const struct http_field *fields, size_t count)
{
    struct http2_stream *h = http2_stream_of(s);

    if (!s->out_head_sent || s->out_ended)
        return;
    h->out_trailers = arena_alloc(&s->arena, count * sizeof(*fields));
    for (size_t i = 0; i < count; i++)
        h->out_trailers[i] = (struct http_field){arena_str(&s->arena, fields[i].name),
                                                 arena_str(&s->arena, fields[i].value)};
    h->out_trailer_count = count;
    s->out_ended = h->out_end = true;
    resume(h);
    http2_kick(h->c);
}

static size_t op_room(const struct stream *s)
{
    const struct http2_stream *h = (const void *)s; /* its first member */

    if (h->is_tunnel && !h->c->codec.is_server && !s->in_has_head)
        return 0; /* not before it was accepted */
    return has_room(h) ? LIMIT_STREAM_HIGH - h->out.n : 0;
}

static void op_consumed(struct stream *s)
{
    struct http2_stream *h = http2_stream_of(s);

    http2_credit(h->c, h);
}

static void op_reset(struct stream *s)
{
    struct http2_stream *h = http2_stream_of(s);

    reset(h, h->c->codec.is_server ? NGHTTP2_INTERNAL_ERROR : NGHTTP2_CANCEL, STREAM_RESET_LOCAL);
}

/* What was given to us is still written. */
static void op_release(struct stream *s)
{
    struct http2_stream *h = http2_stream_of(s);
    struct http2 *c = h->c;
    bool is_served = c->codec.is_server && s->out_ended;

    s->owner = NULL; /* it has let go: no more notes */
    h->released = true;
    if (!is_served && !(s->in_ended && s->out_ended)) {
        reset(h, c->codec.is_server ? NGHTTP2_INTERNAL_ERROR : NGHTTP2_CANCEL, STREAM_RESET_LOCAL);
        http2_kick(c);
        return;
    }
    bytes_done(&s->in);
    http2_credit(c, h);
    if (h->sent_end && !s->in_ended)
        stop_soon(c, h);
    http2_kick(c);
}

static size_t op_capacity(struct codec *codec)
{
    const struct http2 *c = http2_of(codec);
    uint32_t max = nghttp2_session_get_remote_settings(c->session,
                                                       NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);

    if (codec->is_server || codec->draining || codec->ended || c->state != HTTP2_LIVE || c->cut ||
        codec->io.failed || codec->io.eof_in || !nghttp2_session_check_request_allowed(c->session))
        return 0;
    max = MIN(max, c->streams_max);
    return codec->streams < max ? max - codec->streams : 0;
}

static struct stream *op_open(struct codec *codec, struct task *owner, unsigned note_shift)
{
    struct http2 *c = http2_of(codec);
    struct http2_stream *h;

    if (codec->is_server || codec->draining || codec->ended || c->state != HTTP2_LIVE || c->cut)
        return NULL;
    h = http2_stream_new(c, 0); /* its id comes with the head */
    stream_own(&h->s, owner, note_shift);
    return &h->s;
}

static void op_drain(struct codec *codec)
{
    struct http2 *c = http2_of(codec);

    if (codec->draining)
        return;
    codec->draining = true;
    if (codec->is_server) {
        (void)nghttp2_submit_shutdown_notice(c->session);
        c->drain_ms = http2_now_ms(c) + LIMIT_DRAIN_IDLE_MS;
        http2_wake_by(c, c->drain_ms);
    }
    http2_kick(c);
}

static void free_http2(struct reap *r)
{
    struct http2 *c = CONTAINER(r, struct http2, reap);

    nghttp2_session_del(c->session);
    mem_free(c);
}

static void op_close(struct codec *codec)
{
    struct http2 *c = http2_of(codec);

    while (c->first)
        http2_detach(c->first, STREAM_RESET_LOCAL);
    io_close(&codec->io);
    bytes_done(&c->in);
    bytes_done(&c->out);
    timer_stop(&c->timer);
    task_forget(&c->task);
    c->state = HTTP2_OVER;
    codec->ended = true;
    loop_reap(codec->loop, &c->reap, free_http2);
}

const struct codec_ops http2_ops = {
    .send_head = op_send_head,
    .send_data = op_send_data,
    .send_trailers = op_send_trailers,
    .room = op_room,
    .consumed = op_consumed,
    .reset = op_reset,
    .release = op_release,
    .open = op_open,
    .capacity = op_capacity,
    .drain = op_drain,
    .close = op_close,
};
