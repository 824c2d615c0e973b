/* Documents in INI: what is read, and what is refused. */
#include "mesh/ini_doc.h"

#include "test/unit/doc_world.h"

#define VS_YAML                                                                                    \
    "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: demo\n"

/* ---- reading ---- */

static void parse_ini(struct docs *d, struct str text)
{
    docs_parse(d, text, SYNTAX_INI);
    if (d->result != 0)
        docs_print(d);
    CHECK_INT(d->result, 0);
}

/* Both texts give the same objects. */
static void check_same(const char *ini, const char *yaml)
{
    struct docs a, b;

    parse_ini(&a, str_from(ini));
    docs_parse(&b, str_from(yaml), SYNTAX_YAML);
    if (b.result != 0)
        docs_print(&b);
    CHECK_INT(b.result, 0);
    CHECK_INT(a.objects.count, b.objects.count);
    for (size_t i = 0; i < a.objects.count; i++)
        CHECK(node_eq(encode_object(a.objects.items[i], &a.arena),
                      encode_object(b.objects.items[i], &b.arena)));
    docs_done(&a);
    docs_done(&b);
}

TEST(sections_are_documents_and_elements_of_lists)
{
    check_same("; two ways of /api\n"
               "[VirtualService demo]\n"
               "metadata.namespace = shop\n"
               "metadata.labels[\"app.kubernetes.io/name\"] = web\n"
               "hosts    = demo.example.com\n"
               "hosts    = demo.example.org\n"
               "\n"
               "[.http]\n"
               "timeout                       = 10s\n"
               "retries.attempts              = 3\n"
               "retries.perTryTimeout         = 2s\n"
               "route.destination.host        = demo-svc\n"
               "route.destination.port.number = 8080\n"
               "[.http.match]\n"
               "uri.prefix = /api\n"
               "[.http.match]\n"
               "uri.prefix = /health\n"
               "headers.x-user.exact = \"10\"\n"
               "[.http]\n"
               "[.http.route]\n"
               "destination.host = other\n"
               "weight = 100\n",
               VS_YAML "  namespace: shop\n  labels: {app.kubernetes.io/name: web}\n"
                       "spec:\n  hosts: [demo.example.com, demo.example.org]\n  http:\n"
                       "  - timeout: 10s\n    retries: {attempts: 3, perTryTimeout: 2s}\n"
                       "    route: [{destination: {host: demo-svc, port: {number: 8080}}}]\n"
                       "    match: [{uri: {prefix: /api}}, {uri: {prefix: /health}, headers: "
                       "{x-user: {exact: \"10\"}}}]\n"
                       "  - route: [{destination: {host: other}, weight: 100}]\n");
}

TEST(several_documents_stand_in_one_file)
{
    check_same(
        "[Namespace shop]\n[ServiceAccount web]\nmetadata.namespace = shop\n"
        "[PeerAuthentication default]\napiVersion = security.istio.io/v1beta1\n"
        "mtls.mode = STRICT\nportLevelMtls.8080.mode = DISABLE\nselector.matchLabels.app = web\n",
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\n"
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web, namespace: shop}\n---\n"
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: "
        "default}\nspec:\n  mtls: {mode: STRICT}\n  portLevelMtls: {8080: {mode: "
        "DISABLE}}\n  selector: {matchLabels: {app: web}}\n");
}

TEST(lists_and_messages_may_be_json)
{
    check_same("[VirtualService demo]\nhosts = [\"a\", \"b.example.com\"]\n"
               "http = [{\"route\": [{\"destination\": {\"host\": \"a\"}}],\n"
               "   \"match\": [{\"uri\": {\"prefix\": \"/long\"\n   \"er\"}}]}]\n",
               VS_YAML "spec:\n  hosts: [a, b.example.com]\n  http:\n  - match: [{uri: {prefix: "
                       "/longer}}]\n    route: [{destination: {host: a}}]\n");
}

TEST(findings_of_decode_stand_at_their_line)
{
    struct docs d;
    const struct finding *x;

    docs_parse(&d,
               STR("[VirtualService demo]\nhosts = demo\n[.http]\ntimeout = soon\n"
                   "[.http.route]\ndestination.host = a\ndestination.hist = b\n"),
               SYNTAX_INI);
    CHECK_INT(d.findings.errors, 2);
    x = docs_find(&d, FIND_UNKNOWN_FIELD);
    CHECK_INT(x->line, 7);
    CHECK_STR(x->pointer, "/spec/http/0/route/0/destination/hist");
    CHECK_STR(x->hint, "did you mean \"host\"?");
    x = d.findings.first;
    CHECK_INT(x->line, 4);
    CHECK_INT(x->column, 11);
    CHECK_INT(x->document, 1);
    CHECK_STR(x->object, "VirtualService default/demo");
    docs_done(&d);
}

TEST(what_no_schema_leads_to_is_refused)
{
    static const struct {
        const char *text, *detail, *hint;
        unsigned line, column;
        enum finding_code code;
    } rows[] = {
        {"[.http]\n",                                                                         "[.http] stands before any document",
         "a document begins with [KIND NAME], such as [VirtualService reviews]",                                                                                                                    1, 2,  FIND_PARSE        },
        {"[VirtualService shop/a]\nhosts = a\n",
         "[VirtualService shop/a]: a section has the name only, without a namespace",                                                              "write metadata.namespace = NAMESPACE below it", 1, 17, FIND_ENVELOPE     },
        {"[Virtualservice a]\nhosts = a\n[.http]\n",                                          "unknown kind \"Virtualservice\"",
         "did you mean \"VirtualService\"?",                                                                                                                                                        1, 2,  FIND_ENVELOPE     },
        {"[VirtualService a]\nhosts = a\n[.htpp]\nroute.destination.host = a\n",
         "[.htpp]: unknown field \"htpp\" in VirtualService",                                                                                      "did you mean \"http\"?",                        3, 1,
         FIND_UNKNOWN_FIELD                                                                                                                                                                                                  },
        {"[VirtualService a]\n[.http x]\n",                                                   "[.http x]: an element of a list has no name here",  "",
         2,                                                                                                                                                                                            2,  FIND_PARSE        },
        {"[VirtualService a]\nhosts = a\n[.hosts]\n",
         "[.hosts]: a section of its own has only an element of a list of messages",                                                               "write hosts = value",                           3, 1,  FIND_TYPE         },
        {"[VirtualService a]\nmetadata.name = b\n",                                           "metadata.name is given twice",
         "the first is in line 1",                                                                                                                                                                  2, 1,  FIND_DUPLICATE_KEY},
        {"[Namespace a]\n[.http]\n",                                                          "[.http]: kind Namespace has no spec",               "",                                              2, 2,
         FIND_UNKNOWN_FIELD                                                                                                                                                                                                  },
        {"[Namespace a]\nhosts = a\n",                                                        "unknown field \"hosts\" beside metadata and spec",  "",                                              2, 1,
         FIND_UNKNOWN_FIELD                                                                                                                                                                                                  },
        {"[Secret a]\nx = 1\n",
         "kind Secret is not supported: weft is not a cluster: it runs beside programs that you "
         "start yourself; use a Credential of apiVersion weft/v1",                                                                                 "pass it by with --skip-kinds Secret",           1, 2,  FIND_UNSUPPORTED  },
        {"[VirtualService a]\nmetadata.foo = b\nhosts = a\ntcp.route.destination.host = a\n",
         "unknown field \"foo\" in metadata",                                                                                                      "",                                              2, 1,  FIND_UNKNOWN_FIELD},
        {"hosts = a\n",                                                                       "a setting stands outside any [section]: \"hosts\"", "",                                              1, 1,  FIND_PARSE        },
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct docs d;
        const struct finding *x;

        docs_parse(&d, str_from(rows[i].text), SYNTAX_INI);
        x = d.findings.first;
        CHECK_INT(d.result, -1);
        CHECK_INT(d.objects.count, 0);
        CHECK(x != NULL);
        if (d.findings.errors != 1)
            docs_print(&d);
        CHECK_INT(d.findings.errors, 1);
        CHECK_STR(x->detail, rows[i].detail);
        CHECK_STR(x->hint, rows[i].hint);
        CHECK_INT(x->line, rows[i].line);
        CHECK_INT(x->column, rows[i].column);
        CHECK_INT(x->code, rows[i].code);
        docs_done(&d);
    }
}

TEST(a_document_with_a_finding_does_not_hide_those_of_the_others)
{
    struct docs d;

    docs_parse(
        &d,
        STR("[VirtualService a]\n[.htpp]\n[Namespace b]\n[PeerAuthentication c]\nmtls.mode = "
            "STRIKT\n"),
        SYNTAX_INI);
    CHECK_INT(d.findings.errors, 2);
    CHECK_INT(d.findings.first->line, 2);
    CHECK_INT(d.findings.first->document, 1);
    CHECK_INT(d.findings.last->line, 5);
    CHECK_INT(d.findings.last->document, 3);
    CHECK_INT(d.objects.count, 1);
    docs_done(&d);
}

TEST(the_syntax_is_told_by_the_ending_or_the_first_character)
{
    static const struct {
        const char *file, *text;
        bool taken;
    } rows[] = {
        {"x.ini",     "[Namespace a]\n",                                                              true },
        {"(stdin)",   "[Namespace a]\n",                                                              true },
        {"(stdin)",   "; a comment\n\n# another\n  [Namespace a]\n",                                  true },
        {"(request)", "\xEF\xBB\xBF[Namespace a]\n",                                                  true },
        {"x.yaml",    "[Namespace a]\n",                                                              false},
        {"x.ini",     "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n",                       false},
        {"(stdin)",   "# c\napiVersion: v1\nkind: Namespace\nmetadata: {name: a}",                    true },
        {"(stdin)",   "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"a\"}}",
         true                                                                                              },
        {"(stdin)",   "[{\"apiVersion\":\"v1\"}]",                                                    false},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct object_list list = {0};
        struct findings f;
        struct arena a;

        arena_init(&a);
        findings_init(&f, &a);
        CHECK_INT(documents_parse(str_from(rows[i].text), str_from(rows[i].file), SYNTAX_AUTO, &a,
                                  &list, &f),
                  rows[i].taken ? 0 : -1);
        CHECK_INT(list.count, rows[i].taken);
        arena_done(&a);
    }
}

TEST(a_document_knows_which_bytes_it_came_from)
{
    struct str text = STR("; x\n[Namespace a]\nmetadata.labels.a = b\n[Namespace b]\n");
    struct node_document *docs;
    struct findings f;
    struct arena a;

    arena_init(&a);
    findings_init(&f, &a);
    CHECK_INT(ini_doc_parse(text, STR("t.ini"), &a, &docs, &f), 0);
    CHECK_STR(str_sub(text, docs->offset, docs->length), "[Namespace a]\nmetadata.labels.a = b\n");
    CHECK_STR(str_sub(text, docs->next->offset, docs->next->length), "[Namespace b]\n");
    CHECK_INT(docs->next->number, 2);
    CHECK(docs->next->next == NULL);
    arena_done(&a);
}
