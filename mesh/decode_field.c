#include <string.h>

#include "mesh/base/limits.h"
#include "mesh/decode_parts.h"
#include "mesh/kinds/virtual_service.h"

#define LABEL_VALUE_MAX 63u

/* ---- StringMatch ---- */

/* In a list, what matches only the empty string is a slip. */
static void decode_match_member(const struct decoder *d, const struct field *f, const struct node *n,
                                struct match_string *out)
{
    unsigned flags = f->flags;
    struct err err;

    if (!decode_is(d, n, NODE_STRING, "a string"))
        return;
    out->text = n->text;
    if (str_eq(n->key, STR("exact"))) {
        out->kind = MATCH_EXACT;
        if (n->text.n == 0 && f->type == FIELD_MATCHES)
            decode_fail(d, n, FIND_VALUE, "exact must not be empty here");
    } else if (str_eq(n->key, STR("prefix"))) {
        out->kind = MATCH_PREFIX;
        if (n->text.n == 0 && !(flags & FIELD_EMPTY_PREFIX))
            decode_fail(d, n, FIND_VALUE, "prefix must not be empty");
    } else if ((flags & FIELD_STAR) && str_eq(n->text, STR("*"))) {
        out->kind = MATCH_PRESENT;
        out->text = STR_NONE;
    } else {
        out->kind = MATCH_REGEX;
        if (n->text.n == 0)
            decode_fail(d, n, FIND_VALUE, "regex must not be empty");
        else if (match_regex_check(n->text, &err))
            decode_fail(d, n, FIND_VALUE, "regex: %s", err.text);
    }
}

static void decode_match(const struct decoder *d, const struct field *f, const struct node *n,
                         struct match_string *out)
{
    size_t given = 0;

    if (n->kind != NODE_MAP) {
        decode_fail_type(d, n, field_type_name(FIELD_MATCH))->hint = decode_hint_match(n, d->f->arena);
        return;
    }
    for (const struct node *c = n->first; c; c = c->next) {
        if (!schema_find(&string_match_schema, c->key)) {
            struct finding *x =
                decode_fail(d, c, FIND_UNKNOWN_FIELD, "unknown field \"%.*s\"", STR_ARG(c->key));

            decode_point_at_key(x, c);
            x->hint = schema_suggest(&string_match_schema, c->key, d->f->arena);
            if (x->hint.n == 0)
                x->hint = STR("use exact, prefix or regex");
            continue;
        }
        if (c->kind == NODE_NULL)
            continue;
        if (given++ == 0)
            decode_match_member(d, f, c, out);
        else
            decode_point_at_key(
                decode_fail(d, c, FIND_ONEOF, "only one of exact, prefix and regex may be given"),
                c);
    }
    if (n->count == 0 && (f->flags & FIELD_PRESENT))
        out->kind = MATCH_PRESENT;
    if (given == 0 && f->type == FIELD_MATCHES)
        decode_fail(d, n, FIND_VALUE, "one of exact, prefix and regex is needed");
}

/* ---- maps ---- */

/* A label that a selector asks for. Like Istio it may ask for one that nothing can carry; then it selects nothing. */
static void check_selected(const struct decoder *d, const struct field *f, const struct node *n)
{
    bool is_strict = f->flags & FIELD_NO_WILDCARD;
    struct err err;

    if (is_strict && (str_has(n->key, '*') || str_has(n->text, '*')))
        decode_fail(d, n, FIND_VALUE, "a selector has no wildcards; leave the label out");
    else if (is_strict && n->key.n == 0)
        decode_point_at_key(decode_fail(d, n, FIND_VALUE, "the key of a label is empty"), n);
    else if (is_strict && n->text.n > LABEL_VALUE_MAX)
        decode_fail(d, n, FIND_VALUE, "the value of a label has at most %u characters, not %zu", LABEL_VALUE_MAX, n->text.n);
    else if (common_check_istio_label(n->key, n->text, &err))
        object_report(d->f, d->m, n, FIND_WARNING, SEVERITY_WARNING, "%s: nothing has it, so nothing is selected", err.text);
}

void decode_labels(const struct decoder *d, const struct field *f, const struct node *n,
                   struct labels *out)
{
    struct err err;

    if (n->kind != NODE_MAP) {
        decode_fail_type(d, n, field_type_name(FIELD_LABELS))->hint = decode_hint_labels(n, d->f->arena);
        return;
    }
    out->items = ARENA_ARRAY(d->a, n->count, struct label);
    for (const struct node *c = n->first; c; c = c->next) {
        if (c->kind == NODE_MAP) {
            decode_fail_type(d, c, "a string")->hint =
                arena_printf(d->f->arena, "write its members without \"%.*s\"", STR_ARG(c->key));
            continue;
        }
        if (!decode_is(d, c, NODE_STRING, "a string"))
            continue;
        out->items[out->count++] = (struct label){c->key, c->text};
        if (f->flags & FIELD_FREE_KEYS)
            continue;
        if (f->flags & FIELD_SELECTOR)
            check_selected(d, f, c);
        else if (f->flags & FIELD_ISTIO_LABELS ? common_check_istio_label(c->key, c->text, &err)
                                               : common_check_label_key(c->key, &err))
            decode_point_at_key(decode_fail(d, c, FIND_VALUE, "%s", err.text), c);
        else if (!(f->flags & FIELD_ISTIO_LABELS) && common_check_label_value(c->text, &err))
            decode_fail(d, c, FIND_VALUE, "%s", err.text);
    }
}

static void check_key(const struct decoder *d, const struct field *f, const struct node *n)
{
    struct err err;

    if (!f->check || f->check(n->key, &err) == 0)
        return;
    if (err.code == ERR_UNSUPPORTED)
        decode_point_at_key(decode_fail(d, n, FIND_NOT_YET, "%s is not supported yet", err.text),
                            n);
    else
        decode_point_at_key(decode_fail(d, n, FIND_VALUE, "%s", err.text), n);
}

static void decode_numbers(const struct decoder *d, const struct field *f, const struct node *n,
                           struct named_number **out, size_t *count)
{
    if (!decode_is(d, n, NODE_MAP, field_type_name(FIELD_NUMBERS)))
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
    if (!decode_is(d, n, NODE_MAP, field_type_name(FIELD_MATCH_MAP)))
        return;
    *out = ARENA_ARRAY(d->a, n->count, struct named_match);
    for (const struct node *c = n->first; c; c = c->next) {
        check_key(d, f, c);
        if (c->kind == NODE_NULL) {
            decode_fail(d, c, FIND_VALUE, "\"%.*s\" has no value; write {} to match any value",
                        STR_ARG(c->key));
            continue;
        }
        (*out)[*count].key = c->key;
        decode_match(d, f, c, &(*out)[(*count)++].value);
    }
}

static void decode_message_map(const struct decoder *d, const struct field *f, const struct node *n,
                               char **out, size_t *count)
{
    size_t size = 8 + f->message->size;

    if (!decode_is(d, n, NODE_MAP, field_type_name(FIELD_MESSAGE_MAP)))
        return;
    *out = arena_array(d->a, n->count, size);
    for (const struct node *c = n->first; c; c = c->next) {
        char *at = *out + *count * size;
        uint64_t key;

        if (!str_uint(c->key, (uint64_t)f->min, (uint64_t)f->max, &key)) {
            decode_point_at_key(decode_fail(d, c, FIND_VALUE,
                                            "\"%.*s\" must be a number from %lld to %lld",
                                            STR_ARG(c->key), (long long)f->min, (long long)f->max),
                                c);
            continue;
        }
        *(uint32_t *)(void *)at = (uint32_t)key;
        schema_defaults(f->message, at + 8);
        if (c->kind == NODE_NULL || decode_message(d, f->message, c, at + 8))
            (*count)++;
    }
}

static void decode_named_messages(const struct decoder *d, const struct field *f,
                                  const struct node *n, char **out, size_t *count)
{
    size_t size = sizeof(struct str) + f->message->size;

    if (!decode_is(d, n, NODE_MAP, field_type_name(f->type)))
        return;
    *out = arena_array(d->a, n->count, size);
    for (const struct node *c = n->first; c; c = c->next) {
        char *at = *out + *count * size;

        check_key(d, f, c);
        *(struct str *)(void *)at = c->key;
        schema_defaults(f->message, at + sizeof(struct str));
        if (c->kind == NODE_NULL || decode_message(d, f->message, c, at + sizeof(struct str)))
            (*count)++;
    }
}

static void check_count(const struct decoder *d, const struct field *f, const struct node *n)
{
    if (f->most && n->count > f->most)
        decode_fail(d, n, FIND_VALUE, "%s has at most %zu elements, not %zu", f->name, f->most,
                    n->count);
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

/* False: a message that was not read; checks would take it for an empty one. */
static bool decode_element(const struct decoder *d, const struct field *f, const struct node *n,
                           char *at)
{
    int64_t number;

    if (n->kind == NODE_NULL) {
        decode_fail(d, n, FIND_VALUE, "null is not allowed in a list");
        return false;
    }
    switch (f->type) {
    case FIELD_STRINGS:
        decode_string(d, f, n, (struct str *)(void *)at);
        if (f->check && n->kind == NODE_STRING && n->text.n == 0)
            decode_fail(d, n, FIND_VALUE, "%s: an empty string is not allowed", f->name);
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
        return decode_message(d, f->message, n, at);
    }
    return true;
}

static void decode_list(const struct decoder *d, const struct field *f, const struct node *n,
                        char **out, size_t *count)
{
    size_t size = element_size(f);

    if (n->kind != NODE_LIST) {
        decode_fail_type(d, n, field_type_name(f->type))->hint = decode_hint_list(d, f, n);
        return;
    }
    if (n->count == 0)
        return;
    *out = arena_array(d->a, n->count, size);
    for (const struct node *c = n->first; c; c = c->next)
        *count += decode_element(d, f, c, *out + *count * size);
}

/* ---- messages ---- */

static void decode_pointer(const struct decoder *d, const struct field *f, const struct node *n,
                           void **at)
{
    *at = arena_zalloc(d->a, f->message->size);
    schema_defaults(f->message, *at);
    if (!decode_message(d, f->message, n, *at))
        *at = NULL;
}

/* What is kept as it is must fit into a line of INI. */
static void check_numbers(const struct decoder *d, const struct node *n)
{
    if (n->kind == NODE_NUMBER && n->text.n > LIMIT_NUMBER_BYTES)
        decode_fail(d, n, FIND_LIMIT, "a number may have at most %u characters; write it in quotes",
                    LIMIT_NUMBER_BYTES);
    for (const struct node *c = n->first; c; c = c->next)
        check_numbers(d, c);
}

static void decode_field(const struct decoder *d, const struct field *f, const struct node *n,
                         char *out)
{
    char *at = out + f->offset;
    size_t *count = (size_t *)(void *)(out + f->count_offset);
    struct str text = STR_NONE;

    if (f->has_offset)
        *(bool *)(void *)(out + f->has_offset) = true;
    check_count(d, f, n);
    switch (f->type) {
    case FIELD_STRING:
        decode_string(d, f, n, (struct str *)(void *)at);
        break;
    case FIELD_WORD:
        decode_word(d, f, n, (struct str *)(void *)at);
        break;
    case FIELD_BOOL:
        if (decode_is(d, n, NODE_BOOL, "true or false"))
            *(bool *)(void *)at = str_eq(n->text, STR("true"));
        break;
    case FIELD_INT32:
    case FIELD_UINT32:
    case FIELD_UINT64:
    case FIELD_PORT:
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
    case FIELD_NAMED_MESSAGES:
        decode_named_messages(d, f, n, (char **)(void *)at, count);
        break;
    case FIELD_OBJECT:
        if (decode_is(d, n, NODE_MAP, "a map")) {
            check_numbers(d, n);
            *(const struct node **)(void *)at = n;
        }
        break;
    case FIELD_SWITCH:
        decode_switch(d, f, n, (bool *)(void *)at);
        break;
    case FIELD_TEXT:
        decode_string(d, f, n, &text);
        *(const char **)(void *)at = arena_str(d->a, text).p;
        break;
    case FIELD_IP:
    case FIELD_ADDRESS:
        decode_address(d, f, n, (struct addr *)(void *)at);
        break;
    case FIELD_ANY:
        break;
    }
}

static void fail_unknown(const struct decoder *d, const struct schema *s, const struct node *n)
{
    bool is_spec = d->m->kind && s == d->m->kind->spec; /* the object is named anyway */
    struct finding *x = decode_fail(d, n, FIND_UNKNOWN_FIELD, "unknown field \"%.*s\"%s%s", STR_ARG(n->key),
                                    is_spec ? "" : " in ", is_spec ? "" : s->name);

    decode_point_at_key(x, n);
    x->hint = decode_hint_unknown(d, s, n->key);
}

bool decode_is_empty(const struct node *n)
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
    case FIELD_TEXT:
    case FIELD_WORD:
    case FIELD_STRINGS:
    case FIELD_MESSAGES:
    case FIELD_NUMBERS:
        return !decode_is_empty(n);
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
            decode_fail_missing(d, c && c->kind != NODE_NULL ? c->parent : n, f->name, f->meaning);
        if ((f->flags & FIELD_NOT_EMPTY) && c && c->kind != NODE_NULL && c->count == 0)
            decode_fail(d, c, FIND_VALUE, "%s must not be empty; leave it out", f->name);
    }
}

/* The second member of a group that is given is the one reported. An empty one is given, too: so Istio's CRDs count. */
static void check_oneof(const struct decoder *d, const struct schema *s, const struct node *n)
{
    for (const struct node *c = n->first; c; c = c->next) {
        const struct field *f = schema_find(s, c->key);

        if (!f || !f->oneof || c->kind == NODE_NULL)
            continue;
        for (const struct node *b = n->first; b != c; b = b->next) {
            const struct field *other = schema_find(s, b->key);

            if (!other || other == f || !other->oneof || strcmp(other->oneof, f->oneof) != 0 ||
                b->kind == NODE_NULL)
                continue;
            decode_point_at_key(decode_fail(d, c, FIND_ONEOF, "%s and %s cannot both be given",
                                            other->name, f->name),
                                c);
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
        decode_point_at_key(decode_fail(d, n, FIND_DUPLICATE_KEY, "%s is given twice", f->name), n);
        return;
    }
    if (n->kind == NODE_NULL)
        return;
    decode_status(d, n, f->status, str_from(f->name), f->reason);
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
bool decode_message(const struct decoder *d, const struct schema *s, const struct node *n,
                    void *out)
{
    if (n->kind != NODE_MAP) {
        decode_fail_type(d, n, "a map")->hint = decode_hint_message(d, s, n);
        return false;
    }
    *(const struct node **)out = n;
    for (const struct node *c = n->first; c; c = c->next)
        decode_member(d, s, c, out);
    check_required(d, s, n);
    check_oneof(d, s, n);
    fill_dependent_defaults(s, out);
    if (s->finish)
        s->finish(out, d->a);
    return true;
}
