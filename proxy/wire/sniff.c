/* A ClientHello is read through two cursors: the outer one strips TLS record headers from the
 * bytes, the inner one walks the handshake message that remains (it may span records). Both know
 * their ends; nothing is trusted to be as long as it says.
 */
#include "proxy/wire/sniff.h"

#include <string.h>

#include "mesh/base/limits.h"
#include "proxy/wire/http.h"

#define RECORD_HANDSHAKE 22u
#define CLIENT_HELLO     1u
#define EXT_SNI          0u
#define EXT_ALPN         16u
#define METHOD_MAX       20u
#define BLANK_MAX        8u /* bytes of empty lines before a request */

/* A range of bytes; `bad` once something did not fit. */
struct span {
    const uint8_t *p;
    size_t n;
    bool bad;
};

static uint32_t get(struct span *s, size_t bytes)
{
    uint32_t value = 0;

    if (s->bad || s->n < bytes) {
        s->bad = true;
        return 0;
    }
    for (size_t i = 0; i < bytes; i++)
        value = value << 8 | s->p[i];
    s->p += bytes;
    s->n -= bytes;
    return value;
}

/* The next `n` bytes as a range of their own. What is cut short is given as far as it goes; then
 * `s` is bad. */
static struct span cut(struct span *s, size_t n)
{
    struct span part = {s->p, MIN(n, s->n), s->bad};

    s->bad |= n > s->n;
    s->p += part.n;
    s->n -= part.n;
    return part;
}

static void skip(struct span *s, size_t n)
{
    (void)cut(s, n); /* only to get past it */
}

static bool is_host_char(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
}

static void take_sni(struct span ext, struct sniff_result *out)
{
    struct span list = cut(&ext, get(&ext, 2));

    while (list.n > 0 && !list.bad) {
        uint32_t type = get(&list, 1);
        struct span name = cut(&list, get(&list, 2));

        if (type != 0 || list.bad || name.n == 0 || name.n > SNIFF_NAME_MAX)
            continue;
        for (size_t i = 0; i < name.n; i++) {
            uint8_t c = name.p[i];

            c = c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
            if (!is_host_char(c)) {
                out->sni_bytes = 0;
                return;
            }
            out->sni[i] = (char)c;
        }
        out->sni_bytes = name.n;
        if (out->sni[name.n - 1] == '.')
            out->sni_bytes--;
        out->sni[out->sni_bytes] = '\0';
        return;
    }
}

static void take_alpn(struct span ext, struct sniff_result *out)
{
    struct span list = cut(&ext, get(&ext, 2));

    while (list.n > 0 && !list.bad && out->alpn_count < SNIFF_ALPN_MAX) {
        struct span name = cut(&list, get(&list, 1));

        if (list.bad || name.n == 0 || name.n > SNIFF_ALPN_BYTES_MAX)
            continue;
        memcpy(out->alpn[out->alpn_count], name.p, name.n);
        out->alpn_bytes[out->alpn_count++] = (uint8_t)name.n;
    }
}

/* The body of a ClientHello, maybe cut short. True if it was whole and well-formed. */
static bool take_hello(struct span hello, struct sniff_result *out)
{
    struct span extensions;
    bool seen_sni = false, seen_alpn = false;

    skip(&hello, 2 + 32); /* version, random */
    skip(&hello, get(&hello, 1));
    skip(&hello, get(&hello, 2));
    skip(&hello, get(&hello, 1));
    if (hello.bad)
        return false;
    if (hello.n == 0) /* extensions may be absent */
        return true;
    extensions = cut(&hello, get(&hello, 2));
    while (extensions.n > 0) {
        uint32_t type = get(&extensions, 2);
        struct span ext = cut(&extensions, get(&extensions, 2));

        if (extensions.bad)
            return false;
        if ((type == EXT_SNI && seen_sni) || (type == EXT_ALPN && seen_alpn))
            return false; /* an extension may appear once */
        if (type == EXT_SNI) {
            seen_sni = true;
            take_sni(ext, out);
        } else if (type == EXT_ALPN) {
            seen_alpn = true;
            take_alpn(ext, out);
        }
    }
    return !hello.bad && !extensions.bad && hello.n == 0;
}

/* Records joined into one message. The verdict is that of the bytes; `*whole`: the message is
 * complete. */
static enum sniff_verdict join_records(struct span in, uint8_t *message, size_t *n, bool *whole)
{
    size_t want = SIZE_MAX;

    *n = 0;
    *whole = false;
    while (in.n > 0 && *n < want) {
        struct span record;
        uint32_t type = get(&in, 1), major, minor, bytes;

        if (type != RECORD_HANDSHAKE)
            return SNIFF_OPAQUE;
        if (in.n > 0 && in.p[0] != 3)
            return SNIFF_OPAQUE;
        major = get(&in, 1);
        minor = get(&in, 1);
        bytes = get(&in, 2);
        if (in.bad)
            break;
        if (major != 3 || minor > 4 || bytes == 0 || bytes > 16384)
            return SNIFF_OPAQUE;
        record = cut(&in, bytes);
        memcpy(message + *n, record.p, record.n);
        *n += record.n;
        if (*n >= 1 && message[0] != CLIENT_HELLO)
            return SNIFF_OPAQUE;
        if (*n >= 4)
            want = 4 + ((size_t)message[1] << 16 | (size_t)message[2] << 8 | message[3]);
        if (in.bad)
            break;
    }
    *whole = *n >= want;
    *n = MIN(*n, want);
    return SNIFF_TLS;
}

static enum sniff_verdict sniff_tls(const uint8_t *p, size_t n, bool final,
                                    struct sniff_result *out)
{
    static _Thread_local uint8_t message[LIMIT_SNIFF_BYTES];
    size_t have;
    bool whole;
    enum sniff_verdict verdict = join_records((struct span){p, n, false}, message, &have, &whole);

    if (verdict != SNIFF_TLS)
        return SNIFF_OPAQUE;
    if (!whole && !final)
        return SNIFF_MORE;
    if (have < 4) /* not even the start of a ClientHello */
        return SNIFF_OPAQUE;
    out->whole = take_hello((struct span){message + 4, have - 4, false}, out) && whole;
    if (whole && !out->whole) /* it says it is complete, and is nonsense: TLS, without names */
        *out = (struct sniff_result){.whole = false};
    return SNIFF_TLS;
}

/* METHOD SP target-start; methods are upper-case letters and '-', as every registered one is. */
static enum sniff_verdict sniff_http1(const uint8_t *p, size_t n)
{
    size_t at = 0, blank = 0;

    while (n > 0 && blank < BLANK_MAX &&
           (*p == '\r' || *p == '\n')) { /* some clients send empty lines first */
        p++;
        n--;
        blank++;
    }
    while (at < n && ((p[at] >= 'A' && p[at] <= 'Z') || p[at] == '-'))
        at++;
    if (at > METHOD_MAX)
        return SNIFF_OPAQUE;
    if (at == n)
        return SNIFF_MORE;
    if (at == 0 || p[at] != ' ')
        return SNIFF_OPAQUE;
    if (at + 1 == n)
        return SNIFF_MORE;
    return p[at + 1] > ' ' && p[at + 1] < 0x7f ? SNIFF_HTTP1 : SNIFF_OPAQUE;
}

enum sniff_verdict sniff(const uint8_t *p, size_t n, bool more_may_come, struct sniff_result *out)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    size_t preface_bytes = sizeof(preface) - 1;
    bool final = !more_may_come || n >= LIMIT_SNIFF_BYTES;
    enum sniff_verdict verdict;

    memset(out, 0, sizeof(*out));
    n = MIN(n, (size_t)LIMIT_SNIFF_BYTES);
    if (n == 0)
        verdict = SNIFF_MORE;
    else if (p[0] == RECORD_HANDSHAKE)
        verdict = sniff_tls(p, n, final, out);
    else if (n >= preface_bytes && memcmp(p, preface, preface_bytes) == 0)
        verdict = SNIFF_HTTP2_PREFACE;
    else if (n < preface_bytes && memcmp(p, preface, n) == 0)
        verdict = SNIFF_MORE;
    else
        verdict = sniff_http1(p, n);
    return verdict == SNIFF_MORE && final ? SNIFF_OPAQUE : verdict;
}

struct str sniff_sni(const struct sniff_result *r)
{
    return (struct str){r->sni, r->sni_bytes};
}

struct str sniff_alpn(const struct sniff_result *r, size_t index)
{
    return index < r->alpn_count ? (struct str){r->alpn[index], r->alpn_bytes[index]} : STR_NONE;
}

bool sniff_has_alpn(const struct sniff_result *r, struct str protocol)
{
    for (size_t i = 0; i < r->alpn_count; i++) {
        if (str_eq(sniff_alpn(r, i), protocol))
            return true;
    }
    return false;
}
