#include "mesh/settings.h"

#include <string.h>

#include "mesh/decode.h"
#include "mesh/encode.h"
#include "mesh/ini_node.h"
#include "mesh/ini_write.h"

struct reading {
    struct ini_tree tree;
    const struct settings_type *types;
    size_t type_count;
    struct settings_section *first, *last;
};

static struct finding *report(struct findings *f, struct str file, unsigned line, unsigned column,
                              enum finding_code code, struct str detail)
{
    struct finding *x = findings_add(f, code, SEVERITY_ERROR, "%.*s", STR_ARG(detail));

    x->file = file;
    x->line = line;
    x->column = column;
    return x;
}

struct finding *settings_report(struct findings *f, struct str file,
                                const struct settings_section *s, const char *key,
                                enum finding_code code, const char *fmt, ...)
{
    const struct node *node = *(const struct node *const *)s->values;
    const struct node *n = key && node ? node_path(node, key) : NULL;
    struct finding *x;
    struct buf text;
    va_list ap;

    buf_init(&text, ERR_TEXT_MAX);
    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    x = report(f, file, n ? n->line : s->line, n ? n->column : 1, code, buf_str(&text));
    buf_done(&text);
    return x;
}

static const struct settings_type *find_type(const struct reading *r, struct str name)
{
    for (size_t i = 0; i < r->type_count; i++) {
        if (str_eq(str_from(r->types[i].name), name))
            return &r->types[i];
    }
    return NULL;
}

/* "[agent]" or "[service NAME] or [gateway NAME]" */
static struct str known_sections(const struct reading *r, struct arena *a)
{
    struct str text = STR_NONE;

    for (size_t i = 0; i < r->type_count; i++)
        text = arena_printf(a, "%.*s%s[%s%s]", STR_ARG(text), i ? " or " : "", r->types[i].name,
                            r->types[i].is_named ? " NAME" : "");
    return text;
}

static struct settings_section *section_of(struct reading *r, const struct settings_type *type,
                                           const struct ini_section *s)
{
    struct settings_section *out;

    for (out = r->first; out && !type->is_named; out = out->next) {
        if (out->type == type)
            return out; /* its keys add up */
    }
    out = ARENA_NEW(r->tree.arena, struct settings_section);
    *out = (struct settings_section){.type = type, .name = s->name, .line = s->line};
    out->values = ini_tree_map(&r->tree, s->line, 1); /* decoded when all are there */
    if (r->last)
        r->last->next = out;
    else
        r->first = out;
    r->last = out;
    return out;
}

static void read_section(struct reading *r, const struct ini_section *s)
{
    const struct settings_type *type = find_type(r, s->type);
    struct settings_section *section;
    struct ini_tree *t = &r->tree;

    if (!type) {
        report(t->findings, t->file, s->line, 1, FIND_UNKNOWN_FIELD,
               arena_printf(t->arena, "unknown section [%.*s]", STR_ARG(s->title)))
            ->hint =
            arena_printf(t->findings->arena, "there is %.*s", STR_ARG(known_sections(r, t->arena)));
        return;
    }
    if (type->is_named != (s->name.n > 0))
        report(t->findings, t->file, s->line, 1, FIND_VALUE,
               arena_printf(t->arena,
                            type->is_named ? "a section [%s NAME] needs a name"
                                           : "a section [%s] has no name",
                            type->name));
    section = section_of(r, type, s);
    for (const struct ini_entry *e = s->first; e; e = e->next)
        ini_tree_set(t, section->values, type->schema, e);
}

int settings_parse(struct str text, struct str file, const struct settings_type *types,
                   size_t type_count, struct arena *a, struct settings_section **out,
                   struct findings *f)
{
    struct reading r = {.types = types, .type_count = type_count};
    struct ini_section *sections = NULL;
    size_t before = f->errors;

    *out = NULL;
    if (ini_read(text, file, a, &sections, f))
        return -1;
    ini_tree_init(&r.tree, a, f, file);
    for (const struct ini_section *s = sections; s; s = s->next)
        read_section(&r, s);
    ini_tree_done(&r.tree);
    for (struct settings_section *s = r.first; s; s = s->next) {
        const struct node *n = s->values;

        s->values = arena_zalloc(a, s->type->schema->size);
        if (decode_settings(s->type->schema, n, file, a, s->values, f))
            continue; /* counted below */
    }
    *out = r.first;
    return f->errors == before ? 0 : -1;
}

void settings_write(const struct settings_type *type, const void *values, struct buf *out)
{
    struct arena a;
    const struct node *set;

    arena_init(&a);
    set = encode_message(type->schema, values, &a);
    buf_printf(out, "[%s]\n", type->name);
    for (size_t i = 0; i < type->schema->count; i++) {
        const struct field *f = &type->schema->fields[i];
        const struct node *n = node_get(set, str_from(f->name));

        buf_printf(out, "; %s\n%s%s = ", f->meaning, n ? "" : "; ", f->name);
        if (n)
            ini_write_value(n->text, strlen(f->name) + 3, out);
        else
            buf_add(out, schema_default(f, &a));
        buf_addc(out, '\n');
    }
    arena_done(&a);
}
