#include "mesh/base/str.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "mesh/base/mem.h"

struct str str_from(const char *cstr)
{
    return (struct str){cstr, cstr ? strlen(cstr) : 0};
}

struct str str_sub(struct str s, size_t from, size_t n)
{
    if (from > s.n)
        from = s.n;
    if (n > s.n - from)
        n = s.n - from;
    return (struct str){s.p ? s.p + from : NULL, n};
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool str_eq_nocase(struct str a, struct str b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++) {
        if (lower(a.p[i]) != lower(b.p[i]))
            return false;
    }
    return true;
}

int str_cmp(struct str a, struct str b)
{
    size_t n = MIN(a.n, b.n);
    int r = n ? memcmp(a.p, b.p, n) : 0;

    if (r != 0)
        return r;
    return (a.n > b.n) - (a.n < b.n);
}

bool str_starts(struct str s, struct str prefix)
{
    return s.n >= prefix.n && str_eq(str_sub(s, 0, prefix.n), prefix);
}

bool str_starts_nocase(struct str s, struct str prefix)
{
    return s.n >= prefix.n && str_eq_nocase(str_sub(s, 0, prefix.n), prefix);
}

bool str_ends(struct str s, struct str suffix)
{
    return s.n >= suffix.n && str_eq(str_sub(s, s.n - suffix.n, suffix.n), suffix);
}

bool str_find(struct str s, struct str needle, size_t *at)
{
    const char *hit;

    if (needle.n == 0) {
        *at = 0;
        return true;
    }
    if (s.n < needle.n)
        return false;
    hit = memmem(s.p, s.n, needle.p, needle.n);
    if (!hit)
        return false;
    *at = (size_t)(hit - s.p);
    return true;
}

bool str_has(struct str s, char c)
{
    return s.n && memchr(s.p, c, s.n) != NULL;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct str str_trim(struct str s)
{
    while (s.n && is_space(s.p[0])) {
        s.p++;
        s.n--;
    }
    while (s.n && is_space(s.p[s.n - 1]))
        s.n--;
    return s;
}

bool str_cut(struct str *line, char sep, struct str *head)
{
    const char *hit = line->n ? memchr(line->p, sep, line->n) : NULL;

    if (!hit)
        return false;
    *head = (struct str){line->p, (size_t)(hit - line->p)};
    line->n -= head->n + 1;
    line->p = hit + 1;
    return true;
}

bool str_next(struct str *list, char sep, struct str *item)
{
    if (list->n == 0)
        return false;
    if (!str_cut(list, sep, item)) {
        *item = *list;
        *list = str_sub(*list, list->n, 0);
    }
    return true;
}

/* A hash in the manner of wyhash: 16 bytes a step through a 64x64 to 128 bit multiplication whose
 * halves are folded, mixed with two secret words. The secret is what keeps a peer from choosing
 * colliding header or host names; it is not a MAC. */
static uint64_t hash_key[4];

__attribute__((constructor)) static void hash_seed(void)
{
    if (getrandom(hash_key, sizeof(hash_key), 0) != (ssize_t)sizeof(hash_key))
        abort();
    /* A zero factor would wipe out a word of input. */
    for (size_t i = 0; i < COUNT(hash_key); i++)
        hash_key[i] |= 1;
}

static uint64_t fold(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t get64(const char *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return v;
}

/* Up to 8 bytes, zero-extended; the length is mixed in elsewhere. */
static uint64_t get_tail(const char *p, size_t n)
{
    uint64_t v = 0;

    if (n)
        memcpy(&v, p, n);
    return v;
}

uint64_t str_hash(struct str s)
{
    uint64_t h = hash_key[0] ^ s.n;
    uint64_t a, b;
    const char *p = s.p;
    size_t n = s.n;

    for (; n > 16; p += 16, n -= 16)
        h = fold(get64(p) ^ hash_key[1], get64(p + 8) ^ h);
    a = get_tail(p, MIN(n, 8));
    b = n > 8 ? get_tail(p + 8, n - 8) : 0;
    h = fold(a ^ hash_key[2], b ^ h);
    return fold(h ^ hash_key[3], hash_key[1] ^ s.n);
}

bool str_uint(struct str s, uint64_t min, uint64_t max, uint64_t *out)
{
    uint64_t v = 0;

    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (!is_digit(s.p[i]) || __builtin_mul_overflow(v, 10u, &v) ||
            __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v))
            return false;
    }
    if (v < min || v > max)
        return false;
    *out = v;
    return true;
}

bool str_int(struct str s, int64_t min, int64_t max, int64_t *out)
{
    bool negative = s.n && s.p[0] == '-';
    uint64_t limit = negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
    uint64_t u;
    int64_t v;

    if (!str_uint(negative ? str_sub(s, 1, s.n) : s, 0, limit, &u))
        return false;
    v = negative ? (int64_t)(0 - u) : (int64_t)u;
    if (v < min || v > max)
        return false;
    *out = v;
    return true;
}

bool str_hex(struct str s, uint64_t max, uint64_t *out)
{
    uint64_t v = 0;

    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = lower(s.p[i]);
        unsigned digit;

        if (is_digit(c))
            digit = (unsigned)(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (unsigned)(c - 'a') + 10;
        else
            return false;
        if (v >> 60)
            return false;
        v = v << 4 | digit;
    }
    if (v > max)
        return false;
    *out = v;
    return true;
}

static size_t count_digits(struct str s, size_t at)
{
    size_t n = 0;

    while (at + n < s.n && is_digit(s.p[at + n]))
        n++;
    return n;
}

/* RFC 8259: [ minus ] int [ frac ] [ exp ], int without leading zeros. */
bool str_is_number(struct str s)
{
    size_t i = s.n && s.p[0] == '-', n = count_digits(s, i);

    if (n == 0 || (n > 1 && s.p[i] == '0'))
        return false;
    i += n;
    if (i < s.n && s.p[i] == '.') {
        n = count_digits(s, i + 1);
        if (n == 0)
            return false;
        i += 1 + n;
    }
    if (i < s.n && (s.p[i] == 'e' || s.p[i] == 'E')) {
        i++;
        if (i < s.n && (s.p[i] == '+' || s.p[i] == '-'))
            i++;
        n = count_digits(s, i);
        if (n == 0)
            return false;
        i += n;
    }
    return i == s.n;
}

bool str_double(struct str s, double *out)
{
    char text[512]; /* longer ones are not written by people */
    double v;

    if (s.n >= sizeof(text) || !str_is_number(s))
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    /* The process stays in the C locale, so that the point is a point. */
    v = strtod(text, NULL);
    if (!isfinite(v))
        return false;
    *out = v;
    return true;
}

/* Longest names first where one starts with another ("m" and "ms"). Both micro signs of Unicode. */
static const struct {
    struct str name;
    uint64_t ns;
} duration_units[] = {
    {STR_INIT("ns"),        1            },
    {STR_INIT("us"),        1000         },
    {STR_INIT("\xc2\xb5s"), 1000         },
    {STR_INIT("\xce\xbcs"), 1000         },
    {STR_INIT("ms"),        1000000      },
    {STR_INIT("s"),         1000000000   },
    {STR_INIT("m"),         60000000000  },
    {STR_INIT("h"),         3600000000000},
};

static bool take_unit(struct str *s, uint64_t *ns)
{
    for (size_t i = 0; i < COUNT(duration_units); i++) {
        if (str_starts(*s, duration_units[i].name)) {
            *s = str_sub(*s, duration_units[i].name.n, s->n);
            *ns = duration_units[i].ns;
            return true;
        }
    }
    return false;
}

/* Digits as 0.ddd of `unit`, cut to whole nanoseconds as Go does. Units are 1, 6 or 36 times powers
 * of ten, so that every digit worth a nanosecond divides evenly. */
static uint64_t fraction_of(struct str digits, uint64_t unit)
{
    uint64_t total = 0;

    for (size_t i = 0; i < digits.n && unit >= 10; i++) {
        total += (uint64_t)(digits.p[i] - '0') * unit / 10;
        unit /= 10;
    }
    return total;
}

/* One "1.5h". */
static bool take_duration_part(struct str *s, uint64_t *ns)
{
    size_t whole_n = count_digits(*s, 0), fraction_n = 0;
    struct str whole = str_sub(*s, 0, whole_n), fraction = STR_NONE;
    uint64_t v = 0, unit;

    *s = str_sub(*s, whole_n, s->n);
    if (s->n && s->p[0] == '.') {
        fraction_n = count_digits(*s, 1);
        fraction = str_sub(*s, 1, fraction_n);
        *s = str_sub(*s, 1 + fraction_n, s->n);
    }
    if (whole_n + fraction_n == 0 || !take_unit(s, &unit))
        return false;
    if (whole_n && !str_uint(whole, 0, INT64_MAX, &v))
        return false;
    if (__builtin_mul_overflow(v, unit, &v) ||
        __builtin_add_overflow(v, fraction_of(fraction, unit), &v))
        return false;
    *ns = v;
    return true;
}

bool str_duration(struct str s, int64_t *ns)
{
    bool negative = s.n && s.p[0] == '-';
    uint64_t total = 0, part;

    if (s.n && (s.p[0] == '-' || s.p[0] == '+'))
        s = str_sub(s, 1, s.n);
    if (str_eq(s, STR("0"))) {
        *ns = 0;
        return true;
    }
    if (s.n == 0)
        return false;
    while (s.n) {
        if (!take_duration_part(&s, &part) || __builtin_add_overflow(total, part, &total) ||
            total > INT64_MAX)
            return false;
    }
    *ns = negative ? -(int64_t)total : (int64_t)total;
    return true;
}

/* Unicode table 3-7. */
size_t str_utf8(struct str s)
{
    unsigned char c = s.n ? (unsigned char)s.p[0] : 0xFF;
    unsigned char low = 0x80, high = 0xBF;
    size_t n;

    if (c < 0x80)
        return 1;
    if (c < 0xC2 || c > 0xF4)
        return 0;
    n = c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    if (c == 0xE0)
        low = 0xA0;
    else if (c == 0xED)
        high = 0x9F;
    else if (c == 0xF0)
        low = 0x90;
    else if (c == 0xF4)
        high = 0x8F;
    if (s.n < n)
        return 0;
    for (size_t i = 1; i < n; i++) {
        unsigned char next = (unsigned char)s.p[i];

        if (next < low || next > high)
            return 0;
        low = 0x80;
        high = 0xBF;
    }
    return n;
}

#define DISTANCE_MAX 64 /* longer names are not worth a suggestion */

size_t str_distance(struct str a, struct str b, size_t max)
{
    size_t row[DISTANCE_MAX + 1];

    if (a.n > DISTANCE_MAX || b.n > DISTANCE_MAX)
        return str_eq(a, b) ? 0 : max + 1;
    for (size_t j = 0; j <= b.n; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.n; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= b.n; j++) {
            size_t replace = diagonal + (a.p[i - 1] != b.p[j - 1]);

            diagonal = row[j];
            row[j] = MIN(replace, MIN(row[j], row[j - 1]) + 1);
        }
    }
    return row[b.n] > max ? max + 1 : row[b.n];
}

void str_fit(char *to, size_t bytes, struct str s)
{
    size_t n = MIN(s.n, bytes - 1);

    if (n)
        memcpy(to, s.p, n);
    to[n] = '\0';
}

struct str str_of_uint(uint64_t v, char *text)
{
    char *at = text + STR_UINT_MAX;

    do {
        *--at = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    return (struct str){at, (size_t)(text + STR_UINT_MAX - at)};
}

char *str_dup(struct str s)
{
    char *p = mem_alloc(s.n + 1);

    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return p;
}

struct str str_copy(struct str s)
{
    return (struct str){str_dup(s), s.n};
}

void str_free(struct str s)
{
    free((void *)(uintptr_t)s.p);
}
