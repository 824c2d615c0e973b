#include "mesh/base/findings.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "mesh/base/limits.h"
#include "mesh/base/mem.h"

void findings_init(struct findings *f, struct arena *arena)
{
    *f = (struct findings){.arena = arena};
}

static void count(struct findings *f, enum severity severity)
{
    if (severity == SEVERITY_ERROR)
        f->errors++;
    else
        f->warnings++;
    f->full = f->errors + f->warnings > LIMIT_FINDINGS;
}

static struct finding *scratch(struct findings *f)
{
    if (!f->scratch)
        f->scratch = ARENA_NEW(f->arena, struct finding);
    return f->scratch;
}

struct finding *findings_add(struct findings *f, enum finding_code code, enum severity severity,
                             const char *fmt, ...)
{
    char text[1024]; /* details quote pieces of the input: cut, they are still read */
    struct finding *n;
    va_list ap;

    count(f, severity);
    if (f->full)
        return scratch(f);
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    n = ARENA_NEW(f->arena, struct finding);
    n->code = code;
    n->severity = severity;
    n->detail = arena_str(f->arena, str_from(text));
    if (f->last)
        f->last->next = n;
    else
        f->first = n;
    f->last = n;
    return n;
}

/* "spec.http[0].route" of "/spec/http/0/route". */
static void print_path(struct str pointer, struct buf *out)
{
    struct str rest = str_sub(pointer, 1, pointer.n), part;
    size_t from = out->n;

    while (str_next(&rest, '/', &part)) {
        uint64_t number;

        if (str_uint(part, 0, UINT32_MAX, &number) && out->n > from) {
            buf_printf(out, "[%.*s]", STR_ARG(part));
            continue;
        }
        if (out->n > from)
            buf_addc(out, '.');
        for (size_t i = 0; i < part.n; i++) {
            bool escaped = part.p[i] == '~' && i + 1 < part.n;

            buf_addc(out, !escaped ? part.p[i] : part.p[++i] == '1' ? '/' : '~');
        }
    }
}

void finding_print_text(const struct finding *f, struct buf *out)
{
    bool has_path = str_starts(f->pointer, STR("/spec")) || str_starts(f->pointer, STR("/metadata"));

    buf_printf(out, "WEFT%d ", (int)f->code);
    if (f->severity == SEVERITY_WARNING)
        buf_adds(out, "warning: ");
    buf_add(out, f->detail);
    if (f->object.n) {
        buf_adds(out, " in ");
        buf_add(out, f->object);
    }
    if (has_path) {
        buf_adds(out, f->object.n ? ", " : " at ");
        print_path(f->pointer, out);
    }
    if (f->hint.n) {
        buf_adds(out, ": ");
        buf_add(out, f->hint);
    }
}

void finding_print(const struct finding *f, struct buf *out)
{
    buf_add(out, f->file.n ? f->file : STR("input"));
    if (f->line)
        buf_printf(out, ":%u", f->line);
    if (f->line && f->column)
        buf_printf(out, ":%u", f->column);
    buf_adds(out, ": ");
    finding_print_text(f, out);
}

static void member(struct buf *out, const char *name, struct str text)
{
    if (text.n == 0)
        return;
    buf_printf(out, ",\"%s\":", name);
    buf_json(out, text);
}

static void number(struct buf *out, const char *name, unsigned value)
{
    if (value)
        buf_printf(out, ",\"%s\":%u", name, value);
}

static void finding_json(const struct finding *f, struct buf *out)
{
    buf_printf(out, "{\"code\":\"WEFT%d\",\"severity\":\"%s\"", (int)f->code,
               f->severity == SEVERITY_ERROR ? "error" : "warning");
    member(out, "file", f->file);
    number(out, "line", f->line);
    number(out, "column", f->column);
    number(out, "document", f->document);
    member(out, "object", f->object);
    member(out, "pointer", f->pointer);
    member(out, "detail", f->detail);
    member(out, "hint", f->hint);
    buf_addc(out, '}');
}

void findings_json(const struct findings *f, enum severity severity, struct buf *out)
{
    bool first = true;

    buf_addc(out, '[');
    for (const struct finding *n = f->first; n; n = n->next) {
        if (n->severity != severity)
            continue;
        if (!first)
            buf_addc(out, ',');
        first = false;
        finding_json(n, out);
    }
    buf_addc(out, ']');
}

size_t findings_errors_besides(const struct findings *f, enum finding_code code)
{
    size_t n = f->errors;

    for (const struct finding *x = f->first; x; x = x->next)
        n -= x->code == code && x->severity == SEVERITY_ERROR;
    return n;
}

int findings_err(const struct findings *f, struct err *err)
{
    const struct finding *n = f->first;
    struct buf text;

    while (n && n->severity != SEVERITY_ERROR)
        n = n->next;
    if (!n)
        return err_set(err, ERR_INVALID, "%zu problems", f->errors);
    buf_init(&text, ERR_TEXT_MAX);
    finding_print(n, &text);
    err_set(err, ERR_INVALID, "%.*s", STR_ARG(buf_str(&text)));
    buf_done(&text);
    if (f->errors > 1)
        err_wrap(err, "%zu problems, the first", f->errors);
    return -1;
}
