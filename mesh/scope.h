/* What the Sidecar of a caller lets it see, and which Sidecar that is.
 *
 * Flow:      catalog.c asks for a view on the server; compile*.c asks again on the agent, where the view brought the Sidecar
 *            along, and comes to the same.
 * Meaning:   one workload has one Sidecar: with a selector before without, without before the root namespace's, of equal ones
 *            the oldest; they are never merged (fields.md 4.6). Without one, and with one that has no egress, everything is
 *            seen. Entries of egress with a port are all there is for that port; the one without is for every other port.
 *            Entries with captureMode NONE are addresses that the agent opens itself; they say nothing about other traffic.
 *            "." is the namespace of the caller, also in a Sidecar of the root namespace.
 * Ownership: borrows the objects and the caller's namespace; scope_done frees.
 * Threads:   pure, any.
 */
#pragma once

#include "mesh/kinds/sidecar.h"
#include "mesh/model.h"

struct scope_host {
    struct str ns; /* empty: any */
    struct str host;
    struct scope_host *next; /* of the same host */
};

struct scope_entry {
    const struct sidecar_egress *egress;
    struct map exact; /* host -> struct scope_host * */
    struct scope_host *hosts, *away; /* all of them; those behind "~" */
    size_t host_count, wild_count, away_count; /* wildcards stand first */
};

struct scope {
    const struct object *object; /* the Sidecar; NULL: there is none */
    struct arena arena;
    struct scope_entry *entries; /* in the order of the document; none: everything is seen */
    size_t entry_count;
};

/* The Sidecar for a workload of `ns` with these labels; NULL for none. */
const struct object *scope_sidecar(struct object *const *objects, size_t count, struct str root_namespace, struct str ns,
                                   const struct labels *labels);

void scope_init(struct scope *s, struct object *const *objects, size_t count, struct str root_namespace,
                const struct caller *who);
void scope_done(struct scope *s);

/* Does the service exist for the caller: on this port, as far as traffic is redirected; or in any way. */
bool scope_sees_port(const struct scope *s, const struct service *service, uint16_t port);
bool scope_sees(const struct scope *s, const struct service *service);

/* What the caller sees of a service behind one explicit entry. */
bool scope_entry_sees(const struct scope_entry *e, const struct service *service);
bool scope_is_explicit(const struct scope_entry *e);

/* Of the entry that holds for this port where traffic is redirected; NULL: none, or none with a port. */
const struct sidecar_port *scope_port(const struct scope *s, const struct service *service, uint16_t port);

/* Does a VirtualService of `ns` count, by one of its (completed) hosts? By any entry. */
bool scope_takes_rule(const struct scope *s, struct str ns, struct str host);
