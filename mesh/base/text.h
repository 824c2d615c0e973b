/* Bytes as text and back, random identifiers, times. */
#pragma once

#include "mesh/base/buf.h"
#include "mesh/base/str.h"

void text_hex(struct buf *out, const void *bytes, size_t n);             /* lower case */
bool text_unhex(struct str s, uint8_t *out, size_t n) MUST_USE;          /* exactly n bytes */
void text_base64(struct buf *out, struct str bytes);                     /* RFC 4648 4, padded */
void text_base64url(struct buf *out, const void *bytes, size_t n);       /* RFC 4648 5, no padding */
bool text_unbase64(struct str s, struct buf *out) MUST_USE;              /* strict, padded */
bool text_unbase64url(struct str s, uint8_t *out, size_t n) MUST_USE;    /* exactly n bytes */

void text_random(void *out, size_t n); /* getrandom(2); ends the process if the kernel cannot */
uint64_t text_random_u64(void);        /* per-thread generator seeded from getrandom: not for secrets */

#define TEXT_ULID_MAX 27
const char *text_ulid(int64_t wall_ms, char out[TEXT_ULID_MAX]); /* Crockford base 32, 26 letters */

int64_t text_wall_ms(void); /* milliseconds since 1970 */
/* "2026-01-05T10:11:12.345Z"; seconds only without millis. */
void text_time(struct buf *out, int64_t wall_ms, bool with_ms);
bool text_untime(struct str s, int64_t *wall_ms) MUST_USE; /* RFC 3339, Z or offset */
