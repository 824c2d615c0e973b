#include "mesh/encode.h"

#include <stdlib.h>
#include <string.h>

#include "mesh/base/buf.h"
#include "mesh/base/text.h"
#include "mesh/kinds/kinds.h"
#include "mesh/kinds/virtual_service.h"

#define DURATION_TEXT_MAX 64

static int by_key(const void *a, const void *b)
{
    const struct node *const *x = a, *const *y = b;

    return str_cmp((*x)->key, (*y)->key);
}

static void sort_by_key(struct node *map, struct arena *a)
{
    struct node **all = ARENA_ARRAY(a, map->count, struct node *);
    size_t n = 0;

    if (map->count < 2)
        return;
    for (struct node *c = map->first; c; c = c->next)
        all[n++] = c;
    qsort(all, n, sizeof(*all), by_key);
    for (size_t i = 0; i < n; i++)
        all[i]->next = i + 1 < n ? all[i + 1] : NULL;
    map->first = all[0];
    map->last = all[n - 1];
}

static void sort_deeply(struct node *n, struct arena *a)
{
    if (n->kind == NODE_MAP)
        sort_by_key(n, a);
    for (struct node *c = n->first; c; c = c->next)
        sort_deeply(c, a);
}

/* What no table describes, made canonical: the depth is bounded by the reader. */
static struct node *sorted_copy(const struct node *n, struct arena *a)
{
    struct node *copy = node_copy(a, n);

    sort_deeply(copy, a);
    copy->parent = NULL;
    copy->next = NULL;
    copy->key = STR_NONE;
    return copy;
}

static struct node *encode_labels(const struct labels *l, struct arena *a)
{
    struct node *map = node_new(a, NODE_MAP);

    for (size_t i = 0; i < l->count; i++)
        node_set(map, l->items[i].key, node_string(a, l->items[i].value));
    sort_by_key(map, a);
    return map;
}

static struct node *encode_match(const struct match_string *m, struct arena *a)
{
    struct node *map = node_new(a, NODE_MAP);

    if (m->kind == MATCH_EXACT)
        node_set(map, STR("exact"), node_string(a, m->text));
    else if (m->kind == MATCH_PREFIX)
        node_set(map, STR("prefix"), node_string(a, m->text));
    else if (m->kind == MATCH_REGEX)
        node_set(map, STR("regex"), node_string(a, m->text));
    return map;
}

static struct node *encode_duration(int64_t ns, struct arena *a)
{
    struct node *n;
    struct buf b;

    buf_init(&b, DURATION_TEXT_MAX);
    buf_duration(&b, ns);
    n = node_string(a, arena_str(a, buf_str(&b)));
    buf_done(&b);
    return n;
}

/* The shortest text that reads back as the same number. */
static struct node *encode_double(double value, struct arena *a)
{
    struct node *n = node_new(a, NODE_NUMBER);

    for (int digits = 1; digits <= 17; digits++) {
        double back;

        n->text = arena_printf(a, "%.*g", digits, value);
        if (str_double(n->text, &back) && !(back < value) && !(back > value))
            break;
    }
    return n;
}

static struct node *encode_bytes(struct str bytes, struct arena *a)
{
    struct node *n;
    struct buf b;

    buf_init(&b, bytes.n * 2 + 8);
    text_base64(&b, bytes);
    n = node_string(a, arena_str(a, buf_str(&b)));
    buf_done(&b);
    return n;
}

static struct node *encode_list(const struct field *f, const char *items, size_t count,
                                struct arena *a)
{
    struct node *list = node_new(a, NODE_LIST);

    for (size_t i = 0; i < count; i++) {
        switch (f->type) {
        case FIELD_STRINGS:
            node_append(list, node_string(a, ((const struct str *)(const void *)items)[i]));
            break;
        case FIELD_UINT32S:
            node_append(list, node_number(a, ((const uint32_t *)(const void *)items)[i]));
            break;
        case FIELD_MATCHES:
            node_append(list,
                        encode_match(&((const struct match_string *)(const void *)items)[i], a));
            break;
        default:
            node_append(list, encode_message(f->message, items + i * f->message->size, a));
        }
    }
    return list;
}

static struct node *encode_map(const struct field *f, const char *items, size_t count,
                               struct arena *a)
{
    struct node *map = node_new(a, NODE_MAP);

    for (size_t i = 0; i < count; i++) {
        if (f->type == FIELD_NUMBERS) {
            const struct named_number *x = (const struct named_number *)(const void *)items + i;

            node_set(map, x->key, node_number(a, x->value));
        } else if (f->type == FIELD_MATCH_MAP) {
            const struct named_match *x = (const struct named_match *)(const void *)items + i;

            node_set(map, x->key, encode_match(&x->value, a));
        } else if (f->type == FIELD_NAMED_MESSAGES) {
            const char *at = items + i * (sizeof(struct str) + f->message->size);

            node_set(map, *(const struct str *)(const void *)at,
                     encode_message(f->message, at + sizeof(struct str), a));
        } else {
            const char *at = items + i * (8 + f->message->size);

            node_set(map, arena_printf(a, "%u", *(const uint32_t *)(const void *)at),
                     encode_message(f->message, at + 8, a));
        }
    }
    sort_by_key(map, a);
    return map;
}

/* The number that is left out. */
static int64_t default_of(const struct field *f, const char *message)
{
    if (f->flags & FIELD_REQUIRED)
        return 0; /* written even if it is the default; 0 is never a value of a required number */
    return f->default_offset ? *(const uint32_t *)(const void *)(message + f->default_offset)
                             : f->def;
}

static struct node *encode_address(const struct addr *addr, struct arena *a)
{
    char text[ADDR_TEXT_MAX];

    return addr->family ? node_string(a, arena_str(a, str_from(addr_format(addr, text)))) : NULL;
}

static struct node *encode_scalar(const struct field *f, const char *message, bool given,
                                  struct arena *a)
{
    const char *at = message + f->offset;
    struct str text;
    int64_t number;
    double real;

    switch (f->type) {
    case FIELD_STRING:
    case FIELD_WORD:
        text = *(const struct str *)(const void *)at;
        return text.n || given ? node_string(a, text) : NULL;
    case FIELD_BYTES:
        text = *(const struct str *)(const void *)at;
        return text.n || given ? encode_bytes(text, a) : NULL;
    case FIELD_SWITCH:
        number = *(const bool *)(const void *)at;
        return node_string(a, number ? STR("on") : STR("off"));
    case FIELD_PORT:
        number = *(const uint16_t *)(const void *)at;
        return number != f->def ? node_number(a, number) : NULL;
    case FIELD_TEXT:
        return *(const char *const *)(const void *)at
                   ? node_string(a, str_from(*(const char *const *)(const void *)at))
                   : NULL;
    case FIELD_IP:
    case FIELD_ADDRESS:
        return encode_address((const struct addr *)(const void *)at, a);
    case FIELD_BOOL:
        number = *(const bool *)(const void *)at;
        return given || number != f->def ? node_bool(a, number != 0) : NULL;
    case FIELD_DURATION:
        number = *(const int64_t *)(const void *)at;
        return number != (f->def ? f->def : DURATION_UNSET) ? encode_duration(number, a) : NULL;
    case FIELD_DOUBLE:
        real = *(const double *)(const void *)at;
        return given || real < (double)f->def || real > (double)f->def ? encode_double(real, a)
                                                                       : NULL;
    case FIELD_ENUM:
        number = *(const int *)(const void *)at;
        return given || number != f->def
                   ? node_string(a, str_from(schema_value_of(f->values, (int)number)->name))
                   : NULL;
    case FIELD_INT32:
        number = *(const int32_t *)(const void *)at;
        return given || number != f->def ? node_number(a, number) : NULL;
    case FIELD_UINT64:
        number = (int64_t) * (const uint64_t *)(const void *)at;
        return given || number != default_of(f, message) ? node_number(a, number) : NULL;
    default:
        number = *(const uint32_t *)(const void *)at;
        return given || number != default_of(f, message) ? node_number(a, number) : NULL;
    }
}

/* NULL when it is left out. */
static struct node *encode_field(const struct field *f, const char *message, struct arena *a)
{
    const char *at = message + f->offset;
    const char *const *items = (const char *const *)(const void *)at; /* of lists and pointers */
    bool given = f->has_offset && *(const bool *)(const void *)(message + f->has_offset);
    size_t count = f->count_offset ? *(const size_t *)(const void *)(message + f->count_offset) : 0;
    const struct match_string *match = (const struct match_string *)(const void *)at;
    struct node *n;

    switch (f->type) {
    case FIELD_ANY:
        return NULL;
    case FIELD_MATCH:
        return match->kind == MATCH_ANY ? NULL : encode_match(match, a);
    case FIELD_MESSAGE:
        return *items ? encode_message(f->message, *items, a) : NULL;
    case FIELD_EMBED:
        if (!*items) /* its `node`: the message was not written, its required members neither */
            return NULL;
        n = encode_message(f->message, at, a);
        return n->count || (f->flags & FIELD_REQUIRED) ? n : NULL;
    case FIELD_LABELS:
        n = encode_labels((const struct labels *)(const void *)at, a);
        return n->count ? n : NULL;
    case FIELD_STRINGS:
    case FIELD_UINT32S:
    case FIELD_MATCHES:
    case FIELD_MESSAGES:
        return count ? encode_list(f, *items, count, a) : NULL;
    case FIELD_OBJECT:
        return *items ? sorted_copy((const struct node *)(const void *)*items, a) : NULL;
    case FIELD_NUMBERS:
    case FIELD_MATCH_MAP:
    case FIELD_MESSAGE_MAP:
    case FIELD_NAMED_MESSAGES:
        return count ? encode_map(f, *items, count, a) : NULL;
    default:
        return encode_scalar(f, message, given, a);
    }
}

struct node *encode_message(const struct schema *s, const void *message, struct arena *a)
{
    struct node *map = node_new(a, NODE_MAP);

    for (size_t i = 0; i < s->count; i++) {
        struct node *n = encode_field(&s->fields[i], message, a);

        if (n)
            node_set(map, str_from(s->fields[i].name), n);
    }
    return map;
}

struct node *encode_spec(const struct object *o, struct arena *a)
{
    return o->meta.kind->spec ? encode_message(o->meta.kind->spec, o->spec, a)
                              : node_new(a, NODE_MAP);
}

static struct node *encode_metadata(const struct object_meta *m, struct arena *a)
{
    struct node *map = node_new(a, NODE_MAP);

    node_set(map, STR("name"), node_string(a, m->name));
    if (m->kind->is_namespaced)
        node_set(map, STR("namespace"), node_string(a, m->ns));
    if (m->labels.count)
        node_set(map, STR("labels"), encode_labels(&m->labels, a));
    if (m->annotations.count)
        node_set(map, STR("annotations"), encode_labels(&m->annotations, a));
    if (m->created_ms) {
        struct buf b;

        buf_init(&b, DURATION_TEXT_MAX);
        text_time(&b, m->created_ms, m->created_ms % 1000 != 0);
        node_set(map, STR("creationTimestamp"), node_string(a, arena_str(a, buf_str(&b))));
        buf_done(&b);
    }
    return map;
}

struct node *encode_object(const struct object *o, struct arena *a)
{
    const struct kind *k = o->meta.kind;
    struct node *root = node_new(a, NODE_MAP);

    node_set(root, STR("apiVersion"), node_string(a, kind_api_version(k, a)));
    node_set(root, STR("kind"), node_string(a, str_from(k->name)));
    node_set(root, STR("metadata"), encode_metadata(&o->meta, a));
    if (k->spec)
        node_set(root, STR("spec"), encode_spec(o, a));
    return root;
}

static bool redact(const struct schema *s, struct node *message);

static bool redact_field(const struct field *f, struct node *n)
{
    bool found = (f->flags & FIELD_SECRET) && n->text.n;

    if (found)
        n->text = STR(SCHEMA_REDACTED);
    if (!f->message)
        return found;
    if (f->type == FIELD_MESSAGE || f->type == FIELD_EMBED)
        return redact(f->message, n);
    for (struct node *c = n->first; c; c = c->next)
        found = redact(f->message, c) || found;
    return found;
}

static bool redact(const struct schema *s, struct node *message)
{
    bool found = false;

    for (struct node *c = message->first; s && c; c = c->next) {
        const struct field *f = schema_find(s, c->key);

        found = (f && redact_field(f, c)) || found;
    }
    return found;
}

void encode_redact(const struct schema *s, struct node *message)
{
    (void)redact(s, message); /* whether there was a secret: no matter here */
}

bool encode_redact_document(struct node *root)
{
    const struct kind *k = kind_find(node_text(root, "kind"));
    struct node *spec = node_get(root, STR("spec"));

    if (!spec)
        return false;
    if (k)
        return redact(k->spec, spec);
    spec->first = spec->last = NULL; /* nobody knows which of it is secret */
    spec->count = 0;
    return true;
}
