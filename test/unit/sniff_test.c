#include "test/test.h"

#include "mesh/base/limits.h"
#include "proxy/wire/sniff.h"

static struct sniff_result r;

static enum sniff_verdict text(const char *s, bool more)
{
    return sniff((const uint8_t *)s, strlen(s), more, &r);
}

TEST(plain_protocols_are_told_by_their_first_bytes)
{
    static const struct {
        const char *bytes;
        enum sniff_verdict more, final;
    } rows[] = {
        {"",                                     SNIFF_MORE,          SNIFF_OPAQUE       }, /* a server-first protocol says nothing */
        {"G",                                    SNIFF_MORE,          SNIFF_OPAQUE       },
        {"GET",                                  SNIFF_MORE,          SNIFF_OPAQUE       },
        {"GET ",                                 SNIFF_MORE,          SNIFF_OPAQUE       },
        {"GET /",                                SNIFF_HTTP1,         SNIFF_HTTP1        },
        {"GET http://a/ HTTP/1.1\r\n",           SNIFF_HTTP1,         SNIFF_HTTP1        },
        {"\r\nPOST /x HTTP/1.1\r\n",             SNIFF_HTTP1,         SNIFF_HTTP1        },
        {"VERSION-CONTROL /x",                   SNIFF_HTTP1,         SNIFF_HTTP1        },
        {"P",                                    SNIFF_MORE,          SNIFF_OPAQUE       },
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",     SNIFF_HTTP2_PREFACE, SNIFF_HTTP2_PREFACE},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n....", SNIFF_HTTP2_PREFACE, SNIFF_HTTP2_PREFACE},
        {"PRI * HTTP/2.0\r\n\r\nS",              SNIFF_MORE,          SNIFF_OPAQUE       },
        {"PRI * HTTP/2.1",                       SNIFF_HTTP1,         SNIFF_HTTP1        },
        {"PROPFIND /",                           SNIFF_HTTP1,         SNIFF_HTTP1        },
        {"SSH-2.0-x\r\n",                        SNIFF_OPAQUE,        SNIFF_OPAQUE       },
        {"get /",                                SNIFF_OPAQUE,        SNIFF_OPAQUE       },
        {"GET  /",                               SNIFF_OPAQUE,        SNIFF_OPAQUE       },
        {"*1\r\n$4\r\nPING\r\n",                 SNIFF_OPAQUE,        SNIFF_OPAQUE       },
        {"PING\r\n",                             SNIFF_OPAQUE,        SNIFF_OPAQUE       },
        {"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",       SNIFF_OPAQUE,        SNIFF_OPAQUE       },
        {"\x17\x03\x03",                         SNIFF_OPAQUE,        SNIFF_OPAQUE       },
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        if (text(rows[i].bytes, true) != rows[i].more ||
            text(rows[i].bytes, false) != rows[i].final)
            fail_msg("row %zu: %s", i, rows[i].bytes);
    }
}

/* A ClientHello is put together from its parts, so that each can be spoilt. */
struct hello {
    uint8_t p[8192];
    size_t n;
};

static void put(struct hello *h, const void *p, size_t n)
{
    memcpy(h->p + h->n, p, n);
    h->n += n;
}

static void put16(struct hello *h, size_t v)
{
    put(h, (uint8_t[]){(uint8_t)(v >> 8), (uint8_t)v}, 2);
}

static void put_extension(struct hello *h, unsigned type, const void *p, size_t n)
{
    put16(h, type);
    put16(h, n);
    put(h, p, n);
}

static void put_sni(struct hello *h, const char *name)
{
    struct hello e = {.n = 0};

    put16(&e, strlen(name) + 3);
    put(&e, "\0", 1);
    put16(&e, strlen(name));
    put(&e, name, strlen(name));
    put_extension(h, 0, e.p, e.n);
}

static const char alpn_two[] = "\0\014\002h2\010http/1.1";

/* Records of at most `record` bytes around the extensions given. */
static struct hello wrap(const struct hello *extensions, size_t record)
{
    struct hello body = {.n = 0}, out = {.n = 0};
    uint8_t zeros[512] = {0};

    put(&body, "\001\0\0\0\003\003", 6);
    put(&body, zeros, 32);
    put(&body, "\0", 1);             /* no session */
    put(&body, "\0\002\x13\x01", 4); /* one suite */
    put(&body, "\001\0", 2);         /* no compression */
    put16(&body, extensions->n);
    put(&body, extensions->p, extensions->n);
    body.p[2] = (uint8_t)((body.n - 4) >> 8);
    body.p[3] = (uint8_t)(body.n - 4);
    for (size_t at = 0; at < body.n; at += record) {
        size_t n = MIN(record, body.n - at);

        put(&out, "\x16\x03\x01", 3);
        put16(&out, n);
        put(&out, body.p + at, n);
    }
    return out;
}

static struct hello usual(size_t record)
{
    struct hello e = {.n = 0};

    put_extension(&e, 43, "\x02\x03\x04", 3);
    put_sni(&e, "Web.Example.");
    put_extension(&e, 16, alpn_two, sizeof(alpn_two) - 1);
    return wrap(&e, record);
}

static enum sniff_verdict of(const struct hello *h, size_t n, bool more)
{
    return sniff(h->p, n, more, &r);
}

TEST(a_client_hello_gives_its_names)
{
    struct hello h = usual(16384);

    CHECK_INT(of(&h, h.n, true), SNIFF_TLS);
    CHECK(r.whole);
    CHECK_STR(sniff_sni(&r), "web.example");
    CHECK_INT(r.alpn_count, 2);
    CHECK_STR(sniff_alpn(&r, 0), "h2");
    CHECK_STR(sniff_alpn(&r, 1), "http/1.1");
    CHECK_STR(sniff_alpn(&r, 2), "");
    CHECK(sniff_has_alpn(&r, STR("h2")));
    CHECK(!sniff_has_alpn(&r, STR("h3")));
}

TEST(a_client_hello_may_come_in_many_records_and_byte_by_byte)
{
    for (size_t record = 1; record < 200; record += 13) {
        struct hello h = usual(record);

        for (size_t n = 1; n < h.n; n++)
            CHECK_INT(of(&h, n, true), SNIFF_MORE);
        CHECK_INT(of(&h, h.n, true), SNIFF_TLS);
        CHECK_STR(sniff_sni(&r), "web.example");
        CHECK_INT(r.alpn_count, 2);
    }
}

TEST(a_hello_cut_short_keeps_what_was_seen)
{
    struct hello h = usual(16384);

    CHECK_INT(of(&h, h.n - 3, false), SNIFF_TLS);
    CHECK(!r.whole);
    CHECK_STR(sniff_sni(&r), "web.example");
    CHECK_INT(of(&h, 5, false), SNIFF_OPAQUE);
    CHECK_INT(of(&h, 20, false), SNIFF_TLS);
    CHECK_STR(sniff_sni(&r), "");
}

TEST(a_large_hello_is_decided_at_the_limit)
{
    struct hello e = {.n = 0}, h;
    static uint8_t padding[6000];

    put_sni(&e, "a.b");
    put_extension(&e, 21, padding, sizeof(padding));
    h = wrap(&e, 16384);
    CHECK_INT(of(&h, LIMIT_SNIFF_BYTES - 1, true), SNIFF_MORE);
    CHECK_INT(of(&h, LIMIT_SNIFF_BYTES, true), SNIFF_TLS);
    CHECK(!r.whole);
    CHECK_STR(sniff_sni(&r), "a.b");
}

TEST(malicious_hellos_give_no_names)
{
    struct hello e = {.n = 0}, h;

    put_sni(&e, "a.b");
    put_sni(&e, "c.d"); /* twice */
    h = wrap(&e, 16384);
    CHECK_INT(of(&h, h.n, true), SNIFF_TLS);
    CHECK(!r.whole);
    CHECK_STR(sniff_sni(&r), "");

    e.n = 0;
    put_sni(&e, "a b"); /* no host name */
    h = wrap(&e, 16384);
    CHECK_INT(of(&h, h.n, true), SNIFF_TLS);
    CHECK(r.whole);
    CHECK_STR(sniff_sni(&r), "");

    e.n = 0;
    put_extension(&e, 0, "\xff\xff\0\xff\xff", 5); /* lengths that lie */
    put_extension(&e, 16, "\0\003\xff", 3);
    h = wrap(&e, 16384);
    CHECK_INT(of(&h, h.n, true), SNIFF_TLS);
    CHECK_STR(sniff_sni(&r), "");
    CHECK_INT(r.alpn_count, 0);

    e.n = 0;
    put_extension(&e, 16, "\0\033\001a\001b\001c\001d\001e\001f\001g\001h\001i\001j", 22);
    h = wrap(&e, 16384);
    CHECK_INT(of(&h, h.n, true), SNIFF_TLS);
    CHECK(r.alpn_count <= SNIFF_ALPN_MAX);
}

TEST(every_spoilt_byte_is_survived)
{
    struct hello h = usual(50);

    for (size_t i = 0; i < h.n; i++) {
        uint8_t was = h.p[i];

        for (unsigned v = 0; v < 256; v += 5) {
            h.p[i] = (uint8_t)v;
            for (size_t n = h.n; n > h.n - 3; n--) {
                enum sniff_verdict verdict = of(&h, n, false);

                CHECK(verdict == SNIFF_TLS || verdict == SNIFF_OPAQUE);
                CHECK(r.sni_bytes <= SNIFF_NAME_MAX && r.alpn_count <= SNIFF_ALPN_MAX);
            }
        }
        h.p[i] = was;
    }
}

TEST(records_that_are_no_hello_are_opaque)
{
    CHECK_INT(sniff((const uint8_t *)"\x16\x02\x01\x00\x05\x01", 6, true, &r), SNIFF_OPAQUE);
    CHECK_INT(sniff((const uint8_t *)"\x16\x03\x01\x00\x05\x02", 6, true, &r), SNIFF_OPAQUE);
    CHECK_INT(sniff((const uint8_t *)"\x16\x03\x01\x00\x00", 5, true, &r), SNIFF_OPAQUE);
    CHECK_INT(sniff((const uint8_t *)"\x16\x03\x01\xff\xff", 5, true, &r), SNIFF_OPAQUE);
    CHECK_INT(sniff((const uint8_t *)"\x16", 1, true, &r), SNIFF_MORE);
}
