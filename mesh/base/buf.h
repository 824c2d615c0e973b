/* A bounded builder of text. Append freely; the first failure (the maximum is reached)
 * sticks, and is asked for once at the end.
 *
 * Ownership: the buf owns its memory until buf_done or buf_steal.
 * Limits:    the maximum is given at init and is never exceeded.
 */
#pragma once

#include <stdarg.h>

#include "mesh/base/base.h"
#include "mesh/base/str.h"

struct buf {
    char *p;
    size_t n;
    size_t cap;
    size_t max;
    bool failed; /* something did not fit; contents are cut */
};

void buf_init(struct buf *b, size_t max_bytes);
void buf_done(struct buf *b);  /* frees; the buf may be used again as after init */
void buf_clear(struct buf *b); /* empties, keeps the memory, forgets the failure */

void buf_add(struct buf *b, struct str s);
void buf_adds(struct buf *b, const char *cstr);
void buf_addc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_vprintf(struct buf *b, const char *fmt, va_list ap) PRINTF_LIKE(2, 0);

/* Append `s` as a JSON string with its quotes. Invalid UTF-8 becomes U+FFFD. */
void buf_json(struct buf *b, struct str s);

/* Append a duration in Go's shortest form: 90e9 ns is "1m30s". */
void buf_duration(struct buf *b, int64_t ns);

struct str buf_str(const struct buf *b); /* valid until the next append */

/* The contents with a NUL behind; the caller frees them. NULL if the buf failed. */
char *buf_steal(struct buf *b);
