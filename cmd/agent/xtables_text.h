/* The iptables backend's rules as iptables-restore reads and iptables-save writes them. Pure.
 *
 * Flow:      xtables_format makes the text of a plan; the keeper parses what is in the kernel,
 *            and xtables_compose makes the input of iptables-restore out of both: it alone knows
 *            which jumps are missing and which chains are left over.
 * Chains:    nat WEFT_OUTPUT, WEFT_PREROUTING, WEFT_S0... (a tree of service addresses);
 *            filter WEFT_GUARD_INPUT, _FORWARD, _OUTPUT, _DNAT. Each of the first two of nat and
 *            of the guard is jumped to by the first rule of the built-in chain of that name.
 * Ownership: a state owns its memory until xtables_state_done.
 */
#pragma once

#include "cmd/agent/capture.h"
#include "mesh/base/arena.h"
#include "mesh/base/buf.h"
#include "mesh/base/map.h"

#define XTABLES_TREE_FAN 32u /* rules of a chain of the tree: at most 3 x 32 are met by a packet   \
                              */
#define XTABLES_JUMPS 5u

enum xtables_table { XTABLES_NAT, XTABLES_FILTER, XTABLES_OTHER };

struct xtables_chain {
    enum xtables_table table;
    unsigned rules;
    struct str name;
};

/* What of ours the tables of one family hold. */
struct xtables_state {
    struct arena arena;
    struct map chains; /* name -> xtables_chain; names are unique over the tables */
    struct {
        unsigned count;
        bool is_first; /* the first rule of its built-in chain */
    } jumps[XTABLES_JUMPS];
};

/* The plan's rules for a family (4 or 6), without the jumps. */
void xtables_format(const struct capture_plan *p, uint8_t family, struct buf *out);

/* Of a plan's text (then no jumps are found) or of iptables-save. */
void xtables_parse(struct str text, struct xtables_state *out);
void xtables_state_done(struct xtables_state *s);
bool xtables_is_empty(const struct xtables_state *s);

/* Does `found` hold the chains of the plan's text, no others, each with as many rules, and every
 * jump once and first? */
bool xtables_is_whole(struct str plan, const struct xtables_state *found);

/* Input of iptables-restore --noflush that turns `found` into the plan. */
void xtables_compose(const struct xtables_state *found, struct str plan, struct buf *out);

/* Input that removes our chains of the tables; nothing is written where nothing is to be done. */
void xtables_remove(const struct xtables_state *found, bool nat, bool filter, struct buf *out);
