#include "mesh/base/node.h"

#include <inttypes.h>

#include "mesh/base/mem.h"

struct node *node_new(struct arena *a, enum node_kind kind)
{
    struct node *n = ARENA_NEW(a, struct node);

    n->kind = kind;
    return n;
}

struct node *node_string(struct arena *a, struct str text)
{
    struct node *n = node_new(a, NODE_STRING);

    n->text = text;
    return n;
}

struct node *node_number(struct arena *a, int64_t value)
{
    struct node *n = node_new(a, NODE_NUMBER);

    n->text = arena_printf(a, "%" PRId64, value);
    return n;
}

struct node *node_bool(struct arena *a, bool value)
{
    struct node *n = node_new(a, NODE_BOOL);

    n->text = value ? STR("true") : STR("false");
    return n;
}

void node_append(struct node *list, struct node *child)
{
    child->parent = list;
    child->next = NULL;
    if (list->last)
        list->last->next = child;
    else
        list->first = child;
    list->last = child;
    list->count++;
}

void node_set(struct node *map, struct str key, struct node *child)
{
    child->key = key;
    node_append(map, child);
}

struct node *node_get(const struct node *map, struct str key)
{
    if (!map || map->kind != NODE_MAP)
        return NULL;
    for (struct node *n = map->first; n; n = n->next) {
        if (str_eq(n->key, key))
            return n;
    }
    return NULL;
}

struct node *node_at(const struct node *list, size_t i)
{
    struct node *n = list ? list->first : NULL;

    while (n && i--)
        n = n->next;
    return n;
}

struct node *node_path(const struct node *map, const char *dotted)
{
    struct str path = str_from(dotted), part;
    const struct node *at = map;
    struct node *found = NULL;

    while (str_next(&path, '.', &part)) {
        found = node_get(at, part);
        if (!found)
            return NULL;
        at = found;
    }
    return found;
}

struct str node_text(const struct node *map, const char *dotted)
{
    const struct node *n = node_path(map, dotted);

    return n ? n->text : STR_NONE; /* lists and maps have no text */
}

bool node_is_true(const struct node *map, const char *dotted)
{
    const struct node *n = node_path(map, dotted);

    return n && n->kind == NODE_BOOL && str_eq(n->text, STR("true"));
}

/* A set of members by key: open addressing, at most half full. */
struct keys {
    const struct node **slots;
    size_t mask;
};

static void keys_init(struct keys *k, size_t count)
{
    size_t n = 8;

    while (n < count * 2)
        n *= 2;
    k->slots = mem_array(n, sizeof(*k->slots));
    k->mask = n - 1;
}

static void keys_done(struct keys *k)
{
    mem_free(k->slots);
}

/* False if the key is there already. */
static bool keys_add(struct keys *k, const struct node *n)
{
    size_t i = (size_t)str_hash(n->key) & k->mask;

    for (; k->slots[i]; i = (i + 1) & k->mask) {
        if (str_eq(k->slots[i]->key, n->key))
            return false;
    }
    k->slots[i] = n;
    return true;
}

struct node *node_twin(const struct node *map)
{
    struct node *n = map->first;
    struct keys k;

    if (map->count < 2)
        return NULL;
    keys_init(&k, map->count);
    while (n && keys_add(&k, n))
        n = n->next;
    keys_done(&k);
    return n;
}

void node_drop_twins(struct node *map)
{
    struct node *n = map->first;
    struct keys k;

    keys_init(&k, map->count);
    map->first = map->last = NULL;
    map->count = 0;
    while (n) {
        struct node *next = n->next;

        if (keys_add(&k, n))
            node_append(map, n);
        n = next;
    }
    keys_done(&k);
}

/* Mostly both have the same order, so the place beside is looked at first. */
static bool same_members(const struct node *a, const struct node *b)
{
    const struct node *beside = b->first;

    for (const struct node *n = a->first; n; n = n->next) {
        const struct node *other =
            beside && str_eq(beside->key, n->key) ? beside : node_get(b, n->key);

        if (!other || !node_eq(n, other))
            return false;
        beside = beside ? beside->next : NULL;
    }
    return true;
}

bool node_eq(const struct node *a, const struct node *b)
{
    const struct node *x, *y;

    if (a->kind != b->kind || a->count != b->count || !str_eq(a->text, b->text))
        return false;
    if (a->kind == NODE_MAP)
        return same_members(a, b);
    for (x = a->first, y = b->first; x && y; x = x->next, y = y->next) {
        if (!node_eq(x, y))
            return false;
    }
    return true;
}

struct node *node_copy(struct arena *a, const struct node *n)
{
    struct node *copy = node_new(a, n->kind);

    copy->line = n->line;
    copy->column = n->column;
    copy->key_line = n->key_line;
    copy->key_column = n->key_column;
    copy->key = n->key.p ? arena_str(a, n->key) : STR_NONE;
    copy->text = n->text.p ? arena_str(a, n->text) : STR_NONE;
    for (const struct node *child = n->first; child; child = child->next)
        node_append(copy, node_copy(a, child));
    return copy;
}

static size_t index_of(const struct node *n)
{
    size_t i = 0;

    for (const struct node *s = n->parent->first; s != n; s = s->next)
        i++;
    return i;
}

static void add_pointer(struct buf *out, const struct node *n)
{
    if (!n->parent)
        return;
    add_pointer(out, n->parent);
    buf_addc(out, '/');
    if (n->parent->kind == NODE_LIST) {
        buf_printf(out, "%zu", index_of(n));
        return;
    }
    for (size_t i = 0; i < n->key.n; i++) {
        if (n->key.p[i] == '~')
            buf_adds(out, "~0");
        else if (n->key.p[i] == '/')
            buf_adds(out, "~1");
        else
            buf_addc(out, n->key.p[i]);
    }
}

struct str node_pointer(struct arena *a, const struct node *n)
{
    struct buf text;
    struct str s;

    buf_init(&text, 64u << 10); /* longer is cut: it is for people */
    add_pointer(&text, n);
    s = arena_str(a, buf_str(&text));
    buf_done(&text);
    return s;
}

const char *node_kind_name(enum node_kind kind)
{
    switch (kind) {
    case NODE_NULL:
        return "null";
    case NODE_BOOL:
        return "a boolean";
    case NODE_NUMBER:
        return "a number";
    case NODE_STRING:
        return "a string";
    case NODE_LIST:
        return "a list";
    case NODE_MAP:
        return "a map";
    }
    return "nothing";
}
