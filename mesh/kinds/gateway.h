/* networking.istio.io Gateway: the ports that edge proxies open. Fields: mesh/kinds/gateway.c. */
#pragma once

#include "mesh/kinds/tls_settings.h"

struct gateway_port {
    const struct node *node;
    uint32_t number;     /* 1..65535 */
    struct str protocol; /* upper case: "HTTP" */
    struct str name;     /* unique within the Gateway */
};

struct gateway_server {
    const struct node *node;
    struct gateway_port port;
    struct str bind;   /* an IP; empty: all of IPv4 and IPv6 */
    struct str *hosts; /* "[ns/]dnsName", at least one */
    size_t hosts_count;
    struct server_tls *tls; /* NULL: none */
    struct str name;
};

struct gateway {
    const struct node *node;
    struct gateway_server *servers; /* at least one */
    size_t servers_count;
    struct labels selector; /* empty: every gateway */
};

extern const struct schema gateway_schema;
void gateway_validate(const struct check *c, const void *spec);
