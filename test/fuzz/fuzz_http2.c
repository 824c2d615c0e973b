/* HTTP/2 by a script: the input chooses frames, their flags, streams, blocks and splits, what the owner of the codec does, and
 * how time goes. The first byte chooses: bit 0 the codec is a client, bit 1 its peer is our other codec, else frames by hand;
 * bit 2: a client by hand came by Upgrade; bits 3.. the size of the pieces in which bytes arrive (0: at once). What holds always is checked at each step.
 */
#include <stdint.h>
#include <string.h>

#include "mesh/base/limits.h"
#include "mesh/base/loop.h"
#include "mesh/base/mem.h"
#include "proxy/wire/http2_parts.h"
#include "test/h2_frame.h"

#define STREAMS_MAX  150u
#define STEPS_MAX    400u
#define WINDOW       65535u

struct script {
    const uint8_t *p;
    size_t n;
};

struct side {
    struct task task;
    struct io io; /* until the codec takes it */
    struct codec *codec;
    struct http2 *h2;
    struct stream *streams[STREAMS_MAX];
    size_t count;
    bool over;
};

static struct {
    struct loop *loop;
    struct side near, far; /* far: only with our other codec */
    struct io raw;         /* else */
    struct task raw_task;
    size_t piece;
} world;

static void must(bool fact)
{
    if (!fact)
        abort();
}

static unsigned next(struct script *s)
{
    if (s->n == 0)
        return 0;
    s->n--;
    return *s->p++;
}

/* The next bytes, fewer than `max`. */
static struct str take(struct script *s, unsigned max)
{
    size_t n = next(s) % max;
    struct str text = {(const char *)s->p, MIN(s->n, n)};

    s->p += text.n;
    s->n -= text.n;
    return text;
}

static void turn(int times)
{
    while (times-- > 0)
        loop_turn(world.loop, 0);
}

/* ---- what holds always ---- */

static void check_head(const struct http_head *h)
{
    size_t cookies = 0;

    must(h->version == 20);
    for (size_t i = 0; i < h->count; i++) {
        const struct http_field *f = &h->fields[i];

        must(f->name.n > 0 && f->name.p[0] != ':');
        must(!str_has(f->name, '\r') && !str_has(f->name, '\n') && !str_has(f->name, ' '));
        must(!str_has(f->value, '\r') && !str_has(f->value, '\n') && !str_has(f->value, '\0'));
        must(!str_eq(f->name, STR("transfer-encoding")) && !str_eq(f->name, STR("content-length")));
        must(!str_eq(f->name, STR("connection")) && !str_eq(f->name, STR("upgrade")));
        must(!(h->is_request && str_eq(f->name, STR("host"))));
        cookies += h->is_request && str_eq(f->name, STR("cookie"));
    }
    must(cookies <= 1);
    if (!h->is_request) {
        must(h->count <= LIMIT_HEADERS + 2000); /* cookies in pieces stay */
        must(h->status >= 100 && h->status <= 999);
        return;
    }
    must(h->count <= LIMIT_HEADERS + 1); /* a key may be made up */
    must(http_is_token(h->method) && h->method.n <= LIMIT_METHOD_BYTES);
    must(h->path.n > 0 && h->path.n <= LIMIT_TARGET_BYTES);
    must(h->path.p[0] == '/' || str_eq(h->path, STR("*")));
    for (size_t i = 0; i < h->path.n; i++)
        must(http_is_target_char(h->path.p[i]));
    must(!str_has(h->authority, '@') && !str_has(h->authority, '/') && !str_has(h->authority, ' '));
    must((h->framing == HTTP_BODY_TUNNEL) == (h->upgrade.n > 0 || http_is_connect(h)));
}

static void check_stream(const struct stream *s)
{
    if (s->in_has_head)
        check_head(&s->in_head);
    must(s->in.n <= WINDOW);
    must(s->in_trailer_count <= LIMIT_HEADERS);
    for (size_t i = 0; i < s->in_trailer_count; i++)
        must(http_may_be_trailer(s->in_trailers[i].name));
    if (s->in_ended && s->in_has_head && s->in_head.framing == HTTP_BODY_LENGTH)
        must(s->in_body_bytes == s->in_head.content_length || s->in_body_bytes == 0);
    must(!s->out_sent || s->out_ended);
}

static void check_side(struct side *side)
{
    if (!side->codec)
        return;
    for (size_t i = 0; i < side->count; i++) {
        if (side->streams[i])
            check_stream(side->streams[i]);
    }
    must(side->h2->held <= 2u * LIMIT_H2_HELD_BYTES + WINDOW);
}

/* ---- owners ---- */

static void on_notes(struct task *t, unsigned notes)
{
    (void)notes; /* the script acts */
    check_side(CONTAINER(t, struct side, task));
}

static void keep(struct side *side, struct stream *s)
{
    for (size_t i = 0; i < STREAMS_MAX; i++) {
        if (!side->streams[i]) {
            side->streams[i] = s;
            side->count = MAX(side->count, i + 1);
            return;
        }
    }
    stream_release(s);
}

static void on_stream(void *owner, struct stream *s)
{
    struct side *side = owner;

    stream_own(s, &side->task, 0);
    must(s->in_has_head && s->in_head.is_request);
    for (size_t i = 0; i < STREAMS_MAX; i++) {
        if (!side->streams[i]) {
            side->streams[i] = s;
            side->count = MAX(side->count, i + 1);
            return;
        }
    }
    must(false); /* there are LIMIT_H2_STREAMS at a time, and the dead are let go (tidy) */
}

static void on_idle(void *owner)
{
    (void)owner; /* the script asks */
}

static void on_end(void *owner)
{
    struct side *side = owner;

    must(!side->over);
    side->over = true;
}

static const struct codec_owner_ops ops = {.on_stream = on_stream, .on_idle = on_idle, .on_end = on_end};

/* Room for more: the dead go when there are many. */
static void tidy(struct side *side)
{
    size_t alive = 0;

    for (size_t i = 0; i < side->count; i++)
        alive += side->streams[i] != NULL;
    for (size_t i = 0; i < side->count && alive > STREAMS_MAX - LIMIT_H2_STREAMS - 10; i++) {
        struct stream *s = side->streams[i];

        if (!s || (s->reset == STREAM_RESET_NONE && !(s->in_ended && s->out_sent)))
            continue;
        stream_release(s);
        side->streams[i] = NULL;
        alive--;
    }
}

static const char *const requests[] = {
    H2_GET,
    H2_POST,
    H2_POST "|content-length: 5",
    ":method: HEAD|:scheme: http|:path: /|:authority: a",
    ":method: CONNECT|:scheme: http|:path: /|:authority: a|:protocol: websocket",
    H2_GET "|cookie: a=b|cookie: c=d",
    ":method: GET|:scheme: http|:path: /x y|:authority: a",
    H2_POST "|expect: tea",
    ":method: CONNECT|:authority: a",
    ":method: GET|:scheme: http|:path: *|host: b",
};
static const char *const responses[] = {
    ":status: 200", ":status: 204", ":status: 304|content-length: 5", ":status: 200|content-length: 5",
    ":status: 103|link: x", ":status: 100", ":status: 500", ":status: 99", ":status: 200|x: y|set-cookie: a",
    ":status: 404|content-length: 0",
};

static void send_some(struct stream *s, size_t n, bool end)
{
    static const char text[4096];
    struct bytes b;

    bytes_init(&b);
    n = MIN(n, stream_room(s));
    while (n > 0) {
        size_t some = MIN(n, sizeof(text));

        bytes_append(&b, (struct str){text, some});
        n -= some;
    }
    stream_send_data(s, &b, end);
}

static void send_head(struct side *side, struct stream *s, unsigned choice)
{
    static const unsigned statuses[] = {200, 204, 304, 101, 103, 404, 200, 500};
    struct http_head h;

    http_head_init(&h, &s->arena, !side->codec->is_server);
    h.status = statuses[choice % COUNT(statuses)];
    h.method = choice & 1 ? STR("POST") : choice & 2 ? STR("HEAD") : STR("GET");
    h.path = STR("/p");
    h.authority = STR("a");
    h.framing = choice & 16 ? HTTP_BODY_LENGTH : HTTP_BODY_CHUNKED;
    h.content_length = choice & 15;
    if (h.is_request && (choice & 0xe0) == 0xe0) {
        h.framing = HTTP_BODY_TUNNEL;
        h.upgrade = choice & 8 ? STR("websocket") : STR("x");
        http_add(&h, STR("sec-websocket-key"), STR("dGhlIHNhbXBsZSBub25jZQ=="));
    }
    http_add(&h, STR("x"), STR("y"));
    stream_send_head(s, &h, h.framing != HTTP_BODY_TUNNEL && (choice & 32));
}

static void act(struct side *side, struct script *in)
{
    static const struct http_field trailers[] = {{STR_INIT("x"), STR_INIT("y")}};
    unsigned what = next(in), which = next(in);
    struct stream *s;
    size_t n;

    if (!side->codec)
        return;
    if (what % 16 == 15 && !side->codec->is_server) {
        s = codec_open(side->codec, &side->task, 0);
        if (s)
            keep(side, s);
        return;
    }
    if (what % 16 == 14) {
        if (which % 8 == 0)
            codec_drain(side->codec);
        else if (which % 8 == 1 && !side->codec->is_server)
            http2_probe(side->h2, 1000 * (1 + which), 1000);
        return;
    }
    s = side->count ? side->streams[which % side->count] : NULL;
    if (!s)
        return;
    switch (what % 16) {
    case 0:
    case 1:
    case 2:
        send_head(side, s, next(in));
        break;
    case 3:
    case 4:
    case 5:
        send_some(s, next(in) * 100u, false);
        break;
    case 6:
        send_some(s, next(in) * 1000u, true);
        break;
    case 7:
        stream_send_trailers(s, trailers, next(in) & 1);
        break;
    case 8:
        stream_reset(s);
        break;
    case 9:
    case 10:
        stream_release(s);
        side->streams[which % side->count] = NULL;
        break;
    default:
        n = next(in) * 300u;
        bytes_drop(&s->in, MIN(s->in.n, n));
        stream_consumed(s);
        break;
    }
}

/* ---- the peer by hand ---- */

static void say(struct str s)
{
    size_t piece = world.piece ? MAX(world.piece, s.n / 64) : MAX(s.n, (size_t)1);

    for (size_t at = 0; at < s.n; at += piece) {
        io_write_str(&world.raw, str_sub(s, at, piece)); /* a dead end drops it */
        turn(2);
    }
}

static void put_head(struct buf *b, struct script *in, uint32_t id)
{
    unsigned flags = next(in), choice = next(in);
    const char *const *list = world.near.codec->is_server ? requests : responses;
    struct buf block;

    buf_init(&block, 1u << 16);
    if (choice & 0x80)
        h2_fields(&block, "x: trailer|host: x");
    else
        h2_fields(&block, list[choice % 10]);
    if (choice & 0x40)
        h2_field(&block, STR("y"), take(in, 64));
    if (flags & 0x40) { /* in two parts */
        size_t cut = next(in);

        cut = MIN(block.n, cut);
        h2_frame(b, H2_HEADERS, flags & H2_END_STREAM, id, str_sub(buf_str(&block), 0, cut));
        h2_frame(b, H2_CONTINUATION, H2_END_HEADERS, id, str_sub(buf_str(&block), cut, block.n));
    } else {
        h2_frame(b, H2_HEADERS, (flags & H2_END_STREAM) | H2_END_HEADERS, id, buf_str(&block));
    }
    buf_done(&block);
}

/* Any frame, its payload of the input's bytes. */
static void put_any(struct buf *b, struct script *in, uint32_t id)
{
    unsigned type = next(in) % 12, flags = next(in);

    h2_frame(b, type, flags, id, take(in, 40));
}

static void put_right(struct buf *b, struct script *in, uint32_t id)
{
    unsigned what = next(in), v = next(in);

    switch (what % 8) {
    case 0:
        h2_frame32(b, H2_RST, id, v % 16);
        break;
    case 1:
        h2_frame32(b, H2_WINDOW, id, v * 1000u);
        break;
    case 2:
        h2_frame32(b, H2_WINDOW, 0, v * 1000u);
        break;
    case 3:
        h2_setting(b, what >> 3 & 15, v * (what & 0x80 ? 1u : 1000u));
        break;
    case 4:
        h2_frame(b, H2_SETTINGS, H2_ACK, 0, STR_NONE);
        break;
    case 5: {
        char p[8] = {0, 0, 0, (char)v};

        h2_frame(b, H2_GOAWAY, 0, 0, (struct str){p, sizeof(p)});
        break;
    }
    case 6:
        h2_frame(b, H2_PING, v & 1, 0, STR("12345678"));
        break;
    default:
        h2_frame(b, H2_PRIORITY_FRAME, 0, id, BYTES_OF("\0\0\0\0\1"));
        break;
    }
}

static void put_data(struct buf *b, struct script *in, uint32_t id)
{
    static const char zeros[16384];
    unsigned n = next(in), flags = next(in);

    h2_frame(b, H2_DATA, flags & (H2_END_STREAM | H2_PADDED), id, (struct str){zeros, n * 64u % sizeof(zeros)});
}

static void hand(struct script *in, unsigned kind)
{
    uint32_t id = next(in) % 32u;
    struct buf b;

    if (world.far.codec)
        return;
    buf_init(&b, 1u << 20);
    if (kind < 3)
        put_head(&b, in, id | 1);
    else if (kind < 5)
        put_data(&b, in, id | 1);
    else if (kind < 7)
        put_right(&b, in, id | 1);
    else
        put_any(&b, in, id);
    say(buf_str(&b));
    buf_done(&b);
}

static void swallow(struct task *t, unsigned notes)
{
    struct bytes in;
    size_t n;

    (void)t, (void)notes; /* what the codec says does not matter here */
    bytes_init(&in);
    while (io_read(&world.raw, &in, 65536, &n) == IO_OK)
        bytes_done(&in);
    bytes_done(&in);
}

/* ---- the world ---- */

static void side_begin(struct side *side, bool is_server, const struct http_head *asked)
{
    side->h2 = is_server ? http2_server_new(world.loop, &side->io, NULL, asked, &ops, side)
                         : http2_client_new(world.loop, &side->io, 0, &ops, side);
    side->codec = http2_codec(side->h2);
    side->codec->tunnels = side->codec->connects = true;
}

static void begin(unsigned mode)
{
    bool is_client = mode & 1;
    static const struct http_head asked = {.is_request = true, /* by Upgrade */
                                           .version = 11,
                                           .method = STR_INIT("GET"),
                                           .path = STR_INIT("/"),
                                           .authority = STR_INIT("a"),
                                           .http2_settings = STR_INIT("AAMAAABkAAQAAP__")};
    struct err err;
    struct buf b;

    memset(&world, 0, sizeof(world));
    world.loop = loop_new(&err);
    world.piece = mode >> 3;
    task_init(&world.near.task, world.loop, on_notes);
    task_init(&world.far.task, world.loop, on_notes);
    task_init(&world.raw_task, world.loop, swallow);
    if (mode & 2) {
        io_pair(&world.near.io, &world.near.task, 0, &world.far.io, &world.far.task, 0);
        side_begin(&world.near, !is_client, NULL);
        side_begin(&world.far, is_client, NULL);
        return;
    }
    io_pair(&world.near.io, &world.near.task, 0, &world.raw, &world.raw_task, 0);
    side_begin(&world.near, !is_client, mode & 4 ? &asked : NULL);
    buf_init(&b, 1024);
    if (!is_client)
        buf_add(&b, H2_PREFACE);
    h2_frame(&b, H2_SETTINGS, 0, 0, STR_NONE);
    say(buf_str(&b));
    buf_done(&b);
}

static void side_end(struct side *side)
{
    check_side(side);
    for (size_t i = 0; i < side->count; i++) {
        if (side->streams[i])
            stream_release(side->streams[i]);
    }
    if (side->codec)
        codec_close(side->codec);
    task_forget(&side->task);
}

static void step(struct script *in)
{
    unsigned op = next(in);

    tidy(&world.near);
    tidy(&world.far);
    switch (op % 16) {
    case 0:
    case 1:
        turn(1 + (int)(op >> 4));
        break;
    case 2:
        loop_advance(world.loop, (int64_t)(op >> 4) * (op & 0x80 ? 20000 : 100));
        turn(2);
        break;
    case 3:
    case 4:
    case 5:
        act(&world.near, in);
        break;
    case 6:
        act(world.far.codec ? &world.far : &world.near, in);
        break;
    case 7: /* both at once */
        act(&world.near, in);
        act(&world.far, in);
        turn(3);
        break;
    default:
        hand(in, op % 16 - 8);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script in = {data, size};

    if (size == 0)
        return 0;
    begin(next(&in));
    for (unsigned i = 0; i < STEPS_MAX && in.n > 0; i++)
        step(&in);
    turn(20);
    if (world.raw.paired)
        io_shutdown(&world.raw);
    turn(5);
    loop_advance(world.loop, LIMIT_LINGER_MS);
    turn(10);
    must(!world.raw.paired || world.near.over); /* its peer has ended */
    side_end(&world.near);
    side_end(&world.far);
    if (world.raw.paired)
        io_close(&world.raw);
    task_forget(&world.raw_task);
    turn(4);
    must(loop_timers(world.loop) == 0);
    loop_free(world.loop);
    must(bytes_pool_live() == 0);
    return 0;
}
