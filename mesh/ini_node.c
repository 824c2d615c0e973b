#include "mesh/ini_node.h"

#include <string.h>

#include "mesh/base/json.h"
#include "mesh/ini_shape.h"

/* ---- findings ---- */

PRINTF_LIKE(5, 6)
static struct finding *fail(struct ini_tree *t, enum finding_code code, unsigned line,
                            unsigned column, const char *fmt, ...)
{
    struct finding *x;
    struct buf text;
    va_list ap;

    buf_init(&text, 1024);
    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    x = findings_add(t->findings, code, SEVERITY_ERROR, "%.*s", STR_ARG(buf_str(&text)));
    buf_done(&text);
    x->file = t->file;
    x->line = line;
    x->column = column;
    x->document = t->document;
    return x;
}

static void fail_twice(struct ini_tree *t, const struct ini_entry *e, const struct node *first)
{
    fail(t, FIND_DUPLICATE_KEY, e->key_line, e->key_column, "%.*s is given twice", STR_ARG(e->key))
        ->hint = arena_printf(t->findings->arena, "the first is in line %u", first->key_line);
}

/* ---- members, found by parent and key ---- */

static struct str member_key(struct buf *b, const struct node *parent, struct str key)
{
    buf_add(b, (struct str){(const char *)&parent, sizeof(parent)});
    buf_add(b, key);
    return buf_str(b);
}

static struct node *find_member(struct ini_tree *t, const struct node *parent, struct str key)
{
    struct node *found;
    struct buf b;

    buf_init(&b, key.n + sizeof(parent) + 1);
    found = map_get(&t->members, member_key(&b, parent, key));
    buf_done(&b);
    return found;
}

static void map_member(struct ini_tree *t, struct node *parent, struct str key, struct node *n)
{
    struct buf b;

    buf_init(&b, key.n + sizeof(parent) + 1);
    (void)map_put(&t->members, member_key(&b, parent, key), n); /* there is none: looked before */
    buf_done(&b);
}

static void add_member(struct ini_tree *t, struct node *parent, struct str key, struct node *n)
{
    map_member(t, parent, key, n);
    node_set(parent, key, n);
}

/* Members that came as JSON are found like all others. */
static void index_members(struct ini_tree *t, struct node *n)
{
    for (struct node *c = n->first; c; c = c->next) {
        if (n->kind == NODE_MAP)
            map_member(t, n, c->key, c);
        index_members(t, c);
    }
}

/* A node where the entry's value stands. */
static struct node *value_node(struct ini_tree *t, enum node_kind kind, const struct ini_entry *e)
{
    struct node *n = node_new(t->arena, kind);

    n->line = e->line;
    n->column = e->column;
    n->key_line = e->key_line;
    n->key_column = e->key_column;
    return n;
}

struct node *ini_tree_map(struct ini_tree *t, unsigned line, unsigned column)
{
    struct node *n = node_new(t->arena, NODE_MAP);

    n->line = n->key_line = line;
    n->column = n->key_column = column;
    return n;
}

/* ---- JSON in a value ---- */

/* Where the characters from `at` on of a joined text stand in the file. */
struct anchor {
    size_t at;
    unsigned line, column;
    struct anchor *next;
};

struct joined {
    struct arena *arena;
    struct buf text;
    struct anchor *first, *last;
    size_t characters;
    size_t closed; /* length of the text behind its last quote, if only blanks followed; or 0 */
    bool in_string, escaped;
};

static void add_anchor(struct joined *j, unsigned line, unsigned column)
{
    struct anchor *x = ARENA_NEW(j->arena, struct anchor);

    *x = (struct anchor){j->characters, line, column, NULL};
    if (j->last)
        j->last->next = x;
    else
        j->first = x;
    j->last = x;
}

static void join_char(struct joined *j, char c)
{
    buf_addc(&j->text, c);
    j->characters += ((unsigned char)c & 0xC0) != 0x80;
    if (j->escaped) {
        j->escaped = false;
    } else if (j->in_string && c == '\\') {
        j->escaped = true;
    } else if (c == '"') {
        j->in_string = !j->in_string;
        j->closed = j->in_string ? 0 : j->text.n;
    } else if (c != ' ' && c != '\t') {
        j->closed = 0;
    }
}

/* A string that follows a string: the quotes between them go, and what is blank. */
static void reopen(struct joined *j)
{
    j->characters -= j->text.n - (j->closed - 1);
    j->text.n = j->closed - 1;
    j->closed = 0;
    j->in_string = true;
}

static void join_piece(struct joined *j, const struct ini_piece *p)
{
    unsigned column = p->column;
    bool anchored = false;

    for (size_t i = 0; i < p->text.n; i++) {
        char c = p->text.p[i];

        if (c == '"' && !j->in_string && j->closed) {
            reopen(j);
            anchored = false;
        } else {
            if (!anchored)
                add_anchor(j, p->line, column);
            anchored = true;
            join_char(j, c);
        }
        column += ((unsigned char)c & 0xC0) != 0x80;
    }
    /* A string ends on its line: a control character in it is an error. */
    join_char(j, j->in_string ? '\x01' : ' ');
}

static void to_file(const struct anchor **near, unsigned *line, unsigned *column)
{
    size_t at = *column ? *column - 1 : 0;

    while ((*near)->next && (*near)->next->at <= at)
        *near = (*near)->next;
    *line = (*near)->line;
    *column = (unsigned)((*near)->column + (at - MIN(at, (*near)->at)));
}

/* From places in the joined text, which is one line, to those in the file. Places only rise. */
static void place_nodes(struct node *n, const struct anchor **near)
{
    if (n->key_line)
        to_file(near, &n->key_line, &n->key_column);
    to_file(near, &n->line, &n->column);
    for (struct node *c = n->first; c; c = c->next)
        place_nodes(c, near);
}

/* NULL with a finding. */
static struct node *read_json(struct ini_tree *t, const struct ini_entry *e)
{
    struct joined j = {.arena = t->arena};
    const struct anchor *near;
    struct findings own;
    struct node *n = NULL;
    size_t bytes = 2;

    for (const struct ini_piece *p = e->pieces; p; p = p->next)
        bytes += p->text.n + 1;
    buf_init(&j.text, bytes);
    for (const struct ini_piece *p = e->pieces; p; p = p->next)
        join_piece(&j, p);
    near = j.first;
    findings_init(&own, t->arena);
    if (json_parse(arena_str(t->arena, buf_str(&j.text)), t->file, t->arena, &n, &own) == 0) {
        place_nodes(n, &near);
        n->key_line = e->key_line;
        n->key_column = e->key_column;
    } else {
        unsigned line = own.first->line, column = own.first->column;

        to_file(&near, &line, &column);
        fail(t, own.first->code, line, column, "%.*s: %.*s", STR_ARG(e->key),
             STR_ARG(own.first->detail));
        n = NULL;
    }
    buf_done(&j.text);
    return n;
}

/* ---- values ---- */

static bool is_json(const struct ini_entry *e)
{
    return !e->quoted && e->text.n && (e->text.p[0] == '{' || e->text.p[0] == '[');
}

static bool is_word(const struct ini_entry *e, const char *word)
{
    return !e->quoted && str_eq(e->text, str_from(word));
}

/* A list of scalars as JSON. [::1]:80 is not one, it is an element. */
static bool is_list_literal(enum ini_shape_kind kind, const struct ini_entry *e)
{
    struct str inside = str_trim(str_sub(e->text, 1, e->text.n));

    if (e->quoted || !str_starts(e->text, STR("[")))
        return false;
    return kind == SHAPE_NUMBERS || (inside.n && (inside.p[0] == '"' || inside.p[0] == ']'));
}

static struct node *scalar(struct ini_tree *t, enum ini_shape_kind kind, const struct ini_entry *e)
{
    enum node_kind as = NODE_STRING;
    bool is_any = kind == SHAPE_ANY;
    struct node *n;

    if ((kind == SHAPE_BOOL || is_any) && (is_word(e, "true") || is_word(e, "false")))
        as = NODE_BOOL;
    else if ((kind == SHAPE_NUMBER || kind == SHAPE_NUMBERS || is_any) && !e->quoted &&
             str_is_number(e->text))
        as = NODE_NUMBER;
    else if (is_any && is_word(e, "null"))
        as = NODE_NULL;
    n = value_node(t, as, e);
    if (as != NODE_NULL)
        n->text = e->text;
    return n;
}

static struct node *value_of(struct ini_tree *t, enum ini_shape_kind kind,
                             const struct ini_entry *e)
{
    switch (kind) {
    case SHAPE_MESSAGE:
    case SHAPE_MESSAGES:
    case SHAPE_MAP:
    case SHAPE_ANY:
        return is_json(e) ? read_json(t, e) : scalar(t, kind, e);
    case SHAPE_STRINGS:
    case SHAPE_NUMBERS: /* set_value fills it */
        return is_list_literal(kind, e) ? read_json(t, e) : value_node(t, NODE_LIST, e);
    default:
        return scalar(t, kind, e);
    }
}

/* The path ends at a member of `parent` with this shape. */
static void set_value(struct ini_tree *t, struct node *parent, struct str key,
                      struct ini_shape shape, const struct ini_entry *e)
{
    bool is_list = shape.kind == SHAPE_STRINGS || shape.kind == SHAPE_NUMBERS;
    bool is_element = is_list && !is_list_literal(shape.kind, e);
    struct node *n = find_member(t, parent, key);

    if (n && !(is_element && n->kind == NODE_LIST)) {
        if (shape.kind != SHAPE_UNKNOWN)
            fail_twice(t, e, n);
        return;
    }
    if (!n) {
        n = value_of(t, shape.kind, e);
        if (!n)
            return;
        add_member(t, parent, key, n);
        index_members(t, n);
    }
    if (is_element)
        node_append(n, scalar(t, shape.kind, e));
}

/* ---- paths ---- */

/* One step of a key: a bare name, or one in brackets and quotes. */
struct step {
    struct str name;
    bool in_brackets;
};

static bool is_bare(char c)
{
    return c != '.' && c != '[' && c != ']' && c != '"' && c != ' ' && c != '\t';
}

/* ["..."]: `rest` stands at the bracket. */
static const char *take_brackets(struct ini_tree *t, struct str *rest, struct step *out)
{
    struct node *n;
    struct err err;
    size_t i = 2;

    if (rest->n >= 2 && rest->p[1] >= '0' && rest->p[1] <= '9')
        return "elements of a list have no numbers: without [...] the last one is meant, and a section [.NAME] begins the next";
    if (rest->n < 2 || rest->p[1] != '"')
        return "a map's key in brackets stands in quotes: [\"key\"]";
    while (i < rest->n && rest->p[i] != '"')
        i += rest->p[i] == '\\' ? 2 : 1;
    if (i + 1 >= rest->n || rest->p[i + 1] != ']')
        return "\"] is missing";
    if (json_read(str_sub(*rest, 1, i), t->arena, &n, &err) || n->kind != NODE_STRING)
        return "what stands in the quotes is not a JSON string";
    *out = (struct step){n->text, true};
    *rest = str_sub(*rest, i + 2, rest->n);
    return NULL;
}

/* The next step of a path; false at its end, or with *problem. */
static bool next_step(struct ini_tree *t, struct str *rest, bool is_first, struct step *out,
                      const char **problem)
{
    size_t n = 0;

    *problem = NULL;
    if (rest->n == 0)
        return false;
    if (!is_first && rest->p[0] == '[') {
        *problem = take_brackets(t, rest, out);
        return !*problem;
    }
    if (!is_first && rest->p[0] != '.') {
        *problem = "a '.' is missing";
        return false;
    }
    if (!is_first)
        *rest = str_sub(*rest, 1, rest->n);
    while (n < rest->n && is_bare(rest->p[n]))
        n++;
    *out = (struct step){str_sub(*rest, 0, n), false};
    *rest = str_sub(*rest, n, rest->n);
    if (n == 0)
        *problem = "a name is missing";
    return n > 0;
}

/* Into the member `key`, which has parts: it is made if it is not there, and of a list the last
 * element. NULL with a finding. */
static struct node *descend(struct ini_tree *t, struct node *parent, struct str key,
                            enum ini_shape_kind kind, const struct ini_entry *e)
{
    struct node *n = find_member(t, parent, key);
    bool is_list = kind == SHAPE_MESSAGES;

    if (!n) {
        n = value_node(t, is_list ? NODE_LIST : NODE_MAP, e);
        add_member(t, parent, key, n);
    }
    if (is_list && n->kind == NODE_LIST) {
        if (!n->last)
            node_append(n, value_node(t, NODE_MAP, e));
        n = n->last;
    }
    if (n->kind == NODE_MAP)
        return n;
    fail(t, FIND_DUPLICATE_KEY, e->key_line, e->key_column,
         "%.*s: \"%.*s\" has a value already and so no members", STR_ARG(e->key), STR_ARG(key))
        ->hint = arena_printf(t->findings->arena, "it is given in line %u", n->line);
    return NULL;
}

static const char *shape_name(enum ini_shape_kind kind)
{
    switch (kind) {
    case SHAPE_STRINGS:
    case SHAPE_NUMBERS:
        return "a list of scalars";
    case SHAPE_ANY:
        return "free: give all of it as JSON";
    default:
        return "a scalar";
    }
}

struct place {
    struct node *node; /* a map */
    const struct schema *message;
    const struct field *map; /* or a map with free keys */
};

/* What the member of this name is to be. */
static struct ini_shape shape_at(const struct place *at, struct str name)
{
    const struct field *f;

    if (at->map)
        return ini_shape_of_value(at->map);
    f = schema_find(at->message, name);
    return f ? ini_shape_of(f) : (struct ini_shape){SHAPE_UNKNOWN, NULL, NULL};
}

/* The rest of the path belongs to the key: maps of scalars have nothing below, so that
 * "label.a.b" is the key "a.b". */
static struct str whole_key(const struct place *at, struct str *rest, struct str name)
{
    if (!at->map || (at->map->type != FIELD_LABELS && at->map->type != FIELD_NUMBERS) ||
        str_has(*rest, '['))
        return name;
    name.n += rest->n;
    *rest = STR_NONE;
    return name;
}

/* Move into one member; false if the path cannot go on. */
static bool go(struct ini_tree *t, struct place *at, struct str name, struct ini_shape shape,
               const struct ini_entry *e)
{
    if (shape.kind == SHAPE_UNKNOWN) {
        set_value(t, at->node, name, shape, e); /* for decode to refuse */
        return false;
    }
    if (shape.kind != SHAPE_MESSAGE && shape.kind != SHAPE_MESSAGES && shape.kind != SHAPE_MAP) {
        fail(t, FIND_TYPE, e->key_line, e->key_column, "%.*s: \"%.*s\" has no members, it is %s",
             STR_ARG(e->key), STR_ARG(name), shape_name(shape.kind));
        return false;
    }
    at->node = descend(t, at->node, name, shape.kind, e);
    at->message = shape.message;
    at->map = shape.values;
    return at->node != NULL;
}

void ini_tree_set(struct ini_tree *t, struct node *root, const struct schema *s,
                  const struct ini_entry *e)
{
    struct place at = {root, s, NULL};
    struct str rest = e->key;
    struct step step;
    const char *problem;
    bool is_first = true;

    while (next_step(t, &rest, is_first, &step, &problem)) {
        struct str name = step.in_brackets ? step.name : whole_key(&at, &rest, step.name);
        struct ini_shape shape = shape_at(&at, name);

        is_first = false;
        if (rest.n == 0) {
            set_value(t, at.node, name, shape, e);
            return;
        }
        if (!go(t, &at, name, shape, e))
            return;
    }
    fail(t, FIND_PARSE, e->key_line, e->key_column, "%.*s: %s", STR_ARG(e->key), problem);
}

static struct node *fail_element(struct ini_tree *t, const struct place *at, struct str name,
                                 struct ini_shape shape, const struct ini_entry *e)
{
    struct finding *x;

    if (shape.kind == SHAPE_UNKNOWN) {
        x = fail(t, FIND_UNKNOWN_FIELD, e->key_line, e->key_column,
                 "[.%.*s]: unknown field \"%.*s\" in %s", STR_ARG(e->key), STR_ARG(name),
                 at->message->name);
        x->hint = schema_suggest(at->message, name, t->findings->arena);
        return NULL;
    }
    x = fail(t, FIND_TYPE, e->key_line, e->key_column,
             "[.%.*s]: a section of its own has only an element of a list of messages",
             STR_ARG(e->key));
    x->hint = shape.kind == SHAPE_MESSAGE || shape.kind == SHAPE_MAP
                  ? arena_printf(t->findings->arena, "write its members as %.*s.MEMBER = value",
                                 STR_ARG(name))
                  : arena_printf(t->findings->arena, "write %.*s = value", STR_ARG(name));
    return NULL;
}

struct node *ini_tree_element(struct ini_tree *t, struct node *root, const struct schema *s,
                              struct str path, unsigned line, const struct schema **element)
{
    struct ini_entry e = {
        .key = path, .line = line, .column = 1, .key_line = line, .key_column = 1};
    struct place at = {root, s, NULL};
    struct ini_shape shape = {SHAPE_UNKNOWN, NULL, NULL};
    struct str rest = path, name = STR_NONE;
    struct node *list, *n;

    while (str_next(&rest, '.', &name)) {
        shape = shape_at(&at, name);
        if (rest.n == 0)
            break;
        if (shape.kind == SHAPE_UNKNOWN)
            return fail_element(t, &at, name, shape, &e);
        if (!go(t, &at, name, shape, &e))
            return NULL;
    }
    if (shape.kind != SHAPE_MESSAGES)
        return fail_element(t, &at, name, shape, &e);
    list = find_member(t, at.node, name);
    if (!list) {
        list = value_node(t, NODE_LIST, &e);
        add_member(t, at.node, name, list);
    }
    if (list->kind != NODE_LIST) {
        fail_twice(t, &e, list);
        return NULL;
    }
    n = value_node(t, NODE_MAP, &e);
    node_append(list, n);
    *element = shape.message;
    return n;
}

void ini_tree_init(struct ini_tree *t, struct arena *a, struct findings *f, struct str file)
{
    *t = (struct ini_tree){.arena = a, .findings = f, .file = file};
    map_init(&t->members);
}

void ini_tree_done(struct ini_tree *t)
{
    map_done(&t->members);
}
