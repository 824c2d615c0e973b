/* When a leaf begins, when it is renewed, and when a failed renewal is tried again.
 *
 * A leaf is backdated, because clocks of hosts run apart; that part of it is no life. So renewal
 * counts from the issue, and the certificate alone tells when that was, after a restart too: the
 * backdating is LIFETIME_BACKDATE_MS, or the life itself where that is shorter (clocks then may be
 * late by as much as early).
 *
 * Threads: pure. Units: *_ms are milliseconds; moments since 1970, X.509 cuts them to seconds.
 */
#pragma once

#include "mesh/base/base.h"

#define LIFETIME_BACKDATE_MS  (10ll * 60 * 1000)
#define LIFETIME_SHARE        6 /* renewed after a sixth: five survive a server that is away */
#define LIFETIME_RETRY_MIN_MS 1000ll
#define LIFETIME_RETRY_MAX_MS 300000ll

/* How long before its issue a leaf begins that lives so long from it. */
int64_t lifetime_backdate_ms(int64_t life_ms);

int64_t lifetime_issued_ms(int64_t not_before_ms, int64_t not_after_ms);
int64_t lifetime_renew_ms(int64_t not_before_ms, int64_t not_after_ms);

/* The longest pause between two tries, and the shortest between two renewals, whatever the clock
 * says: half the time from issue to renewal, within the bounds above. */
int64_t lifetime_pause_ms(int64_t not_before_ms, int64_t not_after_ms);

/* Twice the last pause (0: there was none), at most `longest_ms`. */
int64_t lifetime_retry_ms(int64_t last_ms, int64_t longest_ms);
