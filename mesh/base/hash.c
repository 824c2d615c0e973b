#include "mesh/base/hash.h"

#include <mbedtls/sha1.h>
#include <mbedtls/sha256.h>
#include <stdlib.h>

/* mbedTLS reports only what cannot happen to a software SHA-256: a wrong argument. */
static void must(int result)
{
    if (result != 0)
        abort();
}

static void update(mbedtls_sha256_context *c, struct str s)
{
    const void *bytes = s.p;

    if (s.n)
        must(mbedtls_sha256_update(c, bytes, s.n));
}

void hash_sha256_2(struct str a, struct str b, uint8_t out[HASH_BYTES])
{
    mbedtls_sha256_context c;

    mbedtls_sha256_init(&c);
    must(mbedtls_sha256_starts(&c, 0));
    update(&c, a);
    update(&c, b);
    must(mbedtls_sha256_finish(&c, out));
    mbedtls_sha256_free(&c);
}

void hash_sha256(struct str s, uint8_t out[HASH_BYTES])
{
    hash_sha256_2(s, STR_NONE, out);
}

void hash_sha1(struct str s, uint8_t out[HASH_SHA1_BYTES])
{
    const void *bytes = s.n ? s.p : "";

    must(mbedtls_sha1(bytes, s.n, out));
}

bool hash_eq(const uint8_t a[HASH_BYTES], const uint8_t b[HASH_BYTES])
{
    unsigned difference = 0;

    for (size_t i = 0; i < HASH_BYTES; i++)
        difference |= (unsigned)(a[i] ^ b[i]);
    return difference == 0;
}
