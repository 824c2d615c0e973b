/* What a kind's own checks use: the rules of one document that no single field can tell.
 *
 * Flow:    validate_object() (mesh/validate.c) calls the `validate` of the kind's row; it reports
 * through these. Every problem is a finding; a member that decode refused has its default, which a
 * check must not report again. Nothing here looks at other documents.
 */
#pragma once

#include "mesh/decode.h"

struct server_tls; /* mesh/kinds/tls_settings.h */
struct http_rule;
struct virtual_service;

/* One object under examination. */
struct check {
    const struct object_meta *m;
    struct findings *f;
};

#define FAIL(c, at, code, ...)                                                                     \
    object_report((c)->f, (c)->m, (at), (code), SEVERITY_ERROR, __VA_ARGS__)
#define WARN(c, at, ...)                                                                           \
    object_report((c)->f, (c)->m, (at), FIND_WARNING, SEVERITY_WARNING, __VA_ARGS__)

/* The node of a member, else of the message: where to point. */
const struct node *check_member(const struct node *message, const char *name);
const struct node *check_element(const struct node *message, const char *name, size_t i);
/* Written, be it empty: what has() is to Istio's CRDs. */
bool check_given(const struct node *message, const char *name);
/* Not given, or empty; something of a wrong type was reported by decode and is not "absent". */
bool check_absent(const struct node *message, const char *name);

/* ---- parts that several kinds have ---- */

bool check_is_unix(struct str address); /* "unix:..." */
void check_export_to(const struct check *c, const struct node *spec, const struct str *to,
                     size_t count);
/* A selector that is given and empty selects the whole namespace, which is worth a warning. */
void check_selector(const struct check *c, const struct label_selector *s);
/* Whom a policy is for: its selector, or what it is attached to. */
void check_target(const struct check *c, const struct policy_target *t);
void check_server_tls(const struct check *c, const struct server_tls *tls);
void check_pool(const struct check *c, const struct connection_pool *p);
void check_policy(const struct check *c, const struct traffic_policy *p);
void check_locality(const struct check *c, const struct locality_lb *l);

/* ---- rules of a VirtualService: http_rule_check.c ---- */

void check_weights(const struct check *c, const struct node *rule,
                   const struct rule_destination *route, size_t count);
/* One HTTP rule: what goes together, values that no single field can tell. */
void check_http_rule(const struct check *c, const struct http_rule *r);

/* ---- what is never reached: http_match_cover.c ---- */

/* A warning for each match of an HTTP rule all of whose requests an earlier one takes. */
void check_reached(const struct check *c, const struct virtual_service *vs);
