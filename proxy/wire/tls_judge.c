/* Who the other side of a session must be.
 *
 * tls_verify runs inside a full handshake, so that a wrong peer gets an alert before we are established and before a ticket
 * is made. A resumed handshake skips it; then tls_resume.c asks for the certificate of the ticket or the session. The end of
 * the handshake (tls.c) asks once more in all cases.
 */
#include <stdio.h>
#include <string.h>

#include "mesh/base/text.h"
#include "mesh/identity.h"
#include "pki/cert.h"
#include "pki/creds.h"
#include "pki/crl.h"
#include "proxy/wire/tls_parts.h"

void tls_fail_text(struct tls *t, const char *text)
{
    if (!t->failure[0]) /* the first reason is the true one */
        snprintf(t->failure, sizeof(t->failure), "%.*s", (int)sizeof(t->failure) - 1, text);
}

/* One pattern of the expected names: the whole URI, or its beginning before a '*'. */
static bool pattern_fits(struct str pattern, struct str uri)
{
    if (pattern.n > 0 && pattern.p[pattern.n - 1] == '*')
        return str_starts(uri, str_sub(pattern, 0, pattern.n - 1));
    return str_eq(pattern, uri);
}

static bool is_expected(const struct tls *t, struct str uri)
{
    struct str rest = str_from(t->expect);
    struct str pattern;
    bool any = false;

    while (str_next(&rest, ' ', &pattern)) {
        if (pattern.n == 0)
            continue;
        any = true;
        if (pattern_fits(pattern, uri))
            return true;
    }
    return !any;
}

int tls_judge_uri(const struct tls *t, struct str uri, struct err *err)
{
    const struct tls_context *c = t->context;
    struct identity id;

    if (identity_parse(uri, &id, err) != 0)
        return err_wrap(err, "the peer's name");
    if (c->peer == TLS_PEER_PINNED && id.kind != IDENTITY_SERVER)
        return err_set(err, ERR_DENIED, "the peer is %.*s, not a server of the mesh",
                       STR_ARG(str_sub(uri, 0, 200)));
    if (t->expect && t->expect[0]) {
        if (!is_expected(t, uri))
            return err_set(err, ERR_DENIED, "the peer is %.*s, which is not expected here",
                           STR_ARG(str_sub(uri, 0, 200)));
        return 0;
    }
    if (c->trust_domain[0] && !str_eq(id.trust_domain, str_from(c->trust_domain)))
        return err_set(err, ERR_DENIED, "the peer %.*s is not of trust domain %s",
                       STR_ARG(str_sub(uri, 0, 200)), c->trust_domain);
    return 0;
}

bool tls_is_foreign_client(enum tls_peer peer)
{
    return peer == TLS_PEER_CLIENT || peer == TLS_PEER_CLIENT_OPTIONAL;
}

bool tls_may_be_absent(enum tls_peer peer)
{
    return peer == TLS_PEER_OPTIONAL || peer == TLS_PEER_CLIENT_OPTIONAL;
}

bool tls_must_have_uri(enum tls_peer peer)
{
    return peer == TLS_PEER_REQUIRED || peer == TLS_PEER_PINNED;
}

/* Without expected names mbedTLS has compared the one that we asked for. */
static int judge_names(const struct tls *t, const mbedtls_x509_crt *x, struct err *err)
{
    struct str rest = str_from(t->expect), name;

    if (!t->expect || rest.n == 0)
        return 0;
    while (str_next(&rest, ' ', &name)) {
        if (name.n > 0 && (str_eq(name, STR("*")) || cert_has_name(x, name)))
            return 0;
    }
    return err_set(err, ERR_DENIED, "the certificate is for another name than %.*s",
                   STR_ARG(str_sub(str_from(t->expect), 0, 200)));
}

/* Not the roots themselves: whom we trust by hand nobody revokes. */
static bool is_root(const struct tls_context *c, const mbedtls_x509_crt *x)
{
    const mbedtls_x509_crt *r = creds_roots(c->creds) ? cert_mbedtls(creds_roots(c->creds)) : NULL;

    while (r && r != x)
        r = r->next;
    return r != NULL;
}

static int judge_revocation(const struct tls_context *c, const mbedtls_x509_crt *x, struct err *err)
{
    const struct crl *lists = creds_crl(c->creds);

    if (!lists || c->peer == TLS_PEER_ANY || is_root(c, x))
        return 0;
    return crl_check(lists, x, err);
}

static bool is_pinned(struct str pins, const char *kind, const uint8_t digest[HASH_BYTES])
{
    struct str pin;
    uint8_t wanted[HASH_BYTES];

    while (str_next(&pins, ' ', &pin)) {
        if (str_starts(pin, str_from(kind)) && text_unhex(str_sub(pin, strlen(kind), pin.n), wanted, HASH_BYTES) &&
            hash_eq(wanted, digest))
            return true;
    }
    return false;
}

static int judge_pins(const struct tls *t, const struct cert_info *info, struct err *err)
{
    struct str pins = str_from(t->pins);

    if (!t->pins || is_pinned(pins, "hash:", info->fingerprint) || is_pinned(pins, "spki:", info->pin))
        return 0;
    return err_set(err, ERR_DENIED, "neither the certificate nor its key is one of those that are accepted here");
}

bool tls_has_expected_names(const struct tls *t)
{
    return t->expect && t->expect[0];
}

int tls_judge_leaf(const struct tls *t, const mbedtls_x509_crt *x, struct cert_info *info, struct err *err)
{
    const struct tls_context *c = t->context;
    enum cert_role role = c->is_server ? CERT_CLIENT : CERT_SERVER;

    if (cert_describe_x509(x, info, err) != 0 || cert_check_time(info, text_wall_ms(), err) != 0 ||
        judge_revocation(c, x, err) != 0 || judge_pins(t, info, err) != 0)
        return -1;
    if (c->peer == TLS_PEER_WEB || tls_is_foreign_client(c->peer))
        return judge_names(t, x, err);
    if (c->peer == TLS_PEER_ANY)
        return 0;
    if ((tls_must_have_uri(c->peer) || info->uri_count == 1) && cert_check_leaf(x, info, role, err) != 0)
        return -1;
    if (info->uri_count == 1)
        return tls_judge_uri(t, str_from(info->uri), err);
    if (t->expect && t->expect[0])
        return err_set(err, ERR_DENIED, "the peer's certificate names no workload");
    return 0;
}

/* The chain leads to the pinned root: nothing else is trusted yet. */
static int judge_pinned(const struct tls *t, mbedtls_x509_crt *x, struct err *err)
{
    struct cert_chain *root = cert_find_pin_x509(x, t->context->pin, err);
    int rc;

    if (!root)
        return err_wrap(err, "this is not the server of the token");
    rc = cert_verify_x509(x, cert_mbedtls(root), text_wall_ms(), CERT_SERVER, NULL, err);
    cert_free(root);
    return rc;
}

int tls_verify(void *arg, mbedtls_x509_crt *x, int depth, uint32_t *flags)
{
    struct tls *t = arg;
    const struct tls_context *c = t->context;
    struct cert_info info;
    struct err err;
    int rc;

    if (c->peer == TLS_PEER_PINNED || c->peer == TLS_PEER_ANY)
        *flags = 0; /* judged whole at depth 0, or not at all */
    else if (c->peer != TLS_PEER_WEB || tls_has_expected_names(t))
        *flags &= ~(uint32_t)MBEDTLS_X509_BADCERT_CN_MISMATCH; /* the SNI is no name of the peer */
    if (depth != 0 && *flags == 0 && judge_revocation(c, x, &err) != 0) {
        tls_fail_text(t, err.text);
        *flags |= MBEDTLS_X509_BADCERT_OTHER;
    }
    t->flags |= *flags;
    if (depth != 0)
        return 0;
    if (t->flags != 0) {
        tls_fail_text(t, cert_flags_text(t->flags));
        *flags |= MBEDTLS_X509_BADCERT_OTHER;
        return tls_may_be_absent(c->peer) ? MBEDTLS_ERR_X509_FATAL_ERROR : 0;
    }
    rc = tls_judge_leaf(t, x, &info, &err);
    if (rc == 0 && c->peer == TLS_PEER_PINNED)
        rc = judge_pinned(t, x, &err);
    if (rc != 0) {
        tls_fail_text(t, err.text);
        *flags |= MBEDTLS_X509_BADCERT_OTHER;
        return MBEDTLS_ERR_X509_FATAL_ERROR; /* flags alone would not stop an optional peer */
    }
    t->verified = true;
    return 0;
}
