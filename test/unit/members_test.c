#include "test/test.h"

#include "mesh/base/members.h"

struct inner {
    struct str name;
    double weight;
};

struct outer {
    struct str text, empty;
    bool yes, no;
    uint8_t byte;
    uint16_t half;
    uint32_t word;
    int debt;
    int64_t loss;
    size_t size;
    enum { RED, GREEN } colour;
    unsigned bits;
    struct addr at, nowhere;
    struct cidr *nets;
    size_t net_count;
    struct inner in, unset, *there, *absent;
    struct inner *list, **pointers;
    size_t list_count, pointer_count;
    const uint16_t *codes;
    size_t code_count;
    struct str *names;
    size_t name_count;
};

static const char *const colours[] = {"red", "green"};
static const char *const flags[] = {"a", "b", "c", NULL};

static void print_shout(struct buf *b, const void *value)
{
    const struct str *s = value;

    buf_printf(b, "\"%.*s!\"", STR_ARG(*s));
}

static bool is_silent(const void *value)
{
    return ((const struct str *)value)->n == 0;
}

static const struct custom shout = {print_shout, is_silent};

static const struct member inner_rows[] = {
    MEMBER("name", struct inner, name),
    MEMBER("weight", struct inner, weight),
};
static const struct shape inner_shape = SHAPE(inner_rows);

static void check_print(const struct member *rows, size_t count, const void *value, const char *want)
{
    const struct shape s = {rows, count};
    struct buf b;

    buf_init(&b, 4096);
    members_print(&b, &s, value);
    buf_addc(&b, 0);
    CHECK_STR(str_from(b.p), want);
    buf_done(&b);
}

#define CHECK_PRINT(rows, value, want) check_print(rows, COUNT(rows), value, want)

TEST(every_kind_of_value_is_printed_by_its_type)
{
    static const struct member rows[] = {
        MEMBER("text", struct outer, text),     MEMBER("yes", struct outer, yes),   MEMBER("no", struct outer, no),
        MEMBER("byte", struct outer, byte),     MEMBER("half", struct outer, half), MEMBER("word", struct outer, word),
        MEMBER("debt", struct outer, debt),     MEMBER("loss", struct outer, loss), MEMBER("size", struct outer, size),
        NAMED("colour", struct outer, colour, colours),
        MEMBER_AS("bits", struct outer, bits, AS_BITS, .names = flags),
        MEMBER("at", struct outer, at),
        MEMBER_AS("shout", struct outer, text, AS_CUSTOM, .custom = &shout),
    };
    const struct outer o = {.text = STR("a\"b"), .yes = true, .byte = 255, .half = 65535, .word = UINT32_MAX, .debt = -7,
                            .loss = INT64_MIN, .size = 12, .colour = GREEN, .bits = 5,
                            .at = {.family = 4, .port = 80, .ip = {10, 0, 0, 1}}};

    CHECK_PRINT(rows, &o,
                "{\"text\":\"a\\\"b\",\"yes\":true,\"no\":false,\"byte\":255,\"half\":65535,\"word\":4294967295,\"debt\":-7,"
                "\"loss\":-9223372036854775808,\"size\":12,\"colour\":\"green\",\"bits\":[\"a\",\"c\"],\"at\":\"10.0.0.1:80\","
                "\"port\":80,\"shout\":\"a\"b!\"}");
}

TEST(what_is_optional_and_says_nothing_is_left_out)
{
    static const struct member rows[] = {
        MEMBER("empty", struct outer, empty, .is_optional = true),
        MEMBER("no", struct outer, no, .is_optional = true),
        MEMBER("size", struct outer, size, .is_optional = true),
        NAMED("colour", struct outer, colour, colours, .is_optional = true),
        MEMBER("nowhere", struct outer, nowhere, .is_optional = true),
        LIST("codes", struct outer, codes, code_count, AS_NUMBER, .is_optional = true),
        OBJECT("unset", struct outer, unset, inner_shape, .is_optional = true),
        OBJECT("absent", struct outer, absent, inner_shape, .place = PLACE_POINTER),
        MEMBER_AS("shout", struct outer, empty, AS_CUSTOM, .custom = &shout, .is_optional = true),
        OBJECT("in", struct outer, in, inner_shape, .is_optional = true),
    };
    const struct outer o = {.in = {.weight = 0.5}};

    CHECK_PRINT(rows, &o, "{\"in\":{\"name\":\"\",\"weight\":0.5}}");
}

TEST(lists_pointers_and_inner_structs)
{
    static const struct member rows[] = {
        LIST("list", struct outer, list, list_count, AS_OBJECT, .of = &inner_shape),
        POINTERS("pointers", struct outer, pointers, pointer_count, inner_shape),
        LIST("codes", struct outer, codes, code_count, AS_NUMBER),
        LIST("names", struct outer, names, name_count, AS_TEXT),
        LIST("nets", struct outer, nets, net_count, AS_SUBNET),
        OBJECT(NULL, struct outer, there, inner_shape, .place = PLACE_POINTER),
    };
    static const uint16_t codes[] = {500, 503};
    struct inner two[] = {{STR("x"), 1}, {STR("y"), 2}}, *both[] = {&two[1], &two[0]};
    struct str names[] = {STR("n")};
    struct cidr net = {{.family = 4, .ip = {10}}, 8};
    const struct outer o = {.list = two, .list_count = 2, .pointers = both, .pointer_count = 2, .codes = codes, .code_count = 2,
                            .names = names, .name_count = 1, .nets = &net, .net_count = 1, .there = &two[0]};

    CHECK_PRINT(rows, &o,
                "{\"list\":[{\"name\":\"x\",\"weight\":1},{\"name\":\"y\",\"weight\":2}],\"pointers\":[{\"name\":\"y\",\"weight\":2},"
                "{\"name\":\"x\",\"weight\":1}],\"codes\":[500,503],\"names\":[\"n\"],\"nets\":[\"10.0.0.0/8\"],\"name\":\"x\","
                "\"weight\":1}");
}
