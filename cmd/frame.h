/* The frames of the agent stream, off and onto a connection: what both ends share.
 *
 * Ownership: borrows everything.
 * Limits:    LIMIT_SYNC_FRAME_BYTES.
 */
#pragma once

#include "mesh/base/buf.h"

struct bytes;
struct io;

/* Cut the frame at the front of `in` into `body`, which it replaces: 1; 0 if more has to come;
 * -1 if it is too long. */
int frame_next(struct bytes *in, struct buf *body);
/* False, and nothing sent, if the message did not fit its bound. A dead io is seen by the next
 * read. */
bool frame_send(struct io *io, const struct buf *body);
