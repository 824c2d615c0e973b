/* weft/v1 Credential, ours: a certificate with its key, or authorities, under the name that
 * credentialName of a Gateway or a DestinationRule uses. Fields: mesh/kinds/credential.c.
 *
 * A private key is a secret: it goes to the agents that use it and is shown to nobody
 * (encode_redact). */
#pragma once

#include "mesh/kinds/common.h"

struct credential {
    const struct node *node;
    struct str certificate, private_key, ca_certificates, crl; /* PEM */
};

extern const struct schema credential_schema;
void credential_validate(const struct check *c, const void *spec);
