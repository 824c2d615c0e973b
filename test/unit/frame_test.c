/* Frames off a connection, and how often one caller may ask. */
#include "cmd/frame.h"
#include "cmd/server/server.h"
#include "mesh/base/limits.h"
#include "mesh/sync.h"
#include "proxy/wire/bytes.h"
#include "test/test.h"

TEST(a_dripped_frame_comes_with_its_last_byte)
{
    struct bytes in;
    struct buf frame, body;

    bytes_init(&in);
    buf_init(&frame, 100);
    buf_init(&body, LIMIT_SYNC_FRAME_BYTES);
    sync_frame(&frame, STR("0123456789"));
    for (size_t i = 0; i < frame.n; i++) {
        CHECK_INT(frame_next(&in, &body), 0);
        bytes_append(&in, str_sub(buf_str(&frame), i, 1));
    }
    CHECK_INT(frame_next(&in, &body), 1);
    CHECK_STR(buf_str(&body), "0123456789");
    CHECK_INT(in.n, 0);
    buf_done(&frame);
    buf_done(&body);
}

TEST(a_frame_over_many_slices_is_whole_and_the_next_one_stays)
{
    size_t n = 5 * BYTES_SLICE + 7;
    struct bytes in;
    struct buf frame, body, text;

    bytes_init(&in);
    buf_init(&text, n);
    buf_init(&frame, 2 * n);
    buf_init(&body, LIMIT_SYNC_FRAME_BYTES);
    while (text.n < n)
        buf_addc(&text, (char)('a' + text.n % 26));
    sync_frame(&frame, buf_str(&text));
    sync_frame(&frame, STR("next"));
    bytes_append(&in, buf_str(&frame));
    CHECK_INT(frame_next(&in, &body), 1);
    CHECK(str_eq(buf_str(&body), buf_str(&text)));
    CHECK_INT(frame_next(&in, &body), 1);
    CHECK_STR(buf_str(&body), "next");
    CHECK_INT(frame_next(&in, &body), 0);
    buf_done(&text);
    buf_done(&frame);
    buf_done(&body);
}

/* What a head of four bytes alone says. */
static int verdict(const char *head)
{
    struct bytes in;
    struct buf body;
    int got;

    bytes_init(&in);
    buf_init(&body, LIMIT_SYNC_FRAME_BYTES);
    bytes_append(&in, (struct str){head, 4});
    got = frame_next(&in, &body);
    CHECK_INT(body.n, 0);
    bytes_done(&in);
    buf_done(&body);
    return got;
}

TEST(a_frame_that_says_it_is_too_long_is_refused_at_its_head)
{
    CHECK_INT(verdict("\x01\x00\x00\x00"), 0); /* the limit itself is fine */
    CHECK_INT(verdict("\x01\x00\x00\x01"), -1);
    CHECK_INT(verdict("\xff\xff\xff\xff"), -1);
}

TEST(an_empty_frame_is_a_frame)
{
    CHECK_INT(verdict("\0\0\0\0"), 1);
}

TEST(who_used_up_the_minute_waits_for_the_next_one)
{
    struct throttle *t = throttle_new();

    for (unsigned i = 0; i < 3; i++)
        CHECK(throttle_take(t, STR("a"), 1, 3, 1000));
    CHECK(!throttle_take(t, STR("a"), 1, 3, 1000));
    CHECK(!throttle_take(t, STR("a"), 0, 3, 60999)); /* to ask is refused too, and costs nothing */
    CHECK(throttle_take(t, STR("b"), 1, 3, 1000));
    CHECK(throttle_take(t, STR("a"), 1, 3, 61000));
    throttle_free(t);
}

TEST(neighbours_in_one_ipv6_network_are_one_caller)
{
    struct arena a;
    struct addr one, two, other;

    arena_init(&a);
    CHECK(addr_parse_ip(STR("2001:db8:1:2::1"), &one));
    CHECK(addr_parse_ip(STR("2001:db8:1:2:ffff::9"), &two));
    CHECK(addr_parse_ip(STR("2001:db8:1:3::1"), &other));
    CHECK(str_eq(throttle_source(&one, &a), throttle_source(&two, &a)));
    CHECK(!str_eq(throttle_source(&one, &a), throttle_source(&other, &a)));
    CHECK(addr_parse_ip(STR("10.0.0.1"), &one));
    CHECK_STR(throttle_source(&one, &a), "10.0.0.1");
    arena_done(&a);
}
