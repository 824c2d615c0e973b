/* Answers of the API: JSON, problems, query parameters. */
#include <stdio.h>

#include "cmd/server/server.h"
#include "mesh/base/findings.h"
#include "mesh/base/limits.h"

void reply_json(struct serve_request *r, unsigned status, struct buf *body)
{
    buf_addc(body, '\n');
    if (body->failed) /* half a document is worse than none */
        reply_problem(r, 503, "Service Unavailable", "the answer is too large for this server");
    else
        serve_answer(r, status, "application/json", buf_str(body));
}

unsigned reply_status(enum err_code code)
{
    switch (code) {
    case ERR_NONE:
        return 200;
    case ERR_INVALID:
    case ERR_UNSUPPORTED:
        return 422;
    case ERR_MISSING:
        return 404;
    case ERR_CONFLICT:
        return 409;
    case ERR_DENIED:
        return 403;
    case ERR_IO:
        return 503;
    case ERR_LIMIT:
        return 413;
    case ERR_FULL:
        return 507;
    }
    return 503;
}

static void begin_problem(struct buf *b, unsigned status, const char *title)
{
    buf_init(b, LIMIT_APPLY_BYTES);
    buf_adds(b, "{\"type\":\"about:blank\",\"title\":");
    buf_json(b, str_from(title));
    buf_printf(b, ",\"status\":%u", status);
}

static void send_problem(struct serve_request *r, unsigned status, struct buf *b)
{
    buf_adds(b, "}\n");
    serve_answer(r, status, "application/problem+json", buf_str(b));
    buf_done(b);
}

void reply_problem(struct serve_request *r, unsigned status, const char *title, const char *detail)
{
    struct buf b;

    begin_problem(&b, status, title);
    buf_adds(&b, ",\"detail\":");
    buf_json(&b, str_from(detail));
    send_problem(r, status, &b);
}

void reply_err(struct serve_request *r, const struct err *err)
{
    unsigned status = reply_status(err->code);

    if (status == 503)
        serve_header(r, "retry-after", STR("5"));
    reply_problem(r, status, http_reason(status), err->text);
}

void reply_findings(struct serve_request *r, unsigned status, const char *title,
                    const struct findings *f)
{
    struct buf b;

    begin_problem(&b, status, title);
    buf_adds(&b, ",\"errors\":");
    findings_json(f, SEVERITY_ERROR, &b);
    buf_adds(&b, ",\"warnings\":");
    findings_json(f, SEVERITY_WARNING, &b);
    send_problem(r, status, &b);
}

/* RFC 3986 2.1; in a query '+' is a blank, as forms write it. */
static struct str decode(struct arena *a, struct str s, bool plus)
{
    char *out = arena_alloc(a, s.n + 1);
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        uint64_t byte;

        if (s.p[i] == '%' && str_hex(str_sub(s, i + 1, 2), 255, &byte) && i + 2 < s.n) {
            out[n++] = (char)byte;
            i += 2;
        } else {
            out[n++] = plus && s.p[i] == '+' ? ' ' : s.p[i];
        }
    }
    out[n] = 0;
    return (struct str){out, n};
}

bool reply_segment(struct arena *a, struct str segment, struct str *value)
{
    struct str s = decode(a, segment, false);

    for (size_t i = 0; i < s.n; i++) {
        if ((unsigned char)s.p[i] <= ' ' || s.p[i] == '/' || s.p[i] == 0x7f)
            return false;
    }
    *value = s;
    return true;
}

bool reply_query(const struct serve_request *r, struct str name, struct arena *a, struct str *value)
{
    struct str rest = r->query, item, key;

    while (str_next(&rest, '&', &item)) {
        struct str v = item;

        if (!str_cut(&v, '=', &key)) {
            key = item;
            v = STR_NONE;
        }
        if (str_eq(key, name)) {
            *value = decode(a, v, true);
            return true;
        }
    }
    return false;
}

bool reply_unknown_query(struct serve_request *r, const char *const *names)
{
    struct str rest = r->query, item, key;

    while (str_next(&rest, '&', &item)) {
        struct str v = item;
        bool known = false;
        char detail[256];

        if (!str_cut(&v, '=', &key))
            key = item;
        for (size_t i = 0; names[i]; i++)
            known = known || str_eq(key, str_from(names[i]));
        if (known)
            continue;
        (void)snprintf(detail, sizeof(detail), "unknown query parameter \"%.*s\"; nothing was done",
                       STR_ARG(key));
        reply_problem(r, 400, "Bad Request", detail);
        return true;
    }
    return false;
}
