/* For pki and proxy/wire/tls_*.c: mbedTLS's codes as errors for people. */
#pragma once

#include <mbedtls/error.h>

#include "mesh/base/err.h"

/* "what: mbedTLS's sentence". Returns -1. */
static inline int mbed_err(struct err *err, enum err_code code, int rc, const char *what)
{
    char text[160];

    mbedtls_strerror(rc, text, sizeof(text));
    return err_set(err, code, "%s: %s", what, text);
}
