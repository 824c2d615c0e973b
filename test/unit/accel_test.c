/* AES-GCM, ECDH and ECDSA as mbedTLS's callers see them, whoever computes them: pki/accel.c, or mbedTLS itself
 * with ACCEL=0. Known answers, the ways of calling against each other, and Wycheproof's vectors from the corpus. */
#include <mbedtls/ecdh.h>
#include <mbedtls/ecdsa.h>
#include <mbedtls/gcm.h>
#include <mbedtls/pk.h>
#include <mbedtls/sha256.h>
#include <mbedtls/sha512.h>
#include <sys/random.h>

#include "mesh/base/arena.h"
#include "mesh/base/buf.h"
#include "mesh/base/file.h"
#include "mesh/base/json.h"
#include "test/test.h"

static int draw(void *arg, unsigned char *to, size_t n)
{
    (void)arg;
    return getrandom(to, n, 0) == (ssize_t)n ? 0 : -1;
}

static int draw_nothing(void *arg, unsigned char *to, size_t n)
{
    (void)arg, (void)to, (void)n;
    return MBEDTLS_ERR_ECP_RANDOM_FAILED;
}

static struct str unhex(struct arena *a, struct str text)
{
    unsigned char *to = arena_alloc(a, text.n / 2 + 1);

    CHECK_INT(text.n % 2, 0);
    for (size_t i = 0; i < text.n / 2; i++) {
        char two[3] = {text.p[2 * i], text.p[2 * i + 1], 0};

        to[i] = (unsigned char)strtoul(two, NULL, 16);
    }
    return (struct str){(char *)to, text.n / 2};
}

static const unsigned char *bytes(struct str s)
{
    return (const unsigned char *)s.p;
}

/* ---- the corpus ---- */

/* The groups of a file of Wycheproof; NULL where there is no corpus and none is demanded. */
static const struct node *vectors(struct arena *a, const char *name)
{
    const char *corpus = getenv("WEFT_CORPUS") ? getenv("WEFT_CORPUS") : "../shared/corpus";
    struct str path = arena_printf(a, "%s/crypto/%s.json", corpus, name);
    struct node *root;
    struct buf text;
    struct err err;

    buf_init(&text, 16 << 20);
    if (file_read(path.p, &text, &err)) {
        if (getenv("CI"))
            fail_msg("%s", err.text);
        print_message("skipped: %s (set WEFT_CORPUS)\n", err.text);
        buf_done(&text);
        return NULL;
    }
    CHECK_INT(json_read(arena_str(a, buf_str(&text)), a, &root, &err), 0);
    buf_done(&text);
    return node_get(root, STR("testGroups"));
}

typedef bool vector_fn(struct arena *a, const struct node *group, const struct node *test);

/* Every vector through `accepts`: valid ones are taken, invalid ones refused. */
static void run_vectors(const char *name, vector_fn *accepts, size_t at_least)
{
    struct arena a;
    size_t ran = 0, wrong = 0;
    const struct node *groups;

    arena_init(&a);
    groups = vectors(&a, name);
    for (const struct node *g = groups ? groups->first : NULL; g; g = g->next) {
        for (const struct node *t = node_get(g, STR("tests"))->first; t; t = t->next) {
            struct str verdict = node_text(t, "result");
            bool taken = accepts(&a, g, t);

            ran++;
            if (str_eq(verdict, STR("acceptable")) || taken == str_eq(verdict, STR("valid")))
                continue;
            wrong++;
            print_error("%s %.*s: %.*s, but %s\n", name, STR_ARG(node_text(t, "tcId")),
                        STR_ARG(verdict), taken ? "taken" : "refused");
        }
    }
    arena_done(&a);
    CHECK_INT(wrong, 0);
    CHECK(!groups || ran >= at_least);
}

/* ---- AES-GCM ---- */

struct sealed {
    unsigned char text[1 << 15], tag[16];
};

static void seal(mbedtls_gcm_context *g, struct str iv, struct str aad, struct str text,
                 struct sealed *out)
{
    CHECK_INT(mbedtls_gcm_crypt_and_tag(g, MBEDTLS_GCM_ENCRYPT, text.n, bytes(iv), iv.n, bytes(aad),
                                        aad.n, bytes(text), out->text, 16, out->tag),
              0);
}

/* Test cases 2, 4, 10 and 16 of the GCM specification (McGrew and Viega, appendix B). */
TEST(aes_gcm_gives_the_specifications_answers)
{
    static const struct {
        const char *key, *iv, *aad, *text, *sealed, *tag;
    } rows[] = {
        {"00000000000000000000000000000000", "000000000000000000000000", "",
         "00000000000000000000000000000000", "0388dace60b6a392f328c2b971b2fe78",
         "ab6e47d42cec13bdf53a67b21257bddf"},
        {"feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
         "feedfacedeadbeeffeedfacedeadbeefabaddad2",
         "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525"
         "b16aedf5aa0de657ba637b39",
         "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa05"
         "1ba30b396a0aac973d58e091",
         "5bc94fbc3221a5db94fae95ae7121a47"},
        {"feffe9928665731c6d6a8f9467308308feffe9928665731c", "cafebabefacedbaddecaf888",
         "feedfacedeadbeeffeedfacedeadbeefabaddad2",
         "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525"
         "b16aedf5aa0de657ba637b39",
         "3980ca0b3c00e841eb06fac4872a2757859e1ceaa6efd984628593b40ca1e19c7d773d00c144c525ac619d18c84a3f47"
         "18e2448b2fe324d9ccda2710",
         "2519498e80f1478f37ba55bd6d27618c"},
        {"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
         "feedfacedeadbeeffeedfacedeadbeefabaddad2",
         "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525"
         "b16aedf5aa0de657ba637b39",
         "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838"
         "c5f61e6393ba7a0abcc9f662",
         "76fc6ece0f4e1768cddf8853bb2d551b"},
    };
    struct sealed out;
    struct arena a;

    arena_init(&a);
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct str key = unhex(&a, str_from(rows[i].key));
        mbedtls_gcm_context g;

        mbedtls_gcm_init(&g);
        CHECK_INT(mbedtls_gcm_setkey(&g, MBEDTLS_CIPHER_ID_AES, bytes(key), (unsigned)key.n * 8), 0);
        seal(&g, unhex(&a, str_from(rows[i].iv)), unhex(&a, str_from(rows[i].aad)),
             unhex(&a, str_from(rows[i].text)), &out);
        assert_memory_equal(out.text, unhex(&a, str_from(rows[i].sealed)).p, strlen(rows[i].sealed) / 2);
        assert_memory_equal(out.tag, unhex(&a, str_from(rows[i].tag)).p, 16);
        mbedtls_gcm_free(&g);
    }
    arena_done(&a);
}

/* In pieces of any size, in place, and after the tables were given back: always the same. */
TEST(every_way_of_calling_aes_gcm_agrees)
{
    static unsigned char text[4500], pieces[sizeof(text) + 16], back[sizeof(text)];
    static const size_t sizes[] = {0, 1, 15, 16, 17, 31, 32, 33, 255, 1024, 1500, 4096, 4497};
    static const size_t steps[] = {1, 7, 16, 33, 1000};
    static struct sealed out;
    unsigned char key[32], iv[12], aad[13], tag[16];

    for (size_t i = 0; i < COUNT(sizes); i++) {
        for (size_t bits = 128; bits <= 256; bits += 64) {
            size_t n = sizes[i], at = 0, step = steps[(i + bits / 64) % COUNT(steps)], made;
            mbedtls_gcm_context g;

            draw(NULL, key, sizeof(key));
            draw(NULL, iv, sizeof(iv));
            draw(NULL, aad, sizeof(aad));
            draw(NULL, text, sizeof(text));
            mbedtls_gcm_init(&g);
            CHECK_INT(mbedtls_gcm_setkey(&g, MBEDTLS_CIPHER_ID_AES, key, (unsigned)bits), 0);
            seal(&g, (struct str){(char *)iv, 12}, (struct str){(char *)aad, 13},
                 (struct str){(char *)text, n}, &out);
            CHECK_INT(mbedtls_gcm_starts(&g, MBEDTLS_GCM_ENCRYPT, iv, 12), 0);
            CHECK_INT(mbedtls_gcm_update_ad(&g, aad, 13), 0);
            for (size_t from = 0; from < n; from += step) {
                size_t take = n - from < step ? n - from : step;

                CHECK_INT(mbedtls_gcm_update(&g, text + from, take, pieces + at,
                                             sizeof(pieces) - at, &made),
                          0);
                at += made;
            }
            CHECK_INT(mbedtls_gcm_finish(&g, pieces + at, sizeof(pieces) - at, &made, tag, 16), 0);
            CHECK_INT(at + made, n);
            assert_memory_equal(tag, out.tag, 16);
            if (n > 0)
                assert_memory_equal(pieces, out.text, n);
            CHECK_INT(mbedtls_gcm_auth_decrypt(&g, n, iv, 12, aad, 13, tag, 16, out.text, out.text), 0);
            if (n > 0)
                assert_memory_equal(out.text, text, n);
            tag[i] ^= 1;
            memset(back, 7, sizeof(back));
            CHECK_INT(mbedtls_gcm_auth_decrypt(&g, n, iv, 12, aad, 13, tag, 16, pieces, back),
                      MBEDTLS_ERR_GCM_AUTH_FAILED);
            for (size_t k = 0; k < n; k++)
                CHECK_INT(back[k], 0); /* nothing unauthenticated comes out */
            mbedtls_gcm_free(&g);
        }
    }
}

TEST(aes_gcm_refuses_what_it_cannot_do)
{
    unsigned char key[32] = {0}, iv[12] = {0}, text[16] = {0}, tag[16];
    mbedtls_gcm_context g;

    mbedtls_gcm_init(&g);
    CHECK(mbedtls_gcm_setkey(&g, MBEDTLS_CIPHER_ID_AES, key, 64) != 0);
    CHECK(mbedtls_gcm_setkey(&g, MBEDTLS_CIPHER_ID_CAMELLIA, key, 64) != 0);
    CHECK_INT(mbedtls_gcm_setkey(&g, MBEDTLS_CIPHER_ID_AES, key, 128), 0);
    CHECK(mbedtls_gcm_crypt_and_tag(&g, MBEDTLS_GCM_ENCRYPT, 16, iv, 0, NULL, 0, text, text, 16, tag) != 0);
    CHECK(mbedtls_gcm_crypt_and_tag(&g, MBEDTLS_GCM_ENCRYPT, 16, iv, 12, NULL, 0, text, text, 3, tag) != 0);
    CHECK(mbedtls_gcm_crypt_and_tag(&g, MBEDTLS_GCM_ENCRYPT, 16, iv, 12, NULL, 0, text, text, 17, tag) != 0);
    mbedtls_gcm_free(&g);
}

static bool gcm_accepts(struct arena *a, const struct node *group, const struct node *t)
{
    static unsigned char out[1 << 16];
    struct str key = unhex(a, node_text(t, "key")), iv = unhex(a, node_text(t, "iv"));
    struct str aad = unhex(a, node_text(t, "aad")), text = unhex(a, node_text(t, "msg"));
    struct str sealed = unhex(a, node_text(t, "ct")), tag = unhex(a, node_text(t, "tag"));
    mbedtls_gcm_context g;
    bool taken;

    (void)group;
    mbedtls_gcm_init(&g);
    taken = mbedtls_gcm_setkey(&g, MBEDTLS_CIPHER_ID_AES, bytes(key), (unsigned)key.n * 8) == 0 &&
            mbedtls_gcm_auth_decrypt(&g, sealed.n, bytes(iv), iv.n, bytes(aad), aad.n, bytes(tag), tag.n,
                                     bytes(sealed), out) == 0 &&
            sealed.n == text.n && (text.n == 0 || memcmp(out, text.p, text.n) == 0);
    mbedtls_gcm_free(&g);
    return taken;
}

TEST(aes_gcm_agrees_with_wycheproof)
{
    run_vectors("aes_gcm_test", gcm_accepts, 300);
}

/* ---- ECDH ---- */

static const mbedtls_ecp_group_id curves[] = {MBEDTLS_ECP_DP_SECP256R1, MBEDTLS_ECP_DP_SECP384R1,
                                              MBEDTLS_ECP_DP_SECP521R1, MBEDTLS_ECP_DP_CURVE25519};

TEST(both_sides_of_ecdh_share_one_secret)
{
    for (size_t i = 0; i < COUNT(curves) * 20; i++) {
        mbedtls_ecp_group g;
        mbedtls_mpi d1, d2, z1, z2;
        mbedtls_ecp_point q1, q2;

        mbedtls_ecp_group_init(&g);
        mbedtls_mpi_init(&d1), mbedtls_mpi_init(&d2), mbedtls_mpi_init(&z1), mbedtls_mpi_init(&z2);
        mbedtls_ecp_point_init(&q1), mbedtls_ecp_point_init(&q2);
        CHECK_INT(mbedtls_ecp_group_load(&g, curves[i % COUNT(curves)]), 0);
        CHECK_INT(mbedtls_ecdh_gen_public(&g, &d1, &q1, draw, NULL), 0);
        CHECK_INT(mbedtls_ecdh_gen_public(&g, &d2, &q2, draw, NULL), 0);
        CHECK_INT(mbedtls_ecp_check_pubkey(&g, &q1), 0);
        CHECK_INT(mbedtls_ecdh_compute_shared(&g, &z1, &q2, &d1, draw, NULL), 0);
        CHECK_INT(mbedtls_ecdh_compute_shared(&g, &z2, &q1, &d2, draw, NULL), 0);
        CHECK_INT(mbedtls_mpi_cmp_mpi(&z1, &z2), 0);
        CHECK(mbedtls_mpi_bitlen(&z1) > 128);
        mbedtls_ecp_point_free(&q1), mbedtls_ecp_point_free(&q2);
        mbedtls_mpi_free(&d1), mbedtls_mpi_free(&d2), mbedtls_mpi_free(&z1), mbedtls_mpi_free(&z2);
        mbedtls_ecp_group_free(&g);
    }
}

static bool ecdh_accepts(struct arena *a, const struct node *group, const struct node *t)
{
    struct str spki = unhex(a, node_text(t, "public")), private = unhex(a, node_text(t, "private"));
    struct str want = unhex(a, node_text(t, "shared"));
    unsigned char got[32];
    mbedtls_pk_context pk;
    mbedtls_ecp_keypair *peer;
    mbedtls_ecp_group g;
    mbedtls_mpi d, z;
    mbedtls_ecp_point q;
    bool taken = false;

    (void)group;
    mbedtls_pk_init(&pk);
    mbedtls_ecp_group_init(&g);
    mbedtls_mpi_init(&d), mbedtls_mpi_init(&z);
    mbedtls_ecp_point_init(&q);
    if (mbedtls_pk_parse_public_key(&pk, bytes(spki), spki.n) == 0 &&
        mbedtls_pk_get_type(&pk) == MBEDTLS_PK_ECKEY) {
        peer = mbedtls_pk_ec(pk);
        if (mbedtls_ecp_keypair_get_group_id(peer) == MBEDTLS_ECP_DP_SECP256R1 &&
            mbedtls_ecp_export(peer, &g, NULL, &q) == 0 &&
            mbedtls_mpi_read_binary(&d, bytes(private), private.n) == 0 &&
            mbedtls_ecdh_compute_shared(&g, &z, &q, &d, draw, NULL) == 0 &&
            mbedtls_mpi_write_binary(&z, got, sizeof(got)) == 0)
            taken = want.n == sizeof(got) && memcmp(got, want.p, want.n) == 0;
    }
    mbedtls_ecp_point_free(&q);
    mbedtls_mpi_free(&d), mbedtls_mpi_free(&z);
    mbedtls_ecp_group_free(&g);
    mbedtls_pk_free(&pk);
    return taken;
}

TEST(ecdh_agrees_with_wycheproof)
{
    run_vectors("ecdh_secp256r1_test", ecdh_accepts, 600);
}

/* ---- ECDSA ---- */

static void hash_of(const struct node *group, struct str text, unsigned char *hash, size_t *n)
{
    bool is_256 = str_eq(node_text(group, "sha"), STR("SHA-256"));

    *n = is_256 ? 32 : 48;
    if (is_256)
        CHECK_INT(mbedtls_sha256(bytes(text), text.n, hash, 0), 0);
    else
        CHECK_INT(mbedtls_sha512(bytes(text), text.n, hash, 1), 0);
}

/* Signatures as two numbers side by side, so that it is our arithmetic that is judged, not mbedTLS's reader of DER. */
static bool ecdsa_accepts(struct arena *a, const struct node *group, const struct node *t)
{
    struct str spki = unhex(a, node_text(group, "publicKeyDer"));
    struct str text = unhex(a, node_text(t, "msg")), sig = unhex(a, node_text(t, "sig"));
    unsigned char hash[64];
    mbedtls_pk_context pk;
    mbedtls_ecp_group g;
    mbedtls_ecp_point q;
    mbedtls_mpi r, s;
    size_t n;
    bool taken;

    hash_of(group, text, hash, &n); /* of the curve's size */
    mbedtls_pk_init(&pk);
    mbedtls_ecp_group_init(&g);
    mbedtls_ecp_point_init(&q);
    mbedtls_mpi_init(&r), mbedtls_mpi_init(&s);
    CHECK_INT(mbedtls_pk_parse_public_key(&pk, bytes(spki), spki.n), 0);
    CHECK_INT(mbedtls_ecp_export(mbedtls_pk_ec(pk), &g, NULL, &q), 0);
    taken = sig.n == 2 * n && mbedtls_mpi_read_binary(&r, bytes(sig), n) == 0 &&
            mbedtls_mpi_read_binary(&s, bytes(sig) + n, n) == 0 &&
            mbedtls_ecdsa_verify(&g, hash, n, &q, &r, &s) == 0;
    mbedtls_mpi_free(&r), mbedtls_mpi_free(&s);
    mbedtls_ecp_point_free(&q);
    mbedtls_ecp_group_free(&g);
    mbedtls_pk_free(&pk);
    return taken;
}

TEST(ecdsa_agrees_with_wycheproof)
{
    run_vectors("ecdsa_secp256r1_sha256_p1363_test", ecdsa_accepts, 250);
    run_vectors("ecdsa_secp384r1_sha384_p1363_test", ecdsa_accepts, 250);
}

/* Signed by us, verified by us; not when a bit of hash, signature or key is another. */
TEST(a_signature_holds_for_its_hash_and_key_only)
{
    for (size_t i = 0; i < 3 * 20; i++) {
        mbedtls_ecp_group g;
        mbedtls_mpi d, r, s;
        mbedtls_ecp_point q, other;
        unsigned char hash[64];
        size_t n = i % 2 ? 32 : 64;

        draw(NULL, hash, sizeof(hash));
        mbedtls_ecp_group_init(&g);
        mbedtls_mpi_init(&d), mbedtls_mpi_init(&r), mbedtls_mpi_init(&s);
        mbedtls_ecp_point_init(&q), mbedtls_ecp_point_init(&other);
        CHECK_INT(mbedtls_ecp_group_load(&g, curves[i % 3]), 0);
        CHECK_INT(mbedtls_ecp_gen_keypair(&g, &d, &other, draw, NULL), 0);
        CHECK_INT(mbedtls_ecp_gen_keypair(&g, &d, &q, draw, NULL), 0);
        CHECK_INT(mbedtls_ecdsa_sign(&g, &r, &s, &d, hash, n, draw, NULL), 0);
        CHECK_INT(mbedtls_ecdsa_verify(&g, hash, n, &q, &r, &s), 0);
        CHECK(mbedtls_ecdsa_verify(&g, hash, n, &other, &r, &s) != 0);
        hash[0] ^= 1;
        CHECK(mbedtls_ecdsa_verify(&g, hash, n, &q, &r, &s) != 0);
        hash[0] ^= 1;
        CHECK_INT(mbedtls_mpi_add_int(&s, &s, 1), 0);
        CHECK(mbedtls_ecdsa_verify(&g, hash, n, &q, &r, &s) != 0);
        mbedtls_ecp_point_free(&q), mbedtls_ecp_point_free(&other);
        mbedtls_mpi_free(&d), mbedtls_mpi_free(&r), mbedtls_mpi_free(&s);
        mbedtls_ecp_group_free(&g);
    }
}

TEST(nothing_is_signed_without_randomness_or_a_key)
{
    for (size_t i = 0; i < 3; i++) {
        mbedtls_ecp_group g;
        mbedtls_mpi d, r, s;
        unsigned char hash[32] = {1};

        mbedtls_ecp_group_init(&g);
        mbedtls_mpi_init(&d), mbedtls_mpi_init(&r), mbedtls_mpi_init(&s);
        CHECK_INT(mbedtls_ecp_group_load(&g, curves[i]), 0);
        CHECK_INT(mbedtls_ecdsa_sign(&g, &r, &s, &d, hash, 32, draw, NULL), MBEDTLS_ERR_ECP_INVALID_KEY);
        CHECK_INT(mbedtls_mpi_copy(&d, &g.N), 0);
        CHECK_INT(mbedtls_ecdsa_sign(&g, &r, &s, &d, hash, 32, draw, NULL), MBEDTLS_ERR_ECP_INVALID_KEY);
        CHECK_INT(mbedtls_mpi_lset(&d, 5), 0);
        CHECK(mbedtls_ecdsa_sign(&g, &r, &s, &d, hash, 32, draw_nothing, NULL) != 0);
        CHECK_INT(mbedtls_mpi_cmp_int(&s, 0), 0); /* and nothing came out */
        mbedtls_mpi_free(&d), mbedtls_mpi_free(&r), mbedtls_mpi_free(&s);
        mbedtls_ecp_group_free(&g);
    }
}
