/* The kinds of documents: their names, API groups, and schema tables.
 *
 * Flow:    decode finds the kind by apiVersion and kind and fills its struct through `spec`; encode
 * goes back; the command line finds kinds by any of their names. Threads: constant.
 */
#pragma once

#include "mesh/kinds/common.h"

enum kind_id {
    KIND_GATEWAY,
    KIND_VIRTUAL_SERVICE,
    KIND_DESTINATION_RULE,
    KIND_SERVICE_ENTRY,
    KIND_WORKLOAD_ENTRY,
    KIND_PEER_AUTHENTICATION,
    KIND_SERVICE,
    KIND_WORKLOAD_GROUP,
    KIND_SIDECAR,
    KIND_REQUEST_AUTHENTICATION,
    KIND_AUTHORIZATION_POLICY,
    KIND_TELEMETRY,
    KIND_PROXY_CONFIG,
    KIND_WASM_PLUGIN,
    KIND_TRAFFIC_EXTENSION,
    KIND_MESH_CONFIG,
    KIND_CREDENTIAL,
    KIND_RATE_LIMIT,
    KIND_NAMESPACE,
    KIND_SERVICE_ACCOUNT,
    KIND_COUNT,
};

struct kind {
    enum kind_id id;
    const char *name;        /* "VirtualService" */
    const char *singular;    /* "virtualservice" */
    const char *plural;      /* "virtualservices" */
    const char *shorts[3];   /* "vs"; NULL-ended */
    const char *group;       /* "networking.istio.io"; "" is core */
    const char *versions[4]; /* newest first, NULL-ended; encode writes the first */
    bool is_namespaced;
    const struct schema *spec; /* NULL: the kind has no spec */
    enum field_status status;  /* NOT_YET: read and checked in full, and refused with WEFT1601 */
    /* Rules of one document that no single field can tell; NULL: none. */
    void (*validate)(const struct check *c, const void *spec);
    const char *meaning; /* one sentence */
};

const struct kind *kind_get(enum kind_id id);
const struct kind *kind_find(struct str name); /* exactly "VirtualService"; NULL if none */
const struct kind *
kind_find_any(struct str name);       /* kind, singular, plural or short, any case; NULL if none */
const struct kind *kind_at(size_t i); /* NULL past the end */

/* What was probably meant by an unknown name; NULL if nothing is near. */
const struct kind *kind_closest(struct str name);

/* "networking.istio.io/v1": what encode writes. It lives in the arena, or for ever. */
struct str kind_api_version(const struct kind *k, struct arena *a);

/* Kinds that are known and can mean nothing here: why, in a sentence; NULL if it is not known. */
const char *kind_refused(struct str name);
