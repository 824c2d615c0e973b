#include "mesh/base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

static const char base64_letters[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void text_hex(struct buf *out, const void *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = bytes;

    for (size_t i = 0; i < n; i++) {
        char pair[2] = {digits[p[i] >> 4], digits[p[i] & 15]};

        buf_add(out, (struct str){pair, 2});
    }
}

bool text_unhex(struct str s, uint8_t *out, size_t n)
{
    uint64_t v;

    if (s.n != n * 2)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (!str_hex(str_sub(s, i, 1), 15, &v))
            return false;
    }
    for (size_t i = 0; i < n && str_hex(str_sub(s, i * 2, 2), 255, &v); i++)
        out[i] = (uint8_t)v;
    return true;
}

static char base64_letter(unsigned v, bool url)
{
    if (url && v == 62)
        return '-';
    if (url && v == 63)
        return '_';
    return base64_letters[v];
}

static void encode64(struct buf *out, const uint8_t *p, size_t n, bool url)
{
    for (size_t i = 0; i < n; i += 3) {
        size_t have = MIN(n - i, 3);
        unsigned v = (unsigned)p[i] << 16;
        char four[4];

        if (have > 1)
            v |= (unsigned)p[i + 1] << 8;
        if (have > 2)
            v |= p[i + 2];
        for (unsigned k = 0; k < 4; k++)
            four[k] = k <= have ? base64_letter(v >> (18 - 6 * k) & 63, url) : '=';
        buf_add(out, (struct str){four, url ? have + 1 : 4});
    }
}

void text_base64(struct buf *out, struct str bytes)
{
    const void *p = bytes.p;

    encode64(out, p, bytes.n, false);
}

void text_base64url(struct buf *out, const void *bytes, size_t n)
{
    encode64(out, bytes, n, true);
}

static int base64_value(char c, bool url)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == (url ? '-' : '+'))
        return 62;
    return c == (url ? '_' : '/') ? 63 : -1;
}

/* Up to four letters into up to three bytes. The bits behind the last byte must be 0, so that one
 * value has one text. Returns the count of bytes, 0 on bad input. */
static size_t decode_group(struct str four, bool url, uint8_t out[3])
{
    unsigned v = 0;
    size_t n = four.n * 6 / 8;

    if (four.n < 2)
        return 0;
    for (size_t i = 0; i < 4; i++) {
        int digit = i < four.n ? base64_value(four.p[i], url) : 0;

        if (digit < 0)
            return 0;
        v = v << 6 | (unsigned)digit;
    }
    for (size_t i = 0; i < 3; i++)
        out[i] = (uint8_t)(v >> (16 - 8 * i));
    for (size_t i = n; i < 3; i++) {
        if (out[i])
            return 0;
    }
    return n;
}

bool text_unbase64(struct str s, struct buf *out)
{
    uint8_t three[3];

    if (s.n % 4)
        return false;
    if (str_ends(s, STR("==")))
        s.n -= 2;
    else if (str_ends(s, STR("=")))
        s.n -= 1;
    for (size_t i = 0; i < s.n; i += 4) {
        size_t n = decode_group(str_sub(s, i, 4), false, three);
        char bytes[3];

        if (n == 0)
            return false;
        memcpy(bytes, three, sizeof(bytes));
        buf_add(out, (struct str){bytes, n});
    }
    return !out->failed;
}

bool text_unbase64url(struct str s, uint8_t *out, size_t n)
{
    uint8_t three[3];
    size_t at = 0;

    if (s.n % 4 == 1 || s.n * 6 / 8 != n)
        return false;
    for (size_t i = 0; i < s.n; i += 4) {
        size_t got = decode_group(str_sub(s, i, 4), true, three);

        if (got == 0)
            return false;
        memcpy(out + at, three, got);
        at += got;
    }
    return at == n;
}

void text_random(void *out, size_t n)
{
    uint8_t *p = out;

    while (n) {
        ssize_t got = getrandom(p, n, 0);

        if (got < 0 && errno != EINTR)
            abort();
        if (got > 0) {
            p += got;
            n -= (size_t)got;
        }
    }
}

static uint64_t rotate(uint64_t v, unsigned by)
{
    return v << by | v >> (64 - by);
}

/* xoshiro256** by Blackman and Vigna: fast and evenly spread, but predictable. */
uint64_t text_random_u64(void)
{
    static _Thread_local uint64_t state[4];
    static _Thread_local bool seeded;
    uint64_t result, shifted;

    if (!seeded) {
        text_random(state, sizeof(state));
        state[0] |= 1; /* all zero would stay zero */
        seeded = true;
    }
    result = rotate(state[1] * 5, 7) * 9;
    shifted = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = rotate(state[3], 45);
    return result;
}

const char *text_ulid(int64_t wall_ms, char out[TEXT_ULID_MAX])
{
    static const char letters[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    uint64_t ms = (uint64_t)wall_ms & 0xFFFFFFFFFFFF;
    uint8_t random[16];

    text_random(random, sizeof(random));
    for (unsigned i = 0; i < 10; i++)
        out[i] = letters[ms >> (45 - 5 * i) & 31];
    for (unsigned i = 0; i < 16; i++)
        out[10 + i] = letters[random[i] & 31];
    out[26] = '\0';
    return out;
}

int64_t text_wall_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void text_time(struct buf *out, int64_t wall_ms, bool with_ms)
{
    int64_t ms = ((wall_ms % 1000) + 1000) % 1000;
    time_t seconds = (time_t)((wall_ms - ms) / 1000);
    struct tm tm;

    if (!gmtime_r(&seconds, &tm)) {
        out->failed = true;
        return;
    }
    buf_printf(out, "%04d-%02d-%02dT%02d:%02d:%02d", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
               tm.tm_hour, tm.tm_min, tm.tm_sec);
    if (with_ms)
        buf_printf(out, ".%03d", (int)ms);
    buf_addc(out, 'Z');
}

/* `n` digits and then `end` (0: nothing is taken behind the digits). */
static bool take_number(struct str *s, size_t n, char end, int max, int *out)
{
    uint64_t v;

    if (!str_uint(str_sub(*s, 0, n), 0, (uint64_t)max, &v) || s->n < n + (end != 0) ||
        (end && s->p[n] != end && !(end == 'T' && s->p[n] == 't')))
        return false;
    *s = str_sub(*s, n + (end != 0), s->n);
    *out = (int)v;
    return true;
}

static bool take_fraction(struct str *s, int64_t *ms)
{
    int64_t weight = 100;
    size_t n = 0;

    *ms = 0;
    if (!str_starts(*s, STR(".")))
        return true;
    for (n = 1; n < s->n && s->p[n] >= '0' && s->p[n] <= '9'; n++) {
        *ms += weight * (s->p[n] - '0');
        weight /= 10;
    }
    *s = str_sub(*s, n, s->n);
    return n > 1;
}

static bool take_zone(struct str *s, int64_t *seconds_east)
{
    int hours, minutes;
    bool west = str_starts(*s, STR("-"));

    *seconds_east = 0;
    if (str_eq_nocase(*s, STR("Z"))) {
        *s = STR_NONE;
        return true;
    }
    if (!west && !str_starts(*s, STR("+")))
        return false;
    *s = str_sub(*s, 1, s->n);
    if (!take_number(s, 2, ':', 23, &hours) || !take_number(s, 2, 0, 59, &minutes))
        return false;
    *seconds_east = (hours * 60 + minutes) * 60 * (west ? -1 : 1);
    return true;
}

static bool is_calendar_date(const struct tm *tm)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year = tm->tm_year + 1900;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return tm->tm_mon >= 0 && tm->tm_mon < 12 && tm->tm_mday >= 1 &&
           tm->tm_mday <= days[tm->tm_mon] + (leap && tm->tm_mon == 1);
}

bool text_untime(struct str s, int64_t *wall_ms)
{
    struct tm tm = {0};
    int64_t ms, east;

    if (!take_number(&s, 4, '-', 9999, &tm.tm_year) || !take_number(&s, 2, '-', 12, &tm.tm_mon) ||
        !take_number(&s, 2, 'T', 31, &tm.tm_mday) || !take_number(&s, 2, ':', 23, &tm.tm_hour) ||
        !take_number(&s, 2, ':', 59, &tm.tm_min) || !take_number(&s, 2, 0, 60, &tm.tm_sec) ||
        !take_fraction(&s, &ms) || !take_zone(&s, &east) || s.n)
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    if (!is_calendar_date(&tm))
        return false;
    *wall_ms = ((int64_t)timegm(&tm) - east) * 1000 + ms;
    return true;
}
