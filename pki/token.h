/* Join tokens: what an operator carries to a new host.
 *
 *     weft1.PIN.ID.SECRET.ENDPOINT[,ENDPOINT...]
 *
 * PIN is the SHA-256 of the root's public key, so that the host trusts nothing on first sight; ID
 * (8 hex digits) is public and names the row in the ledger; SECRET is 16 random bytes and a
 * checksum of the whole string, so that a cut paste is told from a wrong one. Binary parts are
 * base64url.
 *
 * Flow:      server/api.c mints, the agent's join parses, server/enrol.c checks.
 * Ownership: struct token is a value; wipe it (key_wipe) when done.
 * Errors:    for people; a token's text never appears in one.
 * Limits:    TOKEN_MAX bytes, TOKEN_ENDPOINTS_MAX endpoints.
 */
#pragma once

#include "mesh/base/buf.h"
#include "mesh/base/err.h"
#include "mesh/base/hash.h"

#define TOKEN_ID_MAX        9 /* with the NUL */
#define TOKEN_SECRET_BYTES  16
#define TOKEN_ENDPOINTS_MAX 8u
#define TOKEN_ENDPOINT_MAX  262 /* host name of 253, colon, port, brackets, NUL */
#define TOKEN_MAX           2500u

struct token {
    uint8_t pin[HASH_BYTES];
    char id[TOKEN_ID_MAX];
    uint8_t secret[TOKEN_SECRET_BYTES];
    size_t endpoint_count;
    char endpoints[TOKEN_ENDPOINTS_MAX][TOKEN_ENDPOINT_MAX]; /* HOST:PORT, [IPV6]:PORT */
};

/* A fresh id and secret. Fails on an endpoint that is not HOST:PORT. */
int token_mint(const uint8_t pin[HASH_BYTES], const struct str *endpoints, size_t count,
               struct token *out, struct err *err);
int token_format(const struct token *t, struct buf *out, struct err *err);
int token_parse(struct str text, struct token *out, struct err *err);

/* What the ledger keeps. The secret is random, so no slow hash is needed. */
void token_hash(const uint8_t secret[TOKEN_SECRET_BYTES], uint8_t out[HASH_BYTES]);
bool token_check(const uint8_t secret[TOKEN_SECRET_BYTES], const uint8_t hash[HASH_BYTES]);

/* The secret as text for the join request, and back: 22 letters of base64url. */
void token_format_secret(const uint8_t secret[TOKEN_SECRET_BYTES], struct buf *out);
bool token_parse_secret(struct str text, uint8_t out[TOKEN_SECRET_BYTES]) MUST_USE;
