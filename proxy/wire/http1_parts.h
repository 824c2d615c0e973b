/* What the files of HTTP/1.1 share; everybody else wants proxy/wire/http1.h.
 *
 * Flow:      http1.c is the driver: states, deadlines, the end. http1_in.c takes apart what
 *            arrives; http1_out.c writes what the owner sends, into the io.
 * Threads:   all of a connection belongs to its worker.
 */
#pragma once

#include "proxy/wire/http1.h"

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
    P_UPGRADE, /* server: what follows the head depends on our answer */
    P_TUNNEL,  /* bytes of the upgraded protocol, to the end of the connection */
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

/* One message pair. */
struct pair {
    struct stream s;   /* first: a stream is cast back */
    struct http1 *c;   /* NULL once the connection is gone or done with this pair */
    struct str asked;  /* client: the protocol that an upgrade was asked to; empty: none */
    bool is_head;      /* of the request's method: the answer has no body */
    bool is_connect;
};

static inline struct pair *http1_pair_of(struct stream *s)
{
    return CONTAINER(s, struct pair, s);
}

static inline int64_t http1_now_ms(const struct http1 *c)
{
    return loop_now_ms(c->codec.loop);
}

/* ---- http1.c ---- */

/* The peer broke HTTP (or was too slow): the server says so if it still can, and the connection
 * ends. */
enum state http1_refuse(struct http1 *c, unsigned status, const char *why);
/* Leaves the stream, if any, to its owner and closes; for use outside the driver too. */
void http1_end_now(struct http1 *c, enum stream_reset why);
void http1_kick(struct http1 *c); /* a turn of the driver, soon */
void http1_wake_by(struct http1 *c, int64_t at_ms);
/* The connection has no more to do with the pair under way; its owner may keep it as long as it
 * likes. */
void http1_detach(struct http1 *c);
void http1_conclude(struct http1 *c); /* both messages are complete */

/* ---- http1_in.c ---- */

void http1_begin_head(struct http1 *c);
void http1_in_end(struct http1 *c);             /* the incoming message is complete */
enum state http1_take_request(struct http1 *c); /* server: a request head, if it is whole */
/* Client: a response head, if it is whole. `*more`: something was taken, look again. */
enum state http1_take_response(struct http1 *c, bool *more);
/* Move the incoming message on as far as the bytes and the room allow. NULL, or what is wrong. */
const char *http1_take_message(struct http1 *c, unsigned *status);

/* ---- http1_out.c ---- */

extern const struct codec_ops http1_ops;

struct pair *http1_pair_new(struct http1 *c);
