#include "mesh/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Put text behind the first *n bytes of `out`, cut at the end of it. */
static void append(char out[ERR_TEXT_MAX], size_t *n, const char *text)
{
    size_t room = ERR_TEXT_MAX - 1 - *n;
    size_t length = strnlen(text, room);

    memcpy(out + *n, text, length);
    *n += length;
    out[*n] = '\0';
}

int err_set(struct err *err, enum err_code code, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX]; /* an argument may be err->text itself */
    size_t n = 0;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    err->code = code;
    append(err->text, &n, text);
    return -1;
}

int err_errno(struct err *err, enum err_code code, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX], reason[128];
    const char *why = strerror_r(errno, reason, sizeof(reason));
    size_t n = 0;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    err->code = code;
    append(err->text, &n, text);
    append(err->text, &n, ": ");
    append(err->text, &n, why);
    return -1;
}

int err_wrap(struct err *err, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX], rest[ERR_TEXT_MAX];
    size_t n = 0;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    append(rest, &n, err->text);
    n = 0;
    append(err->text, &n, text);
    append(err->text, &n, ": ");
    append(err->text, &n, rest);
    return -1;
}
