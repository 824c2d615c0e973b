/* HTTP/1.1 on one io: strict incremental parser and writer (RFC 9112), server or client side.
 *
 * Strictness: whatever two implementations could read differently is refused with 400 and the
 * connection closes (both of Content-Length and Transfer-Encoding, repeated or non-decimal lengths,
 * bare CR, obs-fold, blank before the colon, control characters, chunked not last, ...). corpus
 * http1/requests.jsonl is the table of verdicts. Forwarding: what is sent is written from the head,
 * never copied raw. Connection-level fields (Connection and what it names, Keep-Alive,
 * Proxy-Connection, TE, Transfer-Encoding, Upgrade) are taken out on reading. Ownership:
 * embedded in the owner's object; http1_close detaches; free through loop_reap only after every
 * stream was released. Flow: one task of its own drives it (state table). The owner hears of new
 * streams through `ops`, called inside that task's step: it may create objects, own the stream and
 * note tasks, nothing else.
 */
#pragma once

#include "proxy/wire/io.h"
#include "proxy/wire/stream.h"

struct http1 {
    struct codec codec;
    struct task task;
    struct timer timer;
    struct bytes in;         /* unparsed */
    struct stream *stream;   /* the message pair under way, or NULL */
    struct stream *h2c_request; /* server, after on_http2: it asked for HTTP/2, and its answer is to come in that; http1_close
                                   frees it. NULL: the client began with HTTP/2's preface */
    uint8_t state, parse;    /* private to http1.c, as all of these */
    uint8_t chunk;           /* where in a chunk's line */
    bool close_after;
    bool readable;         /* reading may give something without a note */
    bool allow_upgrade;    /* client, settable: a request with `upgrade` is sent as such and 101 is
                              taken */
    bool takes_h2c;        /* server, settable: a client may change to HTTP/2 by Upgrade (RFC 7540 3.2), see h2c_request */
    bool upgraded;         /* both sides: 101 is through, the owner calls http1_take_io */
    bool request_close;    /* client: "connection: close" was sent */
    uint8_t informational; /* 1xx answers of this pair */
    uint8_t out_framing;   /* enum http_framing of the message being sent */
    uint8_t digits;        /* of a chunk size */
    uint64_t body_left;    /* of the incoming body or chunk */
    uint64_t out_left;     /* of an outgoing body with a length */
    size_t scanned, line_bytes; /* search for the end of a head: where it stands */
    size_t chunk_line,
        chunk_excess;    /* bytes of this chunk's line; framing beyond what the data excuses */
    uint64_t stall_mark; /* io.bytes_out when the write stall was last looked at */
    uint64_t out_start;  /* client: io.bytes_out when the stream was opened */
    int64_t head_ms, idle_ms,
        stall_ms;        /* first byte of the head (0: none yet); idle since; stall_mark taken at */
    size_t linger_bytes; /* dropped after our last answer */
    struct pace pace;
    uint8_t blank_lines; /* skipped before a request line */
};

/* Takes over an established io (io_move) with bytes already read (`first`, may be NULL). */
void http1_server_init(struct http1 *c, struct loop *l, struct io *io, struct bytes *first,
                       const struct codec_owner_ops *ops, void *owner);
void http1_client_init(struct http1 *c, struct loop *l, struct io *io,
                       const struct codec_owner_ops *ops, void *owner);

/* Client: start a message pair on an idle connection; NULL if it is not idle (any more). */
struct stream *http1_open_stream(struct http1 *c, struct task *owner, unsigned note_shift);
bool http1_is_idle(const struct http1 *c);
/* Finish the current pair, then close ("Connection: close" on the next head). An idle server side
 * waits LIMIT_DRAIN_IDLE_MS for a request that may be on its way, and answers it. */
void http1_drain(struct http1 *c);
/* After `upgraded`: the bare io goes to a new owner, with bytes read past the head in `first`.
 * http1_close follows. */
void http1_take_io(struct http1 *c, struct io *to, struct task *task, unsigned note_shift,
                   struct bytes *first);
/* Server: answer `s` with 101 and `protocol`; then http1_take_io. False if the stream is dead or
 * answered. */
bool http1_upgrade(struct http1 *c, struct stream *s, struct str protocol) MUST_USE;

/* The parser of heads, a pure function: `p` holds the whole head with its final empty line. NULL
 * when it is good, else what is wrong with it, and *status what a server answers (0: nothing, its first
 * line is nothing like HTTP). Texts of `h` are copies in `a`. For a response, framing is what the fields say;
 * the caller knows about HEAD. */
const char *http1_parse_head(const char *p, size_t n, bool is_request, struct arena *a,
                             struct http_head *h, unsigned *status);
/* A trailer section with its final empty line, the same way; fields that must not be trailers are
 * left out. */
const char *http1_parse_trailers(const char *p, size_t n, struct arena *a,
                                 struct http_field **fields, size_t *count);

void http1_close(struct http1 *c); /* now: the stream, if any, is noted RESET_LOCAL */
