/* HTTP/1 from bytes to streams. The first byte chooses: bit 0 response or request, bit 1 the pure
 * parsers only, bits 2.. the size of the pieces in which the rest arrives (0: at once). What a
 * codec accepts is drained, answered and checked for what must hold.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/base/limits.h"
#include "mesh/base/loop.h"
#include "mesh/base/mem.h"
#include "proxy/wire/http1.h"

static struct {
    struct loop *loop;
    struct http1 codec;
    struct io far;
    struct task near_task, far_task;
    struct stream *s;
    bool over;
    size_t body;
} world;

static void must(bool fact)
{
    if (!fact)
        abort();
}

static void check_head(const struct http_head *h)
{
    must(h->count <= LIMIT_HEADERS);
    must(h->version == 10 || h->version == 11);
    for (size_t i = 0; i < h->count; i++) {
        const struct http_field *f = &h->fields[i];

        must(http_is_token(f->name));
        must(!str_has(f->value, '\r') && !str_has(f->value, '\n') && !str_has(f->value, '\0'));
        must(!str_eq(f->name, STR("transfer-encoding")) && !str_eq(f->name, STR("content-length")));
        must(!str_eq(f->name, STR("connection")) &&
             !(h->is_request && str_eq(f->name, STR("host"))));
    }
    if (h->is_request) {
        must(http_is_token(h->method) && h->path.n > 0);
        must(h->path.p[0] == '/' || str_eq(h->path, STR("*")));
        must(!str_has(h->path, ' ') && !str_has(h->path, '#') && !str_has(h->path, '\r'));
        must(!str_has(h->authority, '@') && !str_has(h->authority, '/') &&
             !str_has(h->authority, ' '));
        must(h->version == 10 || h->authority.n > 0);
    }
}

static void parse(const char *p, size_t n, bool is_request)
{
    struct http_field *fields = NULL;
    struct http_head h;
    struct arena a;
    unsigned status;
    size_t count = 0;

    arena_init(&a);
    if (!http1_parse_head(p, n, is_request, &a, &h, &status))
        check_head(&h);
    if (!http1_parse_trailers(p, n, &a, &fields, &count)) {
        for (size_t i = 0; i < count; i++)
            must(!str_eq(fields[i].name, STR("content-length")) &&
                 !str_eq(fields[i].name, STR("host")));
    }
    arena_done(&a);
}

static void drain(struct task *t, unsigned notes)
{
    struct http_head h;

    (void)t, (void)notes; /* look at everything */
    if (!world.s)
        return;
    if (world.s->in_has_head)
        check_head(&world.s->in_head);
    world.body += world.s->in.n;
    bytes_done(&world.s->in);
    stream_consumed(world.s);
    if (world.s->reset == STREAM_RESET_NONE && !world.s->in_ended)
        return;
    if (world.s->in_ended)
        must(world.s->in_head.framing != HTTP_BODY_LENGTH ||
             world.s->in_body_bytes == world.s->in_head.content_length ||
             world.s->in_body_bytes == 0);
    if (world.codec.codec.is_server && world.s->in_ended) {
        http_head_init(&h, &world.s->arena, false);
        h.status = 204;
        stream_send_head(world.s, &h, true);
    }
    stream_release(world.s);
    world.s = NULL;
}

static void swallow(struct task *t, unsigned notes)
{
    struct bytes in;
    size_t n;

    (void)t, (void)notes; /* what the codec says does not matter here */
    bytes_init(&in);
    while (io_read(&world.far, &in, 65536, &n) == IO_OK)
        ;
    bytes_done(&in);
}

static void on_stream(void *owner, struct stream *s)
{
    (void)owner; /* one world */
    must(world.s == NULL);
    world.s = s;
    stream_own(s, &world.near_task, 0);
}

static void on_idle(void *owner)
{
    (void)owner; /* the next request may come */
}

static void on_end(void *owner)
{
    (void)owner; /* one world */
    must(!world.over);
    world.over = true;
}

static const struct codec_owner_ops ops = {
    .on_stream = on_stream, .on_idle = on_idle, .on_end = on_end};

static void ask(void)
{
    struct http_head h;

    world.s = http1_open_stream(&world.codec, &world.near_task, 0);
    http_head_init(&h, &world.s->arena, true);
    h.method = STR("GET");
    h.path = STR("/");
    h.authority = STR("a");
    stream_send_head(world.s, &h, true);
}

static void live(const char *p, size_t n, bool is_request, size_t piece)
{
    struct err err;
    struct io near;

    memset(&world, 0, sizeof(world));
    world.loop = loop_new(&err);
    task_init(&world.near_task, world.loop, drain);
    task_init(&world.far_task, world.loop, swallow);
    io_pair(&near, &world.near_task, 0, &world.far, &world.far_task, 0);
    if (is_request) {
        http1_server_init(&world.codec, world.loop, &near, NULL, &ops, NULL);
    } else {
        http1_client_init(&world.codec, world.loop, &near, &ops, NULL);
        ask();
    }
    piece = piece ? piece : n;
    for (size_t at = 0; at < n; at += piece) {
        io_write_str(&world.far, (struct str){p + at, MIN(piece, n - at)});
        loop_turn(world.loop, 0);
        loop_turn(world.loop, 0);
    }
    io_shutdown(&world.far);
    for (int i = 0; i < 20; i++)
        loop_turn(world.loop, 0);
    loop_advance(world.loop, LIMIT_HEAD_MS + LIMIT_LINGER_MS);
    for (int i = 0; i < 10; i++)
        loop_turn(world.loop, 0);
    must(world.body <= n);
    if (world.s)
        stream_release(world.s);
    http1_close(&world.codec);
    io_close(&world.far);
    task_forget(&world.near_task);
    task_forget(&world.far_task);
    for (int i = 0; i < 3; i++)
        loop_turn(world.loop, 0);
    loop_free(world.loop);
    must(bytes_pool_live() == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *p = (const char *)data;

    if (size == 0)
        return 0;
    if (data[0] & 2)
        parse(p + 1, size - 1, !(data[0] & 1));
    else
        live(p + 1, size - 1, !(data[0] & 1), data[0] >> 2);
    return 0;
}
