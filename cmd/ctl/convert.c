#include "cmd/ctl/convert.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cmd/command.h"
#include "cmd/ctl/files.h"
#include "mesh/base/json.h"
#include "mesh/base/limits.h"
#include "mesh/base/yaml.h"
#include "mesh/decode.h"
#include "mesh/encode.h"
#include "mesh/ini_write.h"

struct conversion {
    struct arena arena;
    struct findings findings;
    struct object_list objects;
};

static int read_file(void *arg, struct str name, struct str text, struct err *err)
{
    struct conversion *c = arg;
    const struct documents_how how = {.takes_not_yet = true};
    int rc = documents_read(arena_str(&c->arena, text), arena_str(&c->arena, name), &how, &c->arena,
                            &c->objects, &c->findings);

    (void)err;
    (void)rc; /* the findings say it, of all files */
    return 0;
}

/* ---- writers: of a List ---- */

static const struct node *items_of(const struct node *root)
{
    return node_get(root, STR("items"));
}

bool convert_write_ini(const struct node *root, struct buf *out)
{
    const struct node *items = items_of(root);
    bool good = true, is_first = true;

    for (const struct node *n = items ? items->first : root; n; n = items ? n->next : NULL) {
        buf_adds(out, is_first ? "" : "\n");
        good = ini_write_document(n, out) && good;
        is_first = false;
    }
    return good;
}

static void write_ini(const struct node *list, struct buf *out)
{
    bool good = convert_write_ini(list, out);

    (void)good; /* all are objects, and so of a kind */
}

static void write_yaml(const struct node *list, struct buf *out)
{
    const struct node *first = items_of(list)->first;

    for (const struct node *n = first; n; n = n->next) {
        buf_adds(out, n == first ? "" : "---\n");
        yaml_write(n, out);
    }
}

/* One document as it is, several as a List. */
static void write_json(const struct node *list, struct buf *out)
{
    const struct node *items = items_of(list);

    json_write(items->count == 1 ? items->first : list, 2, out);
    buf_adds(out, "\n");
}

static const struct {
    const char *name;
    void (*write)(const struct node *list, struct buf *out);
} outputs[] = {
    {"yaml", write_yaml},
    {"json", write_json},
    {"ini",  write_ini },
};

/* ---- the command ---- */

static struct node *list_of(const struct conversion *c, struct arena *a)
{
    struct node *list = node_new(a, NODE_MAP), *items = node_new(a, NODE_LIST);

    node_set(list, STR("apiVersion"), node_string(a, STR("v1")));
    node_set(list, STR("kind"), node_string(a, STR("List")));
    node_set(list, STR("items"), items);
    for (size_t i = 0; i < c->objects.count; i++)
        node_append(items, encode_object(c->objects.items[i], a));
    return list;
}

/* Errors, but not what is only not supported yet: that is for apply to say. */
static void print_findings(const struct conversion *c)
{
    struct buf b;

    buf_init(&b, LIMIT_APPLY_BYTES);
    for (const struct finding *x = c->findings.first; x; x = x->next) {
        if (x->code == FIND_NOT_YET)
            continue;
        finding_print(x, &b);
        buf_addc(&b, '\n');
    }
    fprintf(stderr, "%.*s", STR_ARG(buf_str(&b)));
    buf_done(&b);
}

static int print_converted(struct conversion *c, size_t output)
{
    struct buf out;
    struct err err;
    int code = EXIT_DONE;

    buf_init(&out, LIMIT_APPLY_BYTES * 2u);
    outputs[output].write(list_of(c, &c->arena), &out);
    if (out.failed) {
        (void)err_set(&err, ERR_LIMIT, "more than %u MiB of output: convert in parts",
                      LIMIT_APPLY_BYTES * 2u >> 20);
        code = command_failed(&err);
    } else if (fwrite(out.p, 1, out.n, stdout) != out.n || fflush(stdout)) {
        (void)err_set(&err, ERR_IO, "standard output: %s", strerror(errno));
        code = command_failed(&err);
    }
    buf_done(&out);
    return code;
}

int convert_run(const struct args *a)
{
    const char *want = args_text(a, "output", "yaml");
    struct conversion c = {0};
    struct err err;
    size_t output = 0;
    int code;

    while (output < COUNT(outputs) && strcmp(outputs[output].name, want) != 0)
        output++;
    if (!args_has(a, "file") || output == COUNT(outputs)) {
        fprintf(stderr,
                "weft: weft convert -f FILE (a file, a folder, or -), -o yaml, json or ini\n");
        return EXIT_USAGE;
    }
    arena_init(&c.arena);
    findings_init(&c.findings, &c.arena);
    if (files_each(a, read_file, &c, &err)) {
        code = command_failed(&err);
    } else {
        print_findings(&c);
        if (c.findings.errors == 0 && c.objects.count == 0)
            fprintf(stderr, "weft: there is no document in what was given\n");
        code = findings_errors_besides(&c.findings, FIND_NOT_YET) || c.objects.count == 0
                   ? EXIT_REFUSED
                   : print_converted(&c, output);
    }
    arena_done(&c.arena);
    return code;
}
