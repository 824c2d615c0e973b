/* core/v1 Service as far as it has a meaning outside a cluster: a name, its ports, its virtual
 * address and which workloads serve it. Fields: mesh/kinds/service.c. (struct service is the
 * model's.) */
#pragma once

#include "mesh/kinds/common.h"

enum service_type { SERVICE_CLUSTER_IP, SERVICE_HEADLESS };

enum service_transport { SERVICE_TCP, SERVICE_UDP };

struct service_document_port {
    const struct node *node;
    struct str name;                  /* unique; required when there are several */
    enum service_transport transport; /* built: TCP */
    uint32_t port;
    uint32_t target_port; /* decode fills in `port` when not given */
    struct str
        app_protocol; /* lower case as Kubernetes has it: "http", "tcp", ...; empty if not given */
    struct str
        protocol; /* decode fills in Istio's word, upper case, from appProtocol, else from the
                     port name's prefix ("http-web", "tcp"): "HTTP", "TCP", ...; empty: sniffed */
};

struct service_document {
    const struct node *node;
    struct service_document_port *ports; /* at least one */
    size_t ports_count;
    struct labels selector; /* none: only registrations of this name */
    struct str cluster_ip; /* an IP to use as the virtual address; empty: allocated. "None" makes it
                              headless */
    enum service_type type;
};

/* Who sees the service: namespaces by comma, as exportTo of other kinds. */
#define EXPORT_TO_ANNOTATION "networking.istio.io/exportTo"

extern const struct schema service_document_schema;
void service_document_validate(const struct check *c, const void *spec);
