#include "cmd/frame.h"

#include "mesh/base/limits.h"
#include "mesh/sync.h"
#include "proxy/wire/io.h"

int frame_next(struct bytes *in, struct buf *body)
{
    char head[SYNC_HEAD_BYTES];
    size_t left;

    if (bytes_copy_out(in, 0, head, sizeof(head)) < sizeof(head))
        return 0;
    left = sync_frame_size(head);
    if (left > LIMIT_SYNC_FRAME_BYTES)
        return -1;
    if (in->n - sizeof(head) < left)
        return 0;
    buf_clear(body);
    bytes_drop(in, sizeof(head));
    while (left) { /* in pieces: frames may be larger than a slice */
        struct str front = str_sub(bytes_front(in), 0, left);

        buf_add(body, front);
        left -= front.n;
        bytes_drop(in, front.n);
    }
    return 1;
}

bool frame_send(struct io *io, const struct buf *body)
{
    struct buf frame;

    if (body->failed || body->n > LIMIT_SYNC_FRAME_BYTES)
        return false;
    buf_init(&frame, body->n + SYNC_HEAD_BYTES);
    sync_frame(&frame, buf_str(body));
    (void)io_write_str(io, buf_str(&frame)); /* as the header says */
    buf_done(&frame);
    return true;
}
