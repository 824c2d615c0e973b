/* Matchers: RE2's syntax and nothing more, whole values, bounded time; host patterns of Istio. */
#include "test/test.h"

#include <time.h>

#include "mesh/base/buf.h"
#include "mesh/base/limits.h"
#include "mesh/match.h"

/* 'y', 'n', '!' for MATCH_FAILED, '?' if the pattern is refused. */
static char verdict(const char *pattern, struct str value)
{
    struct err err;
    struct regex *r = regex_new(str_from(pattern), &err);
    enum match_result m;

    if (!r)
        return '?';
    m = regex_match(r, value);
    regex_free(r);
    return m == MATCH_YES ? 'y' : m == MATCH_NO ? 'n' : '!';
}

static void check_rows(const char *const (*rows)[3], size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char got = verdict(rows[i][0], str_from(rows[i][1]));

        if (got != rows[i][2][0])
            fail_msg("/%s/ on \"%s\": got %c, want %s", rows[i][0], rows[i][1], got, rows[i][2]);
    }
}

TEST(a_regular_expression_covers_the_whole_value)
{
    static const char *const rows[][3] = {
        {"/a[0-9]+", "/a12",   "y"},
        {"/a[0-9]+", "/a12/x", "n"},
        {"/a[0-9]+", "/xa12",  "n"},
        {"a|ab",     "ab",     "y"}, /* backtracks into the longer alternative */
        {"a",        "a\n",    "n"}, /* '$' of Perl would take it */
        {"a$",       "a\n",    "n"},
        {"^a$",      "a",      "y"},
        {"",         "",       "?"},
        {".*",       "",       "y"},
        {"a*?",      "aaa",    "y"},
        {"(a|b)*c",  "ababc",  "y"},
    };

    check_rows(rows, COUNT(rows));
}

TEST(what_re2_knows_works)
{
    static const char *const rows[][3] = {
        {"(?i)jason",     "JASON",     "y"},
        {"(?i:ja)son",    "JAson",     "y"},
        {"(?i:ja)son",    "JASON",     "n"},
        {"(?P<x>a)b",     "ab",        "y"},
        {"(?<x>a)b",      "ab",        "y"},
        {"(?:a|b){2,3}",  "aba",       "y"},
        {"(?s).",         "\n",        "y"},
        {".",             "\n",        "n"},
        {"(?-s:.)",       "x",         "y"},
        {"[[:alpha:]_]+", "ab_",       "y"},
        {"[[:^digit:]]",  "1",         "n"},
        {"[^/]+",         "a/b",       "n"},
        {"[]a]+",         "]a",        "y"},
        {"[^]a]",         "]",         "n"},
        {"[a[]+",         "[a",        "y"},
        {"\\d+\\.\\w\\S", "12.ab",     "y"},
        {"\\bfoo\\b",     "foo",       "y"},
        {"\\Afoo\\z",     "foo",       "y"},
        {"\\x41\\x{42}",  "AB",        "y"},
        {"\\101\\012",    "A\n",       "y"},
        {"\\v",           "\v",        "y"},
        {"\\v",           "\n",        "n"},
        {"\\s",           "\v",        "n"},
        {"[\\s]",         " ",         "y"},
        {"\\Qa.b\\E",     "a.b",       "y"},
        {"\\Qa.b\\E",     "axb",       "n"},
        {"\\Qa.b",        "a.b",       "y"},
        {"a{,2}",         "a{,2}",     "y"},
        {"{",             "{",         "y"},
        {"a{x}",          "a{x}",      "y"},
        {"\\pL+",         "\xc3\xa9",  "y"},
        {"\\p{Greek}",    "\xce\xb1",  "y"},
        {".",             "\xc3\xa9",  "y"},
        {"(?U)a+",        "aa",        "y"},
        {"a\\/b",         "a/b",       "y"},
        {"[[.a.]]",       "a]",        "y"},
        {"(a{3}){3}",     "aaaaaaaaa", "y"},
    };

    check_rows(rows, COUNT(rows));
}

TEST(what_re2_does_not_know_is_refused)
{
    static const char *const patterns[] = {
        "(a)\\1",    "\\8",       "\\k<x>",    "\\g1",         "(?P=x)",  "(?P>x)",
        "(?R)",      "(?1)",      "(?=a)",     "(?!a)",        "(?<=a)",  "(?<!a)",
        "(?>a)",     "(?|a)",     "(?(1)a|b)", "(?#c)",        "(?C1)",   "(*ACCEPT)",
        "(*UTF)",    "a++",       "a*+",       "a?+",          "a{2}+",   "a**",
        "a{2}{3}",   "\\C",       "\\K",       "\\R",          "\\X",     "\\G",
        "\\Z",       "\\h",       "\\N",       "\\e",          "\\cA",    "[\\b]",
        "[[:<:]]",   "*",         "+a",        "a|*",          "(",       ")",
        "[a",        "a\\",       "(?x)a",     "(?J)a",        "(?",      "(?P<>a)",
        "(?<a-b>a)", "a{1001}",   "a{3,2}",    "(a{100}){11}", "\\x4",    "\\x{}",
        "\\p",       "\\p{Nope}", "[z-a]",     "(?i",          "(?'x'a)", "(?^i)a",
        "\\L",       "\\U",
    };

    for (size_t i = 0; i < COUNT(patterns); i++) {
        struct err err = {0};

        if (match_regex_check(str_from(patterns[i]), &err) == 0)
            fail_msg("/%s/ was accepted", patterns[i]);
        CHECK(err.text[0] != '\0');
    }
}

TEST(a_pattern_has_at_most_1024_bytes_and_no_nul)
{
    char text[LIMIT_REGEX_BYTES + 1];
    struct err err;

    memset(text, 'a', sizeof(text));
    CHECK_INT(match_regex_check((struct str){text, LIMIT_REGEX_BYTES}, &err), 0);
    CHECK_INT(match_regex_check((struct str){text, LIMIT_REGEX_BYTES + 1}, &err), -1);
    CHECK_INT(err.code, ERR_LIMIT);
    text[3] = '\0';
    CHECK_INT(match_regex_check((struct str){text, 10}, &err), -1);
}

TEST(an_error_names_the_byte)
{
    struct err err;

    CHECK_INT(match_regex_check(STR("abc(?=d)"), &err), -1);
    CHECK(strstr(err.text, "byte 4"));
}

TEST(bytes_that_are_no_utf8_match_nothing_and_fail_nothing)
{
    CHECK_INT(verdict("a.c", STR("a\xff"
                                 "c")),
              'n');
    CHECK_INT(verdict("abc", STR("abc\xff")), 'n');
}

/* The value ends in what cannot match, so that every way is tried. */
static double seconds_on(const char *pattern, size_t n, char *got)
{
    char *value = malloc(n);
    struct timespec from, to;

    memset(value, 'a', n);
    value[n - 1] = '!';
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
    *got = verdict(pattern, (struct str){value, n});
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
    free(value);
    return (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
}

TEST(a_hostile_pattern_ends_soon_and_never_says_yes)
{
    const char *patterns[] = {"(a+)+$",         "(a|aa)+$", "(a*)*b",    "(.*)(.*)(.*)(.*)(.*)c",
                              "([a-z]+)*[0-9]", "(x+x+)+y", "((a|b)*)*c"};

    for (size_t i = 0; i < COUNT(patterns); i++) {
        char got;
        double t = seconds_on(patterns[i], 64 << 10, &got);

        if (got != 'n' && got != '!')
            fail_msg("/%s/: %c", patterns[i], got);
        if (t > 1.0)
            fail_msg("/%s/ took %.3f s", patterns[i], t);
    }
}

TEST(reaching_the_limit_is_a_failure_not_a_no)
{
    char got;

    seconds_on("(a+)+b?c?[x-z]$", 4096, &got);
    CHECK_INT(got, '!');
}

TEST(long_values_of_plain_patterns_match)
{
    char *value = malloc(16 << 10);

    memset(value, 'a', 16 << 10);
    CHECK_INT(verdict("(a|b)+", (struct str){value, 16 << 10}), 'y');
    CHECK_INT(verdict("(\\w|-)+", (struct str){value, 16 << 10}), 'y');
    CHECK_INT(verdict("[a-z]+", (struct str){value, 16 << 10}), 'y');
    free(value);
}

TEST(a_string_matches_by_its_kind)
{
    struct match_string exact = {MATCH_EXACT, STR("/foo"), NULL},
                        prefix = {MATCH_PREFIX, STR("/foo"), NULL};
    struct match_string any = {0}, present = {.kind = MATCH_PRESENT};

    CHECK_INT(match_string(&exact, STR("/foo"), false), MATCH_YES);
    CHECK_INT(match_string(&exact, STR("/foo/"), false), MATCH_NO);
    CHECK_INT(match_string(&exact, STR("/FOO"), false), MATCH_NO);
    CHECK_INT(match_string(&exact, STR("/FOO"), true), MATCH_YES);
    CHECK_INT(match_string(&prefix, STR("/foobar"), false), MATCH_YES); /* a prefix is textual */
    CHECK_INT(match_string(&prefix, STR("/Foobar"), true), MATCH_YES);
    CHECK_INT(match_optional(&any, false, STR("")), MATCH_YES);
    CHECK_INT(match_optional(&present, false, STR("")), MATCH_NO);
    CHECK_INT(match_optional(&present, true, STR("")), MATCH_YES); /* an empty value is there */
    CHECK_INT(match_optional(&exact, false, STR("/foo")), MATCH_NO);
    CHECK_INT(match_optional(&exact, true, STR("/foo")), MATCH_YES);
}

TEST(host_patterns_are_suffixes_not_labels)
{
    static const struct {
        struct str pattern, host;
        bool want;
    } rows[] = {
        {STR_INIT("a.b"),     STR_INIT("a.b"),      true },
        {STR_INIT("a.b"),     STR_INIT("A.B"),      true },
        {STR_INIT("a.b"),     STR_INIT("x.a.b"),    false},
        {STR_INIT("*"),       STR_INIT("anything"), true },
        {STR_INIT("*.com"),   STR_INIT("a.b.com"),  true },
        {STR_INIT("*.com"),   STR_INIT("com"),      false},
        {STR_INIT("*.com"),   STR_INIT(".com"),     false},
        {STR_INIT("*.com"),   STR_INIT("a.org"),    false},
        {STR_INIT("*.b.com"), STR_INIT("xb.com"),   false},
        {STR_INIT("*-x.com"), STR_INIT("a-x.com"),  true },
    };

    for (size_t i = 0; i < COUNT(rows); i++)
        CHECK_INT(match_host(rows[i].pattern, rows[i].host), rows[i].want);
}

TEST(a_pattern_covers_another_when_every_host_of_it_is_covered)
{
    CHECK(match_host_covers(STR("*"), STR("*")));
    CHECK(match_host_covers(STR("*"), STR("*.com")));
    CHECK(!match_host_covers(STR("*.com"), STR("*")));
    CHECK(match_host_covers(STR("*.com"), STR("*.com")));
    CHECK(match_host_covers(STR("*.com"), STR("*.a.com")));
    CHECK(!match_host_covers(STR("*.a.com"), STR("*.com")));
    CHECK(match_host_covers(STR("*.com"), STR("a.com")));
    CHECK(match_host_covers(STR("a.com"), STR("a.com")));
    CHECK(!match_host_covers(STR("a.com"), STR("*.a.com")));
}

static const char *replaced(const char *pattern, const char *subject, const char *to)
{
    static char text[256];
    struct err err = {0};
    struct regex *r = regex_new_search(str_from(pattern), &err);
    struct buf b;

    buf_init(&b, sizeof(text) - 1);
    if (!r || regex_check_substitution(r, str_from(to), &err))
        snprintf(text, sizeof(text), "refused");
    else if (regex_replace(r, str_from(subject), str_from(to), &b) == MATCH_FAILED)
        snprintf(text, sizeof(text), "failed");
    else
        snprintf(text, sizeof(text), "%.*s", (int)b.n, b.n ? b.p : "");
    buf_done(&b);
    regex_free(r);
    return text;
}

TEST(a_substitution_replaces_every_match_as_re2_does)
{
    static const struct {
        const char *pattern, *subject, *to, *want;
    } rows[] = {
        {"^/service/([^/]+)(/.*)$", "/service/foo/v1/api", "\\2/instance/\\1", "/v1/api/instance/foo"}, /* B14 */
        {"a",                       "banana",              "o",                "bonono"              },
        {"a*",                      "baab",                "x",                "xbxbx"               },
        {"",                        "ab",                  "-",                "refused"             },
        {"(a)|(b)",                 "abc",                 "[\\1\\2]",         "[a][b]c"             },
        {"x",                       "abc",                 "y",                "abc"                 },
        {"b",                       "abc",                 "<\\0\\\\>",         "a<b\\>c"             },
        {"b",                       "abc",                 "\\1",              "refused"             },
        {"b",                       "abc",                 "\\x",              "refused"             },
        {"/+",                      "//a///b",             "/",                "/a/b"                },
        {"^/",                      "/a/b",                "/x/",              "/x/a/b"              },
        {"(?:a|aa)+$",              "aaaaaaaaaaaaaaab",    "",                 "aaaaaaaaaaaaaaab"    },
    };

    for (size_t i = 0; i < COUNT(rows); i++)
        CHECK_TEXT(replaced(rows[i].pattern, rows[i].subject, rows[i].to), rows[i].want);
}
