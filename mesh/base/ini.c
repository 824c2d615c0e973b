/* inih does the parsing; the reader below hands it one line at a time and so knows what inih does
 * not tell: line numbers, where a section starts (inih merges equal neighbours and drops empty
 * ones), and what would be cut or dropped without a word.
 */
#include "mesh/base/ini.h"

#include <ini.h>
#include <string.h>

#include "mesh/base/json.h"
#include "mesh/base/limits.h"

#define NAME_MAX_BYTES 49 /* inih's bound for section names and for keys that are continued */

struct reading {
    struct str rest; /* lines not given to inih yet */
    struct str line; /* the last one given, without its end */
    unsigned number;
    struct str file;
    struct arena *arena;
    struct findings *findings;
    struct ini_section *first, *last;
    struct node *value; /* the setting that an indented line would continue */
    bool quoted;        /* it was in quotes, and so is complete */
    bool failed;
};

static void fail(struct reading *r, enum finding_code code, unsigned column, const char *detail,
                 struct str about)
{
    struct finding *f = about.n ? findings_add(r->findings, code, SEVERITY_ERROR, "%s: \"%.*s\"",
                                               detail, (int)MIN(about.n, 64), about.p)
                                : findings_add(r->findings, code, SEVERITY_ERROR, "%s", detail);

    f->file = r->file;
    f->line = r->number;
    f->column = column;
    f->document = 1;
    r->failed = true;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_comment(struct str s)
{
    return s.n == 0 || s.p[0] == ';' || s.p[0] == '#';
}

/* "[type name]": starts a section. */
static void start_section(struct reading *r, struct str line)
{
    struct ini_section *s = ARENA_NEW(r->arena, struct ini_section);
    struct str inside = str_sub(line, 1, line.n), name;

    if (!str_cut(&inside, ']', &name))
        return; /* inih reports it */
    if (name.n > NAME_MAX_BYTES)
        fail(r, FIND_LIMIT, 1, "a section's name may have at most 49 bytes", name);
    if (!is_comment(str_trim(inside)))
        fail(r, FIND_PARSE, 1, "nothing but a comment may stand behind a section's name", inside);
    name = str_trim(name);
    s->type = name;
    for (size_t i = 0; i < name.n; i++) {
        if (is_blank(name.p[i])) {
            s->type = str_sub(name, 0, i);
            s->name = str_trim(str_sub(name, i, name.n));
            break;
        }
    }
    if (s->type.n == 0)
        fail(r, FIND_PARSE, 1, "a section needs a name", STR_NONE);
    s->line = r->number;
    s->values = node_new(r->arena, NODE_MAP);
    s->values->line = r->number;
    s->values->column = 1;
    if (r->last)
        r->last->next = s;
    else
        r->first = s;
    r->last = s;
}

/* An indented "name = value" is meant as a setting by most people, but is read as part of the
 * value above. */
static bool looks_like_setting(struct str line)
{
    size_t i = 0;

    while (i < line.n && ((line.p[i] | 32) >= 'a' || line.p[i] == '_' || line.p[i] == '.') &&
           (line.p[i] | 32) <= 'z')
        i++;
    return i > 0 && str_starts(str_trim(str_sub(line, i, line.n)), STR("="));
}

/* inih takes vertical tabs and the like for blanks, and a line that starts with one as indented. */
static bool has_control(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if ((unsigned char)s.p[i] < 0x20 && s.p[i] != '\t')
            return true;
    }
    return false;
}

static void look_at(struct reading *r)
{
    struct str line = r->line, trimmed = str_trim(line);

    if (has_control(line))
        fail(r, FIND_PARSE, 1, "control characters are written as JSON escapes in quotes",
             STR_NONE);
    if (is_comment(trimmed))
        return;
    if (line.n + 1 > LIMIT_INI_LINE)
        fail(r, FIND_LIMIT, LIMIT_INI_LINE, "a line may have at most 198 bytes", STR_NONE);
    if (is_blank(line.p[0]) && r->value) {
        if (looks_like_setting(trimmed))
            fail(r, FIND_PARSE, 1,
                 "an indented line continues the value above; a setting starts in the first column",
                 trimmed);
        return;
    }
    r->value = NULL;
    if (trimmed.p[0] == '[')
        start_section(r, trimmed);
}

/* inih's ini_reader: the next line as fgets gives it, NULL at the end. A line that inih would cut
 * is cut here, and has been reported. */
static char *next_line(char *out, int room, void *stream)
{
    struct reading *r = stream;
    size_t n;

    if (!str_next(&r->rest, '\n', &r->line) || room < 2)
        return NULL;
    r->number++;
    if (str_ends(r->line, STR("\r")))
        r->line.n--;
    look_at(r);
    n = MIN(r->line.n, (size_t)room - 2);
    if (n)
        memcpy(out, r->line.p, n);
    out[n] = '\n';
    out[n + 1] = '\0';
    return out;
}

/* A value in double quotes has JSON's escapes. False if it is not well-formed. */
static bool unquote(struct reading *r, struct str text, struct str *out)
{
    struct node *n;
    struct err err;

    if (json_read(text, r->arena, &n, &err) != 0 || n->kind != NODE_STRING)
        return false;
    *out = n->text;
    return true;
}

static unsigned column_of(const struct reading *r, struct str value)
{
    size_t from = strcspn(r->line.p, "=:"), at;

    if (from >= r->line.n || !str_find(str_sub(r->line, from, r->line.n), value, &at))
        return 1;
    return (unsigned)(from + at + 1);
}

/* Without the comment that may follow: ';' behind a blank. Some versions of inih cut it off
 * continued lines, some do not. */
static struct str without_comment(struct str s)
{
    for (size_t i = 1; i < s.n; i++) {
        if (s.p[i] == ';' && is_blank(s.p[i - 1]))
            return str_trim(str_sub(s, 0, i));
    }
    return s;
}

static void continue_value(struct reading *r, struct str text)
{
    struct node *n = r->value;

    text = without_comment(text);

    if (r->quoted)
        fail(r, FIND_PARSE, 1, "a value in quotes cannot be continued on the next line", n->key);
    n->text = arena_printf(r->arena, "%.*s\n%.*s", STR_ARG(n->text), STR_ARG(text));
}

static void add_value(struct reading *r, struct str key, struct str text)
{
    struct ini_section *s = r->last;
    struct node *n;

    if (!s) {
        fail(r, FIND_PARSE, 1, "a setting stands outside any [section]", key);
        return;
    }
    if (key.n == 0) {
        fail(r, FIND_PARSE, 1, "a setting needs a name before its '='", STR_NONE);
        return;
    }
    if (node_get(s->values, key)) {
        fail(r, FIND_DUPLICATE_KEY, 1, "this setting is there twice", key);
        return;
    }
    n = node_string(r->arena, arena_str(r->arena, text));
    n->line = n->key_line = r->number;
    n->column = column_of(r, text);
    n->key_column = (unsigned)(strspn(r->line.p, " \t") + 1);
    node_set(s->values, arena_str(r->arena, key), n);
    r->quoted = n->text.n && n->text.p[0] == '"';
    if (r->quoted && !unquote(r, n->text, &n->text))
        fail(r, FIND_PARSE, n->column,
             "a value that starts with a quote must be one JSON string (\" ;\" starts a comment: "
             "write \\u003b for ';')",
             n->text);
    r->value = n;
}

/* inih's ini_handler, called with the parts of r->line. */
static int on_value(void *user, const char *section, const char *name, const char *value)
{
    struct reading *r = user;
    struct str text = str_from(value);

    (void)section; /* cut at 49 bytes; ours is whole */
    if (r->value && is_blank(r->line.p[0]))
        continue_value(r, text);
    else
        add_value(r, str_from(name), text);
    return 1;
}

static bool is_utf8(struct str s, size_t *bad)
{
    for (size_t i = 0, n; i < s.n; i += n) {
        n = str_utf8(str_sub(s, i, 4));
        if (n == 0 || s.p[i] == '\0') {
            *bad = i;
            return false;
        }
    }
    return true;
}

int ini_read(struct str text, struct str file, struct arena *a, struct ini_section **out,
             struct findings *f)
{
    struct reading r = {.file = file, .arena = a, .findings = f};
    size_t bad;
    int bad_line;

    if (!is_utf8(text, &bad)) {
        for (size_t i = 0; i < bad; i++)
            r.number += text.p[i] == '\n';
        r.number++;
        fail(&r, FIND_PARSE, 0, "the text is not UTF-8, or holds a NUL", STR_NONE);
        return -1;
    }
    if (str_starts(text, STR("\xEF\xBB\xBF")))
        text = str_sub(text, 3, text.n);
    r.rest = arena_str(a, text); /* with a NUL behind */
    bad_line = ini_parse_stream(next_line, &r, on_value, &r);
    if (bad_line != 0 && !r.failed) {
        r.number = bad_line > 0 ? (unsigned)bad_line : 0;
        fail(&r, FIND_PARSE, 1, "this is neither [section] nor name = value", STR_NONE);
    }
    if (r.failed)
        return -1;
    *out = r.first;
    return 0;
}
