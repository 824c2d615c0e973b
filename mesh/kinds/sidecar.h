/* networking.istio.io Sidecar: what an agent takes in for its workloads, and which services it sees.
 * Fields: mesh/kinds/sidecar.c. */
#pragma once

#include "mesh/kinds/tls_settings.h"

/* DEFAULT and IPTABLES: by redirect. NONE: callers address the listener themselves. */
enum sidecar_capture { SIDECAR_CAPTURE_DEFAULT, SIDECAR_CAPTURE_IPTABLES, SIDECAR_CAPTURE_NONE };

struct sidecar_port {
    const struct node *node;
    uint32_t number; /* 0: a unix socket */
    struct str protocol, name;
};

struct sidecar_ingress {
    const struct node *node;
    struct sidecar_port *port;
    struct str bind;
    enum sidecar_capture capture;
    struct str default_endpoint; /* empty: the same port at the workload's address */
    struct server_tls *tls;
    struct connection_pool *connection_pool;
};

struct sidecar_egress {
    const struct node *node;
    struct sidecar_port *port; /* NULL: every port */
    struct str bind;
    enum sidecar_capture capture;
    struct str *hosts; /* "ns/dnsName", "~ns/dnsName" takes away */
    size_t hosts_count;
};

enum outbound_mode { OUTBOUND_REGISTRY_ONLY, OUTBOUND_ALLOW_ANY };

struct outbound_policy {
    const struct node *node;
    enum outbound_mode mode; /* REGISTRY_ONLY when the block is given without it */
    struct destination *egress_proxy;
};

struct sidecar {
    const struct node *node;
    struct label_selector *workload_selector;
    struct sidecar_ingress *ingress;
    size_t ingress_count;
    struct sidecar_egress *egress;
    size_t egress_count;
    struct connection_pool *inbound_connection_pool;
    struct outbound_policy *outbound_policy;
};

extern const struct schema sidecar_schema;
void sidecar_validate(const struct check *c, const void *spec);
