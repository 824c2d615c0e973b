/* The routes of the virtual ranges to lo, by rtnetlink. They carry a tag (rtm_protocol 119), by
 * which the next agent knows them.
 *
 * Ownership: struct routes owns one netlink socket. Threads: the control thread; calls block for
 * a netlink request.
 */
#pragma once

#include "cmd/agent/capture.h"

struct routes;

struct routes *routes_open(struct err *err) MUST_USE;
void routes_close(struct routes *r);

/* Are there routes with our tag? */
bool routes_exist(struct routes *r);
/* *has_ipv6: the IPv6 range could be routed; if not, that is no error. */
int routes_add(struct routes *r, const struct capture_plan *p, bool *has_ipv6,
               struct err *err) MUST_USE;
/* Remove those with our tag that are not of the ranges; both with base.family 0: all. */
int routes_trim(struct routes *r, const struct cidr *range4, const struct cidr *range6,
                struct err *err);
