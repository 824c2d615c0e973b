/* What must never be forgotten: certificates issued, tokens and their use, ejections, and the audit
 * log, in which every row holds the SHA-256 of the row before.
 *
 * The store does not know pki: serials, identities and hashes are text to it.
 *
 * Flow:      enrol.c spends tokens and notes certificates; api.c lists, revokes, ejects;
 *            revision_commit.c and registry_host.c add their audit rows to their own transactions.
 * Ownership: results live in the caller's arena.
 * Errors:    ERR_DENIED: the token does not let this host in, each reason in its own words;
 *            ERR_MISSING; ERR_CONFLICT: a host name that is taken; ERR_INVALID; as in store.h.
 * Threads:   one owner, the control thread.
 * Units:     *_ms wall clock milliseconds; hashes and pins as 64 lower-case hex digits.
 */
#pragma once

#include "mesh/base/addr.h"
#include "mesh/base/arena.h"
#include "mesh/base/err.h"
#include "mesh/base/hash.h"
#include "mesh/base/str.h"
#include "store/registry.h"

#define LEDGER_REPLAY_MS 600000 /* the same key may spend its token again: a lost answer */

struct store;
struct store_txn;

/* -------------------------------------------------------------------- audit */

/* All texts may be empty. */
struct ledger_audit {
    int64_t now_ms;
    struct str actor;   /* "uid 0 (root) pid 4711", "token 1a2b3c4d", "host 01J..." */
    struct str source;  /* address or "local" */
    struct str action;  /* "apply", "token.create", "host.eject" */
    struct str object;  /* what it was done to */
    struct str verdict; /* empty: "ok"; else why it was refused */
    struct str message; /* words of the operator */
    struct str digest;  /* SHA-256 of the request body, hex */
    int64_t revision_before, revision; /* 0, 0 if no configuration was touched */
};

struct ledger_row {
    int64_t number; /* from 1, without gaps */
    struct ledger_audit audit;
    struct str previous; /* SHA-256 of the row before, hex; zeros in the first */
    struct str json;     /* the row as stored: what is hashed */
};

/* Add a row to a transaction: at most one in each. The transaction fails its compares if another
 * row got there first. */
int ledger_audit_add(struct store *s, struct store_txn *t, const struct ledger_audit *audit,
                     struct err *err);
/* A row by itself, for what changes nothing: refusals, reads of secrets. */
int ledger_audit_write(struct store *s, const struct ledger_audit *audit, struct err *err);
/* Newest first, those below `before` (0: from the newest). */
int ledger_audit_list(struct store *s, int64_t before, size_t limit, struct arena *a,
                      struct ledger_row **rows, size_t *count, struct err *err);
/* Walks the whole log. ERR_CONFLICT names the first row that was changed, added or removed. */
int ledger_audit_verify(struct store *s, int64_t *rows, struct err *err);

/* ------------------------------------------------------------------- tokens */

struct ledger_token {
    struct str id;     /* public; names the row */
    struct str secret; /* SHA-256 of the secret, hex. The secret itself is nowhere */
    int64_t uses_max, uses_left;
    int64_t created_ms, expires_ms;
    struct str creator;
    struct str *sources; /* CIDRs; none: from anywhere */
    size_t source_count;
    bool unrestricted; /* else `grants`, possibly none: a host without services */
    bool pending;      /* hosts wait for approval */
    bool revoked;
    struct registry_grant *grants;
    size_t grant_count;
    struct registry_label *labels; /* given to the host */
    size_t label_count;
};

int ledger_token_add(struct store *s, const struct ledger_token *token,
                     const struct ledger_audit *audit,
                     struct err *err); /* ERR_CONFLICT: id in use */
int ledger_token_list(struct store *s, struct arena *a, struct ledger_token **out, size_t *count,
                      struct err *err);
int ledger_token_find(struct store *s, struct str id, struct arena *a, struct ledger_token *out,
                      struct err *err);
int ledger_token_revoke(struct store *s, struct str id, const struct ledger_audit *audit,
                        struct err *err);
/* Remove tokens that ran out more than keep_ms ago, and those used up or revoked as soon as they
 * would have run out. *removed (may be NULL): how many. */
int ledger_token_sweep(struct store *s, int64_t now_ms, int64_t keep_ms, size_t *removed,
                       struct err *err);

struct ledger_join {
    struct str token;       /* its id */
    struct str secret_hash; /* SHA-256 of the secret that was shown, 64 hex digits */
    struct str host_name;
    struct str pin;     /* of the host's public key, 64 hex digits */
    struct addr source; /* where the host calls from */
    struct str address; /* of the host, as it says; may be empty */
    int64_t now_ms;
};

/* Spend one use and bind the host's key, in one transaction with its audit row. The same key within
 * LEDGER_REPLAY_MS gets the same host again and spends nothing. A key that is already bound, with
 * another token: the host keeps its id and name, takes the token's grants, and its counter rises.
 * `audit` may be NULL: then actor and source are made from the join. */
int ledger_spend_token(struct store *s, const struct ledger_join *join,
                       const struct ledger_audit *audit, struct arena *a, struct registry_host *out,
                       bool *replayed, struct err *err);

/* ------------------------------------------------------------- certificates */

struct ledger_certificate {
    struct str serial;   /* hex */
    struct str identity; /* SPIFFE URI */
    struct str host;     /* id */
    struct str pin;      /* of its key, hex; may be empty */
    int64_t issued_ms, not_after_ms;
};

/* Several at once: the batch that one renewal of a host signs. More than 60 take several
 * transactions; the audit row is in the last. */
int ledger_certificate_add(struct store *s, const struct ledger_certificate *certs, size_t count,
                           const struct ledger_audit *audit, struct err *err);
/* An empty host means all. In order of serial; from behind serial `after`, which may be empty. */
int ledger_certificate_list(struct store *s, struct str host, struct str after, size_t limit,
                            struct arena *a, struct ledger_certificate **out, size_t *count,
                            struct err *err);
int ledger_certificate_find(struct store *s, struct str serial, struct arena *a,
                            struct ledger_certificate *out, struct err *err); /* ERR_MISSING */
/* Forget those that expired more than keep_ms ago. */
int ledger_certificate_sweep(struct store *s, int64_t now_ms, int64_t keep_ms, size_t *removed,
                             struct err *err);

/* ---------------------------------------------------------------- ejections */

struct ledger_ejection {
    struct str host, name; /* id, name at that time */
    struct str reason;
    struct str pin; /* the key that must not come back */
    int64_t at_ms;
};

/* The host's state becomes ejected, its workloads are withdrawn, its key is refused from now on, in
 * one transaction. ERR_CONFLICT if it is ejected already. */
int ledger_eject(struct store *s, struct str host, struct str reason,
                 const struct ledger_audit *audit, struct err *err);
int ledger_ejection_list(struct store *s, struct arena *a, struct ledger_ejection **out,
                         size_t *count, struct err *err);
/* By id of the host or by pin of its key. */
bool ledger_ejected(struct store *s, struct str host_or_pin);
