/* One message pair (request and response) on a codec: the same face downstream and upstream,
 * whatever the HTTP version. Downstream the incoming message is the request; upstream it is the
 * response.
 *
 * Flow:      the codec notes to `owner` what became possible; the owner's step looks at the stream
 * and calls the functions below. They never call back; they may note. Ownership: a stream belongs
 * to its codec and lives until the owner calls stream_release (exactly once), even if the
 * connection dies first (then STREAM_NOTE_RESET is noted and calls are harmless). Pressure:
 * incoming body bytes wait in `in`; the codec stops reading when LIMIT_STREAM_HIGH is there. The
 * owner moves bytes out of `in` and then calls stream_consumed. Outgoing: check stream_room before
 * sending; STREAM_NOTE_ROOM when it falls below LIMIT_STREAM_LOW after having been 0. Threads: the
 * codec's loop.
 */
#pragma once

#include "mesh/base/loop.h"
#include "proxy/wire/bytes.h"
#include "proxy/wire/http.h"
#include "proxy/wire/io.h"

/* Notes to the owner's task, shifted left by stream->note_shift. */
enum {
    STREAM_NOTE_HEAD =
        1, /* in_head is there (upstream: also informational ones, see stream_informational) */
    STREAM_NOTE_DATA = 2,   /* `in` grew */
    STREAM_NOTE_END = 4,    /* in_ended became true: the incoming message is complete */
    STREAM_NOTE_ROOM = 8,   /* sending may go on */
    STREAM_NOTE_RESET = 16, /* reset != STREAM_RESET_NONE: nothing more will come or go */
    STREAM_NOTE_SENT = 32,  /* out_sent became true: our message was handed to the io whole */
    STREAM_NOTE_BITS = 6
};

enum stream_reset {
    STREAM_RESET_NONE,
    STREAM_RESET_CLOSED,   /* the peer closed or reset the connection */
    STREAM_RESET_REFUSED,  /* certainly not processed: a pooled connection closed before any byte of
                              the answer and  before it can have read ours, or HTTP/2 REFUSED_STREAM
                            */
    STREAM_RESET_PEER,     /* HTTP/2: the peer reset this stream alone */
    STREAM_RESET_PROTOCOL, /* the peer broke HTTP; the detail is in the codec's `failure` */
    STREAM_RESET_TIMEOUT,
    STREAM_RESET_LOCAL, /* stream_reset was called, or the codec was closed by its owner */
};

struct codec;
struct stream;

/* An answer that another one follows (1xx). */
struct informational {
    struct informational *next;
    struct http_head head;
};

struct codec_ops {
    void (*send_head)(struct stream *s, const struct http_head *h, bool end);
    void (*send_data)(struct stream *s, struct bytes *from, bool end);
    void (*send_trailers)(struct stream *s, const struct http_field *fields, size_t count);
    size_t (*room)(const struct stream *s);
    void (*consumed)(struct stream *s);
    void (*reset)(struct stream *s);
    void (*release)(struct stream *s);
    /* of the whole connection */
    struct stream *(*open)(struct codec *c, struct task *owner, unsigned note_shift);
    size_t (*capacity)(struct codec *c);
    void (*drain)(struct codec *c);
    void (*close)(struct codec *c);
};

/* What a connection tells its owner; called inside the codec's step: it may create objects, own the stream and note
 * tasks, nothing else. */
struct codec_owner_ops {
    /* Server: a request head is complete. */
    void (*on_stream)(void *owner, struct stream *s);
    /* A message pair is finished and another one may begin (client: there is capacity; HTTP/1.1 server: it is idle). */
    void (*on_idle)(void *owner);
    /* The connection is over (peer closed, failure, or codec_drain finished). Called once; the owner then calls
     * codec_close. */
    void (*on_end)(void *owner);
    /* HTTP/1.1 server: the client speaks HTTP/2, or asks for it (http1.h2c_request), and the io may be taken for that. NULL:
     * refused. */
    void (*on_http2)(void *owner);
};

/* One connection: what HTTP/1.1 and HTTP/2 have in common. */
struct codec {
    const struct codec_ops *ops;
    struct loop *loop;
    const struct codec_owner_ops *to;
    void *owner;
    struct io io;
    struct str server_name;  /* settable: value of Server for answers the codec makes itself */
    const char *failure;     /* protocol error in words, or NULL */
    unsigned failure_status; /* what the server side answers by itself: 400, 408, 414, 417, 431, 501, 505 */
    unsigned streams;        /* message pairs under way */
    uint64_t requests;       /* message pairs started on this connection */
    int64_t idle_ms_max;     /* without a message pair; settable, default LIMIT_IDLE_MS */
    bool is_server, draining, ended;
    bool tunnels; /* settable: requests with `upgrade` become tunnels when the answer is 101 (HTTP_BODY_TUNNEL) */
    bool refuses_slow; /* server, settable: a body of known length comes at LIMIT_BODY_BYTES_PER_S, or the answer is 408 */
    bool connects; /* server, settable: so do those with CONNECT, which are refused with 501 otherwise */
};

struct stream {
    struct codec *codec;
    struct task *owner; /* NULL until somebody takes it: notes wait in `noted` */
    unsigned note_shift;
    unsigned noted;
    enum stream_reset reset;

    struct arena arena;                /* of in_head and trailers; its first bytes are `first` */
    struct http_head in_head;          /* valid once in_has_head */
    struct informational *informational; /* upstream: 1xx that were not taken, in their order; in the arena */
    struct bytes in;                   /* body bytes, without framing */
    struct http_field *in_trailers;
    size_t in_trailer_count;
    uint64_t in_body_bytes, out_body_bytes; /* totals, for the access log */
    int64_t started_ms;                     /* first byte of the request head (downstream) */
    bool in_has_head, in_ended, out_head_sent, out_ended, out_sent;
    _Alignas(max_align_t) char first[2048];
};

/* Take the stream: notes go to `task` from now on; earlier ones are delivered at once. */
void stream_own(struct stream *s, struct task *task, unsigned note_shift);
void stream_note(struct stream *s, unsigned bits); /* for codecs */

/* Upstream: the next 1xx that was not taken yet, valid as long as the stream; NULL: there is none. */
const struct http_head *stream_informational(struct stream *s);

/* Send the head (copied). The codec decides framing and connection fields: content-length or
 * transfer-encoding in `h` are taken from h->framing and h->content_length, not from fields. `end`:
 * there is no body. Informational responses may precede the final head. */
static inline void stream_send_head(struct stream *s, const struct http_head *h, bool end)
{
    s->codec->ops->send_head(s, h, end);
}
/* Move all of `from` out. The owner stays within stream_room (a little more is taken, not refused).
 */
static inline void stream_send_data(struct stream *s, struct bytes *from, bool end)
{
    s->codec->ops->send_data(s, from, end);
}
/* Ends the message with trailers (dropped where the framing cannot carry them). */
static inline void stream_send_trailers(struct stream *s, const struct http_field *fields,
                                        size_t count)
{
    s->codec->ops->send_trailers(s, fields, count);
}
static inline size_t stream_room(const struct stream *s)
{
    return s->codec->ops->room(s);
}
/* Bytes were taken out of s->in: reading may go on. */
static inline void stream_consumed(struct stream *s)
{
    s->codec->ops->consumed(s);
}
/* Abort: HTTP/1 closes the connection. Harmless when it is over. */
static inline void stream_reset(struct stream *s)
{
    s->codec->ops->reset(s);
}
/* The owner is done with it; if a message is incomplete in either direction this resets first. */
static inline void stream_release(struct stream *s)
{
    s->codec->ops->release(s);
}

/* Client: start a message pair. NULL if the connection takes none (any more). */
static inline struct stream *codec_open(struct codec *c, struct task *owner, unsigned note_shift)
{
    return c->ops->open(c, owner, note_shift);
}
/* Client: how many more message pairs may begin now. */
static inline size_t codec_capacity(struct codec *c)
{
    return c->ops->capacity(c);
}
/* Finish what is under way, take nothing new, then close. */
static inline void codec_drain(struct codec *c)
{
    c->ops->drain(c);
}
/* Now: streams are noted RESET_LOCAL. */
static inline void codec_close(struct codec *c)
{
    c->ops->close(c);
}

/* ---- for codecs ---- */

/* How fast a body of known length comes, looked at every LIMIT_BODY_MS. All zero: nobody looks. */
struct pace {
    int64_t since_ms;
    uint64_t bytes; /* that had come then */
};

/* False: too few have come. A reader that waits for us, or for a 100 that was not sent, is not slow. */
bool pace_keep(struct pace *p, const struct stream *s, int64_t now_ms);
int64_t pace_due_ms(const struct pace *p);

/* What a stream belongs to once its connection has no more to do with it: calls are harmless. */
extern struct codec codec_dead;
void stream_add_informational(struct stream *s, const struct http_head *h); /* notes HEAD */
/* A stream is the first member of what its codec allocates for it. */
void stream_init(struct stream *s, struct codec *c);
void stream_free(struct stream *s);
