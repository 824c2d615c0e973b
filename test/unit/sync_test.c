/* Resource sets, registrations, and the way of a catalog through resources and back. */
#include "mesh/sync.h"

#include "mesh/base/json.h"
#include "mesh/base/limits.h"
#include "mesh/decode.h"
#include "test/test.h"

/* ---- sets ---- */

static void digest(const struct resources *r, char out[65])
{
    struct buf b;

    buf_init(&b, 100);
    resources_digest(r, &b);
    CHECK_INT(b.n, 64);
    memcpy(out, b.p, 64);
    out[64] = 0;
    buf_done(&b);
}

static struct str get(const struct resources *r, const char *key)
{
    const struct resource *one = map_get(&r->by_key, str_from(key));

    return one ? (struct str){one->json, one->n} : STR_NONE;
}

TEST(the_digest_of_nothing_is_32_zero_bytes)
{
    struct resources r;
    char hex[65];

    resources_init(&r);
    digest(&r, hex);
    CHECK_TEXT(hex, "0000000000000000000000000000000000000000000000000000000000000000");
    resources_done(&r);
}

TEST(the_digest_is_chained_as_the_protocol_says)
{
    struct resources r;
    char hex[65];

    /* SHA-256(32 zero bytes + SHA-256("mesh\n{}\n")), by another implementation. */
    resources_init(&r);
    resources_put(&r, STR("mesh"), STR("{}"));
    digest(&r, hex);
    CHECK_TEXT(hex, "d529fae708ba97b6a9ad629f4b32a981be5bb8293dcbc9294ac4ecf343009e40");
    resources_done(&r);
}

TEST(the_order_of_arrival_does_not_change_the_digest)
{
    struct resources a, b;
    char x[65], y[65];

    resources_init(&a);
    resources_init(&b);
    resources_put(&a, STR("mesh"), STR("{}"));
    resources_put(&a, STR("service/a/b"), STR("{\"x\":1}"));
    resources_put(&b, STR("service/a/b"), STR("{\"x\":2}"));
    resources_put(&b, STR("gone"), STR("{}"));
    resources_put(&b, STR("mesh"), STR("{}"));
    digest(&a, x);
    digest(&b, y);
    CHECK(strcmp(x, y) != 0);
    resources_put(&b, STR("service/a/b"), STR("{\"x\":1}")); /* replaces */
    resources_del(&b, STR("gone"));
    resources_del(&b, STR("never there"));
    digest(&b, y);
    CHECK_TEXT(x, y);
    resources_done(&a);
    resources_done(&b);
}

TEST(a_copy_stands_on_its_own)
{
    struct resources a, b;

    resources_init(&a);
    resources_init(&b);
    resources_put(&a, STR("k"), STR("1"));
    resources_copy(&b, &a);
    resources_put(&a, STR("k"), STR("2"));
    CHECK_STR(get(&b, "k"), "1");
    resources_done(&a);
    CHECK_STR(get(&b, "k"), "1");
    resources_done(&b);
}

TEST(a_written_set_reads_back_with_the_same_digest)
{
    struct resources a, b;
    char x[65], y[65];
    struct buf text;
    struct arena arena;
    struct str epoch;
    uint64_t revision;
    struct err err;

    arena_init(&arena);
    buf_init(&text, 10000);
    resources_init(&a);
    resources_init(&b);
    resources_put(&a, STR("mesh"), STR("{\"trustDomain\":\"td\"}"));
    resources_put(&a, STR("object/VirtualService/shop/\"x\""),
                  STR("{\"s\":\"\\u0001 \\\\ \xc3\xa9 \\\"\",\"n\":[0.50,-1,1e9,true,null,{}]}"));
    resources_write(&a, STR("ep\"och"), 18446744073709551615u, &text);
    CHECK_INT(resources_read(buf_str(&text), &b, &epoch, &revision, &arena, &err), 0);
    CHECK_STR(epoch, "ep\"och");
    CHECK(revision == UINT64_MAX);
    digest(&a, x);
    digest(&b, y);
    CHECK_TEXT(x, y);
    resources_done(&a);
    resources_done(&b);
    buf_done(&text);
    arena_done(&arena);
}

TEST(a_damaged_file_is_refused)
{
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "{\"epoch\":\"e\",\"revision\":1}",
        "{\"epoch\":\"e\",\"items\":{}}",
        "{\"epoch\":\"e\",\"revision\":-1,\"items\":{}}",
        "{\"epoch\":\"e\",\"revision\":1,\"items\":[]}",
        "{\"epoch\":\"e\",\"revision\":1,\"items\":{\"a\":1,\"a\":2}}",
        "{\"epoch\":\"e\",\"revision\":1,\"items\":{}} ...",
    };
    struct resources r;
    struct arena arena;
    struct str epoch;
    uint64_t revision;

    arena_init(&arena);
    resources_init(&r);
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct err err = {0};

        CHECK_INT(resources_read(str_from(bad[i]), &r, &epoch, &revision, &arena, &err), -1);
        CHECK_INT(err.code, ERR_INVALID);
    }
    resources_done(&r);
    arena_done(&arena);
}

/* ---- catalog ---- */

#define MESH                                                                                       \
    "{\"trustDomain\":\"cluster.local\",\"domain\":\"cluster.local\",\"rootNamespace\":"           \
    "\"istio-system\"}"
#define KEY "shop/reviews.shop.svc.cluster.local"

struct reading {
    struct resources r;
    struct catalog c;
    struct findings f;
    struct arena arena;
};

static void reading_init(struct reading *x)
{
    resources_init(&x->r);
    catalog_init(&x->c);
    arena_init(&x->arena);
    findings_init(&x->f, &x->arena);
    resources_put(&x->r, STR("mesh"), STR(MESH));
}

static void reading_done(struct reading *x)
{
    resources_done(&x->r);
    catalog_done(&x->c);
    arena_done(&x->arena);
}

static struct addr ip(const char *text)
{
    struct addr a;

    CHECK(addr_parse_ip(str_from(text), &a));
    return a;
}

TEST(a_service_comes_back_with_every_member)
{
    struct service_port ports[] = {
        {80,   9080, STR("http"), STR("HTTP"), false, false},
        {3306, 3306, STR("db"),   STR_NONE,    false, false}
    };
    struct addr addresses[] = {ip("10.0.0.7"), ip("fd00::7")};
    const struct service s = {.ns = STR("shop"),
                              .name = STR("reviews"),
                              .fqdn = STR("reviews.shop.svc.cluster.local"),
                              .vip4 = ip("240.240.1.2"),
                              .vip6 = ip("2001:2::5"),
                              .addresses = addresses,
                              .address_count = 2,
                              .ports = ports,
                              .port_count = 2,
                              .is_external = true,
                              .is_original_dst = true,
                              .sans = STR("a b"),
                              .export_to = STR(". other")};
    const struct service *got;
    struct reading x;
    struct buf b;

    reading_init(&x);
    buf_init(&b, 4096);
    catalog_write_service(&s, &b);
    resources_put(&x.r, STR("service/" KEY), buf_str(&b));
    CHECK_INT(catalog_read(&x.r, &x.c, &x.f), 0);
    CHECK_INT(x.c.service_count, 1);
    got = x.c.services[0];
    CHECK(map_get(&x.c.by_service, STR(KEY)) == got);
    CHECK_STR(got->key, KEY);
    CHECK_STR(got->ns, "shop");
    CHECK_STR(got->name, "reviews");
    CHECK_STR(got->fqdn, "reviews.shop.svc.cluster.local");
    CHECK(addr_eq(&got->vip4, &s.vip4) && addr_eq(&got->vip6, &s.vip6));
    CHECK_INT(got->address_count, 2);
    CHECK(addr_eq(&got->addresses[1], &addresses[1]));
    CHECK_INT(got->port_count, 2);
    CHECK_INT(got->ports[0].number, 80);
    CHECK_INT(got->ports[0].target_port, 9080);
    CHECK_STR(got->ports[0].protocol, "HTTP");
    CHECK_STR(got->ports[1].name, "db");
    CHECK_STR(got->ports[1].protocol, "");
    CHECK(got->is_external && got->is_original_dst);
    CHECK_STR(got->sans, "a b");
    CHECK_STR(got->export_to, ". other");
    CHECK(!map_get(&x.c.subscribed, STR(KEY)));
    buf_done(&b);
    reading_done(&x);
}

TEST(endpoints_come_back_and_say_that_the_service_is_complete)
{
    struct service_port ports[] = {
        {0, 9081, STR("http"), STR("HTTP"), true, true}
    };
    struct label labels[] = {
        {STR("app"),     STR("reviews")},
        {STR("version"), STR("v\"2")   }
    };
    struct workload w = {
        .name = STR("reviews"),
        .ns = STR("shop"),
        .account = STR("rev"),
        .host_id = STR("01HOST"),
        .host = STR("vm1"),
        .address = ip("10.0.0.9"),
        .ports = ports,
        .port_count = 1,
        .labels = {labels, 2},
        .identity = STR("spiffe://cluster.local/ns/shop/sa/rev"),
        .is_mesh = true,
        .weight = 7,
        .locality = STR("eu/a")
    };
    struct workload *list[] = {&w};
    const struct workload *got;
    struct reading x;
    struct buf b;

    reading_init(&x);
    buf_init(&b, 4096);
    catalog_write_endpoints(list, 1, &b);
    resources_put(&x.r, STR("endpoints/" KEY), buf_str(&b));
    CHECK_INT(catalog_read(&x.r, &x.c, &x.f), 0);
    CHECK(map_get(&x.c.subscribed, STR(KEY)));
    CHECK_INT(x.c.workload_count, 1);
    got = x.c.workloads[0];
    CHECK_STR(got->service, KEY);
    CHECK_STR(got->name, "reviews");
    CHECK_STR(got->ns, "shop");
    CHECK_STR(got->account, "rev");
    CHECK_STR(got->host_id, "01HOST");
    CHECK_STR(got->host, "vm1");
    CHECK(addr_eq(&got->address, &w.address));
    CHECK_INT(got->ports[0].target_port, 9081);
    CHECK(got->ports[0].is_plain);
    CHECK_STR(labels_get(&got->labels, STR("version")), "v\"2");
    CHECK_STR(got->identity, "spiffe://cluster.local/ns/shop/sa/rev");
    CHECK(got->is_mesh);
    CHECK_INT(got->weight, 7);
    CHECK_STR(got->locality, "eu/a");
    buf_done(&b);
    reading_done(&x);
}

TEST(a_service_without_endpoints_is_complete_too)
{
    struct reading x;
    struct buf b;

    reading_init(&x);
    buf_init(&b, 4096);
    catalog_write_endpoints(NULL, 0, &b);
    resources_put(&x.r, STR("endpoints/" KEY), buf_str(&b));
    CHECK_INT(catalog_read(&x.r, &x.c, &x.f), 0);
    CHECK(map_get(&x.c.subscribed, STR(KEY)));
    CHECK_INT(x.c.workload_count, 0);
    buf_done(&b);
    reading_done(&x);
}

TEST(objects_come_back_decoded)
{
    struct reading x;

    reading_init(&x);
    resources_put(&x.r, STR("object/PeerAuthentication/shop/p"),
                  STR("{\"apiVersion\":\"security.istio.io/v1\",\"kind\":\"PeerAuthentication\","
                      "\"metadata\":{\"name\":\"p\",\"namespace\":\"shop\"},\"spec\":{\"mtls\":{"
                      "\"mode\":\"STRICT\"}}}"));
    CHECK_INT(catalog_read(&x.r, &x.c, &x.f), 0);
    CHECK_INT(x.c.object_count, 1);
    CHECK_INT(x.c.objects[0]->meta.kind->id, KIND_PEER_AUTHENTICATION);
    CHECK_STR(x.c.objects[0]->meta.ns, "shop");
    CHECK_STR(x.c.trust_domain, "cluster.local");
    CHECK_STR(x.c.root_namespace, "istio-system");
    reading_done(&x);
}

TEST(what_a_newer_server_adds_is_left_alone)
{
    struct reading x;

    reading_init(&x);
    resources_put(&x.r, STR("future/x/y"), STR("{\"a\":1}"));
    resources_put(&x.r, STR("future"), STR("[]"));
    CHECK_INT(catalog_read(&x.r, &x.c, &x.f), 0);
    reading_done(&x);
}

/* The resource is an error whose text names it. */
static void check_malformed(const char *key, const char *json)
{
    struct reading x;
    size_t at;

    reading_init(&x);
    resources_put(&x.r, str_from(key), str_from(json));
    if (catalog_read(&x.r, &x.c, &x.f) != -1)
        print_error("%s %s was taken\n", key, json);
    CHECK(x.f.errors >= 1);
    if (!str_find(x.f.first->detail, str_from(key), &at) && !str_eq(x.f.first->file, str_from(key)))
        print_error("\"%.*s\" does not name %s\n", STR_ARG(x.f.first->detail), key);
    CHECK(str_find(x.f.first->detail, str_from(key), &at) ||
          str_eq(x.f.first->file, str_from(key)));
    reading_done(&x);
}

TEST(a_malformed_resource_is_a_finding_that_names_it)
{
    check_malformed("mesh", "{\"trustDomain\":\"td\"}");
    check_malformed("mesh", "not json");
    check_malformed("service/" KEY, "{}");
    check_malformed("service/" KEY, "17");
    check_malformed("service/" KEY, "{\"namespace\":\"other\",\"fqdn\":\"other\",\"ports\":[]}");
#define SERVICE(more)                                                                              \
    "{\"namespace\":\"shop\",\"name\":\"reviews\",\"fqdn\":\"reviews.shop.svc.cluster."            \
    "local\"," more "}"
    check_malformed("service/" KEY, SERVICE("\"vip4\":\"240.240.1\""));
    check_malformed("service/" KEY, SERVICE("\"ports\":[{\"name\":\"a\",\"number\":65536}]"));
    check_malformed("service/" KEY, SERVICE("\"ports\":[{\"name\":\"a\",\"targetPort\":\"x\"}]"));
    check_malformed("service/" KEY, SERVICE("\"addresses\":[\"10.0.0.0/8\"]"));
#define ENDPOINT(more) "{\"workloads\":[{\"name\":\"a\"" more "}]}"
    check_malformed("endpoints/" KEY, ENDPOINT(""));
    check_malformed("endpoints/" KEY, ENDPOINT(",\"address\":\"vm1\""));
    check_malformed("endpoints/" KEY, ENDPOINT(",\"address\":\"10.0.0.1\",\"weight\":-1"));
    check_malformed("endpoints/" KEY,
                    ENDPOINT(",\"address\":\"10.0.0.1\",\"ports\":[{\"targetPort\":70000}]"));
    check_malformed("object/Gateway/a/b", "{}");
    check_malformed("object/Gateway/a/b", "[]");
    check_malformed("object/VirtualService/a/b",
                    "{\"apiVersion\":\"networking.istio.io/v1\",\"kind\":\"VirtualService\","
                    "\"metadata\":{\"name\":\"b\",\"namespace\":\"a\"},\"spec\":{\"hosts\":[\"h\"],"
                    "\"surprise\":1}}");
}

TEST(a_set_without_the_mesh_is_refused)
{
    struct reading x;

    reading_init(&x);
    resources_del(&x.r, STR("mesh"));
    CHECK_INT(catalog_read(&x.r, &x.c, &x.f), -1);
    CHECK_STR(x.f.first->detail, "the resource mesh is missing");
    reading_done(&x);
}

/* ---- registrations ---- */

TEST(a_registration_comes_back_with_every_member)
{
    struct label labels[] = {
        {STR("app"), STR("reviews")}
    };
    struct local_service s =
                             {
                                 .ns = STR("shop"),
                                 .name = STR("reviews"),
                                 .account = STR("rev"),
                                 .port = 9080,
                                 .service_port = 80,
                                 .protocol = STR("http"),
                                 .app = ip("127.0.0.1"),
                                 .listen = ip("10.0.0.2"),
                                 .locality = STR("r/z"),
                                 .labels = {labels, 1}
    },
                         got;
    struct arena arena;
    struct node *n;
    struct err err;
    struct buf b;

    arena_init(&arena);
    buf_init(&b, 4096);
    s.app.port = s.listen.port = 9080;
    sync_write_registration(&s, &b);
    CHECK_INT(json_read(buf_str(&b), &arena, &n, &err), 0);
    CHECK_INT(sync_read_registration(n, &arena, &got, &err), 0);
    CHECK_STR(got.ns, "shop");
    CHECK_STR(got.name, "reviews");
    CHECK_STR(got.account, "rev");
    CHECK_INT(got.port, 9080);
    CHECK_INT(got.service_port, 80);
    CHECK_STR(got.protocol, "http");
    CHECK(addr_eq(&got.app, &s.app));
    CHECK(addr_eq(&got.listen, &s.listen));
    CHECK_STR(labels_get(&got.labels, STR("app")), "reviews");
    CHECK_STR(got.locality, "r/z");
    CHECK(!got.is_gateway);
    buf_done(&b);
    arena_done(&arena);
}

static int read_registration(const char *json, struct local_service *out, struct err *err)
{
    struct arena arena;
    struct node *n;
    int rc;

    arena_init(&arena);
    CHECK_INT(json_read(str_from(json), &arena, &n, err), 0);
    rc = sync_read_registration(n, &arena, out, err);
    arena_done(&arena); /* only numbers and flags of *out are looked at after this */
    return rc;
}

TEST(a_gateway_registers_without_a_port)
{
    struct local_service got;
    struct err err;

    CHECK_INT(
        read_registration("{\"namespace\":\"a\",\"name\":\"b\",\"account\":\"b\",\"gateway\":true}",
                          &got, &err),
        0);
    CHECK(got.is_gateway);
    CHECK_INT(got.port, 0);
}

#define LISTENS(at)                                                                                \
    "{\"namespace\":\"a\",\"name\":\"b\",\"account\":\"b\",\"port\":1,\"servicePort\":1,\"listen\":\"" at "\"}"

TEST(a_registration_that_lacks_something_is_refused)
{
    static const char *const bad[] = {
        "{}",
        "[]",
        "\"x\"",
        "{\"namespace\":\"a\",\"name\":\"b\",\"port\":1,\"servicePort\":1}",
        "{\"namespace\":\"a\",\"account\":\"b\",\"port\":1,\"servicePort\":1}",
        "{\"name\":\"a\",\"account\":\"b\",\"port\":1,\"servicePort\":1}",
        "{\"namespace\":\"a\",\"name\":\"b\",\"account\":\"b\"}",
        "{\"namespace\":\"a\",\"name\":\"b\",\"account\":\"b\",\"port\":1}",
        "{\"namespace\":\"a\",\"name\":\"b\",\"account\":\"b\",\"port\":0,\"servicePort\":1}",
        "{\"namespace\":\"a\",\"name\":\"b\",\"account\":\"b\",\"port\":65536,\"servicePort\":1}",
        "{\"namespace\":\"a\",\"name\":\"b\",\"account\":\"b\",\"port\":1,\"servicePort\":1,"
        "\"app\":\"vm\"}",
        /* what would reach every other host */
        "{\"namespace\":\"a\",\"name\":\"b\",\"account\":\"b\",\"port\":1,\"servicePort\":1,"
        "\"protocol\":\"htpp\"}",
        "{\"namespace\":\"a\",\"name\":\"b\",\"account\":\"b\",\"port\":1,\"servicePort\":1,"
        "\"labels\":{\"app\":\"a b\"}}",
        "{\"namespace\":\"a\",\"name\":\"b\",\"account\":\"b\",\"port\":1,\"servicePort\":1,"
        "\"labels\":{\"-\":\"a\"}}",
        LISTENS("127.0.0.1:1"), /* callers would dial themselves, */
        LISTENS("0.0.0.0:1"),
        LISTENS("[::1]:1"),
        LISTENS("169.254.169.254:1"), /* or what their cloud tells only them, */
        LISTENS("[fe80::1]:1"),
        LISTENS("240.240.0.1:1"), /* or another service */
        LISTENS("224.0.0.1:1"),
        LISTENS("10.0.0.2:2"), /* not its port */
        LISTENS("10.0.0.2"),
        LISTENS("vm"),
        "{\"namespace\":\"a\",\"name\":\"b\",\"account\":\"b\",\"gateway\":true,\"locality\":\"r//z\"}",
    };

    for (size_t i = 0; i < COUNT(bad); i++) {
        struct local_service got;
        struct err err = {0};

        CHECK_INT(read_registration(bad[i], &got, &err), -1);
        CHECK_INT(err.code, ERR_INVALID);
    }
}
