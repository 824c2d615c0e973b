/* One binary: finds the command in the tables and runs it. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cmd/command.h"

static int version_run(const struct args *a)
{
    (void)a;
    printf("weft %s\n", WEFT_VERSION);
    return EXIT_DONE;
}

static int exit_codes_run(const struct args *a)
{
    (void)a;
    printf("0  done\n1  findings, or a difference\n2  the command line is wrong\n3  no server can "
           "be reached\n"
           "4  refused by validation\n5  conflict with somebody else's change\n6  not allowed\n7  "
           "not found\n"
           "8  timed out waiting\n");
    return EXIT_DONE;
}

static const struct command own_commands[] = {
    {"version",    "", "Print the version.",          NULL, NULL, 0, 0, 0, version_run   },
    {"exit-codes", "", "Print what exit codes mean.", NULL, NULL, 0, 0, 0, exit_codes_run},
};

static const struct command *command_at(size_t i)
{
    if (i < server_command_count)
        return &server_commands[i];
    i -= server_command_count;
    if (i < agent_command_count)
        return &agent_commands[i];
    i -= agent_command_count;
    if (i < ctl_command_count)
        return &ctl_commands[i];
    i -= ctl_command_count;
    return i < COUNT(own_commands) ? &own_commands[i] : NULL;
}

/* Do the words of `name` stand at the front of argv? Returns how many, 0 for no. */
static int words_match(const char *name, int argc, char **argv)
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

static void print_commands(FILE *to, const char *group)
{
    const struct command *c;

    for (size_t i = 0; (c = command_at(i)); i++) {
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
    if (argc > 1 && strcmp(argv[1], "--help") != 0 && strcmp(argv[1], "-h") != 0)
        fprintf(stderr, "weft: unknown command \"%s %s\"; there are:\n", argv[0], argv[1]);
    print_commands(stderr, argv[0]);
    return argc > 1 && argv[1][0] == '-' ? EXIT_DONE : EXIT_USAGE;
}

int main(int argc, char **argv)
{
    const struct command *c, *best = NULL;
    struct args args;
    struct err err;
    int words = 0;

    (void)signal(SIGPIPE, SIG_IGN); /* a peer's absence is a return value, never a death */
    argc--;
    argv++;
    if (argc > 0 && strcmp(argv[0], "help") == 0 && argc > 1) {
        argc--;
        argv++; /* `weft help token create` is `weft token create --help` */
        for (size_t i = 0; (c = command_at(i)); i++) {
            if (words_match(c->name, argc, argv)) {
                command_help(c);
                return EXIT_DONE;
            }
        }
        return unknown(argc, argv);
    }
    if (argc == 0)
        return usage(stderr, EXIT_USAGE);
    if (strcmp(argv[0], "help") == 0 || strcmp(argv[0], "--help") == 0 ||
        strcmp(argv[0], "-h") == 0)
        return usage(stdout, EXIT_DONE);
    for (size_t i = 0; (c = command_at(i)); i++) {
        int n = words_match(c->name, argc, argv);

        if (n > words) {
            words = n;
            best = c;
        }
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
