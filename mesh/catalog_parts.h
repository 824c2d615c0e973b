/* What the files of the catalog share; everybody else wants mesh/catalog.h and mesh/model.h.
 *
 * Flow:      catalog.c makes services and workloads out of documents and registrations; catalog_index.c finds things in
 *            them; catalog_view.c picks what one agent sees; catalog_policy.c says whom policies take.
 */
#pragma once

#include "mesh/catalog.h"

/* ---- catalog_index.c ---- */

void catalog_index(struct catalog *c); /* once services, workloads and objects are all there */

/* The rules that concern a host, in the order of the objects; each once. */
struct concerned {
    const struct host_rule *exact, *wild;
    struct str fqdn;
    size_t next; /* numbers below were given */
};

struct concerned catalog_rules_of(const struct catalog *all, struct str fqdn);
const struct object *catalog_next_rule(struct concerned *c); /* NULL: that was all */
