#include "proxy/path.h"

#include <string.h>

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte of an escape at `at`, -1 for none. */
static int escaped(struct str s, size_t at)
{
    int high, low;

    if (at + 2 >= s.n || s.p[at] != '%')
        return -1;
    high = hex(s.p[at + 1]);
    low = hex(s.p[at + 2]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

static bool is_unreserved(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c > 0 && strchr("-._~", c));
}

/* No path may hold them as they are (RFC 3986 3.3); where paths are cleaned, Envoy escapes them. */
static bool is_escaped_later(char c)
{
    switch (c) { /* every character of every path comes by: no strchr */
    case '"':
    case '<':
    case '>':
    case '^':
    case '`':
    case '{':
    case '|':
    case '}':
        return true;
    default:
        return false;
    }
}

/* Most paths are in order already. */
static bool is_plain(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];

        if (c == '%' || c == '\\' || is_escaped_later(c) || (c == '/' && i + 1 < s.n && (s.p[i + 1] == '/' || s.p[i + 1] == '.')))
            return false;
    }
    return true;
}

/* Where the segment before the one that begins at `start` begins; the first has none before it. */
static size_t parent(const char *p, size_t start)
{
    size_t i = start;

    if (i <= 1)
        return i;
    for (i--; i > 0 && p[i - 1] != '/'; i--)
        ;
    return i;
}

#define NO_STRAY SIZE_MAX

struct writing {
    char *p;
    size_t n, segment; /* where the last segment begins: behind its '/' */
    size_t stray;      /* where the last '%' stands that begins no escape, or NO_STRAY */
};

/* A segment is whole: "." and ".." are not kept. */
static void end_segment(struct writing *w)
{
    struct str last = {w->p + w->segment, w->n - w->segment};

    if (str_eq(last, STR("."))) {
        w->n = w->segment;
    } else if (str_eq(last, STR(".."))) {
        w->n = parent(w->p, w->segment);
    } else {
        return;
    }
    w->segment = w->n;
    w->stray = NO_STRAY;
}

/* What was decoded must not make an escape of a stray '%': whoever decodes next would see another path than the rules did. */
static void put(struct writing *w, char c)
{
    w->p[w->n++] = c;
    if (w->stray == NO_STRAY || w->n != w->stray + 3)
        return;
    if (hex(w->p[w->stray + 1]) >= 0 && hex(c) >= 0) {
        memmove(w->p + w->stray + 3, w->p + w->stray + 1, 2);
        memcpy(w->p + w->stray, "%25", 3);
        w->n += 2;
    }
    w->stray = NO_STRAY;
}

static void put_escaped(struct writing *w, char c)
{
    static const char digits[] = "0123456789ABCDEF";

    w->p[w->n++] = '%';
    w->p[w->n++] = digits[c >> 4];
    w->p[w->n++] = digits[c & 15];
}

static void slash(struct writing *w)
{
    size_t before = w->n;

    end_segment(w);
    if (w->n == before || w->n == 0) /* else there is the '/' of what was before */
        w->p[w->n++] = '/';
    w->segment = w->n;
}

static void merge_slashes(struct writing *w)
{
    size_t kept = 0;

    for (size_t i = 0; i < w->n; i++) {
        if (w->p[i] != '/' || kept == 0 || w->p[kept - 1] != '/')
            w->p[kept++] = w->p[i];
    }
    w->n = kept;
}

bool path_normalise(enum path_mode mode, struct str path, struct arena *a, struct str *out)
{
    const char *q = path.n ? memchr(path.p, '?', path.n) : NULL;
    struct str only = q ? str_sub(path, 0, (size_t)(q - path.p)) : path;
    struct writing w = {.stray = NO_STRAY};

    *out = path;
    if (mode == PATH_AS_IS || only.n == 0 || only.p[0] != '/' || is_plain(only))
        return true;
    w.p = arena_alloc(a, only.n * 3 + path.n + 1);
    for (size_t i = 0; i < only.n; i++) {
        int c = escaped(only, i), literal = c < 0 ? only.p[i] : c;

        if (c == 0)
            return false;
        if (c < 0 || is_unreserved(c) || (mode == PATH_DECODE && (c == '/' || c == '\\'))) {
            if (literal == '/' || literal == '\\')
                slash(&w);
            else if (is_escaped_later((char)literal))
                put_escaped(&w, (char)literal);
            else
                put(&w, (char)literal);
            if (literal == '%')
                w.stray = w.n - 1;
        } else {
            memcpy(w.p + w.n, only.p + i, 3);
            w.n += 3;
        }
        i += c < 0 ? 0 : 2;
    }
    end_segment(&w);
    if (w.n == 0)
        w.p[w.n++] = '/';
    if (mode != PATH_BASE)
        merge_slashes(&w);
    memcpy(w.p + w.n, path.p + only.n, path.n - only.n);
    *out = (struct str){w.p, w.n + path.n - only.n};
    return true;
}
