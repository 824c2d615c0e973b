/* Frames before nghttp2 sees them. It is fed one by one, so that all are counted, also those that it leaves aside (unknown
 * types, heads of dead streams), and that it is known when a head has begun and not ended. */
#include "proxy/wire/http2_parts.h"

#include <string.h>

#include "mesh/base/limits.h"

#define PREFACE_BYTES 24u
#define PREFACE_TYPE  0xffu /* of what comes before the frames; no frame that we act upon has it */

/* ---- buckets ---- */

/* What is not honest work costs us; so much at once, so much per second. */
static const struct bucket_limit {
    int burst, per_second;
} frame_limit = {LIMIT_H2_FRAMES, LIMIT_H2_FRAMES_PER_S},
  reset_limit = {LIMIT_H2_RESETS, LIMIT_H2_RESETS_PER_S};

bool http2_charge(struct http2 *c, struct bucket *b, int n)
{
    const struct bucket_limit *l = b == &c->resets ? &reset_limit : &frame_limit;
    int64_t now = http2_now_ms(c), refill = (now - b->at_ms) * l->per_second / 1000;

    if (refill > 0) {
        b->level = (int)MAX(0, b->level - MIN(refill, l->burst));
        b->at_ms = now;
    }
    b->level += n;
    if (b->level <= l->burst)
        return true;
    return http2_fail(c, NGHTTP2_ENHANCE_YOUR_CALM, "too many frames without use");
}

void http2_reward(struct bucket *b, int n)
{
    b->level = MAX(0, b->level - n);
}

/* ---- one frame ---- */

/* Ids only grow. What is below the newest was closed, which nghttp2 remembers, or left out (RFC 9113 5.1.1), which it does
 * not. */
static bool check_id(struct http2 *c, int32_t id)
{
    if (!c->codec.is_server || id % 2 == 0)
        return true; /* nghttp2 judges those */
    if (id > c->newest) {
        if (id > c->newest + 2) {
            c->skipped_from = c->newest ? c->newest + 2 : 1;
            c->skipped_to = id - 2;
        }
        c->newest = id;
        return true;
    }
    if (id >= c->skipped_from && id <= c->skipped_to)
        return http2_fail(c, NGHTTP2_PROTOCOL_ERROR, "stream ids must grow");
    return true;
}

/* nghttp2 would reset the streams that overflow, and forgets what their windows were. */
static void note_windows(struct http2 *c)
{
    int64_t initial = nghttp2_session_get_remote_settings(c->session, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE);

    c->widest = 0;
    for (const struct http2_stream *h = c->first; h; h = h->next) {
        if (h->id > 0)
            c->widest = MAX(c->widest, nghttp2_session_get_stream_remote_window_size(c->session, h->id) - initial);
    }
}

bool http2_check_windows(struct http2 *c, const nghttp2_settings *settings)
{
    for (size_t i = 0; i < settings->niv; i++) {
        if (settings->iv[i].settings_id == NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE &&
            settings->iv[i].value + c->widest > INT32_MAX)
            return http2_fail(c, NGHTTP2_FLOW_CONTROL_ERROR, "settings make a window overflow");
    }
    return true;
}

static bool begin_frame(struct http2 *c, const nghttp2_frame_hd *hd)
{
    switch (hd->type) {
    case NGHTTP2_HEADERS: /* one that is of use is excused (http2_in.c) */
        c->continuations = 0;
        c->head_ms = http2_now_ms(c);
        return check_id(c, hd->stream_id) && http2_charge(c, &c->frames, 1);
    case NGHTTP2_CONTINUATION:
        if (++c->continuations > LIMIT_H2_CONTINUATION)
            return http2_fail(c, NGHTTP2_ENHANCE_YOUR_CALM, "too many parts of a head");
        return true;
    case NGHTTP2_SETTINGS:
        note_windows(c);
        break;
    case NGHTTP2_DATA: /* what holds nothing but padding is charged when it is whole */
        if (hd->length > 0 || (hd->flags & NGHTTP2_FLAG_END_STREAM))
            return true;
        break;
    default:
        break;
    }
    return http2_charge(c, &c->frames, 1);
}

static void end_frame(struct http2 *c)
{
    const nghttp2_frame_hd *hd = &c->frame.hd;
    bool is_head = hd->type == NGHTTP2_HEADERS || hd->type == NGHTTP2_CONTINUATION;

    if (hd->type == PREFACE_TYPE || (is_head && !(hd->flags & NGHTTP2_FLAG_END_HEADERS)))
        return;
    c->head_ms = 0;
}

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool push(struct http2 *c, const void *p, size_t n)
{
    ssize_t rc = nghttp2_session_mem_recv(c->session, p, n);

    if (c->cut)
        return false;
    if (rc >= 0)
        return true;
    return http2_fail(c, NGHTTP2_PROTOCOL_ERROR,
                      rc == NGHTTP2_ERR_FLOODED ? "too many frames that want an answer"
                                                : "this is not HTTP/2");
}

/* The head goes on when it is whole: nghttp2 counts the calls in which it waits for that of a CONTINUATION. */
static bool feed_head(struct http2 *c, struct str front)
{
    struct http2_frame *f = &c->frame;
    size_t n = MIN(sizeof(f->head) - f->have, front.n);

    memcpy(f->head + f->have, front.p, n);
    f->have += (uint8_t)n;
    bytes_drop(&c->in, n);
    if (f->have < sizeof(f->head))
        return true;
    f->have = 0;
    f->left = be32(f->head) >> 8;
    f->hd = (nghttp2_frame_hd){.length = f->left,
                               .type = f->head[3],
                               .flags = f->head[4],
                               .stream_id = (int32_t)(be32(f->head + 5) & INT32_MAX)};
    return begin_frame(c, &f->hd) && push(c, f->head, sizeof(f->head));
}

static bool feed_payload(struct http2 *c, struct str front)
{
    size_t n = MIN(c->frame.left, front.n);

    c->frame.left -= n;
    if (!push(c, front.p, n))
        return false;
    bytes_drop(&c->in, n);
    return true;
}

void http2_expect_preface(struct http2 *c)
{
    c->frame.left = PREFACE_BYTES;
    c->frame.hd.type = PREFACE_TYPE;
    c->head_ms = http2_now_ms(c); /* until the first frame is whole */
}

bool http2_feed(struct http2 *c)
{
    while (c->in.n > 0 && !c->cut) {
        struct str front = bytes_front(&c->in);
        bool ok = c->frame.left > 0 ? feed_payload(c, front) : feed_head(c, front);

        if (ok && c->frame.left == 0 && c->frame.have == 0)
            end_frame(c);
    }
    bytes_done(&c->in); /* an empty tail would hold a slice */
    if (c->head_ms > 0)
        http2_wake_by(c, c->head_ms + LIMIT_HEAD_MS);
    return !c->cut;
}
