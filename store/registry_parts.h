/* What the files of the registry share; everybody else wants store/registry.h.
 *
 * Flow:      registry_rows.c turns rows into structs and back; registry_memory.c keeps memory equal
 *            to the rows by one watch, the oldest on /reg/: who watches it later sees memory
 *            changed already; registry.c looks up in it. registry_host.c, registry_vip.c and
 *            registry_service.c write.
 * Ownership: what a look-up gives lives until its row changes: copy before you commit.
 * Errors:    as in store/registry.h.
 */
#pragma once

#include "mesh/base/map.h"
#include "store/ledger.h"
#include "store/registry.h"
#include "store/row.h"
#include "store/store.h"

#define ROW_BYTES  (1u << 20)
#define LABELS_MAX 64u

/* Rows in memory: each with its own arena, so that it can go alone. */
struct host {
    struct registry_host seen;
    struct arena arena;
    int64_t mod_seq;
};

struct service {
    struct registry_service seen;
    struct arena arena, ports; /* `ports` is emptied each time they are joined again */
    int64_t mod_seq;
    struct str row;              /* as stored */
    struct registry_port *known; /* ports of the row: what is left when no workload is */
    size_t known_count;
};

struct host_set { /* all workloads of one host */
    struct registry_workload *list;
    size_t count;
    struct arena arena;
    int64_t mod_seq;
    struct str row;
};

struct offers { /* who offers a service */
    const struct registry_workload **list;
    size_t count, cap;
    bool dirty; /* ports have to be joined again */
};

struct vip {
    struct addr v4, v6;
};

struct registry {
    struct store *store;
    char *domain;
    struct map hosts, names, pins; /* id -> struct host; name, pin -> the same */
    struct map services;           /* ns/name -> struct service */
    struct map offers;             /* ns/name -> struct offers */
    struct map sets;               /* host id -> struct host_set */
    struct map workloads;          /* host/ns/service -> into the sets */
    struct map vips;               /* ns/fqdn -> struct vip */
    struct map used;               /* address -> struct vip */
    struct store_watch *watch;
};

/* ---- registry_rows.c ---- */

/* Rows. What is decoded lives in the arena; what a row lacks is empty. */
struct str registry_service_path(struct arena *a, struct str ns, struct str name);
/* "NS/NAME", a key of most maps. */
struct str registry_pair(struct arena *a, struct str ns, struct str name);
/* STR_NONE: more than ROW_BYTES. */
struct str registry_encode_workloads(struct arena *a, const struct registry_workload *list,
                                     size_t count);
struct str registry_encode_service(struct arena *a, const struct registry_service *s);
void registry_decode_ports(const struct node *map, struct arena *a, struct registry_port **out,
                           size_t *count);
void registry_decode_workload(const struct node *m, struct str host, struct arena *a,
                              struct registry_workload *out);

/* ---- registry_memory.c ---- */

/* Ports of a service: those of the workloads that offer it, joined and sorted. */
bool registry_has_port(const struct registry_port *ports, size_t count, uint16_t service_port);
/* Adds to the n ports at `out` those of `w` that are new, and gives how many there are then. The
 * caller has room for all of them. */
size_t registry_join_ports(struct registry_port *out, size_t n, const struct registry_workload *w);
int registry_by_port(const void *a, const void *b); /* for qsort */
bool registry_same_ports(const struct registry_port *a, size_t an, const struct registry_port *b,
                         size_t bn);

/* ---- registry.c ---- */

/* NULL: there is none. */
const struct host *registry_find_host(const struct registry *r, struct str id);
struct service *registry_find_service(const struct registry *r, struct str ns, struct str name);
/* Whose virtual address lies at /reg/vip/KEY, KEY being "NS/FQDN". NULL too for an address that was
 * given to a name without a service. */
struct service *registry_service_at(const struct registry *r, struct str vip_key);
/* Never NULL: it may have none in it. */
const struct offers *registry_find_offers(const struct registry *r, struct str ns, struct str name);

/* ---- registry_host.c ---- */

int registry_no_host(struct str id, struct err *err); /* ERR_MISSING, in one wording */
/* Commit, with the audit row (NULL: none) in the same transaction; `t` stays the caller's. */
int registry_write_txn(struct registry *r, struct store_txn *t, const struct ledger_audit *audit,
                       struct err *err);
/* Without a grant a host may take only what nobody has: neither the name of another's service nor
 * the account, which is the identity that others trust. */
int registry_claimed(const struct registry *r, const struct registry_host *h, struct str ns,
                     struct str service, struct str account, struct err *err);
