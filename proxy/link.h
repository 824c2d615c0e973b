/* Intrusive lists: a ring with a head of the same type. A link outside of any list points to
 * itself.
 *
 * Ownership: links are embedded in their objects. Threads: those of the list's owner.
 */
#pragma once

#include "mesh/base/base.h"

struct link {
    struct link *next, *prev;
};

static inline void link_init(struct link *l)
{
    l->next = l->prev = l;
}

static inline bool link_is_empty(const struct link *l)
{
    return l->next == l;
}

static inline void link_push(struct link *head, struct link *l) /* to the back */
{
    l->prev = head->prev;
    l->next = head;
    head->prev->next = l;
    head->prev = l;
}

static inline void link_del(struct link *l) /* harmless when in no list */
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
    link_init(l);
}
