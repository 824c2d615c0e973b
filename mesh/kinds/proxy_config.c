#include "mesh/kinds/proxy_config.h"

#include "mesh/kinds/check.h"

/* Rows of designated initialisers, which clang-format 14 cannot lay out (it even crashes). */
/* clang-format off */


static const struct field proxy_config_fields[] = {
    {"selector", FIELD_EMBED, SCHEMA_AT(proxy_config, selector), .message = &match_labels_schema,
     .meaning = "Workloads it is for; none is the namespace, or the mesh in the root namespace."},
    {"concurrency", FIELD_INT32, SCHEMA_HAS(proxy_config, concurrency), SCHEMA_BOUNDS(0, INT32_MAX),
     .flags = FIELD_BOUNDED, .meaning = "Worker threads; 0 is one for each core."},
    {"environmentVariables", FIELD_LABELS, SCHEMA_AT(proxy_config, environment),
     .flags = FIELD_FREE_KEYS, .meaning = "Variables that tags and log formats can refer to."},
    {"image", FIELD_ANY,
     SCHEMA_UNSUPPORTED("the proxy is the program weft itself, not a container's image; leave it out"),
     .meaning = "Image of the proxy's container."},
};
SCHEMA(proxy_config_schema, "ProxyConfig", proxy_config, proxy_config_fields);

/* clang-format on */

void proxy_config_validate(const struct check *c, const void *spec)
{
    const struct proxy_config *p = spec;

    check_selector(c, &p->selector);
}
