/* networking.istio.io ProxyConfig: settings of the proxies of workloads. Fields:
 * mesh/kinds/proxy_config.c. */
#pragma once

#include "mesh/kinds/common.h"

struct proxy_config {
    const struct node *node;
    struct label_selector selector;
    bool has_concurrency;
    int32_t concurrency; /* worker threads; 0: one per core */
    struct labels environment;
};

extern const struct schema proxy_config_schema;
void proxy_config_validate(const struct check *c, const void *spec);
