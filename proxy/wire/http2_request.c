/* A request's head is whole: told as HTTP/1.1 would have it, or answered here; also the one that came by Upgrade. */
#include "proxy/wire/http2_parts.h"

#include <string.h>

#include "mesh/base/limits.h"
#include "mesh/base/text.h"

#define WINDOW_WORTH     4     /* frames that one of data excuses */

void http2_is_bad(struct http2_stream *h, unsigned status, const char *why)
{
    if (h->bad.n > 0)
        return;
    h->bad = str_from(why);
    h->bad_status = status;
}

/* RFC 9113 8.2.3: pieces of Cookie are one field for everybody else. */
static void join_cookies(struct http_head *h)
{
    struct str all;

    if (http_count(h, STR("cookie")) < 2)
        return;
    all = http_list(h, STR("cookie"), true, h->arena);
    http_remove(h, STR("cookie"));
    http_add(h, STR("cookie"), all);
}

/* :authority goes before Host; where both are there they must agree (RFC 9113 8.3.1). */
static void settle_authority(struct http2_stream *h)
{
    struct http_head *head = &h->head;
    struct str host, checked;
    char *copy;
    bool has_host = http_get(head, STR("host"), &host);

    if (has_host && head->authority.n > 0 && !str_eq_nocase(host, head->authority)) {
        http2_is_bad(h, 400, "Host and :authority differ");
        return;
    }
    if (head->authority.n == 0 && has_host)
        head->authority = host;
    http_remove(head, STR("host"));
    if (head->authority.n == 0)
        return; /* refused where requests are routed */
    copy = arena_alloc(head->arena, head->authority.n);
    memcpy(copy, head->authority.p, head->authority.n);
    if (http_check_authority(copy, head->authority.n, &checked))
        http2_is_bad(h, 400, "malformed authority");
    head->authority = checked;
}

static void check_path(struct http2_stream *h)
{
    struct str p = h->head.path;

    if (p.n > LIMIT_TARGET_BYTES)
        http2_is_bad(h, 414, "request target is too long");
    if (p.n == 0 || (p.p[0] != '/' && !str_eq(p, STR("*"))) ||
        (p.p[0] == '*' && !str_eq(h->head.method, STR("OPTIONS"))))
        http2_is_bad(h, 400, "malformed request target");
    for (size_t i = 0; i < p.n; i++) {
        if (!http_is_target_char(p.p[i]))
            http2_is_bad(h, 400, "malformed request target");
    }
}

/* RFC 8441 has no Sec-WebSocket-Key; a server of HTTP/1.1 wants one. */
static void add_websocket_key(struct http2_stream *h)
{
    struct buf text;
    char nonce[16];

    text_random(nonce, sizeof(nonce));
    buf_init(&text, 64);
    text_base64(&text, (struct str){nonce, sizeof(nonce)});
    http_set(&h->head, STR("sec-websocket-key"), buf_str(&text));
    buf_done(&text);
}

static bool may_tunnel(const struct http2_stream *h)
{
    if (h->protocol.n == 0)
        return h->c->codec.connects;
    return h->c->codec.tunnels && http_is_token(h->protocol) && !str_starts_nocase(h->protocol, STR("h2c"));
}

/* A CONNECT stays one; an extended CONNECT is told as HTTP/1.1 has it. */
static void settle_tunnel(struct http2_stream *h, bool ended)
{
    if (!may_tunnel(h)) {
        http2_is_bad(h, 501, "method not supported");
        return;
    }
    if (ended || h->head.framing == HTTP_BODY_LENGTH)
        http2_is_bad(h, 400, "a tunnel has no length");
    h->head.framing = HTTP_BODY_TUNNEL;
    h->is_tunnel = true;
    if (h->protocol.n == 0) {
        if (http_host_only(h->head.authority).n == h->head.authority.n)
            http2_is_bad(h, 400, "CONNECT without a port");
        h->head.path = STR("/");
        return;
    }
    h->head.method = STR("GET");
    h->head.upgrade = h->protocol;
    if (str_eq_nocase(h->protocol, STR("websocket")))
        add_websocket_key(h);
}

void http2_end_in(struct http2_stream *h)
{
    if (h->s.in_ended)
        return;
    h->s.in_ended = true;
    stream_note(&h->s, STREAM_NOTE_END);
}

void http2_refuse(struct http2 *c, struct http2_stream *h, unsigned status, enum stream_reset why)
{
    int32_t id = h->id;

    c->codec.failure_status = status;
    http2_detach(h, why);
    http2_answer(c, id, status);
}

void http2_request_done(struct http2 *c, struct http2_stream *h, bool ended)
{
    struct http_head *head = &h->head;

    if (head->method.n > LIMIT_METHOD_BYTES)
        http2_is_bad(h, 501, "method not supported");
    head->scheme = c->codec.io.tls ? STR("https") : STR("http");
    if (head->framing != HTTP_BODY_LENGTH)
        head->framing = ended ? HTTP_BODY_NONE : HTTP_BODY_CHUNKED;
    settle_authority(h);
    if (str_eq(head->method, STR("CONNECT")))
        settle_tunnel(h, ended);
    if (h->bad.n == 0)
        check_path(h);
    if (h->bad.n > 0) {
        http2_refuse(c, h, h->bad_status, STREAM_RESET_LOCAL);
        return;
    }
    join_cookies(head);
    h->is_head = str_eq(head->method, STR("HEAD"));
    h->released = false;
    h->s.in_head = *head;
    h->s.in_has_head = true;
    http2_reward(&c->frames, WINDOW_WORTH);
    stream_note(&h->s, STREAM_NOTE_HEAD);
    if (c->codec.refuses_slow && head->framing == HTTP_BODY_LENGTH && !ended) {
        h->pace.since_ms = http2_now_ms(c);
        http2_wake_by(c, pace_due_ms(&h->pace));
    }
    if (ended)
        http2_end_in(h);
    c->codec.to->on_stream(c->codec.owner, &h->s);
}

/* What its method and target are was checked by the parser of HTTP/1.1; here it is a request like any other. */
void http2_take_asked(struct http2 *c, const struct http_head *asked)
{
    uint8_t settings[HTTP_H2C_SETTINGS_MAX];
    size_t n = http_h2c_settings(asked->http2_settings, settings);
    struct http2_stream *h;

    if (nghttp2_session_upgrade2(c->session, settings, n, str_eq(asked->method, STR("HEAD")), NULL)) {
        (void)http2_fail(c, NGHTTP2_PROTOCOL_ERROR, "malformed HTTP2-Settings");
        return;
    }
    h = http2_stream_new(c, 1);
    (void)nghttp2_session_set_stream_user_data(c->session, h->id, h); /* it was opened just now */
    h->released = true; /* until it is told */
    http_head_copy(&h->head, asked, &h->s.arena);
    h->head.version = 20;
    h->head.upgrade = h->head.http2_settings = STR_NONE;
    c->newest = h->id;
    c->asked = h;
}

void http2_tell_asked(struct http2 *c)
{
    struct http2_stream *h = c->asked;

    c->asked = NULL;
    http2_request_done(c, h, true);
}
