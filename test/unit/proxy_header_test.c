/* The PROXY protocol's header, read and written. */
#include "proxy/wire/proxy_header.h"
#include "test/test.h"

#define V2 "\r\n\r\n\0\r\nQUIT\n"

static enum proxy_header_verdict parse(const char *p, size_t n, size_t *used, char *text)
{
    struct addr from = {0}, to = {0};
    enum proxy_header_verdict v = proxy_header_parse((const uint8_t *)p, n, used, &from, &to);
    char a[ADDR_TEXT_MAX], b[ADDR_TEXT_MAX];

    snprintf(text, 160, "%s %s", from.family ? addr_format(&from, a) : "-", to.family ? addr_format(&to, b) : "-");
    return v;
}

static void check_whole(const char *p, size_t n, size_t header, const char *want)
{
    char text[160];
    size_t used = 0;

    CHECK_INT(parse(p, n, &used, text), PROXY_HEADER_WHOLE);
    CHECK_INT(used, header);
    assert_string_equal(text, want);
    for (size_t i = 0; i < header; i++) /* every part of it is not enough */
        CHECK_INT(parse(p, i, &used, text), PROXY_HEADER_MORE);
}

static void check_bad(const char *p, size_t n)
{
    char text[160];
    size_t used;

    if (parse(p, n, &used, text) != PROXY_HEADER_BAD)
        print_error("taken: %.*s\n", (int)n, p);
    CHECK_INT(parse(p, n, &used, text), PROXY_HEADER_BAD);
}

#define WHOLE(text, header, want) check_whole(text, sizeof(text) - 1, header, want)
#define BAD(text)                 check_bad(text, sizeof(text) - 1)

TEST(headers_of_text)
{
    WHOLE("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\nGET /", 45, "192.0.2.1:56324 198.51.100.1:443");
    WHOLE("PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", 36, "[2001:db8::1]:1 [::1]:65535");
    WHOLE("PROXY UNKNOWN\r\n", 15, "- -");
    WHOLE("PROXY UNKNOWN ffff:f 1 2\r\nx", 26, "- -");
    BAD("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443 \r\n");
    BAD("PROXY TCP4 192.0.2.1 198.51.100.1 56324 65536\r\n");
    BAD("PROXY TCP4 192.0.2.1 198.51.100.1 056 443\r\n");
    BAD("PROXY TCP6 192.0.2.1 198.51.100.1 56324 443\r\n");
    BAD("PROXY TCP4 192.0.2.1 56324 443\r\n");
    BAD("PROXY UDP4 192.0.2.1 198.51.100.1 1 2\r\n");
    BAD("PROXY  TCP4 192.0.2.1 198.51.100.1 1 2\r\n");
    BAD("proxy TCP4 192.0.2.1 198.51.100.1 1 2\r\n");
    BAD("GET / HTTP/1.1\r\n");
    BAD("PROXY TCP4 192.0.2.1 198.51.100.1 1 2                                                                             \r\n");
}

TEST(headers_of_bytes)
{
    WHOLE(V2 "\x21\x11\0\x0c\xc0\0\2\1\xc6\x33\x64\1\xdc\4\1\xbbGET", 28, "192.0.2.1:56324 198.51.100.1:443");
    WHOLE(V2 "\x20\0\0\0x", 16, "- -");
    WHOLE(V2 "\x21\x31\0\3abc", 19, "- -"); /* a unix socket, or what is not known */
    WHOLE(V2 "\x21\x11\0\x0f\xc0\0\2\1\xc6\x33\x64\1\xdc\4\1\xbb\4\0\0", 31, "192.0.2.1:56324 198.51.100.1:443"); /* more follows the addresses */
    BAD(V2 "\x11\x11\0\x0c\xc0\0\2\1\xc6\x33\x64\1\xdc\4\1\xbb");
    BAD(V2 "\x22\x11\0\x0c\xc0\0\2\1\xc6\x33\x64\1\xdc\4\1\xbb");
    BAD(V2 "\x21\x11\0\x0b\xc0\0\2\1\xc6\x33\x64\1\xdc\4\1");
    BAD(V2 "\x21\x11\xff\xff");
    BAD("\r\n\r\n\0\r\nQUIT\r");
}

TEST(what_is_written_is_read)
{
    static const char *const pairs[][2] = {{"192.0.2.1:1", "10.0.0.1:65535"}, {"[2001:db8::1]:80", "[::1]:443"}};

    for (size_t i = 0; i < COUNT(pairs); i++) {
        struct addr from, to, a = {0}, b = {0};
        char out[PROXY_HEADER_MAX];
        size_t used;

        CHECK(addr_parse(str_from(pairs[i][0]), &from) && addr_parse(str_from(pairs[i][1]), &to));
        for (int binary = 0; binary < 2; binary++) {
            struct str h = (binary ? proxy_header_binary : proxy_header_text)(&from, &to, out);

            CHECK_INT(proxy_header_parse((const uint8_t *)h.p, h.n, &used, &a, &b), PROXY_HEADER_WHOLE);
            CHECK_INT(used, h.n);
            CHECK(addr_eq(&a, &from) && addr_eq(&b, &to));
        }
    }
}

TEST(addresses_of_two_families_are_not_told)
{
    struct addr from, to;
    char out[PROXY_HEADER_MAX];

    CHECK(addr_parse(STR("192.0.2.1:1"), &from) && addr_parse(STR("[::1]:2"), &to));
    CHECK_STR(proxy_header_text(&from, &to, out), "PROXY UNKNOWN\r\n");
    CHECK_INT(proxy_header_binary(&from, &to, out).n, 16);
}
