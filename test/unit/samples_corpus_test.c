/* Istio's samples, test inputs and inputs of its analyzers, file by file: what `weft lint` says of them against what the
 * index of the corpus says (INDEX.tsv: how many documents of Istio's kinds are taken and refused, and which are warned
 * about). A document of which something is not supported yet counts as taken; one that can mean nothing outside of a
 * cluster (WEFT1501) may be either. What only a set of documents tells, as Istio's analyzers do, is not judged. */
#include <sys/stat.h>

#include "mesh/base/file.h"
#include "mesh/kinds/kinds.h"
#include "test/unit/doc_world.h"

/* Files where weft is meant to refuse more, and how many documents more. */
static const struct {
    const char *path;
    size_t more;
} stricter[] = {
    {"pkg/config/analysis/analyzers/testdata/gateway-secrets.yaml", 1}, /* a name with capitals: Kubernetes takes none either */
    {"tests/testdata/networking/ingress-gateway/configs.yaml", 1}, /* likewise */
    {"pkg/config/validation/testdata/crds/reqauth-valid.yaml", 1}, /* a field that Istio does not have: `presence` */
    {"tests/testdata/config/rule-websocket-route.yaml", 2}, /* likewise: `websocketUpgrade` */
};

/* One line of the index. */
struct row {
    struct str path, category, kinds, expected, form, detail;
    uint64_t documents, accepted, rejected;
};

struct score {
    size_t files, documents, meaningless;
    size_t wrong;
};

static struct str corpus_file(struct arena *a, const struct row *r)
{
    const char *corpus = getenv("WEFT_CORPUS") ? getenv("WEFT_CORPUS") : "../shared/corpus";

    return arena_printf(a, "%s/istio/%s%.*s", corpus, str_eq(r->form, STR("template")) ? "rendered/" : "", STR_ARG(r->path));
}

static bool read_row(struct str line, struct row *r)
{
    struct str documents, accepted, rejected;

    if (!str_cut(&line, '\t', &r->path) || !str_cut(&line, '\t', &r->category) || !str_cut(&line, '\t', &r->kinds) ||
        !str_cut(&line, '\t', &documents) || !str_cut(&line, '\t', &accepted) || !str_cut(&line, '\t', &rejected) ||
        !str_cut(&line, '\t', &r->expected) || !str_cut(&line, '\t', &r->form))
        return false;
    r->detail = line;
    return str_uint(documents, 0, 100000, &r->documents) && str_uint(accepted, 0, 100000, &r->accepted) &&
           str_uint(rejected, 0, 100000, &r->rejected);
}

/* Kinds of Kubernetes' own that weft reads, too; the index does not judge them. */
static bool is_judged(const struct finding *x)
{
    static const char *const others[] = {"Service ", "Namespace ", "ServiceAccount "};

    if (x->severity != SEVERITY_ERROR || x->code == FIND_NOT_YET)
        return false;
    for (size_t i = 0; i < COUNT(others); i++) {
        if (str_starts(x->object, str_from(others[i])))
            return false;
    }
    return true;
}

/* Documents with an error, those with others than WEFT1501 apart. */
static void count_refused(const struct docs *d, size_t *refused, size_t *meaningless)
{
    struct map_entry *e;
    struct arena a;
    struct map worst; /* document -> the finding that counts */

    arena_init(&a);
    map_init(&worst);
    for (struct finding *x = d->findings.first; x; x = x->next) {
        struct str key = arena_printf(&a, "%u %.*s", x->document, STR_ARG(x->object));
        const struct finding *before = is_judged(x) ? map_get(&worst, key) : NULL;

        if (is_judged(x) && (!before || before->code == FIND_UNSUPPORTED))
            map_put(&worst, key, x);
    }
    *refused = *meaningless = 0;
    for (size_t i = 0; (e = map_each(&worst, &i));)
        *(((const struct finding *)e->value)->code == FIND_UNSUPPORTED ? meaningless : refused) += 1;
    map_done(&worst);
    arena_done(&a);
}

static size_t more_than_istio(struct str path)
{
    for (size_t i = 0; i < COUNT(stricter); i++) {
        if (str_eq(path, str_from(stricter[i].path)))
            return stricter[i].more;
    }
    return 0;
}

static void complain(const struct row *r, const struct docs *d, const char *what, size_t refused)
{
    print_error("%.*s: %s; weft refuses %zu documents, Istio %zu\n", STR_ARG(r->path), what, refused, (size_t)r->rejected);
    docs_print(d);
}

static void judge(const struct row *r, struct score *s)
{
    const struct documents_how how = {.skip_kinds = STR("all"), .takes_not_yet = true};
    size_t refused, meaningless, at, want = (size_t)r->rejected + more_than_istio(r->path);
    struct docs d = {0};
    struct buf text;
    struct err err;

    arena_init(&d.arena);
    findings_init(&d.findings, &d.arena);
    buf_init(&text, 16u << 20);
    if (file_read(corpus_file(&d.arena, r).p, &text, &err))
        fail_msg("%s", err.text);
    d.result = documents_read(buf_str(&text), r->path, &how, &d.arena, &d.objects, &d.findings);
    count_refused(&d, &refused, &meaningless);
    if (refused > want || refused + meaningless < want) {
        complain(r, &d, "another verdict", refused);
        s->wrong++;
    }
    if (str_find(r->detail, STR("WARN "), &at) && d.findings.warnings == 0 && more_than_istio(r->path) == 0) {
        complain(r, &d, "no warning", refused);
        s->wrong++;
    }
    s->files++;
    s->documents += (size_t)r->documents;
    s->meaningless += meaningless;
    buf_done(&text);
    docs_done(&d);
}

TEST(istios_samples_are_taken_and_refused_as_by_istio)
{
    const struct row index = {.path = STR("INDEX.tsv")};
    struct score s = {0};
    struct str rest, line;
    struct buf text;
    struct err err;
    struct arena a;
    struct stat st;

    arena_init(&a);
    if (stat(corpus_file(&a, &index).p, &st) != 0) {
        CHECK(getenv("CI") == NULL || strcmp(getenv("CI"), "true") != 0);
        print_message("skipped: no corpus at %s (set WEFT_CORPUS)\n", corpus_file(&a, &index).p);
        arena_done(&a);
        skip();
    }
    buf_init(&text, 4u << 20);
    CHECK_INT(file_read(corpus_file(&a, &index).p, &text, &err), 0);
    rest = buf_str(&text);
    CHECK(str_next(&rest, '\n', &line)); /* the names of the columns */
    while (str_next(&rest, '\n', &line)) {
        struct row r;

        CHECK(read_row(line, &r));
        if (r.documents > 0)
            judge(&r, &s);
    }
    print_message("Istio's samples: %zu files, %zu documents; %zu can mean nothing here\n", s.files, s.documents, s.meaningless);
    CHECK_INT(s.wrong, 0);
    CHECK_INT(s.files, 306);
    buf_done(&text);
    arena_done(&a);
}
