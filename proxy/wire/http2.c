/* The driver: read and feed, then write what came of it, then see what is due.
 *
 *   live     the peer broke HTTP/2, or a GOAWAY was sent and no stream is left ... linger
 *            the io has ended or failed ......................................... over
 *   linger   the last bytes are out and the peer has ended, or took too long .... over
 */
#include "proxy/wire/http2_parts.h"

#include <string.h>

#include "mesh/base/limits.h"
#include "mesh/base/log.h"
#include "mesh/base/mem.h"

enum { N_TIMER = 1 << IO_NOTE_BITS, N_KICK = 2 << IO_NOTE_BITS };

#define READ_BYTES      (64u << 10)
#define CONTROL_MAX     1000u /* frames that wait in nghttp2: then nothing is read that would make more */
#define LINGER_POLL_MS  20

/* ---- streams ---- */

struct http2_stream *http2_stream_new(struct http2 *c, int32_t id)
{
    struct http2_stream *h = mem_alloc(sizeof(*h));

    memset((char *)h + sizeof(h->s), 0, sizeof(*h) - sizeof(h->s));
    stream_init(&h->s, &c->codec);
    bytes_init(&h->out);
    h->c = c;
    h->id = id;
    h->s.started_ms = h->moved_ms = http2_now_ms(c);
    h->next = c->first;
    if (c->first)
        c->first->prev = h;
    c->first = h;
    c->codec.streams++;
    c->codec.requests++;
    return h;
}

static void unlink_stream(struct http2_stream *h)
{
    struct http2 *c = h->c;

    if (h->prev)
        h->prev->next = h->next;
    else
        c->first = h->next;
    if (h->next)
        h->next->prev = h->prev;
    h->next = h->prev = NULL;
    c->codec.streams--;
    c->held -= h->held;
    h->held = 0;
    http2_credit(c, NULL);
}

void http2_detach(struct http2_stream *h, enum stream_reset why)
{
    struct http2 *c = h->c;
    bool whole = h->s.in_ended && h->s.out_sent;

    if (!c)
        return;
    (void)nghttp2_session_set_stream_user_data(c->session, h->id, NULL); /* it may be unknown there */
    unlink_stream(h);
    h->c = NULL;
    h->s.codec = &codec_dead;
    bytes_done(&h->out);
    if (c->codec.streams == 0)
        c->idle_ms = http2_now_ms(c);
    http2_wake_by(c, http2_now_ms(c) + c->codec.idle_ms_max);
    http2_kick(c); /* there is room for another, or it was the last */
    if (h->released) {
        stream_free(&h->s);
        return;
    }
    if (!whole && h->s.reset == STREAM_RESET_NONE) {
        h->s.reset = why;
        stream_note(&h->s, STREAM_NOTE_RESET);
    }
}

/* The connection is over; what was opened and not sent may be tried elsewhere. */
static void detach_all(struct http2 *c, enum stream_reset why)
{
    while (c->first)
        http2_detach(c->first, c->first->id ? why : STREAM_RESET_REFUSED);
}

/* ---- the end ---- */

void http2_kick(struct http2 *c)
{
    task_note(&c->task, N_KICK);
}

void http2_wake_by(struct http2 *c, int64_t at_ms)
{
    if (c->timer.at_ms == 0 || at_ms < c->timer.at_ms)
        timer_set(&c->timer, at_ms);
}

void http2_broken(struct http2 *c, const char *why)
{
    if (!c->cut) {
        c->codec.failure = why;
        c->codec.failure_status = 400;
    }
    c->cut = true;
}

bool http2_fail(struct http2 *c, uint32_t code, const char *why)
{
    http2_broken(c, why);
    (void)nghttp2_session_terminate_session(c->session, code); /* out of memory aborts elsewhere */
    http2_kick(c);
    return false;
}

static void over(struct http2 *c, enum stream_reset why)
{
    detach_all(c, why);
    io_close(&c->codec.io);
    bytes_done(&c->in);
    bytes_done(&c->out);
    c->readable = false;
    c->state = HTTP2_OVER;
}

/* The GOAWAY is on its way; closing with unread bytes would send a reset that may overtake it. */
static void linger(struct http2 *c)
{
    detach_all(c, c->cut ? STREAM_RESET_PROTOCOL : STREAM_RESET_CLOSED);
    bytes_done(&c->in);
    io_shutdown(&c->codec.io);
    c->state = HTTP2_LINGER;
    c->stall_ms = http2_now_ms(c);
    timer_set(&c->timer, c->stall_ms + LINGER_POLL_MS);
}

static bool is_done_lingering(const struct http2 *c)
{
    if (c->codec.io.failed || http2_now_ms(c) >= c->stall_ms + LIMIT_LINGER_MS)
        return true;
    return io_is_shut(&c->codec.io) && c->codec.io.eof_in;
}

/* ---- reading ---- */

static bool wants_input(const struct http2 *c)
{
    if (c->codec.io.eof_in || c->codec.io.failed)
        return false;
    if (c->state == HTTP2_LINGER)
        return c->linger_bytes <= LIMIT_LINGER_BYTES;
    return c->state == HTTP2_LIVE && !c->cut &&
           nghttp2_session_get_outbound_queue_size(c->session) <= CONTROL_MAX;
}

static void read_some(struct http2 *c, size_t *budget)
{
    size_t n = 0;
    enum io_step got = io_read(&c->codec.io, &c->in, MIN(READ_BYTES, *budget), &n);

    *budget -= MIN(n, *budget);
    if (got != IO_OK || !c->codec.io.more)
        c->readable = false;
    if (got == IO_OK)
        c->heard_ms = http2_now_ms(c);
    if (c->state == HTTP2_LINGER) {
        c->linger_bytes += n;
        bytes_done(&c->in);
    } else if (got == IO_EOF || got == IO_FAILED) {
        if (c->in.n > 0)
            (void)http2_feed(c);
        (void)http2_flush(c);
        if (got == IO_EOF && c->codec.streams == 0)
            linger(c);
        else
            over(c, STREAM_RESET_CLOSED);
    } else {
        (void)http2_feed(c); /* what is wrong shows in `cut` */
    }
}

/* ---- deadlines ---- */

static int64_t idle_until(const struct http2 *c)
{
    return c->idle_ms + c->codec.idle_ms_max;
}

static void due(int64_t *next, int64_t at)
{
    *next = MIN(*next, at);
}

static void check_stop(struct http2 *c, struct http2_stream *h, int64_t now, int64_t *next)
{
    if (h->stop_ms == 0)
        return;
    if (now >= h->stop_ms)
        http2_stop(c, h);
    else
        due(next, h->stop_ms);
}

/* False: the body came too slowly, the stream is over. */
static bool check_pace(struct http2 *c, struct http2_stream *h, int64_t now, int64_t *next)
{
    if (h->pace.since_ms == 0 || h->s.in_ended || h->released)
        return true;
    if (!pace_keep(&h->pace, &h->s, now)) {
        if (h->s.out_head_sent) {
            (void)nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, h->id, NGHTTP2_CANCEL);
            http2_detach(h, STREAM_RESET_TIMEOUT);
        } else {
            http2_refuse(c, h, 408, STREAM_RESET_TIMEOUT);
        }
        return false;
    }
    due(next, pace_due_ms(&h->pace));
    return true;
}

/* The peer takes nothing: of a stream that has bytes waiting, or of the whole connection. */
static void check_stalls(struct http2 *c, int64_t now, int64_t *next)
{
    struct http2_stream *h = c->first, *after;

    if (c->codec.io.bytes_out != c->stall_mark || io_pending(&c->codec.io) == 0) {
        c->stall_mark = c->codec.io.bytes_out;
        c->stall_ms = now;
    }
    if (now >= c->stall_ms + LIMIT_WRITE_STALL_MS) {
        c->codec.failure = "the peer takes no bytes";
        over(c, STREAM_RESET_TIMEOUT);
        return;
    }
    for (; h; h = after) {
        after = h->next;
        check_stop(c, h, now, next);
        if (!check_pace(c, h, now, next) || h->out.n == 0)
            continue;
        if (now >= h->moved_ms + LIMIT_WRITE_STALL_MS) {
            (void)nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, h->id, NGHTTP2_CANCEL);
            http2_detach(h, STREAM_RESET_TIMEOUT);
        } else {
            due(next, h->moved_ms + LIMIT_WRITE_STALL_MS);
        }
    }
    due(next, c->stall_ms + LIMIT_WRITE_STALL_MS);
}

static void check_probe(struct http2 *c, int64_t now, int64_t *next)
{
    if (c->probe_every_ms == 0)
        return;
    if (c->probed_ms > c->heard_ms && now >= c->probed_ms + c->probe_within_ms) {
        c->codec.failure = "no sign of life";
        over(c, STREAM_RESET_TIMEOUT);
        return;
    }
    if (c->probed_ms <= c->heard_ms && now >= c->heard_ms + c->probe_every_ms) {
        (void)nghttp2_submit_ping(c->session, NGHTTP2_FLAG_NONE, NULL);
        c->probed_ms = now;
    }
    due(next, c->probed_ms > c->heard_ms ? c->probed_ms + c->probe_within_ms
                                         : c->heard_ms + c->probe_every_ms);
}

/* Clients that have been told may still have requests on their way; those are served. */
static void check_drain(struct http2 *c, int64_t now, int64_t *next)
{
    if (!c->codec.draining || c->told_final)
        return;
    if (now < c->drain_ms) {
        due(next, c->drain_ms);
        return;
    }
    c->told_final = true;
    (void)nghttp2_submit_goaway(c->session, NGHTTP2_FLAG_NONE,
                                nghttp2_session_get_last_proc_stream_id(c->session),
                                NGHTTP2_NO_ERROR, NULL, 0);
}

static void on_timer(struct http2 *c)
{
    int64_t now = http2_now_ms(c), next = now + LIMIT_WRITE_STALL_MS;

    if (c->state == HTTP2_LINGER) {
        timer_set(&c->timer, now + LINGER_POLL_MS);
        return;
    }
    if (c->head_ms > 0 && now >= c->head_ms + LIMIT_HEAD_MS) {
        (void)http2_fail(c, NGHTTP2_ENHANCE_YOUR_CALM, "the head took too long");
    } else if (c->codec.streams == 0 && now >= idle_until(c)) {
        (void)nghttp2_session_terminate_session(c->session, NGHTTP2_NO_ERROR);
        c->codec.draining = true;
    }
    check_stalls(c, now, &next);
    if (c->state == HTTP2_LIVE)
        check_probe(c, now, &next);
    if (c->state != HTTP2_LIVE)
        return;
    check_drain(c, now, &next);
    if (c->head_ms > 0)
        due(&next, c->head_ms + LIMIT_HEAD_MS);
    if (c->codec.streams == 0 && !c->codec.draining)
        due(&next, idle_until(c));
    timer_set(&c->timer, MAX(next, now + 1));
}

/* ---- driver ---- */

/* nghttp2 found what ends a connection, and has said so. The streams it leaves to us. */
static bool gave_up(const struct http2 *c)
{
    return c->codec.streams > 0 && !nghttp2_session_want_read(c->session) &&
           !nghttp2_session_want_write(c->session);
}

/* Nothing more to say or to hear. */
static bool is_finished(const struct http2 *c)
{
    if (c->cut)
        return true;
    if (c->codec.streams > 0)
        return false;
    if (c->codec.draining && !c->codec.is_server)
        return true;
    return !nghttp2_session_want_read(c->session) && !nghttp2_session_want_write(c->session);
}

static void tell_capacity(struct http2 *c)
{
    if (c->state == HTTP2_LIVE && !c->codec.is_server && codec_capacity(&c->codec) > 0)
        c->codec.to->on_idle(c->codec.owner);
}

static void finish_turn(struct http2 *c)
{
    if (c->state == HTTP2_LIVE && !http2_flush(c))
        (void)http2_fail(c, NGHTTP2_INTERNAL_ERROR, "writing HTTP/2 failed");
    if (c->state == HTTP2_LIVE && c->codec.io.failed)
        over(c, STREAM_RESET_CLOSED);
    if (c->state == HTTP2_LIVE && gave_up(c))
        c->cut = true;
    if (c->state == HTTP2_LIVE && is_finished(c)) {
        if (!c->codec.is_server && !c->cut)
            (void)nghttp2_session_terminate_session(c->session, NGHTTP2_NO_ERROR);
        (void)http2_flush(c);
        linger(c);
    }
    if (c->state == HTTP2_LINGER && is_done_lingering(c))
        over(c, STREAM_RESET_CLOSED);
}

static void run(struct task *t, unsigned notes)
{
    struct http2 *c = CONTAINER(t, struct http2, task);
    size_t budget = LIMIT_TURN_BYTES;
    bool idle = (notes & N_KICK) != 0;

    if (notes & IO_NOTE_READ)
        c->readable = true;
    if (notes & N_TIMER)
        on_timer(c);
    if (c->asked)
        http2_tell_asked(c);
    if (c->state == HTTP2_LIVE && c->in.n > 0)
        (void)http2_feed(c); /* what came before the io was ours */
    while (c->readable && wants_input(c) && budget > 0)
        read_some(c, &budget);
    finish_turn(c);
    if (c->readable && wants_input(c))
        http2_kick(c);
    if (c->state == HTTP2_OVER) {
        if (!c->codec.ended) {
            c->codec.ended = true;
            timer_stop(&c->timer);
            c->codec.to->on_end(c->codec.owner);
        }
        return;
    }
    io_want_read(&c->codec.io, wants_input(c));
    if (idle)
        tell_capacity(c);
}

/* ---- making and closing ---- */

static void *h2_malloc(size_t n, void *arg)
{
    (void)arg; /* the process's heap */
    return mem_alloc(n);
}

static void h2_free(void *p, void *arg)
{
    (void)arg; /* the process's heap */
    mem_free(p);
}

static void *h2_calloc(size_t count, size_t n, void *arg)
{
    void *p;

    (void)arg; /* the process's heap */
    p = mem_alloc(MAX(count * n, (size_t)1));
    memset(p, 0, count * n);
    return p;
}

static void *h2_realloc(void *p, size_t n, void *arg)
{
    (void)arg; /* the process's heap */
    return mem_realloc(p, n);
}

static nghttp2_mem memory = {
    .malloc = h2_malloc, .free = h2_free, .calloc = h2_calloc, .realloc = h2_realloc};

static void must(int result)
{
    if (result != 0)
        log_error("internal: nghttp2: %s", nghttp2_strerror(result));
}

static void open_session(struct http2 *c)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *options;

    must(nghttp2_session_callbacks_new(&callbacks));
    must(nghttp2_option_new(&options));
    nghttp2_option_set_no_auto_window_update(options, 1);
    nghttp2_option_set_max_settings(options, 32);
    /* Resets and parts of heads are counted here (http2_frames.c); the library's own measure knows no honest work. */
    nghttp2_option_set_stream_reset_rate_limit(options, UINT32_MAX, UINT32_MAX);
    nghttp2_option_set_max_continuations(options, LIMIT_H2_CONTINUATION + 1);
    nghttp2_option_set_peer_max_concurrent_streams(options, LIMIT_H2_STREAMS);
    http2_set_callbacks_in(callbacks);
    http2_set_callbacks_out(callbacks);
    must(c->codec.is_server ? nghttp2_session_server_new3(&c->session, callbacks, c, options, &memory)
                            : nghttp2_session_client_new3(&c->session, callbacks, c, options, &memory));
    nghttp2_option_del(options);
    nghttp2_session_callbacks_del(callbacks);
}

static void greet(struct http2 *c)
{
    static const nghttp2_settings_entry server[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, LIMIT_H2_STREAMS},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE,   LIMIT_HEAD_BYTES},
        {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1              },
    };
    static const nghttp2_settings_entry client[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH,          0               },
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, LIMIT_HEAD_BYTES},
    };

    if (c->codec.is_server)
        must(nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, server, COUNT(server)));
    else
        must(nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, client, COUNT(client)));
    must(nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0,
                                               LIMIT_H2_HELD_BYTES));
}

static struct http2 *http2_new(struct loop *l, struct io *io, bool is_server,
                               const struct codec_owner_ops *ops, void *owner)
{
    struct http2 *c = MEM_NEW(struct http2);

    c->codec = (struct codec){.ops = &http2_ops,
                              .loop = l,
                              .to = ops,
                              .owner = owner,
                              .is_server = is_server,
                              .idle_ms_max = LIMIT_IDLE_MS};
    c->readable = true; /* a TLS session or a pair may hold bytes already */
    c->frames.at_ms = c->resets.at_ms = c->idle_ms = c->heard_ms = c->stall_ms = loop_now_ms(l);
    bytes_init(&c->in);
    bytes_init(&c->out);
    task_init(&c->task, l, run);
    timer_init(&c->timer, &c->task, N_TIMER);
    io_move(&c->codec.io, io, &c->task, 0);
    open_session(c);
    greet(c);
    timer_in(&c->timer, LIMIT_HEAD_MS);
    http2_kick(c);
    return c;
}

struct http2 *http2_server_new(struct loop *l, struct io *io, struct bytes *first, const struct http_head *asked,
                               const struct codec_owner_ops *ops, void *owner)
{
    struct http2 *c = http2_new(l, io, true, ops, owner);

    http2_expect_preface(c);
    if (asked)
        http2_take_asked(c, asked);
    if (first)
        bytes_move(&c->in, first, first->n);
    return c;
}

struct http2 *http2_client_new(struct loop *l, struct io *io, uint32_t streams_max,
                               const struct codec_owner_ops *ops, void *owner)
{
    struct http2 *c = http2_new(l, io, false, ops, owner);

    c->streams_max = streams_max ? streams_max : UINT32_MAX;
    return c;
}

void http2_probe(struct http2 *c, int64_t interval_ms, int64_t timeout_ms)
{
    c->probe_every_ms = interval_ms;
    c->probe_within_ms = timeout_ms;
    http2_wake_by(c, http2_now_ms(c) + interval_ms);
}

struct codec *http2_codec(struct http2 *c)
{
    return &c->codec;
}
