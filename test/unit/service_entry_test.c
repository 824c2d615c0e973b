/* Several documents that define one host: which of them counts, and who is told. Source: fields.md 4.6. */
#include "test/unit/catalog_world.h"

/* An entry of namespace shop for api.example.com, made on that day; `more` are further lines. */
#define API_OF(name, ns, day, labels, more)                                                                        \
    "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: " name ", namespace: " ns          \
    ", creationTimestamp: 2026-01-0" day "T00:00:00Z, labels: {" labels "}}\nspec:\n  hosts: [api.example.com]\n" more
#define API(name, day, labels, more) API_OF(name, "shop", day, labels, more)
#define KEY                          "shop/api.example.com"
#define STATIC(port, ip)                                                                                           \
    "  resolution: STATIC\n  ports: [{name: p" port ", number: " port ", protocol: HTTP}]\n  endpoints: [{address: " ip \
    "}]\n"

TEST(entries_of_one_host_that_agree_are_one_service_with_the_ports_of_both)
{
    const struct service *s;
    struct world w;

    world_init(&w, API("young", "2", "", STATIC("81", "192.0.2.2") "  location: MESH_INTERNAL\n")
                       API("old", "1", "", STATIC("80", "192.0.2.1") "  subjectAltNames: [first]\n  exportTo: ['*']\n"));
    build(&w);
    s = service(&w, KEY);
    CHECK_TEXT(ports(s), "80>80 p80 HTTP, 81>81 p81 HTTP");
    CHECK_TEXT(endpoints(&w, KEY), "192.0.2.1:80,81 192.0.2.2:80,81");
    CHECK(s->is_external); /* as the oldest says */
    CHECK_STR(s->sans, "first");
    CHECK(s->since_s == 1767225600);
    world_done(&w);
}

TEST(of_one_port_number_the_oldest_definition_stays)
{
    struct world w;

    world_init(&w, API("old", "1", "", STATIC("80", "192.0.2.1"))
                       API("young", "2", "",
                           "  resolution: STATIC\n  ports: [{name: other, number: 80, protocol: TCP, targetPort: 9}]\n"));
    build(&w);
    CHECK_TEXT(ports(service(&w, KEY)), "80>80 p80 HTTP");
    world_done(&w);
}

TEST(a_younger_entry_that_says_otherwise_has_no_part_in_the_host)
{
    static const char *const rows[] = {
        API("young", "2", "", "  resolution: NONE\n  addresses: [192.0.2.7]\n  ports: [{name: x, number: 81, protocol: HTTP}]\n"),
        API("young", "2", "a: b", STATIC("81", "192.0.2.2")),
        API("young", "2", "", STATIC("81", "192.0.2.2") "  exportTo: ['.']\n"),
        API("young", "2", "", "  resolution: STATIC\n  ports: [{name: x, number: 81, protocol: HTTP}]\n"
                              "  workloadSelector: {labels: {app: x}}\n"),
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct validate_scope scope = {.domain = "cluster.local"};
        struct arena a;
        struct world w;

        arena_init(&a);
        world_init(&w, arena_printf(&a, "%s%s", rows[i], API("old", "1", "", STATIC("80", "192.0.2.1"))).p);
        build(&w);
        CHECK_TEXT(ports(service(&w, KEY)), "80>80 p80 HTTP");
        CHECK_TEXT(endpoints(&w, KEY), "192.0.2.1:80");
        CHECK(!service(&w, KEY)->is_original_dst);
        CHECK_STR(service(&w, KEY)->export_to, "");
        validate_set(&w.docs.objects, &scope, &w.docs.findings);
        CHECK_INT(w.docs.findings.errors, 0);
        CHECK_INT(docs_count(&w.docs, FIND_WARNING), 2); /* each is told of the other */
        CHECK_STR(docs_find(&w.docs, FIND_WARNING)->detail,
                  "ServiceEntry shop/old defines api.example.com too, and says otherwise: only the older of the two counts");
        world_done(&w);
        arena_done(&a);
    }
}

TEST(entries_of_other_namespaces_are_services_of_their_own)
{
    struct validate_scope scope = {.domain = "cluster.local"};
    struct world w;

    world_init(&w, API("a", "1", "", STATIC("80", "192.0.2.1"))
                       API_OF("a", "other", "2", "",
                              "  resolution: NONE\n  addresses: [192.0.2.7]\n"
                              "  ports: [{name: x, number: 81, protocol: HTTP}]\n"));
    build(&w);
    CHECK_TEXT(ports(service(&w, KEY)), "80>80 p80 HTTP");
    CHECK_TEXT(ports(service(&w, "other/api.example.com")), "81>81 x HTTP");
    CHECK(service(&w, "other/api.example.com")->since_s > service(&w, KEY)->since_s);
    validate_set(&w.docs.objects, &scope, &w.docs.findings);
    CHECK_INT(w.docs.findings.warnings, 0);
    world_done(&w);
}

/* ---- a host that the mesh runs itself ---- */

#define FOR_REVIEWS(more)                                                                                          \
    "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: more, namespace: shop}\nspec:\n" \
    "  hosts: [reviews.shop.svc.cluster.local]\n  exportTo: ['.']\n"                                               \
    "  ports: [{name: extra, number: 81, protocol: HTTP}]\n" more

static bool knows_all(void *arg, struct str fqdn, struct str ns)
{
    (void)arg;  /* nothing to look up in */
    (void)fqdn; /* every one */
    (void)ns;   /* likewise */
    return true;
}

TEST(an_entry_adds_endpoints_and_ports_to_a_registered_service_and_changes_nothing_else)
{
    struct world w;

    world_init(&w, FOR_REVIEWS("  location: MESH_INTERNAL\n  resolution: STATIC\n  endpoints: [{address: 192.0.2.9}]\n"));
    registered(&w, "shop", "reviews", "10.0.0.1", 80, 9080, "app=reviews");
    build(&w);
    CHECK_TEXT(ports(service(&w, REVIEWS)), "80>9080 http HTTP, 81>81 extra HTTP");
    CHECK_TEXT(endpoints(&w, REVIEWS), "10.0.0.1:9080,81 192.0.2.9:9080,81");
    CHECK_INT(service(&w, REVIEWS)->since_s, 0);
    CHECK_STR(service(&w, REVIEWS)->export_to, "");
    world_done(&w);
}

TEST(an_entry_from_outside_cannot_take_over_a_service_of_the_mesh)
{
    static const char *const rows[] = {
        FOR_REVIEWS("  location: MESH_INTERNAL\n  resolution: NONE\n  addresses: [192.0.2.7]\n"),
        FOR_REVIEWS("  resolution: STATIC\n  endpoints: [{address: 192.0.2.9}]\n"),
    };
    struct validate_scope scope = {.domain = "cluster.local", .knows_host = knows_all};

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct world w;

        world_init(&w, rows[i]);
        registered(&w, "shop", "reviews", "10.0.0.1", 80, 9080, "app=reviews");
        build(&w);
        CHECK_TEXT(ports(service(&w, REVIEWS)), "80>9080 http HTTP");
        CHECK_TEXT(endpoints(&w, REVIEWS), "10.0.0.1:9080");
        CHECK(!service(&w, REVIEWS)->is_external);
        CHECK(!service(&w, REVIEWS)->is_original_dst);
        validate_set(&w.docs.objects, &scope, &w.docs.findings);
        CHECK_INT(docs_count(&w.docs, FIND_WARNING), 1);
        CHECK(str_starts(docs_find(&w.docs, FIND_WARNING)->detail, STR("the mesh runs reviews.shop.svc.cluster.local itself")));
        world_done(&w);
    }
}

TEST(a_service_document_goes_before_an_older_entry)
{
    struct world w;

    world_init(&w, FOR_REVIEWS("  location: MESH_INTERNAL\n  resolution: STATIC\n  endpoints: [{address: 192.0.2.9}]\n")
                   "---\napiVersion: v1\nkind: Service\nmetadata: {name: reviews, namespace: shop, creationTimestamp: "
                   "2026-05-05T00:00:00Z}\nspec: {ports: [{name: http, port: 80, targetPort: 9080}]}\n");
    build(&w);
    CHECK_TEXT(ports(service(&w, REVIEWS)), "80>9080 http HTTP, 81>81 extra HTTP");
    CHECK_STR(service(&w, REVIEWS)->export_to, "");
    world_done(&w);
}

TEST(a_service_document_says_in_an_annotation_who_sees_it)
{
    struct world w;

    world_init(&w, "apiVersion: v1\nkind: Service\nmetadata: {name: reviews, namespace: shop, annotations: "
                   "{networking.istio.io/exportTo: '., test'}}\nspec: {ports: [{port: 80}]}\n");
    registered(&w, "shop", "reviews", "10.0.0.1", 80, 9080, "app=reviews");
    seen(&w);
    CHECK_STR(service(&w, REVIEWS)->export_to, ". test");
    CHECK(!sees_service(&w, REVIEWS)); /* from default */
    world_done(&w);
}

TEST(services_without_an_export_have_that_of_the_mesh)
{
    struct world w;

    world_init(&w, "apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\nmetadata: {name: default, namespace: istio-system}\n"
                   "spec: {defaultServiceExportTo: ['.'], defaultVirtualServiceExportTo: ['.']}\n"
                   API("a", "1", "", STATIC("80", "192.0.2.1"))
                       API_OF("b", "test", "1", "", STATIC("80", "192.0.2.1") "  exportTo: ['*']\n")
                           RULE("VirtualService", "silent", "shop",
                                "{hosts: [ratings.shop.svc.cluster.local], http: [{directResponse: {status: 200}}]}")
                               RULE("VirtualService", "public", "shop",
                                    "{hosts: [ratings.shop.svc.cluster.local], exportTo: [\"*\"], http: [{directResponse: "
                                    "{status: 200}}]}")
                   "---\napiVersion: v1\nkind: Service\nmetadata: {name: ratings, namespace: shop, annotations: "
                   "{networking.istio.io/exportTo: '*'}}\nspec: {ports: [{port: 80}]}\n");
    registered(&w, "shop", "reviews", "10.0.0.1", 80, 9080, "app=reviews");
    subscribe(&w, RATINGS);
    CHECK_TEXT(seen(&w), "endpoints/" RATINGS " object/MeshConfig/istio-system/default object/VirtualService/shop/public");
    CHECK(!sees_service(&w, KEY));
    CHECK(!sees_service(&w, REVIEWS));
    CHECK(sees_service(&w, RATINGS));
    CHECK(sees_service(&w, "test/api.example.com"));
    world_done(&w);
}

/* ---- what travels to an agent ---- */

TEST(a_service_is_sent_to_every_namespace_of_a_list_however_long)
{
    char text[8192], names[4096] = "";
    struct world w;

    for (int i = 0; i < 100; i++)
        snprintf(names + strlen(names), sizeof(names) - strlen(names), "ns%d, ", i);
    snprintf(text, sizeof(text), "%s  exportTo: [%sdefault]\n", API("a", "1", "", STATIC("80", "192.0.2.1")), names);
    world_init(&w, text);
    seen(&w);
    CHECK(sees_service(&w, KEY));
    world_done(&w);
}

TEST(the_age_of_a_service_travels_with_it)
{
    struct catalog c;
    struct world w;

    world_init(&w, API("a", "1", "", STATIC("80", "192.0.2.1")));
    seen(&w);
    catalog_init(&c);
    CHECK_INT(catalog_read(&w.seen, &c, &w.docs.findings), 0);
    CHECK_INT(c.service_count, 1);
    CHECK(c.services[0]->since_s == 1767225600);
    catalog_done(&c);
    world_done(&w);
}

TEST(a_gateways_rules_are_found_by_every_form_of_its_name)
{
    static const char *const refs[] = {"edge/gw", "gw.edge", "gw.edge.svc.cluster.local"};
    struct arena a;

    arena_init(&a);
    for (size_t i = 0; i < COUNT(refs); i++) {
        struct world w;

        world_init(&w, arena_printf(&a,
                                    NOTHING RULE("Gateway", "gw", "edge",
                                                 "{selector: {istio: edge}, servers: [{port: {number: 80, name: http, "
                                                 "protocol: HTTP}, hosts: [\"*\"]}]}")
                                        RULE("VirtualService", "web", "shop",
                                             "{hosts: [shop.example.com], gateways: [%s], http: [{route: [{destination: "
                                             "{host: reviews}}]}]}"),
                                    refs[i])
                           .p);
        two_services(&w);
        w.own[w.viewer.service_count++] = (struct local_service){
            .ns = STR("edge"), .name = STR("edge"), .labels = labels_of(&w, "istio=edge"), .is_gateway = true};
        CHECK_TEXT(seen(&w), "endpoints/" REVIEWS " object/Gateway/edge/gw object/VirtualService/shop/web");
        world_done(&w);
    }
    arena_done(&a);
}
