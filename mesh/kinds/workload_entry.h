/* networking.istio.io WorkloadEntry: one place where a service runs; also an endpoint inside a
 * ServiceEntry. Fields: mesh/kinds/workload_entry.c. */
#pragma once

#include "mesh/kinds/common.h"

struct workload_entry {
    const struct node *node;
    struct str address;         /* an IP; names and unix sockets are not yet */
    struct named_number *ports; /* service port name -> real port; beats targetPort */
    size_t ports_count;
    struct labels labels;
    struct str network; /* not yet */
    struct str locality;
    uint32_t weight; /* default 1; 0 is read as 1 */
    struct str service_account;
};

extern const struct schema workload_entry_schema, workload_template_schema;
/* What also holds for the template of a group, which has no address of its own. */
void workload_entry_check_socket(const struct check *c, const struct workload_entry *w);
void workload_entry_validate(const struct check *c, const void *spec);
