#include "pki/key.h"
#include "pki/token.h"
#include "test/test.h"

static const uint8_t pin[HASH_BYTES] = {1, 2, 3, 0xff, 0xfe};
static const struct str endpoints[] = {STR_INIT("10.0.0.1:15010"), STR_INIT("[2001:db8::1]:15010"),
                                       STR_INIT("weft.example.com:15010")};

static void mint(struct token *t, struct buf *text)
{
    struct err err = {0};

    CHECK_INT(token_mint(pin, endpoints, COUNT(endpoints), t, &err), 0);
    buf_init(text, TOKEN_MAX);
    CHECK_INT(token_format(t, text, &err), 0);
    CHECK(!text->failed);
}

TEST(a_token_survives_print_and_parse)
{
    struct token t, again;
    struct buf text;
    struct err err = {0};

    mint(&t, &text);
    CHECK(str_starts(buf_str(&text), STR("weft1.")));
    CHECK_INT(token_parse(buf_str(&text), &again, &err), 0);
    CHECK(memcmp(again.pin, pin, sizeof(pin)) == 0);
    CHECK_TEXT(again.id, t.id);
    CHECK_INT(strlen(again.id), 8);
    CHECK(memcmp(again.secret, t.secret, sizeof(t.secret)) == 0);
    CHECK_INT(again.endpoint_count, 3);
    for (size_t i = 0; i < COUNT(endpoints); i++)
        CHECK_STR(endpoints[i], again.endpoints[i]);
    buf_done(&text);
}

TEST(blanks_around_a_pasted_token_do_not_matter)
{
    struct token t, again;
    struct buf text, padded;
    struct err err = {0};

    mint(&t, &text);
    buf_init(&padded, 2 * TOKEN_MAX);
    buf_printf(&padded, "  %.*s\r\n", STR_ARG(buf_str(&text)));
    CHECK_INT(token_parse(buf_str(&padded), &again, &err), 0);
    buf_done(&padded);
    buf_done(&text);
}

TEST(a_token_cut_anywhere_is_incomplete)
{
    struct token t, out;
    struct buf text;
    struct str whole;
    struct err err;

    mint(&t, &text);
    whole = buf_str(&text);
    /* From "weft1." on; shorter ones cannot be told from other text. */
    for (size_t n = 6; n < whole.n; n++) {
        err.text[0] = 0;
        CHECK_INT(token_parse(str_sub(whole, 0, n), &out, &err), -1);
        if (!strstr(err.text, "the token is incomplete: "))
            print_error("cut at %zu: %s\n", n, err.text);
        CHECK(strstr(err.text, "the token is incomplete: ") != NULL);
    }
    buf_done(&text);
}

TEST(a_changed_letter_is_noticed)
{
    struct token t, out;
    struct buf text;
    struct err err;
    size_t accepted = 0;

    mint(&t, &text);
    for (size_t i = 0; i < text.n; i++) {
        char was = text.p[i];

        text.p[i] = was == '2' ? '3' : '2';
        accepted += token_parse(buf_str(&text), &out, &err) == 0;
        text.p[i] = was;
    }
    /* Two bytes of checksum miss one change in 65536. */
    CHECK(accepted <= 1);
    buf_done(&text);
}

TEST(each_fault_has_its_own_sentence)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"",                                                                 "not a join token"},
        {"hello",                                                            "not a join token"},
        {"https://example.com/",                                             "not a join token"},
        {"weft1",                                                            "is incomplete"   },
        {"weft2.abc.def",                                                    "of version 2"    },
        {"weft1.!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!.0a1b2c3d.x.h:1", "the token's pin" },
        {"weft1.short.0a1b2c3d.x.h:1",                                       "the token's pin" },
        {"weft1.AQID__4AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.zzzzzzzz.x.h:1", "the token's id"  },
        {"weft1.AQID__4AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.0a1b2c3d.x.h:1", "token's secret"  },
        {"weft1.AQID__4AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.0a1b2c3d."
         "AAAAAAAAAAAAAAAAAAAAAAAA.h:1",                            "checksum"        },
        {"weft1.AQID__4AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.0a1b2c3d."
         "AAAAAAAAAAAAAAAAAAAAAAAA.h/x:1",                          "is no endpoint"  },
        {"weft1.AQID__4AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA.0a1b2c3d."
         "AAAAAAAAAAAAAAAAAAAAAAAA.h:99999",                        "is no endpoint"  },
    };
    struct token out;
    struct err err;

    for (size_t i = 0; i < COUNT(rows); i++) {
        err.text[0] = 0;
        CHECK_INT(token_parse(str_from(rows[i].text), &out, &err), -1);
        if (!strstr(err.text, rows[i].says))
            print_error("row %zu: %s\n", i, err.text);
        CHECK(strstr(err.text, rows[i].says) != NULL);
    }
}

TEST(no_error_repeats_the_secret)
{
    struct token t, out;
    struct buf text, secret;
    struct err err;
    size_t at;

    mint(&t, &text);
    buf_init(&secret, 64);
    token_format_secret(t.secret, &secret);
    for (size_t n = 0; n < text.n; n++) {
        err.text[0] = 0;
        CHECK_INT(token_parse(str_sub(buf_str(&text), 0, n), &out, &err), -1);
        CHECK(!str_find(str_from(err.text), str_sub(buf_str(&secret), 0, 20), &at));
    }
    buf_done(&secret);
    buf_done(&text);
}

TEST(endpoints_are_checked_when_minting)
{
    static const char *const bad[] = {"",      "host",      "host:", "host:0",         "host:65536",
                                      "a b:1", "::1:15010", "[::1]", "host:1,other:2", "-h:1",
                                      "h_x:1"};
    struct token t;
    struct err err;

    for (size_t i = 0; i < COUNT(bad); i++) {
        struct str one = str_from(bad[i]);

        CHECK_INT(token_mint(pin, &one, 1, &t, &err), -1);
    }
    CHECK_INT(token_mint(pin, NULL, 0, &t, &err), -1);
}

TEST(the_hash_of_a_secret_tells_it_from_others)
{
    struct token a, b;
    struct buf text, secret;
    uint8_t hash[HASH_BYTES], back[TOKEN_SECRET_BYTES];

    mint(&a, &text);
    buf_done(&text);
    mint(&b, &text);
    buf_done(&text);
    token_hash(a.secret, hash);
    CHECK(token_check(a.secret, hash));
    CHECK(!token_check(b.secret, hash));
    buf_init(&secret, 64);
    token_format_secret(a.secret, &secret);
    CHECK_INT(secret.n, 22);
    CHECK(token_parse_secret(buf_str(&secret), back));
    CHECK(memcmp(back, a.secret, sizeof(back)) == 0);
    CHECK(!token_parse_secret(STR("short"), back));
    buf_done(&secret);
}
