/* The model into canonical documents, and there and back over the corpus. */
#include <dirent.h>
#include <sys/stat.h>

#include "mesh/base/file.h"
#include "test/unit/doc_world.h"

static void check_canonical(const char *text, const char *json)
{
    struct docs d;
    struct buf b;

    docs_parse(&d, str_from(text), SYNTAX_YAML);
    if (d.result)
        docs_print(&d);
    CHECK_INT(d.result, 0);
    buf_init(&b, 1u << 20);
    json_write(encode_object(d.objects.items[0], &d.arena), 0, &b);
    CHECK_STR(buf_str(&b), json);
    buf_done(&b);
    docs_done(&d);
}

TEST(fields_are_in_the_order_of_the_table_and_defaults_are_left_out)
{
    check_canonical(VS("  http:\n  - route:\n    - weight: 0\n      destination: {port: {number: "
                       "80}, host: a}\n"
                       "    timeout: 90s\n    match: [{headers: {b: {}, a: {exact: x}}, uri: {}}]\n"
                       "    retries: {attempts: 1, retryOn: ''}\n"
                       "  hosts: [a]\n  gateways: []\n"),
                    "{\"apiVersion\":\"networking.istio.io/"
                    "v1\",\"kind\":\"VirtualService\",\"metadata\":{\"name\":\"x\","
                    "\"namespace\":\"shop\"},\"spec\":{\"hosts\":[\"a\"],\"http\":[{\"match\":[{"
                    "\"headers\":{\"a\":{\"exact\":"
                    "\"x\"},\"b\":{}}}],\"route\":[{\"destination\":{\"host\":\"a\",\"port\":{"
                    "\"number\":80}}}],\"timeout\":"
                    "\"1m30s\",\"retries\":{\"attempts\":1}}]}}");
    check_canonical(SE("  hosts: [a.b]\n  location: MESH_EXTERNAL\n  resolution: STATIC\n"
                       "  ports: [{number: 80, targetPort: 80, name: http, protocol: http}]\n"
                       "  endpoints: [{address: 10.0.0.1, weight: 1}]\n"),
                    "{\"apiVersion\":\"networking.istio.io/"
                    "v1\",\"kind\":\"ServiceEntry\",\"metadata\":{\"name\":\"x\","
                    "\"namespace\":\"shop\"},\"spec\":{\"hosts\":[\"a.b\"],\"ports\":[{\"number\":"
                    "80,\"protocol\":\"HTTP\","
                    "\"name\":\"http\"}],\"resolution\":\"STATIC\",\"endpoints\":[{\"address\":"
                    "\"10.0.0.1\"}]}}");
    check_canonical(
        "apiVersion: security.istio.io/v1beta1\nkind: PeerAuthentication\nmetadata:\n  name: x\n"
        "  labels: {b: c, a: d}\n  creationTimestamp: '2026-01-02T03:04:05Z'\n"
        "spec:\n  selector: {matchLabels: {a: b}}\n  portLevelMtls:\n    8080: {mode: UNSET}\n    "
        "80: {mode: STRICT}\n",
        "{\"apiVersion\":\"security.istio.io/"
        "v1\",\"kind\":\"PeerAuthentication\",\"metadata\":{\"name\":\"x\","
        "\"namespace\":\"default\",\"labels\":{\"a\":\"d\",\"b\":\"c\"},\"creationTimestamp\":"
        "\"2026-01-02T03:04:05Z\"},"
        "\"spec\":{\"selector\":{\"matchLabels\":{\"a\":\"b\"}},\"portLevelMtls\":{\"80\":{"
        "\"mode\":\"STRICT\"},"
        "\"8080\":{}}}}");
}

/* decode(encode(x)) gives the same canonical document, as JSON and as YAML. */
static void check_round_trip(struct object *o, struct arena *a)
{
    struct node *once = encode_object(o, a);
    struct buf json, yaml;
    struct docs d;

    buf_init(&json, 16u << 20);
    buf_init(&yaml, 16u << 20);
    json_write(once, 0, &json);
    yaml_write(once, &yaml);
    for (int i = 0; i < 2; i++) {
        docs_parse(&d, i ? buf_str(&yaml) : buf_str(&json), i ? SYNTAX_YAML : SYNTAX_JSON);
        if (d.result) {
            docs_print(&d);
            print_error("%.*s\n", STR_ARG(buf_str(i ? &yaml : &json)));
        }
        CHECK_INT(d.result, 0);
        CHECK_INT(d.objects.count, 1);
        CHECK(node_eq(once, encode_object(d.objects.items[0], &d.arena)));
        docs_done(&d);
    }
    buf_done(&json);
    buf_done(&yaml);
}

struct tally {
    size_t files, objects, refused;
};

/* Only "not supported (yet)" may keep a sample out. */
static void check_sample(const char *path, struct tally *t)
{
    struct buf text;
    struct err err;
    struct docs d;

    buf_init(&text, 16u << 20);
    CHECK_INT(file_read(path, &text, &err), 0);
    docs_parse(&d, buf_str(&text), SYNTAX_AUTO);
    for (const struct finding *x = d.findings.first; x; x = x->next) {
        if (x->severity == SEVERITY_WARNING)
            continue;
        if (x->code != FIND_NOT_YET && x->code != FIND_UNSUPPORTED) {
            print_error("%s\n", path);
            docs_print(&d);
        }
        CHECK(x->code == FIND_NOT_YET || x->code == FIND_UNSUPPORTED);
        t->refused++;
    }
    for (size_t i = 0; i < d.objects.count; i++)
        check_round_trip(d.objects.items[i], &d.arena);
    t->files++;
    t->objects += d.objects.count;
    docs_done(&d);
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
        const char *dot = strrchr(e->d_name, '.');

        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
        CHECK_INT(stat(path, &st), 0);
        if (S_ISDIR(st.st_mode))
            walk(path, t);
        else if (dot && strcmp(dot, ".yaml") == 0)
            check_sample(path, t);
    }
    closedir(d);
}

TEST(istios_samples_decode_and_come_back_the_same)
{
    const char *corpus = getenv("WEFT_CORPUS") ? getenv("WEFT_CORPUS") : "../shared/corpus";
    struct tally t = {0};
    char path[1024];
    struct stat st;

    snprintf(path, sizeof(path), "%s/istio/samples", corpus);
    if (stat(path, &st) != 0) {
        CHECK(getenv("CI") == NULL || strcmp(getenv("CI"), "true") != 0);
        print_message("skipped: no corpus at %s (set WEFT_CORPUS)\n", path);
        skip();
    }
    walk(path, &t);
    print_message("samples: %zu files, %zu objects taken, %zu findings \"not supported (yet)\"\n",
                  t.files, t.objects, t.refused);
    CHECK(t.files >= 25);
    CHECK(t.objects >= 40);
}
