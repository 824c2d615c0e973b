/* What the files of HTTP/2 share; everybody else wants proxy/wire/http2.h. The only place that includes nghttp2.
 *
 * Flow:      http2.c is the driver: reading, deadlines, the end. http2_frames.c feeds and counts frames; http2_in.c makes
 *            messages of what nghttp2 tells, http2_request.c judges the heads of requests; http2_out.c gives nghttp2 what
 *            the owner sends.
 * Threads:   all of a connection belongs to its worker.
 */
#pragma once

#include <nghttp2/nghttp2.h>

#include "proxy/wire/http2.h"

enum http2_state { HTTP2_LIVE, HTTP2_LINGER, HTTP2_OVER, HTTP2_STATES };

/* A level that falls with every bad thing and rises with time. */
struct bucket {
    int level;
    int64_t at_ms;
};

/* The frame that arrives. */
struct http2_frame {
    nghttp2_frame_hd hd;
    uint8_t head[9];
    uint8_t have; /* bytes of `head` */
    size_t left;  /* of the payload */
};

struct http2_stream {
    struct stream s; /* first: a stream is cast back */
    struct http2 *c; /* NULL once nghttp2 has closed it */
    struct http2_stream *next, *prev;
    int32_t id;
    struct bytes out; /* body that waits for its turn and for credit */
    struct http_field *out_trailers;
    size_t out_trailer_count;
    struct str bad;          /* what is wrong with the head that arrives; empty: nothing so far */
    unsigned bad_status;     /* what a server answers to it */
    struct http_head head;   /* that arrives */
    struct str protocol;     /* server: of an extended CONNECT */
    struct str asked;        /* client: the same */
    struct str accept;       /* client: proof of the WebSocket that was asked for */
    size_t head_bytes, field_count, fields_seen;
    size_t held;             /* bytes of s.in whose credit was not given back */
    struct pace pace;
    int64_t moved_ms;        /* when `out` last moved, or began to wait */
    int64_t stop_ms;         /* server: answered early and let go; then the peer is told to stop. 0: not so */
    size_t dropped;          /* of the body since then */
    uint8_t informational;
    bool is_head;            /* of the request's method: the answer has no body */
    bool is_tunnel;          /* it was asked for as one */
    bool has_cookie;         /* the head that arrives has one */
    bool in_trailers, out_end, deferred, is_full;
    bool released;           /* nobody has it: not yet, or its owner is gone and the last bytes are not */
    bool peer_reset, we_reset, sent_end;
};

struct http2 {
    struct codec codec;
    struct task task;
    struct timer timer;
    struct reap reap;
    nghttp2_session *session;
    struct http2_stream *first;
    struct http2_stream *asked; /* by Upgrade, and the owner does not know yet */
    struct bytes in, out;  /* being fed; made, for the io */
    struct bucket frames, resets;
    size_t held, owed;     /* body bytes that owners have not taken; connection credit that was held back */
    int64_t widest;        /* credit that the peer gave a stream beyond its initial window; taken before it changes that */
    uint32_t streams_max;
    int32_t newest;        /* highest stream that the peer has opened */
    int32_t skipped_from, skipped_to; /* the last ids that it left out */
    struct http2_frame frame;
    unsigned continuations; /* of the head that arrives */
    int64_t head_ms;       /* since when a head arrives; 0: none does */
    int64_t idle_ms;       /* without streams since then */
    int64_t drain_ms;      /* when a drain ends for clients that do not go */
    int64_t stall_ms;
    uint64_t stall_mark;
    int64_t probe_every_ms, probe_within_ms, heard_ms, probed_ms;
    size_t linger_bytes;
    uint8_t state;
    bool readable, cut;    /* cut: nghttp2 must not be fed any more */
    bool told_final;       /* drain: the last GOAWAY was sent */
    bool greeted;          /* the peer's settings have come */
};

static inline struct http2 *http2_of(struct codec *c)
{
    return CONTAINER(c, struct http2, codec);
}

static inline struct http2_stream *http2_stream_of(struct stream *s)
{
    return CONTAINER(s, struct http2_stream, s);
}

static inline int64_t http2_now_ms(const struct http2 *c)
{
    return loop_now_ms(c->codec.loop);
}

/* ---- http2.c ---- */

void http2_kick(struct http2 *c); /* a turn of the driver, soon */
void http2_wake_by(struct http2 *c, int64_t at_ms);
struct http2_stream *http2_stream_new(struct http2 *c, int32_t id);
/* nghttp2 is done with the stream; its owner may keep it as long as it likes. */
void http2_detach(struct http2_stream *h, enum stream_reset why);
/* The connection is over for this reason: nothing more is fed. */
void http2_broken(struct http2 *c, const char *why);
/* End the connection with a GOAWAY of this code. False always, for callers that go on to return. */
bool http2_fail(struct http2 *c, uint32_t code, const char *why);

/* ---- http2_frames.c ---- */

/* The peer did something that costs us `n`. False: too often, the connection ends. */
bool http2_charge(struct http2 *c, struct bucket *b, int n);
void http2_reward(struct bucket *b, int n);
void http2_expect_preface(struct http2 *c);
/* Feed what was read. False: the connection cannot go on. */
bool http2_feed(struct http2 *c);
/* RFC 9113 6.9.2: settings of the peer must not make a stream's window overflow. False: they did, the connection ends. */
bool http2_check_windows(struct http2 *c, const nghttp2_settings *settings);

/* ---- http2_in.c ---- */

void http2_set_callbacks_in(nghttp2_session_callbacks *cb);

/* ---- http2_request.c ---- */

/* The head that arrives breaks a rule of ours: the first reason stays, and a server answers with its status. */
void http2_is_bad(struct http2_stream *h, unsigned status, const char *why);
/* Server: the head is whole; the owner is told, or it is refused. */
void http2_request_done(struct http2 *c, struct http2_stream *h, bool ended);
void http2_end_in(struct http2_stream *h); /* the incoming message is complete */
/* Server: the request that came with Upgrade is stream 1; http2_tell_asked tells the owner. */
void http2_take_asked(struct http2 *c, const struct http_head *asked);
void http2_tell_asked(struct http2 *c);
/* An answer of ours in place of the owner's; the stream is over. */
void http2_refuse(struct http2 *c, struct http2_stream *h, unsigned status, enum stream_reset why);

/* ---- http2_out.c ---- */

extern const struct codec_ops http2_ops;
void http2_set_callbacks_out(nghttp2_session_callbacks *cb);
/* Let nghttp2 write what it has and may. False: it failed. */
bool http2_flush(struct http2 *c);
/* Server: the request was answered before its end, and nobody wants the rest of it. */
void http2_stop(struct http2 *c, struct http2_stream *h);
/* Credit of what the owners have taken, and of what was held back. */
void http2_credit(struct http2 *c, struct http2_stream *h);
/* A server's own answer to a request that nobody else is to see. */
void http2_answer(struct http2 *c, int32_t id, unsigned status);
