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

/* Two entries of one namespace and host make one service only if they agree on resolution, labels,
 * selector and exportTo (fields.md 4.6). */
bool service_entries_agree(const struct object *x, const struct object *y);

/* May the entry add ports and endpoints to a service that is registered, or has a Service document?
 * It must know where its endpoints are. */
bool service_entry_adds(const struct service_entry *e);

extern const struct schema service_entry_schema;
void service_entry_validate(const struct check *c, const void *spec);
