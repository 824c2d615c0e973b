#include "test/test.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "mesh/base/mem.h"
#include "proxy/wire/bytes.h"

static struct bytes of(const char *text)
{
    struct bytes b;

    bytes_init(&b);
    bytes_append(&b, str_from(text));
    return b;
}

static void check(struct bytes *b, const char *want)
{
    char got[256] = {0};

    CHECK_INT(b->n, strlen(want));
    CHECK_INT(bytes_copy_out(b, 0, got, sizeof(got) - 1), strlen(want));
    CHECK_TEXT(got, want);
}

static struct bytes pattern(size_t n)
{
    struct bytes b;

    bytes_init(&b);
    for (size_t i = 0; i < n; i++) {
        char c = (char)('a' + i % 23);

        bytes_append(&b, (struct str){&c, 1});
    }
    return b;
}

static void check_pattern(const struct bytes *b, size_t from)
{
    char *got = mem_alloc(b->n + 1);

    CHECK_INT(bytes_copy_out(b, 0, got, b->n), b->n);
    for (size_t i = 0; i < b->n; i++) {
        if (got[i] != (char)('a' + (from + i) % 23))
            fail_msg("byte %zu is %c", i, got[i]);
    }
    mem_free(got);
}

TEST(what_is_appended_comes_out)
{
    struct bytes b = of("hello");

    bytes_append(&b, STR(" world"));
    check(&b, "hello world");
    CHECK_STR(bytes_front(&b), "hello world");
    bytes_drop(&b, 6);
    check(&b, "world");
    bytes_done(&b);
    CHECK_INT(b.n, 0);
    CHECK_INT(bytes_pool_live(), 0);
}

TEST(moving_takes_exactly_what_was_asked)
{
    struct bytes from = pattern(100000), to;

    bytes_init(&to);
    bytes_move(&to, &from, 0);
    CHECK_INT(to.n, 0);
    for (size_t step = 1; from.n > 0; step = step * 3 + 1) {
        size_t want = to.n + MIN(step, from.n);

        bytes_move(&to, &from, step);
        CHECK_INT(to.n, want);
        check_pattern(&to, 0);
        check_pattern(&from, to.n);
    }
    CHECK_INT(to.n, 100000);
    bytes_done(&to);
    CHECK_INT(bytes_pool_live(), 0);
}

TEST(large_moves_do_not_copy)
{
    struct bytes from = pattern(BYTES_SLICE), to = of("x");
    const char *at = bytes_front(&from).p;

    bytes_move(&to, &from, from.n);
    bytes_drop(&to, 1);
    CHECK(bytes_front(&to).p == at);
    bytes_done(&to);
}

TEST(small_pieces_do_not_hold_a_slice_each)
{
    struct bytes to = of("x");

    for (int i = 0; i < 5000; i++) {
        struct bytes from = of("0123456789");

        bytes_move(&to, &from, from.n);
    }
    CHECK(bytes_pool_live() <= 5);
    CHECK_INT(to.n, 50001);
    bytes_done(&to);
}

TEST(shared_bytes_survive_the_first_owner)
{
    struct bytes a = pattern(40000), b = of("");

    bytes_share(&b, &a, 10000, 25000);
    CHECK_INT(b.n, 25000);
    bytes_done(&a);
    check_pattern(&b, 10000);
    bytes_append(&b, STR("tail"));
    CHECK_INT(b.n, 25004);
    bytes_done(&b);
    CHECK_INT(bytes_pool_live(), 0);
}

TEST(writing_behind_a_shared_piece_leaves_the_other_alone)
{
    struct bytes a = pattern(1000), b = of("");

    bytes_share(&b, &a, 0, 1000);
    bytes_append(&a, STR("AAAA"));
    bytes_append(&b, STR("BBBB"));
    bytes_drop(&a, 1000);
    bytes_drop(&b, 1000);
    check(&a, "AAAA");
    check(&b, "BBBB");
    bytes_done(&a);
    bytes_done(&b);
}

TEST(flat_joins_pieces_and_leaves_room_to_grow)
{
    struct bytes b = pattern(50000);
    const char *first;

    CHECK_INT(bytes_flat(&b, 0).n, 0);
    CHECK_INT(bytes_flat(&b, 40000).n, 40000);
    check_pattern(&b, 0);
    CHECK(bytes_front(&b).n >= 40000);
    first = bytes_flat(&b, b.n).p;
    for (int i = 0; i < 1000; i++) {
        char c = (char)('a' + (50000 + i) % 23);

        bytes_append(&b, (struct str){&c, 1});
        CHECK(bytes_flat(&b, b.n).p == first);
    }
    check_pattern(&b, 0);
    bytes_done(&b);
    CHECK_INT(bytes_pool_live(), 0);
}

TEST(unused_room_is_not_data)
{
    struct bytes a, b = of("b");
    size_t room;

    bytes_init(&a);
    CHECK(bytes_tail(&a, &room) != NULL);
    CHECK(room > 0);
    CHECK_INT(a.n, 0);
    CHECK_INT(bytes_front(&a).n, 0);
    bytes_move(&a, &b, 1);
    check(&a, "b");
    bytes_done(&a);
    CHECK_INT(bytes_pool_live(), 0);
}

TEST(readv_appends_at_most_max)
{
    struct bytes in = of("start:"), out = pattern(30000);
    struct iovec iov[8];
    int fds[2];
    size_t got = 0;

    CHECK_INT(pipe2(fds, O_NONBLOCK), 0);
    CHECK_INT(writev(fds[1], iov, (int)bytes_iov(&out, iov, 8)), 30000);
    CHECK_INT(bytes_readv(&in, fds[0], 7), 7);
    CHECK_INT(in.n, 13);
    bytes_drop(&in, 6);
    check_pattern(&in, 0);
    while (bytes_readv(&in, fds[0], 65536) > 0)
        got = in.n;
    CHECK_INT(got, 30000);
    CHECK_INT(errno, EAGAIN);
    check_pattern(&in, 0);
    close(fds[0]);
    close(fds[1]);
    bytes_done(&in);
    bytes_done(&out);
    CHECK_INT(bytes_pool_live(), 0);
    bytes_pool_trim();
}
