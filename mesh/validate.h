/* Rules that no single field can tell: fields.md section 2 per document, and references between
 * documents.
 *
 * Flow:      documents_parse calls validate_object; the server calls validate_set with the whole
 * store as it would be after the change. Errors:    all problems are findings; warnings do not
 * refuse.
 */
#pragma once

#include "mesh/base/findings.h"
#include "mesh/kinds/common.h"

void validate_object(const struct object *o, struct findings *f);

/* What else is known besides documents: services made by registration. NULL: none are known, so
 * hosts that no document declares are not warned about. */
struct validate_scope {
    const char *domain; /* "cluster.local" */
    bool (*knows_host)(void *arg, struct str fqdn,
                       struct str ns); /* may be NULL: then only documents count */
    void *arg;
    const struct object_list
        *changed; /* findings are made about these objects only; NULL: about all */
};

/* Errors: subsets that no DestinationRule declares, and Gateways that are not there. Warnings: the host of a
 * destination or DestinationRule, or a short one of a VirtualService, that nobody declares; two VirtualServices of one
 * host of which callers can obey only one; a ServiceEntry that an older one of its namespace, or a service that the
 * mesh runs, leaves no part in a host; a second Sidecar for a whole namespace;
 * a limit for a route that is at no gateway. */
void validate_set(const struct object_list *all, const struct validate_scope *scope,
                  struct findings *f);

/* The same kind, namespace and name twice in what one apply brings: an error at the second one. */
void validate_duplicates(const struct object_list *applied, struct findings *f);
