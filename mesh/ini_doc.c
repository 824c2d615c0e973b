#include "mesh/ini_doc.h"

#include "mesh/base/limits.h"
#include "mesh/ini_node.h"
#include "mesh/ini_shape.h"
#include "mesh/kinds/kinds.h"

struct reading {
    struct ini_tree tree;
    struct node_document *first, *last;
    unsigned count;
    /* the document that sections and entries go to; NULL: there is none yet */
    struct node_document *open;
    const struct kind *kind; /* of it; NULL: unknown, which decode reports */
    struct node *spec;       /* of it; NULL: its kind has none, or is unknown */
    size_t errors_before;
};

static struct finding *fail(struct reading *r, enum finding_code code, unsigned line,
                            unsigned column, struct str detail)
{
    struct finding *x =
        findings_add(r->tree.findings, code, SEVERITY_ERROR, "%.*s", STR_ARG(detail));

    x->file = r->tree.file;
    x->line = line;
    x->column = column;
    x->document = r->tree.document;
    return x;
}

/* ---- the envelope ---- */

/* What the section's name says, as if it were an entry: the same key again is then told as twice.
 */
static void set_envelope(struct reading *r, const char *key, struct str text, unsigned line,
                         unsigned column)
{
    const struct ini_entry e = {.key = str_from(key),
                                .text = text,
                                .quoted = true,
                                .line = line,
                                .column = column,
                                .key_line = line,
                                .key_column = column};

    ini_tree_set(&r->tree, r->open->root, &ini_envelope, &e);
}

/* The first list or map that YAML and JSON would not take; `depth` counts those around it. */
static const struct node *too_deep(const struct node *n, unsigned depth)
{
    const struct node *found = NULL;

    if ((n->kind == NODE_LIST || n->kind == NODE_MAP) && depth >= LIMIT_NODE_DEPTH)
        return n;
    for (const struct node *c = n->first; c && !found; c = c->next)
        found = too_deep(c, depth + 1);
    return found;
}

static void close_document(struct reading *r, size_t end)
{
    struct node_document *d = r->open;
    struct arena *a = r->tree.arena;
    const struct node *deep;

    r->open = NULL;
    if (!d)
        return;
    d->length = end - d->offset;
    deep = too_deep(d->root, 0);
    if (deep)
        fail(r, FIND_LIMIT, deep->line, deep->column, STR("lists and maps are nested too deep"));
    if (r->tree.findings->errors != r->errors_before)
        return;
    if (r->kind && !node_get(d->root, STR("apiVersion"))) {
        struct node *n = node_string(a, kind_api_version(r->kind, a));

        n->line = d->root->line;
        n->column = d->root->column;
        node_set(d->root, STR("apiVersion"), n);
    }
    if (r->last)
        r->last->next = d;
    else
        r->first = d;
    r->last = d;
}

static void open_document(struct reading *r, const struct ini_section *s)
{
    struct arena *a = r->tree.arena;
    struct node_document *d = ARENA_NEW(a, struct node_document);

    r->tree.document = d->number = ++r->count;
    d->file = r->tree.file;
    d->offset = s->offset;
    d->root = ini_tree_map(&r->tree, s->line, s->column);
    r->open = d;
    r->kind = kind_find(s->type);
    r->errors_before = r->tree.findings->errors;
    set_envelope(r, "kind", s->type, s->line, s->column);
    if (!r->kind) /* of no version: decode has to get as far as the kind */
        set_envelope(r, "apiVersion", STR("v1"), s->line, s->column);
    if (s->name.n)
        set_envelope(r, "metadata.name", s->name, s->line, s->name_column);
    r->spec = NULL;
    if (r->kind && r->kind->spec) {
        r->spec = ini_tree_map(&r->tree, s->line, s->column);
        node_set(d->root, STR("spec"), r->spec);
    }
    if (str_has(s->name, '/'))
        fail(r, FIND_ENVELOPE, s->line, s->name_column,
             arena_printf(a, "[%.*s]: a section has the name only, without a namespace",
                          STR_ARG(s->title)))
            ->hint = STR("write metadata.namespace = NAMESPACE below it");
}

/* ---- sections ---- */

/* "metadata" of "metadata.labels["a"]" */
static struct str first_step(struct str key)
{
    size_t n = 0;

    while (n < key.n && key.p[n] != '.' && key.p[n] != '[')
        n++;
    return str_sub(key, 0, n);
}

static void set_in_document(struct reading *r, const struct ini_entry *e)
{
    struct ini_entry inner = *e;

    if (!r->spec || schema_find(&ini_envelope, first_step(e->key))) {
        ini_tree_set(&r->tree, r->open->root, &ini_envelope, e);
        return;
    }
    if (str_starts(e->key, STR("spec.")))
        inner.key = str_sub(e->key, 5, e->key.n);
    ini_tree_set(&r->tree, r->spec, r->kind->spec, &inner);
}

static void read_element(struct reading *r, const struct ini_section *s)
{
    struct arena *a = r->tree.arena;
    const struct schema *message = NULL;
    struct node *n;

    if (!r->open) {
        fail(r, FIND_PARSE, s->line, s->column,
             arena_printf(a, "[%.*s] stands before any document", STR_ARG(s->title)))
            ->hint = STR("a document begins with [KIND NAME], such as [VirtualService reviews]");
        return;
    }
    if (!r->kind)
        return;
    if (s->name.n || !r->spec) {
        fail(r, s->name.n ? FIND_PARSE : FIND_UNKNOWN_FIELD, s->line, s->column,
             s->name.n ? arena_printf(a, "[%.*s]: an element of a list has no name here",
                                      STR_ARG(s->title))
                       : arena_printf(a, "[%.*s]: kind %s has no spec", STR_ARG(s->title),
                                      r->kind->name));
        return;
    }
    n = ini_tree_element(&r->tree, r->spec, r->kind->spec, str_sub(s->type, 1, s->type.n), s->line,
                         &message);
    for (const struct ini_entry *e = n ? s->first : NULL; e; e = e->next)
        ini_tree_set(&r->tree, n, message, e);
}

static void read_section(struct reading *r, const struct ini_section *s)
{
    if (s->type.p[0] == '.') {
        read_element(r, s);
        return;
    }
    close_document(r, s->offset);
    open_document(r, s);
    for (const struct ini_entry *e = r->kind ? s->first : NULL; e; e = e->next)
        set_in_document(r, e);
}

int ini_doc_parse(struct str text, struct str file, struct arena *a, struct node_document **out,
                  struct findings *f)
{
    struct reading r = {.count = 0};
    struct ini_section *sections = NULL;
    size_t before = f->errors;

    *out = NULL;
    if (ini_read(text, file, a, &sections, f))
        return -1;
    ini_tree_init(&r.tree, a, f, file);
    for (const struct ini_section *s = sections; s; s = s->next)
        read_section(&r, s);
    close_document(&r, text.n);
    ini_tree_done(&r.tree);
    *out = r.first;
    return f->errors == before ? 0 : -1;
}

bool ini_doc_is(struct str text)
{
    struct str line;

    if (str_starts(text, STR("\xEF\xBB\xBF")))
        text = str_sub(text, 3, text.n);
    while (str_next(&text, '\n', &line)) {
        line = str_trim(line);
        if (line.n && line.p[0] != ';' && line.p[0] != '#')
            return line.n > 1 && line.p[0] == '[' && (line.p[1] | 32) >= 'a' &&
                   (line.p[1] | 32) <= 'z';
    }
    return false;
}
