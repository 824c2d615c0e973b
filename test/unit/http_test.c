#include "test/test.h"

#include "proxy/wire/http.h"

static struct arena arena;

static struct http_head head(void)
{
    struct http_head h;

    arena_done(&arena);
    arena_init(&arena);
    http_head_init(&h, &arena, true);
    return h;
}

TEST(fields_are_added_found_replaced_and_removed)
{
    struct http_head h = head();
    struct str value = STR("untouched");

    CHECK(!http_get(&h, STR("a"), &value));
    CHECK_STR(value, "untouched");
    http_add(&h, STR("a"), STR("1"));
    http_add(&h, STR("b"), STR("2"));
    http_add(&h, STR("a"), STR("3"));
    CHECK(http_get(&h, STR("a"), &value));
    CHECK_STR(value, "1");
    http_set(&h, STR("a"), STR("4"));
    CHECK_INT(h.count, 2);
    CHECK(http_get(&h, STR("a"), &value));
    CHECK_STR(value, "4");
    http_remove(&h, STR("a"));
    CHECK(!http_get(&h, STR("a"), &value));
    for (int i = 0; i < 100; i++)
        http_add(&h, STR("many"), STR("x"));
    CHECK_INT(h.count, 101);
    arena_done(&arena);
}

TEST(a_copy_lives_without_the_original)
{
    struct http_head h = head(), copy;
    struct arena other;
    struct str value;

    h.method = STR("GET");
    h.path = arena_str(&arena, STR("/x"));
    http_add(&h, STR("a"), STR("1"));
    arena_init(&other);
    http_head_copy(&copy, &h, &other);
    http_add(&h, STR("late"), STR("1"));
    arena_done(&arena);
    CHECK_STR(copy.path, "/x");
    CHECK(http_get(&copy, STR("a"), &value));
    CHECK_STR(value, "1");
    CHECK_INT(copy.count, 1);
    for (int i = 0; i < 10; i++)
        http_add(&copy, STR("b"), STR("2"));
    CHECK_INT(copy.count, 11);
    arena_done(&other);
}

TEST(paths_queries_and_hosts_are_cut_apart)
{
    struct str value;

    CHECK_STR(http_path_only(STR("/a?b?c")), "/a");
    CHECK_STR(http_path_only(STR("/a")), "/a");
    CHECK_STR(http_path_only(STR("")), "");
    CHECK(http_query_get(STR("/a?b=c&d=e=f&g"), STR("d"), &value));
    CHECK_STR(value, "e=f");
    CHECK(http_query_get(STR("/a?b=c&d=e=f&g"), STR("g"), &value));
    CHECK_STR(value, "");
    CHECK(!http_query_get(STR("/a?b=c"), STR("c"), &value));
    CHECK(!http_query_get(STR("/a"), STR("a"), &value));
    CHECK_STR(http_host_only(STR("web:80")), "web");
    CHECK_STR(http_host_only(STR("web")), "web");
    CHECK_STR(http_host_only(STR("web8")), "web8");
    CHECK_STR(http_host_only(STR("[::1]:80")), "[::1]");
    CHECK_STR(http_host_only(STR("[::1]")), "[::1]");
    CHECK_STR(http_host_name(STR("[::1]:80")), "::1");
    CHECK_STR(http_host_name(STR("web:80")), "web");
}

TEST(tokens_and_methods_are_told_apart)
{
    CHECK(http_is_token(STR("x-a_b.c~1")));
    CHECK(!http_is_token(STR("")));
    CHECK(!http_is_token(STR("a b")));
    CHECK(!http_is_token(((struct str){"a\0b", 3})));
    CHECK(!http_is_token(STR("a:")));
    CHECK(http_is_idempotent(STR("PUT")));
    CHECK(!http_is_idempotent(STR("POST")));
    CHECK(!http_is_idempotent(STR("get")));
    CHECK_TEXT(http_reason(404), "Not Found");
    CHECK_TEXT(http_reason(416), "Range Not Satisfiable");
    CHECK_TEXT(http_reason(511), "Network Authentication Required");
    CHECK_TEXT(http_reason(299), "Unknown");
}

TEST(settings_of_an_upgrade_are_a_frame_s_payload)
{
    static const struct {
        const char *value;
        size_t n;
    } cases[] = {{"AAMAAABk", 6}, {"AAMAAABkAAQAAP__", 12}, {"", 0},          {"AAMA", 0},
                 {"AAMAAAB", 0},  {"AAMAAA+k", 0},          {"AAMAAAA=", 0}};
    char many[264];
    uint8_t out[HTTP_H2C_SETTINGS_MAX];

    for (size_t i = 0; i < COUNT(cases); i++)
        CHECK_INT(http_h2c_settings(str_from(cases[i].value), out), cases[i].n);
    CHECK_INT(http_h2c_settings(STR("AAMAAABk"), out), 6);
    CHECK(memcmp(out, "\0\3\0\0\0d", 6) == 0);
    memset(many, 'A', sizeof(many));
    CHECK_INT(http_h2c_settings((struct str){many, 256}, out), HTTP_H2C_SETTINGS_MAX);
    CHECK_INT(http_h2c_settings((struct str){many, 264}, out), 0);
}
