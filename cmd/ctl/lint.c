#include "cmd/ctl/lint.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd/command.h"
#include "mesh/base/file.h"
#include "mesh/base/limits.h"
#include "mesh/decode.h"
#include "mesh/validate.h"

/* Everything that is linted: texts live as long as the objects that point into them. */
struct lint {
    struct arena arena;
    struct findings findings;
    struct object_list objects;
};

static int lint_file(struct lint *l, const char *path, struct err *err)
{
    struct str name = strcmp(path, "-") == 0 ? STR("(stdin)") : arena_str(&l->arena, str_from(path));
    struct buf text;
    int rc;

    buf_init(&text, LIMIT_APPLY_BYTES);
    rc = file_read(path, &text, err);
    if (rc == 0 && documents_parse(arena_str(&l->arena, buf_str(&text)), name, SYNTAX_AUTO,
                                   &l->arena, &l->objects, &l->findings))
        rc = 0; /* the findings say it */
    buf_done(&text);
    return rc;
}

static int lint_path(struct lint *l, const char *path, struct err *err)
{
    static const char *const suffixes[] = {".yaml", ".yml", ".json", NULL};
    struct stat st;
    char **names;
    size_t n;
    int rc = 0;

    if (strcmp(path, "-") == 0 || stat(path, &st) || !S_ISDIR(st.st_mode))
        return lint_file(l, path, err);
    if (file_list(path, suffixes, &names, &n, err))
        return -1;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = lint_file(l, arena_printf(&l->arena, "%s/%s", path, names[i]).p, err);
    file_list_free(names, n);
    return rc;
}

/* Errors that count for the exit code. */
static size_t errors_of(const struct lint *l, bool allow_not_yet)
{
    size_t n = l->findings.errors;

    for (const struct finding *x = l->findings.first; allow_not_yet && x; x = x->next)
        n -= x->code == FIND_NOT_YET && x->severity == SEVERITY_ERROR;
    return n;
}

static void print_text(const struct lint *l)
{
    struct buf b;

    buf_init(&b, LIMIT_APPLY_BYTES);
    for (const struct finding *x = l->findings.first; x; x = x->next) {
        finding_print(x, &b);
        buf_addc(&b, '\n');
    }
    fprintf(stderr, "%.*s", STR_ARG(buf_str(&b)));
    buf_done(&b);
}

static void print_json(const struct lint *l)
{
    struct buf b;

    buf_init(&b, LIMIT_APPLY_BYTES);
    buf_adds(&b, "{\"errors\":");
    findings_json(&l->findings, SEVERITY_ERROR, &b);
    buf_adds(&b, ",\"warnings\":");
    findings_json(&l->findings, SEVERITY_WARNING, &b);
    printf("%.*s}\n", STR_ARG(buf_str(&b)));
    buf_done(&b);
}

int lint_run(const struct args *a)
{
    const char *path, *output = args_text(a, "output", "text");
    struct lint l = {0};
    struct err err;
    int code = EXIT_DONE;

    if (!args_has(a, "file") || (strcmp(output, "text") != 0 && strcmp(output, "json") != 0)) {
        fprintf(stderr, "weft: weft lint -f FILE (a file, a folder, or -), -o text or json\n");
        return EXIT_USAGE;
    }
    arena_init(&l.arena);
    findings_init(&l.findings, &l.arena);
    for (size_t i = 0; code == EXIT_DONE && (path = args_nth(a, "file", i)); i++) {
        if (lint_path(&l, path, &err))
            code = command_failed(&err);
    }
    if (code == EXIT_DONE) {
        validate_duplicates(&l.objects, &l.findings);
        if (strcmp(output, "json") == 0)
            print_json(&l);
        else
            print_text(&l);
        code = errors_of(&l, args_has(a, "allow-not-yet")) ? EXIT_REFUSED : EXIT_DONE;
    }
    arena_done(&l.arena);
    return code;
}
