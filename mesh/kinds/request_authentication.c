#include "mesh/kinds/request_authentication.h"

#include "mesh/base/json.h"
#include "mesh/kinds/check.h"

static int check_jwks_uri(struct str s, struct err *err)
{
    static const struct str schemes[] = {STR_INIT("http://"), STR_INIT("https://")};

    for (size_t i = 0; i < COUNT(schemes); i++) {
        if (str_starts_nocase(s, schemes[i]) && s.n > schemes[i].n && !str_has(s, ' '))
            return 0;
    }
    return err_set(err, ERR_INVALID, "\"%.*s\" is not a URL with http:// or https://", STR_ARG(s));
}

static int check_claim_header(struct str s, struct err *err)
{
    return common_check_plain_name(s, "-_", err);
}

/* Rows of designated initialisers, which clang-format 14 cannot lay out (it even crashes). */
/* clang-format off */


static const struct field header_fields[] = {
    {"name", FIELD_STRING, SCHEMA_AT(jwt_header, name), .flags = FIELD_REQUIRED,
     .check = common_check_token, .meaning = "Header that holds the token."},
    {"prefix", FIELD_STRING, SCHEMA_AT(jwt_header, prefix),
     .meaning = "What stands before the token, with its blank, as in \"Bearer \"."},
};
static SCHEMA(header_schema, "JWTHeader", jwt_header, header_fields);

static const struct field claim_fields[] = {
    {"header", FIELD_STRING, SCHEMA_AT(claim_header, header), .flags = FIELD_REQUIRED,
     .check = check_claim_header, .meaning = "Header that gets the claim; what came in is removed."},
    {"claim", FIELD_STRING, SCHEMA_AT(claim_header, claim), .flags = FIELD_REQUIRED,
     .meaning = "Claim of type string, number or bool; nested ones joined by '.'."},
};
static SCHEMA(claim_schema, "ClaimToHeader", claim_header, claim_fields);

static const struct field rule_fields[] = {
    {"issuer", FIELD_STRING, SCHEMA_AT(jwt_rule, issuer),
     .meaning = "Issuer (iss) of the token; may be left out where jwksUri is given."},
    {"audiences", FIELD_STRINGS, SCHEMA_LIST(jwt_rule, audiences), .check = common_check_word,
     .meaning = "Audiences (aud), of which the token needs one; any when not given."},
    {"jwksUri", FIELD_STRING, SCHEMA_AT(jwt_rule, jwks_uri), SCHEMA_BOUNDS(1, 2048),
     .flags = FIELD_BOUNDED, .check = check_jwks_uri, .oneof = "keys",
     .meaning = "Where the issuer's keys are fetched, http or https."},
    {"jwks", FIELD_STRING, SCHEMA_AT(jwt_rule, jwks), .oneof = "keys",
     .meaning = "The issuer's public keys themselves, a JSON Web Key Set."},
    {"fromHeaders", FIELD_MESSAGES, SCHEMA_LIST(jwt_rule, from_headers), .message = &header_schema,
     .meaning = "Headers that may hold the token; Authorization with Bearer when nothing is given."},
    {"fromParams", FIELD_STRINGS, SCHEMA_LIST(jwt_rule, from_params), .check = common_check_word,
     .meaning = "Query parameters that may hold it; access_token when nothing is given."},
    {"outputPayloadToHeader", FIELD_STRING, SCHEMA_AT(jwt_rule, payload_header),
     .meaning = "Header that gets the token's payload, base64url."},
    {"fromCookies", FIELD_STRINGS, SCHEMA_LIST(jwt_rule, from_cookies), .check = common_check_word,
     .meaning = "Cookies that may hold the token."},
    {"forwardOriginalToken", FIELD_BOOL, SCHEMA_AT(jwt_rule, forward_token),
     .meaning = "Leave the token in the request that goes on."},
    {"outputClaimToHeaders", FIELD_MESSAGES, SCHEMA_LIST(jwt_rule, claim_headers),
     .message = &claim_schema, .meaning = "Claims to copy into headers."},
    {"timeout", FIELD_DURATION, SCHEMA_AT(jwt_rule, timeout_ns), .def = 5000000000,
     .meaning = "How long fetching the keys may take."},
    {"spaceDelimitedClaims", FIELD_STRINGS, SCHEMA_LIST(jwt_rule, space_delimited_claims),
     .check = common_check_word, .most = 64,
     .meaning = "Claims that are lists joined by blanks, beside scope and permission."},
};
static SCHEMA(rule_schema, "JWTRule", jwt_rule, rule_fields);

static const struct field request_authentication_fields[] = {
    POLICY_TARGET_ROWS(request_authentication),
    {"jwtRules", FIELD_MESSAGES, SCHEMA_LIST(request_authentication, rules),
     .message = &rule_schema, .most = 4096, .meaning = "Issuers; a token has to satisfy one."},
};
SCHEMA(request_authentication_schema, "RequestAuthentication", request_authentication,
       request_authentication_fields);

/* clang-format on */

/* ---- checks ---- */

static void check_jwks(const struct check *c, const struct jwt_rule *r)
{
    const struct node *at = check_member(r->node, "jwks"), *keys;
    struct node *root;
    struct err err;

    if (json_read(r->jwks, c->f->arena, &root, &err)) {
        FAIL(c, at, FIND_VALUE, "jwks is not a JSON Web Key Set: %s", err.text);
        return;
    }
    keys = node_get(root, STR("keys"));
    if (!keys || keys->kind != NODE_LIST) {
        FAIL(c, at, FIND_VALUE, "jwks is not a JSON Web Key Set: it has no list \"keys\"");
        return;
    }
    for (const struct node *k = keys->first; k; k = k->next) {
        if (k->kind != NODE_MAP || node_text(k, "kty").n == 0)
            FAIL(c, at, FIND_VALUE, "jwks has a key without \"kty\"");
        else if (node_get(k, STR("d")) || str_eq(node_text(k, "kty"), STR("oct")))
            WARN(c, at, "jwks holds a private key: take it out, only public ones are needed");
    }
}

void request_authentication_validate(const struct check *c, const void *spec)
{
    const struct request_authentication *p = spec;

    check_selector(c, &p->selector);
    check_targets(c, p->target_ref, p->target_refs, p->target_refs_count);
    for (size_t i = 0; i < p->rules_count; i++) {
        const struct jwt_rule *r = &p->rules[i];

        if (!r->issuer.n && check_absent(r->node, "jwksUri"))
            FAIL(c, r->node, FIND_REQUIRED, "issuer is required, or jwksUri");
        if (r->jwks.n)
            check_jwks(c, r);
    }
}
