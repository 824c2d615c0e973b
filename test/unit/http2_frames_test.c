/* Frames against the server codec: what RFC 9113 and 7541 demand of each, section by section, the corpus h2/frames.jsonl and the
 * seeds beside it. WEFT_CORPUS says where the corpus is. */
#include "test/corpus.h"
#include "test/h2_play.h"

/* ---- what the RFC demands ---- */

static bool has_event(const char *seen, struct str want)
{
    struct str all = str_from(seen), one;

    while (all.n > 0 && str_next(&all, ' ', &one)) {
        if (str_eq(one, want))
            return true;
    }
    return false;
}

/* One of `want`, which '|' separates. "ok" is an answer of 200 and no error. */
static bool is_met(const char *seen, struct str want)
{
    struct str one;

    while (want.n > 0 && str_next(&want, '|', &one)) {
        bool is_ok = str_eq(one, STR("ok"));

        if (is_ok && has_event(seen, STR("status:200")) && !strstr(seen, "ERROR ") && !strstr(seen, "_CLOSED"))
            return true;
        if (!is_ok && has_event(seen, one) && (!str_starts(one, STR("conn:")) || has_event(seen, STR("close"))))
            return true;
    }
    return false;
}

/* clang-format off */
#define OPEN  "H:4:1:POST; "        /* stream 1 sends a body */
#define FIVE  "C:0:1:; C:0:1:; C:0:1:; C:0:1:; C:0:1:; "
#define ASKED "H:5:1:GET; "         /* stream 1 is half closed; answered, so closed */
static const struct {
    const char *name, *frames, *want;
} rows[] = {
    /* 3.4 (h2spec 3.5) */
    {"preface is wrong",              "!X:0:0:INVALID CONNECTION PREFACE\r\n\r\n; X:0:0:*40", "close"},
    {"preface without SETTINGS",      "!X:0:0:PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n; H:5:1:GET", "conn:PROTOCOL_ERROR"},
    /* generic */
    {"priority of an idle stream",    "P:0:1:#0000000010; H:5:1:GET", "ok"},
    {"window of a half closed one",   "H:5:1:GET; W:0:1:#00000001; H:5:3:GET", "ok"},
    {"priority of a half closed one", "H:5:1:GET; P:0:1:#0000000010; H:5:3:GET", "ok"},
    {"reset of a half closed one",    "H:5:1:GET; R:0:1:#00000008; H:5:3:GET", "ok"},
    {"priority of a closed stream",   "H:5:1:GET; I:0:0:12345678; P:0:1:#0000000010; H:5:3:GET", "ok"},
    {"data",                          OPEN "D:1:1:test", "ok"},
    {"data in parts",                 OPEN "D:0:1:test; D:1:1:test", "ok"},
    {"data with padding",             OPEN "D:9:1:#05+test+*5", "ok"},
    {"data of padding only",          OPEN "D:8:1:#05+*5; D:1:1:", "ok"},
    {"head with padding",             "H:13:1:#05+GET+*5", "ok"},
    {"head with priority",            "H:37:1:#0000000010+GET", "ok"},
    {"head with padding and priority", "H:45:1:#020000000010+GET+*2", "ok"},
    {"priority, exclusive",           "P:0:1:#8000000310; H:5:1:GET", "ok"},
    {"priority of an unknown one",    "P:0:5:#0000000710; H:5:7:GET", "ok"},
    {"goaway",                        "G:0:0:*8; H:5:1:GET", "ok|close"},
    {"settings",                      "S:0:0:#000300000064; H:5:1:GET", "ok"},
    {"settings acknowledged",         "S:1:0:; H:5:1:GET", "ok"},
    {"ping",                          "I:0:0:12345678; H:5:1:GET", "ok"},
    {"window of the connection",      "W:0:0:#00000001; H:5:1:GET", "ok"},
    {"window of a stream",            OPEN "W:0:1:#00000001; D:1:1:x", "ok"},
    {"head in two parts",             "H:1:1:GET; C:4:1:~x: y", "ok"},
    {"head in three parts",           "H:1:1:GET; C:0:1:~x: y; C:4:1:~z: y", "ok"},
    {"HEAD",                          "H:5:1:~:method: HEAD|:scheme: http|:path: /|:authority: a", "ok"},
    {"trailers",                      OPEN "D:0:1:test; H:5:1:~x-sum: 1", "ok"},
    {"hpack: indexed",                "H:5:1:#828684+~:authority: a", "ok"},
    {"hpack: with indexing",          "H:5:1:#828684400a3a617574686f726974790161; H:5:3:#828684be", "ok"},
    {"hpack: never indexed",          "H:5:1:#828684100a3a617574686f726974790161", "ok"},
    {"hpack: Huffman",                "H:5:1:#8286418cf1e3c2e5f23a6ba0ab90f4ff84", "ok"},
    {"hpack: size update",            "H:5:1:#203fe11f+GET", "ok"},
    /* 4.1 */
    {"unknown type",                  "22:0:0:*8; H:5:1:GET", "ok"},
    {"unknown flags",                 "I:22:0:12345678; H:5:1:GET", "ok"},
    {"reserved bit",                  "I:0:2147483648:12345678; H:5:1:GET", "ok"},
    /* 4.2 */
    {"data of 16384",                 OPEN "D:1:1:*16384", "ok"},
    {"data of 16385",                 OPEN "D:1:1:*16385", "conn:FRAME_SIZE_ERROR"},
    {"head of 16385",                 "H:5:1:*16385", "conn:FRAME_SIZE_ERROR"},
    /* 4.3 */
    {"block that is no HPACK",        "H:5:1:#40", "conn:COMPRESSION_ERROR"},
    {"priority in a head",            "H:1:1:GET; P:0:1:#0000000010", "conn:PROTOCOL_ERROR"},
    {"another head in a head",        "H:1:1:GET; H:5:3:GET", "conn:PROTOCOL_ERROR"},
    /* 5.1 */
    {"idle: data",                    "D:1:1:test", "conn:PROTOCOL_ERROR"},
    {"idle: reset",                   "R:0:1:#00000008", "conn:PROTOCOL_ERROR"},
    {"idle: window",                  "W:0:1:#00000064", "conn:PROTOCOL_ERROR"},
    {"idle: continuation",            "C:4:1:GET", "conn:PROTOCOL_ERROR"},
    {"ended: data",                   ASKED "D:1:1:test", "stream:STREAM_CLOSED|conn:STREAM_CLOSED"},
    {"ended: head",                   ASKED "H:5:1:GET", "stream:STREAM_CLOSED|conn:STREAM_CLOSED"},
    {"ended: continuation",           ASKED "C:4:1:~x: y", "conn:STREAM_CLOSED|conn:PROTOCOL_ERROR"},
    {"reset: data",                   OPEN "R:0:1:#00000008; D:1:1:test", "stream:STREAM_CLOSED|conn:STREAM_CLOSED"},
    {"reset: head",                   OPEN "R:0:1:#00000008; H:5:1:GET", "stream:STREAM_CLOSED|conn:STREAM_CLOSED"},
    {"reset: continuation",           OPEN "R:0:1:#00000008; C:4:1:~x: y", "conn:STREAM_CLOSED|conn:PROTOCOL_ERROR"},
    /* 5.1.1 */
    {"even id",                       "H:5:2:GET", "conn:PROTOCOL_ERROR"},
    {"id that decreases",             "H:5:5:GET; H:5:3:GET", "conn:PROTOCOL_ERROR"},
    /* 5.3.1 */
    {"head that depends on itself",   "H:37:1:#0000000110+GET", "stream:PROTOCOL_ERROR|conn:PROTOCOL_ERROR"},
    {"priority of itself",            "P:0:1:#0000000110; H:5:1:GET", "stream:PROTOCOL_ERROR|conn:PROTOCOL_ERROR"},
    /* 5.4.1, 5.5 */
    {"a broken ping ends it",         "I:0:3:*8", "conn:PROTOCOL_ERROR"},
    {"extension in a head",           "H:1:1:GET; 22:0:1:*8; C:4:1:~x: y", "conn:PROTOCOL_ERROR"},
    /* 6.1 */
    {"data of stream 0",              "D:1:0:test", "conn:PROTOCOL_ERROR"},
    {"data with too much padding",    OPEN "D:9:1:#06+test", "conn:PROTOCOL_ERROR"},
    {"data without its pad length",   OPEN "D:9:1:", "conn:FRAME_SIZE_ERROR|conn:PROTOCOL_ERROR"},
    /* 6.2 */
    {"head of stream 0",              "H:5:0:GET", "conn:PROTOCOL_ERROR"},
    {"head with too much padding",    "H:13:1:#ff+GET", "conn:PROTOCOL_ERROR"},
    {"head of another in a head",     "H:1:1:GET; H:1:3:GET", "conn:PROTOCOL_ERROR"},
    /* 6.3 */
    {"priority of stream 0",          "P:0:0:#0000000010", "conn:PROTOCOL_ERROR"},
    {"priority of 4 bytes",           OPEN "P:0:1:#80000001", "stream:FRAME_SIZE_ERROR|conn:FRAME_SIZE_ERROR"},
    /* 6.4 */
    {"reset of stream 0",             "R:0:0:#00000008", "conn:PROTOCOL_ERROR"},
    {"reset of 3 bytes",              OPEN "R:0:1:#000000", "conn:FRAME_SIZE_ERROR"},
    {"reset of 5 bytes",              OPEN "R:0:1:#0000000800", "conn:FRAME_SIZE_ERROR"},
    /* 6.5 */
    {"settings: ack with payload",    "S:1:0:#000000000000", "conn:FRAME_SIZE_ERROR"},
    {"settings of a stream",          "S:0:1:#000300000064", "conn:PROTOCOL_ERROR"},
    {"settings of 3 bytes",           "S:0:0:#000300", "conn:FRAME_SIZE_ERROR"},
    {"settings: push 2",              "S:0:0:#000200000002", "conn:PROTOCOL_ERROR"},
    {"settings: window 2^31",         "S:0:0:#000480000000", "conn:FLOW_CONTROL_ERROR"},
    {"settings: frames too small",    "S:0:0:#000500003fff", "conn:PROTOCOL_ERROR"},
    {"settings: frames too large",    "S:0:0:#000501000000", "conn:PROTOCOL_ERROR"},
    {"settings: unknown",             "S:0:0:#00ff00000001; H:5:1:GET", "ok"},
    {"settings: window twice",        "S:0:0:#000400000064000400000001; H:5:1:GET", "ok"},
    {"settings: connect protocol 2",  "S:0:0:#000800000002; H:5:1:GET", "conn:PROTOCOL_ERROR"},
    /* 6.6, 8.4 */
    {"push promise of a client",      OPEN "U:4:1:#00000002+GET", "conn:PROTOCOL_ERROR"},
    /* 6.7 */
    {"ping with ack",                 "I:1:0:12345678; H:5:1:GET", "ok"},
    {"ping of a stream",              "I:0:1:12345678", "conn:PROTOCOL_ERROR"},
    {"ping of 6 bytes",               "I:0:0:123456", "conn:FRAME_SIZE_ERROR"},
    /* 6.8 */
    {"goaway of a stream",            "G:0:1:*8", "conn:PROTOCOL_ERROR"},
    {"goaway of 7 bytes",             "G:0:0:*7", "conn:FRAME_SIZE_ERROR"},
    /* 6.9 */
    {"window 0 of the connection",    "W:0:0:*4", "conn:PROTOCOL_ERROR"},
    {"window 0 of a stream",          OPEN "W:0:1:*4", "stream:PROTOCOL_ERROR|conn:PROTOCOL_ERROR"},
    {"window of 3 bytes",             "W:0:0:#000001", "conn:FRAME_SIZE_ERROR"},
    {"settings: a stream's window at most",   OPEN "W:0:1:#00000001; S:0:0:#00047ffffffe; D:1:1:; H:5:3:GET", "ok"},
    {"window over 2^31",              "W:0:0:#7fffffff; W:0:0:#7fffffff", "conn:FLOW_CONTROL_ERROR"},
    {"window of a stream over 2^31",  OPEN "W:0:1:#7fffffff; W:0:1:#7fffffff", "stream:FLOW_CONTROL_ERROR"},
    /* 6.9.2 wants the connection's end; the library resets the stream, which nobody is harmed by */
    {"settings push it over 2^31",    OPEN "W:0:1:#7fff0000; S:0:0:#00047fffffff", "conn:FLOW_CONTROL_ERROR"},
    /* 6.10 */
    {"continuation, then data",       "H:0:1:POST; C:0:1:~x: y; D:1:1:x", "conn:PROTOCOL_ERROR"},
    {"continuation of stream 0",      "H:1:1:GET; C:4:0:~x: y", "conn:PROTOCOL_ERROR"},
    {"continuation behind a head",    OPEN "C:4:1:~x: y", "conn:PROTOCOL_ERROR"},
    {"continuation behind the last",  "H:0:1:POST; C:4:1:~x: y; C:4:1:~x: y", "conn:PROTOCOL_ERROR"},
    {"continuations, all there may be", "H:1:1:GET; " FIVE FIVE FIVE "C:4:1:~x: y", "ok"},
    {"continuations, one too many",   "H:1:1:GET; " FIVE FIVE FIVE "C:0:1:; C:4:1:~x: y", "conn:ENHANCE_YOUR_CALM"},
    {"continuation behind data",      OPEN "D:0:1:x; C:4:1:~x: y", "conn:PROTOCOL_ERROR"},
    /* 7 */
    {"goaway, unknown code",          "G:0:0:#00000000000000ff; H:5:1:GET", "ok|close"},
    {"reset, unknown code",           OPEN "R:0:1:#000000ff; H:5:3:GET", "ok"},
    /* 8.1 */
    {"second head without end",       OPEN "H:4:1:~x-test: ok", "stream:PROTOCOL_ERROR|conn:PROTOCOL_ERROR"},
    {"name in capitals",              "H:5:1:GET+~X-TEST: ok", "stream:PROTOCOL_ERROR"},
    {"pseudo: unknown",               "H:5:1:GET+~:test: ok", "stream:PROTOCOL_ERROR"},
    {"pseudo: of a response",         "H:5:1:GET+~:status: 200", "stream:PROTOCOL_ERROR"},
    {"pseudo: in trailers",           OPEN "D:0:1:x; H:5:1:~:method: POST", "stream:PROTOCOL_ERROR"},
    {"pseudo: behind a field",        "H:5:1:~:method: GET|:scheme: http|x: y|:path: /", "stream:PROTOCOL_ERROR"},
    {"connection",                    "H:5:1:GET+~connection: keep-alive", "stream:PROTOCOL_ERROR"},
    {"te",                            "H:5:1:GET+~trailers: test|te: trailers, deflate", "stream:PROTOCOL_ERROR"},
    {"path: empty",                   "H:5:1:~:method: GET|:scheme: http|:path: |:authority: a", "stream:PROTOCOL_ERROR"},
    {"no method",                     "H:5:1:~:scheme: http|:path: /|:authority: a", "stream:PROTOCOL_ERROR"},
    {"no scheme",                     "H:5:1:~:method: GET|:path: /|:authority: a", "stream:PROTOCOL_ERROR"},
    {"no path",                       "H:5:1:~:method: GET|:scheme: http|:authority: a", "stream:PROTOCOL_ERROR"},
    {"two methods",                   "H:5:1:GET+~:method: GET", "stream:PROTOCOL_ERROR"},
    {"two methods, in front",         "H:5:1:~:method: GET|:method: GET|:scheme: http|:path: /", "stream:PROTOCOL_ERROR"},
    {"two schemes",                   "H:5:1:~:method: GET|:scheme: http|:scheme: http|:path: /", "stream:PROTOCOL_ERROR"},
    {"two paths",                     "H:5:1:~:method: GET|:scheme: http|:path: /|:path: /", "stream:PROTOCOL_ERROR"},
    {"two authorities",               "H:5:1:GET+~:authority: a", "stream:PROTOCOL_ERROR"},
    {"two hosts",                     "H:5:1:~:method: GET|:scheme: http|:path: /|host: a|host: b", "stream:PROTOCOL_ERROR"},
    {"length too large",              "H:4:1:POST+~content-length: 8; D:1:1:test", "stream:PROTOCOL_ERROR"},
    {"length too small, in parts",    "H:4:1:POST+~content-length: 5; D:0:1:test; D:1:1:test", "stream:PROTOCOL_ERROR"},
    {"length without a body",         "H:5:1:POST+~content-length: 5", "stream:PROTOCOL_ERROR"},
    {"length right",                  "H:4:1:POST+~content-length: 4; D:1:1:test", "ok"},
    {"length right, before trailers", "H:4:1:POST+~content-length: 4; D:0:1:test; H:5:1:~x: y", "ok"},
    {"length wrong, before trailers", "H:4:1:POST+~content-length: 5; D:0:1:test; H:5:1:~x: y", "stream:PROTOCOL_ERROR"},
    /* 7541 */
    {"hpack 2.3.3: no such index",    "H:5:1:#c6", "conn:COMPRESSION_ERROR"},
    {"hpack 2.3.3: no such name",     "H:5:1:#7f00+~x: y", "conn:COMPRESSION_ERROR"},
    {"hpack 4.2: size at the end",    "H:5:1:GET+#20", "conn:COMPRESSION_ERROR"},
    {"hpack 5.2: padding over 7 bits", "H:5:1:GET+#00017882f8ff", "conn:COMPRESSION_ERROR"},
    {"hpack 5.2: padding of zeros",   "H:5:1:GET+#00017881f0", "conn:COMPRESSION_ERROR"},
    {"hpack 5.2: end in the text",    "H:5:1:GET+#00017884ffffffff", "conn:COMPRESSION_ERROR"},
    {"hpack 6.1: index 0",            "H:5:1:GET+#80", "conn:COMPRESSION_ERROR"},
    {"hpack 6.3: size too large",     "H:5:1:#3fe2ffff07+GET", "conn:COMPRESSION_ERROR"},
    {"hpack: an overlong number",     "H:5:1:GET+#7fffffffffffffffffff", "conn:COMPRESSION_ERROR"},
};
/* clang-format on */

static unsigned run_table(size_t piece)
{
    unsigned bad = 0;

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct play p;
        struct buf b;
        const char *seen;

        buf_init(&b, 1u << 20);
        put_row(&b, rows[i].frames);
        if (piece == 1 && b.n > 2000) {
            buf_done(&b);
            continue;
        }
        seen = play(&p, buf_str(&b), piece ? piece : b.n);
        if (!is_met(seen, str_from(rows[i].want))) {
            bad++;
            print_error("%s: %s, want %s\n", rows[i].name, seen, rows[i].want);
        }
        finish(&p);
        buf_done(&b);
    }
    return bad;
}

TEST(each_frame_gets_the_error_that_the_rfc_demands)
{
    CHECK_INT(run_table(0), 0);
}

TEST(each_frame_gets_it_when_dripped)
{
    CHECK_INT(run_table(1), 0);
}

/* A frame each in a read of its own. */
TEST(a_stream_that_is_half_closed_takes_no_frames)
{
    static const struct {
        unsigned type, flags;
        const char *payload, *want;
    } frames[] = {{H2_DATA, H2_END_STREAM, "x", "STREAM_CLOSED"}, {H2_HEADERS, 5, "", "STREAM_CLOSED"}};

    for (size_t i = 0; i < COUNT(frames); i++) {
        struct play p;
        struct buf b;

        begin(&p, NULL); /* nobody answers */
        buf_init(&b, 4096);
        put_row(&b, ASKED);
        h2_frame(&b, frames[i].type, frames[i].flags, 1, str_from(frames[i].payload));
        h2_raw_say(&p.raw, &b);
        turns(p.loop, 20);
        assert_non_null(strstr(events(&p), frames[i].want));
        CHECK_INT(p.server.count, 1);
        buf_done(&b);
        finish(&p);
    }
}

/* ---- the corpus ---- */

static bool is_error(struct str one)
{
    if (str_starts(one, STR("conn:")) || str_starts(one, STR("stream:")))
        return !str_eq(one, STR("conn:NO_ERROR")) && !str_eq(one, STR("stream:NO_ERROR"));
    return str_starts(one, STR("status:4")) || str_starts(one, STR("status:5")) || str_eq(one, STR("close"));
}

/* The rules of run_h2.py: the very error, or another that is safe. */
static bool is_right(const char *seen, struct str want)
{
    struct str all = str_from(seen), one, wants = want;
    bool served = has_event(seen, STR("status:200")), failed = false, exact = false;

    if (str_eq(want, STR("either")))
        return true;
    while (all.n > 0 && str_next(&all, ' ', &one))
        failed = failed || is_error(one);
    while (wants.n > 0 && str_next(&wants, '|', &one))
        exact = exact || has_event(seen, one) || (served && str_eq(one, STR("ok")));
    if (exact)
        return true;
    if (failed && !served && !str_eq(want, STR("ok")))
        return true;
    return failed && str_find(want, STR("stream:STREAM_CLOSED"), &(size_t){0});
}

static unsigned run_corpus(bool dripped)
{
    char *text = corpus_file("h2/frames.jsonl");
    struct str all = str_from(text), row;
    unsigned bad = 0, tried = 0;

    while (str_next(&all, '\n', &row)) {
        struct play p;
        struct str raw;
        const char *seen;

        if (row.n == 0)
            continue;
        raw = unbase64(json_value(row, "raw_b64"));
        tried++;
        if (!dripped || raw.n < 1000) {
            seen = play(&p, raw, dripped ? 1 : raw.n);
            if (!is_right(seen, json_value(row, "expect"))) {
                bad++;
                print_error("%.*s: %s, want %.*s\n", STR_ARG(json_value(row, "id")), seen,
                            STR_ARG(json_value(row, "expect")));
            }
            finish(&p);
        }
        mem_free((void *)(uintptr_t)raw.p);
    }
    mem_free(text);
    assert_true(tried > 80);
    return bad;
}

TEST(every_row_of_the_corpus_is_judged_right)
{
    CHECK_INT(run_corpus(false), 0);
}

TEST(every_row_of_the_corpus_is_judged_right_when_dripped)
{
    CHECK_INT(run_corpus(true), 0);
}

TEST(seeds_of_other_peoples_fuzzers_do_no_harm)
{
    char dir[512], path[1024], *text;
    DIR *d = corpus_dir("h2/nghttp2-fuzz", dir, sizeof(dir));
    struct dirent *e;
    unsigned tried = 0;

    while ((e = readdir(d))) {
        struct play p;
        size_t n;
        FILE *f;

        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
        f = fopen(path, "rb");
        assert_non_null(f);
        text = mem_alloc(1u << 20);
        n = fread(text, 1, 1u << 20, f);
        fclose(f);
        (void)play(&p, (struct str){text, n}, n);
        io_shutdown(&p.raw.peer.io);
        turns(p.loop, 10);
        loop_advance(p.loop, LIMIT_LINGER_MS + 100);
        turns(p.loop, 10);
        assert_true(p.server.over);
        finish(&p);
        mem_free(text);
        tried++;
    }
    closedir(d);
    assert_true(tried > 100);
}
