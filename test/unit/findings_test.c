#include "test/test.h"

#include "mesh/base/findings.h"
#include "mesh/base/limits.h"
#include "mesh/base/node.h"

static struct arena arena;
static struct findings findings;

static void start(void)
{
    arena_init(&arena);
    findings_init(&findings, &arena);
}

static struct finding *unknown_field(void)
{
    struct finding *f = findings_add(&findings, FIND_UNKNOWN_FIELD, SEVERITY_ERROR,
                                     "unknown field \"%s\"", "mirrorPercent");

    f->file = STR("shop.yaml");
    f->line = 41;
    f->column = 9;
    f->document = 3;
    f->object = STR("VirtualService shop/reviews");
    f->pointer = STR("/spec/http/0/mirrorPercent");
    f->hint = STR("did you mean \"mirrorPercentage\"?");
    return f;
}

TEST(a_finding_prints_in_the_form_that_editors_know)
{
    struct buf b;

    start();
    buf_init(&b, 1000);
    finding_print(unknown_field(), &b);
    CHECK_STR(buf_str(&b), "shop.yaml:41:9: WEFT1203 unknown field \"mirrorPercent\" in "
                           "VirtualService shop/reviews, spec.http[0].mirrorPercent: did you mean \"mirrorPercentage\"?");
    buf_done(&b);
    arena_done(&arena);
}

TEST(a_path_is_written_as_one_says_it)
{
    static const struct {
        const char *pointer, *path;
    } rows[] = {
        {"/spec/http/0/route/12/destination", "spec.http[0].route[12].destination"},
        {"/spec/portLevelMtls/8080/mode",     "spec.portLevelMtls[8080].mode"     },
        {"/metadata/labels/a~1b~0c",          "metadata.labels.a/b~c"             },
        {"/spec",                             "spec"                              },
        {"/metadata/name",                    "metadata.name"                     },
    };

    start();
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct finding *f = findings_add(&findings, FIND_VALUE, SEVERITY_ERROR, "wrong");
        char want[128];
        struct buf b;

        f->pointer = str_from(rows[i].pointer);
        snprintf(want, sizeof(want), "input: WEFT1205 wrong at %s", rows[i].path);
        buf_init(&b, 1000);
        finding_print(f, &b);
        CHECK_STR(buf_str(&b), want);
        buf_done(&b);
    }
    arena_done(&arena);
}

TEST(unknown_places_are_left_out)
{
    struct buf b;

    start();
    buf_init(&b, 1000);
    finding_print(findings_add(&findings, FIND_WARNING, SEVERITY_WARNING, "dead rule"), &b);
    CHECK_STR(buf_str(&b), "input: WEFT2001 warning: dead rule");
    buf_done(&b);
    arena_done(&arena);
}

TEST(findings_become_the_members_of_a_problem_document)
{
    struct buf b;

    start();
    unknown_field();
    findings_add(&findings, FIND_WARNING, SEVERITY_WARNING, "dead rule");
    buf_init(&b, 1000);
    findings_json(&findings, SEVERITY_WARNING, &b);
    CHECK_STR(buf_str(&b),
              "[{\"code\":\"WEFT2001\",\"severity\":\"warning\",\"detail\":\"dead rule\"}]");
    buf_clear(&b);
    findings_json(&findings, SEVERITY_ERROR, &b);
    CHECK_STR(buf_str(&b),
              "[{\"code\":\"WEFT1203\",\"severity\":\"error\",\"file\":\"shop.yaml\",\"line\":41,"
              "\"column\":9,\"document\":3,\"object\":\"VirtualService shop/reviews\","
              "\"pointer\":\"/spec/http/0/mirrorPercent\",\"detail\":\"unknown field "
              "\\\"mirrorPercent\\\"\",\"hint\":\"did you mean \\\"mirrorPercentage\\\"?\"}]");
    buf_done(&b);
    arena_done(&arena);
}

TEST(past_the_limit_findings_are_only_counted)
{
    size_t listed = 0;

    start();
    for (unsigned i = 0; i < LIMIT_FINDINGS + 50; i++)
        findings_add(&findings, FIND_VALUE, SEVERITY_ERROR, "%u", i)->line = i;
    for (const struct finding *f = findings.first; f; f = f->next)
        listed++;
    CHECK_INT(listed, LIMIT_FINDINGS);
    CHECK_INT(findings.errors, LIMIT_FINDINGS + 50);
    CHECK(findings.full);
    arena_done(&arena);
}

TEST(the_first_error_stands_for_all)
{
    struct err err;

    start();
    findings_add(&findings, FIND_WARNING, SEVERITY_WARNING, "dead rule");
    unknown_field()->hint = STR_NONE;
    CHECK_INT(findings_err(&findings, &err), -1);
    CHECK_TEXT(err.text, "shop.yaml:41:9: WEFT1203 unknown field \"mirrorPercent\" in "
                         "VirtualService shop/reviews, spec.http[0].mirrorPercent");
    findings_add(&findings, FIND_VALUE, SEVERITY_ERROR, "more");
    findings_err(&findings, &err);
    CHECK(str_starts(str_from(err.text), STR("2 problems, the first: shop.yaml:41:9: ")));
    arena_done(&arena);
}

/* {"metadata": {"name": "web", "labels": {"a/b~c": ["x", 7, true]}}} */
static struct node *sample(struct node **deep)
{
    struct node *root = node_new(&arena, NODE_MAP), *metadata = node_new(&arena, NODE_MAP);
    struct node *labels = node_new(&arena, NODE_MAP), *list = node_new(&arena, NODE_LIST);

    node_set(root, STR("metadata"), metadata);
    node_set(metadata, STR("name"), node_string(&arena, STR("web")));
    node_set(metadata, STR("labels"), labels);
    node_set(labels, STR("a/b~c"), list);
    node_append(list, node_string(&arena, STR("x")));
    node_append(list, node_number(&arena, -7));
    *deep = node_bool(&arena, true);
    node_append(list, *deep);
    return root;
}

TEST(nodes_are_found_by_path_and_name_their_place)
{
    struct node *deep, *root;

    start();
    root = sample(&deep);
    CHECK_STR(node_text(root, "metadata.name"), "web");
    CHECK_STR(node_text(root, "metadata.none.deeper"), "");
    CHECK(node_path(root, "metadata.name.x") == NULL);
    CHECK_STR(node_pointer(&arena, deep), "/metadata/labels/a~1b~0c/2");
    CHECK_STR(node_pointer(&arena, root), "");
    CHECK_STR(node_at(deep->parent, 1)->text, "-7");
    CHECK(node_at(deep->parent, 3) == NULL);
    CHECK(!node_is_true(root, "metadata.name"));
    arena_done(&arena);
}

TEST(equal_trees_may_have_their_members_in_another_order)
{
    struct node *a, *b, *deep;

    start();
    a = sample(&deep);
    b = node_copy(&arena, a);
    CHECK(node_eq(a, b));
    b = node_new(&arena, NODE_MAP);
    a = node_new(&arena, NODE_MAP);
    node_set(a, STR("x"), node_number(&arena, 1));
    node_set(a, STR("y"), node_number(&arena, 2));
    node_set(b, STR("y"), node_number(&arena, 2));
    node_set(b, STR("x"), node_number(&arena, 1));
    CHECK(node_eq(a, b));
    b->last->text = STR("3");
    CHECK(!node_eq(a, b));
    CHECK(!node_eq(node_string(&arena, STR("1")), node_number(&arena, 1)));
    arena_done(&arena);
}

TEST(twins_are_found_and_dropped)
{
    struct node *map, *third;
    char text[16];

    start();
    map = node_new(&arena, NODE_MAP);
    for (int i = 0; i < 100; i++) {
        struct str key = {text, (size_t)snprintf(text, sizeof(text), "k%d", i)};

        node_set(map, arena_str(&arena, key), node_number(&arena, i));
    }
    CHECK(node_twin(map) == NULL);
    third = node_number(&arena, 200);
    node_set(map, STR("k7"), third);
    CHECK(node_twin(map) == third);
    node_drop_twins(map);
    CHECK_INT(map->count, 100);
    CHECK_STR(node_text(map, "k7"), "7");
    arena_done(&arena);
}
