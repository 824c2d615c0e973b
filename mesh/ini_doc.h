/* Documents in INI: the same trees that YAML gives.
 *
 *   [VirtualService reviews]            begins a document: its kind, and its name unless
 *                                       metadata.name says it
 *   metadata.namespace = shop           apiVersion (the kind's newest if left out) and metadata
 *   hosts = reviews                     everything else is in the spec; spec.metadata is a member
 *                                       of the spec that has the name of one outside
 *   [.http]                             the next element of a list of messages in that spec
 *   [.http.match]                       the next element of `match` in the last `http`
 *
 * What keys and values are is told in ini_node.h.
 *
 * Flow:      ini.h -> ini_node.h -> here -> decode.h; ini_write.h goes back.
 * Errors:    findings with line and column.
 * Ownership: everything lives in the arena.
 */
#pragma once

#include "mesh/base/node.h"

/* Every document of the text, but for those with a finding: what is missing in these would only be
 * reported again by decode. -1 if there was any. */
int ini_doc_parse(struct str text, struct str file, struct arena *a, struct node_document **out,
                  struct findings *f) MUST_USE;

/* Whether a text that has no name of its own is INI: it begins, behind comments, with '[' and a
 * letter, which is neither a document of YAML nor of JSON. */
bool ini_doc_is(struct str text);
