#include "mesh/base/buf.h"

#include <stdio.h>
#include <string.h>

#include "mesh/base/mem.h"

#define BUF_FIRST_BYTES 256

void buf_init(struct buf *b, size_t max_bytes)
{
    *b = (struct buf){.max = max_bytes};
}

void buf_done(struct buf *b)
{
    mem_free(b->p);
    buf_init(b, b->max);
}

void buf_clear(struct buf *b)
{
    b->n = 0;
    b->failed = false;
}

/* Make room for up to `n` more bytes and a NUL; returns how many really fit. */
static size_t make_room(struct buf *b, size_t n)
{
    size_t cap = b->cap ? b->cap : BUF_FIRST_BYTES;

    if (n > b->max - b->n) {
        b->failed = true;
        n = b->max - b->n;
    }
    while (cap < b->n + n + 1)
        cap *= 2;
    if (cap != b->cap) {
        b->p = mem_realloc(b->p, cap);
        b->cap = cap;
    }
    return n;
}

void buf_add(struct buf *b, struct str s)
{
    if (b->failed || s.n == 0)
        return;
    s.n = make_room(b, s.n);
    memcpy(b->p + b->n, s.p, s.n);
    b->n += s.n;
}

void buf_adds(struct buf *b, const char *cstr)
{
    buf_add(b, str_from(cstr));
}

void buf_addc(struct buf *b, char c)
{
    buf_add(b, (struct str){&c, 1});
}

void buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
    char small[256];
    va_list again;
    size_t room;
    int n;

    if (b->failed)
        return;
    va_copy(again, ap);
    n = vsnprintf(small, sizeof(small), fmt, ap);
    if (n < 0) {
        b->failed = true;
    } else if ((size_t)n < sizeof(small)) {
        buf_add(b, (struct str){small, (size_t)n});
    } else {
        room = make_room(b, (size_t)n);
        vsnprintf(b->p + b->n, room + 1, fmt, again);
        b->n += room;
    }
    va_end(again);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(b, fmt, ap);
    va_end(ap);
}

static void json_escape(struct buf *b, char c)
{
    switch (c) {
    case '"':
        buf_adds(b, "\\\"");
        break;
    case '\\':
        buf_adds(b, "\\\\");
        break;
    case '\b':
        buf_adds(b, "\\b");
        break;
    case '\f':
        buf_adds(b, "\\f");
        break;
    case '\n':
        buf_adds(b, "\\n");
        break;
    case '\r':
        buf_adds(b, "\\r");
        break;
    case '\t':
        buf_adds(b, "\\t");
        break;
    default:
        buf_printf(b, "\\u%04x", (unsigned)(unsigned char)c);
    }
}

/* Characters that JSON allows but that break lines elsewhere (JavaScript, YAML, terminals) or that
 * YAML's readers refuse: C1 controls, U+2028, U+2029, U+FEFF, U+FFFE, U+FFFF. 0 for others. */
static unsigned awkward(struct str c)
{
    const unsigned char *p = (const unsigned char *)c.p;
    unsigned v;

    if (c.n == 2 && p[0] == 0xC2 && p[1] < 0xA0)
        return p[1];
    if (c.n != 3)
        return 0;
    v = (p[0] & 15u) << 12 | (p[1] & 63u) << 6 | (p[2] & 63u);
    return v == 0x2028 || v == 0x2029 || v == 0xFEFF || v >= 0xFFFE ? v : 0;
}

/* The n bytes of a character that cannot stand as it is; n is 0 if they are not UTF-8. */
static void add_escaped(struct buf *b, struct str c)
{
    if (c.n == 0)
        buf_adds(b, "\xEF\xBF\xBD");
    else if (c.n == 1)
        json_escape(b, c.p[0]);
    else
        buf_printf(b, "\\u%04x", awkward(c));
}

void buf_json(struct buf *b, struct str s)
{
    size_t from = 0, i = 0;

    buf_addc(b, '"');
    while (i < s.n) {
        unsigned char first = (unsigned char)s.p[i];
        struct str c = str_sub(s, i, str_utf8(str_sub(s, i, 4)));
        bool plain = first >= 0x20 && first != '"' && first != '\\' && first != 0x7F;

        if (plain && c.n && !awkward(c)) {
            i += c.n;
            continue;
        }
        buf_add(b, str_sub(s, from, i - from));
        add_escaped(b, c);
        i += MAX(c.n, 1);
        from = i;
    }
    buf_add(b, str_sub(s, from, s.n));
    buf_addc(b, '"');
}

/* `v` as a decimal of `unit`, without trailing zeros: 1500000 of 1000000 is "1.5". */
static void add_decimal(struct buf *b, uint64_t v, uint64_t unit)
{
    uint64_t rest = v % unit;
    int digits = 0;

    buf_printf(b, "%llu", (unsigned long long)(v / unit));
    if (rest == 0)
        return;
    for (uint64_t u = unit; u > 1; u /= 10)
        digits++;
    for (; rest % 10 == 0; digits--)
        rest /= 10;
    buf_printf(b, ".%0*llu", digits, (unsigned long long)rest);
}

void buf_duration(struct buf *b, int64_t ns)
{
    uint64_t v = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
    uint64_t seconds = v / 1000000000u;

    if (ns < 0)
        buf_addc(b, '-');
    if (v == 0) {
        buf_adds(b, "0s");
    } else if (v < 1000) {
        buf_printf(b, "%lluns", (unsigned long long)v);
    } else if (v < 1000000) {
        add_decimal(b, v, 1000);
        buf_adds(b, "\xc2\xb5s");
    } else if (seconds == 0) {
        add_decimal(b, v, 1000000);
        buf_adds(b, "ms");
    } else {
        if (seconds >= 3600)
            buf_printf(b, "%lluh", (unsigned long long)(seconds / 3600));
        if (seconds % 3600 >= 60)
            buf_printf(b, "%llum", (unsigned long long)(seconds / 60 % 60));
        if (v % 60000000000u != 0) {
            add_decimal(b, v % 60000000000u, 1000000000u);
            buf_addc(b, 's');
        }
    }
}

struct str buf_str(const struct buf *b)
{
    return (struct str){b->p, b->n};
}

char *buf_steal(struct buf *b)
{
    char *p;

    if (b->failed) {
        buf_done(b);
        return NULL;
    }
    make_room(b, 0);
    p = b->p;
    p[b->n] = '\0';
    b->p = NULL;
    buf_done(b);
    return p;
}
