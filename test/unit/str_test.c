#include "test/test.h"

#include "mesh/base/str.h"

static int64_t duration(const char *text)
{
    int64_t ns;

    return str_duration(str_from(text), &ns) ? ns : -1;
}

TEST(a_slice_of_a_slice_stays_inside)
{
    CHECK_STR(str_sub(STR("hello"), 1, 3), "ell");
    CHECK_STR(str_sub(STR("hello"), 4, 9), "o");
    CHECK_STR(str_sub(STR("hello"), 9, 9), "");
    CHECK_STR(str_sub(STR_NONE, 1, 1), "");
}

TEST(equality_is_bytewise_and_nocase_is_ascii_only)
{
    CHECK(str_eq(STR_NONE, STR("")));
    CHECK(!str_eq(STR("a"), STR("ab")));
    CHECK(str_eq_nocase(STR("Content-LENGTH"), STR("content-length")));
    CHECK(!str_eq_nocase(STR("@"), STR("`"))); /* differ by the bit that tells cases apart */
    CHECK(!str_eq_nocase(STR("\xC3\x84"), STR("\xC3\xA4")));
}

TEST(order_is_bytewise_and_the_shorter_comes_first)
{
    CHECK(str_cmp(STR("a"), STR("b")) < 0);
    CHECK(str_cmp(STR("a"), STR("ab")) < 0);
    CHECK(str_cmp(STR("\xFF"), STR("a")) > 0);
    CHECK(str_cmp(STR_NONE, STR("")) == 0);
}

TEST(prefixes_suffixes_and_needles_are_found)
{
    size_t at = 99;

    CHECK(str_starts(STR("/api/v1"), STR("/api")) && !str_starts(STR("/ap"), STR("/api")));
    CHECK(str_starts_nocase(STR("BEARER x"), STR("bearer ")));
    CHECK(str_ends(STR("a.yaml"), STR(".yaml")) && !str_ends(STR("yaml"), STR(".yaml")));
    CHECK(str_find(STR("a=b=c"), STR("=c"), &at));
    CHECK_INT(at, 3);
    CHECK(!str_find(STR("ab"), STR("abc"), &at));
    CHECK(str_find(STR_NONE, STR_NONE, &at));
    CHECK(str_has(STR("a.b"), '.') && !str_has(STR_NONE, '.'));
    CHECK_STR(str_trim(STR(" \t x y\r\n")), "x y");
    CHECK_STR(str_trim(STR(" \t")), "");
}

TEST(cut_takes_what_is_before_the_separator)
{
    struct str line = STR("key=a=b"), head;

    CHECK(str_cut(&line, '=', &head));
    CHECK_STR(head, "key");
    CHECK_STR(line, "a=b");
    CHECK(!str_cut(&line, ';', &head));
    CHECK_STR(line, "a=b"); /* unchanged */
}

TEST(next_walks_a_list_with_empty_items)
{
    struct str list = STR("a,,b,"), item;
    const char *want[] = {"a", "", "b"};

    for (size_t i = 0; i < 3; i++) {
        CHECK(str_next(&list, ',', &item));
        CHECK_STR(item, want[i]);
    }
    CHECK(!str_next(&list, ',', &item)); /* nothing behind the last separator */
}

TEST(numbers_are_strict)
{
    static const char *const bad[] = {"",
                                      "+1",
                                      "-1",
                                      " 1",
                                      "1 ",
                                      "0x1",
                                      "1e3",
                                      "1.0",
                                      "18446744073709551616",
                                      "99999999999999999999999"};
    uint64_t u = 7;
    int64_t i;

    for (size_t k = 0; k < COUNT(bad); k++)
        CHECK(!str_uint(str_from(bad[k]), 0, UINT64_MAX, &u));
    CHECK_INT(u, 7); /* untouched on failure */
    CHECK(str_uint(STR("18446744073709551615"), 0, UINT64_MAX, &u) && u == UINT64_MAX);
    CHECK(str_uint(STR("007"), 0, 9, &u) && u == 7);
    CHECK(!str_uint(STR("65536"), 1, 65535, &u) && !str_uint(STR("0"), 1, 65535, &u));
    CHECK(str_int(STR("-9223372036854775808"), INT64_MIN, INT64_MAX, &i) && i == INT64_MIN);
    CHECK(!str_int(STR("9223372036854775808"), INT64_MIN, INT64_MAX, &i));
    CHECK(!str_int(STR("--1"), -9, 9, &i) && !str_int(STR("-"), -9, 9, &i));
    CHECK(str_hex(STR("fFfF"), 0xFFFF, &u) && u == 0xFFFF);
    CHECK(!str_hex(STR("10000"), 0xFFFF, &u) && !str_hex(STR("0x1"), 99, &u));
    CHECK(!str_hex(STR("10000000000000000"), UINT64_MAX, &u) && !str_hex(STR(""), 1, &u));
}

TEST(doubles_follow_the_json_grammar)
{
    static const char *const bad[] = {"",    "-",   ".5",  "5.",    "01",    "+1", "1e",
                                      "1e+", "nan", "inf", "0x1p3", "1e999", "1 ", "-01"};
    double d;

    for (size_t k = 0; k < COUNT(bad); k++)
        CHECK(!str_double(str_from(bad[k]), &d));
    CHECK(str_double(STR("-0.5e+1"), &d) && d > -5.001 && d < -4.999);
    CHECK(str_double(STR("0"), &d) && d >= 0 && d <= 0);
}

TEST(durations_are_gos)
{
    CHECK_INT(duration("1h"), 3600000000000);
    CHECK_INT(duration("1m30s"), 90000000000);
    CHECK_INT(duration("1.5h"), 5400000000000);
    CHECK_INT(duration(".5s"), 500000000);
    CHECK_INT(duration("1.s"), 1000000000);
    CHECK_INT(duration("300ms"), 300000000);
    CHECK_INT(duration("0.5us"), 500);
    CHECK_INT(duration("0.000042s"), 42000);
    CHECK_INT(duration("7\xc2\xb5s"), 7000);
    CHECK_INT(duration("1.9999999999ns"), 1); /* cut, not rounded */
    CHECK_INT(duration("0"), 0);
    CHECK_INT(duration("2562047h47m16.854775807s"), INT64_MAX);
}

TEST(other_texts_are_no_durations)
{
    static const char *const bad[] = {"",         "1",    "s",    ".s",   "1 s",
                                      "1s ",      "1d",   "1S",   "1hh",  "9223372036854775808ns",
                                      "2562048h", "1e3s", "--1s", "1s-1s"};
    int64_t ns;

    for (size_t k = 0; k < COUNT(bad); k++)
        CHECK_INT(duration(bad[k]), -1);
    CHECK(str_duration(STR("-1.5s"), &ns) && ns == -1500000000);
    CHECK(str_duration(STR("+1s"), &ns) && ns == 1000000000);
}

TEST(utf8_has_one_form_for_each_character)
{
    CHECK_INT(str_utf8(STR("a")), 1);
    CHECK_INT(str_utf8(STR("\xC3\xA4")), 2);
    CHECK_INT(str_utf8(STR("\xE2\x82\xAC")), 3);
    CHECK_INT(str_utf8(STR("\xF0\x9F\x98\x80")), 4);
    CHECK_INT(str_utf8(STR("\xC0\xAF")), 0);         /* overlong '/' */
    CHECK_INT(str_utf8(STR("\xE0\x80\xAF")), 0);     /* overlong */
    CHECK_INT(str_utf8(STR("\xED\xA0\x80")), 0);     /* a surrogate */
    CHECK_INT(str_utf8(STR("\xF4\x90\x80\x80")), 0); /* beyond U+10FFFF */
    CHECK_INT(str_utf8(STR("\xE2\x82")), 0);         /* cut */
    CHECK_INT(str_utf8(STR("\x80")), 0);
    CHECK_INT(str_utf8(STR_NONE), 0);
}

TEST(distance_counts_edits_up_to_its_bound)
{
    CHECK_INT(str_distance(STR("mirrorPercent"), STR("mirrorPercentage"), 3), 3);
    CHECK_INT(str_distance(STR("kitten"), STR("sitting"), 9), 3);
    CHECK_INT(str_distance(STR("abc"), STR("xyz"), 1), 2);
    CHECK_INT(str_distance(STR(""), STR("ab"), 5), 2);
}

TEST(a_copy_that_does_not_fit_is_cut)
{
    char text[4];

    str_fit(text, sizeof(text), STR("abc"));
    CHECK_STR(str_from(text), "abc");
    str_fit(text, sizeof(text), STR("abcd"));
    CHECK_STR(str_from(text), "abc");
    str_fit(text, sizeof(text), STR_NONE);
    CHECK_STR(str_from(text), "");
}

TEST(numbers_are_written_in_decimal)
{
    char text[STR_UINT_MAX];

    CHECK_STR(str_of_uint(0, text), "0");
    CHECK_STR(str_of_uint(10, text), "10");
    CHECK_STR(str_of_uint(UINT64_MAX, text), "18446744073709551615");
}

TEST(hashes_differ_for_different_texts_and_lengths)
{
    static const char zeros[64];
    uint64_t seen[64];

    /* Runs of zeros differ only in their length. */
    for (size_t n = 0; n < COUNT(seen); n++) {
        seen[n] = str_hash((struct str){zeros, n});
        for (size_t k = 0; k < n; k++)
            CHECK(seen[k] != seen[n]);
    }
    CHECK(str_hash(STR("reviews")) == str_hash(STR("reviews")));
    CHECK(str_hash(STR("reviews")) != str_hash(STR("Reviews")));
}
