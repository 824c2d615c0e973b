/* URLs, read as Go's net/url reads them, which is how Istio judges a document: generous in what may stand in a path, strict in
 * authority, port and escapes. Nothing is decoded; the parts are slices of the text.
 *
 * Errors:  what is wrong, without the text itself.
 * Threads: pure.
 * Source:  RFC 3986; pkg/net/url of Go for what it takes beyond that.
 */
#pragma once

#include "mesh/base/err.h"
#include "mesh/base/str.h"

struct url {
    struct str scheme; /* as written; empty: none */
    struct str host;   /* with brackets, without port; empty: none */
    struct str port;   /* digits; empty: none */
};

/* A reference: also a path alone, or a name, with a fragment at its end. */
int url_parse(struct str text, struct url *out, struct err *err);
/* What a request may ask for: with a scheme, or a path that begins with '/'; '#' is nothing special. */
int url_parse_request(struct str text, struct url *out, struct err *err);
