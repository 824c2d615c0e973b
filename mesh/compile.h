/* Visible catalog and own identity in, immutable snapshot out. Pure and deterministic: the same input gives the same parts,
 * so hashes and sharing work.
 *
 * Flow:   link.c commits a catalog -> compile -> proxy_apply.
 * Errors: what cannot be built is a finding (nack); then there is no snapshot and the running one stays.
 * Sharing: parts equal to those of `previous` are taken from it.
 */
#pragma once

#include "mesh/base/findings.h"
#include "mesh/model.h"
#include "mesh/snapshot.h"

struct snapshot *compile(const struct catalog *c, const struct self *self, const struct snapshot *previous,
                         struct findings *f) MUST_USE; /* a new reference, or NULL with findings */

/* Names for mesh DNS: every form of every visible service, and its addresses. Called per name. */
typedef void compile_name_fn(void *arg, struct str name, const struct addr *vip4, const struct addr *vip6,
                             struct str service_key);
void compile_names(const struct catalog *c, const struct self *self, compile_name_fn *fn, void *arg);

/* Addresses that documents give to visible services, with each port: what capture must bring here besides the virtual ones. */
typedef void compile_address_fn(void *arg, const struct addr *at);
void compile_addresses(const struct catalog *c, const struct self *self, compile_address_fn *fn, void *arg);
