#include "proxy/wire/stream.h"

#include <string.h>

#include "mesh/base/limits.h"
#include "mesh/base/mem.h"

void stream_own(struct stream *s, struct task *task, unsigned note_shift)
{
    unsigned waiting = s->noted;

    s->owner = task;
    s->note_shift = note_shift;
    s->noted = 0;
    if (task && waiting)
        task_note(task, waiting << note_shift);
}

void stream_note(struct stream *s, unsigned bits)
{
    if (s->owner)
        task_note(s->owner, bits << s->note_shift);
    else
        s->noted |= bits;
}

void stream_add_informational(struct stream *s, const struct http_head *h)
{
    struct informational **at = &s->informational, *i = ARENA_NEW(&s->arena, struct informational);

    *i = (struct informational){.head = *h};
    while (*at)
        at = &(*at)->next;
    *at = i;
    stream_note(s, STREAM_NOTE_HEAD);
}

const struct http_head *stream_informational(struct stream *s)
{
    struct informational *i = s->informational;

    if (!i)
        return NULL;
    s->informational = i->next;
    return &i->head;
}

void stream_init(struct stream *s, struct codec *c)
{
    memset(s, 0, offsetof(struct stream, first));
    s->codec = c;
    arena_init_with(&s->arena, s->first, sizeof(s->first));
    bytes_init(&s->in);
}

void stream_free(struct stream *s)
{
    bytes_done(&s->in);
    arena_done(&s->arena);
    mem_free(s);
}

/* ---- slow bodies ---- */

#define PACE_BYTES ((uint64_t)LIMIT_BODY_BYTES_PER_S * LIMIT_BODY_MS / 1000)

int64_t pace_due_ms(const struct pace *p)
{
    return p->since_ms + LIMIT_BODY_MS;
}

bool pace_keep(struct pace *p, const struct stream *s, int64_t now_ms)
{
    bool waits = s->in.n > 0 || (s->in_head.expect_continue && s->in_body_bytes == 0);

    if (now_ms < pace_due_ms(p))
        return true;
    if (!waits && s->in_body_bytes - p->bytes < PACE_BYTES)
        return false;
    *p = (struct pace){now_ms, s->in_body_bytes};
    return true;
}

/* ---- after the connection ---- */

static void dead_send_head(struct stream *s, const struct http_head *h, bool end)
{
    (void)s; /* nobody is there */
    (void)h;
    (void)end;
}

static void dead_send_data(struct stream *s, struct bytes *from, bool end)
{
    (void)s; /* nobody is there */
    (void)end;
    bytes_done(from);
}

static void dead_send_trailers(struct stream *s, const struct http_field *fields, size_t count)
{
    (void)s; /* nobody is there */
    (void)fields;
    (void)count;
}

static size_t dead_room(const struct stream *s)
{
    (void)s; /* whatever comes is dropped */
    return LIMIT_STREAM_HIGH;
}

static void dead_nothing(struct stream *s)
{
    (void)s; /* over already */
}

static const struct codec_ops dead_ops = {
    .send_head = dead_send_head,
    .send_data = dead_send_data,
    .send_trailers = dead_send_trailers,
    .room = dead_room,
    .consumed = dead_nothing,
    .reset = dead_nothing,
    .release = stream_free,
};

struct codec codec_dead = {.ops = &dead_ops};
