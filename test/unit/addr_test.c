#include "test/test.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "mesh/base/addr.h"

TEST(addresses_are_printed_as_they_were_written)
{
    static const char *const rows[] = {"1.2.3.4:80", "[::1]:443", "[2001:db8::5]:65535",
                                       "0.0.0.0:1"};
    char text[ADDR_TEXT_MAX];
    struct addr a;

    for (size_t i = 0; i < COUNT(rows); i++) {
        CHECK(addr_parse(str_from(rows[i]), &a));
        CHECK_TEXT(addr_format(&a, text), rows[i]);
    }
    CHECK(addr_parse_ip(STR("10.1.2.3"), &a));
    CHECK_TEXT(addr_format(&a, text), "10.1.2.3"); /* no port, no colon */
    CHECK(addr_parse(STR("[::1]:5"), &a));
    CHECK_TEXT(addr_format_ip(&a, text), "::1");
    CHECK_TEXT(addr_format(&(struct addr){0}, text), "-");
}

TEST(other_texts_are_refused)
{
    static const char *const ips[] = {
        "",           "1.2.3",    "1.2.3.4.5", "256.1.1.1",
        "01.2.3.4",   " 1.2.3.4", "::1%eth0",  "[::1]",
        "1.2.3.4:80", ":::",      "g::1",      "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa"};
    static const char *const pairs[] = {
        "1.2.3.4", "1.2.3.4:",     "1.2.3.4:65536", "1.2.3.4:000080", "::1:80", "[::1]",
        "[::1]80", "[1.2.3.4]:80", "[::1:80",       "localhost:80",   ":80",    "1.2.3.4:-1"};
    struct addr a = {.family = 9};

    for (size_t i = 0; i < COUNT(ips); i++)
        CHECK(!addr_parse_ip(str_from(ips[i]), &a));
    for (size_t i = 0; i < COUNT(pairs); i++)
        CHECK(!addr_parse(str_from(pairs[i]), &a));
    CHECK_INT(a.family, 9); /* untouched */
}

TEST(a_block_has_its_addresses_and_no_others)
{
    static const struct {
        const char *block, *ip;
        bool inside;
    } rows[] = {
        {"10.0.0.0/8",       "10.255.1.2",       true },
        {"10.0.0.0/8",       "11.0.0.1",         false},
        {"10.1.2.3/8",       "10.9.9.9",         true }, /* host bits are dropped */
        {"192.168.1.128/25", "192.168.1.200",    true },
        {"192.168.1.128/25", "192.168.1.127",    false},
        {"0.0.0.0/0",        "8.8.8.8",          true },
        {"0.0.0.0/0",        "::1",              false}, /* families do not mix */
        {"1.2.3.4",          "1.2.3.4",          true },
        {"1.2.3.4",          "1.2.3.5",          false},
        {"2001:db8::/33",    "2001:db8:7fff::1", true },
        {"2001:db8::/33",    "2001:db8:8000::1", false},
        {"::1",              "::1",              true },
        {"::/0",             "ff02::1",          true },
    };
    struct cidr c;
    struct addr a;

    for (size_t i = 0; i < COUNT(rows); i++) {
        CHECK(cidr_parse(str_from(rows[i].block), &c));
        CHECK(addr_parse_ip(str_from(rows[i].ip), &a));
        CHECK_INT(cidr_has(&c, &a), rows[i].inside);
    }
    CHECK(!cidr_parse(STR("10.0.0.0/33"), &c) && !cidr_parse(STR("10.0.0.0/"), &c) &&
          !cidr_parse(STR("::/129"), &c) && !cidr_parse(STR("/8"), &c) &&
          !cidr_parse(STR("10.0.0.0/0008"), &c));
}

TEST(a_mapped_peer_is_its_ipv4_self)
{
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(80)};
    struct sockaddr_in6 copy;
    struct sockaddr_storage ss;
    struct addr a, b;

    CHECK_INT(inet_pton(AF_INET6, "::ffff:1.2.3.4", &in6.sin6_addr), 1);
    memcpy(&ss, &in6, sizeof(in6));
    CHECK(addr_from_sockaddr((const struct sockaddr *)&ss, &a));
    CHECK(addr_parse(STR("1.2.3.4:80"), &b));
    CHECK(addr_eq(&a, &b));
    CHECK(addr_hash(&a) == addr_hash(&b));
    CHECK(addr_parse(STR("[2001:db8::1]:443"), &a));
    CHECK_INT(addr_to_sockaddr(&a, &ss), sizeof(struct sockaddr_in6));
    memcpy(&copy, &ss, sizeof(copy));
    CHECK_INT(copy.sin6_port, htons(443));
    CHECK(addr_from_sockaddr((const struct sockaddr *)&ss, &b));
    CHECK(addr_eq(&a, &b));
    ss.ss_family = AF_UNIX;
    CHECK(!addr_from_sockaddr((const struct sockaddr *)&ss, &b));
}

TEST(loopback_and_any_are_known)
{
    struct addr a;

    CHECK(addr_parse_ip(STR("127.9.9.9"), &a) && addr_is_loopback(&a) && !addr_is_any(&a));
    CHECK(addr_parse_ip(STR("::1"), &a) && addr_is_loopback(&a));
    CHECK(addr_parse_ip(STR("128.0.0.1"), &a) && !addr_is_loopback(&a));
    CHECK(addr_parse_ip(STR("::"), &a) && addr_is_any(&a));
    CHECK(addr_parse_ip(STR("0.0.0.0"), &a) && addr_is_any(&a));
    CHECK(!addr_is_any(&(struct addr){0}));
}
