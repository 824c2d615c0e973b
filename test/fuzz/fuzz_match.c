/* A pattern, a NUL, a value: compiling and matching stay within their bounds; host patterns agree
 * with each other. */
#include <stdlib.h>
#include <string.h>

#include "mesh/match.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
    size_t n = nul ? (size_t)(nul - data) : size;
    struct str pattern = {(const char *)data, n};
    struct str value = {(const char *)data + (nul ? n + 1 : n), nul ? size - n - 1 : 0};
    struct err err;
    struct regex *r = regex_new(pattern, &err);

    if (r) {
        (void)regex_match(r, value); /* any verdict is fine; what counts is that it comes */
        regex_free(r);
    }
    if (match_host_covers(pattern, value) && !memchr(value.p, '*', value.n) &&
        !match_host(pattern, value))
        abort();
    return 0;
}
