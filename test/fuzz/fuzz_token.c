/* A join token that somebody pasted: what parses must print and parse again as the same. */
#include <stdlib.h>
#include <string.h>

#include "pki/token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct token t, again;
    struct buf text;
    struct err err;

    memset(&t, 0, sizeof(t));
    memset(&again, 0, sizeof(again));
    if (token_parse((struct str){(const char *)data, size}, &t, &err) != 0)
        return 0;
    buf_init(&text, TOKEN_MAX);
    if (token_format(&t, &text, &err) != 0 || text.failed)
        abort();
    if (token_parse(buf_str(&text), &again, &err) != 0 || memcmp(&t, &again, sizeof(t)) != 0)
        abort();
    buf_done(&text);
    return 0;
}
