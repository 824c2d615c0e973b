/* Parties of a story that speak HTTP/1.1 or HTTP/2: the same words for both, so that a story is told in each pairing of a
 * caller and an application. One request at a time is all that HTTP/1.1 can; what is about several streams names them.
 *
 *   static void greeting(struct world *w, bool caller2, bool app2) { ... }
 *   PAIRINGS(greeting, EVERYWHERE)
 */
#pragma once

#include "test/h2.h"
#include "test/world/world.h"

struct party {
    struct world *w;
    struct end *e;
    bool is_h2;
    struct h2_raw raw;
    size_t greeted; /* bytes of the preface that came, at an application */
    uint32_t id;    /* the stream that is spoken about */
};

#define PAIRINGS(tale, where)                                                                                        \
    STORY(tale##_from_1_to_1, where) { tale(w, false, false); }                                                      \
    STORY(tale##_from_1_to_2, where) { tale(w, false, true); }                                                       \
    STORY(tale##_from_2_to_1, where) { tale(w, true, false); }                                                       \
    STORY(tale##_from_2_to_2, where) { tale(w, true, true); }

static void party_free(void *p)
{
    struct party *o = p;

    h2_raw_done(&o->raw);
    free(o);
}

static void party_say(struct party *p, struct buf *b)
{
    say_bytes(p->e, b->p, b->n);
    buf_clear(b);
}

static struct party *party_new(struct world *w, struct end *e, bool is_h2)
{
    struct party *p = calloc(1, sizeof(*p));
    struct buf b;

    p->w = w;
    p->e = e;
    p->is_h2 = is_h2;
    h2_raw_init(&p->raw, w->caller.control); /* its inflater and its memory; the bytes are the end's */
    p->raw.keeps = true;
    keep(w, p, party_free);
    if (!is_h2)
        return p;
    buf_init(&b, 4096);
    if (!e->is_app)
        buf_add(&b, H2_PREFACE);
    h2_setting(&b, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, e->is_app);
    party_say(p, &b);
    buf_done(&b);
    return p;
}

/* What every end of HTTP/2 does by itself. */
static void party_courtesy(struct party *p, const struct h2_seen *s)
{
    struct buf b;

    buf_init(&b, 4096);
    if (s->type == H2_SETTINGS && !(s->flags & H2_ACK))
        h2_frame(&b, H2_SETTINGS, H2_ACK, 0, STR_NONE);
    if (s->type == H2_DATA && s->bytes > 0) {
        h2_frame32(&b, H2_WINDOW, 0, (uint32_t)s->bytes);
        if (!(s->flags & H2_END_STREAM))
            h2_frame32(&b, H2_WINDOW, s->id, (uint32_t)s->bytes);
    }
    if (b.n > 0)
        party_say(p, &b);
    buf_done(&b);
}

/* Read the frames that have come whole. */
static void party_read(struct party *p)
{
    struct end *e = p->e;

    if (e->is_app && p->greeted < H2_PREFACE.n) {
        size_t n = MIN(H2_PREFACE.n - p->greeted, e->in_n - e->at);

        p->greeted += n;
        e->at += n;
    }
    while (e->in_n - e->at >= 9) {
        const uint8_t *f = (const uint8_t *)e->in + e->at;
        size_t n = (size_t)f[0] << 16 | (size_t)f[1] << 8 | f[2];

        if (e->in_n - e->at < 9 + n)
            return;
        h2_raw_frame(&p->raw, f, n);
        e->at += 9 + n;
        party_courtesy(p, &p->raw.seen[p->raw.count - 1]);
    }
}

/* The nth frame of a type on a stream (0: any), once it is there. */
UNUSED static const struct h2_seen *expect_frame(struct party *p, unsigned type, uint32_t id, size_t nth)
{
    (void)UNTIL(p->w, (party_read(p), h2_seen(&p->raw, type, id, nth) != NULL) || is_over(p->e), PATIENCE, 1);
    party_read(p);
    if (!h2_seen(&p->raw, type, id, nth))
        complain(p->e, "a frame");
    return h2_seen(&p->raw, type, id, nth);
}

static bool stream_ended(const struct party *p, uint32_t id)
{
    for (size_t i = 0; i < p->raw.count; i++) {
        const struct h2_seen *s = &p->raw.seen[i];

        if (s->id == id && (s->type == H2_DATA || s->type == H2_HEADERS) && (s->flags & H2_END_STREAM))
            return true;
    }
    return false;
}

/* The body of a stream as far as it came. */
static char *stream_body(const struct party *p, uint32_t id, size_t *n)
{
    char *body = calloc(1, p->raw.data_bytes + 1);

    *n = 0;
    for (size_t i = 0; i < p->raw.count; i++) {
        const struct h2_seen *s = &p->raw.seen[i];

        if (s->id != id || s->type != H2_DATA)
            continue;
        memcpy(body + *n, s->data, s->bytes);
        *n += s->bytes;
    }
    return body;
}

static void check_body(struct party *p, uint32_t id, const char *want, size_t want_n)
{
    size_t n;
    char *body = stream_body(p, id, &n);
    bool same = n == want_n && memcmp(body, want, n) == 0;

    if (!same && p->w->mode != CHAOS_TORN)
        print_error("%s wants \"%.60s\" (%zu bytes), got \"%.60s\" (%zu)\n", p->e->name, want, want_n, body, n);
    free(body);
    if (!same)
        broken(p->w, "another body than expected");
}

/* ---- words ---- */

UNUSED static struct party *party_call(struct world *w, bool is_h2)
{
    return party_new(w, call(w), is_h2);
}

/* Before the first call: what the application speaks. */
UNUSED static void app_speaks(struct world *w, bool is_h2)
{
    w->rules.http = is_h2 ? CLUSTER_HTTP2 : CLUSTER_HTTP1;
    apply_rules(w);
}

UNUSED static struct party *party_meet(struct world *w, bool is_h2)
{
    return party_new(w, meet(w), is_h2);
}

static void party_data(struct party *p, uint32_t id, const char *body, size_t n, bool end)
{
    struct buf b;

    buf_init(&b, 1u << 20);
    for (size_t at = 0; at < n || at == 0; at += 16384) {
        size_t some = MIN(n - at, (size_t)16384);

        h2_frame(&b, H2_DATA, end && at + some == n ? H2_END_STREAM : 0, id, (struct str){body + at, some});
        if (some == n - at)
            break;
    }
    party_say(p, &b);
    buf_done(&b);
}

static void party_head(struct party *p, uint32_t id, bool end, const char *fields)
{
    struct buf b;

    buf_init(&b, 1u << 16);
    h2_head(&b, id, end ? H2_END_STREAM : 0, fields);
    party_say(p, &b);
    buf_done(&b);
}

UNUSED static void party_frame32(struct party *p, unsigned type, uint32_t id, uint32_t v)
{
    struct buf b;

    buf_init(&b, 64);
    h2_frame32(&b, type, id, v);
    party_say(p, &b);
    buf_done(&b);
}

/* A request; in HTTP/2 on the next stream. Bodies of HTTP/2 in stories stay within a window. */
UNUSED static void party_ask(struct party *p, const char *method, const char *path, const char *body, size_t n)
{
    char fields[256];

    if (!p->is_h2 && n > 0)
        ask_with(p->e, method, path, body, n);
    if (!p->is_h2 && n == 0)
        ask(p->e, method, path);
    if (!p->is_h2)
        return;
    p->id = p->id ? p->id + 2 : 1;
    snprintf(fields, sizeof(fields), ":method: %s|:scheme: http|:path: %s|:authority: svc.test", method, path);
    party_head(p, p->id, n == 0, fields);
    if (n > 0)
        party_data(p, p->id, body, n, true);
}

/* The next request, whole. */
UNUSED static void party_hear_request(struct party *p, const char *method, const char *path, const char *body, size_t n)
{
    const struct h2_seen *head;
    char start[128];

    if (!p->is_h2) {
        snprintf(start, sizeof(start), "%s %s HTTP/1.1\r\n", method, path);
        hear_request(p->e, start, body, n);
        return;
    }
    p->id = p->id ? p->id + 2 : 1;
    head = expect_frame(p, H2_HEADERS, p->id, 0);
    snprintf(start, sizeof(start), ":method: %s|", method);
    EXPECT(p->w, strncmp(head->fields, start, strlen(start)) == 0);
    snprintf(start, sizeof(start), "|:path: %s|", path);
    EXPECT(p->w, strstr(head->fields, start) != NULL);
    (void)UNTIL(p->w, (party_read(p), stream_ended(p, p->id)) || is_over(p->e), PATIENCE, 1);
    EXPECT(p->w, stream_ended(p, p->id));
    check_body(p, p->id, body, n);
}

UNUSED static void party_answer(struct party *p, uint32_t id, int status, const char *body, size_t n)
{
    char fields[64];

    if (!p->is_h2) {
        answer_with(p->e, status, body, n);
        return;
    }
    snprintf(fields, sizeof(fields), ":status: %d", status);
    party_head(p, id, n == 0, fields);
    if (n > 0)
        party_data(p, id, body, n, true);
}

UNUSED static void party_hear_answer(struct party *p, uint32_t id, int status, const char *body /* NULL: any */, size_t n)
{
    const struct h2_seen *head;

    if (!p->is_h2) {
        hear_answer_with(p->e, status, body, n);
        return;
    }
    head = expect_frame(p, H2_HEADERS, id, 0);
    if (head->status != (unsigned)status && p->w->mode != CHAOS_TORN)
        print_error("%s wants %d, got %s\n", p->e->name, status, head->fields);
    EXPECT(p->w, head->status == (unsigned)status);
    (void)UNTIL(p->w, (party_read(p), stream_ended(p, id)) || is_over(p->e), PATIENCE, 1);
    EXPECT(p->w, stream_ended(p, id));
    if (body)
        check_body(p, id, body, n);
}

/* ---- tunnels ---- */

#define KEY "dGhlIHNhbXBsZSBub25jZQ=="

UNUSED static void party_ask_tunnel(struct party *p)
{
    if (!p->is_h2) {
        say(p->e, "GET /chat HTTP/1.1\r\nHost: svc.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                  "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " KEY "\r\n\r\n");
        return;
    }
    p->id = p->id ? p->id + 2 : 1;
    party_head(p, p->id, false,
               ":method: CONNECT|:protocol: websocket|:scheme: http|:path: /chat|:authority: svc.test|"
               "sec-websocket-version: 13");
}

UNUSED static void party_hear_tunnel(struct party *p)
{
    const struct h2_seen *head;

    if (!p->is_h2) {
        hear(p->e, "GET /chat HTTP/1.1\r\n");
        hear(p->e, "\r\n\r\n");
        return;
    }
    p->id = p->id ? p->id + 2 : 1;
    head = expect_frame(p, H2_HEADERS, p->id, 0);
    EXPECT(p->w, strstr(head->fields, ":method: CONNECT|") && strstr(head->fields, ":protocol: websocket"));
    EXPECT(p->w, !strstr(head->fields, "sec-websocket-key"));
}

UNUSED static void party_accept_tunnel(struct party *p)
{
    if (p->is_h2)
        party_head(p, p->id, false, ":status: 200");
    else
        say(p->e, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                  "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
}

UNUSED static void party_hear_tunnel_accepted(struct party *p)
{
    if (!p->is_h2) {
        hear(p->e, "HTTP/1.1 101 ");
        hear(p->e, "\r\n\r\n");
        return;
    }
    EXPECT(p->w, expect_frame(p, H2_HEADERS, p->id, 0)->status == 200);
}

UNUSED static void party_say_in_tunnel(struct party *p, const char *text, bool end)
{
    if (p->is_h2) {
        party_data(p, p->id, text, strlen(text), end);
        return;
    }
    say(p->e, text);
    if (end)
        end_saying(p->e);
}

/* All that came through the tunnel so far is `text`. */
UNUSED static void party_hear_in_tunnel(struct party *p, const char *text, const char *all)
{
    size_t n = 0;
    char *body;

    if (!p->is_h2) {
        hear(p->e, text);
        return;
    }
    (void)UNTIL(p->w,
                (party_read(p), body = stream_body(p, p->id, &n), free(body), n >= strlen(all)) || is_over(p->e),
                PATIENCE, 1);
    check_body(p, p->id, all, strlen(all));
}

UNUSED static void party_hear_end_of_tunnel(struct party *p)
{
    if (!p->is_h2) {
        hear_end(p->e);
        return;
    }
    (void)UNTIL(p->w, (party_read(p), stream_ended(p, p->id)) || is_over(p->e), PATIENCE, 1);
    EXPECT(p->w, stream_ended(p, p->id));
}

/* ---- ends ---- */

/* The exchange is given up: a reset of the stream, or of the connection. */
UNUSED static void party_abort(struct party *p)
{
    if (p->is_h2)
        party_frame32(p, H2_RST, p->id, NGHTTP2_CANCEL);
    else
        slam(p->e);
}

UNUSED static void party_hear_abort(struct party *p)
{
    if (p->is_h2)
        (void)expect_frame(p, H2_RST, p->id, 0);
    else
        hear_gone(p->e);
}
