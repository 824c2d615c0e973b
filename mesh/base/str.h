/* A slice: a pointer and a length, passed by value. Owns nothing and need not end in NUL;
 * it is valid for as long as the memory it points into. C strings appear only where the
 * operating system asks for one. Pure functions; no thread rules.
 */
#pragma once

#include "mesh/base/base.h"

struct str {
    const char *p;
    size_t n;
};

#define STR(literal)  ((struct str){(literal), sizeof(literal) - 1})
#define STR_INIT(lit) {(lit), sizeof(lit) - 1} /* for static initialisers */
#define STR_ARG(s)    (int)(s).n, (s).p        /* for printf("%.*s") */
#define STR_NONE      ((struct str){NULL, 0})

struct str str_from(const char *cstr); /* NULL gives the empty slice */
struct str str_sub(struct str s, size_t from, size_t n); /* clamped to s */
bool str_eq(struct str a, struct str b);
bool str_eq_nocase(struct str a, struct str b); /* ASCII only */
int str_cmp(struct str a, struct str b);        /* bytewise, shorter first */
bool str_starts(struct str s, struct str prefix);
bool str_starts_nocase(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
bool str_find(struct str s, struct str needle, size_t *at);
bool str_has(struct str s, char c);
struct str str_trim(struct str s); /* blanks, tabs, CR, LF at both ends */
void str_fit(char *to, size_t bytes, struct str s); /* a C string of at most `bytes` with its NUL; the rest is cut */

/* Decimal, in STR_UINT_MAX bytes of `text`, without a NUL. */
#define STR_UINT_MAX 20
struct str str_of_uint(uint64_t v, char *text);

uint64_t str_hash(struct str s);   /* 64 bits, keyed once per process: not for disk or wire */

/* Cut `line` at the first `sep`: the part before goes to *head and the rest stays.
 * False, and nothing changes, when there is no `sep`. */
bool str_cut(struct str *line, char sep, struct str *head);
/* The next item of a list: like str_cut, but the last item needs no separator.
 * False when nothing is left. */
bool str_next(struct str *list, char sep, struct str *item);

/* Strict decimal: digits only, at least one, no sign, and min <= value <= max. */
bool str_uint(struct str s, uint64_t min, uint64_t max, uint64_t *out) MUST_USE;
bool str_int(struct str s, int64_t min, int64_t max, int64_t *out) MUST_USE; /* one '-' allowed */
bool str_hex(struct str s, uint64_t max, uint64_t *out) MUST_USE;
bool str_is_number(struct str s); /* by JSON's number grammar */
bool str_double(struct str s, double *out) MUST_USE; /* JSON's number grammar, finite */

/* A Go duration ("1h", "1m30s", "1.5h", "300ms", "0.5us"; "0" alone is legal), in nanoseconds.
 * Source: fields.md 1.2. False on overflow or any other text. */
bool str_duration(struct str s, int64_t *ns) MUST_USE;

/* Bytes of the well-formed UTF-8 character that s starts with (1 to 4), or 0. */
size_t str_utf8(struct str s);

/* Edit distance, for "did you mean"; anything over `max` is returned as max + 1. */
size_t str_distance(struct str a, struct str b, size_t max);

/* A NUL-ended copy from malloc; the caller frees it. */
char *str_dup(struct str s);
struct str str_copy(struct str s); /* its text on the heap, for str_free */
void str_free(struct str s);       /* an empty one is fine */
