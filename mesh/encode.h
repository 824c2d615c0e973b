/* The model into its canonical document: field order of the tables, defaults left out, durations as
 * Go writes them. decode(encode(x)) is x; equal objects give equal text.
 *
 * Ownership: the node lives in the arena given; its texts may point into the object's.
 */
#pragma once

#include "mesh/base/node.h"
#include "mesh/kinds/common.h"

/* apiVersion, kind, metadata {name, namespace, labels, annotations, creationTimestamp}, spec. Maps
 * with free keys are sorted by key. */
struct node *encode_object(const struct object *o, struct arena *a);
struct node *encode_spec(const struct object *o, struct arena *a);

/* A spec, as encode_spec made it or as it was read back, with a mark (SCHEMA_REDACTED) in place of
 * every secret. In place: give it a copy. Decode refuses the mark. */
void encode_redact(const struct schema *s, struct node *message);
/* The same for a whole document; one of an unknown kind loses its spec. True if there was a secret. */
bool encode_redact_document(struct node *root);
/* A message of any schema: the fields that are not at their default. */
struct node *encode_message(const struct schema *s, const void *message, struct arena *a);
