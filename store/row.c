#include "store/row.h"

#include "mesh/base/json.h"

static void comma(struct buf *b)
{
    if (b->n && b->p[b->n - 1] != '{' && b->p[b->n - 1] != '[')
        buf_addc(b, ',');
}

static void name_of(struct buf *b, const char *name)
{
    comma(b);
    if (!name)
        return;
    buf_json(b, str_from(name));
    buf_addc(b, ':');
}

void row_open(struct buf *b, const char *name, char bracket)
{
    name_of(b, name);
    buf_addc(b, bracket);
}

void row_str(struct buf *b, const char *name, struct str value)
{
    name_of(b, name);
    buf_json(b, value);
}

void row_opt(struct buf *b, const char *name, struct str value)
{
    if (value.n)
        row_str(b, name, value);
}

void row_int(struct buf *b, const char *name, int64_t value)
{
    name_of(b, name);
    buf_printf(b, "%lld", (long long)value);
}

void row_true(struct buf *b, const char *name, bool value)
{
    if (!value)
        return;
    name_of(b, name);
    buf_adds(b, "true");
}

struct str row_done(struct buf *b, struct arena *a)
{
    struct str s = arena_str(a, buf_str(b));

    buf_done(b);
    return s;
}

int row_parse(struct str text, const char *what, struct arena *a, struct node **out,
              struct err *err)
{
    struct err bad;

    if (json_read(text, a, out, &bad) || (*out)->kind != NODE_MAP)
        return err_set(err, ERR_IO, "the database is damaged: %s cannot be read; restore a backup",
                       what);
    return 0;
}

int64_t row_number(const struct node *map, const char *name)
{
    int64_t n = 0;

    if (!str_int(node_text(map, name), INT64_MIN, INT64_MAX, &n))
        return 0;
    return n;
}

struct str row_number_key(struct arena *a, const char *prefix, int64_t n)
{
    return arena_printf(a, "%s%020lld", prefix, (long long)n);
}

int row_commit(struct store *s, const struct store_txn *t, const char *conflict, struct err *err)
{
    struct store_result result;

    if (store_commit(s, t, &result, err))
        return -1;
    if (!result.succeeded)
        return err_set(err, ERR_CONFLICT, "%s", conflict);
    return 0;
}
