/* Who is in the mesh: hosts, the services they offer, the workloads that offer them, and the
 * virtual addresses of names. Kept in memory from one watch; written through to the store.
 *
 * Flow:      enrol.c binds hosts (ledger_spend_token), session.c registers, publish.c reads.
 * Ownership: struct registry owns the rows; a row is valid until the next change of that row, so
 *            do not keep pointers across turns. Arguments are copied.
 * Errors:    ERR_DENIED: outside the host's grants, or a host not active; ERR_CONFLICT: the name or
 *            port is held by somebody else; ERR_MISSING: no such host or service; ERR_INVALID;
 *            ERR_LIMIT. The text says what to do. Nothing is changed then.
 * Threads:   one owner, the control thread. Write from a turn of the loop, not from a store
 * watcher: rows in memory follow the store only when the watchers have run. Limits:
 * LIMIT_SERVICES_PER_HOST; 65534 virtual addresses. Units:     *_ms wall clock milliseconds.
 */
#pragma once

#include "mesh/base/addr.h"
#include "mesh/base/arena.h"
#include "mesh/base/err.h"
#include "mesh/base/str.h"

#define REGISTRY_PREFIX "/reg/" /* watch this prefix of the store to hear of changes */
#define REGISTRY_ID_MAX 27      /* a ULID with its NUL */

struct node;
struct store;
struct store_txn;
struct registry;
struct ledger_audit;

struct registry_label {
    struct str name, value;
};

/* What a host may register. "*" in any field is any; an empty account is the service's name. */
struct registry_grant {
    struct str ns, service, account;
};

enum registry_state { REGISTRY_PENDING, REGISTRY_ACTIVE, REGISTRY_EJECTED };

struct registry_host {
    struct str id;   /* ULID, for ever */
    struct str name; /* unique */
    struct str pin;  /* SHA-256 of the bound public key (SPKI), 64 hex digits */
    struct str address;
    enum registry_state state;
    bool unrestricted; /* may claim names and accounts that nobody owns; grants are empty then */
    struct registry_grant *grants;
    size_t grant_count;
    struct registry_label *labels;
    size_t label_count;
    int64_t joins; /* counter that notices cloned disks */
    int64_t created_ms, last_join_ms;
    struct str token; /* id of the token that let it in */
};

struct registry_port {
    struct str name;       /* may be empty */
    struct str protocol;   /* "http", "tcp", ... as in services.d */
    uint16_t port;         /* where the workload listens */
    uint16_t service_port; /* where the service answers; 0 when registering: the same */
};

struct registry_workload {
    struct str host; /* id; filled in by the registry */
    struct str ns, service;
    struct str account; /* empty when registering: the service's name */
    struct str *addresses;
    size_t address_count;
    struct registry_port *ports;
    size_t port_count;
    struct registry_label *labels;
    size_t label_count;
    struct str version;
    struct str locality, network; /* may be empty */
    uint32_t weight;              /* 0: not set */
};

struct registry_service {
    struct str ns, name;         /* short name */
    struct str fqdn;             /* NAME.NS.svc.DOMAIN */
    struct str account;          /* what all its workloads are */
    struct str owner;            /* host that claimed the free name; empty: it was granted */
    struct registry_port *ports; /* of all workloads; service_port is what counts */
    size_t port_count;
    struct addr vip4, vip6;
    int64_t created_ms;
};

struct registry *registry_open(struct store *store, struct str domain, struct err *err);
void registry_close(struct registry *r); /* NULL is fine */

/* -------------------------------------------------------------------- hosts */

const struct registry_host *registry_host(const struct registry *r, struct str id);
const struct registry_host *registry_host_named(const struct registry *r, struct str name);
const struct registry_host *registry_host_by_pin(const struct registry *r, struct str pin);
/* for (size_t i = 0; (h = registry_host_each(r, &i));) { ... }  In no order that means anything. */
const struct registry_host *registry_host_each(const struct registry *r, size_t *i);
size_t registry_host_count(const struct registry *r);

/* `audit` NULL writes no audit row. */
int registry_host_approve(struct registry *r, struct str id, bool unrestricted,
                          const struct registry_grant *grants, size_t count,
                          const struct ledger_audit *audit, struct err *err); /* -> active */
int registry_host_rename(struct registry *r, struct str id, struct str name,
                         const struct ledger_audit *audit, struct err *err);
int registry_host_set(struct registry *r, struct str id, struct str address,
                      const struct registry_label *labels, size_t count,
                      const struct ledger_audit *audit, struct err *err);
/* The host proves that it is the one that joined last: `joins` is the counter it was given. Writes
 * and gives the next one. A lost answer may be asked for again within ten minutes; any other number
 * is ERR_CONFLICT: two machines run with one key (a cloned disk). */
int registry_host_rejoin(struct registry *r, struct str id, int64_t joins, int64_t now_ms,
                         int64_t *next, struct err *err);
/* Forget the host and its workloads; its name is free again. Its certificates are not revoked by
 * this: ledger_eject does that. */
int registry_host_delete(struct registry *r, struct str id, const struct ledger_audit *audit,
                         struct err *err);

/* ------------------------------------------------------- services, workloads */

/* Replace the set of workloads of a host; an empty set withdraws all. All or nothing. Same set
 * again: nothing is written (*changed false). */
int registry_register(struct registry *r, struct str host,
                      const struct registry_workload *workloads, size_t count, int64_t now_ms,
                      const struct ledger_audit *audit, bool *changed, struct err *err);
/* Would registry_register let this host offer it? For SVIDs. ERR_DENIED with the sentence if not.
 */
int registry_may(const struct registry *r, struct str host, struct str ns, struct str service,
                 struct str account, struct err *err);

const struct registry_service *registry_service(const struct registry *r, struct str ns,
                                                struct str name);
const struct registry_service *registry_service_each(const struct registry *r, size_t *i);
/* A service stays, with its owner, when its last workload goes; this removes it. ERR_CONFLICT while
 * a host still offers it. Its virtual addresses stay remembered. */
int registry_service_delete(struct registry *r, struct str ns, struct str name,
                            const struct ledger_audit *audit, struct err *err);

const struct registry_workload *registry_workload(const struct registry *r, struct str host,
                                                  struct str ns, struct str service);
const struct registry_workload *registry_workload_each(const struct registry *r, size_t *i);

/* -------------------------------------------------------- virtual addresses */

/* The two virtual addresses of a name, made on first use: 240.240.0.0/16 and 2001:2::/64, derived
 * from the hash of the name, moving on when taken. Remembered: no other name gets them until
 * registry_vip_forget. For Services and ServiceEntries of the configuration too. */
int registry_vip(struct registry *r, struct str ns, struct str fqdn, struct addr *vip4,
                 struct addr *vip6, struct err *err);
int registry_vip_forget(struct registry *r, struct str ns, struct str fqdn, struct err *err);

/* ------------------------------------------------ rows, for ledger.c and tests */

struct str registry_host_path(struct arena *a, struct str id);   /* key of the row */
struct str registry_name_path(struct arena *a, struct str name); /* key that makes names unique */
struct str registry_pin_path(struct arena *a, struct str pin);   /* key -> id of the host */
struct str registry_workloads_path(struct arena *a, struct str host);
void registry_encode_grants(struct buf *b, const struct registry_grant *grants, size_t count);
void registry_decode_grants(const struct node *map, struct arena *a, struct registry_grant **out,
                            size_t *count);
void registry_encode_labels(struct buf *b, const struct registry_label *labels, size_t count);
void registry_decode_labels(const struct node *map, struct arena *a, struct registry_label **out,
                            size_t *count);
struct str registry_encode_host(struct arena *a, const struct registry_host *h);
int registry_decode_host(struct str json, struct arena *a, struct registry_host *out,
                         struct err *err);
bool registry_host_name_ok(struct str name);
bool registry_granted(bool unrestricted, const struct registry_grant *grants, size_t count,
                      struct str ns, struct str service, struct str account);
const char *registry_state_name(enum registry_state state);
