/* Certificates from a folder: what a standalone agent shows and trusts.
 *
 *     roots.pem              the mesh's authorities; needed as soon as a certificate has a SPIFFE name
 *     NAME.crt, NAME.key     a chain and its key, PEM. With a SPIFFE URI it is the identity of whoever has that name;
 *                            any one is also what credentialName: NAME means
 *     NAME-cacert.crt        authorities of client certificates that credentialName: NAME accepts
 *
 * Ownership: file_certs_read makes a set that the caller frees; it is immutable.
 * Errors:    findings that name the file; a set with one is not made.
 * Secrets:   a key that others than its owner and group may read is refused.
 */
#pragma once

#include "mesh/base/findings.h"

struct creds;
struct proxy;

struct file_cert {
    struct str name; /* of the file */
    struct creds *creds;
};

struct file_certs {
    struct arena arena;
    struct file_cert *items; /* by name */
    size_t count;
    struct str trust_domain; /* of the SPIFFE names; empty: there are none */
};

/* `dir` need not be there: then there are no certificates. */
int file_certs_read(const char *dir, struct file_certs *out, struct findings *f) MUST_USE;
void file_certs_done(struct file_certs *c);

/* Is there one of this identity? */
bool file_certs_has(const struct file_certs *c, struct str uri);
/* The one for callers that belong to no service: "host", or the only SPIFFE name of them all. Empty: none. */
struct str file_certs_caller(const struct file_certs *c);
bool file_certs_same(const struct file_certs *a, const struct file_certs *b);
void file_certs_json(const struct file_certs *c, struct buf *out); /* as certs_json */
int64_t file_certs_earliest_ms(const struct file_certs *c);        /* notAfter of the first to end; 0: none */
/* SPIFFE names go to the proxy. Those that are gone stay known to it until it ends, and nothing uses them. */
void file_certs_apply(const struct file_certs *c, struct proxy *p);
