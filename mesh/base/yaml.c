/* libyaml's events become nodes on a stack of open lists and maps.
 *
 * libyaml counts in characters, we cut documents in bytes: `seen` walks the text along with the
 * marks. An alias is a copy of the node that its anchor named, and is paid for from
 * LIMIT_YAML_ALIAS_NODES, so that a small text cannot make a large tree. Merge keys are collected
 * while their map is open and put behind its own members at its end, where the first of each name
 * stays: that is their precedence.
 */
#include "mesh/base/yaml.h"

#include <string.h>
#include <yaml.h>

#include "mesh/base/limits.h"
#include "mesh/base/map.h"

struct frame {
    struct node *node;
    struct str anchor;
    struct str key; /* of a map: the member whose value comes next */
    unsigned key_line, key_column;
    bool has_key, merges; /* the key is there; it is "<<" */
    struct node *merged;  /* a list of the maps to merge, or NULL */
};

struct reader {
    yaml_parser_t parser;
    struct str text, file;
    struct str given; /* what libyaml reads: the text, perhaps with stand-ins for colons */
    unsigned repairs; /* how many */
    struct arena *arena;
    struct findings *findings;
    struct map anchors; /* of this document: name -> node */
    struct frame frames[LIMIT_NODE_DEPTH];
    size_t depth;
    size_t alias_nodes;
    struct {
        size_t characters, bytes;
    } seen;          /* how far the text was walked */
    size_t last_end; /* bytes: where the previous document ended */
    bool root_empty; /* the document is nothing but comments */
    struct node *root;
    struct node_document *first, *last;
    unsigned documents;
};

static int fail(struct reader *r, enum finding_code code, const yaml_mark_t *mark,
                const char *detail, struct str about)
{
    struct finding *f = about.n ? findings_add(r->findings, code, SEVERITY_ERROR, "%s: \"%.*s\"",
                                               detail, (int)MIN(about.n, 64), about.p)
                                : findings_add(r->findings, code, SEVERITY_ERROR, "%s", detail);

    f->file = r->file;
    f->line = (unsigned)mark->line + 1;
    f->column = (unsigned)mark->column + 1;
    f->document = r->documents + 1;
    return -1;
}

/* "[1.2.3.4, 001:db8::]" is a list of addresses to Istio's reader and to people, but an error to
 * libyaml: a plain scalar in a flow list may not end in a colon for it. Such a second colon is
 * replaced by a stand-in, one character as well so that marks stay right, and read again. The
 * bounds keep that from being repeated over large texts. */
#define COLON          "\xEE\x80\xBA" /* U+E03A, for private use */
#define REPAIRS_MAX    16
#define REPAIRED_BYTES (1u << 20)

static struct str take_text(struct reader *r, const yaml_char_t *p, size_t n)
{
    const void *bytes = p;
    struct str rest = {bytes, n}, whole;
    struct buf out;
    size_t at;

    if (r->repairs == 0 || !str_find(rest, STR(COLON), &at))
        return arena_str(r->arena, rest);
    buf_init(&out, n);
    for (; str_find(rest, STR(COLON), &at); rest = str_sub(rest, at + 3, rest.n)) {
        buf_add(&out, str_sub(rest, 0, at));
        buf_addc(&out, ':');
    }
    buf_add(&out, rest);
    whole = arena_str(r->arena, buf_str(&out));
    buf_done(&out);
    return whole;
}

static struct str take_name(struct reader *r, const yaml_char_t *name)
{
    const void *bytes = name;

    return name ? arena_str(r->arena, str_from(bytes)) : STR_NONE;
}

/* ---- scalars ---- */

static bool is_one_of(struct str s, const char *a, const char *b, const char *c)
{
    return str_eq(s, str_from(a)) || str_eq(s, str_from(b)) || str_eq(s, str_from(c));
}

/* What a plain scalar is: JSON's words and numbers, as the core schema spells them. */
static enum node_kind kind_of_plain(struct str s)
{
    if (s.n == 0 || str_eq(s, STR("~")) || is_one_of(s, "null", "Null", "NULL"))
        return NODE_NULL;
    if (is_one_of(s, "true", "True", "TRUE") || is_one_of(s, "false", "False", "FALSE"))
        return NODE_BOOL;
    return str_is_number(s) ? NODE_NUMBER : NODE_STRING;
}

#define CORE "tag:yaml.org,2002:"

/* A tag's say in the kind of a scalar. False if the text does not fit it or the tag is unknown. */
static bool apply_tag(struct str tag, enum node_kind plain, enum node_kind *kind)
{
    if (tag.n == 0)
        return true;
    *kind = NODE_STRING;
    if (str_eq(tag, STR("!")) || str_eq(tag, STR(CORE "str")))
        return true;
    *kind = plain;
    if (str_eq(tag, STR(CORE "int")) || str_eq(tag, STR(CORE "float")))
        return plain == NODE_NUMBER;
    if (str_eq(tag, STR(CORE "bool")))
        return plain == NODE_BOOL;
    return str_eq(tag, STR(CORE "null")) && plain == NODE_NULL;
}

static struct str text_of(enum node_kind kind, struct str text)
{
    if (kind == NODE_NULL)
        return STR("null");
    if (kind == NODE_BOOL)
        return (text.p[0] | 32) == 't' ? STR("true") : STR("false");
    return text;
}

static struct node *new_node(struct reader *r, enum node_kind kind, const yaml_mark_t *mark)
{
    struct node *n = node_new(r->arena, kind);

    n->line = (unsigned)mark->line + 1;
    n->column = (unsigned)mark->column + 1;
    return n;
}

static struct node *take_scalar(struct reader *r, const yaml_event_t *e)
{
    struct str text = take_text(r, e->data.scalar.value, e->data.scalar.length);
    struct str tag = take_name(r, e->data.scalar.tag);
    bool plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    enum node_kind kind = plain ? kind_of_plain(text) : NODE_STRING;
    struct node *n;

    if (!apply_tag(tag, kind_of_plain(text), &kind)) {
        fail(r, FIND_PARSE, &e->start_mark, "the tag is unknown, or does not fit its value", tag);
        return NULL;
    }
    n = new_node(r, kind, &e->start_mark);
    n->text = text_of(kind, text);
    return n;
}

/* ---- building ---- */

static int define_anchor(struct reader *r, struct str anchor, struct node *n)
{
    if (anchor.n)
        map_put(&r->anchors, anchor, n);
    return 0;
}

static struct frame *top(struct reader *r)
{
    return r->depth ? &r->frames[r->depth - 1] : NULL;
}

/* The value of "<<": a map, or a list of maps. */
static int take_merge(struct reader *r, struct frame *f, struct node *n, const yaml_mark_t *mark)
{
    f->has_key = f->merges = false;
    if (!f->merged)
        f->merged = node_new(r->arena, NODE_LIST);
    if (n->kind == NODE_MAP) {
        node_append(f->merged, n);
        return 0;
    }
    if (n->kind != NODE_LIST)
        return fail(r, FIND_PARSE, mark, "\"<<\" takes a map or a list of maps", STR_NONE);
    for (struct node *child = n->first, *next; child; child = next) {
        next = child->next;
        if (child->kind != NODE_MAP)
            return fail(r, FIND_PARSE, mark, "\"<<\" takes a map or a list of maps", STR_NONE);
        node_append(f->merged, child);
    }
    return 0;
}

static int take_key(struct reader *r, struct frame *f, struct node *n, const yaml_mark_t *mark,
                    bool merges)
{
    if (n->kind != NODE_STRING && n->kind != NODE_NUMBER)
        return fail(r, FIND_PARSE, mark, "a key must be a string; quote it", n->text);
    f->key = n->text;
    f->key_line = (unsigned)mark->line + 1;
    f->key_column = (unsigned)mark->column + 1;
    f->has_key = true;
    f->merges = merges;
    return 0;
}

/* A finished node takes its place in the open list or map, or is the document. */
static int place(struct reader *r, struct node *n, const yaml_mark_t *mark, bool merges)
{
    struct frame *f = top(r);

    if (!f) {
        r->root = n;
        return 0;
    }
    if (f->node->kind == NODE_LIST) {
        node_append(f->node, n);
        return 0;
    }
    if (!f->has_key)
        return take_key(r, f, n, mark, merges);
    if (f->merges)
        return take_merge(r, f, n, mark);
    n->key_line = f->key_line;
    n->key_column = f->key_column;
    node_set(f->node, f->key, n);
    f->has_key = false;
    return 0;
}

static int open_frame(struct reader *r, enum node_kind kind, const yaml_event_t *e,
                      const yaml_char_t *anchor, const yaml_char_t *tag)
{
    struct str name = take_name(r, tag);
    const char *core = kind == NODE_MAP ? CORE "map" : CORE "seq";
    struct frame *f = top(r);

    if (name.n && !str_eq(name, STR("!")) && !str_eq(name, str_from(core)))
        return fail(r, FIND_PARSE, &e->start_mark, "the tag is unknown, or does not fit its value",
                    name);
    if (f && f->node->kind == NODE_MAP && !f->has_key) {
        (void)fail(r, FIND_PARSE, &e->start_mark, "a key must be a string, not a list or map", STR_NONE); /* -1 */
        r->findings->last->hint = STR("fill in templates such as {{ .Values.x }} first; a value that begins with '{' is quoted");
        return -1;
    }
    if (r->depth >= COUNT(r->frames))
        return fail(r, FIND_LIMIT, &e->start_mark, "lists and maps are nested too deep", STR_NONE);
    f = &r->frames[r->depth++];
    *f = (struct frame){.node = new_node(r, kind, &e->start_mark), .anchor = take_name(r, anchor)};
    return 0;
}

static int check_twins(struct reader *r, const struct node *map)
{
    const struct node *twin = node_twin(map);
    yaml_mark_t mark = {0};

    if (!twin)
        return 0;
    mark.line = twin->key_line - 1;
    mark.column = twin->key_column - 1;
    return fail(r, FIND_DUPLICATE_KEY, &mark, "the key is there twice", twin->key);
}

static void merge(struct node *map, struct node *sources)
{
    for (struct node *source = sources->first; source; source = source->next) {
        for (struct node *n = source->first, *next; n; n = next) {
            next = n->next;
            node_append(map, n);
        }
    }
    node_drop_twins(map);
}

static int close_frame(struct reader *r)
{
    struct frame f = r->frames[--r->depth];
    yaml_mark_t mark = {.line = f.node->line - 1, .column = f.node->column - 1};

    if (f.node->kind == NODE_MAP && check_twins(r, f.node) != 0)
        return -1;
    if (f.merged)
        merge(f.node, f.merged);
    define_anchor(r, f.anchor, f.node);
    return place(r, f.node, &mark, false);
}

/* ---- aliases ---- */

static bool is_nested(const struct node *n)
{
    return n->kind == NODE_LIST || n->kind == NODE_MAP;
}

/* A copy that shares the texts. NULL if it is too many nodes or too deep. */
static struct node *copy(struct reader *r, const struct node *n, size_t depth)
{
    struct node *c;

    if (r->alias_nodes >= LIMIT_YAML_ALIAS_NODES || (is_nested(n) && depth >= LIMIT_NODE_DEPTH))
        return NULL;
    r->alias_nodes++;
    c = ARENA_NEW(r->arena, struct node);
    *c = (struct node){.kind = n->kind,
                       .line = n->line,
                       .column = n->column,
                       .key_line = n->key_line,
                       .key_column = n->key_column,
                       .key = n->key,
                       .text = n->text};
    for (const struct node *child = n->first; child; child = child->next) {
        struct node *child_copy = copy(r, child, depth + 1);

        if (!child_copy)
            return NULL;
        node_append(c, child_copy);
    }
    return c;
}

static int take_alias(struct reader *r, const yaml_event_t *e)
{
    struct str name = take_name(r, e->data.alias.anchor);
    const struct node *n = map_get(&r->anchors, name);
    struct node *c;

    for (size_t i = 0; i < r->depth; i++) {
        if (str_eq(r->frames[i].anchor, name))
            return fail(r, FIND_PARSE, &e->start_mark, "the alias stands within its own anchor",
                        name);
    }
    if (!n)
        return fail(r, FIND_PARSE, &e->start_mark, "no anchor of this name comes before", name);
    c = copy(r, n, r->depth);
    if (!c)
        return fail(r, FIND_LIMIT, &e->start_mark,
                    "aliases make the document too large or too deep", name);
    return place(r, c, &e->start_mark, false);
}

/* ---- documents ---- */

/* The byte offset of a mark. Marks come in order, so that the text is walked once. */
static size_t offset_of(struct reader *r, const yaml_mark_t *mark)
{
    while (r->seen.characters < mark->index && r->seen.bytes < r->text.n) {
        size_t n = str_utf8(str_sub(r->text, r->seen.bytes, 4));

        r->seen.bytes += n ? n : 1;
        r->seen.characters++;
    }
    return r->seen.bytes;
}

static void end_document(struct reader *r, const yaml_event_t *e)
{
    size_t end = offset_of(r, &e->end_mark);
    struct node_document *d;

    map_done(&r->anchors); /* anchors live in their document */
    if (r->root && !r->root_empty) {
        d = ARENA_NEW(r->arena, struct node_document);
        d->file = r->file;
        d->number = ++r->documents;
        d->root = r->root;
        d->offset = r->last_end;
        d->length = end - r->last_end;
        if (r->last)
            r->last->next = d;
        else
            r->first = d;
        r->last = d;
    }
    r->last_end = end;
    r->root = NULL;
    r->root_empty = false;
}

static int on_scalar(struct reader *r, const yaml_event_t *e)
{
    struct node *n = take_scalar(r, e);
    bool plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && !e->data.scalar.tag;

    if (!n)
        return -1;
    if (r->depth == 0)
        r->root_empty = plain && e->data.scalar.length == 0 && !e->data.scalar.anchor;
    define_anchor(r, take_name(r, e->data.scalar.anchor), n);
    return place(r, n, &e->start_mark, plain && str_eq(n->text, STR("<<")));
}

static int on_event(struct reader *r, const yaml_event_t *e)
{
    switch (e->type) {
    case YAML_DOCUMENT_END_EVENT:
        end_document(r, e);
        return 0;
    case YAML_SCALAR_EVENT:
        return on_scalar(r, e);
    case YAML_ALIAS_EVENT:
        return take_alias(r, e);
    case YAML_SEQUENCE_START_EVENT:
        return open_frame(r, NODE_LIST, e, e->data.sequence_start.anchor,
                          e->data.sequence_start.tag);
    case YAML_MAPPING_START_EVENT:
        return open_frame(r, NODE_MAP, e, e->data.mapping_start.anchor, e->data.mapping_start.tag);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return close_frame(r);
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_START_EVENT:
        return 0;
    }
    return 0;
}

/* The byte of r->given where libyaml stopped. */
static size_t problem_offset(const struct reader *r)
{
    size_t at = 0;

    for (size_t i = 0; i < r->parser.problem_mark.index && at < r->given.n; i++)
        at += str_utf8(str_sub(r->given, at, 4));
    return at;
}

/* What people mean who write what libyaml cannot read: by its words. */
static const struct {
    const char *problem, *hint;
} yaml_hints[] = {
    {"found unexpected ':'", "quote a value that ends in ':' or has one before ',' or ']'"},
    {"mapping values are not allowed", "quote a value that has \": \" in it; or a line is indented too far"},
    {"found character that cannot start any token", "quote a value that begins with '@', '`' or '%'"},
    {"did not find expected key", "the line is indented differently from those it belongs to, or a quote is missing"},
    {"did not find expected '-' indicator", "a list goes on with \"- \" in the same column"},
    {"could not find expected ':'", "a line without \"NAME:\" stands among others, or a quote is missing"},
    {"found unexpected end of stream", "a quote or bracket is open"},
    {"did not find expected ',' or ']'", "a '[' is open, or a value in it needs quotes"},
    {"did not find expected ',' or '}'", "a '{' is open, or a value in it needs quotes"},
};

static struct str hint_for(const struct reader *r, const char *problem)
{
    size_t at = problem_offset(r);

    if (at < r->given.n && r->given.p[at] == '\t')
        return STR("this is a tab: indent with blanks");
    for (size_t i = 0; i < COUNT(yaml_hints); i++) {
        if (strstr(problem, yaml_hints[i].problem))
            return str_from(yaml_hints[i].hint);
    }
    return STR_NONE;
}

static int on_parser_error(struct reader *r)
{
    const yaml_parser_t *p = &r->parser;
    const char *context = p->context ? p->context : "";
    const char *problem = p->problem ? p->problem : "this is not YAML";
    bool begins_before = *context && p->context_mark.line < p->problem_mark.line;
    struct finding *f = findings_add(r->findings, FIND_PARSE, SEVERITY_ERROR, "%s%s%s", problem,
                                     *context ? " " : "", context);

    f->file = r->file;
    f->line = (unsigned)p->problem_mark.line + 1;
    f->column = (unsigned)p->problem_mark.column + 1;
    f->document = r->documents + 1;
    f->hint = hint_for(r, problem);
    if (begins_before)
        f->detail = arena_printf(r->arena, "%.*s that begins on line %zu", STR_ARG(f->detail), p->context_mark.line + 1);
    return -1;
}

static bool repair(struct reader *r)
{
    const char *problem = r->parser.problem;
    struct buf out;
    size_t at;

    if (!problem || !strstr(problem, "found unexpected ':'") || r->repairs == REPAIRS_MAX ||
        r->text.n > REPAIRED_BYTES || str_find(r->text, STR(COLON), &at))
        return false;
    at = problem_offset(r);
    if (at == 0 || !str_eq(str_sub(r->given, at - 1, 2), STR("::")))
        return false;
    buf_init(&out, r->given.n + 3);
    buf_add(&out, str_sub(r->given, 0, at));
    buf_add(&out, STR(COLON));
    buf_add(&out, str_sub(r->given, at + 1, r->given.n));
    r->given = arena_str(r->arena, buf_str(&out));
    r->repairs++;
    buf_done(&out);
    return true;
}

/* 1: the text was repaired, read it again. */
static int read_events(struct reader *r)
{
    bool done = false;
    int result = 0;

    while (result == 0 && !done) {
        yaml_event_t e;

        if (!yaml_parser_parse(&r->parser, &e))
            return repair(r) ? 1 : on_parser_error(r);
        done = e.type == YAML_STREAM_END_EVENT;
        result = on_event(r, &e);
        yaml_event_delete(&e);
    }
    return result;
}

static int read_stream(struct reader *r)
{
    const void *start = r->given.n ? r->given.p : "";
    int result;

    if (!yaml_parser_initialize(&r->parser))
        return fail(r, FIND_LIMIT, &(yaml_mark_t){0}, "no memory for a YAML parser", STR_NONE);
    yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r->parser, start, r->given.n);
    map_init(&r->anchors);
    result = read_events(r);
    map_done(&r->anchors);
    yaml_parser_delete(&r->parser);
    return result;
}

/* libyaml would also read UTF-16; we say no to anything but UTF-8, and where. */
static int check_utf8(struct reader *r)
{
    yaml_mark_t mark = {0};

    for (size_t i = 0, n; i < r->text.n; i += n) {
        n = str_utf8(str_sub(r->text, i, 4));
        if (n == 0)
            return fail(r, FIND_PARSE, &mark, "the text is not UTF-8", STR_NONE);
        mark.column++;
        if (r->text.p[i] == '\n') {
            mark.line++;
            mark.column = 0;
        }
    }
    return 0;
}

int yaml_parse(struct str text, struct str file, struct arena *a, struct node_document **out,
               struct findings *f)
{
    /* libyaml is not shown the byte order mark, and so does not count it. */
    size_t skip = str_starts(text, STR("\xEF\xBB\xBF")) ? 3 : 0;
    struct reader first = {
        .text = text, .file = file, .arena = a, .findings = f, .seen.bytes = skip};
    struct reader r = first;
    int result = check_utf8(&r);

    if (result != 0)
        return -1;
    r.given = str_sub(text, skip, text.n);
    do {
        first.given = r.given;
        first.repairs = r.repairs;
        r = first;
        result = read_stream(&r);
    } while (result > 0);
    if (result == 0)
        *out = r.first;
    return result;
}

/* ---- writer ---- */

/* Words that some reader of YAML takes for something other than a string. */
static bool is_reserved(struct str s)
{
    static const struct str words[] = {
        STR_INIT("true"), STR_INIT("false"), STR_INIT("null"), STR_INIT("yes"), STR_INIT("no"),
        STR_INIT("on"),   STR_INIT("off"),   STR_INIT("y"),    STR_INIT("n"),
    };

    for (size_t i = 0; i < COUNT(words); i++) {
        if (str_eq_nocase(s, words[i]))
            return true;
    }
    return false;
}

static bool is_letter(char c)
{
    return (c | 32) >= 'a' && (c | 32) <= 'z';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Text that starts with a digit and that nobody takes for a number or a date: addresses (two
 * dots), blocks (a slash) and durations (a unit). */
static bool is_plain_digits(struct str s)
{
    size_t dots = 0;

    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];

        dots += c == '.';
        if (c == '/' || dots > 1)
            return !str_has(s, ':');
    }
    if (str_has(s, ':') || str_has(s, '_'))
        return false;
    return str_ends(s, STR("s")) || str_ends(s, STR("m")) || str_ends(s, STR("h"));
}

static bool is_plain(struct str s)
{
    if (s.n == 0 || is_reserved(s))
        return false;
    if (is_digit(s.p[0]) && !is_plain_digits(s))
        return false;
    if (!is_digit(s.p[0]) && !is_letter(s.p[0]) && s.p[0] != '/' && s.p[0] != '_')
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool safe = is_letter(c) || is_digit(c) || strchr("_-./+@=", c) != NULL;
        bool inner = i > 0 && i + 1 < s.n;

        /* A colon before a blank would end a key; a blank before '#' would start a comment. */
        if (c == ':' || c == ' ')
            safe = inner && s.p[i + 1] != ' ' && s.p[i + 1] != ':';
        if (!safe || c == '\0')
            return false;
    }
    return true;
}

/* Several lines that a literal block keeps exactly: scripts, certificates. */
static bool is_block(struct str s)
{
    if (!str_has(s, '\n') || s.p[0] == ' ' || s.p[0] == '\t' || s.p[0] == '\n' ||
        str_ends(s, STR("\n\n")))
        return false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];

        if ((c < 0x20 && c != '\n') || c >= 0x7F)
            return false;
    }
    return true;
}

static void add_indent(struct buf *out, unsigned level)
{
    for (unsigned i = 0; i < level; i++)
        buf_adds(out, "  ");
}

static void write_block(struct str s, unsigned level, struct buf *out)
{
    struct str line;

    buf_adds(out, str_ends(s, STR("\n")) ? "|\n" : "|-\n");
    while (str_next(&s, '\n', &line)) {
        if (line.n)
            add_indent(out, level);
        buf_add(out, line);
        buf_addc(out, '\n');
    }
}

static void write_quoted(struct str s, struct buf *out)
{
    if (is_plain(s))
        buf_add(out, s);
    else
        buf_json(out, s);
}

/* A key before its colon may have 1024 characters; a longer one is marked by '?'. An escape takes
 * six for one. */
static void write_key(struct str key, unsigned level, struct buf *out)
{
    bool is_long = (is_plain(key) ? key.n : key.n * 6) > 1000;

    if (is_long)
        buf_adds(out, "? ");
    write_quoted(key, out);
    if (is_long) {
        buf_addc(out, '\n');
        add_indent(out, level);
    }
    buf_addc(out, ':');
}

static void write_node(const struct node *n, unsigned level, bool in_line, struct buf *out);

/* Behind "key:" or "-". */
static void write_value(const struct node *n, unsigned level, bool in_list, struct buf *out)
{
    if (n->first && !in_list) {
        buf_addc(out, '\n');
        write_node(n, level, false, out);
    } else {
        buf_addc(out, ' ');
        write_node(n, level, true, out);
    }
}

static void write_children(const struct node *n, unsigned level, bool in_line, struct buf *out)
{
    for (const struct node *child = n->first; child && !out->failed; child = child->next) {
        if (!in_line)
            add_indent(out, level);
        in_line = false;
        if (n->kind == NODE_LIST)
            buf_addc(out, '-');
        else
            write_key(child->key, level, out);
        write_value(child, level + 1, n->kind == NODE_LIST, out);
    }
}

/* in_line: the cursor stands where the node starts; otherwise at the start of a line. */
static void write_node(const struct node *n, unsigned level, bool in_line, struct buf *out)
{
    switch (n->kind) {
    case NODE_LIST:
    case NODE_MAP:
        if (n->first)
            write_children(n, level, in_line, out);
        else
            buf_adds(out, n->kind == NODE_LIST ? "[]\n" : "{}\n");
        return;
    case NODE_STRING:
        if (is_block(n->text)) {
            write_block(n->text, level ? level : 1, out);
            return;
        }
        write_quoted(n->text, out);
        break;
    case NODE_NULL:
        buf_adds(out, "null");
        break;
    case NODE_BOOL:
    case NODE_NUMBER:
        buf_add(out, n->text);
        break;
    }
    buf_addc(out, '\n');
}

void yaml_write(const struct node *n, struct buf *out)
{
    write_node(n, 0, true, out);
}
