#include "cmd/ctl/reference.h"

#include <stdio.h>
#include <string.h>

#include "cmd/command.h"
#include "mesh/base/file.h"
#include "mesh/field_doc.h"

#define PAGE_BYTES   (1u << 20)
#define MESSAGES_MAX 128

/* Messages of one kind, each once, in the order in which they are met. */
struct messages {
    const struct schema *list[MESSAGES_MAX];
    size_t count;
};

static void gather(struct messages *m, const struct schema *s)
{
    for (size_t i = 0; i < m->count; i++) {
        if (m->list[i] == s)
            return;
    }
    if (m->count == MESSAGES_MAX)
        return;
    m->list[m->count++] = s;
    for (size_t i = 0; i < s->count; i++) {
        const struct schema *members = field_members(&s->fields[i]);

        if (members && s->fields[i].status != FIELD_UNSUPPORTED)
            gather(m, members);
    }
}

/* A cell of a table. */
static void put_cell(struct buf *b, struct str text)
{
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '|' || text.p[i] == '<' || text.p[i] == '>' || text.p[i] == '*')
            buf_addc(b, '\\');
        buf_addc(b, text.p[i]);
    }
}

/* With a link to the message's own table, which has the anchor that its heading gets. */
static void put_type(struct buf *b, const struct field *f, struct arena *a)
{
    const struct schema *m = field_members(f);
    struct str words = field_type_words(f, a);

    if (!m || f->status == FIELD_UNSUPPORTED) {
        put_cell(b, words);
        return;
    }
    buf_addc(b, '[');
    put_cell(b, words);
    buf_adds(b, "](#");
    for (const char *p = m->name; *p; p++)
        buf_addc(b, *p >= 'A' && *p <= 'Z' ? (char)(*p - 'A' + 'a') : *p);
    buf_addc(b, ')');
}

static void put_row(struct buf *b, const struct schema *s, const struct field *f, struct arena *a)
{
    struct str rules = field_rules(s, f, a), def = field_default_words(f, a);

    buf_printf(b, "| `%s` | ", f->name);
    put_type(b, f, a);
    buf_adds(b, " | ");
    put_cell(b, def);
    buf_adds(b, " | ");
    if (f->status == FIELD_NOT_YET)
        buf_adds(b, "(not supported yet) ");
    put_cell(b, str_from(f->meaning));
    if (rules.n)
        buf_addc(b, ' ');
    put_cell(b, rules);
    buf_adds(b, " |\n");
}

static void put_message(struct buf *b, const struct schema *s, bool is_spec, struct arena *a)
{
    buf_printf(b, "\n## %s\n\n| Field | Type | Default | Meaning |\n|---|---|---|---|\n",
               is_spec ? "spec" : s->name);
    for (size_t i = 0; i < s->count; i++)
        put_row(b, s, &s->fields[i], a);
}

static void put_names(struct buf *b, const struct kind *k)
{
    buf_adds(b, "apiVersion ");
    for (size_t i = 0; i < COUNT(k->versions) && k->versions[i]; i++)
        buf_printf(b, "%s`%s%s%s`", i ? ", " : "", k->group, k->group[0] ? "/" : "",
                   k->versions[i]);
    buf_printf(b, ". On the command line `%s`, `%s`", k->singular, k->plural);
    for (size_t i = 0; i < COUNT(k->shorts) && k->shorts[i]; i++)
        buf_printf(b, ", `%s`", k->shorts[i]);
    buf_adds(b, ".\n");
}

void reference_page(const struct kind *k, struct buf *out)
{
    struct messages m = {0};
    struct arena a;

    arena_init(&a);
    buf_printf(out, "# %s\n\n%s\n\n", k->name, k->meaning);
    put_names(out, k);
    if (k->status == FIELD_NOT_YET)
        buf_adds(out,
                 "\nDocuments of this kind are read and checked in full, and not supported yet.\n");
    gather(&m, k->spec);
    for (size_t i = 0; i < m.count; i++)
        put_message(out, m.list[i], i == 0, &a);
    buf_adds(out, "\nWritten by `make reference` from the tables that documents are read by.\n");
    arena_done(&a);
}

/* ---- the index, and what is not supported yet ---- */

static void put_not_yet_fields(struct buf *b, const struct kind *k, const struct schema *s)
{
    for (size_t i = 0; i < s->count; i++) {
        const struct field *f = &s->fields[i];

        if (f->status == FIELD_NOT_YET)
            buf_printf(b, "| %s | `%s.%s` |\n", k->name, s->name, f->name);
        for (const struct field_value *v = f->values; v && v->name; v++) {
            if (v->status == FIELD_NOT_YET && f->status == FIELD_BUILT)
                buf_printf(b, "| %s | `%s.%s: %s` |\n", k->name, s->name, f->name, v->name);
        }
        if (f->partly)
            buf_printf(b, "| %s | `%s.%s`: %s |\n", k->name, s->name, f->name, f->partly);
    }
}

static void put_not_yet(struct buf *b, const struct kind *k)
{
    struct messages m = {0};

    if (k->status == FIELD_NOT_YET) {
        buf_printf(b, "| %s | all of it |\n", k->name);
        return;
    }
    if (k->spec)
        gather(&m, k->spec);
    for (size_t i = 0; i < m.count; i++)
        put_not_yet_fields(b, k, m.list[i]);
}

void reference_index(struct buf *out)
{
    const struct kind *k;

    buf_adds(out, "# Reference\n\nEvery kind of document and every field, as `weft explain-field` "
                  "tells them.\n\n"
                  "| Kind | |\n|---|---|\n");
    for (size_t i = 0; (k = kind_at(i)); i++) {
        if (k->spec)
            buf_printf(out, "| [%s](%s.md) | %s%s |\n", k->name, k->singular, k->meaning,
                       k->status == FIELD_NOT_YET ? " (not supported yet)" : "");
        else
            buf_printf(out, "| %s | %s |\n", k->name, k->meaning);
    }
    buf_adds(
        out,
        "\n## Not supported yet\n\nThese are refused with WEFT1601.\n\n| Kind | |\n|---|---|\n");
    for (size_t i = 0; (k = kind_at(i)); i++)
        put_not_yet(out, k);
    buf_adds(out, "\nWritten by `make reference` from the tables that documents are read by.\n");
}

static int write_page(const char *dir, const char *name, const struct buf *text, struct err *err)
{
    char path[4096];
    int n = snprintf(path, sizeof(path), "%s/%s.md", dir, name);

    if (n < 0 || (size_t)n >= sizeof(path))
        return err_set(err, ERR_LIMIT, "%s: the path is too long", dir);
    return file_write(path, buf_str(text), 0644, err);
}

int reference_run(const struct args *args)
{
    const char *dir = args->rest[0];
    const struct kind *k;
    struct buf text;
    struct err err;
    int rc = file_mkdirs(dir, 0755, &err);

    buf_init(&text, PAGE_BYTES);
    for (size_t i = 0; rc == 0 && (k = kind_at(i)); i++) {
        if (!k->spec)
            continue;
        buf_clear(&text);
        reference_page(k, &text);
        rc = write_page(dir, k->singular, &text, &err);
    }
    buf_clear(&text);
    reference_index(&text);
    if (rc == 0)
        rc = write_page(dir, "README", &text, &err);
    buf_done(&text);
    return rc == 0 ? EXIT_DONE : command_failed(&err);
}
