#include <stdarg.h>

#include "mesh/decode_parts.h"

#define DETAIL_MAX 2048

int object_older_first(const struct object *a, const struct object *b)
{
    int64_t p = a->meta.created_ms / 1000, q = b->meta.created_ms / 1000;
    int d;

    if (p != q)
        return p < q ? -1 : 1;
    d = str_cmp(a->meta.name, b->meta.name);
    return d ? d : str_cmp(a->meta.ns, b->meta.ns);
}

struct str object_label(struct arena *a, const struct object_meta *m)
{
    if (!m->kind)
        return STR_NONE;
    if (m->name.n == 0)
        return str_from(m->kind->name);
    if (!m->kind->is_namespaced)
        return arena_printf(a, "%s %.*s", m->kind->name, STR_ARG(m->name));
    return arena_printf(a, "%s %.*s/%.*s", m->kind->name, STR_ARG(m->ns), STR_ARG(m->name));
}

static struct finding *report_v(struct findings *f, const struct object_meta *m,
                                const struct node *at, enum finding_code code,
                                enum severity severity, const char *fmt, va_list ap)
    PRINTF_LIKE(6, 0);

static struct finding *report_v(struct findings *f, const struct object_meta *m,
                                const struct node *at, enum finding_code code,
                                enum severity severity, const char *fmt, va_list ap)
{
    struct finding *x;
    struct buf text;

    buf_init(&text, DETAIL_MAX);
    buf_vprintf(&text, fmt, ap);
    x = findings_add(f, code, severity, "%.*s", STR_ARG(buf_str(&text)));
    buf_done(&text);
    x->file = m->file;
    x->document = m->document;
    x->object = object_label(f->arena, m);
    x->line = at ? at->line : m->line;
    x->column = at ? at->column : m->column;
    x->pointer = at ? node_pointer(f->arena, at) : STR_NONE;
    return x;
}

struct finding *object_report(struct findings *f, const struct object_meta *m,
                              const struct node *at, enum finding_code code, enum severity severity,
                              const char *fmt, ...)
{
    struct finding *x;
    va_list ap;

    va_start(ap, fmt);
    x = report_v(f, m, at, code, severity, fmt, ap);
    va_end(ap);
    return x;
}

struct finding *decode_fail(const struct decoder *d, const struct node *at, enum finding_code code,
                            const char *fmt, ...)
{
    struct finding *x;
    va_list ap;

    va_start(ap, fmt);
    x = report_v(d->f, d->m, at, code, SEVERITY_ERROR, fmt, ap);
    va_end(ap);
    return x;
}

void decode_point_at_key(struct finding *x, const struct node *n)
{
    x->line = n->key_line;
    x->column = n->key_column;
}

void decode_fail_missing(const struct decoder *d, const struct node *parent, const char *name,
                         const char *meaning)
{
    struct finding *x = decode_fail(d, parent, FIND_REQUIRED, "%s is required", name);

    x->pointer = arena_printf(d->f->arena, "%.*s/%s", STR_ARG(x->pointer), name);
    x->hint = str_from(meaning);
}

/* The one place where a status becomes a refusal or a warning. `what` names the field or value. */
void decode_status(const struct decoder *d, const struct node *at, enum field_status status,
                   struct str what, const char *reason)
{
    struct finding *x;

    switch (status) {
    case FIELD_BUILT:
        break;
    case FIELD_NOT_YET:
        x = decode_fail(d, at, FIND_NOT_YET, "%.*s is not supported yet", STR_ARG(what));
        decode_point_at_key(x, at);
        x->hint = str_from(reason);
        break;
    case FIELD_UNSUPPORTED:
        decode_point_at_key(decode_fail(d, at, FIND_UNSUPPORTED, "%.*s is not supported: %s",
                                        STR_ARG(what), reason),
                            at);
        break;
    case FIELD_DEPRECATED:
        decode_point_at_key(object_report(d->f, d->m, at, FIND_WARNING, SEVERITY_WARNING,
                                          "%.*s is deprecated: %s", STR_ARG(what), reason),
                            at);
        break;
    }
}

void decode_fail_check(const struct decoder *d, const struct node *at, const struct err *err)
{
    if (err->code == ERR_UNSUPPORTED)
        decode_fail(d, at, FIND_NOT_YET, "%s is not supported yet", err->text);
    else
        decode_fail(d, at, FIND_VALUE, "%s", err->text);
}

struct finding *decode_fail_type(const struct decoder *d, const struct node *n, const char *want)
{
    const char *what = n->key.n ? arena_str(d->a, n->key).p : n->parent ? "an element" : "a document";

    return decode_fail(d, n, FIND_TYPE, "%s must be %s, not %s", what, want, node_kind_name(n->kind));
}

bool decode_is(const struct decoder *d, const struct node *n, enum node_kind kind, const char *want)
{
    struct finding *x;

    if (n->kind == kind)
        return true;
    x = decode_fail_type(d, n, want);
    if (kind == NODE_STRING)
        x->hint = decode_hint_string(n, d->f->arena);
    return false;
}
