/* One binary: finds the command in the tables and runs it. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cmd/agent/capture_keeper.h"
#include "cmd/command.h"

static void print_commands(FILE *to, const char *group)
{
    const struct command *c;

    for (size_t i = 0; (c = command_at(i)); i++) {
        if (command_is_hidden(c))
            continue;
        if (!group ||
            (strncmp(c->name, group, strlen(group)) == 0 && c->name[strlen(group)] == ' '))
            fprintf(to, "  %-16s %s\n", c->name, c->summary);
    }
}

static int usage(FILE *to, int code)
{
    fprintf(to, "weft: the service mesh for machines\n\nusage: weft COMMAND [flags]\n\n");
    print_commands(to, NULL);
    fprintf(to,
            "\nweft COMMAND --help tells more. A first mesh:\n\n"
            "  control# weft server init          makes the CA and the store, prints a join line\n"
            "  control# weft server run\n"
            "  host#    weft join TOKEN            makes this host a member\n"
            "  host#    weft agent run\n"
            "  control# weft apply -f rules.yaml\n");
    return code;
}

static bool is_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

static int unknown(int argc, char **argv)
{
    bool is_group = false;
    const struct command *c;

    for (size_t i = 0; (c = command_at(i)); i++) {
        size_t n = strlen(argv[0]);

        is_group = is_group || (strncmp(c->name, argv[0], n) == 0 && c->name[n] == ' ');
    }
    if (!is_group) {
        fprintf(stderr, "weft: unknown command \"%s\" (weft help lists them)\n", argv[0]);
        return EXIT_USAGE;
    }
    if (argc > 1 && !is_help(argv[1]))
        fprintf(stderr, "weft: unknown command \"%s %s\"; there are:\n", argv[0], argv[1]);
    print_commands(stderr, argv[0]);
    return argc > 1 && is_help(argv[1]) ? EXIT_DONE : EXIT_USAGE;
}

/* "weft agent --standalone DIR": a group with flags alone is its `run`. NULL: there is none. */
static const struct command *run_of_group(int argc, char **argv)
{
    const struct command *c;

    if (argc < 2 || argv[1][0] != '-' || is_help(argv[1]))
        return NULL;
    for (size_t i = 0; (c = command_at(i)); i++) {
        size_t n = strlen(argv[0]);

        if (strncmp(c->name, argv[0], n) == 0 && strcmp(c->name + n, " run") == 0)
            return c;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    const struct command *c, *best = NULL;
    struct args args;
    struct err err;
    int words = 0;

    if (argc > 0 && strcmp(argv[0], KEEPER_NAME) == 0) /* started so by the agent only */
        return capture_keeper_run();
    (void)signal(SIGPIPE, SIG_IGN); /* a peer's absence is a return value, never a death */
    argc--;
    argv++;
    if (argc > 0 && strcmp(argv[0], "help") == 0 && argc > 1) {
        argc--;
        argv++; /* `weft help token create` is `weft token create --help` */
        for (size_t i = 0; (c = command_at(i)); i++) {
            if (command_match(c->name, argc, argv)) {
                command_help(c);
                return EXIT_DONE;
            }
        }
        return unknown(argc, argv);
    }
    if (argc == 0)
        return usage(stderr, EXIT_USAGE);
    if (strcmp(argv[0], "help") == 0 || is_help(argv[0]))
        return usage(stdout, EXIT_DONE);
    for (size_t i = 0; (c = command_at(i)); i++) {
        int n = command_match(c->name, argc, argv);

        if (n > words) {
            words = n;
            best = c;
        }
    }
    if (!best) {
        best = run_of_group(argc, argv);
        words = 1;
    }
    if (!best)
        return unknown(argc, argv);
    if (args_parse(best, argc - words, argv + words, &args, &err)) {
        fprintf(stderr, "weft: %s\n", err.text);
        return EXIT_USAGE;
    }
    if (args_has(&args, "help")) {
        command_help(best);
        return EXIT_DONE;
    }
    return best->run(&args);
}
