#include "pki/token.h"

#include <string.h>

#include "mesh/base/addr.h"
#include "mesh/base/text.h"
#include "pki/key.h"

#define PIN_TEXT    43u /* base64url of 32 bytes */
#define ID_TEXT     8u
#define SECRET_TEXT 24u /* base64url of secret and checksum */
#define SUM_BYTES   2u

/* A host name's letters; the resolver judges the rest. */
static bool host_ok(struct str host)
{
    if (host.n == 0 || host.n > 253 || host.p[0] == '.' || host.p[0] == '-')
        return false;
    for (size_t i = 0; i < host.n; i++) {
        char c = host.p[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '.' || c == '-'))
            return false;
    }
    return true;
}

static bool endpoint_ok(struct str s)
{
    struct addr a;
    struct str host;
    uint64_t port;

    if (s.n >= TOKEN_ENDPOINT_MAX)
        return false;
    if (s.n > 0 && s.p[0] == '[')
        return addr_parse(s, &a) && a.port != 0;
    return str_cut(&s, ':', &host) && host_ok(host) && str_uint(s, 1, 65535, &port);
}

static int add_endpoint(struct token *t, struct str s, struct err *err)
{
    if (t->endpoint_count == TOKEN_ENDPOINTS_MAX)
        return err_set(err, ERR_LIMIT, "a token has at most %u endpoints", TOKEN_ENDPOINTS_MAX);
    if (!endpoint_ok(s))
        return err_set(err, ERR_INVALID, "'%.*s' is no endpoint: HOST:PORT, or [IPV6]:PORT",
                       STR_ARG(str_sub(s, 0, 100)));
    memcpy(t->endpoints[t->endpoint_count], s.p, s.n);
    t->endpoints[t->endpoint_count][s.n] = 0;
    t->endpoint_count++;
    return 0;
}

int token_mint(const uint8_t pin[HASH_BYTES], const struct str *endpoints, size_t count,
               struct token *out, struct err *err)
{
    struct token t = {0};
    struct buf id;
    uint8_t random[ID_TEXT / 2];

    if (count == 0)
        return err_set(err, ERR_INVALID, "a token needs an endpoint of the server: HOST:PORT");
    for (size_t i = 0; i < count; i++) {
        if (add_endpoint(&t, endpoints[i], err) != 0)
            return -1;
    }
    memcpy(t.pin, pin, sizeof(t.pin));
    text_random(t.secret, sizeof(t.secret));
    text_random(random, sizeof(random));
    buf_init(&id, 64);
    text_hex(&id, random, sizeof(random));
    memcpy(t.id, buf_str(&id).p, ID_TEXT);
    buf_done(&id);
    *out = t;
    key_wipe(&t, sizeof(t));
    return 0;
}

/* Over everything else, so that a cut anywhere is noticed. */
static void checksum(const struct token *t, uint8_t out[SUM_BYTES])
{
    uint8_t digest[HASH_BYTES];

    hash_sha256_2(STR("weft1"), (struct str){(const char *)t->pin, sizeof(t->pin)}, digest);
    hash_sha256_2((struct str){(const char *)digest, sizeof(digest)}, str_from(t->id), digest);
    hash_sha256_2((struct str){(const char *)digest, sizeof(digest)},
                  (struct str){(const char *)t->secret, sizeof(t->secret)}, digest);
    for (size_t i = 0; i < t->endpoint_count; i++) {
        hash_sha256_2((struct str){(const char *)digest, sizeof(digest)}, STR(","), digest);
        hash_sha256_2((struct str){(const char *)digest, sizeof(digest)}, str_from(t->endpoints[i]),
                      digest);
    }
    memcpy(out, digest, SUM_BYTES);
}

int token_format(const struct token *t, struct buf *out, struct err *err)
{
    uint8_t secret[TOKEN_SECRET_BYTES + SUM_BYTES];

    if (t->endpoint_count == 0)
        return err_set(err, ERR_INVALID, "a token needs an endpoint of the server");
    memcpy(secret, t->secret, TOKEN_SECRET_BYTES);
    checksum(t, secret + TOKEN_SECRET_BYTES);
    buf_adds(out, "weft1.");
    text_base64url(out, t->pin, sizeof(t->pin));
    buf_printf(out, ".%s.", t->id);
    text_base64url(out, secret, sizeof(secret));
    key_wipe(secret, sizeof(secret));
    for (size_t i = 0; i < t->endpoint_count; i++)
        buf_printf(out, "%c%s", i == 0 ? '.' : ',', t->endpoints[i]);
    return 0;
}

static int check_version(struct str version, struct err *err)
{
    uint64_t number;

    if (str_eq(version, STR("weft1")))
        return 0;
    if (str_starts(version, STR("weft")) && str_uint(str_sub(version, 4, 20), 0, 9999, &number))
        return err_set(err, ERR_UNSUPPORTED,
                       "the token is of version %u and this program knows version 1: install the "
                       "version of weft that the server runs",
                       (unsigned)number);
    return err_set(err, ERR_INVALID, "this is not a join token: one starts with 'weft1.'");
}

/* The text ends where a part should follow: somebody pasted half of it. */
static int incomplete(struct err *err, const char *where)
{
    return err_set(err, ERR_INVALID, "the token is incomplete: it ends %s; copy the whole line",
                   where);
}

static int check_sum(const struct token *t, const uint8_t sum[SUM_BYTES], struct err *err)
{
    uint8_t want[SUM_BYTES];

    checksum(t, want);
    if (memcmp(want, sum, SUM_BYTES) != 0)
        return err_set(err, ERR_INVALID,
                       "the token is incomplete: its checksum does not match, so "
                       "letters are missing or changed; copy the whole line");
    return 0;
}

static int parse_secret(struct str s, struct token *t, uint8_t sum[SUM_BYTES], struct err *err)
{
    uint8_t bytes[TOKEN_SECRET_BYTES + SUM_BYTES];

    if (!text_unbase64url(s, bytes, sizeof(bytes)))
        return err_set(err, ERR_INVALID,
                       "the token's secret is not %u letters of base64url; copy "
                       "the whole line",
                       SECRET_TEXT);
    memcpy(t->secret, bytes, TOKEN_SECRET_BYTES);
    memcpy(sum, bytes + TOKEN_SECRET_BYTES, SUM_BYTES);
    key_wipe(bytes, sizeof(bytes));
    return 0;
}

static int parse_id(struct str s, struct token *t, struct err *err)
{
    uint8_t bytes[ID_TEXT / 2];

    if (!text_unhex(s, bytes, sizeof(bytes)))
        return err_set(err, ERR_INVALID, "the token's id is not %u hex digits", ID_TEXT);
    for (size_t i = 0; i < ID_TEXT; i++)
        t->id[i] = (char)(s.p[i] >= 'A' && s.p[i] <= 'F' ? s.p[i] - 'A' + 'a' : s.p[i]);
    return 0;
}

/* An endpoint that has not come to its port. */
static bool looks_cut(struct str s)
{
    size_t at;

    if (s.n > 0 && s.p[0] == '[')
        return !str_find(s, STR("]:"), &at) || at + 2 == s.n;
    return !str_has(s, ':') || s.p[s.n - 1] == ':';
}

static int parse_parts(struct str rest, struct token *t, struct err *err)
{
    uint8_t sum[SUM_BYTES];
    struct str part;
    bool more;

    more = str_cut(&rest, '.', &part);
    if (!more && rest.n <= PIN_TEXT)
        return incomplete(err, "in or after the pin");
    if (!more || !text_unbase64url(part, t->pin, sizeof(t->pin)))
        return err_set(err, ERR_INVALID,
                       "the token's pin is not %u letters of base64url, the hash "
                       "of the server's root key",
                       PIN_TEXT);
    more = str_cut(&rest, '.', &part);
    if (!more && rest.n <= ID_TEXT)
        return incomplete(err, "in or after the id");
    if (parse_id(more ? part : rest, t, err) != 0)
        return -1;
    more = str_cut(&rest, '.', &part);
    if (!more && rest.n <= SECRET_TEXT)
        return incomplete(err, "in or after the secret");
    if (parse_secret(more ? part : rest, t, sum, err) != 0)
        return -1;
    if (rest.n == 0)
        return incomplete(err, "before the endpoints");
    while (str_cut(&rest, ',', &part)) {
        if (add_endpoint(t, part, err) != 0)
            return -1;
    }
    if (looks_cut(rest))
        return incomplete(err, "in the endpoints");
    if (add_endpoint(t, rest, err) != 0)
        return -1;
    return check_sum(t, sum, err);
}

int token_parse(struct str text, struct token *out, struct err *err)
{
    struct token t = {0};
    struct str rest = str_trim(text);
    struct str version;
    int rc;

    if (rest.n > TOKEN_MAX)
        return err_set(err, ERR_LIMIT, "this is not a join token: it is longer than %u bytes",
                       TOKEN_MAX);
    if (!str_cut(&rest, '.', &version)) {
        if (str_eq(rest, STR("weft1")))
            return incomplete(err, "after the version");
        version = rest;
        rest = STR_NONE;
    }
    rc = check_version(version, err);
    if (rc == 0)
        rc = parse_parts(rest, &t, err);
    if (rc == 0)
        *out = t;
    key_wipe(&t, sizeof(t));
    return rc;
}

void token_hash(const uint8_t secret[TOKEN_SECRET_BYTES], uint8_t out[HASH_BYTES])
{
    hash_sha256((struct str){(const char *)secret, TOKEN_SECRET_BYTES}, out);
}

bool token_check(const uint8_t secret[TOKEN_SECRET_BYTES], const uint8_t hash[HASH_BYTES])
{
    uint8_t got[HASH_BYTES];

    token_hash(secret, got);
    return hash_eq(got, hash);
}

void token_format_secret(const uint8_t secret[TOKEN_SECRET_BYTES], struct buf *out)
{
    text_base64url(out, secret, TOKEN_SECRET_BYTES);
}

bool token_parse_secret(struct str text, uint8_t out[TOKEN_SECRET_BYTES])
{
    return text_unbase64url(text, out, TOKEN_SECRET_BYTES);
}
