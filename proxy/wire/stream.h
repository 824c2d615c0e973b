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

/* Notes to the owner's task, shifted left by stream->note_shift. */
enum {
    STREAM_NOTE_HEAD =
        1, /* in_head is there (upstream: also informational ones, see in_informational) */
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
    STREAM_RESET_PROTOCOL, /* the peer broke HTTP; the detail is in the codec's `failure` */
    STREAM_RESET_TIMEOUT,
    STREAM_RESET_LOCAL, /* stream_reset was called, or the codec was closed by its owner */
};

struct codec;
struct stream;

struct codec_ops {
    void (*send_head)(struct stream *s, const struct http_head *h, bool end);
    void (*send_data)(struct stream *s, struct bytes *from, bool end);
    void (*send_trailers)(struct stream *s, const struct http_field *fields, size_t count);
    size_t (*room)(const struct stream *s);
    void (*consumed)(struct stream *s);
    void (*reset)(struct stream *s);
    void (*release)(struct stream *s);
};

struct codec {
    const struct codec_ops *ops;
    struct loop *loop;
};

struct stream {
    struct codec *codec;
    struct task *owner; /* NULL until somebody takes it: notes wait in `noted` */
    unsigned note_shift;
    unsigned noted;
    enum stream_reset reset;

    struct arena arena;                /* of in_head and trailers; its first bytes are `first` */
    struct http_head in_head;          /* valid once in_has_head */
    struct http_head in_informational; /* upstream: the last 1xx, until the final head */
    struct bytes in;                   /* body bytes, without framing */
    struct http_field *in_trailers;
    size_t in_trailer_count;
    uint64_t in_body_bytes, out_body_bytes; /* totals, for the access log */
    int64_t started_ms;                     /* first byte of the request head (downstream) */
    bool in_has_head, in_has_informational, in_ended, out_head_sent, out_ended, out_sent;
    _Alignas(max_align_t) char first[2048];
};

/* Take the stream: notes go to `task` from now on; earlier ones are delivered at once. */
void stream_own(struct stream *s, struct task *task, unsigned note_shift);
void stream_note(struct stream *s, unsigned bits); /* for codecs */

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
