/* Rows of the store as JSON texts: small helpers that revision.c, registry.c and ledger.c share.
 *
 * Ownership: a row under construction lives in its buf; what is read back points into the text and
 *            the arena it was parsed with.
 * Errors:    a row that cannot be read is ERR_IO: the database was changed by somebody else.
 */
#pragma once

#include "mesh/base/buf.h"
#include "mesh/base/err.h"
#include "mesh/base/node.h"
#include "store/store.h"

/* Members are added after '{' or behind another; the comma is put in when needed. */
void row_open(struct buf *b, const char *name, char bracket); /* name NULL within a list */
void row_str(struct buf *b, const char *name, struct str value);
void row_opt(struct buf *b, const char *name, struct str value); /* nothing if empty */
void row_int(struct buf *b, const char *name, int64_t value);
void row_true(struct buf *b, const char *name, bool value); /* nothing if false */
struct str row_done(struct buf *b, struct arena *a);        /* the text, copied; ends the buf */

int row_parse(struct str text, const char *what, struct arena *a, struct node **out,
              struct err *err);
int64_t row_number(const struct node *map, const char *name);              /* 0 if absent */
struct str row_number_key(struct arena *a, const char *prefix, int64_t n); /* sorts as numbers do */

/* Commit and turn compares that did not hold into ERR_CONFLICT with this sentence. */
int row_commit(struct store *s, const struct store_txn *t, const char *conflict, struct err *err);
