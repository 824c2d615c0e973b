/* See xtables_text.h.
 *
 * Service addresses: a chain of 65536 rules would cost every new connection of the host a
 * millisecond, and ipset may not be there. So they are sorted, cut into chains of 32 rules, and
 * ranges of addresses jump to them, in as many levels as it takes. A range may share its last
 * address with the next one: who finds nothing comes back and looks there too.
 */
#include "cmd/agent/xtables_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cmd/agent/capture_backend.h"
#include "mesh/base/mem.h"

#define PREFIX       "WEFT_"
#define CHAIN_MAX    28u /* bytes of a chain's name */
#define PORTS_A_RULE 15u /* what multiport takes */

static const char *const table_names[] = {"nat", "filter"};

/* clang-format off */
static const struct {
    enum xtables_table table;
    const char *from, *to;
} jumps[XTABLES_JUMPS] = {
    {XTABLES_NAT,    "OUTPUT",     PREFIX "OUTPUT"},
    {XTABLES_NAT,    "PREROUTING", PREFIX "PREROUTING"},
    {XTABLES_FILTER, "INPUT",      PREFIX "GUARD_INPUT"},
    {XTABLES_FILTER, "FORWARD",    PREFIX "GUARD_FORWARD"},
    {XTABLES_FILTER, "OUTPUT",     PREFIX "GUARD_OUTPUT"},
};
/* clang-format on */

/* ---- a plan as text ---- */

static unsigned host_bits(uint8_t family)
{
    return family == 4 ? 32 : 128;
}

/* "PORTS" of one rule after another, between `before` and `after`. */
static void add_ports(struct buf *b, const struct capture_plan *p, bool only_strict,
                      const char *before, const char *after)
{
    size_t written = 0;

    for (size_t i = 0; i < p->inbound_count; i++) {
        if (only_strict && !p->inbound[i].is_strict)
            continue;
        if (written % PORTS_A_RULE == 0)
            buf_printf(b, "%s%s", written > 0 ? after : "", before);
        buf_printf(b, "%s%u", written % PORTS_A_RULE == 0 ? "" : ",", p->inbound[i].port);
        written++;
    }
    if (written > 0)
        buf_adds(b, after);
}

/* A chain of the tree, and the pairs below it. */
struct span {
    const struct addr *first, *last;
    unsigned chain;
};

static void add_pair(struct buf *b, const struct capture_plan *p, const struct addr *a)
{
    char text[ADDR_TEXT_MAX];

    buf_printf(b, " -d %s/%u -p tcp -m tcp --dport %u -j REDIRECT --to-ports %u\n",
               addr_format_ip(a, text), host_bits(a->family), a->port, p->outbound_port);
}

static void add_jump(struct buf *b, const struct span *s)
{
    char first[ADDR_TEXT_MAX], last[ADDR_TEXT_MAX];

    addr_format_ip(s->first, first);
    addr_format_ip(s->last, last);
    if (addr_same_ip(s->first, s->last))
        buf_printf(b, " -d %s/%u -p tcp -m tcp --dport %u:%u", first, host_bits(s->first->family),
                   s->first->port, s->last->port);
    else
        buf_printf(b, " -m iprange --dst-range %s-%s", first, last);
    buf_printf(b, " -j " PREFIX "S%u\n", s->chain);
}

/* The tree's chains go to `chains` and `rules`; returns its top, at most XTABLES_TREE_FAN spans. */
static size_t add_tree(const struct capture_plan *p, const struct addr *pairs, size_t count,
                       struct span *top, struct buf *chains, struct buf *rules)
{
    unsigned next = 0;
    size_t n = 0;

    for (size_t i = 0; i < count; i += XTABLES_TREE_FAN) {
        size_t end = MIN(count, i + XTABLES_TREE_FAN);

        for (size_t k = i; k < end; k++) {
            buf_printf(rules, "-A " PREFIX "S%u", next);
            add_pair(rules, p, &pairs[k]);
        }
        top[n++] = (struct span){&pairs[i], &pairs[end - 1], next++};
    }
    while (n > XTABLES_TREE_FAN) { /* each level takes the place of the one below it */
        size_t made = 0;

        for (size_t i = 0; i < n; i += XTABLES_TREE_FAN) {
            size_t end = MIN(n, i + XTABLES_TREE_FAN);

            for (size_t k = i; k < end; k++) {
                buf_printf(rules, "-A " PREFIX "S%u", next);
                add_jump(rules, &top[k]);
            }
            top[made++] = (struct span){top[i].first, top[end - 1].last, next++};
        }
        n = made;
    }
    for (unsigned i = 0; i < next; i++)
        buf_printf(chains, ":" PREFIX "S%u - [0:0]\n", i);
    return n;
}

static void add_services(const struct capture_plan *p, uint8_t family, struct buf *chains,
                         struct buf *tree, struct buf *rules)
{
    size_t count, n;
    struct addr *pairs = capture_services(p, family, &count);
    struct span *top = mem_array(count / XTABLES_TREE_FAN + 1, sizeof(*top));

    if (count <= XTABLES_TREE_FAN) {
        for (size_t i = 0; i < count; i++) {
            buf_adds(rules, "-A " PREFIX "OUTPUT");
            add_pair(rules, p, &pairs[i]);
        }
    } else {
        n = add_tree(p, pairs, count, top, chains, tree);
        for (size_t i = 0; i < n; i++) {
            buf_adds(rules, "-A " PREFIX "OUTPUT");
            add_jump(rules, &top[i]);
        }
    }
    mem_free(top);
    mem_free(pairs);
}

static void add_names(struct buf *b, const struct capture_plan *p, uint8_t family)
{
    static const char *const protocols[] = {"udp", "tcp"};
    char text[ADDR_TEXT_MAX];

    for (size_t i = 0; i < p->dns_count; i++) {
        if (p->dns[i].server.family != family)
            continue;
        for (size_t k = 0; k < COUNT(protocols); k++)
            buf_printf(b,
                       "-A " PREFIX "OUTPUT -d %s/%u -p %s -m %s --dport 53 -j REDIRECT "
                       "--to-ports %u\n",
                       addr_format_ip(&p->dns[i].server, text), host_bits(family), protocols[k],
                       protocols[k], p->dns[i].port);
    }
}

/* Order matters: what is never taken comes before what is. capture_nft.c has the same order, and
 * says why the first rule is there. */
static void add_output(struct buf *b, const struct capture_plan *p, uint8_t family,
                       const struct cidr *range, struct buf *chains, struct buf *tree)
{
    char text[ADDR_TEXT_MAX], after[64];

    buf_printf(b,
               "-A " PREFIX "OUTPUT -m conntrack --ctstate ESTABLISHED -j RETURN\n"
               "-A " PREFIX "OUTPUT -m mark --mark 0x%08" PRIx32 " -j RETURN\n",
               p->mark);
    add_names(b, p, family);
    buf_printf(b,
               "-A " PREFIX "OUTPUT ! -p tcp -j RETURN\n"
               "-A " PREFIX "OUTPUT -p tcp -m tcp --dport %u -j RETURN\n"
               "-A " PREFIX "OUTPUT -d %s -j RETURN\n"
               "-A " PREFIX "OUTPUT -d %s -j RETURN\n",
               CAPTURE_SSH_PORT, family == 4 ? "127.0.0.0/8" : "::1/128",
               family == 4 ? CAPTURE_METADATA4 "/32" : CAPTURE_METADATA6 "/128");
    if (range->base.family)
        buf_printf(b, "-A " PREFIX "OUTPUT -d %s/%u -p tcp -j REDIRECT --to-ports %u\n",
                   addr_format_ip(&range->base, text), range->bits, p->outbound_port);
    add_services(p, family, chains, tree, b);
    (void)snprintf(after, sizeof(after), " -j REDIRECT --to-ports %u\n", p->inbound_port);
    add_ports(b, p, false,
              "-A " PREFIX "OUTPUT -p tcp -m addrtype --dst-type LOCAL -m multiport --dports ",
              after);
    add_ports(b, p, false,
              "-A " PREFIX "PREROUTING ! -i lo -p tcp -m addrtype --dst-type LOCAL -m multiport "
              "--dports ",
              after);
}

static void add_guard(struct buf *b, const struct capture_plan *p, const struct cidr *range)
{
    static const char *const chains[] = {"OUTPUT", "FORWARD"};
    char text[ADDR_TEXT_MAX];

    add_ports(b, p, true, "-A " PREFIX "GUARD_INPUT ! -i lo -p tcp -m multiport --dports ",
              " -m conntrack --ctstate NEW -j REJECT --reject-with tcp-reset\n");
    /* A published port of a container: by then it carries the container's port. */
    buf_adds(b, "-A " PREFIX "GUARD_FORWARD -p tcp -m conntrack --ctstate NEW -m conntrack "
                "--ctstate DNAT -j " PREFIX "GUARD_DNAT\n");
    for (size_t i = 0; i < p->inbound_count; i++) {
        if (p->inbound[i].is_strict)
            buf_printf(b,
                       "-A " PREFIX "GUARD_DNAT -p tcp -m conntrack --ctorigdstport %u -j REJECT "
                       "--reject-with tcp-reset\n",
                       p->inbound[i].port);
    }
    for (size_t i = 0; i < COUNT(chains) && range->base.family; i++) {
        addr_format_ip(&range->base, text);
        buf_printf(b,
                   "-A " PREFIX "GUARD_%s -d %s/%u -p tcp -j REJECT --reject-with tcp-reset\n"
                   "-A " PREFIX "GUARD_%s -d %s/%u -j REJECT\n",
                   chains[i], text, range->bits, chains[i], text, range->bits);
    }
}

void xtables_format(const struct capture_plan *p, uint8_t family, struct buf *out)
{
    const struct cidr *range = family == 4 ? &p->range4 : &p->range6;
    struct buf tree, rules;

    buf_init(&tree, out->max);
    buf_init(&rules, out->max);
    buf_adds(out, "*nat\n:" PREFIX "OUTPUT - [0:0]\n:" PREFIX "PREROUTING - [0:0]\n");
    add_output(&rules, p, family, range, out, &tree);
    buf_add(out, buf_str(&tree));
    buf_add(out, buf_str(&rules));
    buf_adds(out, "COMMIT\n*filter\n:" PREFIX "GUARD_INPUT - [0:0]\n:" PREFIX
                  "GUARD_FORWARD - [0:0]\n:" PREFIX "GUARD_OUTPUT - [0:0]\n:" PREFIX
                  "GUARD_DNAT - [0:0]\n");
    add_guard(out, p, range);
    buf_adds(out, "COMMIT\n");
    out->failed |= tree.failed || rules.failed;
    buf_done(&tree);
    buf_done(&rules);
}

/* ---- what is there ---- */

static enum xtables_table table_of(struct str name)
{
    for (size_t i = 0; i < COUNT(table_names); i++) {
        if (str_eq(name, str_from(table_names[i])))
            return (enum xtables_table)i;
    }
    return XTABLES_OTHER;
}

static void note_chain(struct xtables_state *s, enum xtables_table table, struct str name)
{
    struct xtables_chain *c;

    if (table == XTABLES_OTHER || !str_starts(name, STR(PREFIX)) || name.n > CHAIN_MAX)
        return;
    c = ARENA_NEW(&s->arena, struct xtables_chain);
    c->table = table;
    c->name = arena_str(&s->arena, name);
    (void)map_put(&s->chains, name, c); /* a chain is declared once */
}

static void note_rule(struct xtables_state *s, enum xtables_table table, struct str chain,
                      struct str rule, bool is_first)
{
    struct xtables_chain *c = map_get(&s->chains, chain);
    struct str target = STR("-j ");

    if (c && c->table == table) {
        c->rules++;
        return;
    }
    if (!str_starts(rule, target))
        return;
    rule = str_sub(rule, target.n, rule.n);
    for (size_t i = 0; i < XTABLES_JUMPS; i++) {
        if (jumps[i].table != table || !str_eq(chain, str_from(jumps[i].from)) ||
            !str_eq(rule, str_from(jumps[i].to)))
            continue;
        s->jumps[i].count++;
        s->jumps[i].is_first |= is_first;
    }
}

void xtables_parse(struct str text, struct xtables_state *out)
{
    enum xtables_table table = XTABLES_OTHER;
    struct str line, word, last = STR_NONE;

    *out = (struct xtables_state){0};
    arena_init(&out->arena);
    map_init(&out->chains);
    while (str_next(&text, '\n', &line)) {
        if (str_starts(line, STR("*"))) {
            table = table_of(str_sub(line, 1, line.n));
            last = STR_NONE;
        } else if (str_starts(line, STR(":")) && str_cut(&line, ' ', &word)) {
            note_chain(out, table, str_sub(word, 1, word.n));
        } else if (str_starts(line, STR("-A ")) && str_cut(&line, ' ', &word) &&
                   str_cut(&line, ' ', &word)) {
            note_rule(out, table, word, line, !str_eq(word, last));
            last = word; /* the rules of a chain stand together */
        }
    }
}

void xtables_state_done(struct xtables_state *s)
{
    map_done(&s->chains);
    arena_done(&s->arena);
}

bool xtables_is_empty(const struct xtables_state *s)
{
    return s->chains.count == 0;
}

bool xtables_is_whole(struct str plan, const struct xtables_state *found)
{
    struct xtables_state want;
    const struct map_entry *e;
    bool whole;

    xtables_parse(plan, &want);
    whole = want.chains.count == found->chains.count;
    for (size_t i = 0; whole && (e = map_each(&want.chains, &i));) {
        const struct xtables_chain *c = e->value, *there = map_get(&found->chains, e->key);

        whole = there && there->table == c->table && there->rules == c->rules;
    }
    for (size_t i = 0; whole && i < XTABLES_JUMPS; i++)
        whole = found->jumps[i].count == 1 && found->jumps[i].is_first;
    xtables_state_done(&want);
    return whole;
}

/* ---- what is to be done ---- */

static bool is_left_over(const struct xtables_chain *c, enum xtables_table table,
                         const struct xtables_state *want)
{
    return c->table == table && !(want && map_get(&want->chains, c->name));
}

/* Empty the chains of `found` that are not wanted, so that nothing points to them. */
static void add_empty(const struct xtables_state *found, const struct xtables_state *want,
                      enum xtables_table table, struct buf *out)
{
    const struct map_entry *e;

    for (size_t i = 0; (e = map_each(&found->chains, &i));) {
        const struct xtables_chain *c = e->value;

        if (is_left_over(c, table, want))
            buf_printf(out, ":%.*s - [0:0]\n", STR_ARG(c->name));
    }
}

static void add_delete(const struct xtables_state *found, const struct xtables_state *want,
                       enum xtables_table table, struct buf *out)
{
    const struct map_entry *e;

    for (size_t i = 0; (e = map_each(&found->chains, &i));) {
        const struct xtables_chain *c = e->value;

        if (is_left_over(c, table, want))
            buf_printf(out, "-X %.*s\n", STR_ARG(c->name));
    }
}

static void add_jumps(const struct xtables_state *found, enum xtables_table table, bool wanted,
                      struct buf *out)
{
    for (size_t i = 0; i < XTABLES_JUMPS; i++) {
        bool good = wanted && found->jumps[i].count == 1 && found->jumps[i].is_first;

        if (jumps[i].table != table || good)
            continue;
        for (unsigned k = 0; k < found->jumps[i].count; k++)
            buf_printf(out, "-D %s -j %s\n", jumps[i].from, jumps[i].to);
        if (wanted)
            buf_printf(out, "-I %s 1 -j %s\n", jumps[i].from, jumps[i].to);
    }
}

void xtables_compose(const struct xtables_state *found, struct str plan, struct buf *out)
{
    struct xtables_state want;
    enum xtables_table table = XTABLES_OTHER;
    struct str line;
    bool in_rules = false;

    xtables_parse(plan, &want);
    while (str_next(&plan, '\n', &line)) {
        bool is_end = str_eq(line, STR("COMMIT"));

        if (str_starts(line, STR("*"))) {
            table = table_of(str_sub(line, 1, line.n));
            in_rules = false;
        } else if (!in_rules && !str_starts(line, STR(":"))) { /* all chains are known by now */
            add_empty(found, &want, table, out);
            add_jumps(found, table, true, out);
            in_rules = true;
        }
        if (is_end)
            add_delete(found, &want, table, out);
        buf_add(out, line);
        buf_addc(out, '\n');
    }
    xtables_state_done(&want);
}

void xtables_remove(const struct xtables_state *found, bool nat, bool filter, struct buf *out)
{
    const bool wanted[] = {[XTABLES_NAT] = nat, [XTABLES_FILTER] = filter};

    for (size_t t = 0; t < COUNT(wanted); t++) {
        enum xtables_table table = (enum xtables_table)t;
        size_t before = out->n;

        if (!wanted[t])
            continue;
        buf_printf(out, "*%s\n", table_names[t]);
        add_empty(found, NULL, table, out);
        add_jumps(found, table, false, out);
        add_delete(found, NULL, table, out);
        if (out->n == before + strlen(table_names[t]) + 2)
            out->n = before; /* nothing of ours */
        else
            buf_adds(out, "COMMIT\n");
    }
}
