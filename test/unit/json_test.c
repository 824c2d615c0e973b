#include "test/test.h"

#include "mesh/base/file.h"
#include "mesh/base/json.h"
#include "mesh/base/limits.h"
#include "mesh/base/text.h"

static struct arena arena;
static struct findings findings;

static struct node *parse(const char *text)
{
    struct node *n = NULL;

    arena_done(&arena);
    findings_init(&findings, &arena);
    if (json_parse(str_from(text), STR("x.json"), &arena, &n, &findings) != 0)
        return NULL;
    return n;
}

static const char *round_trip(const char *text, unsigned indent)
{
    static char out[2000];
    struct buf b;
    struct node *n = parse(text);

    CHECK(n != NULL);
    buf_init(&b, 1000);
    json_write(n, indent, &b);
    snprintf(out, sizeof(out), "%.*s", STR_ARG(buf_str(&b)));
    buf_done(&b);
    return out;
}

TEST(values_are_written_as_they_were_read)
{
    static const char text[] =
        "{\"b\":[1,-2.50e+3,true,false,null,{}],\"a\":{\"x\":\"y\"},\"e\":[]}";

    CHECK_TEXT(round_trip(text, 0), text); /* numbers keep their text, members their order */
    CHECK_TEXT(round_trip(" [ 1 , {\"a\" : [ ] } ] \r\n\t", 2),
               "[\n  1,\n  {\n    \"a\": []\n  }\n]");
}

TEST(escapes_become_characters)
{
    struct node *n = parse("\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e4\\u20AC\\ud83d\\ude00z\"");

    CHECK_STR(n->text, "a\"\\/\b\f\n\r\t\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80z");
    n = parse("\"\\u0000\"");
    CHECK_INT(n->text.n, 1);
    CHECK_INT(n->text.p[0], 0);
}

TEST(every_node_knows_its_place)
{
    struct node *n = parse("{\n  \"\xC3\xA4\": 1, \"b\":\n    [true]\n}");

    CHECK_INT(node_get(n, STR("\xC3\xA4"))->line, 2);
    CHECK_INT(node_get(n, STR("\xC3\xA4"))->column, 8); /* characters, not bytes */
    CHECK_INT(node_get(n, STR("b"))->key_line, 2);
    CHECK_INT(node_get(n, STR("b"))->key_column, 11);
    CHECK_INT(node_get(n, STR("b"))->line, 3);
    CHECK_INT(node_get(n, STR("b"))->column, 5);
    CHECK_INT(node_get(n, STR("b"))->first->column, 6);
}

static void refused(const char *text, enum finding_code code, unsigned line, unsigned column)
{
    CHECK(parse(text) == NULL);
    CHECK_INT(findings.errors, 1);
    CHECK_INT(findings.first->code, code);
    CHECK_INT(findings.first->line, line);
    CHECK_INT(findings.first->column, column);
    CHECK_STR(findings.first->file, "x.json");
}

TEST(problems_are_reported_where_they_are)
{
    refused("", FIND_PARSE, 1, 1);
    refused("{\"a\": 1,\n \"a\": 2}", FIND_DUPLICATE_KEY, 2, 2);
    refused("[1,\n2,]", FIND_PARSE, 2, 3);
    refused("{\"a\" 1}", FIND_PARSE, 1, 6);
    refused("{\"a\": 01}", FIND_PARSE, 1, 7);
    refused("\"\\ud800\"", FIND_PARSE, 1, 3);
    refused("\"\\ud800\\u0041\"", FIND_PARSE, 1, 3);
    refused("\"a\xC0\xAF\"", FIND_PARSE, 1, 3);
    refused("1 2", FIND_PARSE, 1, 3);
    refused("nul", FIND_PARSE, 1, 1);
}

TEST(nesting_is_bounded)
{
    char text[2 * LIMIT_NODE_DEPTH + 3] = {0};

    memset(text, '[', LIMIT_NODE_DEPTH);
    memset(text + LIMIT_NODE_DEPTH, ']', LIMIT_NODE_DEPTH);
    CHECK(parse(text) != NULL);
    memset(text, '[', LIMIT_NODE_DEPTH + 1);
    memset(text + LIMIT_NODE_DEPTH + 1, ']', LIMIT_NODE_DEPTH + 1);
    refused(text, FIND_LIMIT, 1, LIMIT_NODE_DEPTH + 1);
}

TEST(messages_get_one_sentence)
{
    struct node *n;
    struct err err;

    CHECK_INT(json_read(STR("{\"a\":}"), &arena, &n, &err), -1);
    CHECK_TEXT(err.text, "JSON line 1, column 6: a JSON value is missing here");
    CHECK_INT(json_read(STR("{\"k\":1,\"k\":1}"), &arena, &n, &err), -1);
    CHECK_TEXT(err.text, "JSON line 1, column 8: the name is there twice: \"k\"");
    CHECK_INT(err.code, ERR_INVALID);
}

/* RFC 8259 leaves twins to the reader, and so the suite accepts them; we do not. */
static bool has_twins(struct str id)
{
    return str_eq(id, STR("y_object_duplicated_key.json")) ||
           str_eq(id, STR("y_object_duplicated_key_and_value.json"));
}

static void check_case(struct str line, struct buf *raw)
{
    struct arena a;
    struct node *row, *n;
    struct err err;
    struct str id, expect;
    bool accepted;

    arena_init(&a);
    CHECK_INT(json_read(line, &a, &row, &err), 0);
    id = node_text(row, "id");
    expect = node_text(row, "expect");
    buf_clear(raw);
    CHECK(text_unbase64(node_text(row, "raw_b64"), raw));
    accepted = json_read(buf_str(raw), &a, &n, &err) == 0;
    if (!str_eq(expect, STR("either")) &&
        accepted != (str_eq(expect, STR("accept")) && !has_twins(id))) {
        print_error("%.*s: %s, want %.*s\n", STR_ARG(id), accepted ? "accepted" : err.text,
                    STR_ARG(expect));
        fail();
    }
    arena_done(&a);
}

TEST(verdicts_are_those_of_jsontestsuite)
{
    const char *folder = getenv("WEFT_CORPUS");
    const char *ci = getenv("CI");
    char path[512];
    struct buf rows, raw;
    struct str rest, line;
    struct err err;
    unsigned count = 0;

    snprintf(path, sizeof(path), "%s/json/JSONTestSuite.jsonl",
             folder ? folder : "../shared/corpus");
    if (!file_exists(path) && !(ci && strcmp(ci, "true") == 0))
        skip();
    buf_init(&rows, 16u << 20);
    buf_init(&raw, 1u << 20);
    CHECK_INT(file_read(path, &rows, &err), 0);
    for (rest = buf_str(&rows); str_next(&rest, '\n', &line); count++)
        check_case(line, &raw);
    CHECK_INT(count, 340);
    buf_done(&rows);
    buf_done(&raw);
}
