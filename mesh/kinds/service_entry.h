/* networking.istio.io ServiceEntry: a service the mesh did not register itself. Fields:
 * mesh/kinds/service_entry.c. */
#pragma once

#include "mesh/kinds/common.h"
#include "mesh/kinds/workload_entry.h"

enum service_location { LOCATION_MESH_EXTERNAL, LOCATION_MESH_INTERNAL };

enum service_resolution {
    RESOLUTION_NONE,
    RESOLUTION_STATIC,
    RESOLUTION_DNS,
    RESOLUTION_DNS_ROUND_ROBIN,
    RESOLUTION_DYNAMIC_DNS
};

struct service_entry_port {
    const struct node *node;
    uint32_t number;      /* unique */
    struct str protocol;  /* upper case; empty: sniffed */
    struct str name;      /* unique */
    uint32_t target_port; /* decode fills in `number` when not given */
};

struct service_entry {
    const struct node *node;
    struct str *hosts; /* at least one */
    size_t hosts_count;
    struct str *addresses; /* IPs or CIDRs */
    size_t addresses_count;
    struct service_entry_port *ports;
    size_t ports_count;
    enum service_location location;
    enum service_resolution resolution; /* built: NONE, STATIC */
    struct workload_entry *endpoints;
    size_t endpoints_count;
    struct label_selector
        *workload_selector; /* WorkloadEntries of the namespace; exclusive with endpoints */
    struct str *export_to;  /* none: ["*"]; "~" is nobody */
    size_t export_to_count;
    struct str *subject_alt_names;
    size_t subject_alt_names_count;
};

extern const struct schema service_entry_schema;
void service_entry_validate(const struct check *c, const void *spec);
