#include "store/registry.h"

#include "store/ledger.h"
#include "test/unit/store_world.h"

#define PIN_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define PIN_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define HASH  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define NOW   1767225600000

static struct registry *open_registry(struct world *w)
{
    struct registry *r = registry_open(w->store, STR("cluster.local"), &w->err);

    test_ok(r ? 0 : -1, &w->err, __FILE__, __LINE__);
    return r;
}

/* A host by way of a token, as in life. grants "ns/service/account,..."; NULL is unrestricted. */
static struct str join(struct world *w, const char *name, const char *pin, const char *grants)
{
    static const struct ledger_audit audit = {.now_ms = NOW};
    struct registry_grant list[8] = {0};
    struct str rest = str_from(grants), item;
    struct ledger_token token = {.id = str_from(name),
                                 .secret = STR(HASH),
                                 .uses_max = 1,
                                 .created_ms = NOW,
                                 .expires_ms = NOW + 3600000,
                                 .unrestricted = !grants,
                                 .grants = list};
    struct ledger_join j = {.token = token.id,
                            .secret_hash = STR(HASH),
                            .host_name = token.id,
                            .pin = str_from(pin),
                            .now_ms = NOW};
    struct registry_host host;

    while (str_next(&rest, ',', &item)) {
        struct registry_grant *g = &list[token.grant_count++];

        CHECK(str_next(&item, '/', &g->ns) && str_next(&item, '/', &g->service));
        g->account = item;
    }
    CHECK(addr_parse(STR("10.0.0.1:4711"), &j.source));
    test_ok(ledger_token_add(w->store, &token, &audit, &w->err), &w->err, __FILE__, __LINE__);
    test_ok(ledger_spend_token(w->store, &j, NULL, &w->arena, &host, NULL, &w->err), &w->err,
            __FILE__, __LINE__);
    return host.id;
}

static struct str address[] = {STR_INIT("10.0.0.1")};
static struct registry_port http[] = {
    {STR_INIT("http"), STR_INIT("http"), 8080, 80}
};
static struct registry_port tcp[] = {
    {STR_INIT(""), STR_INIT("tcp"), 9090, 80}
};
static struct registry_port admin[] = {
    {STR_INIT("admin"), STR_INIT("http"), 9000, 0}
};

static struct registry_workload offer(const char *ns, const char *service)
{
    return (struct registry_workload){.ns = str_from(ns),
                                      .service = str_from(service),
                                      .addresses = address,
                                      .address_count = 1,
                                      .ports = http,
                                      .port_count = 1,
                                      .version = STR("v1")};
}

TEST(a_registration_makes_service_workload_and_addresses)
{
    struct world w = world_open();
    struct registry *r = open_registry(&w);
    struct str host = join(&w, "b", PIN_A, NULL);
    struct registry_workload one = offer("shop", "web");
    const struct registry_service *s;
    const struct registry_workload *seen;
    bool changed;

    OK(registry_register(r, host, &one, 1, NOW, NULL, &changed, &w.err));
    CHECK(changed);
    s = registry_service(r, STR("shop"), STR("web"));
    CHECK(s);
    CHECK_STR(s->fqdn, "web.shop.svc.cluster.local");
    CHECK_STR(s->account, "web");
    CHECK_INT(s->port_count, 1);
    CHECK_INT(s->ports[0].service_port, 80);
    CHECK_INT(s->vip4.family, 4);
    CHECK_INT(s->vip4.ip[0], 240);
    CHECK_INT(s->vip4.ip[1], 240);
    CHECK_INT(s->vip6.family, 6);
    CHECK_INT(s->vip6.ip[0], 0x20);
    CHECK_INT(s->vip6.ip[3], 0x02);
    seen = registry_workload(r, host, STR("shop"), STR("web"));
    CHECK(seen);
    CHECK_STR(seen->account, "web");
    CHECK_STR(seen->addresses[0], "10.0.0.1");
    CHECK_INT(seen->ports[0].port, 8080);
    CHECK_STR(seen->version, "v1");
    registry_close(r);
    world_close(&w);
}

TEST(the_same_set_again_writes_nothing)
{
    struct world w = world_open();
    struct registry *r = open_registry(&w);
    struct str host = join(&w, "b", PIN_A, NULL);
    struct registry_workload one = offer("shop", "web");
    bool changed;
    int64_t seq;

    OK(registry_register(r, host, &one, 1, NOW, NULL, &changed, &w.err));
    seq = store_seq(w.store);
    OK(registry_register(r, host, &one, 1, NOW + 1, NULL, &changed, &w.err));
    CHECK(!changed);
    CHECK_INT(store_seq(w.store), seq);
    registry_close(r);
    world_close(&w);
}

TEST(memory_is_the_same_after_opening_again)
{
    struct world w = world_open();
    struct registry *r = open_registry(&w);
    struct str host = join(&w, "b", PIN_A, "shop/web/,shop/api/other");
    struct registry_workload one = offer("shop", "web");
    struct addr vip;
    const struct registry_host *h;

    OK(registry_register(r, host, &one, 1, NOW, NULL, NULL, &w.err));
    vip = registry_service(r, STR("shop"), STR("web"))->vip4;
    registry_close(r);
    r = open_registry(&w);
    CHECK(addr_eq(&vip, &registry_service(r, STR("shop"), STR("web"))->vip4));
    CHECK(registry_workload(r, host, STR("shop"), STR("web")));
    h = registry_host_named(r, STR("b"));
    CHECK(h);
    CHECK(str_eq(h->id, host));
    CHECK_INT(h->grant_count, 2);
    CHECK_STR(h->grants[1].account, "other");
    CHECK_INT(h->joins, 1);
    CHECK(registry_host_by_pin(r, STR(PIN_A)) == h);
    registry_close(r);
    world_close(&w);
}

TEST(grants_decide_what_a_host_may_offer)
{
    static const struct {
        const char *grants, *ns, *service, *account;
        bool allowed;
    } rows[] = {
        {"shop/web/",           "shop", "web",      "",         true },
        {"shop/web/",           "shop", "web",      "web",      true },
        {"shop/web/",           "shop", "web",      "root",     false}, /* an empty account is the service's name */
        {"shop/web/",           "shop", "api",      "",         false},
        {"shop/web/",           "bank", "web",      "",         false},
        {"shop/web/bookinfo",   "shop", "web",      "bookinfo", true },
        {"shop/web/bookinfo",   "shop", "web",      "",         false},
        {"shop/*/",             "shop", "anything", "",         true },
        {"shop/*/",             "shop", "anything", "other",    false},
        {"*/web/",              "bank", "web",      "",         true },
        {"shop/web/*",          "shop", "web",      "whoever",  true },
        {"shop/api/,shop/web/", "shop", "web",      "",         true },
        {"",                    "shop", "web",      "",         false},
        {NULL,                  "shop", "web",      "whoever",  true }, /* unrestricted: nobody owns it */
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct world w = world_open();
        struct registry *r = open_registry(&w);
        struct str host = join(&w, "b", PIN_A, rows[i].grants);
        struct registry_workload one = offer(rows[i].ns, rows[i].service);
        int64_t seq = store_seq(w.store);

        one.account = str_from(rows[i].account);
        if (rows[i].allowed) {
            OK(registry_register(r, host, &one, 1, NOW, NULL, NULL, &w.err));
        } else {
            FAILS(registry_register(r, host, &one, 1, NOW, NULL, NULL, &w.err), ERR_DENIED,
                  "let it join with a token for");
            CHECK_INT(store_seq(w.store), seq);
        }
        registry_close(r);
        world_close(&w);
    }
}

TEST(without_a_grant_a_host_takes_only_what_nobody_has)
{
    struct world w = world_open();
    struct registry *r = open_registry(&w);
    struct str one = join(&w, "one", PIN_A, NULL), two = join(&w, "two", PIN_B, NULL);
    struct registry_workload web = offer("shop", "web"), api = offer("shop", "api");

    OK(registry_register(r, one, &web, 1, NOW, NULL, NULL, &w.err));
    FAILS(registry_register(r, two, &web, 1, NOW, NULL, NULL, &w.err), ERR_DENIED, "the name belongs to others");
    api.account = STR("web"); /* a free name, but another's identity */
    FAILS(registry_register(r, two, &api, 1, NOW, NULL, NULL, &w.err), ERR_DENIED, "the account belongs to others");
    OK(registry_register(r, one, &api, 1, NOW, NULL, NULL, &w.err)); /* its own, twice */
    api.account = STR("host-01j00000000000000000000000");
    FAILS(registry_register(r, two, &api, 1, NOW, NULL, NULL, &w.err), ERR_DENIED, "is not for services");
    registry_close(r);
    world_close(&w);
}

TEST(a_name_belongs_to_its_account)
{
    struct world w = world_open();
    struct registry *r = open_registry(&w);
    struct str one = join(&w, "one", PIN_A, NULL), two = join(&w, "two", PIN_B, "shop/web/*");
    struct registry_workload web = offer("shop", "web");

    OK(registry_register(r, one, &web, 1, NOW, NULL, NULL, &w.err));
    web.account = STR("thief");
    FAILS(registry_register(r, two, &web, 1, NOW, NULL, NULL, &w.err), ERR_DENIED,
          "belongs to account web, not to thief");
    web.account = STR("web"); /* a second instance, under the owner's account */
    OK(registry_register(r, two, &web, 1, NOW, NULL, NULL, &w.err));
    OK(registry_register(r, one, NULL, 0, NOW, NULL, NULL, &w.err));
    OK(registry_register(r, two, NULL, 0, NOW, NULL, NULL, &w.err));
    web.account = STR("thief"); /* nobody offers it, and still it is owned */
    FAILS(registry_register(r, two, &web, 1, NOW, NULL, NULL, &w.err), ERR_DENIED, "belongs to");
    OK(registry_service_delete(r, STR("shop"), STR("web"), NULL, &w.err));
    OK(registry_register(r, two, &web, 1, NOW, NULL, NULL, &w.err));
    registry_close(r);
    world_close(&w);
}

TEST(one_refused_service_refuses_the_whole_registration)
{
    struct world w = world_open();
    struct registry *r = open_registry(&w);
    struct str host = join(&w, "b", PIN_A, "shop/web/");
    struct registry_workload two[2] = {offer("shop", "web"), offer("shop", "api")};

    FAILS(registry_register(r, host, two, 2, NOW, NULL, NULL, &w.err), ERR_DENIED, "shop/api");
    CHECK(!registry_service(r, STR("shop"), STR("web")));
    registry_close(r);
    world_close(&w);
}

TEST(bad_registrations_say_what_is_wrong)
{
    static struct str any[] = {STR_INIT("0.0.0.0")}, word[] = {STR_INIT("localhost")};
    static struct registry_port none[] = {
        {STR_INIT(""), STR_INIT("http"), 0, 0}
    };
    static struct registry_port twice[] = {
        {STR_INIT("a"), STR_INIT("http"), 1, 80},
        {STR_INIT("b"), STR_INIT("http"), 2, 80}
    };
    struct world w = world_open();
    struct registry *r = open_registry(&w);
    struct str host = join(&w, "b", PIN_A, NULL);
    struct registry_workload bad = offer("shop", "Web"), pair[2];

    FAILS(registry_register(r, host, &bad, 1, NOW, NULL, NULL, &w.err), ERR_INVALID, "lower-case");
    bad = offer("shop", "a/b");
    FAILS(registry_register(r, host, &bad, 1, NOW, NULL, NULL, &w.err), ERR_INVALID, "lower-case");
    bad = offer("shop", "web");
    bad.addresses = any;
    FAILS(registry_register(r, host, &bad, 1, NOW, NULL, NULL, &w.err), ERR_INVALID, "0.0.0.0");
    bad.addresses = word;
    FAILS(registry_register(r, host, &bad, 1, NOW, NULL, NULL, &w.err), ERR_INVALID, "localhost");
    bad = offer("shop", "web");
    bad.address_count = 0;
    FAILS(registry_register(r, host, &bad, 1, NOW, NULL, NULL, &w.err), ERR_INVALID, "addresses");
    bad = offer("shop", "web");
    bad.ports = none;
    FAILS(registry_register(r, host, &bad, 1, NOW, NULL, NULL, &w.err), ERR_INVALID, "port is");
    bad.ports = twice;
    bad.port_count = 2;
    FAILS(registry_register(r, host, &bad, 1, NOW, NULL, NULL, &w.err), ERR_INVALID, "given twice");
    pair[0] = pair[1] = offer("shop", "web");
    FAILS(registry_register(r, host, pair, 2, NOW, NULL, NULL, &w.err), ERR_INVALID,
          "join the two");
    FAILS(registry_register(r, STR("nobody"), pair, 1, NOW, NULL, NULL, &w.err), ERR_MISSING,
          "host nobody is not known");
    CHECK_INT(world_count(&w, "/reg/service/"), 0);
    registry_close(r);
    world_close(&w);
}

TEST(a_service_has_the_ports_of_all_its_hosts)
{
    struct world w = world_open();
    struct registry *r = open_registry(&w);
    struct str one = join(&w, "one", PIN_A, NULL), two = join(&w, "two", PIN_B, "shop/web/");
    struct registry_workload web = offer("shop", "web");
    const struct registry_service *s;

    OK(registry_register(r, one, &web, 1, NOW, NULL, NULL, &w.err));
    web.ports = tcp;
    FAILS(registry_register(r, two, &web, 1, NOW, NULL, NULL, &w.err), ERR_CONFLICT,
          "is \"http\" on host one, not \"tcp\"");
    web.ports = admin;
    OK(registry_register(r, two, &web, 1, NOW, NULL, NULL, &w.err));
    s = registry_service(r, STR("shop"), STR("web"));
    CHECK_INT(s->port_count, 2);
    CHECK_INT(s->ports[0].service_port, 80);
    CHECK_INT(s->ports[1].service_port, 9000); /* the port itself where none was given */
    OK(registry_register(r, one, NULL, 0, NOW, NULL, NULL, &w.err));
    s = registry_service(r, STR("shop"), STR("web"));
    CHECK_INT(s->port_count, 1);
    CHECK_INT(s->ports[0].service_port, 9000);
    OK(registry_register(r, two, NULL, 0, NOW, NULL, NULL, &w.err));
    s = registry_service(r, STR("shop"), STR("web"));
    CHECK(s); /* its name, owner, ports and address wait for the next host */
    CHECK_INT(s->ports[0].service_port, 9000);
    registry_close(r);
    world_close(&w);
}

TEST(a_host_may_bring_256_services_at_once)
{
    enum { N = 256 };
    struct world w = world_open();
    struct registry *r = open_registry(&w);
    struct str host = join(&w, "b", PIN_A, NULL);
    struct registry_workload *all = calloc(N + 1, sizeof(*all));

    for (size_t i = 0; i <= N; i++)
        all[i] = offer("shop", arena_printf(&w.arena, "s-%zu", i).p);
    OK(registry_register(r, host, all, N, NOW, NULL, NULL, &w.err));
    CHECK(registry_service(r, STR("shop"), STR("s-255")));
    CHECK_INT(world_count(&w, "/reg/service/"), N);
    CHECK_INT(world_count(&w, "/reg/vip4/"), N); /* all different */
    CHECK_INT(world_count(&w, "/reg/vip6/"), N);
    FAILS(registry_register(r, host, all, N + 1, NOW, NULL, NULL, &w.err), ERR_LIMIT,
          "at most 256");
    free(all);
    registry_close(r);
    world_close(&w);
}

TEST(an_address_stays_with_its_name_until_it_is_forgotten)
{
    struct world w = world_open();
    struct registry *r = open_registry(&w);
    struct str host = join(&w, "b", PIN_A, NULL);
    struct registry_workload web = offer("shop", "web");
    struct addr first, v4, v6;

    OK(registry_register(r, host, &web, 1, NOW, NULL, NULL, &w.err));
    first = registry_service(r, STR("shop"), STR("web"))->vip4;
    FAILS(registry_service_delete(r, STR("shop"), STR("web"), NULL, &w.err), ERR_CONFLICT,
          "still offered by host b");
    FAILS(registry_vip_forget(r, STR("shop"), STR("web.shop.svc.cluster.local"), &w.err),
          ERR_CONFLICT, "delete the service first");
    OK(registry_register(r, host, NULL, 0, NOW, NULL, NULL, &w.err));
    OK(registry_service_delete(r, STR("shop"), STR("web"), NULL, &w.err));
    OK(registry_vip(r, STR("shop"), STR("web.shop.svc.cluster.local"), &v4, &v6, &w.err));
    CHECK(addr_eq(&first, &v4));
    OK(registry_vip_forget(r, STR("shop"), STR("web.shop.svc.cluster.local"), &w.err));
    CHECK_INT(world_count(&w, "/reg/vip"), 0);
    registry_close(r);
    world_close(&w);
}

/* Rows as another server's registration, or a restore, would bring them. */
TEST(an_address_that_changes_reaches_its_service_and_no_other)
{
    struct world w = world_open();
    struct registry *r = open_registry(&w);
    struct str host = join(&w, "b", PIN_A, NULL);
    struct registry_workload both[2] = {offer("shop", "web"), offer("shop", "api")};
    struct addr api;

    OK(registry_register(r, host, both, 2, NOW, NULL, NULL, &w.err));
    api = registry_service(r, STR("shop"), STR("api"))->vip4;
    world_put(&w, "/reg/vip/shop/web.shop.svc.other",
              "{\"v4\":\"240.9.9.8\",\"v6\":\"2001:2::8\"}");
    world_put(&w, "/reg/vip/shop/web.shop.svc.cluster.local",
              "{\"v4\":\"240.9.9.9\",\"v6\":\"2001:2::9\"}");
    CHECK_INT(registry_service(r, STR("shop"), STR("web"))->vip4.ip[3], 9);
    CHECK(addr_eq(&api, &registry_service(r, STR("shop"), STR("api"))->vip4));
    OK(registry_vip_forget(r, STR("shop"), STR("web.shop.svc.other"), &w.err));
    CHECK_INT(registry_service(r, STR("shop"), STR("web"))->vip4.ip[3], 9);
    registry_close(r);
    world_close(&w);
}

/* The address that the hash gives is taken by another name: the next one is given. */
TEST(a_collision_moves_on)
{
    struct world w = world_open();
    struct registry *r = open_registry(&w);
    struct addr v4, v6, next4, next6;
    char text[ADDR_TEXT_MAX], row[256], key[96];

    OK(registry_vip(r, STR("shop"), STR("web"), &v4, &v6, &w.err));
    OK(registry_vip_forget(r, STR("shop"), STR("web"), &w.err));
    snprintf(key, sizeof(key), "/reg/vip4/%s", addr_format_ip(&v4, text));
    world_put(&w, key, "{\"ns\":\"shop\",\"name\":\"other\"}");
    snprintf(row, sizeof(row), "{\"ns\":\"shop\",\"name\":\"other\",\"v4\":\"%s\",\"v6\":\"::1\"}",
             text);
    world_put(&w, "/reg/vip/shop/other", row);
    OK(registry_vip(r, STR("shop"), STR("web"), &next4, &next6, &w.err));
    CHECK(!addr_eq(&v4, &next4));
    CHECK_INT(next4.ip[0], 240);
    registry_close(r);
    world_close(&w);
}

TEST(a_cloned_disk_is_noticed_and_a_lost_answer_is_not_one)
{
    struct world w = world_open();
    struct registry *r = open_registry(&w);
    struct str host = join(&w, "b", PIN_A, NULL);
    int64_t next;

    OK(registry_host_rejoin(r, host, 1, NOW + 1000, &next, &w.err));
    CHECK_INT(next, 2);
    OK(registry_host_rejoin(r, host, 1, NOW + 2000, &next, &w.err)); /* it never heard the 2 */
    CHECK_INT(next, 2);
    FAILS(registry_host_rejoin(r, host, 1, NOW + 1000 + 600001, &next, &w.err), ERR_CONFLICT,
          "cloned disk");
    FAILS(registry_host_rejoin(r, host, 7, NOW + 2000, &next, &w.err), ERR_CONFLICT, "cloned disk");
    OK(registry_host_rejoin(r, host, 2, NOW + 700000, &next, &w.err));
    CHECK_INT(registry_host(r, host)->joins, 3);
    registry_close(r);
    world_close(&w);
}

TEST(hosts_are_renamed_described_approved_and_deleted)
{
    static const struct registry_label labels[] = {
        {STR_INIT("zone"), STR_INIT("a")}
    };
    static const struct registry_grant grants[] = {
        {STR_INIT("shop"), STR_INIT("web"), {0}}
    };
    struct world w = world_open();
    struct registry *r = open_registry(&w);
    struct str one = join(&w, "one", PIN_A, NULL), two = join(&w, "two", PIN_B, NULL);
    struct registry_workload web = offer("shop", "web"), api = offer("shop", "api");

    FAILS(registry_host_rename(r, one, STR("two"), NULL, &w.err), ERR_CONFLICT, "taken");
    FAILS(registry_host_rename(r, one, STR("No Name"), NULL, &w.err), ERR_INVALID, "not a host");
    OK(registry_host_rename(r, one, STR("uno.example"), NULL, &w.err));
    CHECK(!registry_host_named(r, STR("one")));
    CHECK(registry_host_named(r, STR("uno.example")) == registry_host(r, one));
    OK(registry_host_set(r, one, STR("10.0.0.7"), labels, 1, NULL, &w.err));
    CHECK_STR(registry_host(r, one)->address, "10.0.0.7");
    CHECK_STR(registry_host(r, one)->labels[0].value, "a");
    OK(registry_host_approve(r, two, false, grants, 1, NULL, &w.err));
    FAILS(registry_register(r, two, &api, 1, NOW, NULL, NULL, &w.err), ERR_DENIED,
          "it was granted shop/web");
    OK(registry_register(r, two, &web, 1, NOW, NULL, NULL, &w.err));
    OK(registry_host_delete(r, two, NULL, &w.err));
    CHECK(!registry_host(r, two));
    CHECK(!registry_host_named(r, STR("two")));
    CHECK(!registry_host_by_pin(r, STR(PIN_B)));
    CHECK(!registry_workload(r, two, STR("shop"), STR("web")));
    CHECK_INT(registry_host_count(r), 1);
    FAILS(registry_host_delete(r, two, NULL, &w.err), ERR_MISSING, "not known");
    registry_close(r);
    world_close(&w);
}
