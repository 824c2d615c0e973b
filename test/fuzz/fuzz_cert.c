/* Certificates and requests from a peer: parse, describe, verify, print. */
#include <stdlib.h>
#include <string.h>

#include "pki/cert.h"

static void try_chain(struct str s)
{
    struct err err;
    struct cert_chain *c = cert_parse(s, &err);
    struct cert_info info;
    struct key_pub pub;
    struct buf pem;

    if (!c)
        return;
    for (size_t i = 0; i < cert_count(c); i++) {
        if (cert_describe(c, i, &info, &err) == 0 && strlen(info.uri) >= sizeof(info.uri))
            abort();
    }
    (void)cert_public(c, &pub, &err);                                 /* either answer is fine */
    (void)cert_verify(c, c, CERT_ANY_TIME, CERT_EITHER, &info, &err); /* as its own root */
    buf_init(&pem, 4 * CERT_TEXT_MAX);
    cert_pem(c, &pem);
    if (!pem.failed) {
        struct cert_chain *again = cert_parse(buf_str(&pem), &err);

        if (again && !str_eq(cert_der(again, 0), cert_der(c, 0)))
            abort(); /* what we print must be what we read */
        cert_free(again);
    }
    buf_done(&pem);
    cert_free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str s = {(const char *)data, size};
    struct key_pub pub;
    struct err err;

    try_chain(s);
    (void)cert_csr_key(s, &pub, &err); /* either answer is fine */
    return 0;
}
