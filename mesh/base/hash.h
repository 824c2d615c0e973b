/* SHA-256 (FIPS 180-4), and SHA-1 where a protocol wants it. The only mbedTLS use of this layer, so that store and mesh can name
 * content without knowing pki. */
#pragma once

#include "mesh/base/str.h"

#define HASH_BYTES 32

#define HASH_SHA1_BYTES 20

void hash_sha1(struct str s, uint8_t out[HASH_SHA1_BYTES]); /* FIPS 180-4; for what RFC 6455 asks, nothing else */
void hash_sha256(struct str s, uint8_t out[HASH_BYTES]);
void hash_sha256_2(struct str a, struct str b, uint8_t out[HASH_BYTES]); /* of a followed by b */
bool hash_eq(const uint8_t a[HASH_BYTES], const uint8_t b[HASH_BYTES]);  /* constant time */
