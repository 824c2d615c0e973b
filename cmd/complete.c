/* Shell completion. One engine for all shells: their scripts hand over the words up to the cursor
 * (weft complete -- WORD...) and get what may stand there, "candidate TAB sentence" a line; the
 * line ":files" means names of files. The candidates come from the tables of commands, and names
 * of objects, hosts and tokens from the server when it answers; the scripts pick what fits the
 * word that was begun. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/command.h"
#include "cmd/manual.h"
#include "mesh/base/buf.h"
#include "mesh/base/mem.h"
#include "mesh/field_doc.h"
#include "mesh/kinds/kinds.h"

struct cursor {
    int count; /* words before the one at the cursor */
    char *const *words;
    struct str typed; /* what of that one is there */
    const struct command *command;
    int command_words;
};

/* ---- what may stand for a placeholder ---- */

static void offer(struct str value, const char *sentence)
{
    printf("%.*s\t%s\n", STR_ARG(value), sentence);
}

/* Run `weft get KIND -o name -n NS` and offer the names that it prints, without "Kind/" and behind
 * `prefix`. A server that does not answer offers nothing. */
static void offer_names(struct str kind, struct str ns, struct str prefix)
{
    static char output_flag[] = "-o", output[] = "name", ns_flag[] = "-n";
    char *what = str_dup(kind), *where = str_dup(ns);
    char *argv[] = {what, output_flag, output, ns_flag, where};
    const struct command *get = NULL;
    struct args args;
    struct err err;
    FILE *real = stdout;
    char *text = NULL;
    size_t size = 0;
    struct str rest, line, head;

    for (size_t i = 0; (get = command_at(i)) && strcmp(get->name, "get") != 0; i++)
        continue;
    if (get && args_parse(get, COUNT(argv), argv, &args, &err) == 0 &&
        (stdout = open_memstream(&text, &size))) {
        (void)get->run(&args); /* no names is no mistake here */
        fclose(stdout);
    }
    stdout = real;
    rest = (struct str){text, size};
    while (str_next(&rest, '\n', &line)) {
        struct str name = line;

        (void)str_cut(&name, '/', &head); /* only documents have one */
        if (name.n)
            printf("%.*s%.*s\t\n", STR_ARG(prefix), STR_ARG(name));
    }
    free(text);
    mem_free(what);
    mem_free(where);
}

/* The value of -n or --namespace among the words, as `get` wants it. */
static const char *namespace_of(const struct cursor *c)
{
    for (int i = 0; i + 1 < c->count; i++) {
        if (strcmp(c->words[i], "-n") == 0 || strcmp(c->words[i], "--namespace") == 0)
            return c->words[i + 1];
    }
    return "default";
}

static void offer_objects(const struct cursor *c, struct str kind, bool behind_slash)
{
    struct buf prefix;

    buf_init(&prefix, 256);
    if (behind_slash)
        buf_printf(&prefix, "%.*s/", STR_ARG(kind));
    if (kind_find_any(kind) || str_eq(kind, STR("hosts")))
        offer_names(kind, str_from(namespace_of(c)), buf_str(&prefix));
    buf_done(&prefix);
}

static void offer_kinds(const char *end)
{
    const struct kind *k;

    for (size_t i = 0; (k = kind_at(i)); i++)
        printf("%s%s\t%s\n", k->plural, end, k->name);
}

/* What `get` shows besides documents. */
static void offer_lists(void)
{
    const char *name;

    for (size_t i = 0; (name = ctl_list_name(i)); i++)
        offer(str_from(name), "");
}

static void offer_words(const char *words)
{
    struct str rest = str_from(words), word;

    while (str_next(&rest, ' ', &word))
        offer(word, "");
}

/* Members of what is typed up to its last dot, or kinds. */
static void offer_fields(struct str typed)
{
    struct field_place p;
    struct arena a;
    struct err err;
    size_t dot = typed.n;

    while (dot > 0 && typed.p[dot - 1] != '.')
        dot--;
    arena_init(&a);
    if (dot == 0) {
        for (size_t i = 0; kind_at(i); i++) {
            if (kind_at(i)->spec)
                printf("%s\t%s\n", kind_at(i)->singular, kind_at(i)->meaning);
        }
    } else if (field_place_find(str_sub(typed, 0, dot - 1), &a, &p, &err) == 0) {
        const struct schema *s = field_place_members(&p);

        for (size_t i = 0; s && i < s->count; i++)
            printf("%.*s%s\t%s\n", (int)dot, typed.p, s->fields[i].name, s->fields[i].meaning);
    }
    arena_done(&a);
}

/* `before`: the positional word before this one. */
static void offer_placeholder(const struct cursor *c, struct str what, struct str before)
{
    struct str rest = c->typed, kind;

    if (str_eq(what, STR("FILE")) || str_eq(what, STR("DIR")) || str_eq(what, STR("PATH"))) {
        printf(":files\n");
    } else if (str_has(what, '|')) {
        while (str_next(&what, '|', &rest))
            offer(rest, "");
    } else if (str_eq(what, STR("SHELL"))) {
        offer_words("bash zsh fish");
    } else if (str_eq(what, STR("PAGE"))) {
        manual_list(stdout);
    } else if (str_eq(what, STR("HOST"))) {
        offer_names(STR("hosts"), STR("default"), STR_NONE);
    } else if (str_eq(what, STR("TOKEN-ID"))) {
        offer_names(STR("tokens"), STR("default"), STR_NONE);
    } else if (str_eq(what, STR("KIND"))) {
        offer_kinds("");
        offer_lists();
    } else if (str_eq(what, STR("KIND/NAME"))) {
        if (str_cut(&rest, '/', &kind))
            offer_objects(c, kind, true);
        else
            offer_kinds("/");
    } else if (str_eq(what, STR("FIELD"))) {
        offer_fields(rest);
    } else if (str_eq(what, STR("NAME")) && before.n) {
        offer_objects(c, before, false);
    }
}

/* ---- where the cursor is ---- */

static void offer_commands(const struct cursor *c)
{
    const struct command *k;
    struct str last = STR_NONE; /* a group's commands are neighbours */

    for (size_t i = 0; (k = command_at(i)); i++) {
        struct str rest = str_from(k->name), word = STR_NONE;
        int n = 0;

        if (command_is_hidden(k))
            continue;
        while (n < c->count && str_next(&rest, ' ', &word) && str_eq(word, str_from(c->words[n])))
            n++;
        if (n < c->count || !str_next(&rest, ' ', &word) || str_eq(word, last))
            continue;
        offer(word, rest.n ? "" : k->summary);
        last = word;
    }
    if (c->count == 0)
        offer(STR("help"), "Say more about a command.");
}

static void offer_flags(const struct command *k)
{
    for (size_t i = 0; i < k->flag_count; i++)
        printf("--%s\t%s\n", k->flags[i].name, k->flags[i].help);
    printf("--help\tPrint this help.\n");
}

static const struct flag *flag_of(const struct command *k, const char *word)
{
    for (size_t i = 0; i < k->flag_count; i++) {
        const struct flag *f = &k->flags[i];

        if (word[0] == '-' && (word[1] == '-' ? strcmp(word + 2, f->name) == 0
                                              : f->letter && word[1] == f->letter && !word[2]))
            return f;
    }
    return NULL;
}

/* The n-th placeholder of a usage line, without brackets; words of flags are none. */
static struct str placeholder(const char *usage, int n)
{
    struct str rest = str_from(usage), word;

    while (str_next(&rest, ' ', &word)) {
        while (str_starts(word, STR("[")))
            word = str_sub(word, 1, word.n);
        while (str_ends(word, STR("]")))
            word = str_sub(word, 0, word.n - 1);
        if (str_starts(word, STR("-"))) {
            (void)str_next(&rest, ' ', &word); /* its value */
            continue;
        }
        if (word.n == 0 || str_eq(word, STR("flags")) || str_eq(word, STR("|")))
            continue;
        if (n-- == 0)
            return word;
    }
    return STR_NONE;
}

static void offer_rest(const struct cursor *c)
{
    const struct command *k = c->command;
    struct str before = STR_NONE;
    int n = 0;

    for (int i = c->command_words; i < c->count; i++) {
        const struct flag *f = flag_of(k, c->words[i]);

        if (f && f->kind != FLAG_SWITCH)
            i++; /* over its value */
        else if (c->words[i][0] != '-') {
            before = str_from(c->words[i]);
            n++;
        }
    }
    offer_placeholder(c, placeholder(k->usage, n), before);
}

int complete_run(const struct args *a)
{
    static char none[] = "";
    char *words[ARGS_MAX];
    struct cursor c = {.words = words};
    const struct command *k;
    const struct flag *f;

    /* bash makes three words of --flag=value. */
    for (size_t i = 0; i < a->rest_count; i++) {
        if (strcmp(a->rest[i], "=") != 0)
            words[c.count++] = (char *)(uintptr_t)a->rest[i];
        else if (i + 1 == a->rest_count)
            words[c.count++] = none;
    }
    if (c.count > 0)
        c.typed = str_from(words[--c.count]);
    if (c.count > 0 && strcmp(words[0], "help") == 0) {
        c.words++;
        c.count--;
        offer_commands(&c);
        return EXIT_DONE;
    }
    for (size_t i = 0; (k = command_at(i)); i++) {
        int n = command_match(k->name, c.count, c.words);

        if (n > c.command_words) {
            c.command = k;
            c.command_words = n;
        }
    }
    if (!c.command) {
        offer_commands(&c);
        return EXIT_DONE;
    }
    f = c.count > c.command_words ? flag_of(c.command, c.words[c.count - 1]) : NULL;
    if (f && f->kind != FLAG_SWITCH)
        offer_placeholder(&c, str_from(f->value), STR_NONE);
    else if (str_starts(c.typed, STR("-")))
        offer_flags(c.command);
    else
        offer_rest(&c);
    return EXIT_DONE;
}

/* ---- the scripts ---- */

static const struct {
    const char *shell, *script;
} scripts[] = {
    {"bash",
     "# bash completion of weft\n"
     "_weft() {\n"
     "    local cur=${COMP_WORDS[COMP_CWORD]} word\n"
     "    COMPREPLY=()\n"
     "    [[ $cur != = ]] || cur=\n"
     "    while IFS=$'\\t' read -r word _; do\n"
     "        if [[ $word == :files ]]; then\n"
     "            compopt -o filenames\n"
     "            mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
     "        elif [[ $word == \"$cur\"* && \" ${COMPREPLY[*]} \" != *\" $word \"* ]]; then\n"
     "            COMPREPLY+=(\"$word\")\n"
     "        fi\n"
     "    done < <(weft complete -- \"${COMP_WORDS[@]:1:COMP_CWORD}\" 2>/dev/null)\n"
     "    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == */ ]]; then\n"
     "        compopt -o nospace\n"
     "    fi\n"
     "}\n"
     "complete -F _weft weft\n"                                     },
    {"zsh",  "#compdef weft\n"
            "# zsh completion of weft\n"
            "_weft() {\n"
            "    local value sentence\n"
            "    local -a items open\n"
            "    while IFS=$'\\t' read -r value sentence; do\n"
            "        if [[ $value == :files ]]; then\n"
            "            _files\n"
            "        elif [[ $value == */ ]]; then\n"
            "            open+=(\"$value\")\n"
            "        else\n"
            "            items+=(\"${value//:/\\\\:}:$sentence\")\n"
            "        fi\n"
            "    done < <(weft complete -- \"${(@)words[2,CURRENT]}\" 2>/dev/null)\n"
            "    (( $#open )) && compadd -S '' -- $open\n"
            "    (( $#items )) && _describe weft items\n"
            "}\n"
            "if [[ $funcstack[1] == _weft ]]; then\n"
            "    _weft \"$@\"\n"
            "else\n"
            "    compdef _weft weft\n"
            "fi\n"                                       },
    {"fish", "# fish completion of weft\n"
             "function __weft_complete\n"
             "    set -l words (commandline -opc) (commandline -ct)\n"
             "    weft complete -- $words[2..] 2>/dev/null | string match -v ':files'\n"
             "end\n"
             "complete -c weft -a '(__weft_complete)'\n"},
};

int completion_run(const struct args *a)
{
    for (size_t i = 0; i < COUNT(scripts); i++) {
        if (strcmp(a->rest[0], scripts[i].shell) == 0) {
            printf("%s", scripts[i].script);
            return EXIT_DONE;
        }
    }
    fprintf(stderr, "weft: no completion for \"%s\": bash, zsh or fish\n", a->rest[0]);
    return EXIT_USAGE;
}
