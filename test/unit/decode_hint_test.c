/* What people get wrong, and what they are told: the place and what was probably meant. */
#include "test/unit/doc_world.h"

struct row {
    const char *text;
    unsigned line;
    const char *detail, *hint; /* the beginnings */
};

/* The first error of each; further ones are not looked at. */
static void check_rows(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct finding *x;
        struct docs d;

        docs_parse(&d, str_from(rows[i].text), SYNTAX_AUTO);
        x = d.findings.first;
        if (!x || x->line != rows[i].line || !str_starts(x->detail, str_from(rows[i].detail)) ||
            !str_starts(x->hint, str_from(rows[i].hint)) || (rows[i].hint[0] == 0 && x->hint.n)) {
            docs_print(&d);
            fail_msg("%s\nwant line %u: %s: %s", rows[i].text, rows[i].line, rows[i].detail, rows[i].hint);
        }
        docs_done(&d);
    }
}

#define ONE_RULE(rule) VS("  hosts: [web]\n  http:\n  - " rule "\n")
#define ROUTE_TO(to)   ONE_RULE("route: [{destination: " to "}]")

TEST(a_value_of_another_shape_is_told_with_the_shape_that_is_meant)
{
    static const struct row rows[] = {
        {VS("  hosts: web\n"), 7, "hosts must be a list of strings, not a string", "write [web]"},
        {VS("  hosts: [web]\n  http:\n    route: []\n"), 9, "http must be a list of maps, not a map", "a list is meant"},
        {ONE_RULE("match: [{uri: /api}]"), 9, "uri must be a map", "write {exact: /api}, or prefix or regex"},
        {ROUTE_TO("web"), 9, "destination must be a map, not a string", "write {host: web}"},
        {ROUTE_TO("[{host: web}]"), 9, "destination must be a map, not a list", "one is meant, not a list: take the dash"},
        {ROUTE_TO("{host: web, port: 80}"), 9, "port must be a map, not a number", "write {number: 80}"},
        {ONE_RULE("{timeout: 5, route: [{destination: {host: a}}]}"), 9, "timeout must be a duration", "write 5s, or 5ms"},
        {ONE_RULE("{retries: 3, route: [{destination: {host: a}}]}"), 9, "retries must be a map", "write {attempts: 3}"},
        {ONE_RULE("{retries: {attempts: 1, retryOn: [5xx, reset]}, route: [{destination: {host: a}}]}"), 9,
         "retryOn must be a string",
         "one string is meant: \"5xx,reset\""},
        {ONE_RULE("redirect: https://web/"), 9, "redirect must be a map", "write {uri: https://web/}"},
        {ONE_RULE("{fault: 5, route: [{destination: {host: a}}]}"), 9, "fault must be a map", "its fields are delay, abort"},
        {PA("  mtls: strict\n"), 7, "mtls must be a map", "write {mode: STRICT}"},
        {PA("  selector: {matchLabels: app=web}\n"), 7, "matchLabels must be a map", "write {app: web}"},
        {PA("  selector: {matchLabels: {app: 1}}\n"), 7, "app must be a string", "write it in quotes: \"1\""},
        {DR("  host: a\n  subsets:\n  - name: v1\n    labels:\n    - v: '1'\n"), 11,
         "labels must be a map", "take the dashes away"},
        {SVC("  ports: [{port: 80}]\n  selector: {matchLabels: {app: a}}\n"), 8, "matchLabels must be a string, not a map",
         "write its members without \"matchLabels\""},
        {SE("  hosts: [a.b]\n  resolution: STATIC\n  endpoints: [10.0.0.1]\n"), 9,
         "an element must be a map", "write {address: 10.0.0.1}"},
        {SE("  hosts: [a.b]\n  resolution: STATIC\n  endpoints: 10.0.0.1\n"), 9,
         "endpoints must be a list of maps", "write [{address: 10.0.0.1}]"},
        {ONE_RULE("{timeout: '5', route: [{destination: {host: a}}]}"), 9,
         "timeout: \"5\" is not a duration", "write 5s, or 5ms"},
        {ONE_RULE("{timeout: soon, route: [{destination: {host: a}}]}"), 9, "timeout: \"soon\" is not a duration", ""},
        {"- a\n", 1, "a document must be a map with apiVersion", ""},
    };

    check_rows(rows, COUNT(rows));
}

TEST(a_field_in_the_wrong_place_is_told_where_it_belongs)
{
    static const struct row rows[] = {
        {PA("  mode: STRICT\n"), 7, "unknown field \"mode\"", "it belongs under mtls"},
        {PA("  selector: {app: web}\n"), 7, "unknown field \"app\" in WorkloadSelector", "it belongs under matchLabels"},
        {DR("  host: a\n  loadBalancer: {simple: RANDOM}\n"), 8,
         "unknown field \"loadBalancer\"", "it belongs under trafficPolicy"},
        {ONE_RULE("destination: {host: web}"), 9, "unknown field \"destination\" in HTTPRoute", "it belongs under route"},
        {ROUTE_TO("{host: web, timeout: 5s}"), 9, "unknown field \"timeout\" in Destination", "there is one in spec.http"},
        {DR("  host: a\n  trafficPolicy: {host: b}\n"), 8,
         "unknown field \"host\" in TrafficPolicy", "it belongs into spec itself"},
        {"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nhosts: [a]\n", 4,
         "unknown field \"hosts\" beside metadata and spec", "it belongs under spec"},
        {"apiVersion: v1\nkind: Namespace\nname: a\nmetadata: {name: b}\n", 3,
         "unknown field \"name\" beside", "it belongs under metadata"},
        {"apiVersion: v1\nkind: Namespace\nmetadata: {name: b, lables: {}}\n", 3, "unknown field \"lables\" in metadata",
         "did you mean \"labels\"?"},
        {ROUTE_TO("{host: web, subst: v1}"), 9, "unknown field \"subst\" in Destination", "did you mean \"subset\"?"},
    };

    check_rows(rows, COUNT(rows));
}

TEST(a_word_that_is_nearly_right_is_told_with_the_right_one)
{
    static const struct row rows[] = {
        {DR("  host: a\n  trafficPolicy: {loadBalancer: {simple: ROUNDROBIN}}\n"), 8,
         "simple: \"ROUNDROBIN\" is not one of its values",
         "did you mean \"ROUND_ROBIN\"? It takes "},
        {DR("  host: a\n  trafficPolicy: {tls: {mode: simple}}\n"), 8, "mode: \"simple\" is not one", "did you mean \"SIMPLE\"?"},
        {PA("  mtls: {mode: ON}\n"), 7, "mode: \"ON\" is not one of its values", "use "},
    };

    check_rows(rows, COUNT(rows));
}

TEST(text_that_cannot_be_read_is_told_with_what_people_mean_by_it)
{
    static const struct row rows[] = {
        {"a:\n\tb: c\n", 2, "found character that cannot start any token", "this is a tab: indent with blanks"},
        {"a: [b\nc: d\n", 2,
         "did not find expected ',' or ']' while parsing a flow sequence that begins on line 1", "a '[' is open"},
        {"a: b: c\n", 1, "mapping values are not allowed", "quote a value that has \": \" in it"},
        {"a: @b\n", 1, "found character that cannot start any token", "quote a value that begins with '@'"},
        {"a: [{{ .Values.b }}]\n", 1, "a key must be a string", "fill in templates"},
        {"a:\n  b: c\n d: e\n", 3, "did not find expected key", "the line is indented differently"},
        {"{\"a\": 1,}", 1, "the ',' before this '}' is too many", ""},
        {"{\"a\": {\"b\": 1}", 1, "the text ends within an object", ""},
        {"[1, 2", 1, "the text ends within a list", ""},
    };

    check_rows(rows, COUNT(rows));
}

/* One mistake, one finding: what was refused is not complained of again as missing or empty. */
TEST(a_mistake_has_no_echo)
{
    static const char *const texts[] = {
        ONE_RULE("redirect: https://web/"),
        ONE_RULE("{redirect: https://web/, headers: {}}"),
        ROUTE_TO("web"),
        SE("  hosts: [a.b]\n  resolution: static\n  addresses: [10.0.0.1]\n  endpoints: [{address: 10.0.0.2}]\n"),
        SE("  hosts: [a.b]\n  resolution: STATIC\n  endpoints: [10.0.0.1]\n"),
        PA("  selector: {app: web}\n"),
        DR("  host: a\n  trafficPolicy: {tls: {mode: simple}}\n"),
    };

    for (size_t i = 0; i < COUNT(texts); i++) {
        struct docs d;

        docs_parse(&d, str_from(texts[i]), SYNTAX_YAML);
        if (d.findings.errors != 1 || d.findings.warnings)
            docs_print(&d);
        CHECK_INT(d.findings.errors, 1);
        CHECK_INT(d.findings.warnings, 0);
        docs_done(&d);
    }
}

TEST(a_file_without_a_document_is_told)
{
    struct docs d;

    docs_parse(&d, STR("# nothing here\n"), SYNTAX_YAML);
    CHECK_INT(d.result, 0);
    CHECK_INT(d.findings.warnings, 1);
    CHECK_STR(d.findings.first->detail, "there is no document in it");
    docs_done(&d);
}

TEST(in_ini_the_hints_are_ini)
{
    static const struct row rows[] = {
        {"[PeerAuthentication a]\nmtls = STRICT\n", 2, "mtls must be a map, not a string", "write mtls.mode = STRICT"},
        {"[ServiceEntry a]\nhosts = a.b\nendpoints = 10.0.0.1\n", 3,
         "endpoints must be a list of maps", "a section [.endpoints] begins"},
        {"[VirtualService a]\nhttp[0].name = x\n", 2, "http[0].name: elements of a list have no numbers", ""},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        const struct finding *x;
        struct docs d = {0};

        arena_init(&d.arena);
        findings_init(&d.findings, &d.arena);
        CHECK_INT(documents_parse(str_from(rows[i].text), STR("a.ini"), SYNTAX_AUTO, &d.arena, &d.objects, &d.findings), -1);
        x = d.findings.first;
        CHECK_INT(x->line, rows[i].line);
        if (!str_starts(x->detail, str_from(rows[i].detail)) || !str_starts(x->hint, str_from(rows[i].hint)))
            docs_print(&d);
        CHECK(str_starts(x->detail, str_from(rows[i].detail)));
        CHECK(str_starts(x->hint, str_from(rows[i].hint)));
        docs_done(&d);
    }
}
