#include "mesh/base/json.h"

#include <stdio.h>
#include <string.h>

#include "mesh/base/limits.h"

/* A cursor over the text. Lines and columns are counted as nodes are made, never twice over the
 * same bytes. Columns count characters. */
struct json {
    struct str text;
    struct arena *arena;
    size_t at;
    size_t counted; /* line and column are those of this offset */
    unsigned line, column;
    unsigned depth;
    /* the first problem */
    enum finding_code code;
    const char *problem;
    struct str about; /* quoted behind the problem, or empty */
};

static void count_to(struct json *j, size_t at)
{
    for (; j->counted < at; j->counted++) {
        unsigned char c = (unsigned char)j->text.p[j->counted];

        if (c == '\n') {
            j->line++;
            j->column = 1;
        } else if ((c & 0xC0) != 0x80) {
            j->column++;
        }
    }
}

static struct node *fail(struct json *j, enum finding_code code, const char *problem)
{
    if (!j->problem) {
        j->code = code;
        j->problem = problem;
        count_to(j, j->at);
    }
    return NULL;
}

static int peek(const struct json *j)
{
    return j->at < j->text.n ? (unsigned char)j->text.p[j->at] : -1;
}

static void skip_blanks(struct json *j)
{
    while (j->at < j->text.n) {
        char c = j->text.p[j->at];

        if (c != ' ' && c != '\t' && c != '\n' && c != '\r')
            return;
        j->at++;
    }
}

static struct node *new_node(struct json *j, enum node_kind kind)
{
    struct node *n = node_new(j->arena, kind);

    count_to(j, j->at);
    n->line = j->line;
    n->column = j->column;
    return n;
}

static bool take_hex4(struct json *j, size_t at, unsigned *out)
{
    uint64_t v;
    struct str four = str_sub(j->text, at, 4);

    if (four.n != 4 || !str_hex(four, 0xFFFF, &v))
        return false;
    *out = (unsigned)v;
    return true;
}

static size_t put_utf8(char *out, unsigned c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xE0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 63));
        out[2] = (char)(0x80 | (c & 63));
        return 3;
    }
    out[0] = (char)(0xF0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 63));
    out[2] = (char)(0x80 | (c >> 6 & 63));
    out[3] = (char)(0x80 | (c & 63));
    return 4;
}

/* A backslash, u and four digits; a pair of them for a character beyond the first plane. The cursor
 * is at the letter. */
static bool take_unicode(struct json *j, char *out, size_t *n)
{
    unsigned c, low;

    if (!take_hex4(j, j->at + 1, &c)) {
        fail(j, FIND_PARSE, "\\u needs four hexadecimal digits");
        return false;
    }
    if (c >= 0xD800 && c < 0xE000) {
        if (c >= 0xDC00 || !str_eq(str_sub(j->text, j->at + 5, 2), STR("\\u")) ||
            !take_hex4(j, j->at + 7, &low) || low < 0xDC00 || low > 0xDFFF) {
            fail(j, FIND_PARSE, "\\u names half of a surrogate pair");
            return false;
        }
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
        j->at += 6;
    }
    j->at += 5;
    *n += put_utf8(out + *n, c);
    return true;
}

/* The cursor is behind the backslash. */
static bool take_escape(struct json *j, char *out, size_t *n)
{
    static const char names[] = "\"\\/bfnrt";
    static const char values[] = "\"\\/\b\f\n\r\t";
    int c = peek(j);
    const char *hit = c > 0 ? strchr(names, c) : NULL;

    if (c == 'u')
        return take_unicode(j, out, n);
    if (!hit) {
        fail(j, FIND_PARSE, "unknown escape in a string");
        return false;
    }
    out[(*n)++] = values[hit - names];
    j->at++;
    return true;
}

/* Move over plain characters up to a quote or backslash. */
static bool skip_plain(struct json *j)
{
    for (;;) {
        int c = peek(j);
        size_t n;

        if (c == '"' || c == '\\')
            return true;
        if (c < 0x20) {
            fail(j, FIND_PARSE,
                 c < 0 ? "the text ends within a string"
                       : "control characters in a string must be escaped");
            return false;
        }
        n = str_utf8(str_sub(j->text, j->at, 4));
        if (n == 0) {
            fail(j, FIND_PARSE, "the text is not UTF-8");
            return false;
        }
        j->at += n;
    }
}

/* The end of a string that has escapes: they only shrink, so the raw length is room enough. */
static bool unescape(struct json *j, size_t from, struct str *out)
{
    const char *end = j->text.p + j->at;
    size_t bound = j->text.n - from, n = j->at - from;
    char *p;

    /* The raw length: up to the next quote that is not escaped. */
    for (; (size_t)(end - j->text.p) < j->text.n && *end != '"'; end++) {
        if (*end == '\\')
            end++;
    }
    bound = MIN(bound, (size_t)(end - j->text.p) - from);
    p = arena_alloc(j->arena, bound + 4);
    memcpy(p, j->text.p + from, n);
    while (peek(j) == '\\') {
        size_t plain;

        j->at++;
        if (!take_escape(j, p, &n))
            return false;
        plain = j->at;
        if (!skip_plain(j))
            return false;
        memcpy(p + n, j->text.p + plain, j->at - plain);
        n += j->at - plain;
    }
    *out = (struct str){p, n};
    return true;
}

/* The cursor is at the opening quote. */
static bool take_string(struct json *j, struct str *out)
{
    size_t from = ++j->at;

    if (!skip_plain(j))
        return false;
    *out = str_sub(j->text, from, j->at - from);
    if (peek(j) == '\\' && !unescape(j, from, out))
        return false;
    j->at++;
    return true;
}

static struct node *take_value(struct json *j);

static struct node *take_list(struct json *j)
{
    struct node *list = new_node(j, NODE_LIST);

    j->at++;
    skip_blanks(j);
    if (peek(j) == ']') {
        j->at++;
        return list;
    }
    for (;;) {
        struct node *child = take_value(j);

        if (!child)
            return NULL;
        node_append(list, child);
        skip_blanks(j);
        if (peek(j) == ']')
            break;
        if (peek(j) != ',')
            return fail(j, FIND_PARSE,
                        peek(j) < 0 ? "the text ends within a list: ']' is missing" : "a list needs ',' or ']' here");
        j->at++;
    }
    j->at++;
    return list;
}

static struct node *take_member(struct json *j)
{
    struct node *child;
    struct str key;
    unsigned line, column;

    skip_blanks(j);
    if (peek(j) == '}')
        return fail(j, FIND_PARSE, "the ',' before this '}' is too many");
    if (peek(j) != '"')
        return fail(j, FIND_PARSE, "a name in double quotes is missing here");
    count_to(j, j->at);
    line = j->line;
    column = j->column;
    if (!take_string(j, &key))
        return NULL;
    skip_blanks(j);
    if (peek(j) != ':')
        return fail(j, FIND_PARSE, "':' is missing here");
    j->at++;
    child = take_value(j);
    if (!child)
        return NULL;
    child->key = key;
    child->key_line = line;
    child->key_column = column;
    return child;
}

static struct node *end_map(struct json *j, struct node *map)
{
    struct node *twin = node_twin(map);

    j->at++;
    if (!twin)
        return map;
    fail(j, FIND_DUPLICATE_KEY, "the name is there twice");
    j->about = twin->key;
    j->line = twin->key_line;
    j->column = twin->key_column;
    return NULL;
}

static struct node *take_map(struct json *j)
{
    struct node *map = new_node(j, NODE_MAP);

    j->at++;
    skip_blanks(j);
    if (peek(j) == '}') {
        j->at++;
        return map;
    }
    for (;;) {
        struct node *child = take_member(j);

        if (!child)
            return NULL;
        node_append(map, child);
        skip_blanks(j);
        if (peek(j) == '}')
            return end_map(j, map);
        if (peek(j) != ',')
            return fail(j, FIND_PARSE,
                        peek(j) < 0 ? "the text ends within an object: '}' is missing"
                                    : "an object needs ',' or '}' here");
        j->at++;
    }
}

static struct node *take_number(struct json *j)
{
    struct node *n = new_node(j, NODE_NUMBER);
    size_t from = j->at;

    while (j->at < j->text.n && peek(j) != 0 && strchr("+-.0123456789eE", peek(j)))
        j->at++;
    n->text = str_sub(j->text, from, j->at - from);
    if (str_is_number(n->text))
        return n;
    j->at = from;
    return fail(j, FIND_PARSE, "this is not a JSON number");
}

static struct node *take_word(struct json *j)
{
    static const struct {
        struct str word;
        enum node_kind kind;
    } words[] = {
        {STR_INIT("true"),  NODE_BOOL},
        {STR_INIT("false"), NODE_BOOL},
        {STR_INIT("null"),  NODE_NULL},
    };

    for (size_t i = 0; i < COUNT(words); i++) {
        if (str_eq(str_sub(j->text, j->at, words[i].word.n), words[i].word)) {
            struct node *n = new_node(j, words[i].kind);

            n->text = words[i].word;
            j->at += words[i].word.n;
            return n;
        }
    }
    return fail(j, FIND_PARSE,
                j->at < j->text.n ? "a JSON value is missing here"
                                  : "the text ends where a value should be");
}

static struct node *take_nested(struct json *j)
{
    struct node *n;

    if (j->depth >= LIMIT_NODE_DEPTH)
        return fail(j, FIND_LIMIT, "lists and objects are nested too deep");
    j->depth++;
    n = peek(j) == '[' ? take_list(j) : take_map(j);
    j->depth--;
    return n;
}

static struct node *take_value(struct json *j)
{
    int c;

    skip_blanks(j);
    c = peek(j);
    if (c == '[' || c == '{')
        return take_nested(j);
    if (c == '-' || (c >= '0' && c <= '9'))
        return take_number(j);
    if (c == '"') {
        struct node *n = new_node(j, NODE_STRING);

        return take_string(j, &n->text) ? n : NULL;
    }
    return take_word(j);
}

static struct node *parse(struct json *j, struct str text, struct arena *a)
{
    struct node *root;

    *j = (struct json){.text = text, .arena = a, .line = 1, .column = 1};
    root = take_value(j);
    if (!root)
        return NULL;
    skip_blanks(j);
    if (j->at < text.n)
        return fail(j, FIND_PARSE, "something stands behind the JSON value");
    return root;
}

static const char *quote_of(const struct json *j, char *out, size_t room)
{
    if (j->about.n == 0)
        return "";
    snprintf(out, room, ": \"%.*s\"", (int)MIN(j->about.n, 64), j->about.p);
    return out;
}

int json_parse(struct str text, struct str file, struct arena *a, struct node **out,
               struct findings *f)
{
    char quote[80];
    struct json j;
    struct node *root = parse(&j, text, a);
    struct finding *n;

    if (root) {
        *out = root;
        return 0;
    }
    n = findings_add(f, j.code, SEVERITY_ERROR, "%s%s", j.problem,
                     quote_of(&j, quote, sizeof(quote)));
    n->file = file;
    n->line = j.line;
    n->column = j.column;
    n->document = 1;
    return -1;
}

int json_read(struct str text, struct arena *a, struct node **out, struct err *err)
{
    char quote[80];
    struct json j;
    struct node *root = parse(&j, text, a);

    if (root) {
        *out = root;
        return 0;
    }
    return err_set(err, j.code == FIND_LIMIT ? ERR_LIMIT : ERR_INVALID,
                   "JSON line %u, column %u: %s%s", j.line, j.column, j.problem,
                   quote_of(&j, quote, sizeof(quote)));
}

/* ---- writer ---- */

static void new_line(struct buf *out, unsigned indent, unsigned level)
{
    if (indent == 0)
        return;
    buf_addc(out, '\n');
    for (unsigned i = 0; i < indent * level; i++)
        buf_addc(out, ' ');
}

static void write_node(const struct node *n, unsigned indent, unsigned level, struct buf *out)
{
    bool is_map = n->kind == NODE_MAP;

    if (n->kind == NODE_STRING) {
        buf_json(out, n->text);
        return;
    }
    if (n->kind != NODE_LIST && !is_map) {
        buf_add(out, n->kind == NODE_NULL ? STR("null") : n->text);
        return;
    }
    buf_addc(out, is_map ? '{' : '[');
    for (const struct node *child = n->first; child && !out->failed; child = child->next) {
        new_line(out, indent, level + 1);
        if (is_map) {
            buf_json(out, child->key);
            buf_adds(out, indent ? ": " : ":");
        }
        write_node(child, indent, level + 1, out);
        if (child->next)
            buf_addc(out, ',');
    }
    if (n->first)
        new_line(out, indent, level);
    buf_addc(out, is_map ? '}' : ']');
}

void json_write(const struct node *n, unsigned indent, struct buf *out)
{
    write_node(n, indent, 0, out);
}
