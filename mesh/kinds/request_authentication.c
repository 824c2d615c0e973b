#include "mesh/kinds/request_authentication.h"

#include "mesh/base/json.h"
#include "mesh/kinds/check.h"
#include "mesh/url.h"

static int check_jwks_uri(struct str s, struct err *err)
{
    struct err why;
    struct url u;

    if (url_parse(s, &u, &why) || url_parse_request(s, &u, &why))
        return err_set(err, ERR_INVALID, "\"%.*s\" is not a URL: it has %s", STR_ARG(s), why.text);
    return str_eq_nocase(u.scheme, STR("http")) || str_eq_nocase(u.scheme, STR("https"))
               ? 0
               : err_set(err, ERR_INVALID, "\"%.*s\" is not a URL with http:// or https://", STR_ARG(s));
}

static int check_claim_header(struct str s, struct err *err)
{
    return common_check_plain_name(s, "-_", err);
}

/* Rows of designated initialisers, which clang-format 14 cannot lay out (it even crashes). */
/* clang-format off */


static const struct field header_fields[] = {
    {"name", FIELD_STRING, SCHEMA_AT(jwt_header, name), .flags = FIELD_REQUIRED,
     .meaning = "Header that holds the token."},
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
    {"jwks_uri", FIELD_STRING, SCHEMA_AT(jwt_rule, jwks_uri_alias), SCHEMA_BOUNDS(1, 2048),
     .flags = FIELD_BOUNDED, .check = check_jwks_uri, .oneof = "keys", .status = FIELD_DEPRECATED, .reason = "write jwksUri",
     .meaning = "The same under its older name."},
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

#define KEY_MEMBERS 3

/* What a key of each type must have: its numbers are base64url, its curve is a word. Of `d` there is none in a public key. */
static const struct key_type {
    struct str name;
    const char *curves[5];
    const char *numbers[KEY_MEMBERS];
    bool is_secret;
} key_types[] = {
    {STR_INIT("RSA"), {NULL},                                        {"n", "e"},  false},
    {STR_INIT("EC"),  {"P-256", "P-384", "P-521", "secp256k1"},      {"x", "y"},  false},
    {STR_INIT("OKP"), {"Ed25519", "Ed448", "X25519", "X448"},        {"x"},       false},
    {STR_INIT("oct"), {NULL},                                        {"k"},       true },
};

static const struct key_type *find_type(struct str name)
{
    for (size_t i = 0; i < COUNT(key_types); i++) {
        if (str_eq(key_types[i].name, name))
            return &key_types[i];
    }
    return NULL;
}

static bool is_base64(struct str s)
{
    struct err ignored;

    return common_check_plain_name(s, "-_+/=", &ignored) == 0;
}

static bool is_curve(const struct key_type *t, struct str curve)
{
    for (size_t i = 0; i < COUNT(t->curves) && t->curves[i]; i++) {
        if (str_eq(str_from(t->curves[i]), curve))
            return true;
    }
    return t->curves[0] == NULL;
}

static void check_key(const struct check *c, const struct node *at, const struct node *key)
{
    const struct key_type *t = find_type(node_text(key, "kty"));

    if (!t) {
        FAIL(c, at, FIND_VALUE, "jwks has a key whose \"kty\" is none of RSA, EC, OKP and oct");
        return;
    }
    if (!is_curve(t, node_text(key, "crv")))
        FAIL(c, at, FIND_VALUE, "jwks has a key of type %.*s without a \"crv\" that exists, such as \"%s\"", STR_ARG(t->name),
             t->curves[0]);
    for (size_t i = 0; i < KEY_MEMBERS && t->numbers[i]; i++) {
        if (!is_base64(node_text(key, t->numbers[i])))
            FAIL(c, at, FIND_VALUE, "jwks has a key of type %.*s without \"%s\", or it is not base64url", STR_ARG(t->name),
                 t->numbers[i]);
    }
    if (t->is_secret || node_get(key, STR("d")))
        WARN(c, at, "jwks holds a private key: take it out, only public ones are needed");
}

/* A set of keys, or one key by itself. */
static void check_jwks(const struct check *c, const struct jwt_rule *r)
{
    const struct node *at = check_member(r->node, "jwks"), *keys;
    struct node *root;
    struct err err;

    if (json_read(r->jwks, c->f->arena, &root, &err)) {
        FAIL(c, at, FIND_VALUE, "jwks is not a JSON Web Key Set: %s", err.text);
        return;
    }
    keys = root->kind == NODE_MAP ? node_get(root, STR("keys")) : NULL;
    if (!keys && root->kind == NODE_MAP && node_get(root, STR("kty"))) {
        check_key(c, at, root);
        return;
    }
    if (!keys || keys->kind != NODE_LIST) {
        FAIL(c, at, FIND_VALUE, "jwks is not a JSON Web Key Set: it has no list \"keys\"");
        return;
    }
    for (const struct node *k = keys->first; k; k = k->next)
        check_key(c, at, k);
}

static void check_headers(const struct check *c, const struct jwt_rule *r)
{
    struct err err;

    for (size_t i = 0; i < r->from_headers_count; i++) {
        const struct jwt_header *h = &r->from_headers[i];

        if (h->name.n && common_check_token(h->name, &err))
            WARN(c, check_member(h->node, "name"), "%s, so no token is found there", err.text);
    }
}

void request_authentication_validate(const struct check *c, const void *spec)
{
    const struct request_authentication *p = spec;

    check_target(c, &p->target);
    for (size_t i = 0; i < p->rules_count; i++) {
        const struct jwt_rule *r = &p->rules[i];

        if (!r->issuer.n && check_absent(r->node, "jwksUri") && check_absent(r->node, "jwks_uri"))
            FAIL(c, r->node, FIND_REQUIRED, "issuer is required, or jwksUri");
        if (r->jwks.n)
            check_jwks(c, r);
        check_headers(c, r);
    }
}
