/* The tables of all programs as one list, and the commands about the command line itself. */
#include <stdio.h>
#include <string.h>

#include "cmd/command.h"

static const char *const exit_codes[] = {
    [EXIT_DONE] = "done",
    [EXIT_FINDINGS] = "findings, or a difference",
    [EXIT_USAGE] = "the command line is wrong",
    [EXIT_UNREACHABLE] = "no server can be reached",
    [EXIT_REFUSED] = "refused by validation",
    [EXIT_CONFLICT] = "conflict with somebody else's change",
    [EXIT_DENIED] = "not allowed",
    [EXIT_NOT_FOUND] = "not found",
    [EXIT_TIMEOUT] = "timed out waiting",
};

const char *exit_code_text(int code)
{
    return code >= 0 && (size_t)code < COUNT(exit_codes) ? exit_codes[code] : NULL;
}

static int version_run(const struct args *a)
{
    (void)a; /* takes none */
    printf("weft %s\n", WEFT_VERSION);
    return EXIT_DONE;
}

static int exit_codes_run(const struct args *a)
{
    (void)a; /* takes none */
    for (int i = 0; exit_code_text(i); i++)
        printf("%d  %s\n", i, exit_code_text(i));
    return EXIT_DONE;
}

static const struct command own_commands[] = {
    {"version", "", "Print the version.", NULL, NULL, 0, 0, 0, version_run},
    {"exit-codes", "", "Print what exit codes mean.", NULL, NULL, 0, 0, 0, exit_codes_run},
    {"completion", "SHELL", "Print the completion script of a shell: bash, zsh or fish.",
     "make install puts them in place. By hand:\n\n  . <(weft completion bash)", NULL, 0, 1, 1,
     completion_run},
    {"man", "[PAGE]", "Print a manual page; without a name, which pages there are.",
     "make install puts them in place. By hand:\n\n  weft man weft-apply.1 | man -l -", NULL, 0, 0,
     1, manual_run},
    {"complete", "-- WORD...", "", NULL, NULL, 0, 0, ARGS_MAX, complete_run},
};

const struct command *command_at(size_t i)
{
    const struct {
        const struct command *rows;
        size_t count;
    } tables[] = {{server_commands, server_command_count},
                  {agent_commands, agent_command_count},
                  {ctl_commands, ctl_command_count},
                  {own_commands, COUNT(own_commands)}};

    for (size_t t = 0; t < COUNT(tables); t++) {
        if (i < tables[t].count)
            return &tables[t].rows[i];
        i -= tables[t].count;
    }
    return NULL;
}

bool command_is_hidden(const struct command *c)
{
    return !*c->summary;
}

int command_match(const char *name, int argc, char *const *argv)
{
    struct str rest = str_from(name), word;
    int n = 0;

    while (str_next(&rest, ' ', &word)) {
        if (n >= argc || !str_eq(str_from(argv[n]), word))
            return 0;
        n++;
    }
    return n;
}
