/* What the files of the ledger share; everybody else wants store/ledger.h.
 *
 * How it lies in the store:
 *
 *     /audit/N           a row of the audit log; /audit-head says how many and the hash of the last
 *     /token/ID          a join token
 *     /spent/ID/PIN      who spent it, and when: makes the replay of a lost answer possible
 *     /cert/SERIAL       a certificate; /host-cert/HOST/SERIAL finds those of a host
 *     /eject/HOST        an ejection; /eject-pin/PIN refuses the key
 */
#pragma once

#include "mesh/base/mem.h"
#include "mesh/base/text.h"
#include "store/ledger.h"
#include "store/row.h"
#include "store/store.h"

#define ROW_BYTES (1u << 20)

#define HEX (2 * HASH_BYTES)

#define TRIES 4u /* when another server was faster */

#define CERTS_BATCH 60u

#define SWEEP_BATCH 60u

#define PAGE 500u

#define TEXT_BYTES 4096u /* of one field of an audit row; longer is cut */

#define USES_MAX 1000000

/* ---- ledger_audit.c ---- */

bool ledger_is_hash(struct str s);
int ledger_get_row(struct store *s, struct str key, const char *what, struct arena *a,
                   struct node **out, int64_t *mod_seq, struct err *err);
void ledger_put_text(struct buf *b, const char *name, struct str text);
int ledger_write_txn(struct store *s, struct store_txn *t, const struct ledger_audit *audit,
                     struct err *err);

/* ---- ledger_token.c ---- */

struct str ledger_token_path(struct arena *a, struct str id);
struct str ledger_spent_path(struct arena *a, struct str id, struct str pin);
struct str ledger_encode_token(const struct ledger_token *t, struct arena *a);
/* *mod_seq 0: there is none. */
int ledger_get_token(struct store *s, struct str id, struct arena *a, struct ledger_token *out,
                     int64_t *mod_seq, struct err *err);

/* ---- ledger_join.c ---- */

/* A host by the key that names it; *seq 0 if there is none. */
int ledger_get_host(struct store *s, struct str id, struct arena *a, struct registry_host *out,
                    int64_t *seq, struct err *err);
