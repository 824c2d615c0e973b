/* Does everything that is stored fit together? For `weft server check` and for the tests that kill
 * servers.
 *
 * Flow:      cmd/server/check.c opens the store with store_open_whole, which looks at pages and
 *            indexes; what the rows say is looked at here.
 * Ownership: nothing is kept, nothing is changed.
 * Errors:    each function tells the first thing that does not fit.
 * Threads:   one owner.
 */
#pragma once

#include "mesh/base/err.h"

struct store;

struct check_counts {
    size_t hosts, tokens;
};

/* Every host is bound to one key and one name, and every bound key and name leads to its host. */
int check_hosts(struct store *s, struct check_counts *out, struct err *err);
/* No token was used more often than it may be, or by more keys than it was used. */
int check_tokens(struct store *s, struct check_counts *out, struct err *err);
