#include "cmd/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mesh/base/findings.h"
#include "mesh/base/limits.h"

static const struct flag help_flag = {"help", 'h', FLAG_SWITCH, NULL, "Print this help."};

static const struct flag *find_flag(const struct command *c, struct str name, char letter)
{
    for (size_t i = 0; i < c->flag_count; i++) {
        const struct flag *f = &c->flags[i];

        if (letter ? f->letter == letter : str_eq(str_from(f->name), name))
            return f;
    }
    if (letter ? letter == help_flag.letter : str_eq(name, STR("help")))
        return &help_flag;
    return NULL;
}

static int unknown_flag(const struct command *c, const char *given, struct str name,
                        struct err *err)
{
    const struct flag *near = NULL;
    size_t best = 3;

    for (size_t i = 0; name.n && i < c->flag_count; i++) {
        size_t d = str_distance(str_from(c->flags[i].name), name, best);

        if (d < best) {
            best = d;
            near = &c->flags[i];
        }
    }
    if (near)
        return err_set(err, ERR_INVALID, "unknown flag %s: did you mean --%s? (weft %s --help)",
                       given, near->name, c->name);
    return err_set(err, ERR_INVALID, "unknown flag %s (see weft %s --help)", given, c->name);
}

static int take(struct args *out, const struct flag *f, const char *value, struct err *err)
{
    for (size_t i = 0; i < out->given_count && f->kind != FLAG_REPEATED; i++) {
        if (out->given[i].flag == f)
            return err_set(err, ERR_INVALID, "--%s is given twice", f->name);
    }
    if (out->given_count == ARGS_MAX)
        return err_set(err, ERR_LIMIT, "more than %d flags", ARGS_MAX);
    out->given[out->given_count].flag = f;
    out->given[out->given_count++].value = value;
    return 0;
}

/* One flag at argv[*i]; *i is moved over its value. */
static int parse_flag(const struct command *c, int argc, char **argv, int *i, struct args *out,
                      struct err *err)
{
    const char *arg = argv[*i];
    bool is_long = arg[1] == '-';
    struct str name = str_from(arg + (is_long ? 2 : 1)), head = name;
    const char *value = NULL;
    const struct flag *f;

    if (is_long) {
        struct str rest = name;

        if (str_cut(&rest, '=', &head))
            value = rest.p;
        else
            head = name;
        f = find_flag(c, head, 0);
    } else {
        f = find_flag(c, STR_NONE, name.p[0]);
        if (name.n > 1)
            value = name.p + (name.p[1] == '=' ? 2 : 1);
    }
    if (!f)
        return unknown_flag(c, arg, is_long ? head : STR_NONE, err);
    if (f->kind == FLAG_SWITCH) {
        if (value)
            return err_set(err, ERR_INVALID, "--%s takes no value", f->name);
        return take(out, f, "", err);
    }
    if (!value) {
        if (*i + 1 >= argc)
            return err_set(err, ERR_INVALID, "--%s needs a value: --%s %s", f->name, f->name,
                           f->value);
        value = argv[++*i];
    }
    return take(out, f, value, err);
}

int args_parse(const struct command *c, int argc, char **argv, struct args *out, struct err *err)
{
    bool flags = true;

    *out = (struct args){.command = c};
    for (int i = 0; i < argc; i++) {
        const char *arg = argv[i];

        if (flags && strcmp(arg, "--") == 0) {
            flags = false;
        } else if (flags && arg[0] == '-' && arg[1]) {
            if (parse_flag(c, argc, argv, &i, out, err))
                return -1;
        } else if (out->rest_count == ARGS_MAX) {
            return err_set(err, ERR_LIMIT, "more than %d arguments", ARGS_MAX);
        } else {
            out->rest[out->rest_count++] = arg;
        }
    }
    if (args_has(out, "help"))
        return 0;
    if (out->rest_count < c->rest_min)
        return err_set(err, ERR_INVALID, "too few arguments: weft %s %s", c->name, c->usage);
    if (out->rest_count > c->rest_max)
        return err_set(err, ERR_INVALID, "unexpected argument \"%s\": weft %s %s",
                       out->rest[c->rest_max], c->name, c->usage);
    return 0;
}

const char *args_nth(const struct args *a, const char *name, size_t n)
{
    for (size_t i = 0; i < a->given_count; i++) {
        if (strcmp(a->given[i].flag->name, name) == 0 && n-- == 0)
            return a->given[i].value;
    }
    return NULL;
}

bool args_has(const struct args *a, const char *name)
{
    return args_nth(a, name, 0) != NULL;
}

const char *args_text(const struct args *a, const char *name, const char *otherwise)
{
    const char *value = args_nth(a, name, 0);

    return value ? value : otherwise;
}

const char *args_path(const struct args *a, const char *flag, const char *variable,
                      const char *otherwise)
{
    const char *value = args_nth(a, flag, 0);

    if (!value)
        value = getenv(variable);
    return value && *value ? value : otherwise;
}

bool args_path_is_default(const struct args *a, const char *flag, const char *variable)
{
    return !*args_path(a, flag, variable, "");
}

const char *command_start_hint(const char *unit, const char *otherwise)
{
    static const char *const places[] = {"/etc/systemd/system", "/usr/local/lib/systemd/system",
                                         "/usr/lib/systemd/system", "/lib/systemd/system"};
    static char hint[128];
    char path[256];

    if (access("/run/systemd/system", F_OK))
        return otherwise; /* systemd does not run this host: sd_booted(3) */
    for (size_t i = 0; i < COUNT(places); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s.service", places[i], unit);
        if (access(path, F_OK))
            continue;
        (void)snprintf(hint, sizeof(hint), "systemctl enable --now %s", unit);
        return hint;
    }
    return otherwise;
}

void command_help(const struct command *c)
{
    printf("usage: weft %s%s%s\n\n%s\n", c->name, *c->usage ? " " : "", c->usage, c->summary);
    if (c->details)
        printf("\n%s\n", c->details);
    if (c->flag_count)
        printf("\nFlags:\n");
    for (size_t i = 0; i < c->flag_count; i++) {
        const struct flag *f = &c->flags[i];
        char left[80];

        (void)snprintf(left, sizeof(left), "%c%c%s--%s%s%s", f->letter ? '-' : ' ',
                       f->letter ? f->letter : ' ', f->letter ? ", " : "  ", f->name,
                       f->value ? " " : "", f->value ? f->value : "");
        printf("  %-30s %s\n", left, f->help);
    }
}

int command_findings(const struct findings *f, struct err *err)
{
    struct buf b;

    buf_init(&b, LIMIT_API_BODY_BYTES);
    for (const struct finding *one = f->first; one; one = one->next) {
        finding_print(one, &b);
        buf_addc(&b, '\n');
    }
    fprintf(stderr, "%.*s", STR_ARG(buf_str(&b)));
    buf_done(&b);
    return findings_err(f, err);
}

int command_failed(const struct err *err)
{
    fprintf(stderr, "weft: %s\n", err->text);
    switch (err->code) {
    case ERR_INVALID:
    case ERR_UNSUPPORTED:
    case ERR_LIMIT:
    case ERR_FULL:
        return EXIT_REFUSED;
    case ERR_MISSING:
        return EXIT_NOT_FOUND;
    case ERR_CONFLICT:
        return EXIT_CONFLICT;
    case ERR_DENIED:
        return EXIT_DENIED;
    case ERR_IO:
    case ERR_NONE:
        return EXIT_UNREACHABLE;
    }
    return EXIT_UNREACHABLE;
}
