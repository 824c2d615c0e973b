/* One value that is neither list nor map, by its row: its type, its bounds, its words. */
#include "mesh/base/text.h"
#include "mesh/decode_parts.h"

/* Settings files have text alone; in a document a number stands without quotes. */
static bool is_number(const struct decoder *d, const struct node *n)
{
    return n->kind == NODE_NUMBER || (n->kind == NODE_STRING && !d->m->kind);
}

static struct finding *fail_number(const struct decoder *d, const struct node *n, const char *name, const char *want)
{
    struct finding *x;
    double value;

    if (n->kind != NODE_STRING)
        return decode_fail(d, n, FIND_TYPE, "%s must be %s, not %s", name, want, node_kind_name(n->kind));
    if (!str_double(n->text, &value))
        return decode_fail(d, n, FIND_TYPE, "%s must be %s, not \"%.*s\"", name, want, STR_ARG(n->text));
    x = decode_fail(d, n, FIND_TYPE, "%s must be %s, not a string", name, want);
    x->hint = arena_printf(d->f->arena, "write %.*s without quotes", STR_ARG(n->text));
    return x;
}

bool decode_integer(const struct decoder *d, const struct field *f, const struct node *n,
                           int64_t low, int64_t high, int64_t *out)
{
    const char *name = n->key.n ? arena_str(d->a, n->key).p : "an element";
    int64_t value;

    if (!is_number(d, n)) {
        fail_number(d, n, name, "a whole number");
        return false;
    }
    if (!str_int(n->text, INT64_MIN, INT64_MAX, &value)) {
        decode_fail(d, n, FIND_TYPE, "%s must be a whole number, not \"%.*s\"", name,
                    STR_ARG(n->text));
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
        decode_fail(d, n, FIND_VALUE, "%s must be from %lld to %lld, not %lld", name,
                    (long long)low, (long long)high, (long long)value);
        return false;
    }
    *out = value;
    return true;
}

void decode_double(const struct decoder *d, const struct field *f, const struct node *n,
                          double *out)
{
    double value;

    if (!is_number(d, n)) {
        fail_number(d, n, f->name, "a number");
        return;
    }
    if (!str_double(n->text, &value)) {
        decode_fail(d, n, FIND_TYPE, "%s must be a number", f->name);
        return;
    }
    if ((f->flags & FIELD_BOUNDED) && !(value >= (double)f->min && value <= (double)f->max)) {
        decode_fail(d, n, FIND_VALUE, "%s must be from %lld to %lld, not %.*s", f->name,
                    (long long)f->min, (long long)f->max, STR_ARG(n->text));
        return;
    }
    *out = value;
}

static struct str duration_text(struct arena *a, int64_t ns)
{
    struct buf b;
    struct str s;

    buf_init(&b, 64);
    buf_duration(&b, ns);
    s = arena_str(a, buf_str(&b));
    buf_done(&b);
    return s;
}

void decode_duration(const struct decoder *d, const struct field *f, const struct node *n,
                            int64_t *out)
{
    const int64_t ms = 1000000, second = 1000 * ms;
    int64_t ns;

    if (n->kind != NODE_STRING) {
        decode_fail_type(d, n, field_type_name(FIELD_DURATION))->hint = decode_hint_duration(n, d->f->arena);
        return;
    }
    if (!str_duration(n->text, &ns) || ns < 0) {
        decode_fail(d, n, FIND_VALUE, "%s: \"%.*s\" is not a duration such as \"10s\" or \"1m30s\"",
                    f->name, STR_ARG(n->text))
            ->hint = decode_hint_duration(n, d->f->arena);
        return;
    }
    if (ns == 0 && !(f->flags & FIELD_ZERO)) {
        decode_fail(d, n, FIND_VALUE, "%s must be at least 1ms; leave it out for the default",
                    f->name);
        return;
    }
    if (ns != 0 && (ns < ms || (ns % ms != 0 && !(f->flags & FIELD_FINE)))) {
        decode_fail(d, n, FIND_VALUE, "%s must be a whole number of milliseconds, at least 1ms",
                    f->name);
        return;
    }
    if ((f->flags & FIELD_BOUNDED) && (ns < f->min || ns > f->max)) {
        decode_fail(d, n, FIND_VALUE, "%s must be from %.*s to %.*s", f->name,
                    STR_ARG(duration_text(d->a, f->min)), STR_ARG(duration_text(d->a, f->max)));
        return;
    }
    if ((f->flags & FIELD_WHOLE_SECONDS) && ns % second != 0) {
        decode_fail(d, n, FIND_VALUE, "%s must be a whole number of seconds", f->name);
        return;
    }
    *out = ns;
}

/* What differs in its letters' case alone is read on as what it means, so that checks of the whole do not complain of
 * what would be right. */
static const struct field_value *fail_value(const struct decoder *d, const struct field *f, const struct node *n)
{
    const struct field_value *like = decode_closest_value(f->values, n->text, d->a);
    struct str all = schema_values(f->values, d->a);
    struct finding *x =
        decode_fail(d, n, FIND_VALUE, "%s: \"%.*s\" is not one of its values", f->name, STR_ARG(n->text));

    x->hint = like ? arena_printf(d->f->arena, "did you mean \"%s\"? It takes %.*s", like->name, STR_ARG(all))
                   : arena_printf(d->f->arena, "use %.*s", STR_ARG(all));
    return like && str_eq_nocase(str_from(like->name), n->text) ? like : NULL;
}

static const struct field_value *decode_value(const struct decoder *d, const struct field *f,
                                              const struct node *n)
{
    const struct field_value *v;
    struct str what;

    if (!decode_is(d, n, NODE_STRING, field_type_name(FIELD_STRING)))
        return NULL;
    v = schema_value(f->values, n->text, f->type == FIELD_WORD);
    if (!v)
        return fail_value(d, f, n);
    what = arena_printf(d->f->arena, "%s: %s", f->name, v->name);
    decode_status(d, n, v->status, what, v->reason);
    return v;
}

void decode_string(const struct decoder *d, const struct field *f, const struct node *n,
                          struct str *out)
{
    struct err err;

    if (!decode_is(d, n, NODE_STRING, "a string"))
        return;
    *out = n->text;
    if ((f->flags & FIELD_SECRET) && str_eq(n->text, STR(SCHEMA_REDACTED)))
        decode_fail(d, n, FIND_VALUE, "%s is \"%s\": a secret is not shown again, so what was read back has none",
                    f->name, SCHEMA_REDACTED)
            ->hint = STR("put the secret itself there, or apply the file that it came from");
    else if ((f->flags & FIELD_BOUNDED) && (n->text.n || !(f->flags & FIELD_REQUIRED)) &&
             (n->text.n < (size_t)f->min || n->text.n > (size_t)f->max))
        decode_fail(d, n, FIND_VALUE, "%s has from %lld to %lld bytes, not %zu", f->name,
                    (long long)f->min, (long long)f->max, n->text.n);
    else if (f->check && n->text.n && f->check(n->text, &err))
        decode_fail_check(d, n, &err);
}

void decode_switch(const struct decoder *d, const struct field *f, const struct node *n,
                          bool *out)
{
    if (!decode_is(d, n, NODE_STRING, field_type_name(f->type)))
        return;
    if (!str_eq(n->text, STR("on")) && !str_eq(n->text, STR("off")))
        decode_fail(d, n, FIND_VALUE, "%s must be on or off, not \"%.*s\"", f->name,
                    STR_ARG(n->text));
    *out = str_eq(n->text, STR("on"));
}

void decode_address(const struct decoder *d, const struct field *f, const struct node *n,
                           struct addr *out)
{
    bool good;

    if (!decode_is(d, n, NODE_STRING, field_type_name(f->type)))
        return;
    if ((f->flags & FIELD_MAY_BE_OFF) && str_eq(n->text, STR("off"))) {
        *out = (struct addr){0};
        return;
    }
    good = f->type == FIELD_IP ? addr_parse_ip(n->text, out)
                               : addr_parse(n->text, out) && out->port != 0;
    if (!good)
        decode_fail(d, n, FIND_VALUE, "%s: \"%.*s\" is not %s%s", f->name, STR_ARG(n->text),
                    field_type_name(f->type), f->flags & FIELD_MAY_BE_OFF ? " or off" : "");
}

void decode_bytes(const struct decoder *d, const struct field *f, const struct node *n,
                         struct str *out)
{
    struct buf b;

    if (!decode_is(d, n, NODE_STRING, field_type_name(FIELD_BYTES)))
        return;
    buf_init(&b, n->text.n + 1);
    if (text_unbase64(n->text, &b))
        *out = arena_str(d->a, buf_str(&b));
    else
        decode_fail(d, n, FIND_VALUE, "%s is not base64", f->name);
    buf_done(&b);
}

void decode_number(const struct decoder *d, const struct field *f, const struct node *n,
                          char *at)
{
    int64_t low = f->type == FIELD_INT32 ? INT32_MIN : f->type == FIELD_PORT ? 1 : 0;
    int64_t high = f->type == FIELD_INT32    ? INT32_MAX
                   : f->type == FIELD_UINT32 ? UINT32_MAX
                   : f->type == FIELD_PORT   ? UINT16_MAX
                                             : INT64_MAX;
    int64_t value;

    if (!decode_integer(d, f, n, low, high, &value))
        return;
    if (f->type == FIELD_UINT64)
        *(uint64_t *)(void *)at = (uint64_t)value;
    else if (f->type == FIELD_INT32)
        *(int32_t *)(void *)at = (int32_t)value;
    else if (f->type == FIELD_PORT)
        *(uint16_t *)(void *)at = (uint16_t)value;
    else
        *(uint32_t *)(void *)at = (uint32_t)value;
}

void decode_enum(const struct decoder *d, const struct field *f, const struct node *n,
                        int *at)
{
    const struct field_value *v = decode_value(d, f, n);

    if (v)
        *at = v->status == FIELD_DEPRECATED ? v->alias_of : v->value;
}

void decode_word(const struct decoder *d, const struct field *f, const struct node *n,
                        struct str *at)
{
    const struct field_value *v;

    if (n->kind == NODE_STRING && n->text.n == 0 && !(f->flags & FIELD_REQUIRED))
        return;
    v = decode_value(d, f, n);
    if (v)
        *at = str_from(v->name);
}
