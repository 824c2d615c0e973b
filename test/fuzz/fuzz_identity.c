/* Any bytes as an identity: what is accepted can be split and written again to the same text. */
#include <stdlib.h>

#include "mesh/identity.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str uri = {(const char *)data, size};
    struct identity id;
    struct err err;
    struct buf b;

    if (identity_parse(uri, &id, &err))
        return 0;
    if (!identity_trust_domain_ok(id.trust_domain) || id.trust_domain.n + id.path.n + 9 != size)
        abort();
    buf_init(&b, 8192);
    if (id.kind == IDENTITY_SERVICE)
        identity_service(&b, id.trust_domain, id.ns, id.account);
    else if (id.kind == IDENTITY_HOST)
        identity_host(&b, id.trust_domain, id.host);
    else if (id.kind == IDENTITY_SERVER)
        identity_server(&b, id.trust_domain);
    else
        buf_add(&b, uri);
    if (!str_eq(buf_str(&b), uri))
        abort();
    buf_done(&b);
    return 0;
}
