/* Moments in a form that somebody wrote: text with conversions of strftime, in UTC, and "%3f" for so many digits of the
 * second's fraction ("%f": 9).
 *
 * Known:   %Y %m %d %H %M %S %s %F %T %z %b %a %f %%.
 * Threads: pure.
 */
#pragma once

#include "mesh/base/buf.h"

bool time_form_check(struct str form); /* is all of it known? */
void time_form_put(struct buf *b, int64_t wall_ms, struct str form); /* empty: as 2024-01-31T12:00:00.000Z */
