#include "test/test.h"

#include "mesh/base/buf.h"

static const char *json(struct str s, char *out, size_t room)
{
    struct buf b;

    buf_init(&b, 1000);
    buf_json(&b, s);
    snprintf(out, room, "%.*s", STR_ARG(buf_str(&b)));
    buf_done(&b);
    return out;
}

static const char *duration(int64_t ns, char *out, size_t room)
{
    struct buf b;

    buf_init(&b, 1000);
    buf_duration(&b, ns);
    snprintf(out, room, "%.*s", STR_ARG(buf_str(&b)));
    buf_done(&b);
    return out;
}

TEST(text_grows_piece_by_piece)
{
    struct buf b;

    buf_init(&b, 10000);
    for (int i = 0; i < 1000; i++)
        buf_printf(&b, "%d,", i % 10);
    buf_adds(&b, "end");
    buf_addc(&b, '.');
    CHECK_INT(b.n, 2004);
    CHECK(!b.failed);
    CHECK_STR(str_sub(buf_str(&b), 1998, 99), "9,end.");
    buf_done(&b);
}

TEST(the_maximum_cuts_and_the_failure_sticks)
{
    struct buf b;

    buf_init(&b, 5);
    buf_adds(&b, "abc");
    buf_adds(&b, "defg");
    CHECK(b.failed);
    CHECK_STR(buf_str(&b), "abcde");
    buf_adds(&b, "h"); /* nothing is appended behind a gap */
    CHECK_STR(buf_str(&b), "abcde");
    CHECK(buf_steal(&b) == NULL);
    buf_adds(&b, "fresh"); /* as after init */
    CHECK(!b.failed);
    buf_clear(&b);
    CHECK_STR(buf_str(&b), "");
    buf_done(&b);
}

TEST(long_formats_are_not_cut)
{
    struct buf b;

    buf_init(&b, 2000);
    buf_printf(&b, "%01000d", 7);
    CHECK_INT(b.n, 1000);
    buf_printf(&b, "%01500d", 7);
    CHECK(b.failed);
    CHECK_INT(b.n, 2000);
    buf_done(&b);
}

TEST(a_stolen_text_ends_in_nul)
{
    struct buf b;
    char *p;

    buf_init(&b, 100);
    p = buf_steal(&b);
    CHECK_TEXT(p, "");
    free(p);
    buf_adds(&b, "x");
    p = buf_steal(&b);
    CHECK_TEXT(p, "x");
    CHECK_INT(b.n, 0);
    free(p);
}

TEST(json_strings_are_escaped_and_always_utf8)
{
    char out[200];

    CHECK_TEXT(json(STR("a\"b\\c\n\t\x01/"), out, sizeof(out)), "\"a\\\"b\\\\c\\n\\t\\u0001/\"");
    CHECK_TEXT(json(STR("\xC3\xA4\xF0\x9F\x98\x80"), out, sizeof(out)),
               "\"\xC3\xA4\xF0\x9F\x98\x80\"");
    CHECK_TEXT(json(STR("a\xFF"
                        "b\xC3"),
                    out, sizeof(out)),
               "\"a\xEF\xBF\xBD"
               "b\xEF\xBF\xBD\"");
    CHECK_TEXT(json(STR("\xC2\x85\xE2\x80\xA8\xEF\xBF\xBF\xEF\xBB\xBF\xC2\xA0"), out, sizeof(out)),
               "\"\\u0085\\u2028\\uffff\\ufeff\xC2\xA0\""); /* line breaks to others */
    CHECK_TEXT(json(STR_NONE, out, sizeof(out)), "\"\"");
}

TEST(durations_are_printed_as_go_prints_them)
{
    static const struct {
        int64_t ns;
        const char *text;
    } rows[] = {
        {0,             "0s"          },
        {1,             "1ns"         },
        {1500,          "1.5\xc2\xb5s"},
        {300000000,     "300ms"       },
        {1000000001,    "1.000000001s"},
        {90000000000,   "1m30s"       },
        {60000000000,   "1m"          },
        {3600000000000, "1h"          },
        {3661500000000, "1h1m1.5s"    },
        {-1500000000,   "-1.5s"       },
    };
    char out[100];

    for (size_t i = 0; i < COUNT(rows); i++)
        CHECK_TEXT(duration(rows[i].ns, out, sizeof(out)), rows[i].text);
}

TEST(every_printed_duration_reads_back)
{
    static const int64_t values[] = {1,         999,          1001, 123456789, 86399999999999,
                                     INT64_MAX, INT64_MIN + 1};
    char out[100];
    int64_t back;

    for (size_t i = 0; i < COUNT(values); i++) {
        CHECK(str_duration(str_from(duration(values[i], out, sizeof(out))), &back));
        CHECK(back == values[i]);
    }
}
