/* An agent's whole configuration at one moment: what the proxy obeys. It knows nothing of Istio's kinds.
 *
 * Flow:      compile.c builds it from the visible catalog; proxy.c posts the new root to every worker.
 * Ownership: a root over immutable, content-hashed, refcounted parts (listener, route table's virtual host, cluster);
 *            one arena each. Parts whose hash did not change are shared with the previous root (snapshot_build takes it).
 *            Everything a part points to lives in that part's arena or is another part that it references.
 * Threads:   sealed values may be read by any thread; reference counts are atomic.
 * Not here:  counters, health, load, idle connections (proxy/cluster.c, keyed by name), credentials (proxy_set_creds,
 *            keyed by identity).
 * Units:     *_ms milliseconds; 0 means "none" where not said otherwise.
 */
#pragma once

#include <stdatomic.h>

#include "mesh/base/addr.h"
#include "mesh/base/arena.h"
#include "mesh/base/map.h"
#include "mesh/header_format.h"
#include "mesh/match.h"
#include "mesh/ring.h"

/* ---- parts ---- */

struct part {
    atomic_uint refs;
    uint8_t hash[32]; /* of its canonical text: equal hash, equal meaning */
    struct arena arena;
    void (*unref_children)(struct part *p); /* releases parts it points to; NULL if none */
};

void *part_ref(void *part);   /* any struct that begins with a struct part */
void part_unref(void *part);  /* NULL is fine */

enum app_protocol {
    APP_SNIFF, /* not declared: decided by the first bytes */
    APP_HTTP,  /* HTTP/1.1 or HTTP/2, as the client has it */
    APP_TCP,   /* opaque; server may speak first */
};

/* ---- clusters and endpoints ---- */

enum balance_kind {
    BALANCE_LEAST_REQUEST,
    BALANCE_ROUND_ROBIN,
    BALANCE_RANDOM,
    BALANCE_PASSTHROUGH,
    BALANCE_HASH, /* by the ring of the endpoint set */
};

/* What is hashed to keep a caller with its endpoint. Source: consistentHash. */
enum hash_by { HASH_BY_NOTHING, HASH_BY_HEADER, HASH_BY_COOKIE, HASH_BY_SOURCE, HASH_BY_QUERY };

struct hash_rule {
    enum hash_by by;
    struct str name; /* of the header, in lower case; of the cookie; of the query parameter */
    bool makes_cookie;
    struct str cookie_tail; /* of a cookie that is made: "; Max-Age=60; Path=/; HttpOnly" */
};

enum cluster_kind {
    CLUSTER_ENDPOINTS,    /* dial one of the endpoint set */
    CLUSTER_ORIGINAL_DST, /* dial where the client was going */
    CLUSTER_LOCAL,        /* inbound: the application on this host, `local` */
};

enum cluster_tls {
    CLUSTER_TLS_AUTO,   /* mesh mTLS where the endpoint speaks it, else plaintext */
    CLUSTER_TLS_OFF,    /* DestinationRule tls DISABLE */
    CLUSTER_TLS_MUTUAL, /* ISTIO_MUTUAL: always mesh mTLS */
    CLUSTER_TLS_WEB,    /* SIMPLE, MUTUAL: TLS with a server outside of the mesh, by `origination` */
};

enum tls_text_kind { TLS_TEXT_CA, TLS_TEXT_CRL, TLS_TEXT_CERT, TLS_TEXT_KEY, TLS_TEXT_CERT_2, TLS_TEXT_KEY_2, TLS_TEXTS };

/* A file of this host, or what a Credential holds; both empty: there is none. */
struct tls_text {
    struct str file;
    struct str pem; /* never printed: tls_material.creds has its hash */
};

/* Certificates that are not the mesh's own. */
struct tls_material {
    struct str creds; /* key of proxy_set_creds: it tells materials apart */
    struct tls_text texts[TLS_TEXTS];
    bool system_authorities; /* trust those of the system */
};

/* TLS as anybody's client. Source: ClientTLSSettings, modes SIMPLE and MUTUAL. */
struct origination {
    struct tls_material material;
    struct str sni;                 /* empty: the host of the request */
    struct str names;               /* of the server, space-separated; empty: the host of the request, "*": any */
    bool skip_verify;
};

/* One address that serves. Immutable; a set of them is one value per cluster. */
struct endpoint {
    struct addr addr;      /* where to connect */
    bool is_mesh;          /* an agent with mTLS stands there */
    bool is_local;         /* on this very host: reached through an in-memory pair */
    uint32_t weight;       /* >= 1 */
    uint32_t priority;     /* 0 first; without gaps */
    uint32_t share;        /* index of its locality's among the set's shares, if it has any */
    struct str locality;   /* region/zone/subzone, or empty */
    struct str identity;   /* expected SPIFFE URI, empty if unknown */
    /* who it is, for metrics and logs; never NULL, "unknown"/"latest" where unknown */
    struct str workload, workload_ns, app, version, canonical_service, canonical_revision, host;
};

/* A new endpoint comes to its full weight slowly: after t of `for_ms` it has (t / for_ms) to the power of
 * 1 / `aggression` of it, and never less than `least`. Source: warmup. */
struct warmup_rule {
    int64_t for_ms; /* 0: at once */
    double least;   /* 0 to 1 */
    double aggression;
};

struct endpoint_set {
    struct part part;
    struct str cluster; /* name */
    struct endpoint *endpoints;
    size_t count;
    const uint32_t *shares; /* of the traffic, in per cent, for localities; none: by the endpoints' weights alone */
    size_t share_count;
    struct warmup_rule warmup;
    enum ring_kind ring_kind; /* BALANCE_HASH, else RING_NONE */
    uint64_t ring_size;
    struct ring ring; /* of all endpoints, by address and weight; made by snapshot_seal */
};

/* What one agent may have under way to a cluster, over all its workers; 0 is no limit. Source: DestinationRule
 * connectionPool and retryBudget. */
struct cluster_limits {
    uint32_t connections;
    uint32_t pending;  /* requests that wait for a connection */
    uint32_t requests; /* that have one */
    uint32_t retries;  /* with a budget: those always allowed */
    bool has_retry_budget;
    uint32_t retry_share; /* of requests under way, in parts of a million */
};

/* Probes of the kernel on a silent connection; 0 leaves a value to the system. */
struct tcp_probes {
    bool is_on;
    uint32_t count;
    int64_t after_s, every_s;
};

/* When endpoints are left out. Source: outlierDetection; proxy/outlier.h. */
struct outlier_policy {
    bool is_on, splits_local;
    uint32_t errors, gateway_errors, local_failures; /* in a row; 0 is off */
    uint32_t *statuses; /* that count as errors; none: 5xx */
    size_t status_count;
    int64_t interval_ms, base_ms;
    uint32_t max_percent, min_health_percent;
};

enum cluster_header { CLUSTER_HEADER_NONE, CLUSTER_HEADER_TEXT, CLUSTER_HEADER_BINARY };
enum cluster_http { CLUSTER_HTTP1, CLUSTER_HTTP2, CLUSTER_HTTP_SAME /* as the client does */ };

struct cluster {
    struct part part;
    struct str name; /* outbound|9080|v1|reviews.default.svc.cluster.local, inbound|9080||, PassthroughCluster */
    enum cluster_kind kind;
    enum cluster_tls tls;
    enum balance_kind balance;
    struct hash_rule hash; /* BALANCE_HASH */
    enum app_protocol protocol;
    int64_t connect_timeout_ms;
    int64_t tcp_idle_ms;  /* tunnels; 0 is never */
    int64_t http_idle_ms; /* pooled connections */
    int64_t age_ms_max;   /* of a connection: then no new request, a tunnel is cut; 0 is none */
    enum cluster_http http;           /* what its endpoints speak */
    uint32_t requests_per_connection; /* 0 is no limit */
    uint32_t streams_per_connection;  /* HTTP/2: at a time; 0 is no limit of ours */
    int64_t http2_probe_every_ms, http2_probe_within_ms; /* pings of idle connections; 0 is none */
    struct cluster_limits limits;
    struct outlier_policy outlier;
    struct tcp_probes probes;
    struct str sni;       /* outbound_.PORT_._.SUBSET_.HOST */
    struct origination *origination; /* CLUSTER_TLS_WEB */
    enum cluster_header proxy_header; /* PROXY protocol, said first: where the client came from */
    struct str forward_to; /* TCP: "host:port" that a forward proxy, the endpoint, is asked for; empty: it is no such proxy */
    bool forwards_by_post; /* that is asked by POST, not by CONNECT */
    struct str sans;      /* accepted peer identities, space-separated; empty: each endpoint's own identity */
    struct addr local;    /* CLUSTER_LOCAL */
    struct str service_fqdn, service_name, service_ns; /* metric labels */
    struct endpoint_set *endpoints; /* a part, referenced; NULL unless CLUSTER_ENDPOINTS */
};

/* ---- routes ---- */

/* Edits of one message's headers, made in this order: removed, then set (replaced or added), then added. Names are
 * lower case. */
struct header_edit {
    struct str name;
    struct header_format value;
};

struct header_edits {
    struct str *remove;
    size_t remove_count;
    struct header_edit *set;
    size_t set_count;
    struct header_edit *add;
    size_t add_count;
};

struct weighted_cluster {
    struct str cluster; /* by name: it may be missing (flag NC) */
    uint32_t weight;
    struct header_format authority; /* Host to send, unless the route has one; empty: unchanged */
    struct header_edits request, response; /* made before the route's */
};

enum {
    RETRY_CONNECT_FAILURE = 1,
    RETRY_REFUSED_STREAM = 2,
    RETRY_RESET = 4,
    RETRY_5XX = 8,
    RETRY_GATEWAY_ERROR = 16, /* 502, 503, 504 */
    RETRY_STATUS_CODES = 32,  /* those of `codes` */
    RETRY_RESET_BEFORE_REQUEST = 64,
    RETRY_RETRIABLE_4XX = 128, /* 409 */
    RETRY_GRPC_CANCELLED = 256,
    RETRY_GRPC_DEADLINE = 512,
    RETRY_GRPC_INTERNAL = 1024,
    RETRY_GRPC_RESOURCE = 2048,
    RETRY_GRPC_UNAVAILABLE = 4096,
    RETRY_ENVOY_RATELIMITED = 8192,
    RETRY_HEADERS = 16384, /* those that the request names */
};

enum retry_avoid {
    AVOID_NEVER,
    AVOID_UNLESS_HASHED, /* a caller's key keeps it with its endpoint, in retries as well */
    AVOID_ALWAYS,
};

struct retry_policy {
    uint32_t attempts; /* extra tries; 0 is off */
    unsigned on;       /* RETRY_* */
    const uint16_t *codes;
    size_t code_count;
    int64_t per_try_timeout_ms; /* 0: none but the route's */
    int64_t backoff_base_ms;    /* jittered exponential, capped at 10 times this */
    bool goes_remote;                /* after two tries to other priorities than theirs */
    enum retry_avoid avoid_previous; /* an endpoint already tried, at most 5 reselections */
};

struct header_match {
    struct str name; /* lower case; ":method" style pseudo names allowed */
    struct match_string value;
    bool negate; /* withoutHeaders */
};

struct query_match {
    struct str name;
    struct match_string value;
};

struct route_match {
    struct match_string path;
    bool path_nocase;
    struct match_string method, scheme, authority;
    struct header_match *headers;
    size_t header_count;
    struct query_match *queries;
    size_t query_count;
};

enum path_rewrite {
    PATH_KEEP,
    PATH_WHOLE,  /* all of the path but its query becomes `path` */
    PATH_PREFIX, /* its first `prefix_bytes` become `path` */
    PATH_REGEX,  /* what `regex` matches becomes `path`, a substitution */
};

struct route_rewrite {
    enum path_rewrite kind;
    struct str path;
    size_t prefix_bytes;
    struct str pattern;
    struct regex *regex; /* owned by the virtual host */
    struct header_format authority; /* empty: unchanged */
};

struct route_redirect {
    unsigned status;
    struct str scheme, authority; /* empty: the request's */
    uint16_t port;                /* 0: none is named, the request's stays with its authority */
    enum path_rewrite kind;       /* not PATH_REGEX */
    struct str path;
    size_t prefix_bytes;
};

struct route_answer {
    unsigned status;
    struct str body;
};

/* Shares are parts of a million. */
struct route_fault {
    uint32_t delay_share;
    int64_t delay_ms;
    uint32_t abort_share;
    unsigned abort_status; /* of HTTP */
    int grpc_status;       /* -1: abort_status it is */
};

struct route_cors {
    struct match_string *origins;
    size_t origin_count;
    struct str methods, headers, expose, max_age; /* values of fields; empty: not sent */
    bool credentials;
    bool answer_unmatched; /* preflights of other origins are answered here */
};

struct route_mirror {
    struct str cluster;
    uint32_t share; /* of a million */
};

enum route_action { ROUTE_FORWARD, ROUTE_PENDING, ROUTE_REDIRECT, ROUTE_ANSWER };

struct route {
    struct str name;          /* "default", or the rule's name (".match name") */
    struct str rule;          /* the rule's name; empty: it has none, or there is no rule */
    struct route_match match; /* alternatives of one rule are several routes in order */
    enum route_action action;
    struct weighted_cluster *clusters; /* ROUTE_FORWARD */
    size_t cluster_count;
    uint32_t weight_total;
    struct route_redirect redirect; /* ROUTE_REDIRECT */
    struct route_answer answer;     /* ROUTE_ANSWER */
    struct route_rewrite rewrite;
    struct header_edits request, response;
    struct route_fault *fault; /* NULL: none */
    struct route_cors *cors;   /* NULL: none */
    struct route_mirror *mirrors;
    size_t mirror_count;
    int64_t timeout_ms; /* whole request incl. retries; 0 is none */
    struct retry_policy retry;
};

struct vhost {
    struct part part;
    struct str name;
    struct str *domains; /* lower case, without port: exact, "*.suffix" or "*" */
    size_t domain_count;
    struct route *routes; /* first match wins */
    size_t route_count;
    struct str service;   /* namespace/fqdn to subscribe to when a route is ROUTE_PENDING */
};

/* Virtual hosts of one port; the index finds by Host: exact, then longest suffix, then "*". */
struct route_table {
    struct part part;
    struct str name; /* "80" as Istio names it, or the gateway's "http.8080" */
    struct vhost **vhosts; /* parts, referenced */
    size_t vhost_count;
    bool has_ports;     /* some domains are "name:port", tried before the name alone */
    bool has_suffixes;  /* some are ".example.com" */
    struct map by_host; /* exact domain -> struct vhost *; suffixes as ".example.com"; "*" */
};

struct tcp_route {
    struct str *server_names; /* of the ClientHello: exact, "*.suffix" or "*", lower case; none is any, or no TLS */
    size_t server_name_count;
    struct cidr *subnets; /* of the original destination; none is any */
    size_t subnet_count;
    struct weighted_cluster *clusters;
    size_t cluster_count;
    uint32_t weight_total;
    struct str name;
};

/* ---- limits of requests ---- */

enum limit_key { LIMIT_KEY_NONE /* one bucket for all */, LIMIT_KEY_ADDRESS, LIMIT_KEY_PRINCIPAL, LIMIT_KEY_HEADER };

/* Source: weft/v1 RateLimit. The buckets themselves outlive snapshots: proxy/rate_limit.h. */
struct limit {
    struct str bucket;       /* names the buckets: the workload, object and name, and what they are kept by */
    struct str object, name; /* "namespace/name" of the document; of the limit in it */
    struct str rule;         /* only requests of routes of this rule; empty: all */
    enum limit_key key;
    struct str header; /* LIMIT_KEY_HEADER, lower case */
    uint32_t requests, burst;
    int64_t interval_ns;
    uint32_t keys_max;
    unsigned status;  /* of what is too much */
    bool has_headers; /* answers tell what is left */
};

/* ---- listeners ---- */

enum listener_kind { LISTENER_OUTBOUND, LISTENER_INBOUND, LISTENER_GATEWAY };
enum mtls_mode { MTLS_PERMISSIVE, MTLS_STRICT, MTLS_DISABLE };

enum tls_client {
    TLS_CLIENT_NONE,     /* no certificate is asked for */
    TLS_CLIENT_OPTIONAL, /* verified if there is one */
    TLS_CLIENT_REQUIRED,
    TLS_CLIENT_MESH,     /* as agents do among themselves: `identity` of the listener */
};

/* How TLS that is not the mesh's ends at a gateway or an inbound port. Source: ServerTLSSettings. */
struct tls_end {
    struct tls_material material; /* but for TLS_CLIENT_MESH */
    enum tls_client client;
    struct str client_names;      /* a client's certificate has one of them; empty: any */
    struct str client_pins;       /* "spki:HEX hash:HEX": its key or certificate is one of them; empty: any */
    unsigned min_version, max_version; /* 12 or 13 */
    struct str ciphers;           /* OpenSSL's names, space-separated; empty: ours */
    struct str key;               /* tells settings of one material apart */
};

/* What to do with a connection. A bound listener owns a socket at `at`: every gateway, and outbound or inbound ones where
 * nothing is redirected. The others are matched by original destination on the two capture sockets. */
struct listener {
    struct part part;
    struct str name;
    enum listener_kind kind;
    bool is_bound;
    enum app_protocol protocol;
    bool is_http2; /* its port is declared to be: clients in the clear may come by Upgrade: h2c, too */
    bool is_grpc_web; /* its port is declared to be: calls of browsers become gRPC */
    struct addr at; /* bound: address and port to listen on; else outbound: virtual address and port (IP 0: any
                       address with that port), inbound: port */
    struct route_table *http; /* a part; NULL: TCP only */
    struct tcp_route *tcp;    /* used for opaque bytes; none: refused (NR) */
    size_t tcp_count;
    bool reads_sni;           /* the ClientHello is looked at: its chains, or its TCP routes, go by server name */
    bool takes_proxy_header;  /* connections begin with a header of the PROXY protocol */
    bool is_chain;            /* not found by its address alone: one of those of a bound listener that reads_sni */
    struct str *server_names; /* of a chain: exact or "*.suffix", lower case; none is any */
    size_t server_name_count;
    struct tls_end *tls;      /* of a chain: TLS ends here; NULL: it is passed on. Inbound: every connection is such TLS */
    struct str service;       /* namespace/fqdn: outbound, the service of this address; inbound, the local service */
    bool is_pending;          /* outbound: its rules have not been subscribed to yet; service says what to ask for */
    /* outbound: who speaks; inbound: who serves (own SVID to show). SPIFFE URI, key of proxy_set_creds */
    struct str identity;
    enum mtls_mode mtls;      /* inbound; DISABLE where there is `tls` */
    struct str cluster;       /* inbound: CLUSTER_LOCAL to hand to */
    int64_t tcp_idle_ms;
    struct limit *limits;     /* inbound and gateway: a request needs room in all that fit */
    size_t limit_count;
    /* who serves or speaks, for metrics */
    struct str workload, workload_ns, app, version, canonical_service, canonical_revision;
    struct str service_fqdn, service_name, service_ns; /* inbound */
};

/* ---- the root ---- */

enum path_mode { PATH_BASE, PATH_AS_IS, PATH_MERGE, PATH_DECODE }; /* proxy/path.h */

struct snapshot {
    atomic_uint refs;
    enum path_mode path_mode;
    int64_t detection_ms; /* for the first bytes on ports of agents, but for gateways' (MeshConfig.protocolDetectionTimeout); 0: no end */
    uint64_t revision; /* config revision it was built from */
    struct str epoch;
    struct str trust_domain, node; /* node: host name */
    struct str default_identity;   /* of callers nobody claims */
    struct arena arena;            /* tables below */
    struct listener **listeners;   /* parts */
    size_t listener_count;
    struct cluster **clusters; /* parts */
    size_t cluster_count;
    struct map by_cluster;  /* name -> struct cluster * */
    struct map by_outbound; /* listener key (see listener_key) -> struct listener * */
    struct map by_inbound;  /* bound ones too: in-memory pairs find them by port */
    struct map by_bound;
    struct map by_chain; /* address and server name -> struct listener * */
};

struct snapshot *snapshot_ref(struct snapshot *s);
struct snapshot *snapshot_unref(struct snapshot *s); /* NULL is fine; returns NULL */

/* Lookups; NULL for none. Returned parts live as long as the caller's reference to the root (or its own part_ref). */
const struct listener *snapshot_outbound(const struct snapshot *s, const struct addr *original); /* exact, then any:port */
const struct listener *snapshot_inbound(const struct snapshot *s, uint16_t port);
const struct listener *snapshot_bound(const struct snapshot *s, const struct addr *at); /* the socket's address */
/* The chain of a bound listener for a server name (lower case, may be empty): exact, then the longest wildcard, then any. */
const struct listener *snapshot_chain(const struct snapshot *s, const struct addr *at, struct str server_name);
/* The same for the host of a request: as Host has it, any case, with or without a port. */
const struct listener *snapshot_chain_of_host(const struct snapshot *s, const struct addr *at, struct str host);
const struct cluster *snapshot_cluster(const struct snapshot *s, struct str name);
const struct vhost *route_table_find(const struct route_table *t, struct str host); /* as Host has it, any case */

/* Builder: used by compile.c. Add parts (reference taken over), then seal: the tables are made and, where `previous` holds a
 * part of the same name and hash, that one replaces the new one. */
struct snapshot *snapshot_new(void);
void snapshot_add_listener(struct snapshot *s, struct listener *l);
void snapshot_add_cluster(struct snapshot *s, struct cluster *c);
void snapshot_seal(struct snapshot *s, const struct snapshot *previous);

/* Makes the ring of the set, if it has one; snapshot_seal does it for what is new. */
void endpoint_set_index(struct endpoint_set *set);

/* A new part with an empty arena and one reference. */
void *part_new(size_t bytes);
/* Print a snapshot as JSON for the admin pages. */
struct buf;
void snapshot_dump(const struct snapshot *s, struct buf *out);
