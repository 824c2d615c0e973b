#include "mesh/kinds/common.h"

#include "mesh/schema.h"

/* Rows of designated initialisers, which clang-format 14 cannot lay out (it even crashes). */
/* clang-format off */

static const struct field match_labels_fields[] = {
    {"matchLabels", FIELD_LABELS, SCHEMA_AT(label_selector, labels), .flags = FIELD_SELECTOR | FIELD_NO_WILDCARD,
     .meaning = "Labels that a workload must carry."},
};
SCHEMA(match_labels_schema, "WorkloadSelector", label_selector, match_labels_fields);

static const struct field labels_selector_fields[] = {
    {"labels", FIELD_LABELS, SCHEMA_AT(label_selector, labels), .flags = FIELD_SELECTOR | FIELD_NO_WILDCARD,
     .meaning = "Labels that a workload must carry."},
};
SCHEMA(labels_selector_schema, "WorkloadSelector", label_selector, labels_selector_fields);

/* Decoded by hand into a struct match_string; the rows are for names and words. */
static const struct field string_match_fields[] = {
    {"exact", FIELD_STRING, .oneof = "match_type", .meaning = "The whole value, case-sensitive."},
    {"prefix", FIELD_STRING, .oneof = "match_type",
     .meaning = "How the value begins, case-sensitive."},
    {"regex", FIELD_STRING, .oneof = "match_type",
     .meaning = "RE2 expression that covers the whole value."},
};
SCHEMA(string_match_schema, "StringMatch", named_number, string_match_fields);

static const struct field target_ref_fields[] = {
    {"group", FIELD_STRING, SCHEMA_AT(target_ref, group),
     .meaning = "API group of the target; empty for a Service."},
    {"kind", FIELD_STRING, SCHEMA_AT(target_ref, kind), .flags = FIELD_REQUIRED,
     .meaning = "Service or ServiceEntry; the kinds of the Kubernetes Gateway API are refused."},
    {"name", FIELD_STRING, SCHEMA_AT(target_ref, name), SCHEMA_BOUNDS(1, 253),
     .flags = FIELD_REQUIRED | FIELD_BOUNDED, .meaning = "Name of the target, in the policy's own namespace."},
    {"namespace", FIELD_STRING, SCHEMA_AT(target_ref, ns),
     .meaning = "Must be left out: a policy stays within its namespace."},
};
SCHEMA(target_ref_schema, "PolicyTargetReference", target_ref, target_ref_fields);

const struct target_ref *policy_target_at(const struct policy_target *t, size_t i)
{
    if (t->target_ref)
        return i == 0 ? t->target_ref : NULL;
    return i < t->target_refs_count ? &t->target_refs[i] : NULL;
}
