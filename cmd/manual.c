/* `weft man`: weft(1), a page for each command, and one of section 5 for each settings file. */
#include "cmd/manual.h"

#include <ctype.h>
#include <string.h>

#include "cmd/command.h"

#define PAGE_MAX 64
#define FACT_MAX 1024

static const struct settings_file *const settings[] = {&server_ini, &agent_ini, &services_ini};

/* ---- roff ---- */

/* Text as it is: a hyphen that can be searched and copied, no control lines. */
static void text(struct str s, bool at_line_start)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];

        if (at_line_start && (c == '.' || c == '\''))
            printf("\\&");
        if (c == '-')
            printf("\\-");
        else if (c == '\\')
            printf("\\e");
        else
            putchar(c);
        at_line_start = c == '\n';
    }
}

static void line(const char *s)
{
    text(str_from(s), true);
    putchar('\n');
}

/* Paragraphs apart by empty lines; lines that begin with two blanks are examples. */
static void paragraphs(const char *s)
{
    struct str rest = str_from(s), one;
    bool in_example = false, fresh = true;

    while (rest.n) {
        if (!str_cut(&rest, '\n', &one)) {
            one = rest;
            rest = STR_NONE;
        }
        if (one.n == 0) {
            if (in_example)
                printf(".EE\n");
            in_example = false;
            fresh = false;
            continue;
        }
        if (!in_example && !fresh)
            printf(".PP\n");
        if (!in_example && str_starts(one, STR("  "))) {
            printf(".EX\n");
            in_example = true;
        }
        text(one, true);
        putchar('\n');
        fresh = true;
    }
    if (in_example)
        printf(".EE\n");
}

static void head(const char *page, const char *section, const char *summary)
{
    printf(".\\\" Written by `weft man`; do not edit.\n.TH \"");
    for (const char *p = page; *p; p++)
        putchar(toupper((unsigned char)*p));
    printf("\" %s %s \"weft %s\" \"weft\"\n.SH NAME\n", section, WEFT_RELEASED, WEFT_VERSION);
    text(str_from(page), true);
    printf(" \\- ");
    text(str_from(summary), false);
    putchar('\n');
}

static void tagged(const char *tag, const char *sentence)
{
    printf(".TP\n.B ");
    text(str_from(tag), false);
    putchar('\n');
    line(sentence);
}

/* ---- pages ---- */

static void page_name(const struct command *c, char *out)
{
    (void)snprintf(out, PAGE_MAX, "weft-%s", c->name);
    for (char *p = out; *p; p++) {
        if (*p == ' ')
            *p = '-';
    }
}

static void flags(const struct command *c)
{
    printf(".SH OPTIONS\n");
    for (size_t i = 0; i < c->flag_count; i++) {
        const struct flag *f = &c->flags[i];

        printf(".TP\n");
        if (f->letter)
            printf("\\fB\\-%c\\fR, ", f->letter);
        printf("\\fB\\-\\-");
        text(str_from(f->name), false);
        printf("\\fR");
        if (f->value) {
            printf(" \\fI");
            text(str_from(f->value), false);
            printf("\\fR");
        }
        putchar('\n');
        line(f->help);
    }
    printf(".TP\n\\fB\\-h\\fR, \\fB\\-\\-help\\fR\nPrint a short help.\n");
}

static void exit_codes(void)
{
    char code[16];

    printf(".SH EXIT STATUS\nOne set for every command and output format.\n");
    for (int i = 0; exit_code_text(i); i++) {
        (void)snprintf(code, sizeof(code), "%d", i);
        tagged(code, exit_code_text(i));
    }
}

static void command_page(const struct command *c)
{
    char name[PAGE_MAX];

    page_name(c, name);
    head(name, "1", c->summary);
    printf(".SH SYNOPSIS\n.B weft ");
    text(str_from(c->name), false);
    putchar('\n');
    if (*c->usage)
        line(c->usage);
    printf(".SH DESCRIPTION\n");
    line(c->summary);
    if (c->details) {
        printf(".PP\n");
        paragraphs(c->details);
    }
    flags(c);
    printf(".SH EXIT STATUS\nSee\n.BR weft (1).\n.SH SEE ALSO\n.BR weft (1)\n");
}

/* ---- settings files ---- */

static void bound(const struct field *f, int64_t value, struct buf *out)
{
    if (f->type == FIELD_DURATION)
        buf_duration(out, value);
    else
        buf_printf(out, "%lld", (long long)value);
}

/* What may stand there, out of the row: "Value: a whole number, not negative, from 1 to 64." */
static void field_facts(const struct field *f, struct arena *a)
{
    struct str def = schema_default(f, a);
    struct buf b;

    buf_init(&b, FACT_MAX);
    buf_adds(&b, "Value: ");
    if (f->values)
        buf_add(&b, schema_values(f->values, a));
    else
        buf_adds(&b, field_type_name(f->type));
    if (f->flags & FIELD_BOUNDED) {
        buf_adds(&b, ", from ");
        bound(f, f->min, &b);
        buf_adds(&b, " to ");
        bound(f, f->max, &b);
    }
    if (f->flags & FIELD_MAY_BE_OFF)
        buf_adds(&b, ", or off");
    buf_addc(&b, '.');
    if (f->flags & FIELD_REQUIRED)
        buf_adds(&b, " Required.");
    if (def.n)
        buf_printf(&b, " Default: %.*s.", STR_ARG(def));
    buf_addc(&b, '\n');
    text(buf_str(&b), true);
    buf_done(&b);
}

static void field_entry(const struct field *f, struct arena *a)
{
    printf(".TP\n.B ");
    text(str_from(f->name), false);
    if (f->type == FIELD_LABELS)
        printf(".\\fIKEY\\fR");
    putchar('\n');
    line(f->meaning);
    printf(".br\n");
    if (f->status == FIELD_BUILT) {
        field_facts(f, a);
    } else {
        printf("Refused, not supported yet: ");
        text(str_from(f->reason), false);
        printf(".\n");
    }
}

static void section_entries(const struct settings_type *t)
{
    struct arena a;

    arena_init(&a);
    printf(".SH SECTION [");
    text(str_from(t->name), false);
    printf("%s]\n", t->is_named ? " NAME" : "");
    if (t->meaning)
        line(t->meaning);
    for (size_t i = 0; i < t->schema->count; i++)
        field_entry(&t->schema->fields[i], &a);
    arena_done(&a);
}

static void settings_page(const struct settings_file *f)
{
    head(f->page, "5", f->summary);
    printf(".SH SYNOPSIS\n.I ");
    text(str_from(f->path), false);
    printf("\n.SH DESCRIPTION\n");
    paragraphs(f->details);
    printf(".SH FORMAT\n");
    paragraphs(
        "A section begins with its name in brackets; in it, each line is a key, =, and a value. "
        "Comments\nare behind ; or in a line that begins with #. A line has at most 198 bytes; a "
        "value in double quotes\nhas the escapes of JSON and goes on in another string on an "
        "indented line.\n\n"
        "Every mistake is told at once, with file, line, column, and the key that was probably "
        "meant.");
    for (size_t i = 0; i < f->type_count; i++)
        section_entries(&f->types[i]);
    printf(".SH SEE ALSO\n.BR weft (1)\n");
}

/* ---- weft(1) ---- */

static const struct {
    const char *tag, *sentence;
} files[] = {
    {"/etc/weft/server.ini", "Settings of the server; weft server init writes it."},
    {"/etc/weft/agent.ini", "Settings of the agent; may be missing."},
    {"/etc/weft/services.d/NAME.ini", "What runs on this host; read at start and on a reload."},
    {"/var/lib/weft", "The server's store and CA, the agent's key, certificates and last good state."},
    {"/run/weft/api.sock", "The server's API on its machine; the caller's account decides what it may."},
    {"/run/weft/agent.sock", "The agent's pages, for root, the account weft and the group weft."},
}, variables[] = {
    {"WEFT_CONFIG_DIR", "Instead of /etc/weft."},
    {"WEFT_STATE_DIR", "Instead of /var/lib/weft."},
    {"WEFT_SOCKET", "Instead of /run/weft/api.sock."},
    {"WEFT_AGENT_SOCKET", "Instead of /run/weft/agent.sock."},
    {"WEFT_JOIN_TOKEN", "The token of weft join, when neither an argument nor a file gives it."},
    {"NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID",
     "The service manager's; server run and agent run tell it when they serve and that they live."},
};

static void main_page(void)
{
    const struct command *c;
    char name[PAGE_MAX];

    head("weft", "1", "the service mesh for machines");
    printf(".SH SYNOPSIS\n.B weft\n.I COMMAND\n[flags]\n.SH DESCRIPTION\n"
           "A service mesh for virtual machines and bare hosts. The server holds rules, registry and\n"
           "certificate authority; an agent on each host carries its mesh traffic; the other commands\n"
           "are for people. Rules are Istio's documents.\n"
           ".PP\nA first mesh:\n.EX\n");
    line("  control# weft server init        # makes the CA and the store, prints a join line\n"
         "  control# weft server run\n"
         "  host#    weft join TOKEN\n"
         "  host#    weft agent run\n"
         "  control# weft apply -f rules.yaml");
    printf(".EE\n.SH COMMANDS\n");
    for (size_t i = 0; (c = command_at(i)); i++) {
        if (command_is_hidden(c))
            continue;
        page_name(c, name);
        printf(".TP\n.BR ");
        text(str_from(name), false);
        printf(" (1)\n");
        line(c->summary);
    }
    exit_codes();
    printf(".SH ENVIRONMENT\n");
    for (size_t i = 0; i < COUNT(variables); i++)
        tagged(variables[i].tag, variables[i].sentence);
    printf(".SH FILES\n");
    for (size_t i = 0; i < COUNT(files); i++)
        tagged(files[i].tag, files[i].sentence);
    printf(".SH SEE ALSO\n");
    for (size_t i = 0; i < COUNT(settings); i++) {
        printf(".BR ");
        text(str_from(settings[i]->page), false);
        printf(" (5)%s\n", i + 1 < COUNT(settings) ? "," : "");
    }
}

void manual_list(FILE *to)
{
    const struct command *c;
    char name[PAGE_MAX];

    fprintf(to, "weft.1\n");
    for (size_t i = 0; (c = command_at(i)); i++) {
        if (command_is_hidden(c))
            continue;
        page_name(c, name);
        fprintf(to, "%s.1\n", name);
    }
    for (size_t i = 0; i < COUNT(settings); i++)
        fprintf(to, "%s.5\n", settings[i]->page);
}

int manual_run(const struct args *a)
{
    struct str want = a->rest_count ? str_from(a->rest[0]) : STR_NONE;
    const struct command *c;
    char name[PAGE_MAX];

    if (!a->rest_count) {
        manual_list(stdout);
        return EXIT_DONE;
    }
    if (str_ends(want, STR(".1")) || str_ends(want, STR(".5")))
        want = str_sub(want, 0, want.n - 2);
    if (str_eq(want, STR("weft"))) {
        main_page();
        return EXIT_DONE;
    }
    for (size_t i = 0; i < COUNT(settings); i++) {
        if (str_eq(want, str_from(settings[i]->page))) {
            settings_page(settings[i]);
            return EXIT_DONE;
        }
    }
    for (size_t i = 0; (c = command_at(i)); i++) {
        page_name(c, name);
        if (!command_is_hidden(c) && str_eq(want, str_from(name))) {
            command_page(c);
            return EXIT_DONE;
        }
    }
    fprintf(stderr, "weft: there is no manual page \"%s\"; weft man lists them\n", a->rest[0]);
    return EXIT_NOT_FOUND;
}
