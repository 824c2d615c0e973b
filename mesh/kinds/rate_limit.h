/* weft/v1 RateLimit, ours: how many requests a workload takes. Shaped in Istio's manner: a selector
 * or targets say for which workloads. Every workload counts for itself (a token bucket in its
 * agent); nothing is shared between hosts. Fields: mesh/kinds/rate_limit.c. */
#pragma once

#include "mesh/kinds/common.h"

/* What tells clients apart; none of them: one bucket for all. */
struct rate_limit_key {
    const struct node *node;
    bool source_ip, principal;
    struct str header;
};

enum rate_limit_headers { RATE_LIMIT_HEADERS_OFF, RATE_LIMIT_HEADERS_ON };

struct rate_limit_rule {
    const struct node *node;
    struct str name, route; /* route: name of a VirtualService's http rule; empty: every request */
    struct rate_limit_key *key;
    uint32_t requests; /* tokens per interval */
    int64_t interval_ns;
    uint32_t burst; /* bucket size; decode fills in `requests` when not given */
    uint32_t keys_max;
    uint32_t status;
    enum rate_limit_headers headers;
};

struct rate_limit {
    const struct node *node;
    struct policy_target target;
    struct rate_limit_rule *limits; /* every one that fits must have a token left */
    size_t limits_count;
};

extern const struct schema rate_limit_schema;
void rate_limit_validate(const struct check *c, const void *spec);
