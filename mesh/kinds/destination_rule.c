#include "mesh/kinds/destination_rule.h"

#include "mesh/kinds/check.h"

/* Rows of designated initialisers, which clang-format 14 cannot lay out (it even crashes). */
/* clang-format off */

static const struct field subset_fields[] = {
    {"name", FIELD_STRING, SCHEMA_AT(subset, name), .flags = FIELD_REQUIRED,
     .check = common_check_dns_label, .meaning = "Name that routes use."},
    {"labels", FIELD_LABELS, SCHEMA_AT(subset, labels), .flags = FIELD_ISTIO_LABELS,
     .meaning = "Labels of its endpoints; none is all of them."},
    {"trafficPolicy", FIELD_MESSAGE, SCHEMA_AT(subset, traffic_policy),
     .message = &traffic_policy_schema,
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

/* clang-format on */

/* ---- checks ---- */

void destination_rule_validate(const struct check *c, const void *spec)
{
    const struct destination_rule *r = spec;
    if (r->traffic_policy)
        check_policy(c, r->traffic_policy);
    for (size_t i = 0; i < r->subsets_count; i++) {
        const struct subset *s = &r->subsets[i];

        if (s->traffic_policy)
            check_policy(c, s->traffic_policy);
        for (size_t j = 0; j < i; j++) {
            if (s->name.n && str_eq(s->name, r->subsets[j].name)) {
                FAIL(c, check_member(s->node, "name"), FIND_VALUE,
                     "the subset \"%.*s\" is declared twice", STR_ARG(s->name));
                break;
            }
        }
    }
    check_export_to(c, r->node, r->export_to, r->export_to_count);
    if (r->workload_selector && r->export_to_count &&
        (r->export_to_count > 1 ||
         (!str_eq(r->export_to[0], STR(".")) && !str_eq(r->export_to[0], c->m->ns))))
        FAIL(c, check_member(r->node, "exportTo"), FIND_VALUE,
             "a DestinationRule with workloadSelector is for its own namespace only: write "
             "exportTo: [\".\"] or leave it out");
}
