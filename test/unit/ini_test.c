#include "test/test.h"

#include "mesh/base/ini.h"

static struct arena arena;
static struct findings findings;

static struct ini_section *read_text(const char *text)
{
    struct ini_section *s = NULL;

    arena_done(&arena);
    findings_init(&findings, &arena);
    if (ini_read(str_from(text), STR("x.ini"), &arena, &s, &findings) != 0)
        return NULL;
    CHECK_INT(findings.errors, 0);
    return s;
}

/* The text of the last entry with this key; empty if there is none. */
static struct str value(const struct ini_section *s, const char *key)
{
    struct str found = STR_NONE;

    for (const struct ini_entry *e = s->first; e; e = e->next) {
        if (str_eq(e->key, str_from(key)))
            found = e->text;
    }
    return found;
}

static void refused(const char *text, enum finding_code code, unsigned line)
{
    CHECK(read_text(text) == NULL);
    CHECK(findings.first != NULL);
    CHECK_INT(findings.first->code, code);
    CHECK_INT(findings.first->line, line);
    CHECK_STR(findings.first->file, "x.ini");
}

TEST(sections_have_a_type_a_name_and_settings_with_lines)
{
    struct ini_section *s = read_text("; a comment\n"
                                      "[service  web shop ]   ; the shop\n"
                                      "port = 8080            ; where it listens\n"
                                      "\n"
                                      "protocol: http\r\n"
                                      "[server]\n"
                                      "data=/var/lib/weft");

    CHECK_STR(s->type, "service");
    CHECK_STR(s->name, "web shop");
    CHECK_INT(s->line, 2);
    CHECK_STR(value(s, "port"), "8080");
    CHECK_INT(s->first->line, 3);
    CHECK_INT(s->first->column, 8);
    CHECK_STR(value(s, "protocol"), "http");
    CHECK_INT(s->last->line, 5);
    s = s->next;
    CHECK_STR(s->type, "server");
    CHECK_STR(s->name, "");
    CHECK_STR(value(s, "data"), "/var/lib/weft");
    CHECK(s->next == NULL);
}

TEST(equal_neighbours_and_empty_sections_are_kept_apart)
{
    struct ini_section *s = read_text("[a]\nx=1\n[a]\nx=2\n[empty]\n[a]\n");

    CHECK_STR(value(s, "x"), "1");
    CHECK_STR(value(s->next, "x"), "2");
    CHECK_STR(s->next->next->type, "empty");
    CHECK(s->next->next->first == NULL);
    CHECK_STR(s->next->next->next->type, "a");
    CHECK(s->next->next->next->first == NULL);
}

TEST(indented_lines_continue_a_value)
{
    struct ini_section *s =
        read_text("[a]\n  x = 1\nlist = one\n   two\n\n\tthree ; not this\ny = 2\n");

    CHECK_STR(value(s, "x"), "1"); /* nothing to continue yet */
    CHECK_STR(value(s, "list"), "one\ntwo\nthree");
    CHECK_STR(value(s, "y"), "2");
}

TEST(quoted_values_have_jsons_escapes)
{
    struct ini_section *s =
        read_text("[a]\nx = \" a\\u003b b\\n\"\ny = \"\"\nz = say \"hi\"\ne =\n");

    CHECK_STR(value(s, "x"), " a; b\n");
    CHECK_STR(value(s, "y"), "");
    CHECK_STR(value(s, "z"), "say \"hi\""); /* quotes inside are letters */
    CHECK_STR(value(s, "e"), "");
}

TEST(quotes_hide_what_ends_keys_and_starts_comments)
{
    struct ini_section *s = read_text("[a]\n"
                                      "m[\"a=b:c ;d\"].x = \"1 ; 2\" ; comment\n"
                                      "j = {\"a\": \"x ; y\",   ; comment\n"
                                      "     \"b\": \"\\\" ; z\"} ; comment\n"
                                      "plain = \\\" ; comment\n");

    CHECK_STR(s->first->key, "m[\"a=b:c ;d\"].x");
    CHECK_STR(s->first->text, "1 ; 2");
    CHECK_INT(s->first->column, 19);
    CHECK_STR(value(s, "j"), "{\"a\": \"x ; y\",\n\"b\": \"\\\" ; z\"}");
    CHECK_STR(value(s, "plain"), "\\\"");
}

TEST(strings_go_on_in_strings)
{
    struct ini_section *s = read_text("[a]\nx = \"one\\n\"\n  \"two \"  ; comment\n\n  \"three\"\n"
                                      "y =\n  \"1\"\n  \"2\"\nz =\n  a\n  b\n");

    CHECK_STR(value(s, "x"), "one\ntwo three");
    CHECK_STR(value(s, "y"), "12");
    CHECK_INT(s->first->next->line, 7);
    CHECK_STR(value(s, "z"), "a\nb");
}

TEST(repeated_keys_are_kept_in_order)
{
    struct ini_section *s = read_text("[a]\nx = 1\nx = 2\n");

    CHECK_STR(s->first->text, "1");
    CHECK_STR(s->last->text, "2");
    CHECK_INT(s->last->key_line, 3);
}

TEST(what_inih_would_cut_or_drop_is_refused_with_its_line)
{
    static char text[1000];

    snprintf(text, sizeof(text), "[a]\nx = %0195d\n", 1);
    refused(text, FIND_LIMIT, 2);
    snprintf(text, sizeof(text), "[a]\nx = %0194d\n", 1);
    CHECK_INT(value(read_text(text), "x").n, 194);
    snprintf(text, sizeof(text), "\n[%050d]\n", 1);
    refused(text, FIND_LIMIT, 2);
    snprintf(text, sizeof(text), "[%049d]\n", 1);
    CHECK_INT(read_text(text)->type.n, 49);
    refused("x = 1\n[a]\n", FIND_PARSE, 1);
    refused("[a] x = 1\n", FIND_PARSE, 1);
    refused("[a]\nx = \"one ; two\n", FIND_PARSE, 2);
    refused("[a]\nx = [\"one ; two\n", FIND_PARSE, 2);
    refused("[a]\nx[\"one = two\n", FIND_PARSE, 2);
}

TEST(other_texts_are_refused_with_their_line)
{
    refused("[a]\nnonsense\n", FIND_PARSE, 2);
    refused("[a]\n[b\n", FIND_PARSE, 2);
    refused("[]\n", FIND_PARSE, 1);
    refused("[a]\n= 1\n", FIND_PARSE, 2);
    refused("[a]\nx = \"1\n", FIND_PARSE, 2);
    refused("[a]\nx = \"1\" 2\n", FIND_PARSE, 2);
    refused("[a]\nx = \"1\"\n  more\n", FIND_PARSE, 3);
    refused("[a]\nx = 1\n  y = 2\n", FIND_PARSE, 3); /* it would vanish in x */
    refused("[a]\nx = 1\n\v[b]\n", FIND_PARSE, 3);
    refused("[a]\nx = \xFF\n", FIND_PARSE, 2);
}

TEST(empty_texts_and_byte_order_marks_are_fine)
{
    CHECK(read_text("") == NULL && findings.errors == 0);
    CHECK(read_text("\n; nothing\n") == NULL && findings.errors == 0);
    CHECK_STR(read_text("\xEF\xBB\xBF[a]\n")->type, "a");
}
