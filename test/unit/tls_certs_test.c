/* Certificates of others at a TLS endpoint: lists of revoked ones, two kinds at one server, clients known by hash. */
#include "pki/crl.h"
#include "test/unit/odd_pki.h"
#include "test/unit/tls_world.h"

#define SIGNS  MBEDTLS_X509_KU_DIGITAL_SIGNATURE
#define NOW    .from = "20250101000000", .to = "20481231000000"
#define LATER  "481231000000Z"

static const struct odd authority = {.is_ca = true, .usage = MBEDTLS_X509_KU_KEY_CERT_SIGN | MBEDTLS_X509_KU_CRL_SIGN, NOW};

/* A root, an issuer below it, and leaves: of the server by the root, of clients by the issuer. */
struct edge {
    struct key *root_key, *issuer_key, *key;
    struct buf root, issuer, shown, client, key_pem, crl;
    struct cert_chain *root_cert, *issuer_cert;
    struct str pins; /* of the server */
};

static struct cert_chain *parsed(const struct buf *pem)
{
    struct err err = {0};
    struct cert_chain *c = cert_parse(buf_str(pem), &err);

    CHECK_STR(str_from(err.text), "");
    return c;
}

static void put_key(struct buf *out, const struct key *k)
{
    unsigned char text[4096];

    CHECK_INT(mbedtls_pk_write_key_pem(key_mbedtls(k), text, sizeof(text)), 0);
    buf_adds(out, (const char *)text);
}

static void edge_init(struct edge *e)
{
    struct buf *bufs[] = {&e->root, &e->issuer, &e->shown, &e->client, &e->key_pem, &e->crl};
    const struct odd server = {.names = {"DNS:a.test"}, .usage = SIGNS, .serial = 7, NOW};
    const struct odd client = {.names = {"DNS:friend.test"}, .usage = SIGNS, .serial = 9, NOW};
    struct odd issuer = authority;

    e->pins = STR_NONE;
    for (size_t i = 0; i < COUNT(bufs); i++)
        buf_init(bufs[i], 1 << 16);
    e->root_key = key_new();
    e->issuer_key = key_new();
    e->key = key_new();
    issuer.serial = 5;
    odd_sign("CN=root", e->root_key, "CN=root", e->root_key, &authority, &e->root);
    odd_sign("CN=issuer", e->issuer_key, "CN=root", e->root_key, &issuer, &e->issuer);
    odd_sign("CN=a", e->key, "CN=root", e->root_key, &server, &e->shown);
    odd_sign("CN=friend", e->key, "CN=issuer", e->issuer_key, &client, &e->client);
    buf_add(&e->client, buf_str(&e->issuer));
    put_key(&e->key_pem, e->key);
    e->root_cert = parsed(&e->root);
    e->issuer_cert = parsed(&e->issuer);
}

static void edge_done(struct edge *e)
{
    struct buf *bufs[] = {&e->root, &e->issuer, &e->shown, &e->client, &e->key_pem, &e->crl};

    for (size_t i = 0; i < COUNT(bufs); i++)
        buf_done(bufs[i]);
    key_free(e->root_key);
    key_free(e->issuer_key);
    key_free(e->key);
    cert_free(e->root_cert);
    cert_free(e->issuer_cert);
}

static struct creds *creds_of(const struct edge *e, const struct buf *chain, struct str crl)
{
    struct err err = {0};
    struct creds *c = creds_make(&(struct creds_texts){.shown = {{buf_str(chain), buf_str(&e->key_pem)}},
                                                       .roots = buf_str(&e->root),
                                                       .crl = crl},
                                 &err);

    CHECK_STR(str_from(err.text), "");
    return c;
}

/* One connection; who refused says why in `why`. */
static bool meet(const struct edge *e, enum tls_peer peer, unsigned version, struct str server_crl, struct str client_crl,
                 struct buf *why)
{
    const struct tls_options server = {.peer = peer, .max_version = version};
    const struct tls_options client = {.peer = TLS_PEER_WEB, .max_version = version};
    struct creds *shown = creds_of(e, &e->shown, server_crl), *calls = creds_of(e, &e->client, client_crl);
    struct err err;
    struct tls_context *s = tls_server_context(shown, NULL, &server, &err), *c = tls_client_context(calls, &client, &err);
    struct pair p;
    bool ok;

    pair_init(&p, c, s, "a.test", "");
    tls_expect_pins(p.server, e->pins);
    ok = pair_shake(&p);
    buf_clear(why);
    buf_add(why, tls_failure(p.server).n ? tls_failure(p.server) : tls_failure(p.client));
    pair_done(&p);
    tls_context_unref(s);
    tls_context_unref(c);
    creds_unref(shown);
    creds_unref(calls);
    return ok;
}

TEST(who_is_on_a_list_is_refused)
{
    /* Serial numbers that the root and the issuer revoke; NULL: no list of theirs. */
    static const struct {
        const char *root, *issuer, *why; /* why NULL: it is let in */
    } rows[] = {
        {NULL, NULL, NULL},
        {"", "", NULL},
        {"\1\2", "\7", NULL}, /* other people's */
        {"", "\11", "a certificate of the chain has been revoked"},
        {"\5", "", "a certificate of the chain has been revoked"}, /* the issuer itself */
        {"", NULL, "among the lists of revoked certificates (caCrl) is none of a certificate's authority"},
        {NULL, "", "among the lists of revoked certificates (caCrl) is none of a certificate's authority"},
    };
    struct edge e;
    struct buf why;

    edge_init(&e);
    buf_init(&why, 1024);
    for (size_t i = 0; i < COUNT(rows); i++) {
        buf_clear(&e.crl);
        if (rows[i].root)
            odd_crl(e.root_cert, e.root_key, rows[i].root, LATER, &e.crl);
        if (rows[i].issuer)
            odd_crl(e.issuer_cert, e.issuer_key, rows[i].issuer, LATER, &e.crl);
        for (unsigned version = 12; version <= 13; version++) {
            CHECK_INT(meet(&e, TLS_PEER_CLIENT, version, buf_str(&e.crl), STR_NONE, &why), rows[i].why == NULL);
            CHECK_STR(buf_str(&why), rows[i].why ? rows[i].why : "");
            CHECK_INT(meet(&e, TLS_PEER_CLIENT_OPTIONAL, version, buf_str(&e.crl), STR_NONE, &why), rows[i].why == NULL);
        }
    }
    buf_done(&why);
    edge_done(&e);
}

TEST(a_list_must_be_signed_and_in_time)
{
    struct edge e;
    struct buf why;

    edge_init(&e);
    buf_init(&why, 1024);
    odd_crl(e.root_cert, e.root_key, "", LATER, &e.crl);
    odd_crl(e.issuer_cert, e.root_key, "", LATER, &e.crl); /* another's key */
    CHECK(!meet(&e, TLS_PEER_CLIENT, 13, buf_str(&e.crl), STR_NONE, &why));
    CHECK_STR(buf_str(&why), "a list of revoked certificates is not signed by its authority");
    buf_clear(&e.crl);
    odd_crl(e.root_cert, e.root_key, "", LATER, &e.crl);
    odd_crl(e.issuer_cert, e.issuer_key, "", "260201000000Z", &e.crl);
    CHECK(!meet(&e, TLS_PEER_CLIENT, 13, buf_str(&e.crl), STR_NONE, &why));
    CHECK_STR(buf_str(&why), "a list of revoked certificates has expired: fetch a newer one");
    buf_done(&why);
    edge_done(&e);
}

TEST(a_client_has_lists_of_servers)
{
    struct edge e;
    struct buf why;

    edge_init(&e);
    buf_init(&why, 1024);
    odd_crl(e.root_cert, e.root_key, "", LATER, &e.crl);
    CHECK(meet(&e, TLS_PEER_NONE, 13, STR_NONE, buf_str(&e.crl), &why));
    buf_clear(&e.crl);
    odd_crl(e.root_cert, e.root_key, "\7", LATER, &e.crl);
    CHECK(!meet(&e, TLS_PEER_NONE, 13, STR_NONE, buf_str(&e.crl), &why));
    buf_done(&why);
    edge_done(&e);
}

TEST(a_ticket_of_one_who_was_revoked_since_is_no_entry)
{
    struct edge e;
    struct creds *calls, *open, *closed;
    struct tls_context *c, *s;
    struct tls_tickets *tickets = tls_tickets_new();
    const struct tls_options old_server = {.peer = TLS_PEER_CLIENT, .max_version = 12};
    const struct tls_options old_client = {.peer = TLS_PEER_WEB, .max_version = 12};
    struct pair p;
    struct err err;

    edge_init(&e);
    odd_crl(e.root_cert, e.root_key, "", LATER, &e.crl);
    odd_crl(e.issuer_cert, e.issuer_key, "\11", LATER, &e.crl);
    calls = creds_of(&e, &e.client, STR_NONE);
    open = creds_of(&e, &e.shown, STR_NONE);
    closed = creds_of(&e, &e.shown, buf_str(&e.crl));
    CHECK(memcmp(creds_trust(open), creds_trust(closed), HASH_BYTES) != 0);
    CHECK(memcmp(creds_trust(open), creds_trust(calls), HASH_BYTES) == 0);
    c = tls_client_context(calls, &old_client, &err);
    s = tls_server_context(open, tickets, &old_server, &err);
    for (int i = 0; i < 2; i++) {
        pair_init(&p, c, s, "a.test", "key");
        CHECK(pair_shake(&p));
        CHECK_INT(tls_is_resumed(p.server), i);
        pair_done(&p);
    }
    tls_context_unref(s);
    s = tls_server_context(closed, tickets, &old_server, &err); /* though it has the same keys of tickets */
    pair_init(&p, c, s, "a.test", "key");
    CHECK(!pair_shake(&p));
    pair_done(&p);
    tls_context_unref(s);
    tls_context_unref(c);
    creds_unref(calls);
    creds_unref(open);
    creds_unref(closed);
    tls_tickets_unref(tickets);
    edge_done(&e);
}

TEST(what_is_no_list_is_told)
{
    struct err err;

    CHECK(!crl_parse(STR("nonsense"), &err));
    CHECK(str_starts(str_from(err.text), STR("not a list of revoked certificates in PEM or DER: ")));
    CHECK(!crl_parse(STR_NONE, &err));
    CHECK_INT(err.code, ERR_LIMIT);
}

static struct key *rsa_key(struct buf *pem)
{
    unsigned char text[8192];
    mbedtls_pk_context pk;
    struct err err;
    struct key *k;

    mbedtls_pk_init(&pk);
    CHECK_INT(mbedtls_pk_setup(&pk, mbedtls_pk_info_from_type(MBEDTLS_PK_RSA)), 0);
    CHECK_INT(mbedtls_rsa_gen_key(mbedtls_pk_rsa(pk), key_random, NULL, 2048, 65537), 0);
    CHECK_INT(mbedtls_pk_write_key_pem(&pk, text, sizeof(text)), 0);
    mbedtls_pk_free(&pk);
    buf_adds(pem, (const char *)text);
    k = key_parse_any(buf_str(pem), &err);
    CHECK(k != NULL);
    return k;
}

/* The kind of certificate, RSA or ECDSA, that a client gets who speaks only these ciphers of TLS 1.2; 0: none. */
static int shown_to(struct creds *server, struct creds *client, const char *ciphers)
{
    const struct tls_options accepts = {.peer = TLS_PEER_NONE, .max_version = 12};
    const struct tls_options calls = {.peer = TLS_PEER_WEB, .max_version = 12, .ciphers = str_from(ciphers)};
    struct err err;
    struct tls_context *s = tls_server_context(server, NULL, &accepts, &err), *c = tls_client_context(client, &calls, &err);
    struct pair p;
    int kind = 0;

    pair_init(&p, c, s, "a.test", "");
    if (pair_shake(&p))
        kind = strstr(tls_cipher(p.client), "RSA-WITH") && !strstr(tls_cipher(p.client), "ECDSA") ? 'R' : 'E';
    pair_done(&p);
    tls_context_unref(s);
    tls_context_unref(c);
    return kind;
}

TEST(of_two_certificates_each_client_gets_what_it_understands)
{
    const struct odd leaf = {.names = {"DNS:a.test"}, .usage = SIGNS, .serial = 8, NOW};
    struct edge e;
    struct buf pem, key_pem;
    struct key *key;
    struct creds *both, *swapped, *one, *client;
    struct err err = {0};

    edge_init(&e);
    buf_init(&pem, 1 << 16);
    buf_init(&key_pem, 1 << 16);
    key = rsa_key(&key_pem);
    odd_sign("CN=a", key, "CN=root", e.root_key, &leaf, &pem);
    both = creds_make(
        &(struct creds_texts){.shown = {{buf_str(&e.shown), buf_str(&e.key_pem)}, {buf_str(&pem), buf_str(&key_pem)}}}, &err);
    swapped = creds_make(
        &(struct creds_texts){.shown = {{buf_str(&pem), buf_str(&key_pem)}, {buf_str(&e.shown), buf_str(&e.key_pem)}}}, &err);
    one = creds_make(&(struct creds_texts){.shown = {{buf_str(&e.shown), buf_str(&e.key_pem)}}}, &err);
    client = creds_new(STR_NONE, STR_NONE, buf_str(&e.root), &err);
    CHECK_STR(str_from(err.text), "");
    CHECK_INT(shown_to(both, client, "ECDHE-ECDSA-AES128-GCM-SHA256"), 'E');
    CHECK_INT(shown_to(both, client, "ECDHE-RSA-AES128-GCM-SHA256"), 'R');
    CHECK_INT(shown_to(both, client, ""), 'E'); /* it takes either: the cheaper one */
    CHECK_INT(shown_to(swapped, client, ""), 'E');
    CHECK_INT(shown_to(swapped, client, "ECDHE-RSA-AES128-GCM-SHA256"), 'R');
    CHECK_INT(shown_to(one, client, "ECDHE-RSA-AES128-GCM-SHA256"), 0);
    /* Each is checked as if it were alone. */
    CHECK(!creds_make(
        &(struct creds_texts){.shown = {{buf_str(&e.shown), buf_str(&e.key_pem)}, {buf_str(&pem), buf_str(&e.key_pem)}}}, &err));
    CHECK_STR(str_from(err.text), "the key is not the one of the certificate of CN=a");
    creds_unref(both);
    creds_unref(swapped);
    creds_unref(one);
    creds_unref(client);
    key_free(key);
    buf_done(&pem);
    buf_done(&key_pem);
    edge_done(&e);
}

/* "kind:HEX", with a digit changed if `wrong`. */
static void put_pin(struct buf *out, const char *kind, const uint8_t *digest, bool wrong)
{
    size_t at;

    buf_adds(out, kind);
    at = out->n;
    text_hex(out, digest, HASH_BYTES);
    if (wrong)
        out->p[at] = out->p[at] == '0' ? '1' : '0';
    buf_addc(out, ' ');
}

TEST(a_client_is_known_by_the_hash_of_its_certificate_or_key)
{
    static const struct {
        int hash, key; /* 1: its own, -1: another, 0: none */
        bool enters;
    } rows[] = {{0, 0, true},  {1, 0, true},   {0, 1, true},   {-1, 1, true},
                {1, -1, true}, {-1, 0, false}, {0, -1, false}, {-1, -1, false}};
    struct edge e;
    struct buf why, pins;
    struct cert_chain *client;
    struct cert_info info;
    struct err err;

    edge_init(&e);
    buf_init(&why, 1024);
    buf_init(&pins, 1024);
    client = parsed(&e.client);
    CHECK_INT(cert_describe(client, 0, &info, &err), 0);
    for (size_t i = 0; i < COUNT(rows); i++) {
        buf_clear(&pins);
        if (rows[i].hash)
            put_pin(&pins, "hash:", info.fingerprint, rows[i].hash < 0);
        if (rows[i].key)
            put_pin(&pins, "spki:", info.pin, rows[i].key < 0);
        e.pins = buf_str(&pins);
        for (unsigned version = 12; version <= 13; version++) {
            CHECK_INT(meet(&e, TLS_PEER_CLIENT, version, STR_NONE, STR_NONE, &why), rows[i].enters);
            CHECK_INT(meet(&e, TLS_PEER_CLIENT_OPTIONAL, version, STR_NONE, STR_NONE, &why), rows[i].enters);
        }
    }
    CHECK_STR(buf_str(&why), "neither the certificate nor its key is one of those that are accepted here");
    buf_clear(&pins); /* one of a kind is none of the other */
    put_pin(&pins, "spki:", info.fingerprint, false);
    put_pin(&pins, "hash:", info.pin, false);
    e.pins = buf_str(&pins);
    CHECK(!meet(&e, TLS_PEER_CLIENT, 13, STR_NONE, STR_NONE, &why));
    CHECK(meet(&e, TLS_PEER_NONE, 13, STR_NONE, STR_NONE, &why)); /* nobody is asked */
    cert_free(client);
    buf_done(&pins);
    buf_done(&why);
    edge_done(&e);
}
