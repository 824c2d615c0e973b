#include "test/test.h"

#include "mesh/base/arena.h"

TEST(pieces_are_aligned_cleared_and_do_not_overlap)
{
    struct arena a;
    char *previous = NULL;

    arena_init(&a);
    for (size_t i = 0; i < 3000; i++) {
        char *p = arena_zalloc(&a, i % 97 + 1);

        CHECK_INT((uintptr_t)p % _Alignof(max_align_t), 0);
        for (size_t k = 0; k <= i % 97; k++)
            CHECK_INT(p[k], 0);
        memset(p, 0xEE, i % 97 + 1);
        if (previous)
            CHECK_INT((unsigned char)previous[0], 0xEE);
        previous = p;
    }
    arena_done(&a);
    CHECK(a.chunks == NULL);
}

TEST(the_callers_memory_comes_first)
{
    _Alignas(max_align_t) char first[256];
    struct arena a;
    char *p, *q;

    arena_init_with(&a, first + 1, sizeof(first) - 1);
    p = arena_alloc(&a, 64);
    CHECK(p >= first && p + 64 <= first + sizeof(first));
    q = arena_alloc(&a, 1000); /* does not fit */
    CHECK(q < first || q >= first + sizeof(first));
    p = arena_alloc(&a, 64); /* the rest is still used */
    CHECK(p >= first && p + 64 <= first + sizeof(first));
    arena_done(&a);
}

TEST(a_tiny_first_piece_is_no_trouble)
{
    char first[3];
    struct arena a;

    arena_init_with(&a, first + 1, 2);
    memset(arena_alloc(&a, 100), 1, 100);
    arena_done(&a);
}

TEST(large_objects_get_their_own_chunk)
{
    struct arena a;
    char *small, *large, *next;

    arena_init(&a);
    small = arena_alloc(&a, 16);
    large = arena_alloc(&a, 1 << 20);
    next = arena_alloc(&a, 16);
    memset(large, 1, 1 << 20);
    CHECK(next == small + 16);
    arena_done(&a);
}

TEST(texts_are_copies_with_a_nul_behind)
{
    struct arena a;
    char text[] = "abc";
    struct str s;

    arena_init(&a);
    s = arena_str(&a, (struct str){text, 2});
    text[0] = 'X';
    CHECK_TEXT(s.p, "ab");
    CHECK_STR(arena_printf(&a, "%s-%d", "x", 5), "x-5");
    s = arena_printf(&a, "%0500d", 1); /* longer than the first guess */
    CHECK_INT(s.n, 500);
    CHECK_INT(s.p[499], '1');
    CHECK_STR(arena_str(&a, STR_NONE), "");
    arena_done(&a);
}

TEST(arrays_are_cleared)
{
    struct arena a;
    uint64_t *p;

    arena_init(&a);
    memset(arena_alloc(&a, 512), 0xFF, 512);
    p = ARENA_ARRAY(&a, 100, uint64_t);
    for (size_t i = 0; i < 100; i++)
        CHECK(p[i] == 0);
    arena_done(&a);
}
