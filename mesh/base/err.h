/* Errors for code that talks to people: configuration, API, start-up, PKI.
 *
 * The function that fails says what is wrong and what would be right; each caller that
 * knows more puts its context in front, so the operator reads one sentence from the
 * outside in:
 *
 *     web.yaml:12: routes[3].path: must start with '/'
 *
 * Convention: int f(..., struct err *err) returns 0, or -1 with *err filled in.
 * `err` comes last, is never NULL, and is untouched on success.
 * Ownership: owns nothing; safe to copy; no thread rules.
 */
#pragma once

#include "mesh/base/base.h"

#define ERR_TEXT_MAX 1024 /* bytes with the NUL; longer text is cut, never an error */

enum err_code {
    ERR_NONE,
    ERR_INVALID,     /* the input is wrong; retrying cannot help (API: 400 or 422) */
    ERR_MISSING,     /* it is not there (404) */
    ERR_CONFLICT,    /* somebody else got there first (409 or 412) */
    ERR_DENIED,      /* not allowed (403) */
    ERR_IO,          /* the outside world failed; retrying may help (503) */
    ERR_LIMIT,       /* a limit in limits.h was reached (413 or 429) */
    ERR_FULL,        /* no room on the disk (507) */
    ERR_UNSUPPORTED, /* understood, but not built (422) */
};

struct err {
    enum err_code code;
    char text[ERR_TEXT_MAX];
};

/* Fill *err. Returns -1, so that callers can write: return err_set(...). */
int err_set(struct err *err, enum err_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Like err_set, with ": " and the text of errno behind the message. errno is read first. */
int err_errno(struct err *err, enum err_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Put "context: " in front of the text already there. Returns -1. */
int err_wrap(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);
