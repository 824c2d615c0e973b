/* SPIFFE identities of the mesh: parse, print, match.
 *
 * Forms (design.md section 6):
 *   service   spiffe://TD/ns/NAMESPACE/sa/ACCOUNT   (Istio's form; the account defaults to the service's name)
 *   host      spiffe://TD/weft/host/ULID
 *   server    spiffe://TD/weft/server
 * Syntax of the trust domain and path: SPIFFE-ID.md (lower case, no port, no query, path segments of
 * letters, digits, '-', '.', '_'; no empty, "." or ".." segment; at most 2048 bytes).
 * Ownership: slices point into the parsed text. Pure; any thread.
 */
#pragma once

#include "mesh/base/buf.h"
#include "mesh/base/err.h"
#include "mesh/base/str.h"

enum identity_kind { IDENTITY_OTHER, IDENTITY_SERVICE, IDENTITY_HOST, IDENTITY_SERVER };

struct identity {
    enum identity_kind kind;
    struct str uri;          /* the whole text */
    struct str trust_domain;
    struct str path;         /* with its leading '/', or empty */
    struct str ns, account;  /* IDENTITY_SERVICE */
    struct str host;         /* IDENTITY_HOST: the ULID */
};

int identity_parse(struct str uri, struct identity *out, struct err *err) MUST_USE;
void identity_service(struct buf *out, struct str trust_domain, struct str ns, struct str account);
void identity_host(struct buf *out, struct str trust_domain, struct str host_id);
void identity_server(struct buf *out, struct str trust_domain);
bool identity_trust_domain_ok(struct str trust_domain);
/* A DNS-1123 label, as namespaces, accounts and service names are. */
bool identity_label_ok(struct str label);
