/* How revisions lie in the store: what revision.c shares with revision_check.c. The layout is told
 * at the top of revision.c.
 *
 * Ownership: what a callback sees is valid during the call.
 * Errors:    ERR_IO: the row is missing or cannot be read, so the database is damaged.
 */
#pragma once

#include "store/revision.h"

/* An object of the head: what others see, and where its canonical JSON lies in its record. */
struct object {
    struct revision_object seen; /* texts point behind this struct */
    int64_t at, parts;
    unsigned page;
    unsigned mark; /* of the commit that looked at it last */
};

typedef int object_fn(void *arg, const struct object *o, struct err *err);
typedef int orphan_fn(struct store *s, struct str txid, void *arg, struct err *err);

/* The value of a key that must be there. */
int revision_row_get(struct store *s, struct str key, struct arena *a, struct str *value,
                     struct err *err);
/* Every object of the page at /obj/REF. */
int revision_page_each(struct store *s, struct str ref, object_fn *fn, void *arg, struct err *err);
/* Commits under /obj/ that did not happen. Walks the commits, not their keys: one look-up each. */
int revision_orphan_each(struct store *s, orphan_fn *fn, void *arg, struct err *err);
