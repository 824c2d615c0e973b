#include "cmd/ctl/explain_field.h"

#include <stdio.h>
#include <string.h>

#include "cmd/command.h"
#include "mesh/base/buf.h"
#include "mesh/field_doc.h"

#define ANSWER_BYTES (4u << 20)
#define TREE_DEPTH   16

/* ---- for people ---- */

static void print_list(void)
{
    const struct kind *k;

    for (size_t i = 0; (k = kind_at(i)); i++) {
        if (k->spec)
            printf("%-24s %s%s\n", k->name, k->meaning,
                   k->status == FIELD_NOT_YET ? " (not supported yet)" : "");
    }
}

static void print_members(const struct schema *s, struct arena *a, unsigned depth, bool is_tree)
{
    for (size_t i = 0; s && i < s->count; i++) {
        const struct field *f = &s->fields[i];
        struct str type = field_type_words(f, a);
        const char *mark = f->status == FIELD_BUILT ? "" : field_status_words(f->status);

        printf("%*s%-*s  %-*.*s", (int)(2 + 2 * depth), "", (int)(28 - MIN(2 * depth, 20u)),
               f->name, is_tree ? 0 : 24, STR_ARG(type));
        if (!is_tree)
            printf("  %s", f->meaning);
        printf("%s%s%s\n", mark[0] ? " (" : "", mark, mark[0] ? ")" : "");
        if (is_tree && depth < TREE_DEPTH && f->status != FIELD_UNSUPPORTED)
            print_members(field_members(f), a, depth + 1, true);
    }
}

static void print_line(const char *title, struct str text)
{
    if (text.n)
        printf("%-9s %.*s\n", title, STR_ARG(text));
}

static void print_place(const struct field_place *p, struct arena *a, bool is_tree)
{
    const struct schema *members = field_place_members(p);
    const struct field *f = p->field;

    print_line("path", p->path);
    if (f) {
        print_line("meaning", str_from(f->meaning));
        print_line("type", field_type_words(f, a));
        print_line("default", field_default_words(f, a));
        print_line("rules", field_rules(p->in, f, a));
        print_line("status", str_from(field_status_words(f->status)));
    } else {
        print_line("meaning", str_from(p->kind->meaning));
        print_line("status", str_from(field_status_words(p->kind->status)));
    }
    if (!members)
        return;
    printf("\nmembers of %s:\n", members->name);
    print_members(members, a, 0, is_tree);
}

/* ---- for programs ---- */

static void put_text(struct buf *b, const char *name, struct str text)
{
    buf_printf(b, "%s\"%s\":", b->p[b->n - 1] == '{' ? "" : ",", name);
    buf_json(b, text);
}

static void put_field(struct buf *b, const struct schema *s, const struct field *f, struct arena *a)
{
    put_text(b, "type", field_type_words(f, a));
    put_text(b, "meaning", str_from(f->meaning));
    put_text(b, "default", field_default_words(f, a));
    put_text(b, "rules", field_rules(s, f, a));
    put_text(b, "status", str_from(field_status_words(f->status)));
    buf_printf(b, ",\"required\":%s", f->flags & FIELD_REQUIRED ? "true" : "false");
}

static void put_members(struct buf *b, const struct schema *s, struct arena *a, unsigned depth)
{
    buf_adds(b, ",\"members\":[");
    for (size_t i = 0; s && i < s->count; i++) {
        const struct field *f = &s->fields[i];

        buf_adds(b, i ? ",{" : "{");
        put_text(b, "name", str_from(f->name));
        put_field(b, s, f, a);
        if (depth > 0)
            put_members(b, field_members(f), a, depth - 1);
        buf_addc(b, '}');
    }
    buf_addc(b, ']');
}

static int print_json(const struct field_place *p, struct arena *a, bool is_tree)
{
    struct buf b;

    buf_init(&b, ANSWER_BYTES);
    buf_addc(&b, '{');
    put_text(&b, "path", p->path);
    if (p->field) {
        put_field(&b, p->in, p->field, a);
    } else {
        put_text(&b, "meaning", str_from(p->kind->meaning));
        put_text(&b, "status", str_from(field_status_words(p->kind->status)));
    }
    put_members(&b, field_place_members(p), a, is_tree ? TREE_DEPTH : 0);
    buf_adds(&b, "}\n");
    printf("%.*s", STR_ARG(buf_str(&b)));
    buf_done(&b);
    return EXIT_DONE;
}

int explain_field_run(const struct args *args)
{
    const char *output = args_text(args, "output", "text");
    bool is_tree = args_has(args, "recursive");
    struct field_place p;
    struct arena a;
    struct err err;
    int code = EXIT_DONE;

    if (strcmp(output, "text") != 0 && strcmp(output, "json") != 0) {
        fprintf(stderr, "weft: --output %s: write text or json\n", output);
        return EXIT_USAGE;
    }
    arena_init(&a);
    if (args->rest_count == 0)
        print_list();
    else if (field_place_find(str_from(args->rest[0]), &a, &p, &err))
        code = command_failed(&err);
    else if (strcmp(output, "json") == 0)
        code = print_json(&p, &a, is_tree);
    else
        print_place(&p, &a, is_tree);
    arena_done(&a);
    return code;
}
