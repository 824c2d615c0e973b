#include "test/unit/pki_world.h"

TEST(creds_tell_who_they_are)
{
    struct pki_world w;
    struct creds *c, *d;

    pki_world_init(&w, "cluster.local");
    c = pki_world_creds(&w, WEB_URI, w.now_ms);
    d = pki_world_creds(&w, DB_URI, w.now_ms);
    CHECK_STR(creds_uri(c), WEB_URI);
    CHECK_INT(creds_fingerprint(c).n, 64);
    CHECK_INT(creds_serial(c).n, 32);
    CHECK(creds_not_before_ms(c) < w.now_ms && creds_not_after_ms(c) > w.now_ms);
    CHECK(creds_generation(c) > 0 && creds_generation(c) != creds_generation(d));
    CHECK(str_starts(creds_chain_pem(c), STR("-----BEGIN")));
    CHECK(str_eq(creds_roots_pem(c), ca_roots_pem(w.ca)));
    creds_unref(c);
    creds_unref(d);
    pki_world_done(&w);
}

TEST(creds_live_until_the_last_reference)
{
    struct pki_world w;
    struct creds *c;

    pki_world_init(&w, "cluster.local");
    c = pki_world_creds(&w, WEB_URI, w.now_ms);
    CHECK(creds_ref(c) == c);
    CHECK(creds_unref(c) == NULL);
    CHECK_STR(creds_uri(c), WEB_URI);
    creds_unref(c);
    CHECK(creds_unref(NULL) == NULL);
    pki_world_done(&w);
}

TEST(a_host_that_slept_may_still_load_what_it_has)
{
    struct pki_world w;
    struct key *k = key_new();
    struct ca_leaf leaf = {.uri = STR_INIT(WEB_URI), .lifetime_ms = HOUR_MS};
    struct err err = {0};
    struct creds *c;
    struct buf pem;
    char text[KEY_PEM_MAX];

    pki_world_init(&w, "cluster.local");
    buf_init(&pem, 1 << 16);
    key_public(k, &leaf.key);
    CHECK_INT(ca_sign(w.ca, &leaf, w.now_ms - 20 * HOUR_MS, &pem, NULL, &err), 0);
    key_pem(k, text);
    c = creds_new(buf_str(&pem), str_from(text), ca_roots_pem(w.ca), &err);
    CHECK(c != NULL);
    CHECK(creds_not_after_ms(c) < w.now_ms);
    creds_unref(c);
    buf_done(&pem);
    key_free(k);
    pki_world_done(&w);
}

TEST(a_client_that_only_verifies_needs_no_leaf)
{
    struct pki_world w;
    struct creds *c;
    struct err err;

    pki_world_init(&w, "cluster.local");
    c = creds_new(STR_NONE, STR_NONE, ca_roots_pem(w.ca), &err);
    CHECK(c != NULL);
    CHECK_INT(creds_uri(c).n, 0);
    CHECK_INT(creds_fingerprint(c).n, 0);
    CHECK_INT(creds_not_after_ms(c), 0);
    creds_unref(c);
    c = creds_new(STR_NONE, STR_NONE, STR_NONE, &err);
    CHECK(c != NULL);
    CHECK(creds_chain(c, 0) == NULL && creds_roots(c) == NULL && creds_key(c, 0) == NULL);
    creds_unref(c);
    pki_world_done(&w);
}

TEST(parts_must_fit_each_other)
{
    struct pki_world w, stranger;
    struct key *k = key_new(), *other = key_new();
    struct buf pem;
    struct err err;
    char own[KEY_PEM_MAX], wrong[KEY_PEM_MAX];

    pki_world_init(&w, "cluster.local");
    pki_world_init(&stranger, "cluster.local");
    buf_init(&pem, 1 << 16);
    pki_world_chain(&w, k, WEB_URI, w.now_ms, &pem, NULL);
    key_pem(k, own);
    key_pem(other, wrong);
    CHECK(!creds_new(buf_str(&pem), str_from(wrong), ca_roots_pem(w.ca), &err));
    CHECK(strstr(err.text, "the key is not the one") != NULL);
    CHECK(!creds_new(buf_str(&pem), STR_NONE, ca_roots_pem(w.ca), &err));
    CHECK(strstr(err.text, "come together") != NULL);
    CHECK(!creds_new(buf_str(&pem), str_from(own), ca_roots_pem(stranger.ca), &err));
    CHECK(strstr(err.text, "not signed by a trusted root") != NULL);
    CHECK(!creds_new(STR("nonsense"), str_from(own), ca_roots_pem(w.ca), &err));
    buf_done(&pem);
    key_free(k);
    key_free(other);
    pki_world_done(&w);
    pki_world_done(&stranger);
}
