/* Fields in words, from the schema tables: what `weft explain-field` and docs/reference say.
 *
 * Flow:      cmd/ctl/explain_field.c and cmd/ctl/reference.c ask; nothing else does.
 * Ownership: texts live in the arena given or are constant.
 * Threads:   any.
 */
#pragma once

#include "mesh/kinds/kinds.h"
#include "mesh/schema.h"

/* The message that the field holds, or that the elements or values of its list or map are; NULL:
 * none. */
const struct schema *field_members(const struct field *f);
/* "list of HTTPRoute", "map<string,string>", "duration". */
struct str field_type_words(const struct field *f, struct arena *a);
/* As a document would write it; empty: there is none to tell. */
struct str field_default_words(const struct field *f, struct arena *a);
/* Sentences: required, bounds, how many, which values, what excludes it. Empty: anything goes. */
struct str field_rules(const struct schema *s, const struct field *f, struct arena *a);
/* "works", "not supported yet", "not supported", "deprecated". */
const char *field_status_words(enum field_status status);

/* "virtualservice.spec.http[0].retries": kinds by any of their names; spec may be left out; an
 * index and the key of a map count for nothing. */
struct field_place {
    const struct kind *kind;
    const struct schema *in; /* the message that has the field; NULL: the path is the kind alone */
    const struct field *field; /* NULL likewise */
    struct str path;           /* "VirtualService.spec.http.retries" */
};
/* -1 with what is wrong and what was perhaps meant. */
int field_place_find(struct str path, struct arena *a, struct field_place *out, struct err *err);
const struct schema *field_place_members(const struct field_place *p);
