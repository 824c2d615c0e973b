/* An authority in a temporary folder, for tests of pki and TLS. */
#pragma once

#include <unistd.h>

#include "mesh/base/text.h"
#include "pki/ca.h"
#include "pki/cert.h"
#include "pki/creds.h"
#include "pki/key.h"
#include "test/test.h"

#define WEB_URI    "spiffe://cluster.local/ns/default/sa/web"
#define DB_URI     "spiffe://cluster.local/ns/default/sa/db"
#define SERVER_URI "spiffe://cluster.local/weft/server"
#define HOUR_MS    (3600ll * 1000)

struct pki_world {
    char dir[64];
    struct ca *ca;
    int64_t now_ms; /* when the authority was made: now */
};

__attribute__((unused)) static void pki_world_remove(const char *dir)
{
    static const char *const names[] = {"root.crt", "root.key", "issuer.crt", "issuer.key"};
    char path[128];

    for (size_t i = 0; i < COUNT(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
}

__attribute__((unused)) static void pki_world_init(struct pki_world *w, const char *trust_domain)
{
    struct err err = {0};

    snprintf(w->dir, sizeof(w->dir), "/tmp/weft-ca-test-XXXXXX");
    CHECK(mkdtemp(w->dir) != NULL);
    w->now_ms = text_wall_ms();
    if (ca_create(w->dir, str_from(trust_domain), w->now_ms - 24 * HOUR_MS, &err) != 0)
        print_error("%s\n", err.text);
    w->ca = ca_open(w->dir, &err);
    if (!w->ca)
        print_error("%s\n", err.text);
    CHECK(w->ca != NULL);
}

__attribute__((unused)) static void pki_world_done(struct pki_world *w)
{
    ca_close(w->ca);
    pki_world_remove(w->dir);
}

/* Leaf and issuer as PEM, signed at `now_ms`. */
__attribute__((unused)) static void pki_world_chain(const struct pki_world *w, const struct key *k,
                                                    const char *uri, int64_t now_ms,
                                                    struct buf *pem, struct cert_info *info)
{
    static const struct str dns[] = {STR_INIT("server.test")};
    struct ca_leaf leaf = {.uri = str_from(uri), .dns = dns, .dns_count = 1};
    struct err err = {0};

    key_public(k, &leaf.key);
    if (ca_sign(w->ca, &leaf, now_ms, pem, info, &err) != 0)
        print_error("%s\n", err.text);
    CHECK(pem->n > 0);
}

/* With the root behind the chain, as a server shows it to hosts that join. */
__attribute__((unused)) static struct creds *pki_world_creds(const struct pki_world *w,
                                                             const char *uri, int64_t now_ms)
{
    struct key *k = key_new();
    struct err err = {0};
    struct creds *c;
    struct buf pem;
    char text[KEY_PEM_MAX];

    buf_init(&pem, 1 << 16);
    pki_world_chain(w, k, uri, now_ms, &pem, NULL);
    buf_add(&pem, ca_roots_pem(w->ca));
    key_pem(k, text);
    c = creds_new(buf_str(&pem), str_from(text), ca_roots_pem(w->ca), &err);
    if (!c)
        print_error("%s\n", err.text);
    CHECK(c != NULL);
    buf_done(&pem);
    key_free(k);
    return c;
}
