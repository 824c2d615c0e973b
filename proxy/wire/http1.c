/* HTTP/1.1, both sides. The driver (run) takes notes, steps the state while it changes, then reads
 * more if the state has use for it. `parse` says where the incoming message stands; the outgoing
 * one is written by the owner's calls, which only append to the io and note the driver.
 *
 *   idle ---- head complete | open_stream ----> exchange ---- both messages ended, reusable ---->
 * idle |                                            |-------- server: answered, not reusable ----->
 * linger ---> over
 *     |---- bad head: answered by ourselves -------+-------- 101 went through -------------------->
 * upgraded
 *     +---- end, idle too long ----> over <--------+-------- reset, client: not reusable
 *
 * A peer that closes its side during an exchange is gone, as Envoy has it: HTTP knows no half-close
 * worth keeping. After our last answer we shut down and drop what still arrives, for a moment:
 * closing with unread bytes would send a reset that may overtake the answer.
 */
#include "proxy/wire/http1.h"

#include <stdio.h>
#include <string.h>

#include "mesh/base/limits.h"
#include "mesh/base/log.h"
#include "mesh/base/mem.h"

enum { N_TIMER = 1 << IO_NOTE_BITS, N_KICK = 2 << IO_NOTE_BITS };

enum state { ST_IDLE, ST_EXCHANGE, ST_UPGRADED, ST_LINGER, ST_OVER, ST_COUNT };

enum parse {
    P_HEAD,
    P_LENGTH,
    P_CLOSE,
    P_CHUNK_LINE,
    P_CHUNK_DATA,
    P_CHUNK_CR,
    P_CHUNK_LF,
    P_TRAILERS,
    P_DONE,
};

enum chunk {
    CH_SIZE,
    CH_EXT_NAME, /* first character of a name */
    CH_EXT_NAME_MORE,
    CH_EXT_VALUE, /* first character of a value */
    CH_EXT_TOKEN,
    CH_EXT_QUOTED,
    CH_EXT_ESCAPE,
    CH_EXT_AFTER, /* behind the closing quote */
    CH_LF,
};

#define READ_BYTES        (64u << 10)
#define BLANK_LINES_MAX   4u
#define CHUNK_DIGITS_MAX  16u
#define CHUNK_EXCESS_MAX  (16u << 10)
#define CHUNK_EXCESS_FREE 16u  /* framing bytes of a chunk that nobody minds */
#define LINGER_POLL_MS    20   /* the peer has ended, our last bytes are not out yet */
#define REQUEST_LINE_REST 128u /* of a request line beside the target */

struct pair {
    struct stream s;   /* first: a stream is cast back */
    struct codec dead; /* s.codec once the connection is gone or done with this pair */
    struct http1 *c;   /* NULL then */
    bool is_head;      /* of the request's method: the answer has no body */
    bool wants_upgrade;
};

typedef enum state step_fn(struct http1 *c);
static step_fn on_idle_step, on_exchange_step, on_upgraded_step, on_linger_step, on_over_step;

// clang-format off
#define TO(s) (1u << ST_##s)
static const struct {
    const char *name;
    step_fn *step;
    unsigned to;
} steps[ST_COUNT] = {
    [ST_IDLE]     = {"idle",     on_idle_step,     TO(EXCHANGE) | TO(LINGER) | TO(OVER)},
    [ST_EXCHANGE] = {"exchange", on_exchange_step, TO(IDLE) | TO(UPGRADED) | TO(LINGER) | TO(OVER)},
    [ST_UPGRADED] = {"upgraded", on_upgraded_step, TO(OVER)},
    [ST_LINGER]   = {"linger",   on_linger_step,   TO(OVER)},
    [ST_OVER]     = {"over",     on_over_step,     0},
};
// clang-format on

static const struct codec_ops live_ops, dead_ops;

/* Pairs */

static struct pair *pair_of(struct stream *s)
{
    return CONTAINER(s, struct pair, s);
}

static struct pair *pair_new(struct http1 *c)
{
    struct pair *p = mem_alloc(sizeof(*p));

    memset(&p->s, 0, offsetof(struct stream, first));
    p->s.codec = &c->codec;
    p->dead = (struct codec){&dead_ops, c->codec.loop};
    p->c = c;
    p->is_head = p->wants_upgrade = false;
    arena_init_with(&p->s.arena, p->s.first, sizeof(p->s.first));
    bytes_init(&p->s.in);
    return p;
}

static void pair_free(struct pair *p)
{
    bytes_done(&p->s.in);
    arena_done(&p->s.arena);
    mem_free(p);
}

/* The connection has no more to do with the pair under way; its owner may keep it as long as it
 * likes. */
static void detach(struct http1 *c)
{
    struct pair *p;

    if (!c->stream)
        return;
    p = pair_of(c->stream);
    p->c = NULL;
    p->s.codec = &p->dead;
    c->stream = NULL;
}

static void detach_reset(struct http1 *c, enum stream_reset why)
{
    struct stream *s = c->stream;

    if (!s)
        return;
    detach(c);
    s->reset = why;
    stream_note(s, STREAM_NOTE_RESET);
}

static void kick(struct http1 *c)
{
    task_note(&c->task, N_KICK);
}

/* Deadlines: the timer stands at the earliest moment that may matter; what is due is decided when
 * it fires. */
static void wake_by(struct http1 *c, int64_t at_ms)
{
    if (c->timer.at_ms == 0 || at_ms < c->timer.at_ms)
        timer_set(&c->timer, at_ms);
}

static int64_t now_ms(const struct http1 *c)
{
    return loop_now_ms(c->codec.loop);
}

static void begin_head(struct http1 *c)
{
    c->parse = P_HEAD;
    c->scanned = c->line_bytes = 0;
    c->head_ms = 0;
    c->blank_lines = 0;
}

/* A client that has not been told "close" may have its next request on the way: it is waited for,
 * or a drain would fail it. */
static int64_t idle_until(const struct http1 *c)
{
    return c->idle_ms + (c->is_server && c->draining ? MIN(c->idle_ms_max, LIMIT_DRAIN_IDLE_MS)
                                                     : c->idle_ms_max);
}

static void begin_idle(struct http1 *c)
{
    begin_head(c);
    c->informational = 0;
    c->idle_ms = now_ms(c);
    wake_by(c, idle_until(c));
}

static void stop(struct http1 *c)
{
    io_close(&c->io);
    bytes_done(&c->in);
    c->readable = false;
}

/* Leaves the stream, if any, to its owner and closes; for use outside the driver too. */
static void end_now(struct http1 *c, enum stream_reset why)
{
    bool cut = c->stream && c->stream->out_head_sent && !c->stream->out_ended && c->is_server &&
               c->out_framing == HTTP_BODY_CLOSE;

    detach_reset(c, why);
    if (cut)
        io_reset(&c->io); /* a plain end would look like the end of the body */
    stop(c);
    c->state = ST_OVER;
    kick(c);
}

/* Protocol failures */

static void answer_self(struct http1 *c, unsigned status)
{
    struct buf text;

    buf_init(&text, 1024);
    buf_printf(&text, "HTTP/1.1 %u %s\r\n", status, http_reason(status));
    if (c->server_name.n > 0)
        buf_printf(&text, "server: %.*s\r\n", STR_ARG(c->server_name));
    buf_adds(&text, "content-length: 0\r\nconnection: close\r\n\r\n");
    io_write_str(&c->io, buf_str(&text)); /* a dead io drops it */
    buf_done(&text);
}

/* The peer broke HTTP (or was too slow): the server says so if it still can, and the connection
 * ends. */
static enum state refuse(struct http1 *c, unsigned status, const char *why)
{
    bool answered = c->stream && c->stream->out_head_sent;
    bool until_close = answered && !c->stream->out_ended && c->out_framing == HTTP_BODY_CLOSE;

    c->failure = why;
    c->failure_status = status;
    detach_reset(c, status == 408 ? STREAM_RESET_TIMEOUT : STREAM_RESET_PROTOCOL);
    bytes_done(&c->in);
    if (!c->is_server)
        return ST_OVER;
    if (until_close) {
        io_reset(&c->io);
        return ST_OVER;
    }
    if (!answered)
        answer_self(c, status);
    return ST_LINGER;
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

    return c->is_server ? http_is_token((struct str){&first, 1}) : first == 'H';
}

/* SCAN_FOUND with `*end` set, SCAN_MORE, or the failure: *why, *status. */
static enum scan find_head(struct http1 *c, size_t *end, unsigned *status, const char **why)
{
    enum scan scan;

    *why = NULL;
    *status = 400;
    if (c->in.n > 0 && c->head_ms == 0) {
        c->head_ms = now_ms(c);
        if (c->is_server)
            wake_by(c, c->head_ms + LIMIT_HEAD_MS);
    }
    if (c->in.n == 0 || (c->is_server && !skip_blank_lines(c, why)))
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
    }
    return P_DONE;
}

static void in_end(struct http1 *c)
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
        in_end(c);
}

/* Server: a request head, if it is whole. */
static enum state take_request(struct http1 *c)
{
    unsigned status;
    const char *why;
    size_t end;
    struct pair *p;
    enum scan scan = find_head(c, &end, &status, &why);

    if (why)
        return refuse(c, status, why);
    if (scan != SCAN_FOUND)
        return ST_IDLE;
    p = pair_new(c);
    why =
        http1_parse_head(bytes_flat(&c->in, end).p, end, true, &p->s.arena, &p->s.in_head, &status);
    if (why) {
        pair_free(p);
        return refuse(c, status, why);
    }
    bytes_drop(&c->in, end);
    if (c->io.tls)
        p->s.in_head.scheme = STR("https");
    p->is_head = str_eq(p->s.in_head.method, STR("HEAD"));
    p->s.started_ms = c->head_ms;
    c->stream = &p->s;
    c->requests++;
    c->stall_ms = now_ms(c);
    wake_by(c, c->stall_ms + LIMIT_WRITE_STALL_MS);
    head_done(c, &p->s.in_head);
    c->ops->on_stream(c->owner, &p->s);
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

static bool has_body(const struct pair *p, const struct http_head *h)
{
    return !p->is_head && h->status >= 200 && h->status != 204 && h->status != 304;
}

static enum state take_informational(struct http1 *c, struct pair *p, const struct http_head *h)
{
    if (h->status == 101) {
        if (!p->wants_upgrade || !p->s.out_ended)
            return refuse(c, 502, "upgrade that nobody asked for");
        p->s.in_head = *h;
        p->s.in_has_head = p->s.in_ended = true;
        c->upgraded = true;
        stream_note(&p->s, STREAM_NOTE_HEAD | STREAM_NOTE_END);
        return ST_UPGRADED;
    }
    if (++c->informational > LIMIT_INFORMATIONAL)
        return refuse(c, 502, "too many informational answers");
    p->s.in_informational = *h;
    p->s.in_has_informational = true;
    stream_note(&p->s, STREAM_NOTE_HEAD);
    begin_head(c);
    return ST_EXCHANGE;
}

/* Client: a response head, if it is whole. `*more`: something was taken, look again. */
static enum state take_response(struct http1 *c, bool *more)
{
    struct pair *p = pair_of(c->stream);
    struct http_head h;
    unsigned status;
    const char *why;
    size_t end;
    enum scan scan = find_head(c, &end, &status, &why);

    if (why)
        return refuse(c, 502, why);
    if (scan != SCAN_FOUND)
        return ST_EXCHANGE;
    why = http1_parse_head(bytes_flat(&c->in, end).p, end, false, &p->s.arena, &h, &status);
    if (why)
        return refuse(c, 502, why);
    bytes_drop(&c->in, end);
    frame_response(p, &h);
    *more = true;
    if (h.status < 200)
        return take_informational(c, p, &h);
    p->s.in_head = h;
    if (!has_body(p, &h)) {
        p->s.in_has_head = true;
        stream_note(&p->s, STREAM_NOTE_HEAD);
        in_end(c);
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
    in_end(c);
    return NULL;
}

/* Move the incoming message on as far as the bytes and the room allow. NULL, or what is wrong. */
static const char *take_message(struct http1 *c, unsigned *status)
{
    const char *why = NULL;

    *status = 400;
    while (!why && c->in.n > 0) {
        size_t before = c->in.n;
        size_t n;

        switch ((enum parse)c->parse) {
        case P_HEAD:
        case P_DONE:
            return NULL;
        case P_LENGTH:
        case P_CHUNK_DATA:
            n = take_body(c, c->body_left);
            c->body_left -= n;
            if (c->body_left > 0)
                break;
            if (c->parse == P_LENGTH)
                in_end(c);
            else
                c->parse = P_CHUNK_CR;
            break;
        case P_CLOSE:
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

/* States */

static enum state on_idle_step(struct http1 *c)
{
    if (c->is_server) {
        if (c->in.n == 0)
            return c->draining && now_ms(c) >= idle_until(c) ? ST_LINGER : ST_IDLE;
        return take_request(c);
    }
    if (c->in.n > 0) {
        c->failure = "bytes on an idle connection";
        return ST_OVER;
    }
    return c->draining ? ST_OVER : ST_IDLE;
}

/* Both messages are complete. */
static void conclude(struct http1 *c)
{
    if (!c->stream->in_head.keep_alive)
        c->close_after = true;
    detach(c);
}

/* Where to after a pair: may the connection carry another one? */
static enum state after_pair(const struct http1 *c)
{
    bool reuse = !c->close_after && !c->request_close && !c->io.failed && !c->io.eof_in &&
                 !c->io.write_error;

    if (c->is_server)
        return reuse ? ST_IDLE : ST_LINGER;
    return reuse && !c->draining && c->in.n == 0 ? ST_IDLE : ST_OVER;
}

static enum state on_exchange_step(struct http1 *c)
{
    enum state next = ST_EXCHANGE;
    unsigned status;
    const char *why;

    if (!c->stream) /* released before we came round to it */
        return after_pair(c);
    while (!c->is_server && c->parse == P_HEAD && c->in.n > 0 && next == ST_EXCHANGE) {
        bool more = false;

        next = take_response(c, &more);
        if (!more)
            break;
    }
    if (next != ST_EXCHANGE)
        return next;
    if (c->upgraded)
        return ST_UPGRADED;
    why = take_message(c, &status);
    if (why)
        return refuse(c, c->is_server ? status : 502, why);
    if (!c->stream->in_ended || !c->stream->out_ended)
        return ST_EXCHANGE;
    conclude(c);
    return after_pair(c);
}

static enum state on_upgraded_step(struct http1 *c)
{
    (void)c; /* the io is the next owner's */
    return ST_UPGRADED;
}

static enum state on_linger_step(struct http1 *c)
{
    c->linger_bytes += c->in.n;
    bytes_done(&c->in);
    return c->io.failed ? ST_OVER : ST_LINGER;
}

static enum state on_over_step(struct http1 *c)
{
    (void)c; /* enter() did everything */
    return ST_OVER;
}

static void enter(struct http1 *c, enum state next)
{
    if (!(steps[c->state].to & (1u << next))) {
        c->failure = "internal: bad move";
        next = ST_OVER;
    }
    log_debug("http1 %s -> %s", steps[c->state].name, steps[next].name);
    c->state = (uint8_t)next;
    switch (next) {
    case ST_IDLE:
        begin_idle(c);
        if (c->in.n == 0)
            c->ops->on_idle(c->owner);
        break;
    case ST_LINGER:
        io_shutdown(&c->io);
        c->stall_ms = now_ms(c);
        c->stall_mark = c->io.bytes_out;
        wake_by(c, c->stall_ms + LIMIT_LINGER_MS);
        break;
    case ST_OVER:
        detach_reset(c, STREAM_RESET_CLOSED);
        stop(c);
        break;
    case ST_EXCHANGE:
    case ST_UPGRADED:
    case ST_COUNT:
        break;
    }
}

/* Has the state use for more bytes? */
static bool wants_input(const struct http1 *c)
{
    if (c->io.eof_in || c->io.failed)
        return false;
    switch ((enum state)c->state) {
    case ST_IDLE:
        return true;
    case ST_LINGER:
        return c->linger_bytes <= LIMIT_LINGER_BYTES;
    case ST_EXCHANGE:
        break;
    case ST_UPGRADED:
    case ST_OVER:
    case ST_COUNT:
        return false;
    }
    switch ((enum parse)c->parse) {
    case P_LENGTH:
    case P_CLOSE:
    case P_CHUNK_DATA:
        return c->in.n == 0;
    case P_DONE: /* to notice that the peer is gone, also behind some pipelined bytes */
        return c->in.n == 0 || (c->is_server && c->in.n < READ_BYTES);
    case P_HEAD:
    case P_CHUNK_LINE:
    case P_CHUNK_CR:
    case P_CHUNK_LF:
    case P_TRAILERS:
        return true;
    }
    return false;
}

/* The peer's end of data, or a dead io. */
static enum state on_end_of_input(struct http1 *c)
{
    bool failed = c->io.failed;

    switch ((enum state)c->state) {
    case ST_EXCHANGE:
        break;
    case ST_LINGER:
        if (failed || io_is_shut(&c->io))
            return ST_OVER;
        timer_set(&c->timer, now_ms(c) + LINGER_POLL_MS); /* our answer is still on its way */
        return ST_LINGER;
    case ST_IDLE:
    case ST_OVER:
        return ST_OVER;
    case ST_UPGRADED:
    case ST_COUNT:
        return (enum state)c->state;
    }
    if (!c->stream)
        return after_pair(c);
    if (!c->is_server && c->parse == P_CLOSE && !failed)
        in_end(c);
    if (!c->is_server &&
        c->parse == P_DONE) { /* if early, the owner decides what becomes of the request */
        c->close_after = true;
        if (!c->stream->out_ended)
            return ST_EXCHANGE;
        detach(c);
        return ST_OVER;
    }
    detach_reset(c, !c->is_server && c->parse == P_HEAD && c->in.n == 0 && c->informational == 0 &&
                            c->requests > 1 && c->io.bytes_out == c->out_start
                        ? STREAM_RESET_REFUSED
                        : STREAM_RESET_CLOSED);
    return ST_OVER;
}

static enum state on_timer(struct http1 *c)
{
    int64_t now = now_ms(c), due = 0;
    bool moved = c->io.bytes_out != c->stall_mark || io_pending(&c->io) == 0;

    switch ((enum state)c->state) {
    case ST_IDLE:
        if (c->is_server && c->head_ms > 0) {
            due = c->head_ms + LIMIT_HEAD_MS;
            if (now >= due)
                return refuse(c, 408, "the request head took too long");
        } else {
            due = idle_until(c);
            if (now >= due)
                return c->is_server ? ST_LINGER : ST_OVER;
        }
        break;
    case ST_EXCHANGE:
        if (moved) {
            c->stall_mark = c->io.bytes_out;
            c->stall_ms = now;
        }
        due = c->stall_ms + LIMIT_WRITE_STALL_MS;
        if (now >= due) {
            c->failure = "the peer takes no bytes";
            detach_reset(c, STREAM_RESET_TIMEOUT);
            return ST_OVER;
        }
        break;
    case ST_LINGER:
        if (c->io.eof_in && io_is_shut(&c->io))
            return ST_OVER;
        if (moved && !io_is_shut(&c->io)) {
            c->stall_mark = c->io.bytes_out;
            c->stall_ms = now;
        }
        due = c->stall_ms + (io_is_shut(&c->io) ? LIMIT_LINGER_MS : LIMIT_WRITE_STALL_MS);
        if (now >= due)
            return ST_OVER;
        due = MIN(due, now + (c->io.eof_in ? LINGER_POLL_MS : LIMIT_LINGER_MS));
        break;
    case ST_UPGRADED:
    case ST_OVER:
    case ST_COUNT:
        return (enum state)c->state;
    }
    timer_set(&c->timer, due);
    return (enum state)c->state;
}

/* Driver */

/* Step while the state changes. */
static void settle(struct http1 *c, enum state next)
{
    while (next != c->state) {
        enter(c, next);
        next = steps[c->state].step(c);
    }
}

static void step(struct http1 *c)
{
    settle(c, steps[c->state].step(c));
}

/* The end of input was read with the first bytes, before this codec had the io: no read will tell
 * it again. A complete request is still answered. */
static bool is_cut_short(const struct http1 *c)
{
    if (!c->is_server || !c->io.eof_in)
        return false;
    if (c->state == ST_IDLE)
        return true;
    if (c->state != ST_EXCHANGE || c->parse == P_DONE)
        return false;
    return c->in.n == 0 || (c->parse != P_LENGTH && c->parse != P_CHUNK_DATA); /* those want room */
}

static void read_some(struct http1 *c, size_t *budget)
{
    size_t n = 0;
    enum io_step got = io_read(&c->io, &c->in, MIN(READ_BYTES, *budget), &n);

    *budget -= MIN(n, *budget);
    if (got != IO_OK || !c->io.more)
        c->readable = false;
    if (c->in.n == 0)
        bytes_done(&c->in); /* an empty tail would hold a slice */
    if (got == IO_EOF || got == IO_FAILED)
        settle(c, on_end_of_input(c));
    else if (got == IO_OK)
        step(c);
}

static void run(struct task *t, unsigned notes)
{
    struct http1 *c = CONTAINER(t, struct http1, task);
    size_t budget = LIMIT_TURN_BYTES;

    if (notes & IO_NOTE_READ)
        c->readable = true;
    if ((notes & IO_NOTE_ROOM) && c->stream)
        stream_note(c->stream, STREAM_NOTE_ROOM);
    if (notes & N_TIMER)
        settle(c, on_timer(c));
    step(c);
    if (c->io.failed || is_cut_short(c))
        settle(c, on_end_of_input(c));
    while (c->readable && wants_input(c) && budget > 0)
        read_some(c, &budget);
    if (c->readable && wants_input(c))
        kick(c);
    if (c->state == ST_OVER) {
        if (!c->ended) {
            c->ended = true;
            timer_stop(&c->timer);
            c->ops->on_end(c->owner);
        }
        return;
    }
    if (c->state != ST_UPGRADED)
        io_want_read(&c->io, wants_input(c));
}

/* Writing */

static char *put(char *at, struct str s)
{
    if (s.n > 0)
        memcpy(at, s.p, s.n);
    return at + s.n;
}

static char *put_uint(char *at, uint64_t value, unsigned base)
{
    static const char digits[] = "0123456789abcdef";
    char text[20];
    size_t n = sizeof(text);

    do {
        text[--n] = digits[value % base];
        value /= base;
    } while (value > 0);
    return put(at, (struct str){text + n, sizeof(text) - n});
}

#define HEAD_EXTRA 256u /* room for all that is not a field, beside the start line's texts */

/* Fields that the codec writes itself, or that belong to the other connection. */
static bool is_ours(struct str name)
{
    switch (name.n) {
    case 2:
        return str_eq(name, STR("te"));
    case 4:
        return str_eq(name, STR("host"));
    case 7:
        return str_eq(name, STR("upgrade")) || str_eq(name, STR("trailer"));
    case 10:
        return str_eq(name, STR("connection")) || str_eq(name, STR("keep-alive"));
    case 14:
        return str_eq(name, STR("content-length"));
    case 16:
        return str_eq(name, STR("proxy-connection"));
    case 17:
        return str_eq(name, STR("transfer-encoding"));
    default:
        return false;
    }
}

static size_t fields_size(const struct http_field *f, size_t count)
{
    size_t n = 0;

    for (size_t i = 0; i < count; i++)
        n += f[i].name.n + f[i].value.n + 4;
    return n;
}

static char *put_fields(char *at, const struct http_field *f, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (is_ours(f[i].name))
            continue;
        at = put(at, f[i].name);
        *at++ = ':';
        *at++ = ' ';
        at = put(at, f[i].value);
        *at++ = '\r';
        *at++ = '\n';
    }
    return at;
}

static char *put_start(char *at, const struct http_head *h, bool is_request)
{
    if (is_request) {
        at = put(at, h->method);
        *at++ = ' ';
        at = put(at, h->path);
        at = put(at, STR(" HTTP/1.1\r\nhost: "));
        at = put(at, h->authority);
        return put(at, STR("\r\n"));
    }
    at = put(at, STR("HTTP/1.1 "));
    at = put_uint(at, h->status, 10);
    *at++ = ' ';
    at = put(at, str_from(http_reason(h->status)));
    return put(at, STR("\r\n"));
}

struct framing {
    enum http_framing kind;
    bool show_length, show_chunked, close;
    uint64_t length;
    struct str upgrade;
};

static char *put_framing(char *at, const struct framing *f)
{
    if (f->show_length) {
        at = put(at, STR("content-length: "));
        at = put_uint(at, f->length, 10);
        at = put(at, STR("\r\n"));
    }
    if (f->show_chunked)
        at = put(at, STR("transfer-encoding: chunked\r\n"));
    if (f->upgrade.n > 0) {
        at = put(at, STR("connection: upgrade\r\nupgrade: "));
        at = put(at, f->upgrade);
        at = put(at, STR("\r\n"));
    } else if (f->close) {
        at = put(at, STR("connection: close\r\n"));
    }
    return put(at, STR("\r\n"));
}

/* The whole head in one run of memory. */
static void write_head(struct http1 *c, const struct http_head *h, const struct framing *f)
{
    size_t max = h->method.n + h->path.n + h->authority.n + f->upgrade.n + HEAD_EXTRA +
                 fields_size(h->fields, h->count);
    struct bytes out;
    size_t room;
    char *from, *at, *big = NULL;

    bytes_init(&out);
    from = bytes_tail(&out, &room);
    if (room < max)
        from = big = mem_alloc(max);
    at = put_start(from, h, !c->is_server);
    at = put_fields(at, h->fields, h->count);
    at = put_framing(at, f);
    if (big)
        bytes_append(&out, (struct str){big, (size_t)(at - big)});
    else
        bytes_commit(&out, (size_t)(at - from));
    mem_free(big);
    io_write(&c->io, &out); /* a dead io drops it, and the driver hears of it by note */
}

static struct framing frame_request_out(struct http1 *c, struct pair *p, const struct http_head *h,
                                        bool end)
{
    struct framing f = {.kind = HTTP_BODY_NONE, .close = c->draining};

    if (end) {
        f.show_length = h->framing == HTTP_BODY_LENGTH || str_eq(h->method, STR("POST")) ||
                        str_eq(h->method, STR("PUT")) || str_eq(h->method, STR("PATCH"));
    } else if (h->framing == HTTP_BODY_LENGTH) {
        f.kind = HTTP_BODY_LENGTH;
        f.show_length = true;
        f.length = h->content_length;
    } else {
        f.kind = HTTP_BODY_CHUNKED;
        f.show_chunked = true;
    }
    c->request_close = f.close;
    if (c->allow_upgrade && h->upgrade.n > 0) {
        f.upgrade = h->upgrade;
        p->wants_upgrade = true;
    }
    return f;
}

static struct framing frame_response_out(struct http1 *c, const struct pair *p,
                                         const struct http_head *h, bool end)
{
    struct framing f = {.kind = HTTP_BODY_NONE};
    bool old = p->s.in_head.version < 11;

    if (p->is_head || h->status == 304) {
        f.show_length = h->framing == HTTP_BODY_LENGTH;
        f.length = h->content_length;
    } else if (h->status == 204) {
        f.length = 0;
    } else if (end) {
        f.show_length = true;
    } else if (h->framing == HTTP_BODY_LENGTH) {
        f.kind = HTTP_BODY_LENGTH;
        f.show_length = true;
        f.length = h->content_length;
    } else if (old) {
        f.kind = HTTP_BODY_CLOSE;
        c->close_after = true;
    } else {
        f.kind = HTTP_BODY_CHUNKED;
        f.show_chunked = true;
    }
    f.close = c->close_after || c->draining || !p->s.in_head.keep_alive;
    return f;
}

static void out_end(struct http1 *c, struct stream *s)
{
    if (c->out_framing == HTTP_BODY_LENGTH && c->out_left > 0) { /* the promise cannot be kept */
        end_now(c, STREAM_RESET_LOCAL);
        return;
    }
    if (c->out_framing == HTTP_BODY_CLOSE)
        c->close_after = true;
    s->out_ended = s->out_sent = true;
    stream_note(s, STREAM_NOTE_SENT);
    kick(c);
}

static void op_send_head(struct stream *s, const struct http_head *h, bool end)
{
    struct pair *p = pair_of(s);
    struct http1 *c = p->c;
    struct framing f;

    if (s->out_head_sent || s->out_ended)
        return;
    if (c->is_server && h->status < 200) {
        if (s->in_head.version == 11) {
            f = (struct framing){.kind = HTTP_BODY_NONE};
            write_head(c, h, &f);
        }
        return;
    }
    if (!c->is_server)
        p->is_head = str_eq(h->method, STR("HEAD"));
    f = c->is_server ? frame_response_out(c, p, h, end) : frame_request_out(c, p, h, end);
    if (c->is_server && f.close)
        c->close_after = true;
    write_head(c, h, &f);
    s->out_head_sent = true;
    c->out_framing = (uint8_t)f.kind;
    c->out_left = f.length;
    if (end)
        out_end(c, s);
}

static void put_chunk(struct http1 *c, struct bytes *from)
{
    char line[24], *at = put_uint(line, from->n, 16);

    at = put(at, STR("\r\n"));
    io_write_str(&c->io, (struct str){line, (size_t)(at - line)});
    io_write(&c->io, from);
    io_write_str(&c->io, STR("\r\n")); /* as above: a dead io drops all three */
}

static void op_send_data(struct stream *s, struct bytes *from, bool end)
{
    struct http1 *c = pair_of(s)->c;

    if (!s->out_head_sent || s->out_ended) {
        bytes_done(from);
        return;
    }
    if (c->out_framing == HTTP_BODY_LENGTH) {
        if (from->n > c->out_left) { /* more than was promised would be read as the next message */
            bytes_done(from);
            end_now(c, STREAM_RESET_LOCAL);
            return;
        }
        c->out_left -= from->n;
    }
    if (c->out_framing != HTTP_BODY_NONE)
        s->out_body_bytes += from->n;
    if (from->n == 0 || c->out_framing == HTTP_BODY_NONE)
        bytes_done(from);
    else if (c->out_framing == HTTP_BODY_CHUNKED)
        put_chunk(c, from);
    else
        io_write(&c->io, from); /* a dead io drops it */
    if (!end)
        return;
    if (c->out_framing == HTTP_BODY_CHUNKED)
        io_write_str(&c->io, STR("0\r\n\r\n"));
    out_end(c, s);
}

static void op_send_trailers(struct stream *s, const struct http_field *fields, size_t count)
{
    struct http1 *c = pair_of(s)->c;
    size_t max = fields_size(fields, count) + 8;
    char *text, *at;

    if (!s->out_head_sent || s->out_ended)
        return;
    if (c->out_framing == HTTP_BODY_CHUNKED) {
        text = mem_alloc(max);
        at = put(text, STR("0\r\n"));
        at = put_fields(at, fields, count);
        at = put(at, STR("\r\n"));
        io_write_str(&c->io, (struct str){text, (size_t)(at - text)});
        mem_free(text);
    }
    out_end(c, s);
}

static size_t op_room(const struct stream *s)
{
    size_t pending = io_pending(&CONTAINER(s->codec, struct http1, codec)->io);

    return pending < LIMIT_STREAM_HIGH ? LIMIT_STREAM_HIGH - pending : 0;
}

static void op_consumed(struct stream *s)
{
    struct http1 *c = pair_of(s)->c;

    if (c->in.n > 0 && c->parse != P_DONE) /* else reading has not stopped */
        kick(c);
}

static void op_reset(struct stream *s)
{
    end_now(pair_of(s)->c, STREAM_RESET_LOCAL);
}

/* Server, answered before the request was over: the client may still be sending, and must be able
 * to read the answer. */
static void op_release(struct stream *s)
{
    struct http1 *c = pair_of(s)->c;

    if (c->upgraded) {
        detach(c);
    } else if (s->in_ended && s->out_ended) { /* the driver has not come round to it */
        conclude(c);
        kick(c);
    } else if (c->is_server && s->out_ended) {
        detach(c);
        c->close_after = true;
        kick(c);
    } else {
        s->owner = NULL; /* it has let go: no more notes */
        end_now(c, STREAM_RESET_LOCAL);
    }
    pair_free(pair_of(s));
}

static const struct codec_ops live_ops = {
    .send_head = op_send_head,
    .send_data = op_send_data,
    .send_trailers = op_send_trailers,
    .room = op_room,
    .consumed = op_consumed,
    .reset = op_reset,
    .release = op_release,
};

/* After the connection: calls are harmless. */
static void dead_send_head(struct stream *s, const struct http_head *h, bool end)
{
    (void)s; /* nobody is there */
    (void)h;
    (void)end;
}

static void dead_send_data(struct stream *s, struct bytes *from, bool end)
{
    (void)s; /* nobody is there */
    (void)end;
    bytes_done(from);
}

static void dead_send_trailers(struct stream *s, const struct http_field *fields, size_t count)
{
    (void)s; /* nobody is there */
    (void)fields;
    (void)count;
}

static size_t dead_room(const struct stream *s)
{
    (void)s; /* whatever comes is dropped */
    return LIMIT_STREAM_HIGH;
}

static void dead_nothing(struct stream *s)
{
    (void)s; /* over already */
}

static void dead_release(struct stream *s)
{
    pair_free(pair_of(s));
}

static const struct codec_ops dead_ops = {
    .send_head = dead_send_head,
    .send_data = dead_send_data,
    .send_trailers = dead_send_trailers,
    .room = dead_room,
    .consumed = dead_nothing,
    .reset = dead_nothing,
    .release = dead_release,
};

/* Owner's calls */

static void init(struct http1 *c, struct loop *l, struct io *io, const struct http1_owner_ops *ops,
                 void *owner, bool is_server)
{
    memset(c, 0, sizeof(*c));
    c->codec = (struct codec){&live_ops, l};
    c->ops = ops;
    c->owner = owner;
    c->is_server = is_server;
    c->idle_ms_max = LIMIT_IDLE_MS;
    c->readable = true; /* a TLS session or a pair may hold bytes already */
    task_init(&c->task, l, run);
    timer_init(&c->timer, &c->task, N_TIMER);
    io_move(&c->io, io, &c->task, 0);
    begin_idle(c);
    kick(c);
}

void http1_server_init(struct http1 *c, struct loop *l, struct io *io, struct bytes *first,
                       const struct http1_owner_ops *ops, void *owner)
{
    init(c, l, io, ops, owner, true);
    if (first)
        bytes_move(&c->in, first, first->n);
}

void http1_client_init(struct http1 *c, struct loop *l, struct io *io,
                       const struct http1_owner_ops *ops, void *owner)
{
    init(c, l, io, ops, owner, false);
}

bool http1_is_idle(const struct http1 *c)
{
    return c->state == ST_IDLE && c->in.n == 0 && !c->io.failed && !c->io.eof_in;
}

struct stream *http1_open_stream(struct http1 *c, struct task *owner, unsigned note_shift)
{
    struct pair *p;

    if (c->is_server || !http1_is_idle(c) || c->draining)
        return NULL;
    p = pair_new(c);
    stream_own(&p->s, owner, note_shift);
    p->s.started_ms = now_ms(c);
    c->stream = &p->s;
    c->state = ST_EXCHANGE;
    c->requests++;
    c->out_start = c->io.bytes_out;
    c->stall_mark = c->io.bytes_out;
    c->stall_ms = now_ms(c);
    wake_by(c, c->stall_ms + LIMIT_WRITE_STALL_MS);
    begin_head(c);
    c->informational = 0;
    return &p->s;
}

void http1_drain(struct http1 *c)
{
    if (c->draining)
        return;
    c->draining = true;
    if (c->state == ST_IDLE) {
        c->idle_ms = now_ms(c);
        wake_by(c, idle_until(c));
    }
    kick(c);
}

bool http1_upgrade(struct http1 *c, struct stream *s, struct str protocol)
{
    struct http_head h;
    struct framing f = {.kind = HTTP_BODY_NONE, .upgrade = protocol};

    if (c->stream != s || s->out_head_sent || !s->in_ended || c->io.failed)
        return false;
    http_head_init(&h, &s->arena, false);
    h.status = 101;
    write_head(c, &h, &f);
    s->out_head_sent = s->out_ended = s->out_sent = true;
    c->upgraded = true;
    c->state = ST_UPGRADED;
    return true;
}

void http1_take_io(struct http1 *c, struct io *to, struct task *task, unsigned note_shift,
                   struct bytes *first)
{
    bytes_move(first, &c->in, c->in.n);
    io_move(to, &c->io, task, note_shift);
    if (c->readable) /* nobody will note again what was noted to us */
        task_note(task, (unsigned)IO_NOTE_READ << note_shift);
}

void http1_close(struct http1 *c)
{
    detach_reset(c, STREAM_RESET_LOCAL);
    stop(c);
    timer_stop(&c->timer);
    task_forget(&c->task);
    c->state = ST_OVER;
    c->ended = true;
}
