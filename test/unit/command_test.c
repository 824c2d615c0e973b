/* The command line as its tables say. */
#include "cmd/command.h"

#include "test/test.h"

static const struct flag flags[] = {
    {"file",    'f', FLAG_REPEATED, "FILE", "Read this."},
    {"output",  'o', FLAG_TEXT,     "FORM", "Print so." },
    {"dry-run", 0,   FLAG_SWITCH,   NULL,   "Only look."},
    {"count",   'n', FLAG_TEXT,     "N",    "How many." },
};
static const struct command command = {
    "apply", "[flags] ONE [TWO]", "Apply.", NULL, flags, COUNT(flags), 1, 2, NULL};

/* Words split at blanks, parsed. */
static int parse(const char *line, struct args *out, struct err *err)
{
    static char copy[4096];
    char *argv[200];
    int argc = 0;

    (void)snprintf(copy, sizeof(copy), "%s", line);
    for (char *p = copy; *p;) {
        argv[argc++] = p;
        while (*p && *p != ' ')
            p++;
        if (*p)
            *p++ = 0;
    }
    return args_parse(&command, argc, argv, out, err);
}

static void check_refused(const char *line, const char *text)
{
    struct args a;
    struct err err = {0};

    CHECK_INT(parse(line, &a, &err), -1);
    CHECK_INT(err.code, ERR_INVALID);
    CHECK_TEXT(err.text, text);
}

TEST(a_value_may_stand_behind_its_flag_in_four_ways)
{
    static const char *const lines[] = {"x --count 5", "x --count=5", "x -n 5", "x -n5", "x -n=5"};

    for (size_t i = 0; i < COUNT(lines); i++) {
        struct args a;
        struct err err;

        CHECK_INT(parse(lines[i], &a, &err), 0);
        CHECK_TEXT(args_text(&a, "count", "none"), "5");
        CHECK_INT(a.rest_count, 1);
    }
}

TEST(a_value_may_hold_an_equals_sign_or_be_empty)
{
    struct args a;
    struct err err;

    CHECK_INT(parse("--output=a=b x", &a, &err), 0);
    CHECK_TEXT(args_text(&a, "output", NULL), "a=b");
    CHECK_INT(parse("--output= x", &a, &err), 0);
    CHECK_TEXT(args_text(&a, "output", NULL), "");
    CHECK(args_has(&a, "output"));
}

TEST(flags_stand_anywhere_among_the_arguments)
{
    struct args a;
    struct err err;

    CHECK_INT(parse("one --dry-run two -o json", &a, &err), 0);
    CHECK(args_has(&a, "dry-run"));
    CHECK_INT(a.rest_count, 2);
    CHECK_TEXT(a.rest[0], "one");
    CHECK_TEXT(a.rest[1], "two");
    CHECK_TEXT(args_text(&a, "output", NULL), "json");
    CHECK(!args_has(&a, "count"));
    CHECK_TEXT(args_text(&a, "count", "7"), "7");
}

TEST(two_dashes_end_the_flags)
{
    struct args a;
    struct err err;

    CHECK_INT(parse("-- --dry-run --", &a, &err), 0);
    CHECK_INT(a.rest_count, 2);
    CHECK_TEXT(a.rest[0], "--dry-run");
    CHECK_TEXT(a.rest[1], "--");
    CHECK(!args_has(&a, "dry-run"));
}

TEST(one_dash_is_an_argument_and_a_value)
{
    struct args a;
    struct err err;

    CHECK_INT(parse("- -f -", &a, &err), 0);
    CHECK_TEXT(a.rest[0], "-");
    CHECK_TEXT(args_nth(&a, "file", 0), "-");
}

TEST(a_repeated_flag_keeps_every_value_in_order)
{
    struct args a;
    struct err err;

    CHECK_INT(parse("x -f a --file b -fc", &a, &err), 0);
    CHECK_TEXT(args_nth(&a, "file", 0), "a");
    CHECK_TEXT(args_nth(&a, "file", 1), "b");
    CHECK_TEXT(args_nth(&a, "file", 2), "c");
    CHECK(args_nth(&a, "file", 3) == NULL);
}

TEST(an_unknown_flag_is_refused_with_what_was_meant)
{
    check_refused("x --ouput json",
                  "unknown flag --ouput: did you mean --output? (weft apply --help)");
    check_refused("x --dry-rnu=1",
                  "unknown flag --dry-rnu=1: did you mean --dry-run? (weft apply --help)");
    check_refused("x --completely-else", "unknown flag --completely-else (see weft apply --help)");
    check_refused("x -z", "unknown flag -z (see weft apply --help)");
    check_refused("x --=5", "unknown flag --=5 (see weft apply --help)");
}

TEST(a_flag_without_its_value_is_refused)
{
    check_refused("x --output", "--output needs a value: --output FORM");
    check_refused("x -n", "--count needs a value: --count N");
}

TEST(a_switch_takes_no_value)
{
    check_refused("x --dry-run=yes", "--dry-run takes no value");
    check_refused("x --dry-run=", "--dry-run takes no value");
}

TEST(a_flag_that_is_given_twice_is_refused)
{
    check_refused("x --count 1 -n 2", "--count is given twice");
    check_refused("x --dry-run --dry-run", "--dry-run is given twice");
}

TEST(too_few_and_too_many_arguments_are_refused)
{
    check_refused("--dry-run", "too few arguments: weft apply [flags] ONE [TWO]");
    check_refused("a b c", "unexpected argument \"c\": weft apply [flags] ONE [TWO]");
}

TEST(help_is_answered_even_when_arguments_lack)
{
    struct args a;
    struct err err;

    CHECK_INT(parse("--help", &a, &err), 0);
    CHECK(args_has(&a, "help"));
    CHECK_INT(parse("-h", &a, &err), 0);
    CHECK(args_has(&a, "help"));
}

TEST(more_flags_or_arguments_than_there_is_room_for_are_refused)
{
    char line[1024] = "";
    struct args a;
    struct err err;

    for (int i = 0; i < ARGS_MAX + 1; i++)
        (void)snprintf(line + strlen(line), sizeof(line) - strlen(line), "-fx ");
    CHECK_INT(parse(line, &a, &err), -1);
    CHECK_INT(err.code, ERR_LIMIT);
    line[0] = 0;
    for (int i = 0; i < ARGS_MAX + 1; i++)
        (void)snprintf(line + strlen(line), sizeof(line) - strlen(line), "x ");
    CHECK_INT(parse(line, &a, &err), -1);
    CHECK_INT(err.code, ERR_LIMIT);
}

TEST(a_path_comes_from_the_flag_then_the_environment_then_the_default)
{
    struct args a;
    struct err err;

    CHECK_INT(unsetenv("WEFT_TEST_PATH"), 0);
    CHECK_INT(parse("x", &a, &err), 0);
    CHECK_TEXT(args_path(&a, "output", "WEFT_TEST_PATH", "/default"), "/default");
    CHECK_INT(setenv("WEFT_TEST_PATH", "/env", 1), 0);
    CHECK_TEXT(args_path(&a, "output", "WEFT_TEST_PATH", "/default"), "/env");
    CHECK_INT(setenv("WEFT_TEST_PATH", "", 1), 0);
    CHECK_TEXT(args_path(&a, "output", "WEFT_TEST_PATH", "/default"), "/default");
    CHECK_INT(parse("x -o /flag", &a, &err), 0);
    CHECK_INT(setenv("WEFT_TEST_PATH", "/env", 1), 0);
    CHECK_TEXT(args_path(&a, "output", "WEFT_TEST_PATH", "/default"), "/flag");
}

TEST(each_kind_of_error_has_its_exit_code)
{
    static const struct {
        enum err_code code;
        int want;
    } rows[] = {
        {ERR_INVALID,     EXIT_REFUSED    },
        {ERR_UNSUPPORTED, EXIT_REFUSED    },
        {ERR_LIMIT,       EXIT_REFUSED    },
        {ERR_FULL,        EXIT_REFUSED    },
        {ERR_MISSING,     EXIT_NOT_FOUND  },
        {ERR_CONFLICT,    EXIT_CONFLICT   },
        {ERR_DENIED,      EXIT_DENIED     },
        {ERR_IO,          EXIT_UNREACHABLE},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct err err = {rows[i].code, "a test"};

        CHECK_INT(command_failed(&err), rows[i].want);
    }
}
