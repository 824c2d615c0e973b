/* For tests of HTTP/2: bytes of a client by hand go to our server codec, whose owner answers each whole request with "ok"; what
 * comes back is told in words. And rows of frames as text. */
#pragma once

#include "test/h2.h"

static const char *const code_names[] = {
    "NO_ERROR",        "PROTOCOL_ERROR",    "INTERNAL_ERROR",      "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT", "STREAM_CLOSED",    "FRAME_SIZE_ERROR",    "REFUSED_STREAM",
    "CANCEL",          "COMPRESSION_ERROR", "CONNECT_ERROR",       "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"};

/* ---- one connection ---- */

struct play {
    struct loop *loop;
    struct h2_side server;
    struct h2_raw raw;
    unsigned served; /* requests that came whole */
    struct buf events;
};

/* Answer each whole request with "ok"; let go what is over. */
__attribute__((unused)) static void serve(struct h2_side *side)
{
    struct play *p = CONTAINER(side, struct play, server);

    for (size_t i = 0; i < side->count; i++) {
        struct stream *s = side->got[i];

        if (!s)
            continue;
        bytes_done(&s->in);
        stream_consumed(s);
        if (s->reset == STREAM_RESET_NONE && !s->in_ended)
            continue;
        if (s->reset == STREAM_RESET_NONE && s->in_head.framing != HTTP_BODY_TUNNEL) {
            bool has_body = !str_eq(s->in_head.method, STR("HEAD"));

            p->served++;
            h2_reply(s, 200, !has_body);
            if (has_body)
                h2_send(s, STR("ok"), true);
        }
        h2_let_go(side, i);
    }
    if (side->count == COUNT(side->got)) /* floods open many */
        side->count = 0;
}

__attribute__((unused)) static void begin(struct play *p, void (*owner)(struct h2_side *))
{
    struct err err;

    memset(p, 0, sizeof(*p));
    p->loop = loop_new(&err);
    assert_non_null(p->loop);
    buf_init(&p->events, 1u << 20);
    h2_side_init(&p->server, p->loop);
    h2_raw_init(&p->raw, p->loop);
    p->server.on_run = owner;
    io_pair(&p->server.io, &p->server.task, 0, &p->raw.peer.io, &p->raw.peer.task, 0);
    h2_side_serve(&p->server, NULL);
    p->server.codec->tunnels = false;
}

__attribute__((unused)) static void finish(struct play *p)
{
    struct loop *l = p->loop;

    h2_side_done(&p->server);
    h2_raw_done(&p->raw);
    buf_done(&p->events);
    turns(l, 4);
    assert_int_equal(loop_timers(l), 0);
    loop_free(l);
    assert_int_equal(bytes_pool_live(), 0);
}

/* What the server said, as "status:200 stream:CANCEL conn:PROTOCOL_ERROR close". */
__attribute__((unused)) static const char *events(struct play *p)
{
    for (size_t i = 0; i < p->raw.count; i++) {
        const struct h2_seen *s = &p->raw.seen[i];

        if (s->type == H2_HEADERS && s->status)
            buf_printf(&p->events, "status:%u ", s->status);
        else if (s->type == H2_RST)
            buf_printf(&p->events, "stream:%s ", code_names[MIN(s->code, 13u)]);
        else if (s->type == H2_GOAWAY)
            buf_printf(&p->events, "conn:%s ", code_names[MIN(s->code, 13u)]);
    }
    buf_adds(&p->events, p->raw.peer.ended ? "close " : "");
    buf_addc(&p->events, '\0');
    return p->events.p;
}

__attribute__((unused)) static const char *play(struct play *p, struct str bytes, size_t piece)
{
    begin(p, serve);
    for (size_t at = 0; at < bytes.n; at += piece) {
        peer_say(&p->raw.peer, str_sub(bytes, at, piece));
        turns(p->loop, 3);
    }
    turns(p->loop, 30);
    return events(p);
}

/* ---- frames as text ---- */

/* A row's frames: "type:flags:id:payload; ...". Types are D H P R S U I G W C, or a number; X is bytes without a frame, '!' in
 * front of the row leaves the preface to it. A payload is of parts with '+' between: GET, POST: a whole request head;
 * ~name: value|...: fields; #hex: bytes; *N: N zeros; anything else: itself. */
__attribute__((unused)) static void put_payload(struct buf *b, struct str text)
{
    struct str part;

    while (text.n > 0 && str_next(&text, '+', &part)) {
        uint64_t n;

        if (str_eq(part, STR("GET"))) {
            h2_fields(b, H2_GET);
        } else if (str_eq(part, STR("POST"))) {
            h2_fields(b, H2_POST);
        } else if (str_starts(part, STR("~"))) {
            char *copy = strndup(part.p + 1, part.n - 1);

            h2_fields(b, copy);
            free(copy);
        } else if (str_starts(part, STR("#"))) {
            for (size_t i = 1; i + 1 < part.n; i += 2) {
                char digits[3] = {part.p[i], part.p[i + 1], 0};

                buf_addc(b, (char)strtoul(digits, NULL, 16));
            }
        } else if (str_starts(part, STR("*"))) {
            assert_true(str_uint(str_sub(part, 1, part.n), 0, 1u << 20, &n));
            while (n-- > 0)
                buf_addc(b, 0);
        } else {
            buf_add(b, part);
        }
    }
}

__attribute__((unused)) static void put_item(struct buf *b, struct str item)
{
    static const char letters[] = "DHPRSUIGWC";
    struct str type, flags, id;
    struct buf payload;
    const char *letter;
    uint64_t t, f, i;

    item = str_trim(item);
    assert_true(str_next(&item, ':', &type) && str_next(&item, ':', &flags) && str_next(&item, ':', &id));
    buf_init(&payload, 1u << 20);
    put_payload(&payload, item);
    if (str_eq(type, STR("X"))) {
        buf_add(b, buf_str(&payload));
    } else {
        letter = type.n == 1 ? memchr(letters, type.p[0], sizeof(letters) - 1) : NULL;
        if (letter)
            t = (uint64_t)(letter - letters);
        else
            assert_true(str_uint(type, 0, 255, &t));
        assert_true(str_uint(flags, 0, 255, &f));
        assert_true(str_uint(id, 0, UINT32_MAX, &i));
        h2_frame(b, (unsigned)t, (unsigned)f, (uint32_t)i, buf_str(&payload));
    }
    buf_done(&payload);
}

__attribute__((unused)) static void put_row(struct buf *b, const char *row)
{
    struct str all = str_from(row), item;

    if (all.p[0] != '!') {
        buf_add(b, H2_PREFACE);
        h2_frame(b, H2_SETTINGS, 0, 0, STR_NONE);
    } else {
        all = str_sub(all, 1, all.n);
    }
    while (all.n > 0 && str_next(&all, ';', &item)) {
        if (str_trim(item).n > 0)
            put_item(b, item);
    }
}
