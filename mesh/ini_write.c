/* A document is written section by section: first all keys of a message and of the messages in it,
 * then, each in a section of its own, the elements of the lists that were met on the way. */
#include "mesh/ini_write.h"

#include <string.h>

#include "mesh/base/json.h"
#include "mesh/base/limits.h"
#include "mesh/ini_shape.h"
#include "mesh/kinds/kinds.h"

#define LINE_BYTES   (LIMIT_INI_LINE - 1)
#define PIECE_BYTES  100 /* of text in one string of several; its escapes may take more room */
#define PIECE_INDENT "    "
#define JSON_COLUMNS 120 /* where lines of JSON end, if they can */
#define TITLE_BYTES  49  /* inih's bound for the names of sections */
#define PATH_BYTES   4096
#define INLINE_KEYS  3 /* a list of one element with so many keys needs no section */
#define MANY         1000

static bool is_plain(struct str s)
{
    if (s.n == 0 || str_trim(s).n != s.n || str_has(STR("\"[{;"), s.p[0]))
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7F ||
            (s.p[i] == ';' && (s.p[i - 1] == ' ' || s.p[i - 1] == '\t')))
            return false;
    }
    return true;
}

/* Bytes that buf_json makes of one character, at most: some of two or three bytes are escaped. */
static size_t escaped_bytes(struct str character)
{
    unsigned char c = (unsigned char)character.p[0];

    if (c == '"' || c == '\\')
        return 2;
    return c < 0x20 || c == 0x7F || c == 0xC2 || c == 0xE2 || c == 0xEF ? 6 : character.n;
}

/* As many characters as fit into a string of `room` bytes, up to the end of a line of the text. */
static size_t piece_bytes(struct str s, size_t room)
{
    size_t n = 0, used = 2;

    while (n < s.n) {
        size_t one = MAX(str_utf8(str_sub(s, n, 4)), 1u);

        used += escaped_bytes(str_sub(s, n, one));
        if (used > room && n > 0)
            break;
        n += one;
        if (s.p[n - 1] == '\n')
            break;
    }
    return n;
}

static size_t room_behind(size_t used)
{
    return used < LINE_BYTES ? LINE_BYTES - used : 0;
}

static void write_quoted(struct str text, size_t used, struct buf *out)
{
    size_t room = room_behind(used), n;

    n = piece_bytes(text, room);
    if (n < text.n && n < PIECE_BYTES / 2) /* a crumb on the first line reads badly */
        n = 0;
    if (n || text.n == 0)
        buf_json(out, str_sub(text, 0, n));
    while (n < text.n) {
        size_t more = piece_bytes(str_sub(text, n, text.n), PIECE_BYTES);

        buf_adds(out, "\n" PIECE_INDENT);
        buf_json(out, str_sub(text, n, more));
        n += more;
    }
}

void ini_write_value(struct str text, size_t used, struct buf *out)
{
    if (is_plain(text) && text.n <= room_behind(used))
        buf_add(out, text);
    else
        write_quoted(text, used, out);
}

/* ---- JSON in lines ---- */

/* Of a string, the inside: what stands for one character. */
static size_t unit_bytes(struct str s)
{
    if (s.p[0] == '\\')
        return s.n > 1 && s.p[1] == 'u' ? 6 : 2;
    return MAX(str_utf8(str_sub(s, 0, 4)), 1u);
}

static size_t token_bytes(struct str s)
{
    size_t n = 1;

    if (s.p[0] == '"') {
        while (n < s.n && s.p[n] != '"')
            n += unit_bytes(str_sub(s, n, s.n));
        return n + 1;
    }
    if (str_has(STR("{}[]:,"), s.p[0]))
        return 1;
    while (n < s.n && !str_has(STR("{}[]:,\""), s.p[n]))
        n++;
    return n;
}

static void break_line(struct buf *out, size_t *column)
{
    buf_adds(out, "\n" PIECE_INDENT);
    *column = sizeof(PIECE_INDENT) - 1;
}

/* A string that no line holds, as strings that follow each other. */
static void write_broken_string(struct str inside, struct buf *out, size_t *column)
{
    size_t n = 0;

    while (n < inside.n) {
        size_t from = n;

        break_line(out, column);
        while (n < inside.n && n - from < PIECE_BYTES)
            n += unit_bytes(str_sub(inside, n, inside.n));
        buf_addc(out, '"');
        buf_add(out, str_sub(inside, from, n - from));
        buf_addc(out, '"');
        *column += n - from + 2;
    }
}

/* Bytes of the token that `rest` begins with and, if it is a key, of the value's first token. */
static size_t bytes_together(struct str rest, size_t token)
{
    struct str behind = str_sub(rest, token + 1, rest.n);

    return token < rest.n && rest.p[token] == ':' && behind.n ? token + 2 + token_bytes(behind)
                                                              : token;
}

static void write_token(struct str token, size_t together, bool is_spaced, struct buf *out,
                        size_t *column)
{
    if (token.p[0] == '"' && token.n > JSON_COLUMNS) {
        write_broken_string(str_sub(token, 1, token.n - 2), out, column);
        return;
    }
    if (*column + together + 2 > JSON_COLUMNS) {
        break_line(out, column);
    } else if (is_spaced) {
        buf_addc(out, ' ');
        (*column)++;
    }
    buf_add(out, token);
    *column += token.n;
}

static void write_json(const struct node *n, size_t used, struct buf *out)
{
    size_t column = used;
    bool is_spaced = false;
    struct buf text;
    struct str rest;

    buf_init(&text, out->max);
    json_write(n, 0, &text);
    out->failed = out->failed || text.failed;
    for (rest = buf_str(&text); rest.n && !out->failed;) {
        struct str token = str_sub(rest, 0, token_bytes(rest));

        write_token(token, bytes_together(rest, token.n), is_spaced, out, &column);
        is_spaced = token.p[0] == ',' || token.p[0] == ':';
        rest = str_sub(rest, token.n, rest.n);
    }
    buf_done(&text);
}

/* ---- members ---- */

/* A list whose elements get sections, when the keys before them are written. */
struct pending {
    struct str path; /* ".http.match" */
    const struct node *list;
    const struct schema *message;
    struct pending *next;
};

struct writing {
    struct buf *out;
    struct arena *arena;
    struct str section; /* ".http"; empty at the top of the spec */
    struct buf path;    /* of the key under way, from the section on */
    bool in_map;        /* it leads through a map with free keys, which sections cannot */
    bool overflow;      /* it does not fit into a line */
    struct pending *first, **tail;
};

static void put_value(struct writing *w, const struct node *n, struct ini_shape shape);

static struct ini_shape shape_in(const struct schema *message, const struct field *map,
                                 struct str key)
{
    const struct field *f = map ? NULL : schema_find(message, key);

    if (map)
        return ini_shape_of_value(map);
    return f ? ini_shape_of(f) : (struct ini_shape){SHAPE_UNKNOWN, NULL, NULL};
}

/* "key = ": the bytes it takes. */
static size_t put_key(struct writing *w)
{
    struct str path = buf_str(&w->path);

    if (path.n + 3 > LINE_BYTES)
        w->overflow = true;
    buf_add(w->out, path);
    buf_adds(w->out, " = ");
    return path.n + 3;
}

static void put_text(struct writing *w, const char *text)
{
    (void)put_key(w); /* it is short */
    buf_adds(w->out, text);
    buf_addc(w->out, '\n');
}

static void put_json(struct writing *w, const struct node *n)
{
    write_json(n, put_key(w), w->out);
    buf_addc(w->out, '\n');
}

/* A string where a number, a bool or anything is read needs its quotes. */
static void put_scalar(struct writing *w, const struct node *n, enum ini_shape_kind kind)
{
    size_t used = put_key(w);
    bool is_typed = kind != SHAPE_STRING && kind != SHAPE_STRINGS && kind != SHAPE_UNKNOWN;

    if (n->kind == NODE_STRING && is_typed)
        write_quoted(n->text, used, w->out);
    else
        ini_write_value(n->text, used, w->out);
    buf_addc(w->out, '\n');
}

static void put_scalars(struct writing *w, const struct node *list, enum ini_shape_kind kind)
{
    if (list->count == 0)
        put_text(w, "[]");
    for (const struct node *c = list->first; c; c = c->next)
        put_scalar(w, c, kind);
}

static bool is_bare_key(struct str key)
{
    for (size_t i = 0; i < key.n; i++) {
        char c = key.p[i], low = (char)(c | 32);

        if (!(low >= 'a' && low <= 'z') && !(c >= '0' && c <= '9') && !str_has(STR("-_/"), c))
            return false;
    }
    return key.n > 0;
}

static void put_member(struct writing *w, const struct node *n, const struct schema *message,
                       const struct field *map)
{
    size_t before = w->path.n;
    bool was_in_map = w->in_map;

    if (map && !is_bare_key(n->key)) {
        buf_addc(&w->path, '[');
        buf_json(&w->path, n->key);
        buf_addc(&w->path, ']');
    } else {
        buf_adds(&w->path, before ? "." : "");
        buf_add(&w->path, n->key);
    }
    w->overflow = w->overflow || w->path.failed;
    w->in_map = w->in_map || map;
    put_value(w, n, shape_in(message, map, n->key));
    w->in_map = was_in_map;
    w->path.n = before;
    w->path.failed = false;
}

/* The members of `n`, or, if one of their keys is too long, `whole` as JSON instead. */
static void put_members(struct writing *w, const struct node *n, const struct node *whole,
                        struct ini_shape shape)
{
    size_t before = w->out->n;
    struct pending **tail = w->tail;

    for (const struct node *c = n->first; c && !w->overflow; c = c->next)
        put_member(w, c, shape.message, shape.values);
    if (!w->overflow)
        return;
    w->overflow = false;
    w->out->n = before;
    w->tail = tail;
    *tail = NULL;
    put_json(w, whole);
}

/* ---- lists of messages ---- */

/* How many keys it takes to write a value without a section; MANY if that cannot be. */
static size_t count_keys(const struct node *n, struct ini_shape shape)
{
    size_t count = 0;

    switch (shape.kind) {
    case SHAPE_STRINGS:
    case SHAPE_NUMBERS:
        return MAX(n->count, 1u);
    case SHAPE_MESSAGES:
        if (n->count > 1)
            return MANY;
        if (n->count == 1)
            n = n->first;
        else
            return 1;
        if (n->count == 0)
            return MANY;
        break;
    case SHAPE_MESSAGE:
    case SHAPE_MAP:
        if (n->count == 0)
            return 1;
        break;
    case SHAPE_STRING:
    case SHAPE_NUMBER:
    case SHAPE_BOOL:
    case SHAPE_ANY:
    case SHAPE_UNKNOWN:
        return 1;
    }
    for (const struct node *c = n->first; c && count <= INLINE_KEYS; c = c->next)
        count += count_keys(c, shape_in(shape.message, shape.values, c->key));
    return count;
}

/* Lists of the spec itself get sections however short they are. */
static bool is_inline(const struct writing *w, const struct node *list, struct ini_shape shape)
{
    bool is_at_top = w->section.n == 0 && !str_has(buf_str(&w->path), '.');

    return !is_at_top && list->count == 1 && list->first->count > 0 &&
           count_keys(list, shape) <= INLINE_KEYS;
}

static void put_messages(struct writing *w, const struct node *list, struct ini_shape shape)
{
    struct pending *p;

    if (list->count == 0) {
        put_text(w, "[]");
    } else if (is_inline(w, list, shape)) {
        put_members(w, list->first, list, shape);
    } else if (w->in_map || w->section.n + 1 + w->path.n > TITLE_BYTES) {
        put_json(w, list);
    } else {
        p = ARENA_NEW(w->arena, struct pending);
        p->path =
            arena_printf(w->arena, "%.*s.%.*s", STR_ARG(w->section), STR_ARG(buf_str(&w->path)));
        p->list = list;
        p->message = shape.message;
        *w->tail = p;
        w->tail = &p->next;
    }
}

static void put_value(struct writing *w, const struct node *n, struct ini_shape shape)
{
    bool is_scalar = n->kind != NODE_LIST && n->kind != NODE_MAP;

    switch (shape.kind) {
    case SHAPE_STRINGS:
    case SHAPE_NUMBERS:
        put_scalars(w, n, shape.kind);
        return;
    case SHAPE_MESSAGE:
    case SHAPE_MAP:
        if (n->count == 0)
            put_text(w, "{}");
        else
            put_members(w, n, n, shape);
        return;
    case SHAPE_MESSAGES:
        put_messages(w, n, shape);
        return;
    case SHAPE_STRING:
    case SHAPE_NUMBER:
    case SHAPE_BOOL:
    case SHAPE_ANY:
    case SHAPE_UNKNOWN:
        if (is_scalar)
            put_scalar(w, n, shape.kind);
        else
            put_json(w, n);
    }
}

/* ---- sections ---- */

/* The keys of a message, which is a whole section; returns the lists that wait. */
static struct pending *put_section(struct writing *w, struct str section, const struct node *n,
                                   const struct schema *s)
{
    w->section = section;
    w->first = NULL;
    w->tail = &w->first;
    for (const struct node *c = n->first; c; c = c->next) {
        /* outside of elements, the names of the envelope are its own */
        if (section.n == 0 && s != &ini_envelope && schema_find(&ini_envelope, c->key))
            buf_adds(&w->path, "spec");
        put_member(w, c, s, NULL);
        buf_clear(&w->path);
    }
    return w->first;
}

static void put_sections(struct writing *w, const struct pending *p)
{
    for (; p; p = p->next) {
        for (const struct node *c = p->list->first; c; c = c->next) {
            buf_printf(w->out, "\n[%.*s]\n", STR_ARG(p->path));
            put_sections(w, put_section(w, p->path, c, p->message));
        }
    }
}

/* apiVersion if it is not what is read where none is given, and metadata but for the name in the
 * section's. */
static void put_envelope(struct writing *w, const struct node *root, const struct kind *k)
{
    struct str api = node_text(root, "apiVersion"), name = node_text(root, "metadata.name");
    bool is_short = name.n && strlen(k->name) + 1 + name.n <= TITLE_BYTES;
    const struct node *meta = node_get(root, STR("metadata"));
    struct node *envelope = node_new(w->arena, NODE_MAP), *rest;

    buf_printf(w->out, "[%s%s%.*s]\n", k->name, is_short ? " " : "",
               STR_ARG(is_short ? name : STR_NONE));
    if (api.n && !str_eq(api, kind_api_version(k, w->arena)))
        node_set(envelope, STR("apiVersion"), node_string(w->arena, api));
    rest = node_new(w->arena, NODE_MAP);
    for (const struct node *c = meta ? meta->first : NULL; c; c = c->next) {
        if (!is_short || !str_eq(c->key, STR("name")))
            node_set(rest, c->key, node_copy(w->arena, c));
    }
    if (rest->count)
        node_set(envelope, STR("metadata"), rest);
    (void)put_section(w, STR_NONE, envelope, &ini_envelope); /* there are no lists in it */
}

bool ini_write_document(const struct node *root, struct buf *out)
{
    const struct kind *k = kind_find(node_text(root, "kind"));
    const struct node *spec = node_get(root, STR("spec"));
    struct writing w = {.out = out};
    struct arena a;

    if (!k)
        return false;
    arena_init(&a);
    w.arena = &a;
    buf_init(&w.path, PATH_BYTES);
    put_envelope(&w, root, k);
    if (spec && k->spec)
        put_sections(&w, put_section(&w, STR_NONE, spec, k->spec));
    buf_done(&w.path);
    arena_done(&a);
    return true;
}
