#include "mesh/kinds/service.h"

#include "mesh/kinds/check.h"

#define NOT_A_CLUSTER "it has a meaning in a Kubernetes cluster only; leave it out"

/* Rows of designated initialisers, which clang-format 14 cannot lay out (it even crashes). */
/* clang-format off */

static const struct field_value transport_values[] = {
    {"TCP", SERVICE_TCP, FIELD_BUILT, NULL, 0},
    {"UDP", SERVICE_UDP, FIELD_UNSUPPORTED,
     "the mesh carries TCP only; leave the port out, UDP passes by unchanged", 0},
    {"SCTP", 2, FIELD_UNSUPPORTED, "the mesh carries TCP only; leave the port out", 0},
    {.name = NULL},
};

static const struct field_value type_values[] = {
    {"ClusterIP", SERVICE_CLUSTER_IP, FIELD_BUILT, NULL, 0},
    {"Headless", SERVICE_HEADLESS, FIELD_BUILT, NULL, 0},
    {"NodePort", 2, FIELD_UNSUPPORTED, "there are no nodes to open a port on; use a Gateway", 0},
    {"LoadBalancer", 3, FIELD_UNSUPPORTED,
     "there is no cloud to ask for a load balancer; use a Gateway", 0},
    {"ExternalName", 4, FIELD_UNSUPPORTED, "use a ServiceEntry", 0},
    {.name = NULL},
};

static int check_cluster_ip(struct str s, struct err *err)
{
    return str_eq(s, STR("None")) ? 0 : common_check_ip(s, err);
}

/* "http-web" and "http" speak HTTP: the word before the first '-', if it is one of Istio's. */
static struct str protocol_of_name(struct str name)
{
    struct str head = name, word;
    const struct field_value *v = schema_value(common_protocols, name, true);

    if (v)
        return str_from(v->name);
    if (str_starts_nocase(name, STR("grpc-web")))
        return STR("GRPC-WEB");
    if (!str_cut(&head, '-', &word))
        return STR_NONE;
    v = schema_value(common_protocols, word, true);
    return v ? str_from(v->name) : STR_NONE;
}

static struct str protocol_of_app(struct str app)
{
    static const struct {
        struct str app;
        const char *protocol;
    } words[] = {
        {STR_INIT("kubernetes.io/h2c"), "HTTP2"},
        {STR_INIT("kubernetes.io/ws"), "HTTP"},
        {STR_INIT("kubernetes.io/wss"), "HTTPS"},
    };
    const struct field_value *v = schema_value(common_protocols, app, true);

    for (size_t i = 0; !v && i < COUNT(words); i++) {
        if (str_eq_nocase(app, words[i].app))
            return str_from(words[i].protocol);
    }
    return v ? str_from(v->name) : STR_NONE;
}

static void finish_port(void *message, struct arena *a)
{
    struct service_document_port *p = message;

    (void)a; /* nothing to allocate: words are constants */
    p->protocol = p->app_protocol.n ? protocol_of_app(p->app_protocol) : protocol_of_name(p->name);
}

static void finish_service(void *message, struct arena *a)
{
    struct service_document *s = message;

    (void)a; /* as above */
    if (str_eq(s->cluster_ip, STR("None"))) {
        s->cluster_ip = STR_NONE;
        s->type = SERVICE_HEADLESS;
    }
}

static const struct field port_fields[] = {
    {"name", FIELD_STRING, SCHEMA_AT(service_document_port, name), .check = common_check_label,
     .meaning = "Name of the port; its first word may say the protocol (\"http-web\")."},
    {"protocol", FIELD_ENUM, SCHEMA_AT(service_document_port, transport),
     .values = transport_values, .meaning = "TCP."},
    {"appProtocol", FIELD_STRING, SCHEMA_AT(service_document_port, app_protocol),
     .meaning = "What it speaks (http, tcp, ...); else the name says so, else the first bytes do."},
    {"port", FIELD_UINT32, SCHEMA_AT(service_document_port, port), SCHEMA_BOUNDS(1, 65535),
     .flags = FIELD_REQUIRED | FIELD_BOUNDED, .meaning = "Port that clients address."},
    {"targetPort", FIELD_UINT32, SCHEMA_AT(service_document_port, target_port),
     SCHEMA_BOUNDS(1, 65535), .default_offset = offsetof(struct service_document_port, port),
     .flags = FIELD_BOUNDED | FIELD_ZERO_IS_DEFAULT,
     .meaning =
         "Port of the workloads; `port` when not given. A name has no meaning outside a cluster."},
    {"nodePort", FIELD_ANY,
     SCHEMA_UNSUPPORTED("there are no nodes to open a port on; use a Gateway"),
     .meaning = "Port on every node."},
};
static const struct schema port_schema = {.name = "ServicePort",
                                          .size = sizeof(struct service_document_port),
                                          .fields = port_fields,
                                          .count = COUNT(port_fields),
                                          .finish = finish_port};

#define CLUSTER_ROW(text)                                                                          \
    {                                                                                              \
        text, FIELD_ANY, SCHEMA_UNSUPPORTED(NOT_A_CLUSTER), .meaning = "Of Kubernetes."            \
    }

static const struct field service_fields[] = {
    {"ports", FIELD_MESSAGES, SCHEMA_LIST(service_document, ports), .message = &port_schema,
     .flags = FIELD_REQUIRED, .meaning = "Its ports."},
    {"selector", FIELD_LABELS, SCHEMA_AT(service_document, selector),
     .meaning = "Labels of the workloads that serve it, beside those registered under its name."},
    {"clusterIP", FIELD_STRING, SCHEMA_AT(service_document, cluster_ip), .check = check_cluster_ip,
     .meaning = "Virtual address; allocated when not given. None makes it headless."},
    {"type", FIELD_ENUM, SCHEMA_AT(service_document, type), .values = type_values,
     .meaning = "Whether it has a virtual address."},
    CLUSTER_ROW("clusterIPs"),
    CLUSTER_ROW("externalIPs"),
    {"externalName", FIELD_ANY, SCHEMA_UNSUPPORTED("use a ServiceEntry"),
     .meaning = "Of Kubernetes."},
    CLUSTER_ROW("externalTrafficPolicy"),
    CLUSTER_ROW("internalTrafficPolicy"),
    CLUSTER_ROW("healthCheckNodePort"),
    CLUSTER_ROW("ipFamilies"),
    CLUSTER_ROW("ipFamilyPolicy"),
    CLUSTER_ROW("allocateLoadBalancerNodePorts"),
    CLUSTER_ROW("loadBalancerClass"),
    CLUSTER_ROW("loadBalancerIP"),
    CLUSTER_ROW("loadBalancerSourceRanges"),
    CLUSTER_ROW("publishNotReadyAddresses"),
    {"sessionAffinity", FIELD_ANY,
     SCHEMA_UNSUPPORTED("use trafficPolicy.loadBalancer.consistentHash of a DestinationRule"),
     .meaning = "Of Kubernetes."},
    CLUSTER_ROW("sessionAffinityConfig"),
    {"trafficDistribution", FIELD_ANY,
     SCHEMA_UNSUPPORTED("use trafficPolicy.loadBalancer.localityLbSetting of a DestinationRule"),
     .meaning = "Of Kubernetes."},
};
const struct schema service_document_schema = {.name = "Service",
                                               .size = sizeof(struct service_document),
                                               .fields = service_fields,
                                               .count = COUNT(service_fields),
                                               .finish = finish_service};

/* clang-format on */

/* ---- checks ---- */

static void check_service_protocol(const struct check *c, const struct service_document_port *p)
{
    const struct field_value *v = schema_value(common_protocols, p->protocol, false);
    const struct node *at = check_member(p->node, p->app_protocol.n ? "appProtocol" : "name");

    if (p->app_protocol.n && !p->protocol.n)
        WARN(c, at, "appProtocol \"%.*s\" is not known: the first bytes will tell",
             STR_ARG(p->app_protocol));
    if (v && v->status == FIELD_UNSUPPORTED)
        FAIL(c, at, FIND_UNSUPPORTED, "protocol %s of a port is not supported: %s", v->name,
             v->reason);
}

void service_document_validate(const struct check *c, const void *spec)
{
    const struct service_document *s = spec;
    for (size_t i = 0; i < s->ports_count; i++) {
        const struct service_document_port *p = &s->ports[i];

        check_service_protocol(c, p);
        if (s->ports_count > 1 && p->name.n == 0)
            FAIL(c, p->node, FIND_REQUIRED, "name is required when a Service has several ports");
        for (size_t j = 0; j < i; j++) {
            if (p->port && p->port == s->ports[j].port)
                FAIL(c, check_member(p->node, "port"), FIND_VALUE, "port %u is declared twice", p->port);
            if (p->name.n && str_eq(p->name, s->ports[j].name))
                FAIL(c, check_member(p->node, "name"), FIND_VALUE,
                     "the port name \"%.*s\" is declared twice", STR_ARG(p->name));
        }
    }
    if (s->type == SERVICE_HEADLESS && s->cluster_ip.n)
        FAIL(c, check_member(s->node, "clusterIP"), FIND_ONEOF, "a headless Service has no clusterIP");
}
