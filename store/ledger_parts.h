/* What the files of the ledger share; everybody else wants store/ledger.h.
 *
 * How it lies in the store:
 *
 *     /audit/N           a row of the audit log; /audit-head says how many and the hash of the last
 *     /token/ID          a join token
 *     /spent/ID/PIN      who spent it, and when: makes the replay of a lost answer possible
 *     /cert/SERIAL       a certificate; /host-cert/HOST/SERIAL finds those of a host
 *     /eject/HOST        an ejection; /eject-pin/PIN refuses the key
 *
 * Flow:      ledger_audit.c, ledger_token.c, ledger_join.c (which spends tokens),
 *            ledger_certificate.c and ledger_ejection.c; all of them read and commit by ledger.c.
 * Ownership: what is read lives in the caller's arena.
 * Errors:    as in store/ledger.h; a row that cannot be read is ERR_IO.
 */
#pragma once

#include "store/ledger.h"
#include "store/row.h"
#include "store/store.h"

#define ROW_BYTES   (1u << 20)
#define HEX         (2 * HASH_BYTES)
#define SWEEP_BATCH 60u

/* ---- ledger.c ---- */

bool ledger_is_hash(struct str s); /* SHA-256 in hex */
/* *mod_seq 0 and *out NULL: there is none. `what` names the row in the error. */
int ledger_get_row(struct store *s, struct str key, const char *what, struct arena *a,
                   struct node **out, int64_t *mod_seq, struct err *err);
/* A text of somebody's choice, cut to what a row has room for; nothing if empty. */
void ledger_put_text(struct buf *b, const char *name, struct str text);
/* *seq 0: there is none. */
int ledger_get_host(struct store *s, struct str id, struct arena *a, struct registry_host *out,
                    int64_t *seq, struct err *err);
/* Commit, with the audit row (NULL: none) in the same transaction; `t` stays the caller's.
 * ERR_CONFLICT: somebody else was faster. */
int ledger_write_txn(struct store *s, struct store_txn *t, const struct ledger_audit *audit,
                     struct err *err);

/* ---- ledger_token.c ---- */

struct str ledger_token_path(struct arena *a, struct str id);
struct str ledger_spent_path(struct arena *a, struct str id, struct str pin);
struct str ledger_encode_token(const struct ledger_token *t, struct arena *a);
/* *mod_seq 0: there is none. */
int ledger_get_token(struct store *s, struct str id, struct arena *a, struct ledger_token *out,
                     int64_t *mod_seq, struct err *err);
