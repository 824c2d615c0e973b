/* Tests on cmocka. A test is a sentence: TEST(longest_prefix_wins) { ... } registers itself; a failing
 * CHECK prints file:line with both values and ends that test. `PROGRAM substring` runs only tests whose
 * name holds the substring.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mesh/base/str.h"

#define TEST_MAX 512

static struct CMUnitTest test_list[TEST_MAX];
static size_t test_count;

#define TEST(id)                                                                                   \
    static void test_##id(void **state);                                                           \
    __attribute__((constructor)) static void register_##id(void)                                   \
    {                                                                                              \
        test_list[test_count++] = (struct CMUnitTest){#id, test_##id, NULL, NULL, NULL};           \
    }                                                                                              \
    static void test_##id(__attribute__((unused)) void **state)

#define CHECK(cond)           assert_true(cond)
#define CHECK_INT(got, want)  assert_int_equal((got), (want))
#define CHECK_TEXT(got, want) assert_string_equal((got), (want))
#define CHECK_STR(got, want)  test_check_str((got), (want), __FILE__, __LINE__)

/* A slice equals a C string. */
__attribute__((unused)) static void test_check_str(struct str got, const char *want, const char *file,
                                                   int line)
{
    if (got.n == strlen(want) && (got.n == 0 || memcmp(got.p, want, got.n) == 0))
        return;
    print_error("got \"%.*s\", want \"%s\"\n", STR_ARG(got), want);
    _fail(file, line);
}

int main(int argc, char **argv)
{
    const char *name = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
    size_t kept = 0;

    for (size_t i = 0; i < test_count; i++) {
        if (argc < 2 || strstr(test_list[i].name, argv[1]))
            test_list[kept++] = test_list[i];
    }
    if (kept == 0) {
        fprintf(stderr, "%s: no test matches\n", name);
        return 2;
    }
    return _cmocka_run_group_tests(name, test_list, kept, NULL, NULL);
}
