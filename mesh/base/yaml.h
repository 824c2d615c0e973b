/* YAML by libyaml: reader of multi-document streams into node trees, and writer.
 *
 * Scalars follow what Kubernetes users know: plain true/false are booleans, plain null/~/empty is
 * null, plain JSON-like numbers are numbers, everything else is a string (on/off/yes/no too).
 * Anchors, aliases (bounded: LIMIT_YAML_ALIAS_NODES) and merge keys (<<) work; tags other than the core schema's,
 * non-string keys (numbers are taken by their text) and duplicate keys are refused.
 */
#pragma once

#include "mesh/base/buf.h"
#include "mesh/base/node.h"

/* Every document of the stream; empty documents (comments only) are left out. *out is NULL for an
 * empty stream. On bad input a finding is added and -1 returned. */
int yaml_parse(struct str text, struct str file, struct arena *a, struct node_document **out,
               struct findings *f) MUST_USE;

/* Block style, two spaces; strings are quoted where a plain scalar would read as something else. */
void yaml_write(const struct node *n, struct buf *out);
