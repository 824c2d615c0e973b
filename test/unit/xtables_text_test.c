/* The text of the iptables backend: a plan's rules, and what turns the rules there are into them.
 */
#include "test/test.h"

#include "cmd/agent/capture_backend.h"
#include "cmd/agent/xtables_text.h"

#define TEXT_MAX (64u << 20)

static struct addr pair(unsigned i, uint16_t port)
{
    return (struct addr){
        .family = 4, .port = port, .ip = {10, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i}
    };
}

static char *format(const struct capture_plan *p, uint8_t family)
{
    struct buf b;

    buf_init(&b, TEXT_MAX);
    xtables_format(p, family, &b);
    CHECK(!b.failed);
    return buf_steal(&b);
}

/* The lines of `text` that begin so, joined. */
static char *lines(const char *text, const char *start)
{
    struct str all = str_from(text), line;
    struct buf b;

    buf_init(&b, TEXT_MAX);
    while (str_next(&all, '\n', &line)) {
        if (str_starts(line, str_from(start)))
            buf_printf(&b, "%.*s\n", STR_ARG(line));
    }
    return buf_steal(&b);
}

static void check_lines(const char *text, const char *start, const char *want)
{
    char *got = lines(text, start);

    CHECK_TEXT(got, want);
    free(got);
}

static char *composed(const char *found_text, const char *plan)
{
    struct xtables_state found;
    struct buf b;

    xtables_parse(str_from(found_text), &found);
    buf_init(&b, TEXT_MAX);
    xtables_compose(&found, str_from(plan), &b);
    xtables_state_done(&found);
    return buf_steal(&b);
}

static bool is_whole(const char *plan, const char *found_text)
{
    struct xtables_state found;
    bool whole;

    xtables_parse(str_from(found_text), &found);
    whole = xtables_is_whole(str_from(plan), &found);
    xtables_state_done(&found);
    return whole;
}

static char *removal(const char *found_text, bool nat, bool filter)
{
    struct xtables_state found;
    struct buf b;

    xtables_parse(str_from(found_text), &found);
    buf_init(&b, TEXT_MAX);
    xtables_remove(&found, nat, filter, &b);
    xtables_state_done(&found);
    return buf_steal(&b);
}

/* ---- a plan ---- */

TEST(what_is_never_taken_comes_before_what_is)
{
    const struct capture_inbound inbound[] = {
        {8080, true },
        {9090, false}
    };
    const struct addr service = pair(7, 5432);
    struct capture_dns dns = {
        .server = {.family = 4, .ip = {127, 0, 0, 53}},
          .port = 15053
    };
    struct capture_plan p;
    char *text;

    capture_plan_init(&p);
    p.inbound = inbound;
    p.inbound_count = COUNT(inbound);
    p.services = &service;
    p.dns = &dns;
    p.service_count = p.dns_count = 1;
    text = format(&p, 4);
    check_lines(text, "-A WEFT_OUTPUT",
                "-A WEFT_OUTPUT -m conntrack --ctstate ESTABLISHED -j RETURN\n"
                "-A WEFT_OUTPUT -m mark --mark 0x77656674 -j RETURN\n"
                "-A WEFT_OUTPUT -d 127.0.0.53/32 -p udp -m udp --dport 53 -j REDIRECT --to-ports "
                "15053\n"
                "-A WEFT_OUTPUT -d 127.0.0.53/32 -p tcp -m tcp --dport 53 -j REDIRECT --to-ports "
                "15053\n"
                "-A WEFT_OUTPUT ! -p tcp -j RETURN\n"
                "-A WEFT_OUTPUT -p tcp -m tcp --dport 22 -j RETURN\n"
                "-A WEFT_OUTPUT -d 127.0.0.0/8 -j RETURN\n"
                "-A WEFT_OUTPUT -d 169.254.169.254/32 -j RETURN\n"
                "-A WEFT_OUTPUT -d 240.240.0.0/16 -p tcp -j REDIRECT --to-ports 15001\n"
                "-A WEFT_OUTPUT -d 10.0.0.7/32 -p tcp -m tcp --dport 5432 -j REDIRECT --to-ports "
                "15001\n"
                "-A WEFT_OUTPUT -p tcp -m addrtype --dst-type LOCAL -m multiport --dports "
                "8080,9090 -j REDIRECT --to-ports 15006\n");
    check_lines(text, "-A WEFT_GUARD_INPUT",
                "-A WEFT_GUARD_INPUT ! -i lo -p tcp -m multiport --dports 8080 -m conntrack "
                "--ctstate NEW -j REJECT --reject-with tcp-reset\n");
    free(text);

    text = format(&p, 6); /* neither nameserver nor service is of this family */
    CHECK(strstr(text, "53 -j") == NULL && strstr(text, "10.0.0.7") == NULL);
    CHECK(strstr(text, "-A WEFT_OUTPUT -d ::1/128 -j RETURN\n") != NULL);
    CHECK(strstr(text, "-A WEFT_OUTPUT -d 2001:2::/48 -p tcp") != NULL);
    free(text);
}

TEST(a_rule_takes_fifteen_ports)
{
    struct capture_inbound inbound[16];
    struct capture_plan p;
    char *text;

    capture_plan_init(&p);
    for (size_t i = 0; i < COUNT(inbound); i++)
        inbound[i] = (struct capture_inbound){(uint16_t)(100 + i), false};
    p.inbound = inbound;
    p.inbound_count = COUNT(inbound);
    text = format(&p, 4);
    check_lines(text, "-A WEFT_PREROUTING",
                "-A WEFT_PREROUTING ! -i lo -p tcp -m addrtype --dst-type LOCAL -m multiport "
                "--dports 100,101,102,103,104,105,106,107,108,109,110,111,112,113,114 -j REDIRECT "
                "--to-ports 15006\n"
                "-A WEFT_PREROUTING ! -i lo -p tcp -m addrtype --dst-type LOCAL -m multiport "
                "--dports 115 -j REDIRECT --to-ports 15006\n");
    check_lines(text, "-A WEFT_GUARD_INPUT", ""); /* none is strict */
    free(text);
}

/* No chain is long, and every pair can be reached: each chain is jumped to once. */
static void check_tree(struct addr *services, size_t count, size_t chains, const char *top)
{
    struct capture_plan p;
    struct xtables_state state;
    const struct map_entry *e;
    size_t seen = 0, rules = 0;
    char *text;

    capture_plan_init(&p);
    p.range4 = (struct cidr){0};
    p.services = services;
    p.service_count = count;
    text = format(&p, 4);
    xtables_parse(str_from(text), &state);
    for (size_t i = 0; (e = map_each(&state.chains, &i));) {
        const struct xtables_chain *c = e->value;
        char jump[64];
        const char *at;

        if (!str_starts(c->name, STR("WEFT_S")))
            continue;
        seen++;
        rules += c->rules;
        CHECK(c->rules > 0 && c->rules <= XTABLES_TREE_FAN);
        snprintf(jump, sizeof(jump), " -j %.*s\n", STR_ARG(c->name));
        at = strstr(text, jump);
        CHECK(at != NULL && strstr(at + 1, jump) == NULL);
    }
    CHECK_INT(seen, chains);
    CHECK(strstr(text, top) != NULL);
    CHECK(rules >= (chains ? count : 0));
    xtables_state_done(&state);
    free(text);
}

TEST(service_addresses_form_a_tree_of_short_chains)
{
    size_t count = CAPTURE_SERVICE_MAX;
    struct addr *services = calloc(count, sizeof(*services));

    CHECK(services != NULL);
    for (size_t i = 0; i < count; i++) /* backwards: the text sorts */
        services[i] = pair((unsigned)(count - 1 - i), 80);
    check_tree(services, 32, 0, "-A WEFT_OUTPUT -d 10.0.255.255/32 ");
    check_tree(services, 33, 2, "-A WEFT_OUTPUT -m iprange --dst-range 10.0.255.223-10.0.255.254 ");
    check_tree(services, count, 2048 + 64 + 2,
               "-A WEFT_OUTPUT -m iprange --dst-range 10.0.0.0-10.0.127.255 -j WEFT_S2112\n");
    for (size_t i = 0; i < 100; i++) /* one address with many ports */
        services[i] = pair(1, (uint16_t)(i + 1));
    check_tree(services, 100, 4,
               "-A WEFT_OUTPUT -d 10.0.0.1/32 -p tcp -m tcp --dport 33:64 -j WEFT_S1\n");
    free(services);
}

/* ---- what is there, and what is to be done ---- */

static const char plan[] = "*nat\n:WEFT_OUTPUT - [0:0]\n:WEFT_PREROUTING - [0:0]\n"
                           "-A WEFT_OUTPUT -j RETURN\nCOMMIT\n";
/* Another program's rule first in OUTPUT, a left-over chain, our jump twice in PREROUTING. */
static const char messy[] = "# Generated\n*nat\n:PREROUTING ACCEPT [1:2]\n:OUTPUT ACCEPT [0:0]\n"
                            ":MINE - [0:0]\n:WEFT_OUTPUT - [0:0]\n:WEFT_S7 - [0:0]\n"
                            "-A PREROUTING -j WEFT_PREROUTING\n-A PREROUTING -j WEFT_PREROUTING\n"
                            "-A OUTPUT -j MINE\n-A OUTPUT -j WEFT_OUTPUT\n"
                            "-A WEFT_OUTPUT -j WEFT_S7\nCOMMIT\n"
                            "*filter\n:WEFT_GUARD_INPUT - [0:0]\n"
                            "-A INPUT -j WEFT_GUARD_INPUT\nCOMMIT\n";

TEST(on_an_empty_host_the_jumps_are_added)
{
    char *got = composed("", plan);

    CHECK_TEXT(got, "*nat\n:WEFT_OUTPUT - [0:0]\n:WEFT_PREROUTING - [0:0]\n"
                    "-I OUTPUT 1 -j WEFT_OUTPUT\n-I PREROUTING 1 -j WEFT_PREROUTING\n"
                    "-A WEFT_OUTPUT -j RETURN\nCOMMIT\n");
    free(got);
}

TEST(jumps_are_put_first_once_and_left_over_chains_go_in_the_same_transaction)
{
    char *got = composed(messy, plan);

    CHECK_TEXT(got, "*nat\n:WEFT_OUTPUT - [0:0]\n:WEFT_PREROUTING - [0:0]\n:WEFT_S7 - [0:0]\n"
                    "-D OUTPUT -j WEFT_OUTPUT\n-I OUTPUT 1 -j WEFT_OUTPUT\n"
                    "-D PREROUTING -j WEFT_PREROUTING\n-D PREROUTING -j WEFT_PREROUTING\n"
                    "-I PREROUTING 1 -j WEFT_PREROUTING\n"
                    "-A WEFT_OUTPUT -j RETURN\n-X WEFT_S7\nCOMMIT\n");
    free(got);
}

TEST(removing_redirects_leaves_the_guard_and_the_rules_of_others)
{
    char *got = removal(messy, true, false);

    CHECK_TEXT(got, "*nat\n:WEFT_OUTPUT - [0:0]\n:WEFT_S7 - [0:0]\n-D OUTPUT -j WEFT_OUTPUT\n"
                    "-D PREROUTING -j WEFT_PREROUTING\n-D PREROUTING -j WEFT_PREROUTING\n"
                    "-X WEFT_OUTPUT\n-X WEFT_S7\nCOMMIT\n");
    free(got);
    got = removal(messy, false, true);
    CHECK_TEXT(got, "*filter\n:WEFT_GUARD_INPUT - [0:0]\n-D INPUT -j WEFT_GUARD_INPUT\n"
                    "-X WEFT_GUARD_INPUT\nCOMMIT\n");
    free(got);
    got = removal("*nat\n:MINE - [0:0]\nCOMMIT\n", true, true);
    CHECK_TEXT(got, "");
    free(got);
}

TEST(whole_means_all_chains_all_rules_and_every_jump_first)
{
    static const char jumps[] = "-A OUTPUT -j WEFT_OUTPUT\n-A PREROUTING -j WEFT_PREROUTING\n"
                                "-A PREROUTING -j X\n",
                      guard[] = "*filter\n-A INPUT -j WEFT_GUARD_INPUT\n-A FORWARD -j "
                                "WEFT_GUARD_FORWARD\n-A OUTPUT -j WEFT_GUARD_OUTPUT\nCOMMIT\n";
    static const struct {
        const char *nat; /* between the chains and the guard */
        bool want;
    } rows[] = {
        {":WEFT_OUTPUT - [0:0]\n:WEFT_PREROUTING - [0:0]\nJUMPS-A WEFT_OUTPUT -j RETURN\n", true },
        {":WEFT_OUTPUT - [0:0]\n:WEFT_PREROUTING - [0:0]\nJUMPS",                           false},
        {":WEFT_OUTPUT - [0:0]\nJUMPS-A WEFT_OUTPUT -j RETURN\n",                           false},
        {":WEFT_OUTPUT - [0:0]\n:WEFT_PREROUTING - [0:0]\n:WEFT_S0 - [0:0]\nJUMPS"
         "-A WEFT_OUTPUT -j RETURN\n",                                             false},
        {":WEFT_OUTPUT - [0:0]\n:WEFT_PREROUTING - [0:0]\n-A OUTPUT -j X\nJUMPS"
         "-A WEFT_OUTPUT -j RETURN\n",                                             false},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        const char *at = strstr(rows[i].nat, "JUMPS");
        char text[1024];

        snprintf(text, sizeof(text), "*nat\n%.*s%s%sCOMMIT\n%s", (int)(at - rows[i].nat),
                 rows[i].nat, jumps, at + 5, guard);
        CHECK_INT(is_whole(plan, text), rows[i].want);
    }
    CHECK(!is_whole(plan, ""));
}

/* ---- the other backend ---- */

TEST(nftables_gets_one_transaction_for_redirects_and_guard)
{
    const struct capture_inbound inbound = {8080, true};
    const struct addr services[] = {pair(7, 80), pair(7, 80), pair(3, 443)};
    struct capture_plan p;
    struct buf b;
    char *text;

    capture_plan_init(&p);
    p.inbound = &inbound;
    p.inbound_count = 1;
    p.services = services;
    p.service_count = COUNT(services);
    buf_init(&b, TEXT_MAX);
    capture_nft_format(&p, &b);
    text = buf_steal(&b);
    CHECK(text != NULL);
    CHECK(strstr(text, "add table inet weft { flags owner; }\n") == text);
    CHECK(strstr(text, "output ip daddr . tcp dport { 10.0.0.3 . 443, 10.0.0.7 . 80 } redirect to "
                       ":15001\n") != NULL);
    CHECK(strstr(text, "add rule inet weft-guard input iifname != \"lo\" tcp dport { 8080 } ct "
                       "state new reject with tcp reset\n") != NULL);
    free(text);
}
