/* What nghttp2 tells of the peer: heads, bodies, ends. Callbacks fill streams and note; a stream that breaks a rule of ours
 * is answered or reset, and what does not deserve that ends the connection. */
#include "proxy/wire/http2_parts.h"

#include <string.h>

#include "mesh/base/limits.h"

#define SHARE_BYTES      2048u /* smaller pieces of a body are copied: each would hold a whole slice */
#define FIELD_EXTRA      32u   /* RFC 7541 4.1 */
#define RESET_COST       1

static bool is_request_head(const struct http2 *c, const nghttp2_frame *f)
{
    return c->codec.is_server && f->hd.type == NGHTTP2_HEADERS &&
           f->headers.cat == NGHTTP2_HCAT_REQUEST;
}

static struct http2_stream *find(const struct http2 *c, int32_t id)
{
    return nghttp2_session_get_stream_user_data(c->session, id);
}

static struct str text_of(const uint8_t *p, size_t n)
{
    return (struct str){(const char *)p, n};
}

/* ---- heads ---- */

static void begin_head(struct http2_stream *h)
{
    http_head_init(&h->head, &h->s.arena, h->c->codec.is_server);
    h->head.version = 20;
    h->head_bytes = h->field_count = h->fields_seen = 0;
    h->has_cookie = false;
    h->protocol = STR_NONE;
    h->in_trailers = h->s.in_has_head;
    if (h->in_trailers)
        h->s.in_trailer_count = 0;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *f, void *arg)
{
    struct http2 *c = arg;
    struct http2_stream *h;

    if (f->hd.type != NGHTTP2_HEADERS)
        return 0;
    h = find(c, f->hd.stream_id);
    if (!h && is_request_head(c, f)) {
        h = http2_stream_new(c, f->hd.stream_id);
        h->released = true; /* nobody has it before its head is whole */
        (void)nghttp2_session_set_stream_user_data(session, h->id, h); /* it was opened just now */
    }
    if (h)
        begin_head(h);
    return 0;
}

static bool is_dropped(struct str name)
{
    return str_eq(name, STR("http2-settings")) || str_eq(name, STR("keep-alive")) ||
           str_eq(name, STR("proxy-connection"));
}

static void take_length(struct http2_stream *h, struct str value)
{
    if (!str_uint(value, 0, INT64_MAX, &h->head.content_length))
        http2_is_bad(h, 400, "malformed Content-Length");
    else
        h->head.framing = HTTP_BODY_LENGTH;
}

static void take_expect(struct http2_stream *h, struct str value)
{
    h->head.expect_continue = str_eq_nocase(value, STR("100-continue"));
    if (!h->head.expect_continue)
        http2_is_bad(h, 417, "unknown expectation");
}

static void take_pseudo(struct http2_stream *h, struct str name, struct str value)
{
    struct str kept = arena_str(&h->s.arena, value);
    uint64_t status;

    if (str_eq(name, STR(":method")))
        h->head.method = kept;
    else if (str_eq(name, STR(":path")))
        h->head.path = kept;
    else if (str_eq(name, STR(":authority")))
        h->head.authority = kept;
    else if (str_eq(name, STR(":protocol")))
        h->protocol = kept;
    else if (str_eq(name, STR(":status")) && str_uint(value, 100, 999, &status))
        h->head.status = (unsigned)status;
    else if (str_eq(name, STR(":status")))
        http2_is_bad(h, 400, "malformed status");
}

static void take_field(struct http2_stream *h, struct str name, struct str value)
{
    bool request = h->head.is_request;

    if (name.n > 0 && name.p[0] == ':')
        take_pseudo(h, name, value);
    else if (str_eq(name, STR("content-length")))
        take_length(h, value);
    else if (request && str_eq(name, STR("expect")))
        take_expect(h, value);
    else if (!is_dropped(name))
        http_add(&h->head, name, value);
}

static void take_trailer(struct http2_stream *h, struct str name, struct str value)
{
    struct stream *s = &h->s;

    if (h->head_bytes > LIMIT_TRAILER_BYTES) {
        http2_is_bad(h, 431, "trailers are too long");
        return;
    }
    if (!http_may_be_trailer(name))
        return;
    if (!s->in_trailers)
        s->in_trailers = arena_alloc(&s->arena, LIMIT_HEADERS * sizeof(*s->in_trailers));
    s->in_trailers[s->in_trailer_count++] =
        (struct http_field){arena_str(&s->arena, name), arena_str(&s->arena, value)};
}

/* Against LIMIT_HEADERS: as HTTP/1.1 would have it, without the pseudo fields, and with one Cookie for all of its pieces. */
static bool is_counted(struct http2_stream *h, struct str name)
{
    bool is_cookie = str_eq(name, STR("cookie")), again = is_cookie && h->has_cookie;

    h->has_cookie = h->has_cookie || is_cookie;
    return !again && !(name.n > 0 && name.p[0] == ':');
}

static int on_header(nghttp2_session *session, const nghttp2_frame *f, const uint8_t *name,
                     size_t name_bytes, const uint8_t *value, size_t value_bytes, uint8_t flags,
                     void *arg)
{
    struct http2 *c = arg;
    struct http2_stream *h = find(c, f->hd.stream_id);
    struct str n = text_of(name, name_bytes), v = text_of(value, value_bytes);

    (void)session; /* it is the connection's */
    (void)flags;   /* whether it may be indexed is decided anew */
    if (!h)
        return 0;
    if (++h->fields_seen > LIMIT_H2_FIELDS_SEEN) {
        (void)http2_fail(c, NGHTTP2_ENHANCE_YOUR_CALM, "too many fields");
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    h->head_bytes += n.n + v.n + FIELD_EXTRA;
    h->field_count += is_counted(h, n);
    if (h->field_count > LIMIT_HEADERS || h->head_bytes > LIMIT_HEAD_BYTES)
        http2_is_bad(h, 431, "head is too long");
    if (h->bad.n > 0)
        return 0;
    if (h->in_trailers)
        take_trailer(h, n, v);
    else
        take_field(h, n, v);
    return 0;
}

/* ---- a response's head is whole ---- */

static void break_off(struct http2 *c, struct http2_stream *h, const char *why)
{
    c->codec.failure = why;
    (void)nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, h->id, NGHTTP2_PROTOCOL_ERROR);
    http2_detach(h, STREAM_RESET_PROTOCOL);
}

/* RFC 9113 8.1.1. nghttp2 sees to it, but for the answer to a CONNECT. */
static bool is_length_kept(const struct http2_stream *h)
{
    const struct http_head *head = &h->s.in_head;

    return head->is_request || h->is_head || head->status == 304 || head->framing != HTTP_BODY_LENGTH ||
           h->s.in_body_bytes == head->content_length;
}

static void end_in(struct http2 *c, struct http2_stream *h)
{
    if (is_length_kept(h))
        http2_end_in(h);
    else
        break_off(c, h, "the body has another length than its head says");
}

/* The answer to an extended CONNECT; all but a 2xx says that it stays HTTP. */
static void settle_tunnel_answer(struct http2_stream *h)
{
    struct http_head *head = &h->head;

    if (head->status >= 200 && head->status < 300) {
        if (h->asked.n > 0)
            head->status = 101;
        head->upgrade = h->asked;
        head->framing = HTTP_BODY_TUNNEL;
        if (h->accept.n > 0)
            http_set(head, STR("sec-websocket-accept"), h->accept);
        stream_note(&h->s, STREAM_NOTE_ROOM);
        return;
    }
    h->is_tunnel = false;
    h->out_end = true;
    h->s.out_ended = true;
    (void)nghttp2_session_resume_data(h->c->session, h->id); /* the end is still to be written */
}

static void response_done(struct http2 *c, struct http2_stream *h, bool ended)
{
    struct http_head *head = &h->head;

    if (h->bad.n > 0) {
        break_off(c, h, "the response head is too long or malformed");
        return;
    }
    if (head->status < 200) {
        if (++h->informational > LIMIT_INFORMATIONAL) {
            break_off(c, h, "too many informational answers");
            return;
        }
        stream_add_informational(&h->s, head);
        return;
    }
    if (head->framing != HTTP_BODY_LENGTH)
        head->framing = ended ? HTTP_BODY_NONE : HTTP_BODY_CHUNKED;
    if (h->is_tunnel)
        settle_tunnel_answer(h);
    h->s.in_head = *head;
    h->s.in_has_head = true;
    stream_note(&h->s, STREAM_NOTE_HEAD);
    if (ended)
        end_in(c, h);
}

static void trailers_done(struct http2 *c, struct http2_stream *h, bool ended)
{
    if (h->bad.n > 0 || !ended)
        break_off(c, h, "malformed trailers");
    else
        end_in(c, h);
}

static void head_done(struct http2 *c, struct http2_stream *h, const nghttp2_frame *f)
{
    bool ended = (f->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;

    http2_reward(&c->frames, 1);
    if (h->in_trailers)
        trailers_done(c, h, ended);
    else if (c->codec.is_server)
        http2_request_done(c, h, ended);
    else
        response_done(c, h, ended);
}

/* ---- what follows ---- */

/* False: the connection ends. */
static bool data_done(struct http2 *c, struct http2_stream *h, const nghttp2_frame *f)
{
    bool ended = (f->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;

    if (f->hd.length > f->data.padlen)
        http2_reward(&c->frames, 1);
    else if (f->hd.length > 0 && !ended && !http2_charge(c, &c->frames, 1))
        return false;
    if (h && !h->s.in_has_head)
        break_off(c, h, "a body without a head");
    else if (h && ended)
        end_in(c, h);
    return true;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *f, void *arg)
{
    struct http2 *c = arg;
    struct http2_stream *h = f->hd.stream_id ? find(c, f->hd.stream_id) : NULL;

    (void)session; /* it is the connection's */
    switch (f->hd.type) {
    case NGHTTP2_HEADERS:
        if (h)
            head_done(c, h, f);
        break;
    case NGHTTP2_DATA:
        return data_done(c, h, f) ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
    case NGHTTP2_RST_STREAM:
        if (h)
            h->peer_reset = true;
        if (h && c->codec.is_server && !h->sent_end && !http2_charge(c, &c->resets, RESET_COST))
            return NGHTTP2_ERR_CALLBACK_FAILURE;
        break;
    case NGHTTP2_SETTINGS:
        c->greeted = c->greeted || !(f->hd.flags & NGHTTP2_FLAG_ACK);
        http2_kick(c); /* more streams may be allowed now */
        if (!http2_check_windows(c, &f->settings))
            return NGHTTP2_ERR_CALLBACK_FAILURE;
        break;
    case NGHTTP2_GOAWAY:
        if (!c->codec.is_server)
            c->codec.draining = true;
        http2_kick(c);
        break;
    default:
        break;
    }
    return 0;
}

/* Of a body that nobody wants. A client that was answered gets no more credit for it, and not for long: then it is told to
 * stop. */
static void drop(struct http2 *c, struct http2_stream *h, int32_t id, size_t n)
{
    if (!h || h->stop_ms == 0) {
        (void)nghttp2_session_consume(c->session, id, n);
        return;
    }
    (void)nghttp2_session_consume_connection(c->session, n);
    h->dropped += n;
    if (h->dropped > LIMIT_H2_STOP_BYTES && h->s.in_head.framing != HTTP_BODY_LENGTH)
        http2_stop(c, h);
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t n, void *arg)
{
    struct http2 *c = arg;
    struct http2_stream *h = find(c, id);
    struct str front = bytes_front(&c->in);

    (void)flags; /* the end is told by the frame */
    if (!h || !h->s.in_has_head || h->s.in_ended || h->released || h->held + n > NGHTTP2_INITIAL_WINDOW_SIZE) {
        drop(c, h, id, n); /* what is beyond its credit resets the stream, too */
        return 0;
    }
    if (n < SHARE_BYTES)
        bytes_append(&h->s.in, text_of(data, n));
    else
        bytes_share(&h->s.in, &c->in, (size_t)((const char *)data - front.p), n);
    h->s.in_body_bytes += n;
    h->held += n;
    c->held += n;
    if (c->held <= LIMIT_H2_HELD_BYTES)
        (void)nghttp2_session_consume_connection(session, n);
    else
        c->owed += n;
    stream_note(&h->s, STREAM_NOTE_DATA);
    return 0;
}

static int on_invalid(nghttp2_session *session, const nghttp2_frame *f, int error, void *arg)
{
    struct http2 *c = arg;
    struct http2_stream *h = f->hd.stream_id ? find(c, f->hd.stream_id) : NULL;

    (void)session; /* it is the connection's */
    if (h)
        h->we_reset = true;
    if (!c->codec.failure || h)
        c->codec.failure = nghttp2_strerror(error);
    c->codec.failure_status = 400;
    return c->codec.is_server && !http2_charge(c, &c->resets, RESET_COST)
               ? NGHTTP2_ERR_CALLBACK_FAILURE
               : 0;
}

static enum stream_reset reset_of(const struct http2_stream *h, uint32_t code)
{
    if (h->we_reset)
        return STREAM_RESET_PROTOCOL;
    if (code == NGHTTP2_REFUSED_STREAM && !h->s.in_has_head)
        return STREAM_RESET_REFUSED;
    return h->peer_reset ? STREAM_RESET_PEER : STREAM_RESET_CLOSED;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *arg)
{
    struct http2 *c = arg;
    struct http2_stream *h = find(c, id);

    (void)session; /* it is the connection's */
    if (!h)
        return 0;
    if (code != NGHTTP2_NO_ERROR && !h->peer_reset && code != NGHTTP2_REFUSED_STREAM &&
        code != NGHTTP2_CANCEL)
        h->we_reset = true; /* nghttp2 found something wrong */
    http2_detach(h, reset_of(h, code));
    return 0;
}

void http2_set_callbacks_in(nghttp2_session_callbacks *cb)
{
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
}
