/* Problems found in documents: every one, not the first. Each says where (file, line, column,
 * document, JSON pointer), what is wrong and what would be right.
 *
 * Ownership: texts live in the arena given at init; the list borrows nothing else.
 * Codes: WEFTnnnn, cli_api.md section 3: 10xx parse, 12xx schema, 13xx references,
 *        14xx conflicts, 15xx unsupported here, 16xx not supported yet, 2xxx warnings.
 */
#pragma once

#include "mesh/base/arena.h"
#include "mesh/base/buf.h"
#include "mesh/base/err.h"

enum severity { SEVERITY_ERROR, SEVERITY_WARNING };

enum finding_code {
    FIND_PARSE = 1001,       /* the text is not YAML, JSON or INI */
    FIND_LIMIT = 1002,       /* too deep, too large, too many */
    FIND_DUPLICATE_KEY = 1003,
    FIND_ENVELOPE = 1201,    /* apiVersion, kind, metadata */
    FIND_TYPE = 1202,        /* wrong type of value */
    FIND_UNKNOWN_FIELD = 1203,
    FIND_REQUIRED = 1204,
    FIND_VALUE = 1205,       /* right type, not allowed */
    FIND_ONEOF = 1206,       /* two members of a oneof */
    FIND_REFERENCE = 1301,   /* names something that is not there */
    FIND_CONFLICT = 1401,    /* contradicts another document */
    FIND_DUPLICATE = 1402,   /* the same kind, namespace and name twice */
    FIND_UNSUPPORTED = 1501, /* can mean nothing outside a cluster */
    FIND_NOT_YET = 1601,     /* meaning known, not built yet */
    FIND_WARNING = 2001,
};

struct finding {
    enum finding_code code;
    enum severity severity;
    struct str file;
    unsigned line, column; /* from 1; 0 if unknown */
    unsigned document;     /* from 1 within the file */
    struct str object;     /* "VirtualService shop/reviews", or empty */
    struct str pointer;    /* "/spec/http/0/route", RFC 6901, or empty */
    struct str detail;     /* what is wrong, and what would be right */
    struct str hint;       /* the next step ("did you mean ..."), or empty */
    struct finding *next;
};

struct findings {
    struct arena *arena; /* not owned */
    struct finding *first, *last;
    size_t errors, warnings;
    bool full; /* LIMIT_FINDINGS was reached; more are only counted */
    struct finding *scratch; /* what callers past the limit fill in */
};

void findings_init(struct findings *f, struct arena *arena);

/* A new finding at the end, its detail printed into the arena; the caller fills in the rest.
 * Never NULL (past the limit a scratch one is returned). */
struct finding *findings_add(struct findings *f, enum finding_code code, enum severity severity,
                             const char *fmt, ...) PRINTF_LIKE(4, 5);

/* "shop.yaml:41:9: WEFT1203 unknown field "x" in VirtualService shop/reviews, spec.http[0].x: did you mean ..." */
void finding_print(const struct finding *f, struct buf *out);
/* The same without the place in front. */
void finding_print_text(const struct finding *f, struct buf *out);

/* The findings of one severity as a JSON array (the `errors` and `warnings` of a problem). */
void findings_json(const struct findings *f, enum severity severity, struct buf *out);

/* Errors of other codes than this one. */
size_t findings_errors_besides(const struct findings *f, enum finding_code code);

/* The first error as an err (ERR_INVALID), saying how many there are. Returns -1. */
int findings_err(const struct findings *f, struct err *err);
