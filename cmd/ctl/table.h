/* Tables for people, from JSON lists: a column is a heading and a path in each item. */
#pragma once

#include "mesh/base/node.h"

struct table_column {
    const char *heading; /* NULL ends the list */
    const char *path;    /* "metadata.name"; a list or map is printed joined by commas */
};

/* `items` NULL: `root` is the only row. The same on a terminal and in a pipe. */
void table_print(const struct node *root, const struct node *items,
                 const struct table_column *columns);

extern const struct table_column table_objects[], table_hosts[], table_services[],
    table_endpoints[], table_certificates[], table_tokens[], table_revisions[], table_audit[];
