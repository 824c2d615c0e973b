#include "mesh/kinds/kinds.h"

#include "mesh/kinds/authorization_policy.h"
#include "mesh/kinds/credential.h"
#include "mesh/kinds/destination_rule.h"
#include "mesh/kinds/gateway.h"
#include "mesh/kinds/mesh_config.h"
#include "mesh/kinds/peer_authentication.h"
#include "mesh/kinds/proxy_config.h"
#include "mesh/kinds/rate_limit.h"
#include "mesh/kinds/request_authentication.h"
#include "mesh/kinds/service.h"
#include "mesh/kinds/service_entry.h"
#include "mesh/kinds/sidecar.h"
#include "mesh/kinds/telemetry.h"
#include "mesh/kinds/virtual_service.h"
#include "mesh/kinds/wasm.h"
#include "mesh/kinds/workload_entry.h"
#include "mesh/kinds/workload_group.h"

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
#define TELEMETRY                                                                                  \
    "telemetry.istio.io",                                                                          \
    {                                                                                              \
        "v1", "v1alpha1"                                                                           \
    }
#define EXTENSIONS                                                                                 \
    "extensions.istio.io",                                                                         \
    {                                                                                              \
        "v1alpha1"                                                                                 \
    }
#define PROXY_CONFIG                                                                               \
    "networking.istio.io",                                                                         \
    {                                                                                              \
        "v1beta1"                                                                                  \
    }
#define MESH                                                                                       \
    "mesh.istio.io",                                                                               \
    {                                                                                              \
        "v1alpha1"                                                                                 \
    }
/* Kinds of our own. */
#define WEFT                                                                                       \
    "weft",                                                                                        \
    {                                                                                              \
        "v1"                                                                                       \
    }
#define CORE                                                                                       \
    "",                                                                                            \
    {                                                                                              \
        "v1"                                                                                       \
    }

/* Rows of designated initialisers, which clang-format 14 cannot lay out (it even crashes). */
/* clang-format off */

static const struct kind kinds[KIND_COUNT] = {
    [KIND_GATEWAY] = {KIND_GATEWAY, "Gateway", "gateway", "gateways", {"gw"}, NETWORKING, true, &gateway_schema, FIELD_BUILT,
        gateway_validate,
        "The ports that edge proxies open, and the hosts served there."},
    [KIND_VIRTUAL_SERVICE] = {KIND_VIRTUAL_SERVICE, "VirtualService", "virtualservice", "virtualservices", {"vs"}, NETWORKING, true, &virtual_service_schema, FIELD_BUILT,
        virtual_service_validate,
        "Rules that send requests and connections for hosts to services."},
    [KIND_DESTINATION_RULE] = {KIND_DESTINATION_RULE, "DestinationRule", "destinationrule", "destinationrules", {"dr"}, NETWORKING, true, &destination_rule_schema, FIELD_BUILT,
        destination_rule_validate,
        "How clients treat a service, and the named subsets of its endpoints."},
    [KIND_SERVICE_ENTRY] = {KIND_SERVICE_ENTRY, "ServiceEntry", "serviceentry", "serviceentries", {"se"}, NETWORKING, true, &service_entry_schema, FIELD_BUILT,
        service_entry_validate,
        "A service that no host registered: an outside one, or one of static endpoints."},
    [KIND_WORKLOAD_ENTRY] = {KIND_WORKLOAD_ENTRY, "WorkloadEntry", "workloadentry", "workloadentries", {"we"}, NETWORKING, true, &workload_entry_schema, FIELD_BUILT,
        workload_entry_validate,
        "One place where a service runs, on a host without an agent."},
    [KIND_PEER_AUTHENTICATION] = {KIND_PEER_AUTHENTICATION, "PeerAuthentication", "peerauthentication", "peerauthentications", {"pa"}, SECURITY, true, &peer_authentication_schema, FIELD_BUILT,
        peer_authentication_validate,
        "Which workloads insist on mutual TLS."},
    [KIND_SERVICE] = {KIND_SERVICE, "Service", "service", "services", {"svc"}, CORE, true, &service_document_schema, FIELD_BUILT,
        service_document_validate,
        "A name, its ports and which workloads serve it."},
    [KIND_WORKLOAD_GROUP] = {KIND_WORKLOAD_GROUP, "WorkloadGroup", "workloadgroup", "workloadgroups", {"wg"}, NETWORKING, true, &workload_group_schema, FIELD_NOT_YET,
        workload_group_validate,
        "A template for the entries of workloads that register, and how their health is checked."},
    [KIND_SIDECAR] = {KIND_SIDECAR, "Sidecar", "sidecar", "sidecars", {NULL}, NETWORKING, true, &sidecar_schema, FIELD_BUILT,
        sidecar_validate,
        "What an agent takes in for its workloads, and which services it sees."},
    [KIND_REQUEST_AUTHENTICATION] = {KIND_REQUEST_AUTHENTICATION, "RequestAuthentication", "requestauthentication", "requestauthentications", {"ra"}, SECURITY, true, &request_authentication_schema, FIELD_NOT_YET,
        request_authentication_validate,
        "Which tokens (JWT) of requests are believed."},
    [KIND_AUTHORIZATION_POLICY] = {KIND_AUTHORIZATION_POLICY, "AuthorizationPolicy", "authorizationpolicy", "authorizationpolicies", {"ap", "authz"}, SECURITY, true, &authorization_policy_schema, FIELD_NOT_YET,
        authorization_policy_validate,
        "Who may do what to which workloads."},
    [KIND_TELEMETRY] = {KIND_TELEMETRY, "Telemetry", "telemetry", "telemetries", {NULL}, TELEMETRY, true, &telemetry_schema, FIELD_NOT_YET,
        telemetry_validate,
        "Traces, metrics and access logs of workloads."},
    [KIND_PROXY_CONFIG] = {KIND_PROXY_CONFIG, "ProxyConfig", "proxyconfig", "proxyconfigs", {NULL}, PROXY_CONFIG, true, &proxy_config_schema, FIELD_NOT_YET,
        proxy_config_validate,
        "Settings of the proxies of workloads."},
    [KIND_WASM_PLUGIN] = {KIND_WASM_PLUGIN, "WasmPlugin", "wasmplugin", "wasmplugins", {NULL}, EXTENSIONS, true, &wasm_plugin_schema, FIELD_NOT_YET,
        wasm_plugin_validate,
        "A WebAssembly filter on the way of requests."},
    [KIND_TRAFFIC_EXTENSION] = {KIND_TRAFFIC_EXTENSION, "TrafficExtension", "trafficextension", "trafficextensions", {NULL}, EXTENSIONS, true, &traffic_extension_schema, FIELD_NOT_YET,
        traffic_extension_validate,
        "A WebAssembly or Lua filter on the way of requests."},
    [KIND_MESH_CONFIG] = {KIND_MESH_CONFIG, "MeshConfig", "meshconfig", "meshconfigs", {NULL}, MESH, true, &mesh_config_schema, FIELD_BUILT,
        mesh_config_validate,
        "Settings of the whole mesh; one document, named default, in the root namespace."},
    [KIND_CREDENTIAL] = {KIND_CREDENTIAL, "Credential", "credential", "credentials", {"cred"}, WEFT, true, &credential_schema, FIELD_BUILT,
        credential_validate,
        "A certificate with its key, or authorities, by the name that credentialName uses."},
    [KIND_RATE_LIMIT] = {KIND_RATE_LIMIT, "RateLimit", "ratelimit", "ratelimits", {"rl"}, WEFT, true, &rate_limit_schema, FIELD_BUILT,
        rate_limit_validate,
        "How many requests a workload takes, in all, for a route or from each client."},
    [KIND_NAMESPACE] = {KIND_NAMESPACE, "Namespace", "namespace", "namespaces", {"ns"}, CORE, false, NULL, FIELD_BUILT,
        NULL,
        "A namespace; it exists whether or not there is a document."},
    [KIND_SERVICE_ACCOUNT] = {KIND_SERVICE_ACCOUNT, "ServiceAccount", "serviceaccount", "serviceaccounts", {"sa"}, CORE, true, NULL, FIELD_BUILT,
        NULL,
        "An account: the last part of an identity."},
};

/* clang-format on */

const struct kind *kind_get(enum kind_id id)
{
    return &kinds[id];
}

const struct kind *kind_at(size_t i)
{
    return i < COUNT(kinds) ? &kinds[i] : NULL;
}

struct str kind_api_version(const struct kind *k, struct arena *a)
{
    return k->group[0] ? arena_printf(a, "%s/%s", k->group, k->versions[0])
                       : str_from(k->versions[0]);
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

static size_t distance_to(const struct kind *k, struct str name)
{
    size_t as_document = str_distance(name, str_from(k->name), 3);
    size_t as_argument = str_distance(name, str_from(k->singular), 3);

    return as_document < as_argument ? as_document : as_argument;
}

const struct kind *kind_closest(struct str name)
{
    const struct kind *best = NULL;
    size_t closest = 4;

    for (size_t i = 0; i < COUNT(kinds); i++) {
        size_t distance = distance_to(&kinds[i], name);

        if (distance < closest) {
            closest = distance;
            best = &kinds[i];
        }
    }
    return best;
}

#define NO_CLUSTER "weft is not a cluster: it runs beside programs that you start yourself"

const char *kind_refused(struct str name)
{
    static const struct {
        const char *name;
        const char *why;
    } refused[] = {
        {"EnvoyFilter", "it edits the configuration of Envoy, which weft does not use; say what you need with the "
         "other kinds"},
        {"Secret", NO_CLUSTER "; use a Credential of apiVersion weft/v1"},
        {"ConfigMap", NO_CLUSTER "; files on the hosts do this"},
        {"Ingress", NO_CLUSTER "; use a Gateway and a VirtualService"},
        {"HTTPRoute", "the Kubernetes Gateway API is not read; use a Gateway and a VirtualService"},
        {"TCPRoute", "the Kubernetes Gateway API is not read; use a Gateway and a VirtualService"},
        {"TLSRoute", "the Kubernetes Gateway API is not read; use a Gateway and a VirtualService"},
        {"GRPCRoute", "the Kubernetes Gateway API is not read; use a Gateway and a VirtualService"},
        {"ReferenceGrant", "the Kubernetes Gateway API is not read; leave it out"},
        {"GatewayClass", "the Kubernetes Gateway API is not read; use a Gateway"},
        {"Endpoints", NO_CLUSTER "; use WorkloadEntry documents"},
        {"EndpointSlice", NO_CLUSTER "; use WorkloadEntry documents"},
        {"Deployment", NO_CLUSTER},
        {"Pod", NO_CLUSTER},
        {"ReplicaSet", NO_CLUSTER},
        {"StatefulSet", NO_CLUSTER},
        {"DaemonSet", NO_CLUSTER},
        {"Job", NO_CLUSTER},
        {"CronJob", NO_CLUSTER},
        {"HorizontalPodAutoscaler", NO_CLUSTER},
        {"PodDisruptionBudget", NO_CLUSTER},
        {"NetworkPolicy", NO_CLUSTER},
        {"PersistentVolume", NO_CLUSTER},
        {"PersistentVolumeClaim", NO_CLUSTER},
        {"Role", NO_CLUSTER},
        {"RoleBinding", NO_CLUSTER},
        {"ClusterRole", NO_CLUSTER},
        {"ClusterRoleBinding", NO_CLUSTER},
        {"CustomResourceDefinition", NO_CLUSTER},
        {"MutatingWebhookConfiguration", NO_CLUSTER},
        {"ValidatingWebhookConfiguration", NO_CLUSTER},
        {"IstioOperator", NO_CLUSTER "; settings are in /etc/weft"},
    };

    for (size_t i = 0; i < COUNT(refused); i++) {
        if (str_eq(str_from(refused[i].name), name))
            return refused[i].why;
    }
    return NULL;
}
