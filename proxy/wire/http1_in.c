/* Incoming messages: heads as soon as they are whole, bodies as far as there is room. */
#include "proxy/wire/http1_parts.h"

#include <string.h>

#include "mesh/base/limits.h"
#include "mesh/base/mem.h"

#define BLANK_LINES_MAX   4u
#define CHUNK_DIGITS_MAX  16u
#define CHUNK_EXCESS_MAX  (16u << 10)
#define CHUNK_EXCESS_FREE 16u  /* framing bytes of a chunk that nobody minds */
#define REQUEST_LINE_REST 128u /* of a request line beside the target */

void http1_begin_head(struct http1 *c)
{
    c->parse = P_HEAD;
    c->scanned = c->line_bytes = 0;
    c->head_ms = 0;
    c->blank_lines = 0;
}

/* Incoming heads */

enum scan { SCAN_MORE, SCAN_FOUND, SCAN_BARE_LF };

/* Go on looking for the empty line; never looks at a byte twice. `*end` is one past it. */
static enum scan scan_head(struct http1 *c, size_t limit, size_t *end)
{
    size_t n = MIN(c->in.n, limit);
    const char *p = bytes_flat(&c->in, n).p;

    while (c->scanned < n) {
        const char *lf = memchr(p + c->scanned, '\n', n - c->scanned);
        size_t at, line;

        if (!lf) {
            c->line_bytes += n - c->scanned;
            c->scanned = n;
            break;
        }
        at = (size_t)(lf - p);
        line = c->line_bytes + (at - c->scanned);
        if (line == 0 || p[at - 1] != '\r')
            return SCAN_BARE_LF;
        c->scanned = at + 1;
        c->line_bytes = 0;
        if (line == 1) {
            *end = at + 1;
            return SCAN_FOUND;
        }
    }
    return SCAN_MORE;
}

/* Empty lines before a request line are skipped (RFC 9112 2.2), a few. False: no bytes to look at
 * yet. */
static bool skip_blank_lines(struct http1 *c, const char **why)
{
    while (c->scanned == 0 && c->in.n > 0) {
        char two[2] = {0};
        size_t n = bytes_copy_out(&c->in, 0, two, 2);

        if (two[0] != '\r')
            return true;
        if (n < 2)
            return false;
        if (two[1] != '\n' || ++c->blank_lines > BLANK_LINES_MAX) {
            *why = "malformed request line";
            return false;
        }
        bytes_drop(&c->in, 2);
    }
    return c->in.n > 0;
}

static bool may_start(const struct http1 *c)
{
    char first = bytes_front(&c->in).p[0];

    return c->codec.is_server ? http_is_token((struct str){&first, 1}) : first == 'H';
}

/* SCAN_FOUND with `*end` set, SCAN_MORE, or the failure: *why, *status. */
static enum scan find_head(struct http1 *c, size_t *end, unsigned *status, const char **why)
{
    enum scan scan;

    *why = NULL;
    *status = 400;
    if (c->in.n > 0 && c->head_ms == 0) {
        c->head_ms = http1_now_ms(c);
        if (c->codec.is_server)
            http1_wake_by(c, c->head_ms + LIMIT_HEAD_MS);
    }
    if (c->in.n == 0 || (c->codec.is_server && !skip_blank_lines(c, why)))
        return SCAN_MORE;
    if (c->scanned == 0 && !may_start(c)) {
        *why = "this is not HTTP";
        return SCAN_MORE;
    }
    scan = scan_head(c, LIMIT_HEAD_BYTES, end);
    if (scan == SCAN_BARE_LF)
        *why = "line feed without carriage return";
    if (scan != SCAN_MORE)
        return scan;
    if (c->line_bytes == c->scanned && c->scanned > LIMIT_TARGET_BYTES + REQUEST_LINE_REST) {
        *status = 414;
        *why = "request line is too long";
    } else if (c->scanned >= LIMIT_HEAD_BYTES) {
        *status = 431;
        *why = "head is too long";
    }
    return scan;
}

/* Where reading goes on behind the head. */
static enum parse parse_of(struct http1 *c, const struct http_head *h)
{
    c->body_left = h->content_length;
    c->chunk = CH_SIZE;
    c->digits = 0;
    c->chunk_line = c->chunk_excess = 0;
    switch (h->framing) {
    case HTTP_BODY_NONE:
        return P_DONE;
    case HTTP_BODY_LENGTH:
        return h->content_length > 0 ? P_LENGTH : P_DONE;
    case HTTP_BODY_CHUNKED:
        return P_CHUNK_LINE;
    case HTTP_BODY_CLOSE:
        return P_CLOSE;
    case HTTP_BODY_TUNNEL:
        return c->codec.is_server ? P_UPGRADE : P_TUNNEL;
    }
    return P_DONE;
}

void http1_in_end(struct http1 *c)
{
    c->parse = P_DONE;
    c->stream->in_ended = true;
    stream_note(c->stream, STREAM_NOTE_END);
}

static void head_done(struct http1 *c, struct http_head *h)
{
    c->stream->in_has_head = true;
    stream_note(c->stream, STREAM_NOTE_HEAD);
    c->parse = (uint8_t)parse_of(c, h);
    if (c->parse == P_DONE)
        http1_in_end(c);
}

/* Whoever changes to another HTTP or to TLS would get past our rules. */
static bool may_tunnel(const struct http_head *h)
{
    static const struct str never[] = {STR_INIT("h2c"), STR_INIT("http/"), STR_INIT("tls/")};

    if (h->upgrade.n == 0 || h->framing != HTTP_BODY_NONE || !http_is_token(h->upgrade))
        return false;
    for (size_t i = 0; i < COUNT(never); i++) {
        if (str_starts_nocase(h->upgrade, never[i]))
            return false;
    }
    return true;
}

/* A request may ask for its answer, and all that follows, in HTTP/2 (RFC 7540 3.2). One with a body gets HTTP/1.1. */
static bool asks_for_h2c(const struct http1 *c, const struct http_head *h)
{
    uint8_t settings[HTTP_H2C_SETTINGS_MAX];

    return c->takes_h2c && !c->codec.io.tls && c->codec.to->on_http2 && str_eq_nocase(h->upgrade, STR("h2c")) &&
           h->framing == HTTP_BODY_NONE && http_h2c_settings(h->http2_settings, settings) > 0;
}

/* It becomes a tunnel, or is answered and the last on its connection: what comes behind it may be meant for the tunnel. */
static const char *settle_connect(struct http1 *c, struct http_head *h, unsigned *status)
{
    *status = c->codec.connects ? 400 : 501;
    if (!c->codec.connects)
        return "method not supported";
    if (h->framing != HTTP_BODY_NONE)
        return "a tunnel has no length";
    h->framing = HTTP_BODY_TUNNEL;
    h->upgrade = STR_NONE;
    h->keep_alive = false;
    return NULL;
}

#define HTTP2_HEAD "PRI * HTTP/2.0\r\n\r\n" /* RFC 9113 3.4: how HTTP/2 begins, as HTTP/1.1 reads it */

/* Server: a request head, if it is whole. */
enum state http1_take_request(struct http1 *c)
{
    unsigned status;
    const char *why;
    size_t end;
    struct pair *p;
    enum scan scan = find_head(c, &end, &status, &why);

    if (why)
        return http1_refuse(c, status, why);
    if (scan != SCAN_FOUND)
        return ST_IDLE;
    if (c->codec.to->on_http2 && c->codec.requests == 0 &&
        str_eq(bytes_flat(&c->in, end), STR(HTTP2_HEAD))) {
        c->upgraded = true;
        c->codec.to->on_http2(c->codec.owner);
        return ST_UPGRADED;
    }
    p = http1_pair_new(c);
    why =
        http1_parse_head(bytes_flat(&c->in, end).p, end, true, &p->s.arena, &p->s.in_head, &status);
    if (!why && http_is_connect(&p->s.in_head))
        why = settle_connect(c, &p->s.in_head, &status);
    if (why) {
        stream_free(&p->s);
        return http1_refuse(c, status == 0 && c->codec.requests > 0 ? 400 : status, why);
    }
    bytes_drop(&c->in, end);
    if (c->codec.io.tls)
        p->s.in_head.scheme = STR("https");
    p->is_head = str_eq(p->s.in_head.method, STR("HEAD"));
    if (c->codec.tunnels && may_tunnel(&p->s.in_head))
        p->s.in_head.framing = HTTP_BODY_TUNNEL;
    p->s.started_ms = c->head_ms;
    c->stream = &p->s;
    c->codec.requests++;
    c->codec.streams = 1;
    c->stall_ms = http1_now_ms(c);
    c->pace = (struct pace){c->stall_ms, 0};
    http1_wake_by(c, c->codec.refuses_slow && p->s.in_head.framing == HTTP_BODY_LENGTH ? pace_due_ms(&c->pace)
                                                                                      : c->stall_ms + LIMIT_WRITE_STALL_MS);
    head_done(c, &p->s.in_head);
    if (asks_for_h2c(c, &p->s.in_head)) {
        c->upgraded = true;
        c->h2c_request = c->stream;
        c->codec.to->on_http2(c->codec.owner);
        return ST_UPGRADED;
    }
    c->codec.to->on_stream(c->codec.owner, &p->s);
    return ST_EXCHANGE;
}

/* Client: the framing depends on the request too (RFC 9112 6.3). */
static void frame_response(const struct pair *p, struct http_head *h)
{
    if (p->is_head || h->status < 200 || h->status == 204 || h->status == 304)
        h->framing = h->framing == HTTP_BODY_LENGTH && h->status >= 200 && h->status != 204
                         ? HTTP_BODY_LENGTH
                         : HTTP_BODY_NONE;
}

/* RFC 9112 6.1, 6.3: no body follows, and no sender may say that one does. From one that says so it may yet come. */
static bool promises_wrongly(const struct http_head *h)
{
    return (h->status < 200 || h->status == 204) &&
           (h->framing == HTTP_BODY_CHUNKED || (h->framing == HTTP_BODY_LENGTH && h->content_length > 0));
}

static bool has_body(const struct pair *p, const struct http_head *h)
{
    return !p->is_head && h->status >= 200 && h->status != 204 && h->status != 304;
}

/* The answer says yes: from here on it is bytes. */
static enum state open_tunnel(struct http1 *c, struct pair *p, const struct http_head *h)
{
    p->s.in_head = *h;
    p->s.in_head.framing = HTTP_BODY_TUNNEL;
    c->close_after = true;
    head_done(c, &p->s.in_head);
    stream_note(&p->s, STREAM_NOTE_ROOM);
    return ST_EXCHANGE;
}

static enum state take_informational(struct http1 *c, struct pair *p, const struct http_head *h)
{
    if (h->status == 101) {
        if (p->asked.n == 0 || !str_eq_nocase(h->upgrade, p->asked) || (!p->s.out_ended && !c->codec.tunnels))
            return http1_refuse(c, 502, "upgrade that nobody asked for");
        if (c->codec.tunnels)
            return open_tunnel(c, p, h);
        p->s.in_head = *h;
        p->s.in_has_head = p->s.in_ended = true;
        c->upgraded = true;
        stream_note(&p->s, STREAM_NOTE_HEAD | STREAM_NOTE_END);
        return ST_UPGRADED;
    }
    if (++c->informational > LIMIT_INFORMATIONAL)
        return http1_refuse(c, 502, "too many informational answers");
    stream_add_informational(&p->s, h);
    http1_begin_head(c);
    return ST_EXCHANGE;
}

/* Client: a response head, if it is whole. `*more`: something was taken, look again. */
enum state http1_take_response(struct http1 *c, bool *more)
{
    struct pair *p = http1_pair_of(c->stream);
    struct http_head h;
    unsigned status;
    const char *why;
    size_t end;
    enum scan scan = find_head(c, &end, &status, &why);

    if (why)
        return http1_refuse(c, 502, why);
    if (scan != SCAN_FOUND)
        return ST_EXCHANGE;
    why = http1_parse_head(bytes_flat(&c->in, end).p, end, false, &p->s.arena, &h, &status);
    if (why)
        return http1_refuse(c, 502, why);
    bytes_drop(&c->in, end);
    if (promises_wrongly(&h))
        c->close_after = true;
    frame_response(p, &h);
    *more = true;
    if (h.status < 200)
        return take_informational(c, p, &h);
    if (p->is_connect && h.status < 300)
        return open_tunnel(c, p, &h);
    p->s.in_head = h;
    if (c->out_framing == HTTP_BODY_TUNNEL && !p->s.out_ended) { /* it stays HTTP: our message was the head */
        c->out_framing = HTTP_BODY_NONE;
        p->s.out_ended = p->s.out_sent = true;
        stream_note(&p->s, STREAM_NOTE_SENT);
    }
    if (!has_body(p, &h)) {
        p->s.in_has_head = true;
        stream_note(&p->s, STREAM_NOTE_HEAD);
        http1_in_end(c);
    } else {
        head_done(c, &p->s.in_head);
    }
    return ST_EXCHANGE;
}

/* Incoming bodies */

static size_t in_room(const struct stream *s)
{
    return s->in.n < LIMIT_STREAM_HIGH ? LIMIT_STREAM_HIGH - s->in.n : 0;
}

static size_t take_body(struct http1 *c, uint64_t max)
{
    struct stream *s = c->stream;
    size_t n = MIN(c->in.n, in_room(s));

    n = max < n ? (size_t)max : n;
    if (n == 0)
        return 0;
    bytes_move(&s->in, &c->in, n);
    s->in_body_bytes += n;
    stream_note(s, STREAM_NOTE_DATA);
    return n;
}

static bool add_digit(struct http1 *c, char ch)
{
    unsigned digit;

    if (ch >= '0' && ch <= '9')
        digit = (unsigned)(ch - '0');
    else if ((ch | 32) >= 'a' && (ch | 32) <= 'f')
        digit = (unsigned)((ch | 32) - 'a') + 10;
    else
        return false;
    if (++c->digits > CHUNK_DIGITS_MAX || c->body_left > (UINT64_MAX >> 5))
        return false;
    c->body_left = c->body_left << 4 | digit;
    return true;
}

static bool is_token_char(char ch)
{
    return http_is_token((struct str){&ch, 1});
}

/* One character of a chunk's first line. The grammar is RFC 9112's without its "bad" blanks;
 * extensions are dropped. */
static bool chunk_char(struct http1 *c, char ch)
{
    uint8_t u = (uint8_t)ch;
    bool after = c->chunk == CH_EXT_NAME_MORE || c->chunk == CH_EXT_TOKEN ||
                 c->chunk == CH_EXT_AFTER || (c->chunk == CH_SIZE && c->digits > 0);

    if (after && (ch == '\r' || ch == ';')) {
        c->chunk = ch == '\r' ? CH_LF : CH_EXT_NAME;
        return true;
    }
    switch ((enum chunk)c->chunk) {
    case CH_SIZE:
        return add_digit(c, ch);
    case CH_EXT_NAME:
        c->chunk = CH_EXT_NAME_MORE;
        return is_token_char(ch);
    case CH_EXT_NAME_MORE:
        if (ch == '=') {
            c->chunk = CH_EXT_VALUE;
            return true;
        }
        return is_token_char(ch);
    case CH_EXT_VALUE:
        c->chunk = ch == '"' ? CH_EXT_QUOTED : CH_EXT_TOKEN;
        return ch == '"' || is_token_char(ch);
    case CH_EXT_TOKEN:
        return is_token_char(ch);
    case CH_EXT_QUOTED:
        if (ch == '"' || ch == '\\')
            c->chunk = ch == '"' ? CH_EXT_AFTER : CH_EXT_ESCAPE;
        return (u >= 0x20 && u != 0x7f) || ch == '\t';
    case CH_EXT_ESCAPE:
        c->chunk = CH_EXT_QUOTED;
        return (u >= 0x20 && u != 0x7f) || ch == '\t';
    case CH_EXT_AFTER:
    case CH_LF:
        return ch == '\n' && c->chunk == CH_LF;
    }
    return false;
}

/* Many tiny chunks with long lines cost more than they carry: what the data does not excuse is
 * bounded. */
static bool chunk_line_done(struct http1 *c)
{
    uint64_t excuse = CHUNK_EXCESS_FREE + MIN(c->body_left, (uint64_t)CHUNK_EXCESS_MAX) * 2;

    c->chunk_excess += c->chunk_line;
    c->chunk_excess -= MIN(c->chunk_excess, (size_t)excuse);
    c->chunk_line = 0;
    c->digits = 0;
    c->chunk = CH_SIZE;
    c->scanned = c->line_bytes = 0;
    c->parse = c->body_left > 0 ? P_CHUNK_DATA : P_TRAILERS;
    return c->chunk_excess <= CHUNK_EXCESS_MAX;
}

static const char *take_chunk_line(struct http1 *c)
{
    while (c->in.n > 0 && c->parse == P_CHUNK_LINE) {
        struct str run = bytes_front(&c->in);
        size_t i = 0;
        bool done = false, good = true;

        if (c->chunk == CH_SIZE && c->digits == 0)
            c->body_left = 0;
        while (i < run.n && good && !done) {
            char ch = run.p[i++];

            done = c->chunk == CH_LF;
            good = chunk_char(c, ch) && ++c->chunk_line <= LIMIT_CHUNK_EXT;
        }
        bytes_drop(&c->in, i);
        if (!good)
            return "malformed chunk line";
        if (done && !chunk_line_done(c))
            return "too much chunk framing";
    }
    return NULL;
}

static const char *take_chunk_end(struct http1 *c)
{
    char want = c->parse == P_CHUNK_CR ? '\r' : '\n';

    if (bytes_front(&c->in).p[0] != want)
        return "chunk data does not end where it should";
    bytes_drop(&c->in, 1);
    c->parse = c->parse == P_CHUNK_CR ? P_CHUNK_LF : P_CHUNK_LINE;
    return NULL;
}

static const char *take_trailers(struct http1 *c, unsigned *status)
{
    struct stream *s = c->stream;
    size_t end = 0;
    const char *why;

    switch (scan_head(c, LIMIT_TRAILER_BYTES, &end)) {
    case SCAN_BARE_LF:
        return "line feed without carriage return";
    case SCAN_MORE:
        *status = 431;
        return c->scanned >= LIMIT_TRAILER_BYTES ? "trailers are too long" : NULL;
    case SCAN_FOUND:
        break;
    }
    if (end > 2) {
        why = http1_parse_trailers(bytes_flat(&c->in, end).p, end, &s->arena, &s->in_trailers,
                                   &s->in_trailer_count);
        if (why)
            return why;
    }
    bytes_drop(&c->in, end);
    http1_in_end(c);
    return NULL;
}

/* Move the incoming message on as far as the bytes and the room allow. NULL, or what is wrong. */
const char *http1_take_message(struct http1 *c, unsigned *status)
{
    const char *why = NULL;

    *status = 400;
    while (!why && c->in.n > 0) {
        size_t before = c->in.n;
        size_t n;

        switch ((enum parse)c->parse) {
        case P_HEAD:
        case P_UPGRADE:
        case P_DONE:
            return NULL;
        case P_LENGTH:
        case P_CHUNK_DATA:
            n = take_body(c, c->body_left);
            c->body_left -= n;
            if (c->body_left > 0)
                break;
            if (c->parse == P_LENGTH)
                http1_in_end(c);
            else
                c->parse = P_CHUNK_CR;
            break;
        case P_CLOSE:
        case P_TUNNEL:
            take_body(c, UINT64_MAX);
            break;
        case P_CHUNK_LINE:
            why = take_chunk_line(c);
            break;
        case P_CHUNK_CR:
        case P_CHUNK_LF:
            why = take_chunk_end(c);
            break;
        case P_TRAILERS:
            why = take_trailers(c, status);
            break;
        }
        if (c->in.n == before) /* no room, or not enough bytes */
            break;
    }
    return why;
}
