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
#define HASH_SHOWN 16u /* of a Credential's texts, in its key */

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

/* Other files, another key: a ':' within a path is not one between two. */
void compile_material_key(struct arena *a, struct tls_material *m, const char *prefix)
{
    const struct str files[] = {m->ca_file, m->cert_file, m->key_file};
    struct buf text;

    buf_init(&text, TEXT_BYTES);
    buf_adds(&text, prefix);
    for (size_t i = 0; i < COUNT(files); i++) {
        buf_addc(&text, ':');
        for (size_t k = 0; k < files[i].n; k++)
            buf_printf(&text, strchr(":%", files[i].p[k]) ? "%%%02X" : "%c",
                       (unsigned char)files[i].p[k]);
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

static void credential_key(struct arena *a, struct str ns, struct str name, struct tls_material *m)
{
    const struct str texts[] = {m->ca, m->cert, m->key};
    uint8_t digest[HASH_BYTES] = {0};
    struct buf hex;

    for (size_t i = 0; i < COUNT(texts); i++) {
        uint8_t one[HASH_BYTES];

        hash_sha256(texts[i], one);
        hash_sha256_2((struct str){(const char *)digest, sizeof(digest)},
                      (struct str){(const char *)one, sizeof(one)}, digest);
    }
    buf_init(&hex, 2 * HASH_BYTES + 1);
    text_hex(&hex, digest, sizeof(digest));
    m->creds = arena_printf(a, "credential:%.*s/%.*s:%.*s", STR_ARG(ns), STR_ARG(name), (int)HASH_SHOWN,
                            buf_str(&hex).p);
    buf_done(&hex);
}

/* The authorities of clients may be in a Credential of their own, "NAME-cacert" (fields.md, ServerTLSSettings). */
bool compile_credential(struct build *b, struct arena *a, struct str ns, struct str name, bool wants_ca,
                        struct tls_material *m)
{
    const struct credential *c = find_credential(b, ns, name), *ca = c;

    if (!c || !c->certificate.n)
        return false;
    if (wants_ca && !c->ca_certificates.n)
        ca = find_credential(b, ns, arena_printf(&b->tmp, "%.*s-cacert", STR_ARG(name)));
    if (wants_ca && (!ca || !ca->ca_certificates.n))
        return false;
    m->cert = arena_str(a, c->certificate);
    m->key = arena_str(a, c->private_key);
    m->ca = wants_ca ? arena_str(a, ca->ca_certificates) : STR_NONE;
    credential_key(a, ns, name, m);
    return true;
}

bool compile_client_credential(struct build *b, struct arena *a, struct str ns, struct str name, bool mutual,
                               struct tls_material *m)
{
    const struct credential *c = find_credential(b, ns, name), *ca = c;

    if (!ca || !ca->ca_certificates.n)
        ca = find_credential(b, ns, arena_printf(&b->tmp, "%.*s-cacert", STR_ARG(name)));
    if (!ca || !ca->ca_certificates.n || (mutual && (!c || !c->certificate.n)))
        return false;
    m->ca = arena_str(a, ca->ca_certificates);
    if (mutual) {
        m->cert = arena_str(a, c->certificate);
        m->key = arena_str(a, c->private_key);
    }
    credential_key(a, ns, name, m);
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

static const char *fill_material(struct build *b, struct arena *a, const struct server_tls *t, struct str ns,
                                 struct tls_end *end)
{
    bool wants_ca = end->client == TLS_CLIENT_REQUIRED || end->client == TLS_CLIENT_OPTIONAL;
    struct tls_material *m = &end->material;

    if (end->client == TLS_CLIENT_MESH)
        return NULL;
    if (t->credential_name.n)
        return compile_credential(b, a, ns, t->credential_name, wants_ca, m)
                   ? NULL
                   : "its credentialName is no Credential of the gateway's namespace with what the mode needs";
    m->cert_file = arena_str(a, t->server_certificate);
    m->key_file = arena_str(a, t->private_key);
    m->ca_file = wants_ca ? arena_str(a, t->ca_certificates) : STR_NONE;
    compile_material_key(a, m, "files:gateway");
    return NULL;
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
    end->ciphers = compile_words(a, t->cipher_suites, t->cipher_suites_count);
    why = fill_material(b, a, t, ns, end);
    if (why)
        return why;
    end->key = arena_printf(a, "%d %u %u %d %.*s", (int)end->client, end->min_version, end->max_version,
                            is_http, STR_ARG(end->ciphers));
    *out = end;
    return NULL;
}
