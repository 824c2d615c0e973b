/* Every row of corpus http1/requests.jsonl through a relay of our two codecs, whole and dripped;
 * the strict rows of llhttp.jsonl through the parser; and a table of our own. WEFT_CORPUS says
 * where the corpus is.
 */
#include "test/test.h"
#include "test/corpus.h"
#include "test/wire.h"

#include <ctype.h>
#include <strings.h>

/* The origin: as trusting as run_cases.py's. It answers each complete message with "ok". */

struct origin {
    unsigned complete, evil;
    char first[64]; /* of the last request line */
    char body[64];
    size_t body_bytes;
    char head[4096]; /* of the last complete message */
};

static struct origin origin;

static struct str header(struct str head, const char *name)
{
    struct str line;
    size_t n = strlen(name);

    while (str_next(&head, '\n', &line)) {
        if (line.n > n && strncasecmp(line.p, name, n) == 0 && line.p[n] == ':')
            return str_trim(str_sub(line, n + 1, line.n));
    }
    return STR_NONE;
}

/* Bytes of the chunked body at `s`, 0 if it is not complete. */
static size_t chunked_end(struct str s)
{
    size_t at = 0;

    for (;;) {
        const char *eol = at < s.n ? memchr(s.p + at, '\n', s.n - at) : NULL;
        size_t size;

        if (!eol)
            return 0;
        size = (size_t)strtoul(s.p + at, NULL, 16);
        at = (size_t)(eol - s.p) + 1;
        if (size == 0)
            break;
        if (s.n - at < size + 2)
            return 0;
        memcpy(origin.body, s.p + at, MIN(size, sizeof(origin.body)));
        origin.body_bytes += size;
        at += size + 2;
    }
    for (;;) { /* trailers */
        const char *eol = at < s.n ? memchr(s.p + at, '\n', s.n - at) : NULL;
        size_t line;

        if (!eol)
            return 0;
        line = (size_t)(eol - (s.p + at));
        at += line + 1;
        if (line <= 1)
            return at;
    }
}

static void origin_data(struct peer *p)
{
    for (;;) {
        struct str all = peer_text(p), head, body, length;
        size_t end, used;

        if (!str_find(all, STR("\r\n\r\n"), &end)) {
            free((void *)(uintptr_t)all.p);
            return;
        }
        head = str_sub(all, 0, end + 2);
        body = str_sub(all, end + 4, all.n);
        length = header(head, "content-length");
        origin.body_bytes = 0;
        if (header(head, "transfer-encoding").n > 0) {
            assert_true(length.n == 0); /* never both */
            used = chunked_end(body);
            used = used ? end + 4 + used : 0;
        } else {
            uint64_t n = 0;

            if (length.n > 0)
                assert_true(str_uint(length, 0, UINT32_MAX, &n));
            used = body.n >= n ? end + 4 + (size_t)n : 0;
            origin.body_bytes = (size_t)n;
            memcpy(origin.body, body.p, MIN(MIN((size_t)n, body.n), sizeof(origin.body)));
        }
        if (used == 0) {
            free((void *)(uintptr_t)all.p);
            return;
        }
        origin.complete++;
        snprintf(origin.first, sizeof(origin.first), "%.*s", (int)MIN(head.n, (size_t)60), head.p);
        snprintf(origin.head, sizeof(origin.head), "%.*s", STR_ARG(head));
        if (strchr(origin.first, '\r'))
            *strchr(origin.first, '\r') = '\0';
        if (strstr(origin.first, "/evil"))
            origin.evil++;
        peer_say(p, str_starts(head, STR("HEAD"))
                        ? STR("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
                        : STR("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
        bytes_drop(&p->in, used);
        free((void *)(uintptr_t)all.p);
    }
}

/* What became of one sequence of bytes */
struct verdict {
    unsigned complete, evil, first; /* first: status of the first final answer, 0 none */
    unsigned answers;
    bool closed;
};

static struct verdict play(struct str raw, bool dripped)
{
    struct err err;
    struct loop *l = loop_new(&err);
    struct verdict v = {0};
    struct relay *r;
    struct str text;
    size_t at = 0;

    assert_non_null(l);
    memset(&origin, 0, sizeof(origin));
    r = relay_new(l, origin_data);
    if (dripped) {
        for (size_t i = 0; i < raw.n; i++) {
            peer_say(&r->client, str_sub(raw, i, 1));
            turns(l, 2);
        }
    } else {
        peer_say(&r->client, raw);
    }
    for (unsigned i = 0; i < 600; i++)
        loop_turn(l, 0);
    text = peer_text(&r->client);
    if (text.n == 0) { /* a head or body that never ends: time passes */
        loop_advance(l, LIMIT_HEAD_MS + 1000);
        turns(l, 20);
        free((void *)(uintptr_t)text.p);
        text = peer_text(&r->client);
    }
    while (str_find(str_sub(text, at, text.n), STR("HTTP/1.1 "), &(size_t){0})) {
        size_t next;
        unsigned status;

        str_find(str_sub(text, at, text.n), STR("HTTP/1.1 "), &next);
        at += next + 9;
        status = (unsigned)strtoul(text.p + at, NULL, 10);
        if (status >= 200) {
            v.answers++;
            v.first = v.first ? v.first : status;
        }
    }
    v.complete = origin.complete;
    v.evil = origin.evil;
    v.closed = r->client.ended;
    free((void *)(uintptr_t)text.p);
    relay_free(r);
    turns(l, 4);
    loop_free(l);
    assert_int_equal(bytes_pool_live(), 0);
    return v;
}

/* Rows */

static bool is_refusal(unsigned status)
{
    return status == 0 || status == 400 || status == 405 || status == 408 || status == 413 ||
           status == 414 || status == 417 || status == 422 || status == 431 || status == 501 ||
           status == 502 || status == 505;
}

/* The rules of run_cases.py. NULL is right. */
static const char *judge(struct str row, const struct verdict *v)
{
    struct str verdict = json_value(row, "verdict");
    uint64_t max_fwd = 0;

    assert_true(str_uint(json_value(row, "max_fwd"), 0, 1000, &max_fwd));
    if (v->evil > 0 && max_fwd < 2)
        return "smuggled";
    if (str_eq(verdict, STR("accept")))
        return v->first == 200 && v->complete >= 1 ? NULL : "not accepted";
    if (str_eq(verdict, STR("reject"))) {
        if (v->complete > 0)
            return "forwarded";
        if (!is_refusal(v->first))
            return "answered otherwise";
        return v->closed || v->first == 0 ? NULL : "refused but open";
    }
    return v->complete <= max_fwd ? NULL : "forwarded too often";
}

static unsigned run_rows(const char *name, bool dripped)
{
    char *text = corpus_file(name);
    struct str all = str_from(text), row;
    unsigned bad = 0, rows = 0;

    while (str_next(&all, '\n', &row)) {
        struct str raw;
        struct verdict v;
        const char *why;

        if (row.n == 0)
            continue;
        raw = unbase64(json_value(row, "raw_b64"));
        rows++;
        if (!dripped || raw.n <= 1000) {
            v = play(raw, dripped);
            why = judge(row, &v);
            if (why) {
                bad++;
                print_error("%.*s: %s (first %u, complete %u, closed %d)\n",
                            STR_ARG(json_value(row, "id")), why, v.first, v.complete, v.closed);
            }
        }
        free((void *)(uintptr_t)raw.p);
    }
    mem_free(text);
    assert_true(rows > 200);
    return bad;
}

TEST(every_request_of_the_corpus_is_judged_right)
{
    CHECK_INT(run_rows("http1/requests.jsonl", false), 0);
}

TEST(every_request_of_the_corpus_is_judged_right_when_dripped)
{
    CHECK_INT(run_rows("http1/requests.jsonl", true), 0);
}

/* llhttp's strict vectors with an error before the first message is complete: no head of ours may
 * come out of them. Vectors that fail for reasons of llhttp's own (its list of methods, data after
 * close, pausing) say nothing about us. */
static bool is_about_heads(struct str error)
{
    static const char *const about[] = {"Invalid header",
                                        "Missing expected",
                                        "Expected LF after CR",
                                        "Expected LF after headers",
                                        "Duplicate Content-Length",
                                        "Content-Length overflow",
                                        "Invalid character in Content-Length",
                                        "Empty Content-Length",
                                        "can't be present with",
                                        "Expected HTTP/",
                                        "Invalid status code",
                                        "Expected space after version",
                                        "Expected dot",
                                        "Unexpected space"};
    size_t at;

    for (size_t i = 0; i < COUNT(about); i++) {
        if (str_find(error, str_from(about[i]), &at))
            return true;
    }
    return false;
}

TEST(strict_vectors_of_llhttp_that_fail_give_no_head)
{
    char *text = corpus_file("http1/llhttp.jsonl");
    struct str all = str_from(text), row;
    unsigned tried = 0;

    while (str_next(&all, '\n', &row)) {
        struct str type = json_value(row, "type"), raw;
        struct http_head h;
        struct arena a;
        unsigned status;
        size_t end = 0;
        const char *why = "incomplete";

        if (!str_eq(json_value(row, "strict"), STR("true")) ||
            !is_about_heads(json_value(row, "error")) ||
            !str_eq(json_value(row, "messages"), STR("0")) ||
            str_find(json_value(row, "id"), STR("CRLF between"), &end))
            continue; /* the last: its error is behind a good head */
        raw = unbase64(json_value(row, "raw_b64"));
        arena_init(&a);
        if (str_find(raw, STR("\r\n\r\n"), &end))
            why =
                http1_parse_head(raw.p, end + 4, str_starts(type, STR("request")), &a, &h, &status);
        if (!why)
            print_error("%.*s: accepted\n", STR_ARG(json_value(row, "id")));
        assert_non_null(why);
        arena_done(&a);
        free((void *)(uintptr_t)raw.p);
        tried++;
    }
    mem_free(text);
    assert_true(tried > 30);
}

/* Our own table: request, first status, complete messages at the origin. */

#define H "Host: svc.mesh\r\n"

static const struct {
    const char *name, *raw;
    unsigned first, complete;
    const char *seen; /* request line at the origin, or NULL */
} rows[] = {
    {"plain get",                     "GET /a?b=c HTTP/1.1\r\n" H "\r\n",                                          200, 1, "GET /a?b=c HTTP/1.1"},
    {"no host in 1.1",                "GET / HTTP/1.1\r\n\r\n",                                                    400, 0, NULL                 },
    {"no host in 1.0",                "GET / HTTP/1.0\r\n\r\n",                                                    200, 1, "GET / HTTP/1.1"     },
    {"two hosts in 1.0",              "GET / HTTP/1.0\r\n" H H "\r\n",                                             400, 0, NULL                 },
    {"head",                          "HEAD / HTTP/1.1\r\n" H "\r\n",                                              200, 1, "HEAD / HTTP/1.1"    },
    {"options star",                  "OPTIONS * HTTP/1.1\r\n" H "\r\n",                                           200, 1, "OPTIONS * HTTP/1.1" },
    {"absolute options",              "OPTIONS http://svc.mesh HTTP/1.1\r\n" H "\r\n",                             200, 1,
     "OPTIONS * HTTP/1.1"                                                                                                                       },
    {"absolute query",                "GET http://svc.mesh?q HTTP/1.1\r\n" H "\r\n",                               200, 1, "GET /?q HTTP/1.1"   },
    {"absolute https",                "GET HTTPS://SVC.mesh:443/x HTTP/1.1\r\n" H "\r\n",                          200, 1,
     "GET /x HTTP/1.1"                                                                                                                          },
    {"absolute ftp",                  "GET ftp://svc.mesh/x HTTP/1.1\r\n" H "\r\n",                                400, 0, NULL                 },
    {"absolute user",                 "GET http://a@svc.mesh/x HTTP/1.1\r\n" H "\r\n",                             400, 0, NULL                 },
    {"absolute no host",              "GET http:///x HTTP/1.1\r\n" H "\r\n",                                       400, 0, NULL                 },
    {"absolute without Host field",   "GET http://svc.mesh/x HTTP/1.1\r\n\r\n",                                    400, 0, NULL                 },
    {"connect",                       "CONNECT svc.mesh:443 HTTP/1.1\r\n" H "\r\n",                                501, 0, NULL                 },
    {"http2 preface",                 "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",                                          505, 0, NULL                 },
    {"version 1.2",                   "GET / HTTP/1.2\r\n" H "\r\n",                                               505, 0, NULL                 },
    {"version 0.9",                   "GET / HTTP/0.9\r\n" H "\r\n",                                               505, 0, NULL                 },
    {"version 11",                    "GET / HTTP/1.11\r\n" H "\r\n",                                              400, 0, NULL                 },
    {"nothing of HTTP",               "INVALID CONNECTION PREFACE\r\n\r\n",                                       0,   0, NULL                 },
    {"nothing of HTTP later",         "GET / HTTP/1.1\r\n" H "\r\nINVALID CONNECTION PREFACE\r\n\r\n",              200, 1, NULL                 },
    {"no version but a target",       "GET /a NOW\r\n" H "\r\n",                                                  400, 0, NULL                 },
    {"tls to plain",                  "\x16\x03\x01\x02\x00",                                                      400, 0, NULL                 },
    {"five blank lines",              "\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n",                           400, 0, NULL                 },
    {"method too long",
     "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA / HTTP/1.1\r\n" H "\r\n",
     501,                                                                                                               0, NULL                 },
    {"own method",                    "PURGE /x HTTP/1.1\r\n" H "\r\n",                                            200, 1, "PURGE /x HTTP/1.1"  },
    {"fragment",                      "GET /a#b HTTP/1.1\r\n" H "\r\n",                                            400, 0, NULL                 },
    {"tab after method",              "GET\t/ HTTP/1.1\r\n" H "\r\n",                                              400, 0, NULL                 },
    {"tab before version",            "GET /\tHTTP/1.1\r\n" H "\r\n",                                              400, 0, NULL                 },
    {"blank after version",           "GET / HTTP/1.1 \r\n" H "\r\n",                                              400, 0, NULL                 },
    {"host star",                     "GET / HTTP/1.1\r\nHost: *\r\n\r\n",                                         400, 0, NULL                 },
    {"host empty port",               "GET / HTTP/1.1\r\nHost: svc.mesh:\r\n\r\n",                                 200, 1, NULL                 },
    {"host big port",                 "GET / HTTP/1.1\r\nHost: svc.mesh:65536\r\n\r\n",                            400, 0, NULL                 },
    {"host negative port",            "GET / HTTP/1.1\r\nHost: svc.mesh:-1\r\n\r\n",                               400, 0, NULL                 },
    {"host v6 junk",                  "GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n",                                    400, 0, NULL                 },
    {"host v6 empty",                 "GET / HTTP/1.1\r\nHost: []\r\n\r\n",                                        400, 0, NULL                 },
    {"host v4 in brackets",           "GET / HTTP/1.1\r\nHost: [1.2.3.4]\r\n\r\n",                                 400, 0, NULL                 },
    {"host only port",                "GET / HTTP/1.1\r\nHost: :80\r\n\r\n",                                       400, 0, NULL                 },
    {"host utf8",                     "GET / HTTP/1.1\r\nHost: sv\xc3\xa9\r\n\r\n",                                400, 0, NULL                 },
    {"length and body",               "POST / HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc",                      200, 1, NULL                 },
    {"length zero",                   "POST / HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n",                         200, 1, NULL                 },
    {"length plus",                   "POST / HTTP/1.1\r\n" H "Content-Length: +3\r\n\r\nabc",                     400, 0, NULL                 },
    {"length empty",                  "POST / HTTP/1.1\r\n" H "Content-Length:\r\n\r\n",                           400, 0, NULL                 },
    {"length overflow",               "POST / HTTP/1.1\r\n" H "Content-Length: 18446744073709551617\r\n\r\nx",
     400,                                                                                                               0, NULL                 },
    {"length sign bit",               "POST / HTTP/1.1\r\n" H "Content-Length: 9223372036854775808\r\n\r\nx",      400,
     0,                                                                                                                    NULL                 },
    {"coding unknown",                "POST / HTTP/1.1\r\n" H "Transfer-Encoding: br\r\n\r\n",                     400, 0, NULL                 },
    {"coding stacked",                "POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n",          501, 0,
     NULL                                                                                                                                       },
    {"length hidden by connection",
     "POST / HTTP/1.1\r\n" H "Connection: content-length\r\nContent-Length: 3\r\n\r\nabc",                         200, 1,
     NULL                                                                                                                                       },
    {"coding hidden by connection",
     "POST / HTTP/1.1\r\n" H
     "Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",                     200, 1, NULL                 },
    {"connection junk",               "GET / HTTP/1.1\r\n" H "Connection: a b\r\n\r\n",                            400, 0, NULL                 },
    {"connection many",
     "GET / HTTP/1.1\r\n" H
     "Connection: a\r\nConnection: a\r\nConnection: a\r\nConnection: a\r\nConnection: a\r\n"
     "Connection: a\r\nConnection: a\r\nConnection: a\r\nConnection: a\r\n\r\n",                                   400, 0, NULL                 },
    {"expect other",                  "POST / HTTP/1.1\r\n" H "Expect: tea\r\nContent-Length: 1\r\n\r\nx",         417, 0,
     NULL                                                                                                                                       },
    {"chunk size of 17 digits",
     "POST / HTTP/1.1\r\n" H
     "Transfer-Encoding: chunked\r\n\r\n00000000000000001\r\nx\r\n0\r\n\r\n",                                      400, 0, NULL                 },
    {"chunk size sign bit",
     "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\nx",                            400, 0,
     NULL                                                                                                                                       },
    {"chunk size blank",
     "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n1 \r\nx\r\n0\r\n\r\n",                             400, 0,
     NULL                                                                                                                                       },
    {"chunk extension empty",
     "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n1;\r\nx\r\n0\r\n\r\n",                             400, 0,
     NULL                                                                                                                                       },
    {"chunk extension value empty",
     "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n1;a=\r\nx\r\n0\r\n\r\n",                           400, 0,
     NULL                                                                                                                                       },
    {"chunk extension quoted escape",
     "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n1;a=\"\\\"\"\r\nx\r\n0\r\n\r\n",
     200,                                                                                                               1, NULL                 },
    {"chunk extension after quote",
     "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n1;a=\"b\"c\r\nx\r\n0\r\n\r\n",                     400,
     0,                                                                                                                    NULL                 },
    {"chunk extension open quote",
     "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n1;a=\"b\r\nx\r\n0\r\n\r\n",                        400, 0,
     NULL                                                                                                                                       },
    {"chunk data with bare CR",
     "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r0\r\n\r\n",                                400, 0, NULL                 },
    {"trailer folded",
     "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n c\r\n\r\n",                          400, 0,
     NULL                                                                                                                                       },
    {"trailer bare LF",               "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\n\r\n",
     400,                                                                                                               0, NULL                 },
    {"get with chunked",
     "GET / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",                               200, 1, NULL                 },
    {"empty name",                    "GET / HTTP/1.1\r\n" H ": x\r\n\r\n",                                        400, 0, NULL                 },
    {"name in utf8",                  "GET / HTTP/1.1\r\n" H "\xc3\xa9: x\r\n\r\n",                                400, 0, NULL                 },
    {"value in utf8",                 "GET / HTTP/1.1\r\n" H "X: \xc3\xa9\r\n\r\n",                                200, 1, NULL                 },
    {"two then bad",                  "GET /1 HTTP/1.1\r\n" H "\r\nGET /2 HTTP/1.1\r\n" H "\r\nBAD\r\n\r\n",       200, 2,
     "GET /2 HTTP/1.1"                                                                                                                          },
    {"1.0 does not go on",
     "GET /1 HTTP/1.0\r\n" H "Connection: keep-alive\r\n\r\nGET /evil HTTP/1.1\r\n" H "\r\n",                      200,
     1,                                                                                                                    "GET /1 HTTP/1.1"    },
};

static void run_table(bool dripped)
{
    unsigned bad = 0;

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct verdict v = play(str_from(rows[i].raw), dripped);

        if (v.first == rows[i].first && v.complete == rows[i].complete &&
            (!rows[i].seen || strcmp(origin.first, rows[i].seen) == 0) &&
            (v.first < 400 || v.closed))
            continue;
        bad++;
        print_error("%s: first %u (want %u), complete %u (want %u), seen \"%s\", closed %d\n",
                    rows[i].name, v.first, rows[i].first, v.complete, rows[i].complete,
                    origin.first, v.closed);
    }
    CHECK_INT(bad, 0);
}

TEST(our_own_table_is_judged_right)
{
    run_table(false);
}

TEST(our_own_table_is_judged_right_when_dripped)
{
    run_table(true);
}

TEST(what_is_forwarded_is_written_anew)
{
    play(STR("GET http://SVC.Mesh/x HTTP/1.1\r\nHost: other\r\nConnection: X-Secret, "
             "close\r\nX-Secret: 1\r\nTE: gzip\r\n"
             "Keep-Alive: 3\r\nUpgrade: foo\r\nProxy-Connection: x\r\nX-Kept:  a b \r\n\r\n"),
         false);
    CHECK_TEXT(origin.head, "GET /x HTTP/1.1\r\nhost: svc.mesh\r\nx-kept: a b\r\n");
}

TEST(chunked_bodies_are_chunked_again)
{
    play(STR("POST / HTTP/1.1\r\n" H
             "Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nX-Sum: 1\r\nHost: "
             "evil\r\n\r\n"),
         false);
    CHECK_INT(origin.complete, 1);
    CHECK_INT(origin.body_bytes, 5);
    CHECK(memcmp(origin.body, "hello", 5) == 0);
}
