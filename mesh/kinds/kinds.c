#include "mesh/kinds/kinds.h"

#include "mesh/kinds/destination_rule.h"
#include "mesh/kinds/gateway.h"
#include "mesh/kinds/peer_authentication.h"
#include "mesh/kinds/service.h"
#include "mesh/kinds/service_entry.h"
#include "mesh/kinds/virtual_service.h"
#include "mesh/kinds/workload_entry.h"

#define NETWORKING                                                                                 \
    "networking.istio.io",                                                                         \
    {                                                                                              \
        "v1", "v1beta1", "v1alpha3"                                                                \
    }
#define SECURITY                                                                                   \
    "security.istio.io",                                                                           \
    {                                                                                              \
        "v1", "v1beta1"                                                                            \
    }
#define CORE                                                                                       \
    "",                                                                                            \
    {                                                                                              \
        "v1"                                                                                       \
    }

/* Rows of designated initialisers, which clang-format 14 cannot lay out (it even crashes). */
/* clang-format off */

static const struct kind kinds[KIND_COUNT] = {
    {KIND_GATEWAY, "Gateway", "gateway", "gateways", {"gw"}, NETWORKING, true, &gateway_schema},
    {KIND_VIRTUAL_SERVICE,
     "VirtualService",
     "virtualservice",
     "virtualservices",
     {"vs"},
     NETWORKING,
     true,
     &virtual_service_schema},
    {KIND_DESTINATION_RULE,
     "DestinationRule",
     "destinationrule",
     "destinationrules",
     {"dr"},
     NETWORKING,
     true,
     &destination_rule_schema},
    {KIND_SERVICE_ENTRY,
     "ServiceEntry",
     "serviceentry",
     "serviceentries",
     {"se"},
     NETWORKING,
     true,
     &service_entry_schema},
    {KIND_WORKLOAD_ENTRY,
     "WorkloadEntry",
     "workloadentry",
     "workloadentries",
     {"we"},
     NETWORKING,
     true,
     &workload_entry_schema},
    {KIND_PEER_AUTHENTICATION,
     "PeerAuthentication",
     "peerauthentication",
     "peerauthentications",
     {"pa"},
     SECURITY,
     true,
     &peer_authentication_schema},
    {KIND_SERVICE, "Service", "service", "services", {"svc"}, CORE, true, &service_document_schema},
    {KIND_NAMESPACE, "Namespace", "namespace", "namespaces", {"ns"}, CORE, false, NULL},
    {KIND_SERVICE_ACCOUNT,
     "ServiceAccount",
     "serviceaccount",
     "serviceaccounts",
     {"sa"},
     CORE,
     true,
     NULL},
};

const struct kind *kind_get(enum kind_id id)
{
    return &kinds[id];
}

const struct kind *kind_at(size_t i)
{
    return i < COUNT(kinds) ? &kinds[i] : NULL;
}

const struct kind *kind_find(struct str name)
{
    for (size_t i = 0; i < COUNT(kinds); i++) {
        if (str_eq(str_from(kinds[i].name), name))
            return &kinds[i];
    }
    return NULL;
}

static bool is_called(const struct kind *k, struct str name)
{
    for (size_t i = 0; i < COUNT(k->shorts) && k->shorts[i]; i++) {
        if (str_eq_nocase(str_from(k->shorts[i]), name))
            return true;
    }
    return str_eq_nocase(str_from(k->singular), name) || str_eq_nocase(str_from(k->plural), name);
}

const struct kind *kind_find_any(struct str name)
{
    for (size_t i = 0; i < COUNT(kinds); i++) {
        if (is_called(&kinds[i], name))
            return &kinds[i];
    }
    return NULL;
}

#define NO_CLUSTER "weft is not a cluster: it runs beside programs that you start yourself"

enum kind_status kind_refused(struct str name, const char **why)
{
    static const struct {
        const char *name;
        enum kind_status status;
        const char *why;
    } refused[] = {
        {"Sidecar", KIND_NOT_YET, NULL},
        {"RequestAuthentication", KIND_NOT_YET, NULL},
        {"AuthorizationPolicy", KIND_NOT_YET, NULL},
        {"Telemetry", KIND_NOT_YET, NULL},
        {"WasmPlugin", KIND_NOT_YET, NULL},
        {"TrafficExtension", KIND_NOT_YET, NULL},
        {"ProxyConfig", KIND_NOT_YET, NULL},
        {"WorkloadGroup", KIND_NOT_YET, NULL},
        {"MeshConfig", KIND_NOT_YET, NULL},
        {"RateLimit", KIND_NOT_YET, NULL},
        {"EnvoyFilter", KIND_CLUSTER_ONLY,
         "it edits the configuration of Envoy, which weft does not use; say what you need with the "
         "other kinds"},
        {"Secret", KIND_CLUSTER_ONLY, NO_CLUSTER "; keep secrets out of documents"},
        {"ConfigMap", KIND_CLUSTER_ONLY, NO_CLUSTER "; files on the hosts do this"},
        {"Ingress", KIND_CLUSTER_ONLY, NO_CLUSTER "; use a Gateway and a VirtualService"},
        {"HTTPRoute", KIND_CLUSTER_ONLY,
         "the Kubernetes Gateway API is not read; use a Gateway and a VirtualService"},
        {"TCPRoute", KIND_CLUSTER_ONLY,
         "the Kubernetes Gateway API is not read; use a Gateway and a VirtualService"},
        {"TLSRoute", KIND_CLUSTER_ONLY,
         "the Kubernetes Gateway API is not read; use a Gateway and a VirtualService"},
        {"GRPCRoute", KIND_CLUSTER_ONLY,
         "the Kubernetes Gateway API is not read; use a Gateway and a VirtualService"},
        {"ReferenceGrant", KIND_CLUSTER_ONLY,
         "the Kubernetes Gateway API is not read; leave it out"},
        {"GatewayClass", KIND_CLUSTER_ONLY,
         "the Kubernetes Gateway API is not read; use a Gateway"},
        {"Endpoints", KIND_CLUSTER_ONLY, NO_CLUSTER "; use WorkloadEntry documents"},
        {"EndpointSlice", KIND_CLUSTER_ONLY, NO_CLUSTER "; use WorkloadEntry documents"},
        {"Deployment", KIND_CLUSTER_ONLY, NO_CLUSTER},
        {"Pod", KIND_CLUSTER_ONLY, NO_CLUSTER},
        {"ReplicaSet", KIND_CLUSTER_ONLY, NO_CLUSTER},
        {"StatefulSet", KIND_CLUSTER_ONLY, NO_CLUSTER},
        {"DaemonSet", KIND_CLUSTER_ONLY, NO_CLUSTER},
        {"Job", KIND_CLUSTER_ONLY, NO_CLUSTER},
        {"CronJob", KIND_CLUSTER_ONLY, NO_CLUSTER},
        {"HorizontalPodAutoscaler", KIND_CLUSTER_ONLY, NO_CLUSTER},
        {"PodDisruptionBudget", KIND_CLUSTER_ONLY, NO_CLUSTER},
        {"NetworkPolicy", KIND_CLUSTER_ONLY, NO_CLUSTER},
        {"PersistentVolume", KIND_CLUSTER_ONLY, NO_CLUSTER},
        {"PersistentVolumeClaim", KIND_CLUSTER_ONLY, NO_CLUSTER},
        {"Role", KIND_CLUSTER_ONLY, NO_CLUSTER},
        {"RoleBinding", KIND_CLUSTER_ONLY, NO_CLUSTER},
        {"ClusterRole", KIND_CLUSTER_ONLY, NO_CLUSTER},
        {"ClusterRoleBinding", KIND_CLUSTER_ONLY, NO_CLUSTER},
        {"CustomResourceDefinition", KIND_CLUSTER_ONLY, NO_CLUSTER},
        {"MutatingWebhookConfiguration", KIND_CLUSTER_ONLY, NO_CLUSTER},
        {"ValidatingWebhookConfiguration", KIND_CLUSTER_ONLY, NO_CLUSTER},
        {"IstioOperator", KIND_CLUSTER_ONLY, NO_CLUSTER "; settings are in /etc/weft"},
    };

    for (size_t i = 0; i < COUNT(refused); i++) {
        if (str_eq(str_from(refused[i].name), name)) {
            *why = refused[i].why;
            return refused[i].status;
        }
    }
    *why = NULL;
    return KIND_UNKNOWN;
}
