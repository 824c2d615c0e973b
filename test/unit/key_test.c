#include <sys/stat.h>
#include <unistd.h>

#include "pki/key.h"
#include "test/test.h"

/* Keys made for this test; they guard nothing. This one is too short. */
static const char rsa_1024[] = "-----BEGIN PRIVATE KEY-----\n"
                               "MIICeAIBADANBgkqhkiG9w0BAQEFAASCAmIwggJeAgEAAoGBALqAak7Z9n5mSgCw\n"
                               "/8s7Bz+191aGTLL0Lg+b02MBYgo+INHp0siQfsCx/IB/pmAq3KWOhQCERoWIMt8a\n"
                               "oJM80iVwHbc4Q/l2UzqDvyP1J+RpiTa7DteCImYBKDmMxgQEDZraWeVzEQe0+xhI\n"
                               "yhg2fnWPgkQCdTccCNNrsvBYQpuhAgMBAAECgYBzqlLEJm+2QrAgr6VkoG5FeBA2\n"
                               "rEIDNmcerRCztVbdbVyjczWTx/Gkhn5IH2LK/6oqTzJzeJXYGPkb3wK5bh4RpMao\n"
                               "cl8CArtyOftV1vjB+lJLh0cQAaGAaZSVpYv6E6mtcmi/p9EKBFKM5GcCGT8Uh3KT\n"
                               "NDc/q75Iy7U6xpwT5QJBAOFlkcLthhsBFz0FtMTQ5ZpDWdGAFL/MIglCrh7aepCT\n"
                               "/aR2bjMxbWRIGzhYychWS/M/i2gTsQl0iRjPso67H9sCQQDT0unMozHV8Te7HBGp\n"
                               "UQMcahlKtrDq5upHMA3BfXfBNkBqQkHEEsJ/OnxHxmbCcp/ECNwLsXushQg4wvcR\n"
                               "wrkzAkEAkS4gDiN6PsicFEUpo6A+U/fP0b6jHss4nShjCSKG0btRI+7YmobaxD4h\n"
                               "slCWYEEdmKe0fqw4WzPB3sZhZ8gmAwJBAJ5rYTwQ2Va+PwYLKhJNalw35Y6BL7Oe\n"
                               "25w+DiuloIi6AFb4EqOHvDrXDNfJRFUs0NwWHCwKowoVvF5nQczgqw0CQQCEog/v\n"
                               "lwLH0oK1+FTodIVvCp1Ywn7NcvbyS4XqtRY7nuvNd9qt/sPySRWbFFKsVhFlaDQM\n"
                               "RKfHy1ah1ZL1fSih\n"
                               "-----END PRIVATE KEY-----\n";

/* secp256k1: the size of P-256, but another curve. */
static const char k1[] = "-----BEGIN EC PRIVATE KEY-----\n"
                         "MHQCAQEEIOEUC0/UraEmpxfRAB+9cu6YQSuz3A7g5RUsm5V2BizPoAcGBSuBBAAK\n"
                         "oUQDQgAEwUUE07AjQeba3TBm0M3u5HqajPQVUEMOqhMkfby+K8/lvf6ZGcSMnca3\n"
                         "0skINoO+ui4GNpFpRDfNw3CD2coA1g==\n"
                         "-----END EC PRIVATE KEY-----\n";

static char *temp_path(char *path, size_t n)
{
    snprintf(path, n, "/tmp/weft-key-test-%d", (int)getpid());
    return path;
}

TEST(a_key_survives_save_and_load)
{
    char path[64];
    struct err err;
    struct key *k = key_new(), *again;
    struct key_pub a, b;
    struct stat st;

    temp_path(path, sizeof(path));
    CHECK_INT(key_save(k, path, &err), 0);
    CHECK_INT(stat(path, &st), 0);
    CHECK_INT(st.st_mode & 0777, 0600);
    again = key_load(path, &err);
    CHECK(again != NULL);
    key_public(k, &a);
    key_public(again, &b);
    CHECK(memcmp(&a, &b, sizeof(a)) == 0);
    unlink(path);
    key_free(k);
    key_free(again);
}

TEST(two_keys_differ)
{
    struct key *a = key_new(), *b = key_new();
    struct key_pub pa, pb;
    uint8_t pin_a[HASH_BYTES], pin_b[HASH_BYTES];

    key_public(a, &pa);
    key_public(b, &pb);
    CHECK(memcmp(&pa, &pb, sizeof(pa)) != 0);
    key_pin(&pa, pin_a);
    key_pin(&pb, pin_b);
    CHECK(!hash_eq(pin_a, pin_b));
    key_free(a);
    key_free(b);
}

TEST(a_key_that_others_may_read_is_refused)
{
    char path[64];
    struct err err;
    struct key *k = key_new();

    temp_path(path, sizeof(path));
    CHECK_INT(key_save(k, path, &err), 0);
    CHECK_INT(chmod(path, 0640), 0);
    CHECK(key_load(path, &err) == NULL);
    CHECK_INT(err.code, ERR_DENIED);
    CHECK(strstr(err.text, "chmod 600") != NULL);
    unlink(path);
    key_free(k);
}

TEST(a_missing_key_file_is_told_from_a_bad_one)
{
    struct err err;

    CHECK(key_load("/nonexistent/weft.key", &err) == NULL);
    CHECK_INT(err.code, ERR_MISSING);
}

TEST(what_is_no_key_is_refused)
{
    static const char *const texts[] = {"", "hello", "-----BEGIN EC PRIVATE KEY-----\n",
                                        "-----BEGIN EC PRIVATE KEY-----\nAAAA\n"
                                        "-----END EC PRIVATE KEY-----\n",
                                        rsa_1024};
    struct err err;

    for (size_t i = 0; i < COUNT(texts); i++) {
        err.text[0] = 0;
        CHECK(key_parse(str_from(texts[i]), &err) == NULL);
        CHECK(err.text[0] != 0);
    }
}

TEST(other_curves_are_refused_by_the_strict_parser_only)
{
    struct err err;
    struct key *k;

    CHECK(key_parse(str_from(k1), &err) == NULL);
    CHECK(strstr(err.text, "not P-256") != NULL);
    k = key_parse_any(str_from(k1), &err);
    CHECK(k != NULL);
    key_free(k);
}
