#include "store/ledger.h"

#include "test/unit/store_world.h"

#define HASH  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define WRONG "1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define NOW   1767225600000

static const struct ledger_audit by_alice = {
    .now_ms = NOW, .actor = STR_INIT("uid 0 (alice)"), .action = STR_INIT("token.create")};

static struct ledger_token token_of(const char *id, int64_t uses)
{
    return (struct ledger_token){.id = str_from(id),
                                 .secret = STR(HASH),
                                 .uses_max = uses,
                                 .created_ms = NOW,
                                 .expires_ms = NOW + 3600000,
                                 .creator = STR("alice"),
                                 .unrestricted = true};
}

static void add_token(struct world *w, const struct ledger_token *t)
{
    test_ok(ledger_token_add(w->store, t, &by_alice, &w->err), &w->err, __FILE__, __LINE__);
}

/* Host number n with key number n. */
static struct ledger_join join_of(struct world *w, const char *token, unsigned n)
{
    struct ledger_join j = {.token = str_from(token),
                            .secret_hash = STR(HASH),
                            .host_name = arena_printf(&w->arena, "host-%u", n),
                            .pin = arena_printf(&w->arena, "%064x", n),
                            .now_ms = NOW + 1000};

    CHECK(addr_parse(STR("10.1.2.3:50000"), &j.source));
    return j;
}

static int spend(struct world *w, const struct ledger_join *j, struct registry_host *out,
                 bool *replayed)
{
    return ledger_spend_token(w->store, j, NULL, &w->arena, out, replayed, &w->err);
}

TEST(a_token_binds_a_host_to_its_key)
{
    static struct registry_grant grants[] = {
        {STR_INIT("shop"), STR_INIT("web"), STR_INIT("web")}
    };
    static struct registry_label labels[] = {
        {STR_INIT("zone"), STR_INIT("a")}
    };
    struct world w = world_open();
    struct ledger_token t = token_of("1a2b3c4d", 2);
    struct ledger_join j = join_of(&w, "1a2b3c4d", 1);
    struct registry_host h;
    struct ledger_row *rows;
    bool replayed;
    size_t n;

    t.unrestricted = false;
    t.grants = grants;
    t.grant_count = 1;
    t.labels = labels;
    t.label_count = 1;
    add_token(&w, &t);
    j.address = STR("10.1.2.3");
    OK(spend(&w, &j, &h, &replayed));
    CHECK(!replayed);
    CHECK_INT(h.id.n, 26);
    CHECK_STR(h.name, "host-1");
    CHECK_INT(h.state, REGISTRY_ACTIVE);
    CHECK(!h.unrestricted);
    CHECK_STR(h.grants[0].service, "web");
    CHECK_STR(h.labels[0].value, "a");
    CHECK_INT(h.joins, 1);
    OK(ledger_token_find(w.store, STR("1a2b3c4d"), &w.arena, &t, &w.err));
    CHECK_INT(t.uses_left, 1);
    OK(ledger_audit_list(w.store, 0, 1, &w.arena, &rows, &n, &w.err));
    CHECK_STR(rows[0].audit.action, "host.join");
    CHECK_STR(rows[0].audit.actor, "token 1a2b3c4d");
    CHECK_STR(rows[0].audit.source, "10.1.2.3:50000");
    world_close(&w);
}

TEST(a_token_of_one_use_lets_one_of_64_in)
{
    struct world w = world_open();
    struct ledger_token t = token_of("t", 1);
    unsigned in = 0;

    add_token(&w, &t);
    for (unsigned i = 0; i < 64; i++) {
        struct ledger_join j = join_of(&w, "t", i);
        struct registry_host h;

        if (spend(&w, &j, &h, NULL) == 0) {
            in++;
            continue;
        }
        CHECK_INT(w.err.code, ERR_DENIED);
        CHECK(strstr(w.err.text, "used already (1 of 1)"));
    }
    CHECK_INT(in, 1);
    CHECK_INT(world_count(&w, "/reg/host/"), 1);
    world_close(&w);
}

TEST(each_refusal_has_its_own_words_and_changes_nothing)
{
    static struct str ranges[] = {STR_INIT("192.0.2.0/24"), STR_INIT("2001:db8::/32")};
    struct world w = world_open();
    struct ledger_token t = token_of("t", 5), far = token_of("far", 1), gone = token_of("gone", 1);
    struct ledger_join j = join_of(&w, "t", 1), bad;
    struct registry_host h;
    int64_t seq;

    far.sources = ranges;
    far.source_count = 2;
    add_token(&w, &t);
    add_token(&w, &far);
    add_token(&w, &gone);
    OK(ledger_token_revoke(w.store, STR("gone"), &by_alice, &w.err));
    OK(spend(&w, &j, &h, NULL));
    seq = store_seq(w.store);
    bad = join_of(&w, "unknown", 2);
    FAILS(spend(&w, &bad, &h, NULL), ERR_DENIED, "there is no token unknown");
    bad = join_of(&w, "t", 2);
    bad.secret_hash = STR(WRONG);
    FAILS(spend(&w, &bad, &h, NULL), ERR_DENIED, "secret of token t is wrong");
    bad = join_of(&w, "gone", 2);
    FAILS(spend(&w, &bad, &h, NULL), ERR_DENIED, "was revoked");
    bad = join_of(&w, "far", 2);
    FAILS(spend(&w, &bad, &h, NULL), ERR_DENIED, "may not be used from 10.1.2.3");
    bad = join_of(&w, "t", 2);
    bad.now_ms = NOW + 3600000 + 120000;
    FAILS(spend(&w, &bad, &h, NULL), ERR_DENIED, "expired 2 minutes ago");
    bad = join_of(&w, "t", 2);
    bad.host_name = STR("host-1");
    FAILS(spend(&w, &bad, &h, NULL), ERR_CONFLICT, "taken by a host with another key");
    bad.host_name = STR("Bad_Name");
    FAILS(spend(&w, &bad, &h, NULL), ERR_INVALID, "not a host name");
    bad = join_of(&w, "t", 2);
    bad.pin = STR("1234");
    FAILS(spend(&w, &bad, &h, NULL), ERR_INVALID, "64 hex digits");
    CHECK_INT(store_seq(w.store), seq);
    bad = join_of(&w, "far", 3);
    CHECK(addr_parse(STR("[2001:db8::7]:1"), &bad.source));
    OK(spend(&w, &bad, &h, NULL));
    world_close(&w);
}

TEST(a_lost_answer_may_be_asked_for_again_for_ten_minutes)
{
    struct world w = world_open();
    struct ledger_token t = token_of("t", 1);
    struct ledger_join j = join_of(&w, "t", 1), other = join_of(&w, "t", 2);
    struct registry_host first, again;
    bool replayed;
    int64_t seq;

    add_token(&w, &t);
    OK(spend(&w, &j, &first, NULL));
    seq = store_seq(w.store);
    j.now_ms += LEDGER_REPLAY_MS;
    OK(spend(&w, &j, &again, &replayed));
    CHECK(replayed);
    CHECK(str_eq(first.id, again.id));
    CHECK_INT(store_seq(w.store), seq); /* spends nothing, writes nothing */
    other.now_ms = j.now_ms;
    FAILS(spend(&w, &other, &again, NULL), ERR_DENIED, "used already"); /* another key */
    j.now_ms++;
    FAILS(spend(&w, &j, &again, NULL), ERR_DENIED, "used already");
    world_close(&w);
}

TEST(a_replay_needs_the_secret_and_a_token_not_revoked)
{
    struct world w = world_open();
    struct ledger_token t = token_of("t", 1);
    struct ledger_join j = join_of(&w, "t", 1);
    struct registry_host h;

    add_token(&w, &t);
    OK(spend(&w, &j, &h, NULL));
    j.secret_hash = STR(WRONG);
    FAILS(spend(&w, &j, &h, NULL), ERR_DENIED, "is wrong");
    j.secret_hash = STR(HASH);
    OK(ledger_token_revoke(w.store, STR("t"), NULL, &w.err));
    FAILS(spend(&w, &j, &h, NULL), ERR_DENIED, "was revoked");
    world_close(&w);
}

TEST(a_known_key_with_a_new_token_stays_the_same_host)
{
    struct world w = world_open();
    struct ledger_token one = token_of("one", 1), two = token_of("two", 1);
    struct ledger_join j = join_of(&w, "one", 1);
    struct registry_host first, second;

    two.unrestricted = false;
    two.pending = true;
    add_token(&w, &one);
    add_token(&w, &two);
    OK(spend(&w, &j, &first, NULL));
    j.token = STR("two");
    j.host_name = STR("another-name");
    OK(spend(&w, &j, &second, NULL));
    CHECK(str_eq(first.id, second.id));
    CHECK_STR(second.name, "host-1");
    CHECK_INT(second.joins, 2);
    CHECK_INT(second.state, REGISTRY_PENDING);
    CHECK(!second.unrestricted);
    CHECK_INT(world_count(&w, "/reg/host/"), 1);
    world_close(&w);
}

TEST(tokens_are_listed_checked_and_swept)
{
    static struct str wrong[] = {STR_INIT("10.0.0.0/99")};
    struct world w = world_open();
    struct ledger_token t = token_of("a", 1), bad, *list;
    struct ledger_join j = join_of(&w, "a", 1);
    struct registry_host h;
    size_t n;

    add_token(&w, &t);
    FAILS(ledger_token_add(w.store, &t, NULL, &w.err), ERR_CONFLICT, "exists already");
    bad = token_of("b", 0);
    FAILS(ledger_token_add(w.store, &bad, NULL, &w.err), ERR_INVALID, "uses");
    bad = token_of("b", 1);
    bad.expires_ms = NOW;
    FAILS(ledger_token_add(w.store, &bad, NULL, &w.err), ERR_INVALID, "live for some time");
    bad = token_of("b", 1);
    bad.secret = STR("plain secret");
    FAILS(ledger_token_add(w.store, &bad, NULL, &w.err), ERR_INVALID, "SHA-256");
    bad = token_of("b", 1);
    bad.sources = wrong;
    bad.source_count = 1;
    FAILS(ledger_token_add(w.store, &bad, NULL, &w.err), ERR_INVALID, "10.0.0.0/99");
    FAILS(ledger_token_revoke(w.store, STR("b"), NULL, &w.err), ERR_MISSING, "no token b");
    t = token_of("c", 1);
    t.expires_ms = NOW + 100 * 3600000LL;
    add_token(&w, &t);
    OK(spend(&w, &j, &h, NULL));
    OK(ledger_token_list(w.store, &w.arena, &list, &n, &w.err));
    CHECK_INT(n, 2);
    CHECK_STR(list[1].id, "c");
    OK(ledger_token_sweep(w.store, NOW + 2 * 3600000, 0, &n, &w.err));
    CHECK_INT(n, 1);
    CHECK_INT(world_count(&w, "/token/"), 1);
    CHECK_INT(world_count(&w, "/spent/"), 0);
    world_close(&w);
}

TEST(certificates_are_found_by_serial_and_by_host)
{
    enum { N = 150 }; /* more than one transaction holds */
    struct world w = world_open();
    struct ledger_certificate *certs = calloc(N, sizeof(*certs)), *list, one;
    size_t n;

    for (size_t i = 0; i < N; i++)
        certs[i] = (struct ledger_certificate){.serial = arena_printf(&w.arena, "%04zx", i),
                                               .identity = STR("spiffe://mesh/ns/shop/sa/web"),
                                               .host = i % 3 ? STR("A") : STR("B"),
                                               .issued_ms = NOW,
                                               .not_after_ms = NOW + (int64_t)i};
    OK(ledger_certificate_add(w.store, certs, N, &by_alice, &w.err));
    CHECK_INT(world_count(&w, "/audit/"), 1);
    OK(ledger_certificate_find(w.store, STR("0007"), &w.arena, &one, &w.err));
    CHECK_INT(one.not_after_ms, NOW + 7);
    FAILS(ledger_certificate_find(w.store, STR("ffff"), &w.arena, &one, &w.err), ERR_MISSING,
          "no certificate ffff");
    OK(ledger_certificate_list(w.store, STR("B"), STR(""), 0, &w.arena, &list, &n, &w.err));
    CHECK_INT(n, 50);
    OK(ledger_certificate_list(w.store, STR("B"), list[47].serial, 0, &w.arena, &list, &n, &w.err));
    CHECK_INT(n, 2);
    CHECK_STR(list[1].host, "B");
    OK(ledger_certificate_list(w.store, STR(""), STR(""), 10, &w.arena, &list, &n, &w.err));
    CHECK_INT(n, 10);
    OK(ledger_certificate_sweep(w.store, NOW + 1100, 1000, &n, &w.err));
    CHECK_INT(n, 100);
    CHECK_INT(world_count(&w, "/cert/"), 50);
    CHECK_INT(world_count(&w, "/host-cert/"), 50);
    free(certs);
    world_close(&w);
}

TEST(an_ejected_host_and_its_key_stay_out)
{
    static struct str address[] = {STR_INIT("10.0.0.1")};
    static struct registry_port ports[] = {
        {STR_INIT(""), STR_INIT("http"), 8080, 80}
    };
    struct world w = world_open();
    struct registry *r = registry_open(w.store, STR("cluster.local"), &w.err);
    struct ledger_token t = token_of("t", 5);
    struct ledger_join j = join_of(&w, "t", 1);
    struct registry_workload web = {.ns = STR("shop"),
                                    .service = STR("web"),
                                    .addresses = address,
                                    .address_count = 1,
                                    .ports = ports,
                                    .port_count = 1};
    struct ledger_ejection *list;
    struct registry_host h;
    int64_t next;
    size_t n;

    CHECK(r);
    add_token(&w, &t);
    OK(spend(&w, &j, &h, NULL));
    OK(registry_register(r, h.id, &web, 1, NOW, NULL, NULL, &w.err));
    CHECK(!ledger_ejected(w.store, h.id));
    OK(ledger_eject(w.store, h.id, STR("stolen"), &by_alice, &w.err));
    CHECK(ledger_ejected(w.store, h.id));
    CHECK(ledger_ejected(w.store, j.pin));
    CHECK(!registry_workload(r, h.id, STR("shop"), STR("web")));
    CHECK_INT(registry_host(r, h.id)->state, REGISTRY_EJECTED);
    FAILS(registry_register(r, h.id, &web, 1, NOW, NULL, NULL, &w.err), ERR_DENIED, "was ejected");
    FAILS(registry_host_rejoin(r, h.id, 1, NOW, &next, &w.err), ERR_DENIED, "was ejected");
    FAILS(spend(&w, &j, &h, NULL), ERR_DENIED, "was ejected"); /* within the replay window too */
    FAILS(ledger_eject(w.store, registry_host_named(r, STR("host-1"))->id, STR(""), NULL, &w.err),
          ERR_CONFLICT, "already");
    OK(registry_host_delete(r, registry_host_named(r, STR("host-1"))->id, NULL, &w.err));
    FAILS(spend(&w, &j, &h, NULL), ERR_DENIED, "key of this host was ejected");
    OK(ledger_ejection_list(w.store, &w.arena, &list, &n, &w.err));
    CHECK_INT(n, 1);
    CHECK_STR(list[0].reason, "stolen");
    CHECK_STR(list[0].name, "host-1");
    registry_close(r);
    world_close(&w);
}

/* -------------------------------------------------------------------- audit */

static void write_rows(struct world *w, unsigned n)
{
    struct ledger_audit a = by_alice;

    for (unsigned i = 0; i < n; i++) {
        a.message = arena_printf(&w->arena, "row %u \"quoted\"\n", i + 1);
        test_ok(ledger_audit_write(w->store, &a, &w->err), &w->err, __FILE__, __LINE__);
    }
}

TEST(audit_rows_are_chained_and_listed_newest_first)
{
    struct world w = world_open();
    struct ledger_row *rows;
    int64_t verified;
    size_t n;

    OK(ledger_audit_verify(w.store, &verified, &w.err));
    CHECK_INT(verified, 0);
    write_rows(&w, 5);
    OK(ledger_audit_verify(w.store, &verified, &w.err));
    CHECK_INT(verified, 5);
    OK(ledger_audit_list(w.store, 4, 2, &w.arena, &rows, &n, &w.err));
    CHECK_INT(n, 2);
    CHECK_INT(rows[0].number, 3);
    CHECK_STR(rows[0].audit.message, "row 3 \"quoted\"\n");
    CHECK_STR(rows[0].audit.verdict, "ok");
    CHECK_INT(rows[0].audit.now_ms, NOW);
    world_close(&w);
}

TEST(tampering_with_the_audit_log_shows)
{
    static const struct {
        const char *key, *value, *words; /* value NULL: delete */
    } rows[] = {
        {"/audit/00000000000000000003", "{\"n\":3,\"previous\":\"\"}", "row 2 was changed"},
        {"/audit/00000000000000000003", NULL,                          "row 3 is missing" },
        {"/audit/00000000000000000001", NULL,                          "row 1 is missing" },
        {"/audit/00000000000000000005", NULL,                          "row 5 is missing" },
        {"/audit-head",                 "{\"n\":5,\"hash\":\"00\"}",   "row 5 was changed"},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct world w = world_open();
        int64_t verified;

        write_rows(&w, 5);
        if (rows[i].value) {
            world_put(&w, rows[i].key, rows[i].value);
        } else {
            struct store_result result;
            struct store_txn t;

            store_txn_init(&t);
            store_txn_delete(&t, str_from(rows[i].key));
            OK(store_commit(w.store, &t, &result, &w.err));
            store_txn_done(&t);
        }
        FAILS(ledger_audit_verify(w.store, &verified, &w.err), ERR_CONFLICT, rows[i].words);
        world_close(&w);
    }
}

TEST(changing_the_text_of_a_row_shows_at_the_next)
{
    struct world w = world_open();
    struct ledger_row *rows;
    int64_t verified;
    struct str forged;
    size_t n, at;

    write_rows(&w, 5);
    OK(ledger_audit_list(w.store, 3, 1, &w.arena, &rows, &n, &w.err));
    CHECK(str_find(rows[0].json, STR("alice"), &at));
    forged = arena_printf(&w.arena, "%.*smallory%.*s", (int)at, rows[0].json.p,
                          (int)(rows[0].json.n - at - 5), rows[0].json.p + at + 5);
    world_put(&w, "/audit/00000000000000000002", forged.p);
    FAILS(ledger_audit_verify(w.store, &verified, &w.err), ERR_CONFLICT, "row 2 was changed");
    world_close(&w);
}
