#include "mesh/decode.h"

#include <stdarg.h>
#include <string.h>

#include "mesh/base/json.h"
#include "mesh/base/text.h"
#include "mesh/base/yaml.h"
#include "mesh/kinds/virtual_service.h"
#include "mesh/validate.h"

#define DETAIL_MAX 2048

struct decoder {
    struct arena *a;
    struct findings *f;
    struct object_meta *m;
};

/* ---- findings ---- */

struct str object_label(struct arena *a, const struct object_meta *m)
{
    if (!m->kind)
        return STR_NONE;
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

static struct finding *fail(const struct decoder *d, const struct node *at, enum finding_code code,
                            const char *fmt, ...) PRINTF_LIKE(4, 5);

static struct finding *fail(const struct decoder *d, const struct node *at, enum finding_code code,
                            const char *fmt, ...)
{
    struct finding *x;
    va_list ap;

    va_start(ap, fmt);
    x = report_v(d->f, d->m, at, code, SEVERITY_ERROR, fmt, ap);
    va_end(ap);
    return x;
}

static void point_at_key(struct finding *x, const struct node *n)
{
    x->line = n->key_line;
    x->column = n->key_column;
}

static void fail_missing(const struct decoder *d, const struct node *parent, const char *name,
                         const char *meaning)
{
    struct finding *x = fail(d, parent, FIND_REQUIRED, "%s is required", name);

    x->pointer = arena_printf(d->f->arena, "%.*s/%s", STR_ARG(x->pointer), name);
    x->hint = str_from(meaning);
}

/* The one place where a status becomes a refusal or a warning. `what` names the field or value. */
static void check_status(const struct decoder *d, const struct node *at, enum field_status status,
                         struct str what, const char *reason)
{
    switch (status) {
    case FIELD_BUILT:
        break;
    case FIELD_NOT_YET:
        point_at_key(fail(d, at, FIND_NOT_YET, "%.*s is not supported yet", STR_ARG(what)), at);
        break;
    case FIELD_UNSUPPORTED:
        point_at_key(
            fail(d, at, FIND_UNSUPPORTED, "%.*s is not supported: %s", STR_ARG(what), reason), at);
        break;
    case FIELD_DEPRECATED:
        point_at_key(object_report(d->f, d->m, at, FIND_WARNING, SEVERITY_WARNING,
                                   "%.*s is deprecated: %s", STR_ARG(what), reason),
                     at);
        break;
    }
}

static void fail_check(const struct decoder *d, const struct node *at, const struct err *err)
{
    if (err->code == ERR_UNSUPPORTED)
        fail(d, at, FIND_NOT_YET, "%s is not supported yet", err->text);
    else
        fail(d, at, FIND_VALUE, "%s", err->text);
}

static bool is_kind(const struct decoder *d, const struct node *n, enum node_kind kind,
                    const char *want)
{
    struct finding *x;

    if (n->kind == kind)
        return true;
    x = fail(d, n, FIND_TYPE, "%s must be %s, not %s",
             n->key.n ? arena_str(d->a, n->key).p : "an element", want, node_kind_name(n->kind));
    if (kind == NODE_STRING && (n->kind == NODE_NUMBER || n->kind == NODE_BOOL))
        x->hint = arena_printf(d->f->arena, "write it in quotes: \"%.*s\"", STR_ARG(n->text));
    return false;
}

/* ---- scalars ---- */

static bool decode_integer(const struct decoder *d, const struct field *f, const struct node *n,
                           int64_t low, int64_t high, int64_t *out)
{
    const char *name = n->key.n ? arena_str(d->a, n->key).p : "an element";
    int64_t value;

    /* protobuf's JSON takes whole numbers in quotes too */
    if (n->kind != NODE_NUMBER && n->kind != NODE_STRING) {
        fail(d, n, FIND_TYPE, "%s must be a whole number, not %s", name, node_kind_name(n->kind));
        return false;
    }
    if (!str_int(n->text, INT64_MIN, INT64_MAX, &value)) {
        fail(d, n, FIND_TYPE, "%s must be a whole number, not \"%.*s\"", name, STR_ARG(n->text));
        return false;
    }
    if (f->flags & FIELD_BOUNDED) {
        low = f->min;
        high = f->max;
    }
    if ((f->flags & FIELD_ZERO_IS_DEFAULT) && value == 0) {
        *out = f->def;
        return true;
    }
    if (value < low || value > high) {
        fail(d, n, FIND_VALUE, "%s must be from %lld to %lld, not %lld", name, (long long)low,
             (long long)high, (long long)value);
        return false;
    }
    *out = value;
    return true;
}

static void decode_double(const struct decoder *d, const struct field *f, const struct node *n,
                          double *out)
{
    double value;

    if ((n->kind != NODE_NUMBER && n->kind != NODE_STRING) || !str_double(n->text, &value)) {
        fail(d, n, FIND_TYPE, "%s must be a number", f->name);
        return;
    }
    if ((f->flags & FIELD_BOUNDED) && !(value >= (double)f->min && value <= (double)f->max)) {
        fail(d, n, FIND_VALUE, "%s must be from %lld to %lld, not %.*s", f->name, (long long)f->min,
             (long long)f->max, STR_ARG(n->text));
        return;
    }
    *out = value;
}

static void decode_duration(const struct decoder *d, const struct field *f, const struct node *n,
                            int64_t *out)
{
    const int64_t ms = 1000000, second = 1000 * ms;
    int64_t ns;

    if (!is_kind(d, n, NODE_STRING, field_type_name(FIELD_DURATION)))
        return;
    if (!str_duration(n->text, &ns) || ns < 0) {
        fail(d, n, FIND_VALUE, "%s: \"%.*s\" is not a duration such as \"10s\" or \"1m30s\"",
             f->name, STR_ARG(n->text));
        return;
    }
    if (ns == 0 && !(f->flags & FIELD_ZERO)) {
        fail(d, n, FIND_VALUE, "%s must be at least 1ms; leave it out for the default", f->name);
        return;
    }
    if (ns != 0 && (ns < ms || ns % ms != 0)) {
        fail(d, n, FIND_VALUE, "%s must be a whole number of milliseconds, at least 1ms", f->name);
        return;
    }
    if ((f->flags & FIELD_WHOLE_SECONDS) && ns % second != 0) {
        fail(d, n, FIND_VALUE, "%s must be a whole number of seconds", f->name);
        return;
    }
    *out = ns;
}

static const struct field_value *decode_value(const struct decoder *d, const struct field *f,
                                              const struct node *n)
{
    const struct field_value *v;
    struct str what;

    if (!is_kind(d, n, NODE_STRING, field_type_name(FIELD_STRING)))
        return NULL;
    v = schema_value(f->values, n->text, f->type == FIELD_WORD);
    if (!v) {
        fail(d, n, FIND_VALUE, "%s: \"%.*s\" is not one of its values", f->name, STR_ARG(n->text))
            ->hint = arena_printf(d->f->arena, "use %.*s", STR_ARG(schema_values(f->values, d->a)));
        return NULL;
    }
    what = arena_printf(d->f->arena, "%s: %s", f->name, v->name);
    check_status(d, n, v->status, what, v->reason);
    return v;
}

static void decode_string(const struct decoder *d, const struct field *f, const struct node *n,
                          struct str *out)
{
    struct err err;

    if (!is_kind(d, n, NODE_STRING, "a string"))
        return;
    *out = n->text;
    if (f->check && n->text.n && f->check(n->text, &err))
        fail_check(d, n, &err);
}

static void decode_bytes(const struct decoder *d, const struct field *f, const struct node *n,
                         struct str *out)
{
    struct buf b;

    if (!is_kind(d, n, NODE_STRING, field_type_name(FIELD_BYTES)))
        return;
    buf_init(&b, n->text.n + 1);
    if (text_unbase64(n->text, &b))
        *out = arena_str(d->a, buf_str(&b));
    else
        fail(d, n, FIND_VALUE, "%s is not base64", f->name);
    buf_done(&b);
}

/* ---- StringMatch ---- */

static void decode_match_member(const struct decoder *d, unsigned flags, const struct node *n,
                                struct match_string *out)
{
    struct err err;

    if (!is_kind(d, n, NODE_STRING, "a string"))
        return;
    out->text = n->text;
    if (str_eq(n->key, STR("exact"))) {
        out->kind = MATCH_EXACT;
    } else if (str_eq(n->key, STR("prefix"))) {
        out->kind = MATCH_PREFIX;
        if (n->text.n == 0 && !(flags & FIELD_EMPTY_PREFIX))
            fail(d, n, FIND_VALUE, "prefix must not be empty");
    } else if ((flags & FIELD_PRESENT) && str_eq(n->text, STR("*"))) {
        out->kind = MATCH_PRESENT;
        out->text = STR_NONE;
    } else {
        out->kind = MATCH_REGEX;
        if (n->text.n == 0)
            fail(d, n, FIND_VALUE, "regex must not be empty");
        else if (match_regex_check(n->text, &err))
            fail(d, n, FIND_VALUE, "regex: %s", err.text);
    }
}

static void decode_match(const struct decoder *d, const struct field *f, const struct node *n,
                         struct match_string *out)
{
    size_t given = 0;

    if (!is_kind(d, n, NODE_MAP, field_type_name(FIELD_MATCH)))
        return;
    for (const struct node *c = n->first; c; c = c->next) {
        if (!schema_find(&string_match_schema, c->key)) {
            struct finding *x =
                fail(d, c, FIND_UNKNOWN_FIELD, "unknown field \"%.*s\"", STR_ARG(c->key));

            point_at_key(x, c);
            x->hint = schema_suggest(&string_match_schema, c->key, d->f->arena);
            if (x->hint.n == 0)
                x->hint = STR("use exact, prefix or regex");
            continue;
        }
        if (c->kind == NODE_NULL)
            continue;
        if (given++ == 0)
            decode_match_member(d, f->flags, c, out);
        else
            point_at_key(fail(d, c, FIND_ONEOF, "only one of exact, prefix and regex may be given"),
                         c);
    }
    if (n->count == 0 && (f->flags & FIELD_PRESENT))
        out->kind = MATCH_PRESENT;
    if (given == 0 && f->type == FIELD_MATCHES)
        fail(d, n, FIND_VALUE, "one of exact, prefix and regex is needed");
}

/* ---- maps ---- */

static void decode_labels(const struct decoder *d, const struct field *f, const struct node *n,
                          struct labels *out)
{
    struct err err;

    if (!is_kind(d, n, NODE_MAP, field_type_name(FIELD_LABELS)))
        return;
    out->items = ARENA_ARRAY(d->a, n->count, struct label);
    for (const struct node *c = n->first; c; c = c->next) {
        if (!is_kind(d, c, NODE_STRING, "a string"))
            continue;
        out->items[out->count++] = (struct label){c->key, c->text};
        if (f->flags & FIELD_FREE_KEYS)
            continue;
        if ((f->flags & FIELD_NO_WILDCARD) && (str_has(c->key, '*') || str_has(c->text, '*')))
            fail(d, c, FIND_VALUE, "a selector has no wildcards; leave the label out");
        else if (common_check_label_key(c->key, &err))
            point_at_key(fail(d, c, FIND_VALUE, "%s", err.text), c);
        else if (common_check_label_value(c->text, &err))
            fail(d, c, FIND_VALUE, "%s", err.text);
    }
}

static void check_key(const struct decoder *d, const struct field *f, const struct node *n)
{
    struct err err;

    if (!f->check || f->check(n->key, &err) == 0)
        return;
    if (err.code == ERR_UNSUPPORTED)
        point_at_key(fail(d, n, FIND_NOT_YET, "%s is not supported yet", err.text), n);
    else
        point_at_key(fail(d, n, FIND_VALUE, "%s", err.text), n);
}

static void decode_numbers(const struct decoder *d, const struct field *f, const struct node *n,
                           struct named_number **out, size_t *count)
{
    if (!is_kind(d, n, NODE_MAP, field_type_name(FIELD_NUMBERS)))
        return;
    *out = ARENA_ARRAY(d->a, n->count, struct named_number);
    for (const struct node *c = n->first; c; c = c->next) {
        int64_t value;

        check_key(d, f, c);
        if (decode_integer(d, f, c, 0, UINT32_MAX, &value))
            (*out)[(*count)++] = (struct named_number){c->key, (uint32_t)value};
    }
}

static void decode_match_map(const struct decoder *d, const struct field *f, const struct node *n,
                             struct named_match **out, size_t *count)
{
    if (!is_kind(d, n, NODE_MAP, field_type_name(FIELD_MATCH_MAP)))
        return;
    *out = ARENA_ARRAY(d->a, n->count, struct named_match);
    for (const struct node *c = n->first; c; c = c->next) {
        check_key(d, f, c);
        if (c->kind == NODE_NULL) {
            fail(d, c, FIND_VALUE, "\"%.*s\" has no value; write {} to match any value",
                 STR_ARG(c->key));
            continue;
        }
        (*out)[*count].key = c->key;
        decode_match(d, f, c, &(*out)[(*count)++].value);
    }
}

static void decode_message(const struct decoder *d, const struct schema *s, const struct node *n,
                           void *out);

static void decode_message_map(const struct decoder *d, const struct field *f, const struct node *n,
                               char **out, size_t *count)
{
    size_t size = 8 + f->message->size;

    if (!is_kind(d, n, NODE_MAP, field_type_name(FIELD_MESSAGE_MAP)))
        return;
    *out = arena_array(d->a, n->count, size);
    for (const struct node *c = n->first; c; c = c->next) {
        char *at = *out + *count * size;
        uint64_t key;

        if (!str_uint(c->key, (uint64_t)f->min, (uint64_t)f->max, &key)) {
            point_at_key(fail(d, c, FIND_VALUE, "\"%.*s\" must be a number from %lld to %lld",
                              STR_ARG(c->key), (long long)f->min, (long long)f->max),
                         c);
            continue;
        }
        *(uint32_t *)(void *)at = (uint32_t)key;
        schema_defaults(f->message, at + 8);
        if (c->kind != NODE_NULL)
            decode_message(d, f->message, c, at + 8);
        (*count)++;
    }
}

/* ---- lists ---- */

static size_t element_size(const struct field *f)
{
    switch (f->type) {
    case FIELD_STRINGS:
        return sizeof(struct str);
    case FIELD_UINT32S:
        return sizeof(uint32_t);
    case FIELD_MATCHES:
        return sizeof(struct match_string);
    default:
        return f->message->size;
    }
}

static void decode_element(const struct decoder *d, const struct field *f, const struct node *n,
                           char *at)
{
    int64_t number;

    if (n->kind == NODE_NULL) {
        fail(d, n, FIND_VALUE, "null is not allowed in a list");
        return;
    }
    switch (f->type) {
    case FIELD_STRINGS:
        decode_string(d, f, n, (struct str *)(void *)at);
        if (f->check && n->kind == NODE_STRING && n->text.n == 0)
            fail(d, n, FIND_VALUE, "%s: an empty string is not allowed", f->name);
        break;
    case FIELD_UINT32S:
        if (decode_integer(d, f, n, 0, UINT32_MAX, &number))
            *(uint32_t *)(void *)at = (uint32_t)number;
        break;
    case FIELD_MATCHES:
        decode_match(d, f, n, (struct match_string *)(void *)at);
        break;
    default:
        schema_defaults(f->message, at);
        decode_message(d, f->message, n, at);
    }
}

static void decode_list(const struct decoder *d, const struct field *f, const struct node *n,
                        char **out, size_t *count)
{
    size_t size = element_size(f);

    if (!is_kind(d, n, NODE_LIST, field_type_name(f->type)) || n->count == 0)
        return;
    *out = arena_array(d->a, n->count, size);
    for (const struct node *c = n->first; c; c = c->next)
        decode_element(d, f, c, *out + (*count)++ * size);
}

/* ---- messages ---- */

static void decode_number(const struct decoder *d, const struct field *f, const struct node *n,
                          char *at)
{
    int64_t low = f->type == FIELD_INT32 ? INT32_MIN : 0;
    int64_t high = f->type == FIELD_INT32    ? INT32_MAX
                   : f->type == FIELD_UINT32 ? UINT32_MAX
                                             : INT64_MAX;
    int64_t value;

    if (!decode_integer(d, f, n, low, high, &value))
        return;
    if (f->type == FIELD_UINT64)
        *(uint64_t *)(void *)at = (uint64_t)value;
    else if (f->type == FIELD_INT32)
        *(int32_t *)(void *)at = (int32_t)value;
    else
        *(uint32_t *)(void *)at = (uint32_t)value;
}

static void decode_enum(const struct decoder *d, const struct field *f, const struct node *n,
                        int *at)
{
    const struct field_value *v = decode_value(d, f, n);

    if (v)
        *at = v->status == FIELD_DEPRECATED ? v->alias_of : v->value;
}

static void decode_word(const struct decoder *d, const struct field *f, const struct node *n,
                        struct str *at)
{
    const struct field_value *v;

    if (n->kind == NODE_STRING && n->text.n == 0 && !(f->flags & FIELD_REQUIRED))
        return;
    v = decode_value(d, f, n);
    if (v)
        *at = str_from(v->name);
}

static void decode_pointer(const struct decoder *d, const struct field *f, const struct node *n,
                           void **at)
{
    *at = arena_zalloc(d->a, f->message->size);
    schema_defaults(f->message, *at);
    decode_message(d, f->message, n, *at);
}

static void decode_field(const struct decoder *d, const struct field *f, const struct node *n,
                         char *out)
{
    char *at = out + f->offset;
    size_t *count = (size_t *)(void *)(out + f->count_offset);

    if (f->has_offset)
        *(bool *)(void *)(out + f->has_offset) = true;
    switch (f->type) {
    case FIELD_STRING:
        decode_string(d, f, n, (struct str *)(void *)at);
        break;
    case FIELD_WORD:
        decode_word(d, f, n, (struct str *)(void *)at);
        break;
    case FIELD_BOOL:
        if (is_kind(d, n, NODE_BOOL, "true or false"))
            *(bool *)(void *)at = str_eq(n->text, STR("true"));
        break;
    case FIELD_INT32:
    case FIELD_UINT32:
    case FIELD_UINT64:
        decode_number(d, f, n, at);
        break;
    case FIELD_DOUBLE:
        decode_double(d, f, n, (double *)(void *)at);
        break;
    case FIELD_DURATION:
        decode_duration(d, f, n, (int64_t *)(void *)at);
        break;
    case FIELD_ENUM:
        decode_enum(d, f, n, (int *)(void *)at);
        break;
    case FIELD_BYTES:
        decode_bytes(d, f, n, (struct str *)(void *)at);
        break;
    case FIELD_MATCH:
        decode_match(d, f, n, (struct match_string *)(void *)at);
        break;
    case FIELD_MESSAGE:
        decode_pointer(d, f, n, (void **)(void *)at);
        break;
    case FIELD_EMBED:
        decode_message(d, f->message, n, at);
        break;
    case FIELD_STRINGS:
    case FIELD_UINT32S:
    case FIELD_MATCHES:
    case FIELD_MESSAGES:
        decode_list(d, f, n, (char **)(void *)at, count);
        break;
    case FIELD_LABELS:
        decode_labels(d, f, n, (struct labels *)(void *)at);
        break;
    case FIELD_NUMBERS:
        decode_numbers(d, f, n, (struct named_number **)(void *)at, count);
        break;
    case FIELD_MATCH_MAP:
        decode_match_map(d, f, n, (struct named_match **)(void *)at, count);
        break;
    case FIELD_MESSAGE_MAP:
        decode_message_map(d, f, n, (char **)(void *)at, count);
        break;
    case FIELD_ANY:
        break;
    }
}

static void fail_unknown(const struct decoder *d, const struct schema *s, const struct node *n)
{
    struct finding *x =
        fail(d, n, FIND_UNKNOWN_FIELD, "unknown field \"%.*s\" in %s", STR_ARG(n->key), s->name);

    point_at_key(x, n);
    x->hint = schema_suggest(s, n->key, d->f->arena);
}

static bool is_empty(const struct node *n)
{
    return n->kind == NODE_NULL ||
           ((n->kind == NODE_LIST || n->kind == NODE_MAP) && n->count == 0) ||
           (n->kind == NODE_STRING && n->text.n == 0);
}

static bool counts_as_given(const struct field *f, const struct node *n)
{
    if (!n || n->kind == NODE_NULL)
        return false;
    switch (f->type) {
    case FIELD_STRING:
    case FIELD_WORD:
    case FIELD_STRINGS:
    case FIELD_MESSAGES:
    case FIELD_NUMBERS:
        return !is_empty(n);
    default:
        return true;
    }
}

static void check_required(const struct decoder *d, const struct schema *s, const struct node *n)
{
    for (size_t i = 0; i < s->count; i++) {
        const struct field *f = &s->fields[i];
        const struct node *c = node_get(n, str_from(f->name));

        if ((f->flags & FIELD_REQUIRED) && !counts_as_given(f, c))
            fail_missing(d, c && c->kind != NODE_NULL ? c->parent : n, f->name, f->meaning);
        if ((f->flags & FIELD_NOT_EMPTY) && c && c->kind != NODE_NULL && c->count == 0)
            fail(d, c, FIND_VALUE, "%s must not be empty; leave it out", f->name);
    }
}

/* The second member of a group that is given is the one reported. */
static void check_oneof(const struct decoder *d, const struct schema *s, const struct node *n)
{
    for (const struct node *c = n->first; c; c = c->next) {
        const struct field *f = schema_find(s, c->key);

        if (!f || !f->oneof || !counts_as_given(f, c))
            continue;
        for (const struct node *b = n->first; b != c; b = b->next) {
            const struct field *other = schema_find(s, b->key);

            if (!other || other == f || !other->oneof || strcmp(other->oneof, f->oneof) != 0 ||
                !counts_as_given(other, b))
                continue;
            point_at_key(
                fail(d, c, FIND_ONEOF, "%s and %s cannot both be given", other->name, f->name), c);
            break;
        }
    }
}

static bool is_twin(const struct node *n)
{
    for (const struct node *b = n->parent->first; b != n; b = b->next) {
        if (str_eq(b->key, n->key))
            return true;
    }
    return false;
}

static void decode_member(const struct decoder *d, const struct schema *s, const struct node *n,
                          char *out)
{
    const struct field *f = schema_find(s, n->key);

    if (!f) {
        fail_unknown(d, s, n);
        return;
    }
    if (is_twin(n)) {
        point_at_key(fail(d, n, FIND_DUPLICATE_KEY, "%s is given twice", f->name), n);
        return;
    }
    if (n->kind == NODE_NULL)
        return;
    check_status(d, n, f->status, str_from(f->name), f->reason);
    decode_field(d, f, n, out);
}

static void fill_dependent_defaults(const struct schema *s, char *out)
{
    for (size_t i = 0; i < s->count; i++) {
        const struct field *f = &s->fields[i];
        uint32_t *at = (uint32_t *)(void *)(out + f->offset);

        if (f->default_offset && *at == 0)
            *at = *(uint32_t *)(void *)(out + f->default_offset);
    }
}

/* `out` has its defaults. */
static void decode_message(const struct decoder *d, const struct schema *s, const struct node *n,
                           void *out)
{
    if (!is_kind(d, n, NODE_MAP, "a map"))
        return;
    *(const struct node **)out = n;
    for (const struct node *c = n->first; c; c = c->next)
        decode_member(d, s, c, out);
    check_required(d, s, n);
    check_oneof(d, s, n);
    fill_dependent_defaults(s, out);
    if (s->finish)
        s->finish(out, d->a);
}

/* ---- envelope ---- */

static bool has_version(const struct kind *k, struct str api)
{
    struct str group = STR_NONE, version = api;

    if (!str_cut(&version, '/', &group))
        group = STR_NONE;
    if (!str_eq(group, str_from(k->group)))
        return false;
    for (size_t i = 0; i < COUNT(k->versions) && k->versions[i]; i++) {
        if (str_eq(version, str_from(k->versions[i])))
            return true;
    }
    return false;
}

static const char *api_version(struct arena *a, const struct kind *k)
{
    return k->group[0] ? arena_printf(a, "%s/%s", k->group, k->versions[0]).p : k->versions[0];
}

static void fail_kind(const struct decoder *d, const struct node *n)
{
    const char *why = NULL;
    const char *best = NULL;
    struct finding *x;
    size_t closest = 4;

    switch (kind_refused(n->text, &why)) {
    case KIND_NOT_YET:
        fail(d, n, FIND_NOT_YET, "kind %.*s is not supported yet", STR_ARG(n->text));
        return;
    case KIND_CLUSTER_ONLY:
        fail(d, n, FIND_UNSUPPORTED, "kind %.*s is not supported: %s", STR_ARG(n->text), why)
            ->hint =
            arena_printf(d->f->arena, "pass it by with --skip-kinds %.*s", STR_ARG(n->text));
        return;
    case KIND_UNKNOWN:
        break;
    }
    x = fail(d, n, FIND_ENVELOPE, "unknown kind \"%.*s\"", STR_ARG(n->text));
    for (size_t i = 0; n->text.n < 64 && kind_at(i); i++) {
        size_t distance = str_distance(n->text, str_from(kind_at(i)->name), 3);

        if (distance < closest) {
            closest = distance;
            best = kind_at(i)->name;
        }
    }
    if (best)
        x->hint = arena_printf(d->f->arena, "did you mean \"%s\"?", best);
}

/* NULL with findings if the document is not of a kind that is taken. */
static const struct kind *decode_kind(const struct decoder *d, const struct node *root)
{
    const struct node *api = node_get(root, STR("apiVersion")), *kind = node_get(root, STR("kind"));
    const struct kind *k;

    if (!kind || kind->kind == NODE_NULL || !api || api->kind == NODE_NULL) {
        if (!api || api->kind == NODE_NULL)
            fail_missing(d, root, "apiVersion", "such as networking.istio.io/v1");
        if (!kind || kind->kind == NODE_NULL)
            fail_missing(d, root, "kind", "such as VirtualService");
        return NULL;
    }
    if (!is_kind(d, api, NODE_STRING, "a string") || !is_kind(d, kind, NODE_STRING, "a string"))
        return NULL;
    k = kind_find(kind->text);
    if (!k) {
        fail_kind(d, kind);
        return NULL;
    }
    if (!has_version(k, api->text)) {
        if (str_starts(api->text, STR("gateway.networking.k8s.io/")))
            fail(d, api, FIND_UNSUPPORTED,
                 "the Kubernetes Gateway API is not read; use a Gateway of networking.istio.io and "
                 "a VirtualService");
        else
            fail(d, api, FIND_ENVELOPE, "kind %s is not in \"%.*s\"", k->name, STR_ARG(api->text))
                ->hint = arena_printf(d->f->arena, "write apiVersion: %s", api_version(d->a, k));
        return NULL;
    }
    return k;
}

static void check_annotation(const struct decoder *d, const struct node *n)
{
    if (str_starts(n->key, STR("internal.istio.io/")))
        point_at_key(
            fail(d, n, FIND_VALUE, "annotation %.*s is Istio's own; leave it out", STR_ARG(n->key)),
            n);
    else if (str_eq(n->key, STR("istio.io/dry-run")))
        point_at_key(
            fail(d, n, FIND_VALUE, "annotation istio.io/dry-run is for AuthorizationPolicy only"),
            n);
    else if (str_eq(n->key, STR("proxy.istio.io/config")) ||
             str_eq(n->key, STR("networking.istio.io/exportTo")))
        point_at_key(
            fail(d, n, FIND_NOT_YET, "annotation %.*s is not supported yet", STR_ARG(n->key)), n);
}

static void decode_annotations(const struct decoder *d, const struct node *n)
{
    static const struct field row = {
        .name = "annotations", .type = FIELD_LABELS, .flags = FIELD_FREE_KEYS};

    decode_labels(d, &row, n, &d->m->annotations);
    for (const struct node *c = n->kind == NODE_MAP ? n->first : NULL; c; c = c->next)
        check_annotation(d, c);
}

static void decode_created(const struct decoder *d, const struct node *n)
{
    if (!is_kind(d, n, NODE_STRING, "a time"))
        return;
    if (!text_untime(n->text, &d->m->created_ms))
        fail(d, n, FIND_VALUE, "creationTimestamp is a time such as 2026-01-31T12:00:00Z");
}

static void check_name(const struct decoder *d, const struct node *n, struct str name)
{
    struct err err;

    if (d->m->kind->id == KIND_GATEWAY || d->m->kind->id == KIND_NAMESPACE ||
        d->m->kind->id == KIND_SERVICE) {
        if (common_check_label(name, &err))
            fail(d, n, FIND_ENVELOPE, "%s", err.text);
    } else if (common_check_name(name, &err)) {
        fail(d, n, FIND_ENVELOPE, "%s", err.text);
    }
}

static void decode_metadata_member(const struct decoder *d, const struct node *n)
{
    static const struct str dropped[] = {STR_INIT("uid"),        STR_INIT("resourceVersion"),
                                         STR_INIT("generation"), STR_INIT("managedFields"),
                                         STR_INIT("selfLink"),   STR_INIT("ownerReferences"),
                                         STR_INIT("finalizers")};
    static const struct field labels_row = {.name = "labels", .type = FIELD_LABELS};
    struct err err;

    for (size_t i = 0; i < COUNT(dropped); i++) {
        if (str_eq(n->key, dropped[i]))
            return; /* Kubernetes writes these for itself */
    }
    if (n->kind == NODE_NULL)
        return;
    if (str_eq(n->key, STR("name"))) {
        if (is_kind(d, n, NODE_STRING, "a string") && n->text.n)
            check_name(d, n, n->text);
    } else if (str_eq(n->key, STR("namespace"))) {
        if (is_kind(d, n, NODE_STRING, "a string") && n->text.n &&
            common_check_label(n->text, &err))
            fail(d, n, FIND_ENVELOPE, "%s", err.text);
    } else if (str_eq(n->key, STR("labels"))) {
        decode_labels(d, &labels_row, n, &d->m->labels);
    } else if (str_eq(n->key, STR("annotations"))) {
        decode_annotations(d, n);
    } else if (str_eq(n->key, STR("creationTimestamp"))) {
        decode_created(d, n);
    } else if (str_eq(n->key, STR("generateName"))) {
        point_at_key(
            fail(d, n, FIND_UNSUPPORTED, "generateName is not supported: give the object a name"),
            n);
    } else {
        point_at_key(
            fail(d, n, FIND_UNKNOWN_FIELD, "unknown field \"%.*s\" in metadata", STR_ARG(n->key)),
            n);
    }
}

static void decode_metadata(const struct decoder *d, const struct node *root)
{
    const struct node *meta = node_get(root, STR("metadata"));
    const struct node *name = meta ? node_get(meta, STR("name")) : NULL;

    d->m->name = node_text(root, "metadata.name");
    d->m->ns = d->m->kind->is_namespaced ? node_text(root, "metadata.namespace") : STR_NONE;
    if (d->m->kind->is_namespaced && d->m->ns.n == 0)
        d->m->ns = STR("default");
    if (!meta || meta->kind == NODE_NULL) {
        fail_missing(d, root, "metadata", "a name at least");
        return;
    }
    if (!is_kind(d, meta, NODE_MAP, "a map"))
        return;
    if (!name || is_empty(name))
        fail_missing(d, meta, "name", "the name of the object");
    for (const struct node *c = meta->first; c; c = c->next)
        decode_metadata_member(d, c);
}

static void check_top_level(const struct decoder *d, const struct node *root)
{
    static const struct str known[] = {STR_INIT("apiVersion"), STR_INIT("kind"),
                                       STR_INIT("metadata"), STR_INIT("spec"), STR_INIT("status")};
    /* Kubernetes keeps these of a ServiceAccount outside of any spec. */
    static const struct str account[] = {STR_INIT("secrets"), STR_INIT("imagePullSecrets"),
                                         STR_INIT("automountServiceAccountToken")};

    for (const struct node *c = root->first; c; c = c->next) {
        bool found = false, is_account = false;

        for (size_t i = 0; i < COUNT(known); i++)
            found = found || str_eq(c->key, known[i]);
        for (size_t i = 0; i < COUNT(account); i++)
            is_account = is_account || str_eq(c->key, account[i]);
        if (found)
            continue;
        if (d->m->kind->id == KIND_SERVICE_ACCOUNT && is_account)
            point_at_key(fail(d, c, FIND_UNSUPPORTED,
                              "%.*s is not supported: an account is only a name in an identity "
                              "here; leave it out",
                              STR_ARG(c->key)),
                         c);
        else
            point_at_key(fail(d, c, FIND_UNKNOWN_FIELD,
                              "unknown field \"%.*s\" beside metadata and spec", STR_ARG(c->key)),
                         c);
    }
}

static void *decode_spec(const struct decoder *d, const struct node *root)
{
    const struct schema *s = d->m->kind->spec;
    struct node *spec = node_get(root, STR("spec"));
    void *out;

    if (!s) {
        /* Kubernetes writes spec.finalizers into every Namespace. */
        if (spec && !is_empty(spec) && d->m->kind->id != KIND_NAMESPACE)
            fail(d, spec, FIND_UNKNOWN_FIELD, "kind %s has no spec", d->m->kind->name);
        return NULL;
    }
    out = arena_zalloc(d->a, s->size);
    schema_defaults(s, out);
    if (!spec || spec->kind == NODE_NULL)
        spec = node_new(d->a, NODE_MAP);
    if (!spec->parent) {
        const struct node *meta = node_get(root, STR("metadata"));

        spec->line = meta ? meta->line : root->line;
        spec->column = meta ? meta->column : root->column;
        spec->key = STR("spec");
        spec->key_line = spec->line;
        spec->key_column = spec->column;
    }
    decode_message(d, s, spec, out);
    return out;
}

/* The object as far as it could be read, so that the checks of validate.h can add to the findings;
 * NULL if its kind is not taken. */
static struct object *decode_partly(const struct node *root, struct str file, unsigned document,
                                    struct arena *a, struct findings *f)
{
    struct object *o = ARENA_NEW(a, struct object);
    struct decoder d = {a, f, &o->meta};

    o->node = root;
    o->meta.file = file;
    o->meta.document = document;
    o->meta.line = root->line;
    o->meta.column = root->column;
    if (!is_kind(&d, root, NODE_MAP, "a map with apiVersion, kind, metadata and spec"))
        return NULL;
    o->meta.kind = decode_kind(&d, root);
    if (!o->meta.kind)
        return NULL;
    decode_metadata(&d, root);
    check_top_level(&d, root);
    o->spec = decode_spec(&d, root);
    return o;
}

struct object *decode_object(const struct node *root, struct str file, unsigned document,
                             struct arena *a, struct findings *f)
{
    size_t before = f->errors;
    struct object *o = decode_partly(root, file, document, a, f);

    return f->errors == before ? o : NULL;
}


/* ---- documents ---- */

void object_list_add(struct object_list *list, struct arena *a, struct object *o)
{
    if (list->count == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 16;
        struct object **items = ARENA_ARRAY(a, cap, struct object *);

        if (list->count)
            memcpy(items, list->items, list->count * sizeof(*items));
        list->items = items;
        list->cap = cap;
    }
    list->items[list->count++] = o;
}

static bool is_list(const struct node *root)
{
    return root->kind == NODE_MAP && str_eq(node_text(root, "kind"), STR("List"));
}

static void take_object(const struct node *root, const struct node_document *doc, struct arena *a,
                        struct object_list *out, struct findings *f)
{
    size_t before = f->errors;
    struct object *o = decode_partly(root, doc->file, doc->number, a, f);

    if (o)
        validate_object(o, f);
    if (o && f->errors == before)
        object_list_add(out, a, o);
}

static void take_list(const struct node_document *doc, struct arena *a, struct object_list *out,
                      struct findings *f)
{
    struct object_meta m = {.file = doc->file,
                            .document = doc->number,
                            .line = doc->root->line,
                            .column = doc->root->column};
    struct decoder d = {a, f, &m};
    const struct node *items = node_get(doc->root, STR("items"));

    if (!str_eq(node_text(doc->root, "apiVersion"), STR("v1")))
        fail(&d, doc->root, FIND_ENVELOPE, "a List has apiVersion: v1");
    for (const struct node *c = doc->root->first; c; c = c->next) {
        if (!str_eq(c->key, STR("apiVersion")) && !str_eq(c->key, STR("kind")) &&
            !str_eq(c->key, STR("metadata")) && !str_eq(c->key, STR("items")))
            point_at_key(fail(&d, c, FIND_UNKNOWN_FIELD, "unknown field \"%.*s\" in a List",
                              STR_ARG(c->key)),
                         c);
    }
    if (!items || items->kind == NODE_NULL || !is_kind(&d, items, NODE_LIST, "a list of documents"))
        return;
    for (const struct node *c = items->first; c; c = c->next)
        take_object(c, doc, a, out, f);
}

static bool looks_like_json(struct str text)
{
    text = str_trim(text);
    return text.n && (text.p[0] == '{' || text.p[0] == '[');
}

int documents_parse(struct str text, struct str file, enum syntax syntax, struct arena *a,
                    struct object_list *out, struct findings *f)
{
    struct node_document *docs = NULL, single = {.file = file, .number = 1, .length = text.n};
    size_t before = f->errors;

    if (syntax == SYNTAX_JSON || (syntax == SYNTAX_AUTO && looks_like_json(text))) {
        if (json_parse(text, file, a, &single.root, f))
            return -1;
        docs = &single;
    } else if (yaml_parse(text, file, a, &docs, f)) {
        return -1;
    }
    for (const struct node_document *doc = docs; doc; doc = doc->next) {
        if (is_list(doc->root))
            take_list(doc, a, out, f);
        else
            take_object(doc->root, doc, a, out, f);
    }
    return f->errors == before ? 0 : -1;
}
