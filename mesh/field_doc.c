#include "mesh/field_doc.h"

#include "mesh/base/buf.h"
#include "mesh/kinds/common.h"

#define TEXT_BYTES 8192

const struct schema *field_members(const struct field *f)
{
    switch (f->type) {
    case FIELD_MATCH:
    case FIELD_MATCHES:
    case FIELD_MATCH_MAP:
        return &string_match_schema;
    default:
        return f->message;
    }
}

const char *field_status_words(enum field_status status)
{
    static const char *const words[] = {
        [FIELD_BUILT] = "works",
        [FIELD_NOT_YET] = "not supported yet",
        [FIELD_UNSUPPORTED] = "not supported",
        [FIELD_DEPRECATED] = "deprecated",
    };

    return words[status];
}

struct str field_type_words(const struct field *f, struct arena *a)
{
    static const char *const plain[] = {
        [FIELD_STRING] = "string",
        [FIELD_WORD] = "word",
        [FIELD_BOOL] = "bool",
        [FIELD_INT32] = "int32",
        [FIELD_UINT32] = "uint32",
        [FIELD_UINT64] = "uint64",
        [FIELD_DOUBLE] = "double",
        [FIELD_DURATION] = "duration",
        [FIELD_ENUM] = "enum",
        [FIELD_BYTES] = "bytes in base64",
        [FIELD_STRINGS] = "list of string",
        [FIELD_UINT32S] = "list of uint32",
        [FIELD_LABELS] = "map<string,string>",
        [FIELD_NUMBERS] = "map<string,uint32>",
        [FIELD_OBJECT] = "map of anything",
        [FIELD_SWITCH] = "on or off",
        [FIELD_PORT] = "port",
        [FIELD_TEXT] = "text",
        [FIELD_IP] = "IP address",
        [FIELD_ADDRESS] = "IP:PORT",
        [FIELD_ANY] = "anything",
    };
    const struct schema *m = field_members(f);

    switch (f->type) {
    case FIELD_MESSAGE:
    case FIELD_EMBED:
    case FIELD_MATCH:
        return str_from(m->name);
    case FIELD_MESSAGES:
    case FIELD_MATCHES:
        return arena_printf(a, "list of %s", m->name);
    case FIELD_NAMED_MESSAGES:
    case FIELD_MATCH_MAP:
        return arena_printf(a, "map<string,%s>", m->name);
    case FIELD_MESSAGE_MAP:
        return arena_printf(a, "map<uint32,%s>", m->name);
    default:
        return str_from(plain[f->type]);
    }
}

struct str field_default_words(const struct field *f, struct arena *a)
{
    struct str text = schema_default(f, a);

    return f->type == FIELD_BOOL && !f->def ? STR("false") : text;
}

static void sentence(struct buf *b)
{
    if (b->n > 0)
        buf_addc(b, ' ');
}

static void add_bounds(const struct field *f, struct buf *b)
{
    bool is_text = f->type == FIELD_STRING || f->type == FIELD_STRINGS;

    if (!(f->flags & FIELD_BOUNDED))
        return;
    sentence(b);
    if (f->max >= INT32_MAX && f->max != UINT32_MAX)
        buf_printf(b, "At least %lld", (long long)f->min);
    else
        buf_printf(b, "%lld to %lld", (long long)f->min, (long long)f->max);
    buf_adds(b, is_text ? " bytes." : ".");
}

static void add_duration(const struct field *f, struct buf *b)
{
    if (f->type != FIELD_DURATION)
        return;
    sentence(b);
    buf_adds(b, f->flags & FIELD_ZERO ? "0s or at least 1ms" : "At least 1ms");
    buf_adds(b, f->flags & FIELD_WHOLE_SECONDS ? ", whole seconds." : ".");
}

static void add_values(const struct field *f, struct buf *b)
{
    if (!f->values)
        return;
    sentence(b);
    buf_adds(b, "Values: ");
    for (const struct field_value *v = f->values; v->name; v++) {
        buf_printf(b, "%s%s", v == f->values ? "" : ", ", v->name);
        if (v->status != FIELD_BUILT)
            buf_printf(b, " (%s%s%s)", field_status_words(v->status), v->reason ? ": " : "",
                       v->reason ? v->reason : "");
    }
    buf_addc(b, '.');
}

static void add_group(const struct schema *s, const struct field *f, struct buf *b)
{
    size_t n = 0;

    for (size_t i = 0; f->oneof && i < s->count; i++) {
        const struct field *other = &s->fields[i];

        if (other == f || !other->oneof || !str_eq(str_from(other->oneof), str_from(f->oneof)))
            continue;
        if (n == 0)
            sentence(b);
        buf_printf(b, "%s%s", n++ ? ", " : "Not together with ", other->name);
    }
    if (n > 0)
        buf_addc(b, '.');
}

struct str field_rules(const struct schema *s, const struct field *f, struct arena *a)
{
    struct str text;
    struct buf b;

    buf_init(&b, TEXT_BYTES);
    if (f->flags & FIELD_REQUIRED)
        buf_adds(&b, "Required.");
    add_bounds(f, &b);
    add_duration(f, &b);
    if (f->most) {
        sentence(&b);
        buf_printf(&b, "At most %zu.", f->most);
    }
    if (f->flags & FIELD_NOT_EMPTY) {
        sentence(&b);
        buf_adds(&b, "Not empty.");
    }
    add_values(f, &b);
    add_group(s, f, &b);
    if (f->partly) {
        sentence(&b);
        buf_printf(&b, "Not supported yet: %s.", f->partly);
    }
    if (f->reason) {
        sentence(&b);
        buf_printf(&b, "%s: %s.", f->status == FIELD_DEPRECATED ? "Deprecated" : "Not supported",
                   f->reason);
    }
    text = arena_str(a, buf_str(&b));
    buf_done(&b);
    return text;
}

/* ---- places ---- */

/* "http[0]" is http. */
static struct str without_index(struct str part)
{
    for (size_t i = 0; i < part.n; i++) {
        if (part.p[i] == '[')
            return str_sub(part, 0, i);
    }
    return part;
}

static bool is_map(const struct field *f)
{
    return f->type == FIELD_MATCH_MAP || f->type == FIELD_MESSAGE_MAP ||
           f->type == FIELD_NAMED_MESSAGES;
}

static int no_member(const struct field_place *p, const struct schema *s, struct str part,
                     struct arena *a, struct err *err)
{
    struct str hint = s ? schema_suggest(s, part, a) : STR_NONE;

    if (!s)
        return err_set(err, ERR_MISSING, "%.*s has no members", STR_ARG(p->path));
    return err_set(err, ERR_MISSING, "%.*s has no member \"%.*s\"%s%.*s", STR_ARG(p->path),
                   STR_ARG(part), hint.n ? "; " : "", STR_ARG(hint));
}

static int no_kind(struct str name, struct err *err)
{
    const struct kind *meant = kind_closest(name);

    if (meant)
        return err_set(err, ERR_MISSING, "there is no kind \"%.*s\"; did you mean \"%s\"?",
                       STR_ARG(name), meant->singular);
    return err_set(err, ERR_MISSING, "there is no kind \"%.*s\"; weft explain-field lists them",
                   STR_ARG(name));
}

const struct schema *field_place_members(const struct field_place *p)
{
    return p->field ? field_members(p->field) : p->kind->spec;
}

int field_place_find(struct str path, struct arena *a, struct field_place *out, struct err *err)
{
    struct str rest = path, part = STR_NONE;
    bool key_gone = false, first = true;

    *out = (struct field_place){0};
    (void)str_next(&rest, '.', &part); /* an empty path is an unknown kind */
    out->kind = kind_find_any(part);
    if (!out->kind)
        return no_kind(part, err);
    out->path = arena_printf(a, "%s.spec", out->kind->name);
    for (; str_next(&rest, '.', &part); first = false) {
        const struct schema *s = field_place_members(out);
        const struct field *f;

        part = without_index(part);
        if (first && str_eq(part, STR("spec")))
            continue;
        f = s ? schema_find(s, part) : NULL;
        if (!f && out->field && is_map(out->field) && !key_gone) {
            key_gone = true;
            continue;
        }
        if (!f)
            return no_member(out, s, part, a, err);
        out->in = s;
        out->field = f;
        out->path = arena_printf(a, "%.*s.%s", STR_ARG(out->path), f->name);
        key_gone = false;
    }
    return 0;
}
