/* What was probably meant where a document has something else: texts for the hint of a finding. All of it comes from the
 * tables; no field is known here by name. */
#include "mesh/decode_parts.h"

#include "mesh/base/text.h"

#define NAMED_MAX  8 /* fields that a hint names */
#define NESTED_MAX 4 /* levels that are searched for a field */
#define QUOTED_MAX 60

static const char *const dots[] = {"", "..."};

static bool is_usable(const struct field *f)
{
    return f->status == FIELD_BUILT;
}

static bool is_scalar(const struct node *n)
{
    return n->kind == NODE_STRING || n->kind == NODE_NUMBER || n->kind == NODE_BOOL;
}

/* ---- something stands where a message should ---- */

static bool takes_text(const struct field *f, const struct node *n)
{
    switch (f->type) {
    case FIELD_STRING:
    case FIELD_WORD:
        return n->kind == NODE_STRING;
    case FIELD_INT32:
    case FIELD_UINT32:
    case FIELD_UINT64:
    case FIELD_DOUBLE:
        return n->kind == NODE_NUMBER;
    case FIELD_BOOL:
        return n->kind == NODE_BOOL;
    default:
        return false;
    }
}

/* The field whose value this scalar is: one of its words, else what is required, else the first of all. */
static const struct field *field_for(const struct schema *s, const struct node *n, struct str *value)
{
    *value = n->text;
    for (size_t i = 0; i < s->count; i++) {
        const struct field *f = &s->fields[i];
        const struct field_value *v = f->type == FIELD_ENUM ? schema_value(f->values, n->text, true) : NULL;

        if (v && is_usable(f)) {
            *value = str_from(v->name);
            return f;
        }
    }
    for (size_t i = 0; i < s->count; i++) {
        if ((s->fields[i].flags & FIELD_REQUIRED) && takes_text(&s->fields[i], n))
            return &s->fields[i];
    }
    return s->count && is_usable(&s->fields[0]) && takes_text(&s->fields[0], n) ? &s->fields[0] : NULL;
}

static struct str names_of(const struct schema *s, struct arena *a)
{
    struct buf b;
    struct str out;
    size_t named = 0;

    buf_init(&b, 4096);
    for (size_t i = 0; i < s->count && named <= NAMED_MAX; i++) {
        if (!is_usable(&s->fields[i]))
            continue;
        if (named == NAMED_MAX)
            buf_adds(&b, ", ...");
        else
            buf_printf(&b, "%s%s", named ? ", " : "", s->fields[i].name);
        named++;
    }
    out = arena_str(a, buf_str(&b));
    buf_done(&b);
    return out;
}

static bool is_ini(const struct decoder *d)
{
    return str_ends(d->m->file, STR(".ini"));
}

struct str decode_hint_message(const struct decoder *d, const struct schema *s, const struct node *n)
{
    struct arena *a = d->f->arena;
    const struct field *f;
    struct str value;

    if (n->kind == NODE_LIST)
        return n->count == 1 ? STR("one is meant, not a list: take the dash or the brackets away")
                             : STR("one is meant, not a list");
    f = is_scalar(n) ? field_for(s, n, &value) : NULL;
    if (f && is_ini(d) && n->key.n)
        return arena_printf(a, "write %.*s.%s = %.*s", STR_ARG(n->key), f->name, STR_ARG(value));
    if (f)
        return arena_printf(a, "write {%s: %.*s}", f->name, STR_ARG(value));
    return arena_printf(a, "its fields are %.*s", STR_ARG(names_of(s, a)));
}

/* ---- lists, maps and strings ---- */

static struct str quoted(struct str s, struct arena *a)
{
    return arena_printf(a, "%.*s%s", (int)MIN(s.n, QUOTED_MAX), s.p, dots[s.n > QUOTED_MAX]);
}

/* Of a list of messages its one field, too. */
struct str decode_hint_list(const struct decoder *d, const struct field *f, const struct node *n)
{
    struct arena *a = d->f->arena;
    struct str value;
    const struct field *member = f->message && is_scalar(n) ? field_for(f->message, n, &value) : NULL;

    if (is_ini(d))
        return arena_printf(a, "a section [.%.*s] begins each of its elements", STR_ARG(n->key));
    if (member)
        return arena_printf(a, "write [{%s: %.*s}]", member->name, STR_ARG(quoted(value, a)));
    if (is_scalar(n) && !f->message)
        return arena_printf(a, "write [%.*s]", STR_ARG(quoted(n->text, a)));
    return STR("a list is meant: its first line begins with \"- \"");
}

struct str decode_hint_labels(const struct node *n, struct arena *a)
{
    struct str value = n->text, key;

    if (n->kind == NODE_LIST)
        return STR("take the dashes away: each line is a name and a value");
    if (n->kind == NODE_STRING && (str_cut(&value, '=', &key) || str_cut(&value, ':', &key)))
        return arena_printf(a, "write {%.*s: %.*s}", STR_ARG(quoted(str_trim(key), a)), STR_ARG(quoted(str_trim(value), a)));
    return STR("write {NAME: VALUE}");
}

struct str decode_hint_match(const struct node *n, struct arena *a)
{
    if (is_scalar(n))
        return arena_printf(a, "write {exact: %.*s}, or prefix or regex", STR_ARG(quoted(n->text, a)));
    return STR("write {exact: VALUE}, or prefix or regex");
}

struct str decode_hint_duration(const struct node *n, struct arena *a)
{
    if (n->kind != NODE_NUMBER && !str_is_number(n->text))
        return STR_NONE;
    return arena_printf(a, "write %.*ss, or %.*sms", STR_ARG(n->text), STR_ARG(n->text));
}

struct str decode_hint_string(const struct node *n, struct arena *a)
{
    struct buf b;
    struct str out;

    if (is_scalar(n))
        return arena_printf(a, "write it in quotes: \"%.*s\"", STR_ARG(n->text));
    if (n->kind != NODE_LIST)
        return STR_NONE;
    buf_init(&b, 1024);
    for (const struct node *c = n->first; c; c = c->next) {
        if (c != n->first)
            buf_addc(&b, ',');
        buf_add(&b, is_scalar(c) ? c->text : STR("..."));
    }
    out = arena_printf(a, "one string is meant: \"%.*s\"", STR_ARG(quoted(buf_str(&b), a)));
    buf_done(&b);
    return out;
}

/* ---- values ---- */

/* As one compares words that people write from memory: letters and digits only. */
static struct str bare(struct str s, struct arena *a)
{
    char *p = arena_alloc(a, s.n + 1);
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] != '_' && s.p[i] != '-')
            p[n++] = (char)(s.p[i] >= 'a' && s.p[i] <= 'z' ? s.p[i] - 32 : s.p[i]);
    }
    return (struct str){p, n};
}

const struct field_value *decode_closest_value(const struct field_value *values, struct str name, struct arena *a)
{
    struct str want = bare(str_sub(name, 0, MIN(name.n, QUOTED_MAX)), a);
    size_t allowed = want.n <= 4 ? 1 : 2, best = allowed + 1;
    const struct field_value *found = NULL;

    for (; values->name; values++) {
        size_t distance = str_distance(bare(str_from(values->name), a), want, allowed);

        if (values->status != FIELD_UNSUPPORTED && distance < best) {
            best = distance;
            found = values;
        }
    }
    return found;
}

/* ---- fields that stand in the wrong place ---- */

static bool has_path(const struct schema *s, struct str name, unsigned levels, struct buf *path)
{
    for (size_t i = 0; i < s->count; i++) {
        const struct field *f = &s->fields[i];
        size_t before = path->n;

        if (!f->message || !is_usable(f) || f->message == s)
            continue;
        buf_printf(path, "%s%s", before ? "." : "", f->name);
        if (schema_find(f->message, name) || (levels > 1 && has_path(f->message, name, levels - 1, path)))
            return true;
        path->n = before;
    }
    return false;
}

struct str decode_path_to(const struct schema *s, struct str name, struct arena *a)
{
    struct str out = STR_NONE;
    struct buf b;

    buf_init(&b, 1024);
    for (unsigned levels = 1; levels <= NESTED_MAX && out.n == 0; levels++) { /* the nearest place first */
        buf_clear(&b);
        if (has_path(s, name, levels, &b))
            out = arena_str(a, buf_str(&b));
    }
    buf_done(&b);
    return out;
}

struct str decode_hint_unknown(const struct decoder *d, const struct schema *s, struct str name)
{
    const struct schema *spec = d->m->kind ? d->m->kind->spec : NULL;
    struct arena *a = d->f->arena;
    struct str hint = schema_suggest(s, name, a), path;

    if (hint.n)
        return hint;
    if (s->count == 1 && s->fields[0].type == FIELD_LABELS)
        return arena_printf(a, "it belongs under %s", s->fields[0].name);
    path = decode_path_to(s, name, a);
    if (path.n)
        return arena_printf(a, "it belongs under %.*s", STR_ARG(path));
    if (!spec || s == spec)
        return STR_NONE;
    if (schema_find(spec, name))
        return STR("it belongs into spec itself: is it indented too far?");
    path = decode_path_to(spec, name, a);
    return path.n ? arena_printf(a, "there is one in spec.%.*s", STR_ARG(path)) : STR_NONE;
}
