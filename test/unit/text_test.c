#include "test/test.h"

#include "mesh/base/hash.h"
#include "mesh/base/text.h"

static struct buf out;

static struct str hex(const void *p, size_t n)
{
    buf_done(&out);
    buf_init(&out, 1000);
    text_hex(&out, p, n);
    return buf_str(&out);
}

static struct str time_of(int64_t ms, bool with_ms)
{
    buf_done(&out);
    buf_init(&out, 1000);
    text_time(&out, ms, with_ms);
    return buf_str(&out);
}

TEST(hex_goes_there_and_back)
{
    uint8_t bytes[2];

    CHECK_STR(hex("\x00\xAb\xff", 3), "00abff");
    CHECK(text_unhex(STR("A10f"), bytes, 2));
    CHECK(bytes[0] == 0xA1 && bytes[1] == 0x0F);
    CHECK(!text_unhex(STR("A10"), bytes, 2) && !text_unhex(STR("A1 f"), bytes, 2) &&
          !text_unhex(STR("+10f"), bytes, 2));
}

/* RFC 4648 section 10. */
TEST(base64_has_the_rfcs_vectors)
{
    static const struct {
        const char *plain, *coded;
    } rows[] = {
        {"",       ""        },
        {"f",      "Zg=="    },
        {"fo",     "Zm8="    },
        {"foo",    "Zm9v"    },
        {"foob",   "Zm9vYg=="},
        {"fooba",  "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"}
    };
    struct buf b;

    buf_init(&b, 100);
    for (size_t i = 0; i < COUNT(rows); i++) {
        buf_clear(&b);
        text_base64(&b, str_from(rows[i].plain));
        CHECK_STR(buf_str(&b), rows[i].coded);
        buf_clear(&b);
        CHECK(text_unbase64(str_from(rows[i].coded), &b));
        CHECK_STR(buf_str(&b), rows[i].plain);
    }
    buf_done(&b);
}

TEST(loose_base64_is_refused)
{
    static const char *const bad[] = {
        "Zg", "Zg=", "Z===", "====", "Zh==", "Zm9=", "Zm 9v", "Zm-_", "Zg==Zg==", "Zm9v\n"};
    struct buf b;

    for (size_t i = 0; i < COUNT(bad); i++) {
        buf_init(&b, 100);
        CHECK(!text_unbase64(str_from(bad[i]), &b));
        buf_done(&b);
    }
    buf_init(&b, 2);
    CHECK(!text_unbase64(STR("Zm9v"), &b)); /* no room */
    buf_done(&b);
}

TEST(base64url_has_no_padding)
{
    uint8_t bytes[4];
    struct buf b;

    buf_init(&b, 100);
    text_base64url(&b, "\xfb\xff\xbe\x01", 4);
    CHECK_STR(buf_str(&b), "-_--AQ");
    CHECK(text_unbase64url(buf_str(&b), bytes, 4));
    CHECK(memcmp(bytes, "\xfb\xff\xbe\x01", 4) == 0);
    CHECK(!text_unbase64url(STR("-_--AR"), bytes, 4)); /* bits behind the last byte */
    CHECK(!text_unbase64url(STR("-_--AQ=="), bytes, 4) &&
          !text_unbase64url(STR("-_--A"), bytes, 4) && !text_unbase64url(STR("-_--"), bytes, 4));
    buf_done(&b);
}

TEST(ulids_sort_by_time_and_differ)
{
    char a[TEXT_ULID_MAX], b[TEXT_ULID_MAX];

    text_ulid(1469918176385, a);
    CHECK_INT(strlen(a), 26);
    CHECK(strncmp(a, "01ARYZ6S41", 10) == 0); /* the time of the specification's example */
    text_ulid(1469918176385, b);
    CHECK(strcmp(a, b) != 0);
    text_ulid(1469918176386, b);
    CHECK(strcmp(a, b) < 0);
}

TEST(times_go_there_and_back)
{
    int64_t ms = 0;

    CHECK_STR(time_of(1767607872345, true), "2026-01-05T10:11:12.345Z");
    CHECK_STR(time_of(1767607872345, false), "2026-01-05T10:11:12Z");
    CHECK_STR(time_of(-1, true), "1969-12-31T23:59:59.999Z");
    CHECK(text_untime(STR("2026-01-05T10:11:12.345Z"), &ms) && ms == 1767607872345);
    CHECK(text_untime(STR("2026-01-05t12:11:12+02:00"), &ms) && ms == 1767607872000);
    CHECK(text_untime(STR("2026-01-05T04:41:12.3450009-05:30"), &ms) && ms == 1767607872345);
    CHECK(text_untime(STR("2024-02-29T00:00:00Z"), &ms));
}

TEST(other_times_are_refused)
{
    static const char *const bad[] = {"",
                                      "2026-01-05",
                                      "2026-01-05T10:11:12",
                                      "2026-13-05T10:11:12Z",
                                      "2026-00-05T10:11:12Z",
                                      "2026-02-29T10:11:12Z",
                                      "2026-01-05T24:11:12Z",
                                      "2026-01-05T10:11:12.Z",
                                      "2026-01-05T10:11:12Zx",
                                      "2026-01-05T10:11:12+0200",
                                      "2026-1-05T10:11:12Z",
                                      "2026-01-05 10:11:12Z"};
    int64_t ms = 5;

    for (size_t i = 0; i < COUNT(bad); i++)
        CHECK(!text_untime(str_from(bad[i]), &ms));
    CHECK_INT(ms, 5);
}

TEST(random_numbers_are_not_the_same)
{
    uint64_t a, b;

    text_random(&a, sizeof(a));
    text_random(&b, sizeof(b));
    CHECK(a != b);
    CHECK(text_random_u64() != text_random_u64());
}

/* FIPS 180-4 examples. */
TEST(sha256_has_the_known_digests)
{
    uint8_t a[HASH_BYTES], b[HASH_BYTES];

    hash_sha256(STR("abc"), a);
    CHECK_STR(hex(a, sizeof(a)),
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    hash_sha256_2(STR("a"), STR("bc"), b);
    CHECK(hash_eq(a, b));
    b[31] ^= 1;
    CHECK(!hash_eq(a, b));
    hash_sha256(STR_NONE, a);
    CHECK_STR(hex(a, sizeof(a)),
              "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}
