#include "test/test.h"

#include "mesh/base/map.h"

static int values[10000];

static struct str name(char *text, int i)
{
    return (struct str){text, (size_t)snprintf(text, 32, "key-%d", i)};
}

TEST(what_was_put_is_found)
{
    struct map m;
    char text[32];

    map_init(&m);
    CHECK(map_get(&m, STR("nothing")) == NULL);
    for (int i = 0; i < 10000; i++)
        CHECK(map_put(&m, name(text, i), &values[i]) == NULL);
    for (int i = 0; i < 10000; i++)
        CHECK(map_get(&m, name(text, i)) == &values[i]);
    CHECK(map_get(&m, STR("key-10000")) == NULL);
    CHECK_INT(m.count, 10000);
    map_done(&m);
}

TEST(putting_again_gives_the_old_value)
{
    struct map m;

    map_init(&m);
    CHECK(map_put(&m, STR("a"), &values[0]) == NULL);
    CHECK(map_put(&m, STR("a"), &values[1]) == &values[0]);
    CHECK(map_get(&m, STR("a")) == &values[1]);
    CHECK_INT(m.count, 1);
    map_done(&m);
}

TEST(keys_are_copied_and_may_hold_anything)
{
    struct map m;
    char key[] = "abc";

    map_init(&m);
    map_put(&m, str_from(key), &values[0]);
    key[0] = 'X';
    CHECK(map_get(&m, STR("abc")) == &values[0]);
    map_put(&m, STR_NONE, &values[1]);
    map_put(&m, STR("a\0b"), &values[2]);
    CHECK(map_get(&m, STR("")) == &values[1]);
    CHECK(map_get(&m, STR("a\0b")) == &values[2]);
    CHECK(map_get(&m, STR("a")) == NULL);
    map_done(&m);
}

TEST(iteration_is_in_order_of_insertion_without_deleted_ones)
{
    struct map m;
    struct map_entry *e;
    char text[32];
    int at = 1;

    map_init(&m);
    for (int i = 0; i < 100; i++)
        map_put(&m, name(text, i), &values[i]);
    for (int i = 0; i < 100; i += 2)
        CHECK(map_del(&m, name(text, i)) == &values[i]);
    CHECK(map_del(&m, STR("key-0")) == NULL);
    for (size_t i = 0; (e = map_each(&m, &i)); at += 2)
        CHECK(e->value == &values[at]);
    CHECK_INT(at, 101);
    CHECK_INT(m.count, 50);
    map_done(&m);
}

TEST(the_current_entry_may_be_deleted_during_iteration)
{
    struct map m;
    struct map_entry *e;
    char text[32];

    map_init(&m);
    for (int i = 0; i < 50; i++)
        map_put(&m, name(text, i), &values[i]);
    for (size_t i = 0; (e = map_each(&m, &i));)
        CHECK(map_del(&m, e->key) != NULL);
    CHECK_INT(m.count, 0);
    map_done(&m);
}

TEST(endless_put_and_delete_does_not_grow)
{
    struct map m;
    char text[32];

    map_init(&m);
    for (int i = 0; i < 100000; i++) {
        map_put(&m, name(text, i), &values[0]);
        if (i >= 4)
            CHECK(map_del(&m, name(text, i - 4)) == &values[0]);
    }
    CHECK_INT(m.count, 4);
    CHECK(m.cap <= 32);
    map_done(&m);
}
