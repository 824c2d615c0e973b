#include "proxy/grpc.h"

#include "test/test.h"

static struct arena arena;

static struct http_head head_of(const char *name, const char *value)
{
    struct http_head h;

    http_head_init(&h, &arena, true);
    if (name)
        http_add(&h, str_from(name), str_from(value));
    return h;
}

static const char *field(const struct http_head *h, const char *name)
{
    struct str value;

    if (!http_get(h, str_from(name), &value))
        return "(none)";
    return arena_printf(&arena, "%.*s", STR_ARG(value)).p;
}

TEST(who_speaks_grpc_says_so_by_its_type)
{
    static const struct {
        const char *type;
        bool is;
    } rows[] = {
        {"application/grpc", true},           {"application/grpc+proto", true}, {"application/grpc;charset=utf-8", true},
        {"Application/GRPC", true},           {"application/grpc-web", false},  {"application/grpc-web+proto", false},
        {"application/grpcish", false},       {"application/json", false},      {"", false},
    };

    arena_init(&arena);
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct http_head h = head_of("content-type", rows[i].type);

        CHECK_INT(grpc_is(&h), rows[i].is);
    }
    arena_done(&arena);
}

TEST(a_status_is_a_number_that_grpc_knows)
{
    static const struct {
        const char *value;
        int status;
    } rows[] = {{"0", 0}, {"14", 14}, {"16", 16}, {"17", 2}, {"-1", 2}, {"x", 2}, {"", 2}};
    struct http_head h;

    arena_init(&arena);
    for (size_t i = 0; i < COUNT(rows); i++) {
        h = head_of("grpc-status", rows[i].value);
        CHECK_INT(grpc_status(h.fields, h.count), rows[i].status);
    }
    h = head_of("grpc-message", "0");
    CHECK_INT(grpc_status(h.fields, h.count), -1);
    CHECK_INT(grpc_status_of_http(404), 12);
    CHECK_INT(grpc_status_of_http(503), 14);
    CHECK_INT(grpc_status_of_http(418), 2);
    CHECK_INT(grpc_http_status(14), 503);
    CHECK_INT(grpc_http_status(-1), 500);
    CHECK_INT(grpc_status_text(-1).n, 0);
    CHECK_STR(grpc_status_text(14), "14");
    arena_done(&arena);
}

TEST(a_deadline_is_the_callers_within_what_the_route_allows)
{
    static const struct {
        const char *asked; /* NULL: nothing */
        int64_t most_ms, ms;
    } rows[] = {
        {NULL, 0, 0},        {NULL, 500, 500},     {"1S", 0, 1000},      {"1S", 500, 500},      {"100m", 500, 100},
        {"2M", 0, 120000},   {"1H", 0, 3600000},   {"1u", 0, 1},         {"1500u", 0, 2},       {"1000001n", 0, 2},
        {"0m", 500, 500},    {"99999999H", 0, 99999999 * INT64_C(3600000)},
        {"100000000m", 0, 0}, {"1", 0, 0},         {"m", 0, 0},          {"1x", 0, 0},          {"-1S", 700, 700},
    };

    arena_init(&arena);
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct http_head h = head_of(rows[i].asked ? "grpc-timeout" : NULL, rows[i].asked);

        CHECK_INT(grpc_deadline_ms(&h, rows[i].most_ms), rows[i].ms);
    }
    arena_done(&arena);
}

TEST(a_deadline_is_written_in_eight_digits)
{
    static const struct {
        int64_t ms;
        const char *text;
    } rows[] = {{1, "1m"}, {99999999, "99999999m"}, {100000000, "100000S"}, {99999999 * INT64_C(60000), "99999999M"}};

    arena_init(&arena);
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct http_head h = head_of(NULL, NULL);

        grpc_set_deadline(&h, rows[i].ms);
        CHECK_TEXT(field(&h, "grpc-timeout"), rows[i].text);
    }
    arena_done(&arena);
}

TEST(an_answer_of_ours_is_all_in_the_head)
{
    struct http_head h;

    arena_init(&arena);
    h = head_of("content-type", "text/plain");
    h.status = 503;
    grpc_answer(&h, STR("100% \xc3\xa9\n"));
    CHECK_INT(h.status, 200);
    CHECK_TEXT(field(&h, "content-type"), "application/grpc");
    CHECK_TEXT(field(&h, "grpc-status"), "14");
    CHECK_TEXT(field(&h, "grpc-message"), "100%25 %C3%A9%0A");
    h = head_of("grpc-status", "5"); /* a rule said which */
    h.status = 404;
    grpc_answer(&h, STR_NONE);
    CHECK_TEXT(field(&h, "grpc-status"), "5");
    CHECK_TEXT(field(&h, "grpc-message"), "(none)");
    arena_done(&arena);
}

/* Three messages of 0, 3 and 300 bytes, in pieces of any size. */
TEST(messages_are_counted_however_they_are_cut)
{
    char all[3 * 5 + 303] = {0};

    all[5 + 4] = 3;
    all[5 + 5 + 3 + 3] = 1;
    all[5 + 5 + 3 + 4] = 44;
    for (size_t step = 1; step <= sizeof(all); step++) {
        struct grpc_frames f = {0};

        for (size_t at = 0; at < sizeof(all); at += step) {
            struct bytes some;

            bytes_init(&some);
            bytes_append(&some, (struct str){all + at, MIN(step, sizeof(all) - at)});
            grpc_frames_feed(&f, &some);
            bytes_done(&some);
        }
        CHECK_INT(f.messages, 3);
        CHECK_INT(f.left, 0);
    }
}
