/* The GCM context of our build of mbedTLS (MBEDTLS_GCM_ALT): mbedtls/gcm.h includes this in place of
 * its own struct, so test/deps.sh installs it beside mbedTLS's headers. pki/accel.c fills it.
 *
 * Ownership: `stream` lives from mbedtls_gcm_starts to mbedtls_gcm_finish; whole messages need none.
 */
#pragma once

#include <stdint.h>

struct accel_gcm;

typedef struct mbedtls_gcm_context {
    struct accel_gcm *stream;
    uint64_t id; /* of the key that was set, never the same twice in a process; 0: none */
    uint8_t key[32];
    uint8_t key_bytes;
} mbedtls_gcm_context;
