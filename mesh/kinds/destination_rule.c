#include "mesh/kinds/destination_rule.h"

/* Rows of designated initialisers, which clang-format 14 cannot lay out (it even crashes). */
/* clang-format off */

static const struct field subset_fields[] = {
    {"name", FIELD_STRING, SCHEMA_AT(subset, name), .flags = FIELD_REQUIRED,
     .check = common_check_label, .meaning = "Name that routes use."},
    {"labels", FIELD_LABELS, SCHEMA_AT(subset, labels),
     .meaning = "Labels of its endpoints; none is all of them."},
    {"trafficPolicy", FIELD_MESSAGE, SCHEMA_AT(subset, traffic_policy),
     .message = &subset_policy_schema,
     .meaning = "Policy of this subset; a block here replaces the rule's block."},
};
static SCHEMA(subset_schema, "Subset", subset, subset_fields);

static const struct field destination_rule_fields[] = {
    {"host", FIELD_STRING, SCHEMA_AT(destination_rule, host), .flags = FIELD_REQUIRED,
     .check = common_check_wildcard_host, .meaning = "Service, or services by wildcard."},
    {"trafficPolicy", FIELD_MESSAGE, SCHEMA_AT(destination_rule, traffic_policy),
     .message = &traffic_policy_schema, .meaning = "How clients treat it."},
    {"subsets", FIELD_MESSAGES, SCHEMA_LIST(destination_rule, subsets), .message = &subset_schema,
     .meaning = "Named parts of its endpoints."},
    {"exportTo", FIELD_STRINGS, SCHEMA_LIST(destination_rule, export_to),
     .check = common_check_export_to,
     .meaning = "Namespaces that see it: \".\", \"*\" (the default) or names."},
    {"workloadSelector", FIELD_MESSAGE, SCHEMA_AT(destination_rule, workload_selector),
     .message = &match_labels_schema, .meaning = "Clients that obey; all when not given."},
};
SCHEMA(destination_rule_schema, "DestinationRule", destination_rule, destination_rule_fields);
