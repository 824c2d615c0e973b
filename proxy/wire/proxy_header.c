#include "proxy/wire/proxy_header.h"

#include <stdio.h>
#include <string.h>

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define SIGNATURE_BYTES 12u
#define BINARY_HEAD     16u
#define TEXT_MAX        107u /* with CR LF, as the specification has it */

/* ---- reading ---- */

static bool parse_port(struct str s, uint16_t *port)
{
    uint64_t value;

    if (s.n == 0 || s.n > 5 || (s.n > 1 && s.p[0] == '0') || !str_uint(s, 0, 65535, &value))
        return false;
    *port = (uint16_t)value;
    return true;
}

/* "TCP4 192.0.2.1 198.51.100.1 56324 443" */
static bool parse_line(struct str line, struct addr *from, struct addr *to)
{
    struct str family, a, b, sport;
    struct addr source, target;
    uint8_t want;

    if (str_eq(line, STR("UNKNOWN")) || str_starts(line, STR("UNKNOWN ")))
        return true;
    if (!str_cut(&line, ' ', &family) || !str_cut(&line, ' ', &a) || !str_cut(&line, ' ', &b) ||
        !str_cut(&line, ' ', &sport))
        return false;
    want = str_eq(family, STR("TCP4")) ? 4 : str_eq(family, STR("TCP6")) ? 6 : 0;
    if (want == 0 || !addr_parse_ip(a, &source) || !addr_parse_ip(b, &target) || source.family != want ||
        target.family != want || !parse_port(sport, &source.port) || !parse_port(line, &target.port))
        return false;
    *from = source;
    *to = target;
    return true;
}

static enum proxy_header_verdict parse_text(const uint8_t *p, size_t n, size_t *used, struct addr *from,
                                            struct addr *to)
{
    const char *end = memmem(p, MIN(n, (size_t)TEXT_MAX), "\r\n", 2);
    struct str line;

    if (!end)
        return n < TEXT_MAX ? PROXY_HEADER_MORE : PROXY_HEADER_BAD;
    line = (struct str){(const char *)p + 6, (size_t)(end - (const char *)p) - 6};
    *used = (size_t)(end - (const char *)p) + 2;
    return parse_line(line, from, to) ? PROXY_HEADER_WHOLE : PROXY_HEADER_BAD;
}

static void read_addr(const uint8_t *ip, const uint8_t *port, uint8_t family, struct addr *out)
{
    *out = (struct addr){.family = family, .port = (uint16_t)(port[0] << 8 | port[1])};
    memcpy(out->ip, ip, family == 6 ? 16 : 4);
}

static enum proxy_header_verdict parse_binary(const uint8_t *p, size_t n, size_t *used, struct addr *from,
                                              struct addr *to)
{
    uint8_t family, command;
    size_t length, ip;

    if (n < BINARY_HEAD)
        return PROXY_HEADER_MORE;
    command = p[12] & 15;
    if (p[12] >> 4 != 2 || command > 1)
        return PROXY_HEADER_BAD;
    length = (size_t)p[14] << 8 | p[15];
    if (BINARY_HEAD + length > PROXY_HEADER_MAX)
        return PROXY_HEADER_BAD;
    if (n < BINARY_HEAD + length)
        return PROXY_HEADER_MORE;
    *used = BINARY_HEAD + length;
    family = p[13] == 0x11 ? 4 : p[13] == 0x21 ? 6 : 0;
    if (command == 0 || family == 0)
        return PROXY_HEADER_WHOLE;
    ip = family == 6 ? 16 : 4;
    if (length < 2 * ip + 4)
        return PROXY_HEADER_BAD;
    read_addr(p + BINARY_HEAD, p + BINARY_HEAD + 2 * ip, family, from);
    read_addr(p + BINARY_HEAD + ip, p + BINARY_HEAD + 2 * ip + 2, family, to);
    return PROXY_HEADER_WHOLE;
}

enum proxy_header_verdict proxy_header_parse(const uint8_t *p, size_t n, size_t *used, struct addr *from, struct addr *to)
{
    if (memcmp(p, SIGNATURE, MIN(n, (size_t)SIGNATURE_BYTES)) == 0)
        return n < SIGNATURE_BYTES ? PROXY_HEADER_MORE : parse_binary(p, n, used, from, to);
    if (memcmp(p, "PROXY ", MIN(n, (size_t)6)) == 0)
        return n < 6 ? PROXY_HEADER_MORE : parse_text(p, n, used, from, to);
    return PROXY_HEADER_BAD;
}

/* ---- writing ---- */

static bool is_known(const struct addr *from, const struct addr *to)
{
    return from->family && from->family == to->family;
}

struct str proxy_header_text(const struct addr *from, const struct addr *to, char *out)
{
    char a[ADDR_TEXT_MAX], b[ADDR_TEXT_MAX];
    int n = is_known(from, to)
                ? snprintf(out, PROXY_HEADER_MAX, "PROXY TCP%u %s %s %u %u\r\n", from->family,
                           addr_format_ip(from, a), addr_format_ip(to, b), from->port, to->port)
                : snprintf(out, PROXY_HEADER_MAX, "PROXY UNKNOWN\r\n");

    return (struct str){out, (size_t)n};
}

static uint8_t *put16(uint8_t *at, size_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
    return at + 2;
}

/* Signature, version and command, family and transport, length, addresses, ports. */
struct str proxy_header_binary(const struct addr *from, const struct addr *to, char *out)
{
    bool known = is_known(from, to);
    size_t ip = from->family == 6 ? 16 : 4;
    uint8_t *at = (uint8_t *)out;

    memcpy(at, SIGNATURE, SIGNATURE_BYTES);
    at += SIGNATURE_BYTES;
    *at++ = known ? 0x21 : 0x20; /* PROXY; or LOCAL, which says nothing */
    *at++ = !known ? 0 : from->family == 6 ? 0x21 : 0x11;
    at = put16(at, known ? 2 * ip + 4 : 0);
    if (known) {
        memcpy(at, from->ip, ip);
        memcpy(at + ip, to->ip, ip);
        at = put16(put16(at + 2 * ip, from->port), to->port);
    }
    return (struct str){out, (size_t)((char *)at - out)};
}
