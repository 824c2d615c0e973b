/* docs/reference: a page for each kind and an index, written from the schema tables. */
#pragma once

#include "mesh/base/buf.h"

struct args;
struct kind;

/* "destinationrule.md"; an index is README.md. */
void reference_page(const struct kind *k, struct buf *out);
void reference_index(struct buf *out);

int reference_run(const struct args *a); /* weft reference DIR writes them all */
