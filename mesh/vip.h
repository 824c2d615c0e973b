/* Virtual addresses: where a name's own ones lie. Pure: who has which is the caller's to remember.
 *
 * The ranges are CAPTURE_RANGE4 and CAPTURE_RANGE6 of cmd/agent/capture.h: 240.240.0.0/16 and a /64 of 2001:2::/48. */
#pragma once

#include "mesh/base/addr.h"

#define VIP_COUNT 65534u /* of IPv4; no more names than that have one */

/* The nth place to try for a service key, from 0 to VIP_COUNT - 1: by hash first, then the next ones. */
void vip_candidate(struct str key, uint64_t nth, struct addr *v4, struct addr *v6);
