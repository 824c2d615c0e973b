#include "cmd/ctl/lint.h"

#include <stdio.h>
#include <string.h>

#include "cmd/command.h"
#include "cmd/ctl/files.h"
#include "mesh/base/limits.h"
#include "mesh/decode.h"
#include "mesh/validate.h"

/* Everything that is linted: texts live as long as the objects that point into them. */
struct lint {
    struct arena arena;
    struct findings findings;
    struct object_list objects;
    struct documents_how how;
};

static int lint_file(void *arg, struct str name, struct str text, struct err *err)
{
    struct lint *l = arg;
    int rc = documents_read(arena_str(&l->arena, text), arena_str(&l->arena, name), &l->how,
                            &l->arena, &l->objects, &l->findings);

    (void)err;
    (void)rc; /* the findings say it, of all files */
    return 0;
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
    const char *output = args_text(a, "output", "text");
    struct lint l = {0};
    struct err err;
    size_t errors;
    int code;

    if (!args_has(a, "file") || (strcmp(output, "text") != 0 && strcmp(output, "json") != 0)) {
        fprintf(stderr, "weft: weft lint -f FILE (a file, a folder, or -), -o text or json\n");
        return EXIT_USAGE;
    }
    arena_init(&l.arena);
    l.how.skip_kinds = str_from(args_text(a, "skip-kinds", ""));
    findings_init(&l.findings, &l.arena);
    if (files_each(a, lint_file, &l, &err)) {
        code = command_failed(&err);
    } else {
        validate_duplicates(&l.objects, &l.findings);
        if (strcmp(output, "json") == 0)
            print_json(&l);
        else
            print_text(&l);
        errors = args_has(a, "allow-not-yet") ? findings_errors_besides(&l.findings, FIND_NOT_YET)
                                              : l.findings.errors;
        code = errors ? EXIT_REFUSED : EXIT_DONE;
    }
    arena_done(&l.arena);
    return code;
}
