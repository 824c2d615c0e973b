/* The GCM context of our build of mbedTLS (MBEDTLS_GCM_ALT): mbedtls/gcm.h includes this in place of
 * its own struct, so test/deps.sh installs it beside mbedTLS's headers. pki/accel.c fills it.
 *
 * Ownership: `state` is made at the first use after a key was set, and again after accel_gcm_rest.
 * A stamp of test/deps.sh does not see a change here: raise RECIPE there.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct accel_gcm;

typedef struct mbedtls_gcm_context {
    struct accel_gcm *state; /* key schedule and tables, about 4.5 KB; NULL: not made yet */
    uint8_t key[32];
    uint8_t key_bytes; /* 0: no key */
} mbedtls_gcm_context;

/* Gives the tables back while nothing is encrypted or decrypted; they are made anew from the key when
 * needed. NULL is fine. */
void accel_gcm_rest(mbedtls_gcm_context *g);
