/* What the proxy knows of gRPC: who speaks it, how its errors and deadlines are told, where its messages end.
 *
 * Flow:      exchange_request.c bounds a caller's deadline; exchange_response.c makes our own answers gRPC's for such
 *            callers; exchange_report.c tells status and messages.
 * Threads:   pure, but for a struct of the caller.
 * Units:     *_ms milliseconds.
 * Source:    gRPC over HTTP/2 (PROTOCOL-HTTP2.md); the statuses of HTTP's and the bounds of the deadline are Envoy's.
 */
#pragma once

#include "proxy/wire/bytes.h"
#include "proxy/wire/http.h"

enum { GRPC_OK = 0, GRPC_UNKNOWN = 2, GRPC_STATUS_LAST = 16 };

/* By its content-type: application/grpc, with or without a format. gRPC-Web is not gRPC. */
bool grpc_is(const struct http_head *h);

/* The status in `fields`: 0 to 16, GRPC_UNKNOWN for what is none of these, -1 if it is not there. */
int grpc_status(const struct http_field *fields, size_t count);
int grpc_status_of_http(unsigned status); /* of an answer that says none */
unsigned grpc_http_status(int status);    /* what it is in HTTP: for callers and rules that know no gRPC */
struct str grpc_status_text(int status);  /* its number; empty: there is none */

/* The deadline that a request gets where the route allows `most_ms` (0: any): 0 is none. */
int64_t grpc_deadline_ms(const struct http_head *h, int64_t most_ms);
void grpc_set_deadline(struct http_head *h, int64_t ms);

/* An answer of ours as gRPC tells it: all of it in the head; `why` (may be empty) becomes its message. */
void grpc_answer(struct http_head *h, struct str why);

/* Counts the messages in a body as it passes. All zero is the beginning. */
struct grpc_frames {
    uint64_t messages; /* that have begun */
    uint64_t left;     /* bytes of the present message */
    uint32_t length;   /* as far as it was read */
    uint8_t prefix;    /* bytes of the prefix that were read */
};

void grpc_frames_feed(struct grpc_frames *f, const struct bytes *body);
