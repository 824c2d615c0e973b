/* security.istio.io PeerAuthentication: who must speak mutual TLS. Fields:
 * mesh/kinds/peer_authentication.c. */
#pragma once

#include "mesh/kinds/common.h"

enum peer_mtls_mode { PEER_MTLS_UNSET, PEER_MTLS_DISABLE, PEER_MTLS_PERMISSIVE, PEER_MTLS_STRICT };

struct mutual_tls {
    const struct node *node;
    enum peer_mtls_mode mode; /* UNSET inherits */
};

struct port_mtls {
    uint32_t port; /* of the workload, not of the service */
    struct mutual_tls value;
};

struct peer_authentication {
    const struct node *node;
    struct label_selector
        selector; /* no labels: the namespace, or the mesh in the root namespace */
    struct mutual_tls mtls;
    struct port_mtls *port_level; /* needs a selector */
    size_t port_level_count;
};

extern const struct schema peer_authentication_schema;
void peer_authentication_validate(const struct check *c, const void *spec);
