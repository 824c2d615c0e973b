#include "mesh/base/addr.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

bool addr_parse_ip(struct str s, struct addr *out)
{
    char text[INET6_ADDRSTRLEN];
    struct addr a = {0};

    if (s.n == 0 || s.n >= sizeof(text) || memchr(s.p, '\0', s.n))
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    a.family = str_has(s, ':') ? 6 : 4;
    if (inet_pton(a.family == 6 ? AF_INET6 : AF_INET, text, a.ip) != 1)
        return false;
    *out = a;
    return true;
}

bool addr_parse(struct str s, struct addr *out)
{
    struct str ip = s;
    struct addr a;
    uint64_t port;

    if (str_starts(s, STR("["))) {
        s = str_sub(s, 1, s.n);
        if (!str_cut(&s, ']', &ip) || !str_has(ip, ':') || !str_starts(s, STR(":")))
            return false;
        s = str_sub(s, 1, s.n);
    } else if (!str_cut(&s, ':', &ip)) {
        return false;
    }
    if (!str_uint(s, 0, UINT16_MAX, &port) || s.n > 5 || !addr_parse_ip(ip, &a))
        return false;
    a.port = (uint16_t)port;
    *out = a;
    return true;
}

static unsigned ip_bytes(const struct addr *a)
{
    return a->family == 6 ? 16 : 4;
}

static uint8_t high_bits(unsigned bits)
{
    return (uint8_t)(0xFF00u >> bits);
}

bool cidr_parse(struct str s, struct cidr *out)
{
    struct cidr c;
    struct str ip = s;
    bool has_bits = str_cut(&s, '/', &ip);
    uint64_t bits;
    unsigned most, whole;

    if (!addr_parse_ip(ip, &c.base))
        return false;
    most = ip_bytes(&c.base) * 8;
    bits = most;
    if (has_bits && (s.n > 3 || (s.n > 1 && s.p[0] == '0') || !str_uint(s, 0, most, &bits)))
        return false;
    c.bits = (uint8_t)bits;
    whole = c.bits / 8;
    if (whole < sizeof(c.base.ip)) {
        c.base.ip[whole] &= high_bits(c.bits % 8);
        memset(c.base.ip + whole + 1, 0, sizeof(c.base.ip) - whole - 1);
    }
    *out = c;
    return true;
}

bool cidr_has(const struct cidr *c, const struct addr *a)
{
    unsigned whole = c->bits / 8, rest = c->bits % 8;

    if (a->family == 0 || a->family != c->base.family || memcmp(a->ip, c->base.ip, whole) != 0)
        return false;
    return rest == 0 || (a->ip[whole] & high_bits(rest)) == c->base.ip[whole];
}

bool addr_same_ip(const struct addr *a, const struct addr *b)
{
    return a->family == b->family && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

bool addr_eq(const struct addr *a, const struct addr *b)
{
    return a->port == b->port && addr_same_ip(a, b);
}

bool addr_is_loopback(const struct addr *a)
{
    static const uint8_t one[16] = {[15] = 1};

    if (a->family == 4)
        return a->ip[0] == 127;
    return a->family == 6 && memcmp(a->ip, one, sizeof(one)) == 0;
}

bool addr_is_any(const struct addr *a)
{
    static const uint8_t zero[16];

    return a->family != 0 && memcmp(a->ip, zero, sizeof(zero)) == 0;
}

uint64_t addr_hash(const struct addr *a)
{
    char key[19];

    key[0] = (char)a->family;
    memcpy(key + 1, &a->port, sizeof(a->port));
    memcpy(key + 3, a->ip, sizeof(a->ip));
    return str_hash((struct str){key, sizeof(key)});
}

/* Every request writes addresses, and a log line four of them: no printf here. */
static char *put_number(char *at, unsigned n)
{
    char digits[10];
    size_t count = 0;

    do
        digits[count++] = (char)('0' + n % 10);
    while ((n /= 10));
    while (count)
        *at++ = digits[--count];
    return at;
}

/* Without a NUL; returns where it ends. */
static char *put_ip(const struct addr *a, char *at)
{
    if (a->family == 6)
        return inet_ntop(AF_INET6, a->ip, at, INET6_ADDRSTRLEN) ? at + strlen(at) : at;
    if (a->family == 0) {
        *at = '-';
        return at + 1;
    }
    for (size_t i = 0; i < 4; i++) {
        if (i)
            *at++ = '.';
        at = put_number(at, a->ip[i]);
    }
    return at;
}

const char *addr_format_ip(const struct addr *a, char *text)
{
    *put_ip(a, text) = '\0';
    return text;
}

const char *addr_format(const struct addr *a, char *text)
{
    bool has_brackets = a->family == 6 && a->port;
    char *at = text;

    if (has_brackets)
        *at++ = '[';
    at = put_ip(a, at);
    if (has_brackets)
        *at++ = ']';
    if (a->port) {
        *at++ = ':';
        at = put_number(at, a->port);
    }
    *at = '\0';
    return text;
}

socklen_t addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *out)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(a->port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(a->port)};

    memset(out, 0, sizeof(*out));
    if (a->family == 6) {
        memcpy(&in6.sin6_addr, a->ip, 16);
        memcpy(out, &in6, sizeof(in6));
        return sizeof(in6);
    }
    memcpy(&in.sin_addr, a->ip, 4);
    memcpy(out, &in, sizeof(in));
    return sizeof(in);
}

bool addr_from_sockaddr(const struct sockaddr *sa, struct addr *out)
{
    struct addr a = {0};

    if (sa->sa_family == AF_INET) {
        struct sockaddr_in in;

        memcpy(&in, sa, sizeof(in));
        a.family = 4;
        a.port = ntohs(in.sin_port);
        memcpy(a.ip, &in.sin_addr, 4);
    } else if (sa->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        bool mapped;

        memcpy(&in6, sa, sizeof(in6));
        mapped = IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr);
        a.family = mapped ? 4 : 6;
        a.port = ntohs(in6.sin6_port);
        memcpy(a.ip, in6.sin6_addr.s6_addr + (mapped ? 12 : 0), mapped ? 4 : 16);
    } else {
        return false;
    }
    *out = a;
    return true;
}
