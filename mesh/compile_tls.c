/* TLS that does not use the mesh's own certificates: what is shown and trusted, and how it ends at a gateway. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "mesh/base/buf.h"
#include "mesh/base/hash.h"
#include "mesh/base/text.h"
#include "mesh/compile.h"
#include "mesh/compile_parts.h"
#include "mesh/kinds/credential.h"
#include "mesh/kinds/kinds.h"
#include "mesh/kinds/tls_settings.h"

#define TEXT_BYTES (64u << 10)
#define HASH_SHOWN 16u /* bytes, of a text of a Credential, in the key of its material */

struct str compile_words(struct arena *a, const struct str *list, size_t count)
{
    struct buf text;
    struct str words;

    buf_init(&text, TEXT_BYTES);
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            buf_addc(&text, ' ');
        buf_add(&text, list[i]);
    }
    words = arena_str(a, buf_str(&text));
    buf_done(&text);
    return words;
}

static void put_file(struct buf *text, struct str file)
{
    buf_addc(text, '=');
    for (size_t i = 0; i < file.n; i++)
        buf_printf(text, strchr(" %", file.p[i]) ? "%%%02X" : "%c", (unsigned char)file.p[i]);
}

static void put_digest(struct buf *text, struct str pem)
{
    uint8_t digest[HASH_BYTES];

    hash_sha256(pem, digest);
    buf_addc(text, '#');
    text_hex(text, digest, HASH_SHOWN);
}

/* Other files or other texts, another key. */
static void put_key(struct arena *a, struct tls_material *m, struct str prefix)
{
    static const char *const names[TLS_TEXTS] = {
        [TLS_TEXT_CA] = " ca",   [TLS_TEXT_CRL] = " crl",      [TLS_TEXT_CERT] = " cert",
        [TLS_TEXT_KEY] = " key", [TLS_TEXT_CERT_2] = " cert2", [TLS_TEXT_KEY_2] = " key2"};
    struct buf text;

    buf_init(&text, TEXT_BYTES);
    buf_add(&text, prefix);
    for (size_t i = 0; i < TLS_TEXTS; i++) {
        const struct tls_text *t = &m->texts[i];

        if (t->file.n == 0 && t->pem.n == 0)
            continue;
        buf_adds(&text, names[i]);
        if (t->pem.n > 0)
            put_digest(&text, t->pem);
        else
            put_file(&text, t->file);
    }
    m->creds = arena_str(a, buf_str(&text));
    buf_done(&text);
}

/* ---- Credentials ---- */

static const struct credential *find_credential(const struct build *b, struct str ns, struct str name)
{
    const struct object *o = catalog_object(b->c, KIND_CREDENTIAL, ns, name);

    return o ? o->spec : NULL;
}

static void take_text(struct arena *a, struct tls_material *m, enum tls_text_kind kind, struct str pem)
{
    m->texts[kind] = (struct tls_text){.pem = arena_str(a, pem)};
}

static void take_file(struct arena *a, struct tls_material *m, enum tls_text_kind kind, struct str file)
{
    m->texts[kind] = (struct tls_text){.file = arena_str(a, file)};
}

static const struct { /* what is shown, the first and the second */
    enum tls_text_kind cert, key;
} shown[] = {{TLS_TEXT_CERT, TLS_TEXT_KEY}, {TLS_TEXT_CERT_2, TLS_TEXT_KEY_2}};

static bool take_certificate(struct arena *a, const struct credential *c, size_t i, struct tls_material *m)
{
    if (!c || !c->certificate.n)
        return false;
    take_text(a, m, shown[i].cert, c->certificate);
    take_text(a, m, shown[i].key, c->private_key);
    return true;
}

/* The authorities of the other side may be in a Credential of their own, "NAME-cacert" (fields.md, ServerTLSSettings). */
static bool take_authorities(struct build *b, struct arena *a, struct str ns, struct str name, struct tls_material *m)
{
    const struct credential *c = find_credential(b, ns, name);

    if (!c || !c->ca_certificates.n)
        c = find_credential(b, ns, arena_printf(&b->tmp, "%.*s-cacert", STR_ARG(name)));
    if (!c || !c->ca_certificates.n)
        return false;
    take_text(a, m, TLS_TEXT_CA, c->ca_certificates);
    take_text(a, m, TLS_TEXT_CRL, c->crl);
    return true;
}

void compile_client_files(struct arena *a, const struct client_tls *t, struct tls_material *m)
{
    take_file(a, m, TLS_TEXT_CA, t->ca_certificates);
    take_file(a, m, TLS_TEXT_CRL, t->ca_crl);
    if (t->mode == CLIENT_TLS_MUTUAL) {
        take_file(a, m, TLS_TEXT_CERT, t->client_certificate);
        take_file(a, m, TLS_TEXT_KEY, t->private_key);
    }
    m->system_authorities = !t->ca_certificates.n && !t->insecure_skip_verify;
    put_key(a, m, t->insecure_skip_verify ? STR("files:any") : STR("files:web"));
}

bool compile_client_credential(struct build *b, struct arena *a, struct str ns, const struct client_tls *t,
                               struct tls_material *m)
{
    struct tls_material got = {0};
    const char *kind = t->insecure_skip_verify ? "any" : "web";

    if (!take_authorities(b, a, ns, t->credential_name, &got))
        return false;
    if (t->mode == CLIENT_TLS_MUTUAL && !take_certificate(a, find_credential(b, ns, t->credential_name), 0, &got))
        return false;
    *m = got;
    put_key(a, m, arena_printf(&b->tmp, "credential:%s:%.*s/%.*s", kind, STR_ARG(ns), STR_ARG(t->credential_name)));
    return true;
}

/* ---- gateways ---- */

/* 1.0 and 1.1 are not spoken here: whoever allows them gets 1.2 as the lowest. 0: whoever wants no more than those. */
static unsigned version_of(enum tls_version v, unsigned automatic)
{
    switch (v) {
    case TLS_VERSION_AUTO:
        return automatic;
    case TLS_VERSION_1_3:
        return 13;
    case TLS_VERSION_1_2:
        return 12;
    case TLS_VERSION_1_0:
    case TLS_VERSION_1_1:
        break;
    }
    return 0;
}

static enum tls_client client_of(enum server_tls_mode mode)
{
    switch (mode) {
    case SERVER_TLS_MUTUAL:
        return TLS_CLIENT_REQUIRED;
    case SERVER_TLS_OPTIONAL_MUTUAL:
        return TLS_CLIENT_OPTIONAL;
    case SERVER_TLS_ISTIO_MUTUAL:
        return TLS_CLIENT_MESH;
    case SERVER_TLS_SIMPLE:
    case SERVER_TLS_PASSTHROUGH:
    case SERVER_TLS_AUTO_PASSTHROUGH:
        break;
    }
    return TLS_CLIENT_NONE;
}

/* The Credentials that a server shows. */
struct names {
    const struct str *list;
    size_t count;
};

static struct names names_of(const struct server_tls *t)
{
    if (t->credential_names_count > 0)
        return (struct names){t->credential_names, MIN(t->credential_names_count, COUNT(shown))};
    return (struct names){&t->credential_name, t->credential_name.n ? 1 : 0};
}

static const char *take_shown(struct build *b, struct arena *a, const struct server_tls *t, struct str ns,
                              struct tls_material *m)
{
    struct names names = names_of(t);

    for (size_t i = 0; i < names.count; i++) {
        if (!take_certificate(a, find_credential(b, ns, names.list[i]), i, m))
            return "its credentialName is no Credential of the gateway's namespace with certificate and privateKey";
    }
    for (size_t i = 0; i < MIN(t->certificates_count, COUNT(shown)); i++) {
        take_file(a, m, shown[i].cert, t->certificates[i].server_certificate);
        take_file(a, m, shown[i].key, t->certificates[i].private_key);
    }
    if (names.count > 0 || t->certificates_count > 0)
        return NULL;
    take_file(a, m, TLS_TEXT_CERT, t->server_certificate);
    take_file(a, m, TLS_TEXT_KEY, t->private_key);
    return NULL;
}

/* Whom it believes about clients: the Credential for that, one of those that are shown, or a file. */
static const char *take_trusted(struct build *b, struct arena *a, const struct server_tls *t, struct str ns,
                                struct tls_material *m)
{
    struct names names = names_of(t);
    bool found = names.count == 0;

    if (t->ca_cert_credential_name.n && !take_authorities(b, a, ns, t->ca_cert_credential_name, m))
        return "its caCertCredentialName is no Credential of the gateway's namespace with caCertificates";
    if (!t->ca_cert_credential_name.n) {
        for (size_t i = 0; i < names.count && !found; i++)
            found = take_authorities(b, a, ns, names.list[i], m);
        if (!found)
            return "no Credential that it names has caCertificates, which the mode needs";
        if (names.count == 0)
            take_file(a, m, TLS_TEXT_CA, t->ca_certificates);
    }
    if (!m->texts[TLS_TEXT_CRL].pem.n) /* the list of a Credential goes with its authorities */
        take_file(a, m, TLS_TEXT_CRL, t->ca_crl);
    return NULL;
}

static const char *fill_material(struct build *b, struct arena *a, const struct server_tls *t, struct str ns,
                                 struct tls_end *end)
{
    bool wants_ca = end->client == TLS_CLIENT_REQUIRED || end->client == TLS_CLIENT_OPTIONAL;
    struct tls_material *m = &end->material;
    struct names names = names_of(t);
    const char *why;

    if (end->client == TLS_CLIENT_MESH)
        return NULL;
    why = take_shown(b, a, t, ns, m);
    if (!why && wants_ca)
        why = take_trusted(b, a, t, ns, m);
    put_key(a, m,
            names.count ? arena_printf(&b->tmp, "credential:gateway:%.*s/%.*s", STR_ARG(ns), STR_ARG(names.list[0]))
                        : STR("files:gateway"));
    return why;
}

static void put_pin(struct buf *text, const char *kind, const uint8_t digest[HASH_BYTES])
{
    buf_printf(text, "%s%s", text->n ? " " : "", kind);
    text_hex(text, digest, HASH_BYTES);
}

/* At most TLS_PINS_MAX, all of them sound: validated. */
static struct str pins_of(struct arena *a, const struct server_tls *t)
{
    uint8_t digest[HASH_BYTES];
    struct str words;
    struct buf text;

    buf_init(&text, TEXT_BYTES);
    for (size_t i = 0; i < t->verify_spki_count; i++) {
        if (tls_parse_spki(t->verify_spki[i], digest))
            put_pin(&text, "spki:", digest);
    }
    for (size_t i = 0; i < t->verify_hash_count; i++) {
        if (tls_parse_hash(t->verify_hash[i], digest))
            put_pin(&text, "hash:", digest);
    }
    words = arena_str(a, buf_str(&text));
    buf_done(&text);
    return words;
}

const char *compile_tls_end(struct build *b, struct arena *a, const struct server_tls *t, struct str ns,
                            bool is_http, struct tls_end **out)
{
    struct tls_end *end = ARENA_NEW(a, struct tls_end);
    const char *why;

    end->client = client_of(t->mode);
    end->min_version = MAX(version_of(t->min_version, 12), 12u);
    end->max_version = version_of(t->max_version, 13);
    if (end->max_version == 0 || end->min_version > end->max_version)
        return "TLS 1.0 and 1.1 are not spoken here, and its maxProtocolVersion allows no more";
    end->client_names = compile_words(a, t->subject_alt_names, t->subject_alt_names_count);
    end->client_pins = pins_of(a, t);
    end->ciphers = compile_words(a, t->cipher_suites, t->cipher_suites_count);
    why = fill_material(b, a, t, ns, end);
    if (why)
        return why;
    end->key = arena_printf(a, "%d %u %u %d %.*s", (int)end->client, end->min_version, end->max_version,
                            is_http, STR_ARG(end->ciphers));
    *out = end;
    return NULL;
}
