/* security.istio.io RequestAuthentication: which tokens (JWT) of requests are believed. A request
 * without a token passes, as nobody. Fields: mesh/kinds/request_authentication.c. */
#pragma once

#include "mesh/kinds/common.h"

struct jwt_header {
    const struct node *node;
    struct str name, prefix;
};

struct claim_header {
    const struct node *node;
    struct str header, claim;
};

struct jwt_rule {
    const struct node *node;
    struct str issuer;
    struct str *audiences; /* none: any */
    size_t audiences_count;
    struct str jwks_uri, jwks; /* none: found out from the issuer */
    struct str jwks_uri_alias; /* the same as jwks_uri; one of them is empty */
    struct jwt_header *from_headers;
    size_t from_headers_count;
    struct str *from_params, *from_cookies;
    size_t from_params_count, from_cookies_count;
    struct str payload_header;
    bool forward_token;
    struct claim_header *claim_headers;
    size_t claim_headers_count;
    int64_t timeout_ns; /* 5 s */
    struct str *space_delimited_claims;
    size_t space_delimited_claims_count;
};

struct request_authentication {
    const struct node *node;
    struct policy_target target;
    struct jwt_rule *rules;
    size_t rules_count;
};

extern const struct schema request_authentication_schema;
void request_authentication_validate(const struct check *c, const void *spec);
