#include "mesh/kinds/peer_authentication.h"

#include "mesh/kinds/check.h"

/* Rows of designated initialisers, which clang-format 14 cannot lay out (it even crashes). */
/* clang-format off */

static const struct field_value mode_values[] = {
    {"UNSET", PEER_MTLS_UNSET, FIELD_BUILT, NULL, 0},
    {"DISABLE", PEER_MTLS_DISABLE, FIELD_BUILT, NULL, 0},
    {"PERMISSIVE", PEER_MTLS_PERMISSIVE, FIELD_BUILT, NULL, 0},
    {"STRICT", PEER_MTLS_STRICT, FIELD_BUILT, NULL, 0},
    {.name = NULL},
};

static const struct field mtls_fields[] = {
    {"mode", FIELD_ENUM, SCHEMA_AT(mutual_tls, mode), .values = mode_values,
     .meaning = "STRICT takes mutual TLS only, PERMISSIVE plain text too, DISABLE plain text only, "
                "UNSET inherits."},
};
static SCHEMA(mtls_schema, "MutualTLS", mutual_tls, mtls_fields);

/* The decoder lays a FIELD_MESSAGE_MAP out so. */
static_assert(offsetof(struct port_mtls, value) == 8,
              "a message follows its number at the next pointer");
static_assert(sizeof(struct port_mtls) == 8 + sizeof(struct mutual_tls), "without padding");

static const struct field peer_authentication_fields[] = {
    {"selector", FIELD_EMBED, SCHEMA_AT(peer_authentication, selector),
     .message = &match_labels_schema,
     .meaning = "Workloads it is for; none is the namespace, or the mesh in the root namespace."},
    {"mtls", FIELD_EMBED, SCHEMA_AT(peer_authentication, mtls), .message = &mtls_schema,
     .meaning = "Mode of all ports."},
    {"portLevelMtls", FIELD_MESSAGE_MAP, SCHEMA_LIST(peer_authentication, port_level),
     SCHEMA_BOUNDS(1, 65535), .message = &mtls_schema, .flags = FIELD_BOUNDED | FIELD_NOT_EMPTY,
     .meaning = "Mode of single ports of the workload; needs a selector."},
};
SCHEMA(peer_authentication_schema, "PeerAuthentication", peer_authentication,
       peer_authentication_fields);

/* clang-format on */

void peer_authentication_validate(const struct check *c, const void *spec)
{
    const struct peer_authentication *p = spec;

    check_selector(c, &p->selector);
    if (p->port_level_count && p->selector.labels.count == 0)
        FAIL(c, check_member(p->node, "portLevelMtls"), FIND_VALUE,
             "portLevelMtls needs a selector: a rule for a namespace or the mesh has no ports");
}
