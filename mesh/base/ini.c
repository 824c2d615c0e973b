/* inih does the parsing; the reader below hands it one line at a time and so knows what inih does
 * not tell: line numbers, where a section starts (inih merges equal neighbours and drops empty
 * ones), and what would be cut or dropped without a word. Inside quotes it hides from inih the
 * characters that end a key or start a comment, as control characters, which no line may hold.
 */
#include "mesh/base/ini.h"

#include <ini.h>
#include <string.h>

#include "mesh/base/json.h"
#include "mesh/base/limits.h"

#define NAME_MAX_BYTES 49 /* inih's bound for section names */

static const char hidden[] = "=:;";
static const char stand_in[] = "\x01\x02\x03"; /* in the same order */

struct reading {
    struct str text; /* whole */
    struct str rest; /* lines not given to inih yet */
    struct str line; /* the last one given, without its end */
    size_t value_at; /* in it: where its value begins */
    unsigned number;
    struct str file;
    struct arena *arena;
    struct findings *findings;
    struct ini_section *first, *last;
    struct ini_entry *open;       /* what an indented line would continue */
    struct ini_piece *last_piece; /* of it */
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

/* Columns count characters, as those of the other readers do. */
static unsigned column_at(struct str line, size_t at)
{
    unsigned column = 1;

    for (size_t i = 0; i < at && i < line.n; i++)
        column += ((unsigned char)line.p[i] & 0xC0) != 0x80;
    return column;
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
    s->title = s->type = name;
    for (size_t i = 0; i < name.n; i++) {
        if (is_blank(name.p[i])) {
            s->type = str_sub(name, 0, i);
            s->name = str_trim(str_sub(name, i, name.n));
            s->name_column = column_at(r->line, (size_t)(s->name.p - r->line.p));
            break;
        }
    }
    if (s->type.n == 0)
        fail(r, FIND_PARSE, 1, "a section needs a name", STR_NONE);
    s->line = r->number;
    s->column = column_at(r->line, (size_t)(name.p - r->line.p));
    s->offset = (size_t)(r->line.p - r->text.p);
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
        if (((unsigned char)s.p[i] < 0x20 && s.p[i] != '\t') || s.p[i] == 0x7F)
            return true;
    }
    return false;
}

/* ---- quotes ---- */

/* Hide what lies in quotes from `at` on, up to an unquoted character of `end`, which is returned
 * (or the length). A quote that no other closes is reported if it hides a comment or the end. */
static size_t hide_strings(struct reading *r, char *line, size_t n, size_t at, const char *end)
{
    size_t opened = 0; /* offset + 1 */
    bool hid = false;

    for (; at < n; at++) {
        const char *hit = strchr(hidden, line[at]);

        if (opened && line[at] == '\\' && at + 1 < n) {
            at++;
        } else if (line[at] == '"') {
            opened = opened ? 0 : at + 1;
            hid = false;
        } else if (opened && hit) {
            line[at] = stand_in[hit - hidden];
            hid = true;
        } else if (!opened && strchr(end, line[at])) {
            return at;
        } else if (!opened && line[at] == ';' && at > 0 && is_blank(line[at - 1])) {
            return n; /* the rest is a comment */
        }
    }
    if (opened && (hid || *end))
        fail(r, FIND_PARSE, column_at(r->line, opened - 1), "this quote is not closed on its line",
             STR_NONE);
    return n;
}

static void hide_value(struct reading *r, char *line, size_t n, size_t at, bool has_strings)
{
    while (at < n && is_blank(line[at]))
        at++;
    r->value_at = at;
    if (has_strings || (at < n && strchr("\"[{", line[at])))
        (void)hide_strings(r, line, n, at, ""); /* there is no end to find */
}

/* A copy that shows what was hidden. */
static struct str shown(struct reading *r, struct str s)
{
    char *p = arena_alloc(r->arena, s.n + 1);

    for (size_t i = 0; i <= s.n; i++) {
        char c = i < s.n ? s.p[i] : '\0';
        const char *hit = c ? strchr(stand_in, c) : NULL;

        p[i] = hit ? hidden[hit - stand_in] : c;
    }
    return (struct str){p, s.n};
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

/* ---- lines ---- */

/* The open value has all its lines: what they say together. */
static void close_value(struct reading *r)
{
    struct ini_entry *e = r->open;
    size_t n = 0;
    char *p;

    r->open = NULL;
    if (!e || !e->pieces->next)
        return;
    for (const struct ini_piece *piece = e->pieces; piece; piece = piece->next)
        n += piece->said.n + 1;
    p = arena_alloc(r->arena, n + 1);
    n = 0;
    for (const struct ini_piece *piece = e->pieces; piece; piece = piece->next) {
        if (n && !e->quoted)
            p[n++] = '\n';
        if (piece->said.n)
            memcpy(p + n, piece->said.p, piece->said.n);
        n += piece->said.n;
    }
    p[n] = '\0';
    e->text = (struct str){p, n};
}

static bool value_has_strings(const struct ini_entry *e)
{
    return e->pieces->text.n && strchr("\"[{", e->pieces->text.p[0]);
}

/* The line is in `out`, where inih will read it. */
static void look_at(struct reading *r, char *out, size_t n)
{
    struct str line = r->line, trimmed = str_trim(line);

    if (has_control(line))
        fail(r, FIND_PARSE, 1, "control characters are written as JSON escapes in quotes",
             STR_NONE);
    if (is_comment(trimmed))
        return;
    if (line.n + 1 > LIMIT_INI_LINE)
        fail(r, FIND_LIMIT, LIMIT_INI_LINE,
             "a line may have at most 198 bytes; a long value goes on in an indented line",
             STR_NONE);
    if (is_blank(line.p[0]) && r->open) {
        if (looks_like_setting(trimmed))
            fail(r, FIND_PARSE, 1,
                 "an indented line continues the value above; a setting starts in the first column",
                 trimmed);
        hide_value(r, out, n, 0, value_has_strings(r->open));
        return;
    }
    close_value(r);
    if (trimmed.p[0] == '[')
        start_section(r, trimmed);
    else
        hide_value(r, out, n, hide_strings(r, out, n, 0, "=:") + 1, false);
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
    n = MIN(r->line.n, (size_t)room - 2);
    if (n)
        memcpy(out, r->line.p, n);
    look_at(r, out, n);
    out[n] = '\n';
    out[n + 1] = '\0';
    return out;
}

/* Without the comment that may follow: ';' behind a blank. Some versions of inih cut it off
 * continued lines, some do not. Hidden ones are still hidden here. */
static struct str without_comment(struct str s)
{
    for (size_t i = 1; i < s.n; i++) {
        if (s.p[i] == ';' && is_blank(s.p[i - 1]))
            return str_trim(str_sub(s, 0, i));
    }
    return s;
}

/* One more line of the open value. */
static void add_piece(struct reading *r, struct str text)
{
    struct ini_entry *e = r->open;
    struct ini_piece *p = ARENA_NEW(r->arena, struct ini_piece);
    bool is_first = !e->pieces || e->pieces->text.n == 0;

    p->text = p->said = text;
    p->line = r->number;
    p->column = column_at(r->line, r->value_at);
    if (is_first) {
        e->quoted = text.n && text.p[0] == '"';
        e->line = p->line;
        e->column = p->column;
        e->pieces = p;
    } else {
        r->last_piece->next = p;
    }
    r->last_piece = p;
    if (e->quoted && !unquote(r, text, &p->said))
        fail(r, FIND_PARSE, p->column,
             is_first ? "a value that starts with a quote must be one JSON string"
                      : "a value in quotes goes on in another JSON string",
             text);
    if (is_first)
        e->text = p->said;
}

static void add_entry(struct reading *r, struct str key, struct str text)
{
    struct ini_section *s = r->last;
    struct ini_entry *e;

    if (!s) {
        fail(r, FIND_PARSE, 1, "a setting stands outside any [section]", key);
        return;
    }
    if (key.n == 0) {
        fail(r, FIND_PARSE, 1, "a setting needs a name before its '='", STR_NONE);
        return;
    }
    e = ARENA_NEW(r->arena, struct ini_entry);
    e->key = key;
    e->key_line = r->number;
    e->key_column = (unsigned)(strspn(r->line.p, " \t") + 1);
    if (s->last)
        s->last->next = e;
    else
        s->first = e;
    s->last = e;
    r->open = e;
    add_piece(r, text);
}

/* inih's ini_handler, called with the parts of r->line. */
static int on_value(void *user, const char *section, const char *name, const char *value)
{
    struct reading *r = user;

    (void)section; /* cut at 49 bytes; ours is whole */
    if (r->open && is_blank(r->line.p[0]))
        add_piece(r, shown(r, without_comment(str_from(value))));
    else
        add_entry(r, shown(r, str_from(name)), shown(r, str_from(value)));
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
    r.text = r.rest = arena_str(a, text); /* with a NUL behind */
    if (str_starts(text, STR("\xEF\xBB\xBF")))
        r.rest = str_sub(r.text, 3, text.n);
    bad_line = ini_parse_stream(next_line, &r, on_value, &r);
    close_value(&r);
    if (bad_line != 0 && !r.failed) {
        r.number = bad_line > 0 ? (unsigned)bad_line : 0;
        fail(&r, FIND_PARSE, 1, "this is neither [section] nor name = value", STR_NONE);
    }
    if (r.failed)
        return -1;
    *out = r.first;
    return 0;
}
