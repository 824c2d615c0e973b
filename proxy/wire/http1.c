/* HTTP/1.1, both sides. The driver (run) takes notes, steps the state while it changes, then reads
 * more if the state has use for it. `parse` says where the incoming message stands; the outgoing
 * one is written by the owner's calls, which only append to the io and note the driver.
 *
 *   idle      head complete, open_stream ...... exchange
 *             the preface of HTTP/2 ........... upgraded
 *             bad head: answered by ourselves . linger
 *             end, idle too long .............. over
 *   exchange  both messages ended, reusable ... idle
 *             server: answered, not reusable .. linger
 *             101 went through ................ upgraded
 *             reset, client: not reusable ..... over
 *   upgraded, linger .......................... over
 *
 * A peer that closes its side during an exchange is gone, as Envoy has it: HTTP knows no half-close
 * worth keeping. After our last answer we shut down and drop what still arrives, for a moment:
 * closing with unread bytes would send a reset that may overtake the answer.
 */
#include "proxy/wire/http1_parts.h"

#include <stdio.h>
#include <string.h>

#include "mesh/base/limits.h"
#include "mesh/base/log.h"
#include "mesh/base/mem.h"

enum { N_TIMER = 1 << IO_NOTE_BITS, N_KICK = 2 << IO_NOTE_BITS };

#define READ_BYTES     (64u << 10)
#define LINGER_POLL_MS 20 /* the peer has ended, our last bytes are not out yet */

typedef enum state step_fn(struct http1 *c);
static step_fn on_idle_step, on_exchange_step, on_upgraded_step, on_linger_step, on_over_step;

// clang-format off
#define TO(s) (1u << ST_##s)
static const struct {
    const char *name;
    step_fn *step;
    unsigned to;
} steps[ST_COUNT] = {
    [ST_IDLE]     = {"idle",     on_idle_step,     TO(EXCHANGE) | TO(UPGRADED) | TO(LINGER) | TO(OVER)},
    [ST_EXCHANGE] = {"exchange", on_exchange_step, TO(IDLE) | TO(UPGRADED) | TO(LINGER) | TO(OVER)},
    [ST_UPGRADED] = {"upgraded", on_upgraded_step, TO(OVER)},
    [ST_LINGER]   = {"linger",   on_linger_step,   TO(OVER)},
    [ST_OVER]     = {"over",     on_over_step,     0},
};
// clang-format on

/* The connection has no more to do with the pair under way; its owner may keep it as long as it
 * likes. */
void http1_detach(struct http1 *c)
{
    struct pair *p;

    if (!c->stream)
        return;
    p = http1_pair_of(c->stream);
    p->c = NULL;
    p->s.codec = &codec_dead;
    c->stream = NULL;
    c->codec.streams = 0;
}

static void detach_reset(struct http1 *c, enum stream_reset why)
{
    struct stream *s = c->stream;

    if (!s)
        return;
    http1_detach(c);
    s->reset = why;
    stream_note(s, STREAM_NOTE_RESET);
}

void http1_kick(struct http1 *c)
{
    task_note(&c->task, N_KICK);
}

/* Deadlines: the timer stands at the earliest moment that may matter; what is due is decided when
 * it fires. */
void http1_wake_by(struct http1 *c, int64_t at_ms)
{
    if (c->timer.at_ms == 0 || at_ms < c->timer.at_ms)
        timer_set(&c->timer, at_ms);
}

/* A client that has not been told "close" may have its next request on the way: it is waited for,
 * or a drain would fail it. */
static int64_t idle_until(const struct http1 *c)
{
    return c->idle_ms + (c->codec.is_server && c->codec.draining ? MIN(c->codec.idle_ms_max, LIMIT_DRAIN_IDLE_MS)
                                                     : c->codec.idle_ms_max);
}

static void begin_idle(struct http1 *c)
{
    http1_begin_head(c);
    c->informational = 0;
    c->idle_ms = http1_now_ms(c);
    http1_wake_by(c, idle_until(c));
}

static void stop(struct http1 *c)
{
    io_close(&c->codec.io);
    bytes_done(&c->in);
    c->readable = false;
}

/* Leaves the stream, if any, to its owner and closes; for use outside the driver too. */
void http1_end_now(struct http1 *c, enum stream_reset why)
{
    bool cut = c->stream && c->stream->out_head_sent && !c->stream->out_ended &&
               ((c->codec.is_server && c->out_framing == HTTP_BODY_CLOSE) ||
                c->out_framing == HTTP_BODY_TUNNEL);

    detach_reset(c, why);
    if (cut)
        io_reset(&c->codec.io); /* a plain end would look like the end of the body */
    stop(c);
    c->state = ST_OVER;
    http1_kick(c);
}

/* Protocol failures */

/* As Envoy's codec has it: the reason in words, but for a timeout. */
static void answer_self(struct http1 *c, unsigned status)
{
    const char *reason = http_reason(status), *body = status == 408 ? "" : reason;
    char at[HTTP_DATE_MAX];
    struct str date = http_date(loop_wall_ms(c->codec.loop), at);
    struct buf text;

    buf_init(&text, 1024);
    buf_printf(&text, "HTTP/1.1 %u %s\r\n", status, reason);
    if (*body)
        buf_adds(&text, "content-type: text/plain\r\n");
    buf_printf(&text, "date: %.*s\r\n", STR_ARG(date));
    if (c->codec.server_name.n > 0)
        buf_printf(&text, "server: %.*s\r\n", STR_ARG(c->codec.server_name));
    buf_printf(&text, "content-length: %zu\r\nconnection: close\r\n\r\n%s", strlen(body), body);
    io_write_str(&c->codec.io, buf_str(&text)); /* a dead io drops it */
    buf_done(&text);
}

/* The peer broke HTTP (or was too slow): the server says so if it still can, and the connection
 * ends. Status 0: it never spoke HTTP, and is told nothing. */
enum state http1_refuse(struct http1 *c, unsigned status, const char *why)
{
    bool answered = c->stream && c->stream->out_head_sent;
    bool until_close = answered && !c->stream->out_ended && c->out_framing == HTTP_BODY_CLOSE;

    c->codec.failure = why;
    c->codec.failure_status = status;
    detach_reset(c, status == 408 ? STREAM_RESET_TIMEOUT : STREAM_RESET_PROTOCOL);
    bytes_done(&c->in);
    if (!c->codec.is_server)
        return ST_OVER;
    if (until_close) {
        io_reset(&c->codec.io);
        return ST_OVER;
    }
    if (!answered && status > 0)
        answer_self(c, status);
    return ST_LINGER;
}

/* States */

static enum state on_idle_step(struct http1 *c)
{
    if (c->codec.is_server) {
        if (c->in.n == 0)
            return c->codec.draining && http1_now_ms(c) >= idle_until(c) ? ST_LINGER : ST_IDLE;
        return http1_take_request(c);
    }
    if (c->in.n > 0) {
        c->codec.failure = "bytes on an idle connection";
        return ST_OVER;
    }
    return c->codec.draining ? ST_OVER : ST_IDLE;
}

/* Both messages are complete. */
void http1_conclude(struct http1 *c)
{
    if (!c->stream->in_head.keep_alive)
        c->close_after = true;
    http1_detach(c);
}

/* Where to after a pair: may the connection carry another one? */
static enum state after_pair(const struct http1 *c)
{
    bool reuse = !c->close_after && !c->request_close && !c->codec.io.failed && !c->codec.io.eof_in &&
                 !c->codec.io.write_error;

    if (c->codec.is_server || c->out_framing == HTTP_BODY_TUNNEL) /* its last bytes are still to be written */
        return reuse ? ST_IDLE : ST_LINGER;
    if (reuse && !c->codec.draining && c->in.n == 0)
        return ST_IDLE;
    /* An answer may be done before the request. */
    return io_pending(&c->codec.io) > 0 && !c->codec.io.eof_in ? ST_LINGER : ST_OVER;
}

static enum state on_exchange_step(struct http1 *c)
{
    enum state next = ST_EXCHANGE;
    unsigned status;
    const char *why;

    if (!c->stream) /* released before we came round to it */
        return after_pair(c);
    while (!c->codec.is_server && c->parse == P_HEAD && c->in.n > 0 && next == ST_EXCHANGE) {
        bool more = false;

        next = http1_take_response(c, &more);
        if (!more)
            break;
    }
    if (next != ST_EXCHANGE)
        return next;
    if (c->upgraded)
        return ST_UPGRADED;
    why = http1_take_message(c, &status);
    if (why)
        return http1_refuse(c, c->codec.is_server ? status : 502, why);
    if (!c->stream->in_ended || !c->stream->out_ended)
        return ST_EXCHANGE;
    http1_conclude(c);
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
    return c->codec.io.failed ? ST_OVER : ST_LINGER;
}

static enum state on_over_step(struct http1 *c)
{
    (void)c; /* enter() did everything */
    return ST_OVER;
}

static void enter(struct http1 *c, enum state next)
{
    if (!(steps[c->state].to & (1u << next))) {
        c->codec.failure = "internal: bad move";
        next = ST_OVER;
    }
    log_debug("http1 %s -> %s", steps[c->state].name, steps[next].name);
    c->state = (uint8_t)next;
    switch (next) {
    case ST_IDLE:
        begin_idle(c);
        if (c->in.n == 0)
            c->codec.to->on_idle(c->codec.owner);
        break;
    case ST_LINGER:
        io_shutdown(&c->codec.io);
        c->stall_ms = http1_now_ms(c);
        c->stall_mark = c->codec.io.bytes_out;
        http1_wake_by(c, c->stall_ms + LIMIT_LINGER_MS);
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
    if (c->codec.io.eof_in || c->codec.io.failed)
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
    case P_TUNNEL:
    case P_CHUNK_DATA:
        return c->in.n == 0;
    case P_UPGRADE:
    case P_DONE: /* to notice that the peer is gone, also behind some pipelined bytes */
        return c->in.n == 0 || (c->codec.is_server && c->in.n < READ_BYTES);
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
    bool failed = c->codec.io.failed;

    switch ((enum state)c->state) {
    case ST_EXCHANGE:
        break;
    case ST_LINGER:
        if (failed || io_is_shut(&c->codec.io))
            return ST_OVER;
        timer_set(&c->timer, http1_now_ms(c) + LINGER_POLL_MS); /* our answer is still on its way */
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
    if (c->parse == P_TUNNEL && !failed && c->stream) { /* half-close is kept */
        http1_in_end(c);
        if (!c->stream->out_ended)
            return ST_EXCHANGE;
        http1_detach(c);
        return ST_LINGER;
    }
    if (!c->codec.is_server && c->parse == P_CLOSE && !failed)
        http1_in_end(c);
    if (!c->codec.is_server &&
        c->parse == P_DONE) { /* if early, the owner decides what becomes of the request */
        c->close_after = true;
        if (!c->stream->out_ended)
            return ST_EXCHANGE;
        http1_detach(c);
        return ST_OVER;
    }
    detach_reset(c, !c->codec.is_server && c->parse == P_HEAD && c->in.n == 0 && c->informational == 0 &&
                            c->codec.requests > 1 && c->codec.io.bytes_out == c->out_start
                        ? STREAM_RESET_REFUSED
                        : STREAM_RESET_CLOSED);
    return ST_OVER;
}

static enum state on_timer(struct http1 *c)
{
    int64_t now = http1_now_ms(c), due = 0;
    bool moved = c->codec.io.bytes_out != c->stall_mark || io_pending(&c->codec.io) == 0;

    switch ((enum state)c->state) {
    case ST_IDLE:
        if (c->codec.is_server && c->head_ms > 0) {
            due = c->head_ms + LIMIT_HEAD_MS;
            if (now >= due)
                return http1_refuse(c, 408, "the request head took too long");
        } else {
            due = idle_until(c);
            if (now >= due)
                return c->codec.is_server ? ST_LINGER : ST_OVER;
        }
        break;
    case ST_EXCHANGE:
        if (moved) {
            c->stall_mark = c->codec.io.bytes_out;
            c->stall_ms = now;
        }
        due = c->stall_ms + LIMIT_WRITE_STALL_MS;
        if (now >= due) {
            c->codec.failure = "the peer takes no bytes";
            detach_reset(c, STREAM_RESET_TIMEOUT);
            return ST_OVER;
        }
        if (c->codec.refuses_slow && c->stream && c->parse == P_LENGTH) {
            if (!pace_keep(&c->pace, c->stream, now))
                return http1_refuse(c, 408, "the request body comes too slowly");
            due = MIN(due, pace_due_ms(&c->pace));
        }
        break;
    case ST_LINGER:
        if (c->codec.io.eof_in && io_is_shut(&c->codec.io))
            return ST_OVER;
        if (moved && !io_is_shut(&c->codec.io)) {
            c->stall_mark = c->codec.io.bytes_out;
            c->stall_ms = now;
        }
        due = c->stall_ms + (io_is_shut(&c->codec.io) ? LIMIT_LINGER_MS : LIMIT_WRITE_STALL_MS);
        if (now >= due)
            return ST_OVER;
        due = MIN(due, now + (c->codec.io.eof_in ? LINGER_POLL_MS : LIMIT_LINGER_MS));
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
    if (!c->codec.is_server || !c->codec.io.eof_in)
        return false;
    if (c->state == ST_IDLE)
        return true;
    if (c->state != ST_EXCHANGE || c->parse == P_DONE)
        return false;
    return c->in.n == 0 || (c->parse != P_TUNNEL && c->parse != P_LENGTH && c->parse != P_CHUNK_DATA); /* those want room */
}

static void read_some(struct http1 *c, size_t *budget)
{
    size_t n = 0;
    enum io_step got = io_read(&c->codec.io, &c->in, MIN(READ_BYTES, *budget), &n);

    *budget -= MIN(n, *budget);
    if (got != IO_OK || !c->codec.io.more)
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
    if (c->codec.io.failed || is_cut_short(c))
        settle(c, on_end_of_input(c));
    while (c->readable && wants_input(c) && budget > 0)
        read_some(c, &budget);
    if (c->readable && wants_input(c))
        http1_kick(c);
    if (c->state == ST_OVER) {
        if (!c->codec.ended) {
            c->codec.ended = true;
            timer_stop(&c->timer);
            c->codec.to->on_end(c->codec.owner);
        }
        return;
    }
    if (c->state != ST_UPGRADED)
        io_want_read(&c->codec.io, wants_input(c));
}

/* Owner's calls */

static void init(struct http1 *c, struct loop *l, struct io *io, const struct codec_owner_ops *ops,
                 void *owner, bool is_server)
{
    memset(c, 0, sizeof(*c));
    c->codec = (struct codec){.ops = &http1_ops,
                              .loop = l,
                              .to = ops,
                              .owner = owner,
                              .is_server = is_server,
                              .idle_ms_max = LIMIT_IDLE_MS};
    c->readable = true; /* a TLS session or a pair may hold bytes already */
    task_init(&c->task, l, run);
    timer_init(&c->timer, &c->task, N_TIMER);
    io_move(&c->codec.io, io, &c->task, 0);
    begin_idle(c);
    http1_kick(c);
}

void http1_server_init(struct http1 *c, struct loop *l, struct io *io, struct bytes *first,
                       const struct codec_owner_ops *ops, void *owner)
{
    init(c, l, io, ops, owner, true);
    if (first)
        bytes_move(&c->in, first, first->n);
}

void http1_client_init(struct http1 *c, struct loop *l, struct io *io,
                       const struct codec_owner_ops *ops, void *owner)
{
    init(c, l, io, ops, owner, false);
}

bool http1_is_idle(const struct http1 *c)
{
    return c->state == ST_IDLE && c->in.n == 0 && !c->codec.io.failed && !c->codec.io.eof_in;
}

struct stream *http1_open_stream(struct http1 *c, struct task *owner, unsigned note_shift)
{
    struct pair *p;

    if (c->codec.is_server || !http1_is_idle(c) || c->codec.draining)
        return NULL;
    p = http1_pair_new(c);
    stream_own(&p->s, owner, note_shift);
    p->s.started_ms = http1_now_ms(c);
    c->stream = &p->s;
    c->state = ST_EXCHANGE;
    c->codec.requests++;
    c->codec.streams = 1;
    c->out_start = c->codec.io.bytes_out;
    c->stall_mark = c->codec.io.bytes_out;
    c->stall_ms = http1_now_ms(c);
    http1_wake_by(c, c->stall_ms + LIMIT_WRITE_STALL_MS);
    http1_begin_head(c);
    c->informational = 0;
    return &p->s;
}

void http1_drain(struct http1 *c)
{
    if (c->codec.draining)
        return;
    c->codec.draining = true;
    if (c->state == ST_IDLE) {
        c->idle_ms = http1_now_ms(c);
        http1_wake_by(c, idle_until(c));
    }
    http1_kick(c);
}

void http1_take_io(struct http1 *c, struct io *to, struct task *task, unsigned note_shift,
                   struct bytes *first)
{
    bytes_move(first, &c->in, c->in.n);
    io_move(to, &c->codec.io, task, note_shift);
    if (c->readable) /* nobody will note again what was noted to us */
        task_note(task, (unsigned)IO_NOTE_READ << note_shift);
}

void http1_close(struct http1 *c)
{
    detach_reset(c, STREAM_RESET_LOCAL);
    if (c->h2c_request)
        stream_free(c->h2c_request);
    c->h2c_request = NULL;
    stop(c);
    timer_stop(&c->timer);
    task_forget(&c->task);
    c->state = ST_OVER;
    c->codec.ended = true;
}
