#include <sys/stat.h>

#include "test/unit/pki_world.h"

static int mode_of(const struct pki_world *w, const char *name)
{
    char path[128];
    struct stat st;

    snprintf(path, sizeof(path), "%s/%s", w->dir, name);
    return stat(path, &st) == 0 ? (int)(st.st_mode & 0777) : -1;
}

TEST(keys_of_a_new_authority_are_only_the_owners)
{
    struct pki_world w;

    pki_world_init(&w, "cluster.local");
    CHECK_INT(mode_of(&w, "root.key"), 0600);
    CHECK_INT(mode_of(&w, "issuer.key"), 0600);
    CHECK_INT(mode_of(&w, "root.crt"), 0644);
    pki_world_done(&w);
}

TEST(an_authority_is_never_overwritten)
{
    struct pki_world w;
    struct err err;

    pki_world_init(&w, "cluster.local");
    CHECK_INT(ca_create(w.dir, STR("cluster.local"), w.now_ms, &err), -1);
    CHECK_INT(err.code, ERR_CONFLICT);
    pki_world_done(&w);
}

TEST(a_bad_trust_domain_is_refused)
{
    struct err err;

    CHECK_INT(ca_create("/tmp/weft-never-made", STR("Not/OK"), 0, &err), -1);
    CHECK_INT(err.code, ERR_INVALID);
    CHECK(access("/tmp/weft-never-made", F_OK) != 0);
}

TEST(root_and_issuer_are_what_the_design_says)
{
    struct pki_world w;
    struct cert_chain *root;
    struct cert_info info;
    struct err err;
    uint8_t pin[HASH_BYTES];
    struct key_pub pub;

    pki_world_init(&w, "cluster.local");
    root = cert_parse(ca_roots_pem(w.ca), &err);
    CHECK(root != NULL);
    CHECK_INT(cert_describe(root, 0, &info, &err), 0);
    CHECK(info.is_ca);
    CHECK(strstr(info.subject, "CN=weft ROOT of cluster.local") != NULL);
    CHECK(info.not_after_ms - info.not_before_ms >= CA_ROOT_MS);
    CHECK_INT(cert_public(root, &pub, &err), 0);
    key_pin(&pub, pin);
    CHECK(hash_eq(pin, ca_pin(w.ca)));
    CHECK(hash_eq(info.pin, ca_pin(w.ca)));
    CHECK(ca_issuer_not_after_ms(w.ca) <= w.now_ms + CA_ISSUER_MS);
    cert_free(root);
    pki_world_done(&w);
}

TEST(a_leaf_names_its_workload_and_verifies)
{
    struct pki_world w;
    struct key *k = key_new();
    struct buf pem;
    struct cert_chain *chain, *roots;
    struct cert_info info, seen;
    struct err err = {0};
    struct key_pub pub;

    pki_world_init(&w, "cluster.local");
    buf_init(&pem, 1 << 16);
    pki_world_chain(&w, k, WEB_URI, w.now_ms, &pem, &info);
    CHECK_TEXT(info.uri, WEB_URI);
    CHECK(!info.is_ca);
    CHECK_INT(strlen(info.serial), 32);
    /* X.509 counts in seconds. */
    CHECK_INT(info.not_after_ms, (w.now_ms + CA_LEAF_MS) / 1000 * 1000);
    CHECK_INT(info.not_before_ms, (w.now_ms - LIFETIME_BACKDATE_MS) / 1000 * 1000);
    chain = cert_parse(buf_str(&pem), &err);
    roots = cert_parse(ca_roots_pem(w.ca), &err);
    CHECK(chain && roots);
    CHECK_INT(cert_count(chain), 2);
    CHECK_INT(cert_verify(chain, roots, w.now_ms, CERT_CLIENT, &seen, &err), 0);
    CHECK_INT(cert_verify(chain, roots, w.now_ms, CERT_SERVER, NULL, &err), 0);
    CHECK_TEXT(seen.uri, WEB_URI);
    CHECK_TEXT(seen.serial, info.serial);
    CHECK_INT(cert_public(chain, &pub, &err), 0);
    cert_free(chain);
    cert_free(roots);
    buf_done(&pem);
    key_free(k);
    pki_world_done(&w);
}

TEST(serials_differ)
{
    struct pki_world w;
    struct key *k = key_new();
    struct buf pem;
    struct cert_info a, b;

    pki_world_init(&w, "cluster.local");
    buf_init(&pem, 1 << 16);
    pki_world_chain(&w, k, WEB_URI, w.now_ms, &pem, &a);
    pki_world_chain(&w, k, WEB_URI, w.now_ms, &pem, &b);
    CHECK(strcmp(a.serial, b.serial) != 0);
    buf_done(&pem);
    key_free(k);
    pki_world_done(&w);
}

TEST(a_leaf_never_outlives_its_issuer)
{
    struct pki_world w;
    struct key *k = key_new();
    struct buf pem;
    struct cert_info info;
    int64_t late;

    pki_world_init(&w, "cluster.local");
    buf_init(&pem, 1 << 16);
    late = ca_issuer_not_after_ms(w.ca) - HOUR_MS;
    pki_world_chain(&w, k, WEB_URI, late, &pem, &info);
    CHECK_INT(info.not_after_ms, ca_issuer_not_after_ms(w.ca));
    buf_done(&pem);
    key_free(k);
    pki_world_done(&w);
}

TEST(what_cannot_be_signed_is_refused)
{
    struct pki_world w;
    struct key *k = key_new();
    struct ca_leaf leaf = {.uri = STR_INIT("not-a-spiffe-id")};
    struct str many[CA_NAMES_MAX + 1];
    struct buf pem;
    struct err err;

    pki_world_init(&w, "cluster.local");
    buf_init(&pem, 1 << 16);
    key_public(k, &leaf.key);
    CHECK_INT(ca_sign(w.ca, &leaf, w.now_ms, &pem, NULL, &err), -1);
    leaf.uri = STR(WEB_URI);
    leaf.lifetime_ms = -1;
    CHECK_INT(ca_sign(w.ca, &leaf, w.now_ms, &pem, NULL, &err), -1);
    leaf.lifetime_ms = 0;
    for (size_t i = 0; i < COUNT(many); i++)
        many[i] = STR("a.test");
    leaf.dns = many;
    leaf.dns_count = COUNT(many);
    CHECK_INT(ca_sign(w.ca, &leaf, w.now_ms, &pem, NULL, &err), -1);
    CHECK_INT(err.code, ERR_LIMIT);
    leaf.dns_count = 0;
    /* The issuer itself has expired. */
    CHECK_INT(ca_sign(w.ca, &leaf, w.now_ms + 2 * CA_ISSUER_MS, &pem, NULL, &err), -1);
    CHECK(strstr(err.text, "issuer") != NULL);
    memset(leaf.key.der, 0, sizeof(leaf.key.der));
    CHECK_INT(ca_sign(w.ca, &leaf, w.now_ms, &pem, NULL, &err), -1);
    CHECK_INT(pem.n, 0);
    buf_done(&pem);
    key_free(k);
    pki_world_done(&w);
}

TEST(a_rotated_issuer_signs_and_old_leaves_stay_valid)
{
    struct pki_world w;
    struct key *k = key_new();
    struct buf before, after;
    struct cert_chain *old, *new, *roots;
    struct cert_info old_issuer, new_issuer;
    struct err err = {0};
    struct ca *again;

    pki_world_init(&w, "cluster.local");
    buf_init(&before, 1 << 16);
    buf_init(&after, 1 << 16);
    pki_world_chain(&w, k, WEB_URI, w.now_ms, &before, NULL);
    CHECK_INT(ca_rotate_issuer(w.ca, w.dir, w.now_ms, &err), 0);
    pki_world_chain(&w, k, WEB_URI, w.now_ms, &after, NULL);
    old = cert_parse(buf_str(&before), &err);
    new = cert_parse(buf_str(&after), &err);
    roots = cert_parse(ca_roots_pem(w.ca), &err);
    CHECK(old && new &&roots);
    CHECK_INT(cert_verify(old, roots, w.now_ms, CERT_EITHER, NULL, &err), 0);
    CHECK_INT(cert_verify(new, roots, w.now_ms, CERT_EITHER, NULL, &err), 0);
    CHECK_INT(cert_describe(old, 1, &old_issuer, &err), 0);
    CHECK_INT(cert_describe(new, 1, &new_issuer, &err), 0);
    CHECK(strcmp(old_issuer.subject, new_issuer.subject) != 0);
    again = ca_open(w.dir, &err); /* the folder fits itself */
    CHECK(again != NULL);
    ca_close(again);
    cert_free(old);
    cert_free(new);
    cert_free(roots);
    buf_done(&before);
    buf_done(&after);
    key_free(k);
    pki_world_done(&w);
}

TEST(the_root_key_may_be_away_but_not_for_rotation)
{
    struct pki_world w;
    struct err err = {0};
    char path[128];
    struct ca *again;

    pki_world_init(&w, "cluster.local");
    snprintf(path, sizeof(path), "%s/root.key", w.dir);
    CHECK_INT(unlink(path), 0);
    again = ca_open(w.dir, &err);
    CHECK(again != NULL);
    CHECK_INT(ca_rotate_issuer(again, w.dir, w.now_ms, &err), -1);
    CHECK_INT(err.code, ERR_MISSING);
    ca_close(again);
    pki_world_done(&w);
}

TEST(parts_that_do_not_fit_are_refused)
{
    struct pki_world w;
    struct key *other = key_new();
    struct err err = {0};
    char path[128];

    pki_world_init(&w, "cluster.local");
    snprintf(path, sizeof(path), "%s/issuer.key", w.dir);
    CHECK_INT(key_save(other, path, &err), 0);
    CHECK(ca_open(w.dir, &err) == NULL);
    CHECK(strstr(err.text, "issuer.key is not the key of issuer.crt") != NULL);
    key_free(other);
    pki_world_done(&w);
}

static void write_file(const char *dir, const char *name, struct str text)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "w");
    CHECK(f != NULL);
    CHECK_INT(fwrite(text.p, 1, text.n, f), text.n);
    fclose(f);
}

/* A second opinion on the whole chain. */
TEST(openssl_agrees_with_our_chain)
{
    struct pki_world w;
    struct key *k = key_new();
    struct buf pem;
    char command[1024], out[8192];
    FILE *p;
    size_t n;

    if (access("/usr/bin/openssl", X_OK) != 0)
        skip();
    pki_world_init(&w, "cluster.local");
    buf_init(&pem, 1 << 16);
    pki_world_chain(&w, k, WEB_URI, w.now_ms, &pem, NULL);
    write_file(w.dir, "chain.pem", buf_str(&pem));
    snprintf(command, sizeof(command),
             "cd %s && openssl verify -x509_strict -purpose sslserver -verify_hostname server.test "
             "-CAfile root.crt -untrusted chain.pem chain.pem 2>&1 && "
             "openssl verify -x509_strict -purpose sslclient -CAfile root.crt -untrusted chain.pem "
             "chain.pem 2>&1 && openssl x509 -in chain.pem -noout -text 2>&1; rm -f chain.pem",
             w.dir);
    p = popen(command, "r");
    CHECK(p != NULL);
    n = fread(out, 1, sizeof(out) - 1, p);
    out[n] = 0;
    CHECK_INT(pclose(p), 0);
    if (strncmp(out, "chain.pem: OK\nchain.pem: OK\n", 28) != 0)
        print_error("%s\n", out);
    CHECK_INT(strncmp(out, "chain.pem: OK\nchain.pem: OK\n", 28), 0);
    CHECK(strstr(out, "URI:" WEB_URI) != NULL);
    CHECK(strstr(out, "DNS:server.test") != NULL);
    CHECK(strstr(out, "CA:FALSE") != NULL);
    CHECK(strstr(out, "TLS Web Server Authentication, TLS Web Client Authentication") != NULL);
    buf_done(&pem);
    key_free(k);
    pki_world_done(&w);
}
