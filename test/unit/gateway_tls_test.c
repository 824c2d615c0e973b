/* Gateways by server name: which server a ClientHello belongs to, and what `tls` rules do with it. */
#include "mesh/base/map.h"
#include "test/unit/compile_world.h"

#define FILES "serverCertificate: /c, privateKey: /k"

static void gateway(struct world *w, const char *name, int day, const char *servers)
{
    world_apply(w, arena_printf(&w->arena,
                                "apiVersion: networking.istio.io/v1\nkind: Gateway\n"
                                "metadata: {name: %s, namespace: default, creationTimestamp: 2026-01-%02dT00:00:00Z}\n"
                                "spec: {selector: {gw: edge}, servers: %s}\n",
                                name, day, servers)
                       .p);
}

static void rule(struct world *w, const char *name, const char *spec)
{
    world_apply(w, arena_printf(&w->arena,
                                "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
                                "metadata: {name: %s, namespace: default}\nspec: %s\n",
                                name, spec)
                       .p);
}

static void start(struct world *w)
{
    world_init(w);
    world_service(w, "default", "a", "10.1.0.1", "http:HTTP:80");
    world_service(w, "default", "b", "10.1.0.2", "tls:TLS:443");
    world_service(w, "default", "c", "10.1.0.3", "db:TCP:5432");
    world_local(w, "edge", "edge", 0, "", "gw=edge");
}

static const struct listener *chain(struct world *w, const char *name)
{
    struct addr at = {.family = 4, .port = 443};

    return snapshot_chain(w->s, &at, str_from(name));
}

TEST(a_server_is_found_by_its_hosts)
{
    struct world w;
    const struct listener *l;

    start(&w);
    gateway(&w, "gw", 1,
            "[{port: {number: 443, name: one, protocol: HTTPS}, hosts: [x.test], tls: {mode: SIMPLE, " FILES "}}, "
            "{port: {number: 443, name: wild, protocol: HTTPS}, hosts: ['*/*.x.test'], tls: {mode: MUTUAL, " FILES
            ", caCertificates: /ca, subjectAltNames: [me.test], minProtocolVersion: TLSV1_3}}]");
    rule(&w, "r", "{hosts: ['x.test'], gateways: [gw], http: [{route: [{destination: {host: a}}]}]}");
    world_compile(&w);
    l = world_gate(&w, "gateway_0.0.0.0:443");
    CHECK(l && l->reads_sni && !l->is_chain && !l->http);
    l = chain(&w, "x.test");
    CHECK(l && l->is_chain);
    CHECK_STR(l->name, "https.443.one.gw.default");
    CHECK_INT(l->tls->client, TLS_CLIENT_NONE);
    CHECK_STR(l->tls->material.creds, "files:gateway cert=/c key=/k");
    CHECK_TEXT(world_vhost_text(&w, l->http, "x.test"), "80||a.default");
    l = chain(&w, "deep.down.x.test");
    CHECK_STR(l->name, "https.443.wild.gw.default");
    CHECK_INT(l->tls->client, TLS_CLIENT_REQUIRED);
    CHECK_STR(l->tls->client_names, "me.test");
    CHECK_INT(l->tls->min_version, 13);
    CHECK_STR(l->tls->material.texts[TLS_TEXT_CA].file, "/ca");
    CHECK(!chain(&w, "y.test"));
    CHECK(!chain(&w, ""));
    CHECK_INT(w.f.errors, 0);
    world_done(&w);
}

#define SPKI "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" /* of nothing, as is the next */
#define HASH "E3:B0:C4:42:98:FC:1C:14:9A:FB:F4:C8:99:6F:B9:24:27:AE:41:E4:64:9B:93:4C:A4:95:99:1B:78:52:B8:55"
#define HEX  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

TEST(clients_may_be_known_by_hash)
{
    struct world w;

    start(&w);
    gateway(&w, "gw", 1,
            "[{port: {number: 443, name: one, protocol: HTTPS}, hosts: [x.test], tls: {mode: MUTUAL, caCertificates: /ca, " FILES
            ", verifyCertificateSpki: ['" SPKI "'], verifyCertificateHash: ['" HASH "', " HEX "]}}]");
    world_compile(&w);
    CHECK_STR(chain(&w, "x.test")->tls->client_pins, "spki:" HEX " hash:" HEX " hash:" HEX);
    world_done(&w);
}

TEST(the_older_gateway_has_a_name_that_two_want)
{
    struct world w;

    start(&w);
    gateway(&w, "late", 2, "[{port: {number: 443, name: p, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, " FILES "}}]");
    gateway(&w, "early", 1, "[{port: {number: 443, name: p, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE, " FILES "}}]");
    gateway(&w, "plain", 3, "[{port: {number: 443, name: p, protocol: HTTP}, hosts: ['*']}]");
    world_compile(&w);
    CHECK_STR(chain(&w, "any.test")->name, "https.443.p.early.default");
    CHECK_STR(chain(&w, "")->name, "https.443.p.early.default");
    CHECK_INT(w.f.warnings, 2); /* plain text on a port of TLS, and the name that is taken */
    CHECK_STR(w.f.first->object, "Gateway default/plain");
    CHECK_STR(w.f.last->object, "Gateway default/late");
    CHECK_STR(w.f.last->detail, "the server on port 443 is left out: an older server has the host * on this port");
    world_done(&w);
}

TEST(what_cannot_be_opened_is_told)
{
    struct world w;

    start(&w);
    gateway(&w, "gw", 1,
            "[{port: {number: 443, name: one, protocol: HTTPS}, hosts: [x.test], tls: {mode: SIMPLE, credentialName: none}}, "
            "{port: {number: 443, name: old, protocol: HTTPS}, hosts: [y.test], tls: {mode: SIMPLE, " FILES
            ", maxProtocolVersion: TLSV1_1}}]");
    world_compile(&w);
    CHECK(!chain(&w, "x.test"));
    CHECK(!chain(&w, "y.test"));
    CHECK_INT(w.f.warnings, 2);
    world_done(&w);
}

TEST(tls_that_is_passed_on_goes_by_name)
{
    struct world w;
    const struct listener *l;

    start(&w);
    gateway(&w, "gw", 1, "[{port: {number: 443, name: p, protocol: TLS}, hosts: ['*.x.test'], tls: {mode: PASSTHROUGH}}]");
    rule(&w, "r",
         "{hosts: ['*.x.test'], gateways: [gw], tls: ["
         "{match: [{sniHosts: ['*.x.test']}], route: [{destination: {host: c, port: {number: 5432}}}]}, "
         "{match: [{sniHosts: [B.x.test]}, {sniHosts: [also.x.test], port: 8443}], route: [{destination: {host: b, port: {number: 443}}}]}]}");
    world_compile(&w);
    l = chain(&w, "b.x.test");
    CHECK(l && !l->tls && !l->http);
    CHECK_INT(l->tcp_count, 2); /* the other port's is not here */
    CHECK_STR(l->tcp[0].server_names[0], "*.x.test");
    CHECK_STR(l->tcp[1].server_names[0], "b.x.test");
    CHECK_STR(l->tcp[1].clusters[0].cluster, "outbound|443||b.default.svc.cluster.local");
    world_done(&w);
}

TEST(tls_rules_are_for_ports_of_tls)
{
    struct world w;
    const struct listener *l;

    start(&w);
    rule(&w, "b",
         "{hosts: [b.default.svc.cluster.local], tls: [{match: [{sniHosts: [b.default.svc.cluster.local]}], route: [{destination: {host: c, port: {number: 5432}}}]}], "
         "tcp: [{route: [{destination: {host: a, port: {number: 80}}}]}]}");
    rule(&w, "c",
         "{hosts: [c.default.svc.cluster.local], tls: [{match: [{sniHosts: [c.default.svc.cluster.local]}], route: [{destination: {host: a, port: {number: 80}}}]}]}");
    world_compile(&w);
    l = world_listener(&w, "10.1.0.2:443");
    CHECK(l->reads_sni);
    CHECK_INT(l->tcp_count, 1); /* a name that no rule wants is refused */
    CHECK_STR(l->tcp[0].clusters[0].cluster, "outbound|5432||c.default.svc.cluster.local");
    l = world_listener(&w, "10.1.0.3:5432");
    CHECK(!l->reads_sni);
    CHECK_TEXT(world_tcp(&w, l), "5432||c.default");
    world_done(&w);
}

TEST(plain_text_is_sent_to_https)
{
    struct world w;
    const struct route_table *t;
    const struct vhost *v;

    start(&w);
    gateway(&w, "gw", 1,
            "[{port: {number: 80, name: p, protocol: HTTP}, hosts: ['default/x.test'], tls: {httpsRedirect: true}}, "
            "{port: {number: 80, name: q, protocol: HTTP2}, hosts: [y.test]}]");
    rule(&w, "r", "{hosts: ['x.test', 'y.test'], gateways: [gw], http: [{route: [{destination: {host: a}}]}]}");
    world_compile(&w);
    t = world_gate(&w, "gateway_0.0.0.0:80")->http;
    v = route_table_find(t, STR("x.test"));
    CHECK(v && v->route_count == 1);
    CHECK_INT(v->routes[0].action, ROUTE_REDIRECT);
    CHECK_INT(v->routes[0].redirect.status, 301);
    CHECK_STR(v->routes[0].redirect.scheme, "https");
    CHECK_TEXT(world_vhost_text(&w, t, "y.test"), "80||a.default");
    world_done(&w);
}

/* ---- what is shown, and whom it believes ---- */

#define PEM(mark, text) "\"-----BEGIN " mark "-----\\n" text "\\n-----END " mark "-----\""
#define SHOWN(text)     "certificate: " PEM("CERTIFICATE", text) ", privateKey: " PEM("PRIVATE KEY", text)

static void credential(struct world *w, const char *name, const char *spec)
{
    world_apply(w, arena_printf(&w->arena,
                                "apiVersion: weft/v1\nkind: Credential\nmetadata: {name: %s, namespace: edge}\nspec: {%s}\n",
                                name, spec)
                       .p);
}

/* Of a server with these settings in a world with all the Credentials; NULL: it is not opened. */
static const struct tls_material *material(struct world *w, const char *tls)
{
    start(w);
    credential(w, "both", SHOWN("A") ", caCertificates: " PEM("CERTIFICATE", "OWN") ", crl: " PEM("X509 CRL", "OWNLIST"));
    credential(w, "bare", SHOWN("B"));
    credential(w, "bare-cacert", "caCertificates: " PEM("CERTIFICATE", "ASIDE"));
    credential(w, "lone", SHOWN("C"));
    credential(w, "clients", "caCertificates: " PEM("CERTIFICATE", "CLIENTS") ", crl: " PEM("X509 CRL", "CLIENTSLIST"));
    gateway(w, "gw", 1,
            arena_printf(&w->arena, "[{port: {number: 443, name: one, protocol: HTTPS}, hosts: [x.test], tls: {%s}}]", tls).p);
    world_compile(w);
    return chain(w, "x.test") ? &chain(w, "x.test")->tls->material : NULL;
}

/* "C" of -----BEGIN...-----\nC\n-----END...-----, or the file. */
static struct str source(const struct tls_material *m, enum tls_text_kind kind)
{
    struct str rest = m->texts[kind].pem, line;

    if (!str_next(&rest, '\n', &line) || !str_next(&rest, '\n', &line))
        return m->texts[kind].file;
    return line;
}

TEST(what_a_server_shows_and_whom_it_believes)
{
    static const struct {
        const char *tls, *key;
        const char *texts[TLS_TEXTS]; /* NULL: none; all: it is not opened */
    } rows[] = {
        {"mode: SIMPLE, credentialNames: [bare, both]", "credential:gateway:edge/bare cert#", {NULL, NULL, "B", "B", "A", "A"}},
        {"mode: SIMPLE, credentialNames: [bare, none]", NULL, {NULL}},
        {"mode: MUTUAL, caCertificates: /ca, caCrl: /crl, tlsCertificates: [{serverCertificate: /1, privateKey: /2}, "
         "{serverCertificate: /3, privateKey: /4}]",
         "files:gateway ca=/ca crl=/crl cert=/1 key=/2 cert2=/3 key2=/4", {"/ca", "/crl", "/1", "/2", "/3", "/4"}},
        {"mode: MUTUAL, credentialName: both", "credential:gateway:edge/both ca#", {"OWN", "OWNLIST", "A", "A"}},
        /* a Credential for clients beats the other one's authorities */
        {"mode: MUTUAL, credentialName: both, caCertCredentialName: clients", "credential:gateway:edge/both ca#",
         {"CLIENTS", "CLIENTSLIST", "A", "A"}},
        {"mode: OPTIONAL_MUTUAL, credentialName: bare, caCrl: /crl", "credential:gateway:edge/bare ca#",
         {"ASIDE", "/crl", "B", "B"}},
        {"mode: MUTUAL, credentialNames: [lone, both]", "credential:gateway:edge/lone ca#",
         {"OWN", "OWNLIST", "C", "C", "A", "A"}},
        {"mode: MUTUAL, " FILES ", caCertificates: /ca, caCertCredentialName: clients", "files:gateway ca#", {"CLIENTS", "CLIENTSLIST", "/c", "/k"}},
        {"mode: MUTUAL, credentialName: lone", NULL, {NULL}},
        {"mode: MUTUAL, credentialName: both, caCertCredentialName: lone", NULL, {NULL}},
        /* nobody is asked */
        {"mode: SIMPLE, credentialName: both", "credential:gateway:edge/both cert#", {NULL, NULL, "A", "A"}},
    };
    struct world w;

    for (size_t i = 0; i < COUNT(rows); i++) {
        const struct tls_material *m = material(&w, rows[i].tls);

        if ((m != NULL) != (rows[i].key != NULL))
            fail_msg("row %zu: %.*s", i, STR_ARG(w.f.first ? w.f.first->detail : STR_NONE));
        CHECK_INT(w.f.warnings, m ? 0 : 1);
        CHECK(!m || str_starts(m->creds, str_from(rows[i].key)));
        for (size_t k = 0; m && k < TLS_TEXTS; k++)
            CHECK_STR(source(m, (enum tls_text_kind)k), rows[i].texts[k] ? rows[i].texts[k] : "");
        world_done(&w);
    }
}
