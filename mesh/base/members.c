#include "mesh/base/members.h"

#include <inttypes.h>
#include <string.h>

static void comma(struct buf *b)
{
    if (b->n > 0 && b->p[b->n - 1] != '{' && b->p[b->n - 1] != '[')
        buf_addc(b, ',');
}

void members_key(struct buf *b, const char *name)
{
    comma(b);
    buf_printf(b, "\"%s\":", name);
}

/* ---- values ---- */

static const void *pointer_at(const void *at)
{
    const void *p;

    memcpy(&p, at, sizeof(p));
    return p;
}

static int64_t number_at(const struct member *m, const void *at)
{
    int64_t wide;

    switch (m->bytes) {
    case sizeof(uint8_t):
        return *(const uint8_t *)at;
    case sizeof(uint16_t):
        return *(const uint16_t *)at;
    case sizeof(uint32_t):
        return m->is_signed ? *(const int32_t *)at : (int64_t)(*(const uint32_t *)at);
    default:
        memcpy(&wide, at, sizeof(wide));
        return wide;
    }
}

static const void *value_of(const struct member *m, const void *base)
{
    const void *at = (const char *)base + m->at;

    return m->place == PLACE_HERE ? at : pointer_at(at);
}

static size_t count_of(const struct member *m, const void *base)
{
    return *(const size_t *)(const void *)((const char *)base + m->count_at);
}

static bool is_list(const struct member *m)
{
    return m->place == PLACE_LIST || m->place == PLACE_POINTERS;
}

static bool is_unset(const struct member *m, const void *base)
{
    const void *at = value_of(m, base);

    if (is_list(m))
        return count_of(m, base) == 0;
    if (!at)
        return true;
    switch (m->kind) {
    case AS_TEXT:
        return ((const struct str *)at)->n == 0;
    case AS_REAL:
        return *(const double *)at == 0;
    case AS_ADDR:
        return ((const struct addr *)at)->family == 0;
    case AS_CUSTOM:
        return m->custom->is_unset(at);
    case AS_OBJECT:
        for (size_t i = 0; i < m->of->count; i++) {
            if (!is_unset(&m->of->rows[i], at))
                return false;
        }
        return true;
    case AS_BOOL:
    case AS_NUMBER:
    case AS_NAME:
    case AS_BITS:
    case AS_SUBNET:
        break;
    }
    return number_at(m, at) == 0;
}

/* ---- printing ---- */

static void print_rows(struct buf *b, const struct shape *s, const void *base);

static void print_bits(struct buf *b, const struct member *m, uint64_t bits)
{
    buf_addc(b, '[');
    for (size_t i = 0; m->names[i]; i++) {
        if (!(bits >> i & 1))
            continue;
        comma(b);
        buf_json(b, str_from(m->names[i]));
    }
    buf_addc(b, ']');
}

static void print_addr(struct buf *b, const struct addr *a)
{
    char text[ADDR_TEXT_MAX];

    buf_json(b, a->family ? str_from(addr_format(a, text)) : STR(""));
    members_key(b, "port");
    buf_printf(b, "%u", a->port);
}

static void print_subnet(struct buf *b, const struct cidr *c)
{
    char text[ADDR_TEXT_MAX];

    buf_printf(b, "\"%s/%u\"", addr_format_ip(&c->base, text), c->bits);
}

static void print_value(struct buf *b, const struct member *m, const void *at)
{
    switch (m->kind) {
    case AS_TEXT:
        buf_json(b, *(const struct str *)at);
        break;
    case AS_BOOL:
        buf_adds(b, *(const bool *)at ? "true" : "false");
        break;
    case AS_NUMBER:
        buf_printf(b, "%" PRId64, number_at(m, at));
        break;
    case AS_REAL:
        buf_printf(b, "%.17g", *(const double *)at);
        break;
    case AS_NAME:
        buf_json(b, str_from(m->names[number_at(m, at)]));
        break;
    case AS_BITS:
        print_bits(b, m, (uint64_t)number_at(m, at));
        break;
    case AS_ADDR:
        print_addr(b, at);
        break;
    case AS_SUBNET:
        print_subnet(b, at);
        break;
    case AS_OBJECT:
        buf_addc(b, '{');
        print_rows(b, m->of, at);
        buf_addc(b, '}');
        break;
    case AS_CUSTOM:
        m->custom->print(b, at);
        break;
    }
}

static void print_list(struct buf *b, const struct member *m, const void *base)
{
    const char *at = value_of(m, base);

    buf_addc(b, '[');
    for (size_t i = 0; i < count_of(m, base); i++, at += m->bytes) {
        comma(b);
        print_value(b, m, m->place == PLACE_POINTERS ? pointer_at(at) : at);
    }
    buf_addc(b, ']');
}

static void print_row(struct buf *b, const struct member *m, const void *base)
{
    if ((m->is_optional && is_unset(m, base)) || (m->place == PLACE_POINTER && !value_of(m, base)))
        return;
    if (!m->name) {
        print_rows(b, m->of, value_of(m, base));
        return;
    }
    members_key(b, m->name);
    if (is_list(m))
        print_list(b, m, base);
    else
        print_value(b, m, value_of(m, base));
}

static void print_rows(struct buf *b, const struct shape *s, const void *base)
{
    for (size_t i = 0; i < s->count; i++)
        print_row(b, &s->rows[i], base);
}

void members_print(struct buf *b, const struct shape *s, const void *base)
{
    comma(b);
    buf_addc(b, '{');
    print_rows(b, s, base);
    buf_addc(b, '}');
}
