/* networking.istio.io DestinationRule: how clients treat a service, and its subsets. Fields:
 * mesh/kinds/destination_rule.c; the traffic policy itself: mesh/kinds/common.h. */
#pragma once

#include "mesh/kinds/common.h"

struct subset {
    const struct node *node;
    struct str name; /* unique, a DNS label */
    struct labels labels;
    struct traffic_policy *traffic_policy; /* NULL: the rule's; a block set here replaces the rule's
                                              block */
};

struct destination_rule {
    const struct node *node;
    struct str host;
    struct traffic_policy *traffic_policy; /* NULL if not given */
    struct subset *subsets;
    size_t subsets_count;
    struct str *export_to; /* none: ["*"] */
    size_t export_to_count;
    struct label_selector *workload_selector; /* client workloads; NULL: all */
};

extern const struct schema destination_rule_schema;
void destination_rule_validate(const struct check *c, const void *spec);
