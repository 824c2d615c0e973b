/* One form of a path, for whoever looks at it. */
#include "proxy/path.h"

#include "mesh/base/findings.h"
#include "mesh/base/json.h"
#include "test/corpus.h"

static void check_path(enum path_mode mode, const char *path, const char *want)
{
    struct arena a;
    struct str out;

    arena_init(&a);
    CHECK(path_normalise(mode, str_from(path), &a, &out));
    CHECK_STR(out, want);
    arena_done(&a);
}

TEST(dots_and_escapes_of_letters_are_resolved)
{
    check_path(PATH_BASE, "/", "/");
    check_path(PATH_BASE, "/a/b.c/d", "/a/b.c/d");
    check_path(PATH_BASE, "/a/../b", "/b");
    check_path(PATH_BASE, "/a/./b/.", "/a/b/");
    check_path(PATH_BASE, "/a/b/..", "/a/");
    check_path(PATH_BASE, "/../../a", "/a");
    check_path(PATH_BASE, "/..", "/");
    check_path(PATH_BASE, "/.", "/");
    check_path(PATH_BASE, "/a//../b", "/a/b");
    check_path(PATH_BASE, "/a/...", "/a/...");
    check_path(PATH_BASE, "/a/.b/..c", "/a/.b/..c");
    check_path(PATH_BASE, "/%61%2D%7e%5f/%2e%2E/x", "/x");
    check_path(PATH_BASE, "/%61dmin", "/admin");
    check_path(PATH_BASE, "/a\\..\\b", "/b");
    check_path(PATH_BASE, "/a%2f..%5Cb", "/a%2f..%5Cb");
}

TEST(what_is_no_escape_stays_and_nothing_is_decoded_twice)
{
    check_path(PATH_BASE, "/%", "/%");
    check_path(PATH_BASE, "/%4", "/%4");
    check_path(PATH_BASE, "/%zz", "/%zz");
    check_path(PATH_BASE, "/%25%36%31", "/%2561");
    check_path(PATH_DECODE, "/%252f", "/%252f");
    check_path(PATH_BASE, "/%c3%a4", "/%c3%a4");
}

TEST(what_was_decoded_makes_no_new_escape)
{
    check_path(PATH_BASE, "/%%36%31dmin", "/%2561dmin");
    check_path(PATH_BASE, "/%%361dmin", "/%2561dmin");
    check_path(PATH_BASE, "/%6%31dmin", "/%2561dmin");
    check_path(PATH_BASE, "/%%30%30", "/%2500");
    check_path(PATH_BASE, "/%%%36%31/x", "/%%2561/x");
    check_path(PATH_BASE, "/%%32%66", "/%252f");
    check_path(PATH_DECODE, "/%%32%66", "/%252f");
    check_path(PATH_BASE, "/%/../6%31", "/61");
    check_path(PATH_BASE, "/%%7a%31", "/%z1");
}

TEST(what_no_path_may_hold_is_escaped)
{
    check_path(PATH_BASE, "/a\"<>^`{|}b?\"<>", "/a%22%3C%3E%5E%60%7B%7C%7Db?\"<>");
    check_path(PATH_MERGE, "//{//}", "/%7B/%7D");
    check_path(PATH_BASE, "/[a]~!$&'()*+,;=:@", "/[a]~!$&'()*+,;=:@");
    check_path(PATH_AS_IS, "/{a}", "/{a}");
}

TEST(a_clean_path_stays_as_it_is)
{
    static const char alphabet[] = "/.%2fF0613ad\"{\\";
    static const enum path_mode modes[] = {PATH_BASE, PATH_MERGE, PATH_DECODE};
    unsigned random = 1;

    for (int i = 0; i < 200000; i++) {
        char text[16];
        struct arena a;
        struct str once, twice;
        size_t n = 1;

        text[0] = '/';
        while (n < 3 + (size_t)i % 12) {
            random = random * 1103515245u + 12345u;
            text[n++] = alphabet[(random >> 16) % (sizeof(alphabet) - 1)];
        }
        arena_init(&a);
        if (path_normalise(modes[i % 3], (struct str){text, n}, &a, &once)) {
            if (!path_normalise(modes[i % 3], once, &a, &twice) || !str_eq(once, twice))
                fail_msg("%.*s becomes %.*s", (int)n, text, STR_ARG(once));
        }
        arena_done(&a);
    }
}

TEST(slashes_are_merged_and_decoded_where_that_is_asked_for)
{
    check_path(PATH_BASE, "/a//b", "/a//b");
    check_path(PATH_MERGE, "/a//b///", "/a/b/");
    check_path(PATH_MERGE, "//a%2f%2fb", "/a%2f%2fb");
    check_path(PATH_DECODE, "/a%2f%5Cb%2F..", "/a/");
    check_path(PATH_AS_IS, "/a/../%61//b\\c", "/a/../%61//b\\c");
}

TEST(the_query_and_other_targets_are_left_alone)
{
    check_path(PATH_DECODE, "/a/../b?c=/../%61//", "/b?c=/../%61//");
    check_path(PATH_DECODE, "*", "*");
    check_path(PATH_DECODE, "", "");
}

TEST(a_zero_byte_is_refused)
{
    struct arena a;
    struct str out;

    arena_init(&a);
    CHECK(!path_normalise(PATH_BASE, STR("/a%00"), &a, &out));
    CHECK(path_normalise(PATH_BASE, STR("/a?b=%00"), &a, &out));
    CHECK(path_normalise(PATH_AS_IS, STR("/a%00"), &a, &out)); /* whoever wants it as it is */
    arena_done(&a);
}

static enum path_mode mode_of(struct str name)
{
    static const struct {
        const char *name;
        enum path_mode mode;
    } rows[] = {{"NONE", PATH_AS_IS}, {"BASE", PATH_BASE}, {"MERGE_SLASHES", PATH_MERGE}, {"DECODE_AND_MERGE_SLASHES", PATH_DECODE}};

    for (size_t i = 0; i < COUNT(rows); i++) {
        if (str_eq(name, str_from(rows[i].name)))
            return rows[i].mode;
    }
    fail_msg("unknown mode %.*s", STR_ARG(name));
    return PATH_AS_IS;
}

/* Paths with '#' are refused before anybody normalises them. */
TEST(istios_own_cases_come_out_as_istio_has_them)
{
    char *text = corpus_file("istio/path_normalization.jsonl");
    struct str all = str_from(text), line;
    size_t rows = 0;

    while (str_next(&all, '\n', &line)) {
        struct findings f;
        struct arena a;
        struct node *row;
        struct str in, out;
        bool good;

        arena_init(&a);
        findings_init(&f, &a);
        row = NULL;
        if (line.n)
            CHECK_INT(json_parse(line, STR("corpus"), &a, &row, &f), 0);
        in = row ? node_text(row, "in") : STR_NONE;
        if (in.n > 0 && !memchr(in.p, '#', in.n)) {
            good = path_normalise(mode_of(node_text(row, "normalization")), in, &a, &out);
            CHECK_INT(good, node_get(row, STR("out")) != NULL);
            if (good)
                CHECK(str_eq(out, node_text(row, "out")));
            rows++;
        }
        arena_done(&a);
    }
    mem_free(text);
    CHECK(rows > 300);
}
