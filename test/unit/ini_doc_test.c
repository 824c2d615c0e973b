/* Documents in INI: what is read, what is refused, and that writing and reading lose nothing. */
#include "mesh/ini_doc.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "mesh/base/file.h"
#include "mesh/ini_write.h"
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
        {"[ServiceAccount a]\nspec.x = 1\nspec.y = 2\n",                                      "kind ServiceAccount has no spec",                   "",                                              2,
         10,                                                                                                                                                                                               FIND_UNKNOWN_FIELD},
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

/* `pluginConfig` with so many lists in each other: the document, its spec and the config are around
 * them. */
static int parse_nested(size_t lists, enum syntax syntax, struct docs *d)
{
    struct buf b;

    buf_init(&b, 4096);
    buf_adds(&b,
             syntax == SYNTAX_INI
                 ? "[WasmPlugin a]\nurl = oci://a/b:1\npluginConfig = {\"a\":"
                 : "{apiVersion: extensions.istio.io/v1alpha1, kind: WasmPlugin, metadata: {name: "
                   "a}, spec: {url: \"oci://a/b:1\", pluginConfig: {\"a\":");
    for (size_t i = 0; i < lists; i++)
        buf_addc(&b, '[');
    for (size_t i = 0; i < lists; i++)
        buf_addc(&b, ']');
    buf_adds(&b, syntax == SYNTAX_INI ? "}\n" : "}}}\n");
    docs_parse(d, buf_str(&b), syntax);
    buf_done(&b);
    return (int)docs_count(d, FIND_LIMIT);
}

TEST(ini_is_nested_as_deep_as_yaml_and_no_deeper)
{
    static const enum syntax both[] = {SYNTAX_YAML, SYNTAX_INI};
    struct docs d;

    for (size_t i = 0; i < COUNT(both); i++) {
        CHECK_INT(parse_nested(61, both[i], &d), 0);
        docs_done(&d);
        CHECK_INT(parse_nested(62, both[i], &d), 1);
        docs_done(&d);
    }
    CHECK_INT(parse_nested(62, SYNTAX_INI, &d), 1);
    CHECK_INT(docs_find(&d, FIND_LIMIT)->line, 3);
    CHECK_INT(docs_find(&d, FIND_LIMIT)->column, 82);
    docs_done(&d);
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

/* ---- writing ---- */

/* A text of any syntax as its one object; NULL with findings printed. */
static struct node *read_back(struct str text, enum syntax syntax, struct arena *a)
{
    struct object_list list = {0};
    struct findings f;

    findings_init(&f, a);
    if (documents_read(text, STR("again"),
                       &(struct documents_how){.syntax = syntax, .takes_not_yet = true}, a, &list,
                       &f) == 0 &&
        list.count == 1)
        return encode_object(list.items[0], a);
    for (const struct finding *x = f.first; x; x = x->next)
        print_error("again:%u:%u: %.*s\n", x->line, x->column, STR_ARG(x->detail));
    print_error("%.*s\n", STR_ARG(text));
    return NULL;
}

static struct str write_as(const struct node *n, enum syntax syntax, struct arena *a)
{
    struct str text;
    struct buf b;

    buf_init(&b, 64u << 20);
    if (syntax == SYNTAX_INI)
        CHECK(ini_write_document(n, &b));
    else if (syntax == SYNTAX_JSON)
        json_write(n, 2, &b);
    else
        yaml_write(n, &b);
    CHECK(!b.failed);
    text = arena_str(a, buf_str(&b));
    buf_done(&b);
    return text;
}

/* To INI, to JSON, to YAML, and to INI again. */
static void check_round_trip(const struct node *canonical)
{
    static const enum syntax way[] = {SYNTAX_INI, SYNTAX_JSON, SYNTAX_YAML, SYNTAX_INI};
    struct str json, first = STR_NONE, text;
    struct arena a;

    arena_init(&a);
    json = write_as(canonical, SYNTAX_JSON, &a);
    for (size_t i = 0; i < COUNT(way); i++) {
        struct node *n;

        text = write_as(canonical, way[i], &a);
        n = read_back(text, way[i], &a);
        CHECK(n != NULL);
        if (!str_eq(write_as(n, SYNTAX_JSON, &a), json))
            print_error("%.*s\n%.*s\n", STR_ARG(json), STR_ARG(text));
        CHECK(str_eq(write_as(n, SYNTAX_JSON, &a), json));
        canonical = n;
        if (i == 0)
            first = text;
    }
    CHECK(str_eq(first, text));
    arena_done(&a);
}

static void check_written(const char *yaml, const char *ini)
{
    struct docs d;
    struct node *n;

    memset(&d, 0, sizeof(d));
    arena_init(&d.arena);
    findings_init(&d.findings, &d.arena);
    if (documents_read(str_from(yaml), STR("t.yaml"),
                       &(struct documents_how){.syntax = SYNTAX_YAML, .takes_not_yet = true},
                       &d.arena, &d.objects, &d.findings))
        docs_print(&d);
    CHECK_INT(d.objects.count, 1);
    n = encode_object(d.objects.items[0], &d.arena);
    if (ini)
        CHECK_STR(write_as(n, SYNTAX_INI, &d.arena), ini);
    check_round_trip(n);
    docs_done(&d);
}

TEST(a_document_reads_well_as_ini)
{
    check_written(VS_YAML
                  "spec:\n  hosts: [a, b]\n  http:\n  - timeout: 10s\n    match:\n    - uri: "
                  "{prefix: /a}\n    - headers: {x-a: {exact: b}, \":authority\": {prefix: c}}\n"
                  "    route:\n    - destination: {host: a, port: {number: 80}}\n"
                  "  - route:\n    - {destination: {host: a}, weight: 1}\n    - {destination: "
                  "{host: b}, weight: 99}\n",
                  "[VirtualService demo]\n"
                  "metadata.namespace = default\n"
                  "hosts = a\n"
                  "hosts = b\n"
                  "\n"
                  "[.http]\n"
                  "route.destination.host = a\n"
                  "route.destination.port.number = 80\n"
                  "timeout = 10s\n"
                  "\n"
                  "[.http.match]\n"
                  "uri.prefix = /a\n"
                  "\n"
                  "[.http.match]\n"
                  "headers[\":authority\"].prefix = c\n"
                  "headers.x-a.exact = b\n"
                  "\n"
                  "[.http]\n"
                  "\n"
                  "[.http.route]\n"
                  "destination.host = a\n"
                  "weight = 1\n"
                  "\n"
                  "[.http.route]\n"
                  "destination.host = b\n"
                  "weight = 99\n");
}

TEST(a_member_of_a_spec_may_be_called_metadata)
{
    check_written("apiVersion: networking.istio.io/v1\nkind: WorkloadGroup\nmetadata: {name: g, "
                  "labels: {a: b}}\nspec:\n  metadata: {labels: {app: web}}\n  template: "
                  "{serviceAccount: web}\n",
                  "[WorkloadGroup g]\n"
                  "metadata.namespace = default\n"
                  "metadata.labels.a = b\n"
                  "spec.metadata.labels.app = web\n"
                  "template.serviceAccount = web\n");
}

TEST(empty_absent_and_numbers_in_quotes_stay_apart)
{
    check_written(VS_YAML
                  "spec:\n  hosts: [a]\n  http:\n  - retries: {}\n    match:\n    - headers: "
                  "{x-a: {exact: \"\"}, x-b: {}, x-c: {exact: \"1.50\"}}\n    route:\n    - "
                  "destination: {host: a, subset: \"10\"}\n",
                  "[VirtualService demo]\n"
                  "metadata.namespace = default\n"
                  "hosts = a\n"
                  "\n"
                  "[.http]\n"
                  "match.headers.x-a.exact = \"\"\n"
                  "match.headers.x-b = {}\n"
                  "match.headers.x-c.exact = 1.50\n"
                  "route.destination.host = a\n"
                  "route.destination.subset = 10\n"
                  "retries = {}\n");
}

TEST(what_is_free_stays_json)
{
    check_written(
        "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {name: w}\n"
        "spec:\n  url: oci://a/b:1\n  pluginConfig: {a: [], b: {}, c: null, d: \"10\", e: "
        "10, f: \"\", g: [{h: true}], i: \"x ; y\", longer: texts}\n",
        "[WasmPlugin w]\n"
        "metadata.namespace = default\n"
        "url = oci://a/b:1\n"
        "pluginConfig = {\"a\": [], \"b\": {}, \"c\": null, \"d\": \"10\", \"e\": 10, "
        "\"f\": \"\", \"g\": [{\"h\": true}], \"i\": \"x ; y\",\n"
        "    \"longer\": \"texts\"}\n");
}

#define LETTERS_50  "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwx"
#define LETTERS_200 LETTERS_50 LETTERS_50 LETTERS_50 LETTERS_50

TEST(a_name_that_no_section_can_hold_is_metadata)
{
    check_written("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: " LETTERS_50 "\n",
                  "[Namespace]\nmetadata.name = " LETTERS_50 "\n");
}

/* Annotations take any text, as keys and as values. */
static void check_text(struct str key, struct str value)
{
    struct node *root, *meta, *annotations;
    struct arena a;

    arena_init(&a);
    root = node_new(&a, NODE_MAP);
    meta = node_new(&a, NODE_MAP);
    annotations = node_new(&a, NODE_MAP);
    node_set(root, STR("apiVersion"), node_string(&a, STR("v1")));
    node_set(root, STR("kind"), node_string(&a, STR("Namespace")));
    node_set(root, STR("metadata"), meta);
    node_set(meta, STR("name"), node_string(&a, STR("a")));
    node_set(meta, STR("annotations"), annotations);
    node_set(annotations, key, node_string(&a, value));
    check_round_trip(root);
    arena_done(&a);
}

TEST(awkward_texts_come_back)
{
    static const struct str texts[] = {
        STR_INIT(""),
        STR_INIT(" leading"),
        STR_INIT("trailing "),
        STR_INIT("\ttab"),
        STR_INIT("\"quoted\""),
        STR_INIT("a \"b\" c"),
        STR_INIT("back\\slash"),
        STR_INIT("'single'"),
        STR_INIT("a ;no comment"),
        STR_INIT(";"),
        STR_INIT("a;b"),
        STR_INIT("# no comment"),
        STR_INIT("a # b"),
        STR_INIT("a=b"),
        STR_INIT("= b"),
        STR_INIT(": b"),
        STR_INIT("a: b"),
        STR_INIT("[section]"),
        STR_INIT("[]"),
        STR_INIT("{}"),
        STR_INIT("{not json"),
        STR_INIT("[::1]:80"),
        STR_INIT("10"),
        STR_INIT("1e3"),
        STR_INIT("true"),
        STR_INIT("null"),
        STR_INIT("~"),
        STR_INIT("one\ntwo"),
        STR_INIT("one\n\n\nthree\n"),
        STR_INIT("\n"),
        STR_INIT("a\r\nb"),
        STR_INIT("a\rb"),
        STR_INIT("bell\x07 and \x7F"),
        STR_INIT("äöü ✓ 日本語 🙂"),
        STR_INIT("\xC2\x85\xE2\x80\xA8\xEF\xBB\xBF"),
        STR_INIT("a.b"),
        STR_INIT("a/b"),
        STR_INIT("a.b/c.d"),
        STR_INIT("a]b"),
        STR_INIT("a\"].b[\"c"),
        STR_INIT(LETTERS_200),
        STR_INIT(LETTERS_200 LETTERS_200 " ; " LETTERS_200),
        STR_INIT("🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂"
                 "🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂"
                 "🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂"),
    };

    for (size_t i = 0; i < COUNT(texts); i++) {
        check_text(STR("key"), texts[i]);
        check_text(texts[i], STR("value"));
        check_text(texts[i], texts[i]);
    }
}

TEST(every_length_around_the_end_of_a_line_comes_back)
{
    static const char fill[] = LETTERS_200 LETTERS_50;

    for (size_t n = 80; n < 230; n++) {
        check_text(STR("key"), (struct str){fill, n});
        check_text((struct str){fill, n}, STR("value"));
        check_text((struct str){fill, n}, (struct str){fill, n});
    }
}

TEST(a_certificate_is_one_line_of_the_file_each)
{
    check_written(
        "apiVersion: weft/v1\nkind: Credential\nmetadata: {name: a}\nspec:\n  caCertificates: |\n"
        "    -----BEGIN CERTIFICATE-----\n"
        "    MIIBszCCAVmgAwIBAgIUJ0000000000000000000000000000000000000000000\n"
        "    -----END CERTIFICATE-----\n",
        "[Credential a]\n"
        "metadata.namespace = default\n"
        "caCertificates = \n"
        "    \"-----BEGIN CERTIFICATE-----\\n\"\n"
        "    \"MIIBszCCAVmgAwIBAgIUJ0000000000000000000000000000000000000000000\\n\"\n"
        "    \"-----END CERTIFICATE-----\\n\"\n");
}

/* ---- what Istio has ---- */

struct tally {
    size_t texts, objects;
};

static void check_text_of_istio(struct str text, const char *file, struct tally *t)
{
    struct object_list list = {0};
    struct findings f;
    struct arena a;

    arena_init(&a);
    findings_init(&f, &a);
    t->texts++;
    if (documents_read(text, str_from(file),
                       &(struct documents_how){.syntax = SYNTAX_AUTO, .takes_not_yet = true}, &a,
                       &list, &f))
        f.errors = 0; /* the others of the text are there */
    for (size_t i = 0; i < list.count; i++)
        check_round_trip(encode_object(list.items[i], &a));
    t->objects += list.count;
    arena_done(&a);
}

static void check_file(const char *path, struct tally *t)
{
    struct buf text;
    struct err err;

    buf_init(&text, 16u << 20);
    CHECK_INT(file_read(path, &text, &err), 0);
    check_text_of_istio(buf_str(&text), path, t);
    buf_done(&text);
}

static void check_cases(const char *path, struct tally *t)
{
    struct str rest, line;
    struct buf text;
    struct err err;

    buf_init(&text, 16u << 20);
    CHECK_INT(file_read(path, &text, &err), 0);
    rest = buf_str(&text);
    while (str_next(&rest, '\n', &line)) {
        struct arena a;
        struct node *c;

        arena_init(&a);
        if (line.n) {
            CHECK_INT(json_read(line, &a, &c, &err), 0);
            check_text_of_istio(node_text(c, "yaml"), "case.yaml", t);
        }
        arena_done(&a);
    }
    buf_done(&text);
}

static void walk(const char *dir, struct tally *t)
{
    struct dirent *e;
    DIR *d = opendir(dir);

    CHECK(d != NULL);
    while ((e = readdir(d))) {
        char path[1024];
        struct stat st;
        struct str name = str_from(e->d_name);

        if (name.p[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
        CHECK_INT(stat(path, &st), 0);
        if (S_ISDIR(st.st_mode))
            walk(path, t);
        else if (str_ends(name, STR(".yaml")))
            check_file(path, t);
    }
    closedir(d);
}

TEST(all_that_istio_has_goes_to_ini_and_back)
{
    const char *corpus = getenv("WEFT_CORPUS") ? getenv("WEFT_CORPUS") : "../shared/corpus";
    struct tally t = {0};
    char path[1024];
    struct stat st;

    snprintf(path, sizeof(path), "%s/istio", corpus);
    if (stat(path, &st) != 0) {
        CHECK(getenv("CI") == NULL || strcmp(getenv("CI"), "true") != 0);
        print_message("skipped: no corpus at %s (set WEFT_CORPUS)\n", path);
        skip();
    }
    walk(path, &t);
    snprintf(path, sizeof(path), "%s/istio/validation_cases.jsonl", corpus);
    check_cases(path, &t);
    print_message("Istio's documents: %zu texts, %zu objects to INI, JSON, YAML and back\n",
                  t.texts, t.objects);
    CHECK(t.objects >= 500);
}
