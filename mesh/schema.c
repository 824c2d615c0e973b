#include "mesh/schema.h"

#include <assert.h>
#include <string.h>

#include "mesh/base/addr.h"
#include "mesh/kinds/common.h"

const struct field *schema_find(const struct schema *s, struct str name)
{
    for (size_t i = 0; i < s->count; i++) {
        if (str_eq(str_from(s->fields[i].name), name))
            return &s->fields[i];
    }
    return NULL;
}

const struct field *schema_path(const struct schema *s, const char *dotted)
{
    struct str rest = str_from(dotted), part;
    const struct field *f = NULL;

    while (str_next(&rest, '.', &part)) {
        f = s ? schema_find(s, part) : NULL;
        if (!f)
            return NULL;
        s = f->message;
    }
    return f;
}

/* "route_on" becomes "routeOn". */
static struct str camel_case(struct str name, struct arena *a)
{
    char *out = arena_alloc(a, name.n + 1);
    size_t n = 0;

    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];

        if (c == '_' && i + 1 < name.n && name.p[i + 1] >= 'a' && name.p[i + 1] <= 'z')
            c = (char)(name.p[++i] - 'a' + 'A');
        out[n++] = c;
    }
    return (struct str){out, n};
}

struct str schema_suggest(const struct schema *s, struct str name, struct arena *a)
{
    size_t allowed = name.n <= 4 ? 1 : name.n <= 8 ? 2 : 3, best = allowed + 1;
    const char *found = NULL;

    if (name.n > 64)
        return STR_NONE;
    if (str_has(name, '_')) {
        struct str camel = camel_case(name, a);

        if (schema_find(s, camel))
            return arena_printf(a, "names are written in camelCase: \"%.*s\"", STR_ARG(camel));
    }
    for (size_t i = 0; i < s->count; i++) {
        struct str have = str_from(s->fields[i].name);
        size_t distance = str_eq_nocase(have, name) ? 0 : str_distance(have, name, allowed);

        if (s->fields[i].status != FIELD_UNSUPPORTED && distance < best) {
            best = distance;
            found = s->fields[i].name;
        }
    }
    return found ? arena_printf(a, "did you mean \"%s\"?", found) : STR_NONE;
}

const struct field_value *schema_value(const struct field_value *values, struct str name,
                                       bool nocase)
{
    for (; values->name; values++) {
        struct str have = str_from(values->name);

        if (nocase ? str_eq_nocase(have, name) : str_eq(have, name))
            return values;
    }
    return NULL;
}

const struct field_value *schema_value_of(const struct field_value *values, int value)
{
    for (; values->name; values++) {
        if (values->value == value)
            return values;
    }
    return NULL;
}

struct str schema_values(const struct field_value *values, struct arena *a)
{
    struct str text = STR_NONE;
    const struct field_value *last = NULL;

    for (const struct field_value *v = values; v->name; v++) {
        if (v->status != FIELD_BUILT)
            continue;
        if (last)
            text = arena_printf(a, "%.*s%s%s", STR_ARG(text), text.n ? ", " : "", last->name);
        last = v;
    }
    if (!last)
        return STR("nothing yet");
    return arena_printf(a, "%.*s%s%s", STR_ARG(text), text.n ? " or " : "", last->name);
}

static void field_default(const struct field *f, char *at)
{
    switch (f->type) {
    case FIELD_BOOL:
    case FIELD_SWITCH:
        *(bool *)(void *)at = f->def != 0;
        break;
    case FIELD_INT32:
        *(int32_t *)(void *)at = (int32_t)f->def;
        break;
    case FIELD_UINT32:
        *(uint32_t *)(void *)at = (uint32_t)f->def;
        break;
    case FIELD_UINT64:
        *(uint64_t *)(void *)at = (uint64_t)f->def;
        break;
    case FIELD_DOUBLE:
        *(double *)(void *)at = (double)f->def;
        break;
    case FIELD_DURATION:
        *(int64_t *)(void *)at = f->def ? f->def : DURATION_UNSET;
        break;
    case FIELD_ENUM:
        *(int *)(void *)at = (int)f->def;
        break;
    case FIELD_EMBED:
        schema_defaults(f->message, at);
        break;
    case FIELD_PORT:
        *(uint16_t *)(void *)at = (uint16_t)f->def;
        break;
    case FIELD_STRING:
    case FIELD_WORD:
        *(struct str *)(void *)at = str_from(f->def_text);
        break;
    case FIELD_TEXT:
        *(const char **)(void *)at = f->def_text;
        break;
    case FIELD_IP:
    case FIELD_ADDRESS:
        if (f->def_text) {
            bool good = f->type == FIELD_IP ? addr_parse_ip(str_from(f->def_text), (void *)at)
                                            : addr_parse(str_from(f->def_text), (void *)at);

            assert(good); /* the table is ours */
            (void)good;
        }
        break;
    default: /* cleared memory is empty: strings, lists, maps, pointers, MATCH_ANY */
        break;
    }
}

void schema_defaults(const struct schema *s, void *message)
{
    for (size_t i = 0; i < s->count; i++) {
        if (s->fields[i].type != FIELD_ANY)
            field_default(&s->fields[i], (char *)message + s->fields[i].offset);
    }
}

struct str schema_default(const struct field *f, struct arena *a)
{
    const struct field_value *value;
    struct buf b;
    struct str text;

    switch (f->type) {
    case FIELD_SWITCH:
        return f->def ? STR("on") : STR("off");
    case FIELD_BOOL:
        return f->def ? STR("true") : STR("false");
    case FIELD_ENUM:
        value = schema_value_of(f->values, (int)f->def);
        return value ? str_from(value->name) : STR_NONE;
    case FIELD_DURATION:
        buf_init(&b, 64);
        if (f->def)
            buf_duration(&b, f->def);
        text = arena_str(a, buf_str(&b));
        buf_done(&b);
        return text;
    case FIELD_INT32:
    case FIELD_UINT32:
    case FIELD_UINT64:
    case FIELD_PORT:
    case FIELD_DOUBLE:
        return f->def ? arena_printf(a, "%lld", (long long)f->def) : STR_NONE;
    default:
        return str_from(f->def_text);
    }
}

const char *field_type_name(enum field_type type)
{
    static const char *const names[] = {
        [FIELD_STRING] = "a string",
        [FIELD_WORD] = "a string",
        [FIELD_BOOL] = "true or false",
        [FIELD_INT32] = "a whole number",
        [FIELD_UINT32] = "a whole number, not negative",
        [FIELD_UINT64] = "a whole number, not negative",
        [FIELD_DOUBLE] = "a number",
        [FIELD_DURATION] = "a duration such as \"10s\" or \"1m30s\"",
        [FIELD_ENUM] = "one of its names",
        [FIELD_BYTES] = "a string in base64",
        [FIELD_MATCH] = "a map with exact, prefix or regex",
        [FIELD_MESSAGE] = "a map",
        [FIELD_EMBED] = "a map",
        [FIELD_STRINGS] = "a list of strings",
        [FIELD_UINT32S] = "a list of whole numbers",
        [FIELD_MATCHES] = "a list of maps with exact, prefix or regex",
        [FIELD_MESSAGES] = "a list of maps",
        [FIELD_LABELS] = "a map from strings to strings",
        [FIELD_NUMBERS] = "a map from strings to whole numbers",
        [FIELD_MATCH_MAP] = "a map from names to exact, prefix or regex",
        [FIELD_MESSAGE_MAP] = "a map from numbers to maps",
        [FIELD_NAMED_MESSAGES] = "a map from names to maps",
        [FIELD_OBJECT] = "a map",
        [FIELD_SWITCH] = "on or off",
        [FIELD_PORT] = "a port from 1 to 65535",
        [FIELD_TEXT] = "a text",
        [FIELD_IP] = "an IP address",
        [FIELD_ADDRESS] = "IP:PORT",
        [FIELD_ANY] = "anything",
    };

    return names[type];
}
