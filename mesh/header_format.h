/* Values of header edits: text with Envoy's command operators, "%DOWNSTREAM_REMOTE_ADDRESS%". "%%" is one '%'.
 *
 * Flow:      validate.c refuses what cannot be parsed here; proxy/edit.c walks the pieces per message.
 * Errors:    an operator that weft does not have is ERR_UNSUPPORTED.
 * Threads:   any; nothing is allocated.
 */
#pragma once

#include "mesh/base/err.h"
#include "mesh/base/str.h"

enum header_variable {
    HEADER_LITERAL, /* not a variable: `text` stands for itself */
    HEADER_DOWNSTREAM_REMOTE_ADDRESS,
    HEADER_DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT,
    HEADER_DOWNSTREAM_REMOTE_PORT,
    HEADER_DOWNSTREAM_LOCAL_ADDRESS,
    HEADER_DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT,
    HEADER_DOWNSTREAM_LOCAL_PORT,
    HEADER_DOWNSTREAM_PEER_URI_SAN,
    HEADER_REQUESTED_SERVER_NAME,
    HEADER_PROTOCOL,
    HEADER_HOSTNAME,
    HEADER_ROUTE_NAME,
    HEADER_UPSTREAM_CLUSTER,
    HEADER_UPSTREAM_REMOTE_ADDRESS, /* of the response's try, as those below; empty in a request */
    HEADER_UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT,
    HEADER_UPSTREAM_REMOTE_PORT,
    HEADER_UPSTREAM_LOCAL_ADDRESS,
    HEADER_UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT,
    HEADER_UPSTREAM_LOCAL_PORT,
    HEADER_UPSTREAM_TRANSPORT_FAILURE_REASON,
    HEADER_UPSTREAM_REQUEST_ATTEMPT_COUNT,
    HEADER_START_TIME, /* of the request; `name` is its form (mesh/time_form.h) */
    HEADER_RESPONSE_CODE,
    HEADER_RESPONSE_CODE_DETAILS, /* empty in a request */
    HEADER_RESPONSE_FLAGS,        /* "-" for none */
    HEADER_REQ,  /* field `name` of the request, else `other` */
    HEADER_REQ_WITHOUT_QUERY,
    HEADER_RESP, /* of the response */
};

struct header_piece {
    enum header_variable variable;
    struct str text;        /* HEADER_LITERAL */
    struct str name, other; /* HEADER_REQ, HEADER_REQ_WITHOUT_QUERY, HEADER_RESP; `other` may be empty */
};

/* Cuts the next piece off. 1: there is one; 0: the end; -1: what comes is not a format. */
int header_format_next(struct str *rest, struct header_piece *out, struct err *err);
int header_format_check(struct str value, struct err *err) MUST_USE;
