/* Values of header edits: text with Envoy's command operators, "%DOWNSTREAM_REMOTE_ADDRESS%". "%%" is one '%'.
 *
 * Flow:      validation refuses what header_format_check does; compile_action.c cuts what is taken into pieces, once;
 *            proxy/edit.c walks the pieces per message.
 * Errors:    an operator that weft does not have is ERR_UNSUPPORTED.
 * Threads:   any.
 */
#pragma once

#include "mesh/base/arena.h"
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

struct header_format {
    struct str text; /* as it is written */
    const struct header_piece *pieces;
    size_t count; /* 0: `text` stands for itself */
};

int header_format_check(struct str text, struct err *err) MUST_USE;
/* Copied into `a`. What header_format_check refuses ends where it cannot be read any more. */
struct header_format header_format_compile(struct arena *a, struct str text);
struct header_format header_format_literal(struct arena *a, struct str text);
