/* What nothing reaches any more goes: commits that did not happen, and old revisions. */
#include "store/revision_parts.h"

/* "/obj/TXID/I/P" without its prefix, cut to so many parts: 1 is TXID, 2 is TXID/I. */
static struct str key_part(struct str key, size_t prefix, unsigned parts)
{
    struct str rest = str_sub(key, prefix, key.n);

    for (size_t i = 0; i < rest.n; i++) {
        if (rest.p[i] == '/' && parts-- == 1)
            return str_sub(rest, 0, i);
    }
    return rest;
}

static int delete_obj(struct store *s, struct str txid, struct err *err)
{
    struct store_txn *t = MEM_NEW(struct store_txn);
    struct arena a;
    int rc;

    arena_init(&a);
    store_txn_init(t);
    store_txn_delete_prefix(t, arena_printf(&a, "/obj/%.*s/", STR_ARG(txid)));
    rc = row_commit(s, t, "", err);
    store_txn_done(t);
    arena_done(&a);
    mem_free(t);
    return rc;
}

/* Commits under /obj/ that did not happen. Walks the commits, not their keys: one look-up each. */
int revision_orphan_each(struct store *s, orphan_fn *fn, void *arg, struct err *err)
{
    struct store_range range = {.prefix = STR("/obj/"), .limit = 1, .keys_only = true};
    struct arena a;
    int rc = 0;

    arena_init(&a);
    for (;;) {
        struct store_kv *row, mark;
        struct str txid;
        size_t n;

        rc = store_list(s, &range, &a, &row, &n, NULL, err);
        if (rc || n == 0)
            break;
        txid = key_part(row[0].key, range.prefix.n, 1);
        rc = store_get(s, arena_printf(&a, "/tx/%.*s", STR_ARG(txid)), &a, &mark, err);
        if (rc == 0 && !mark.mod_seq)
            rc = fn(s, txid, arg, err);
        if (rc)
            break;
        range.after = arena_printf(&a, "/obj/%.*s/\xff", STR_ARG(txid));
    }
    arena_done(&a);
    return rc;
}

static int delete_orphan(struct store *s, struct str txid, void *arg, struct err *err)
{
    (void)arg; /* orphan_fn */
    return delete_obj(s, txid, err);
}

int revision_sweep(struct store *s, struct err *err)
{
    return revision_orphan_each(s, delete_orphan, NULL, err);
}

/* References that a manifest reaches: its pages, and what stands in them. */
static int reach(struct store *s, const struct node *manifest, struct map *live, struct err *err)
{
    const struct node *pages = node_get(manifest, STR("pages"));

    for (const struct node *p = pages ? pages->first : NULL; p; p = p->next) {
        const struct node *entries;
        struct arena a;
        struct node *page;
        struct str text;

        if (map_put(live, p->text, live))
            continue; /* shared with a revision seen before */
        arena_init(&a);
        if (revision_row_get(s, revision_obj_key(&a, p->text), &a, &text, err) ||
            row_parse(text, "a page of a revision", &a, &page, err)) {
            arena_done(&a);
            return -1;
        }
        entries = node_get(page, STR("objects"));
        for (const struct node *o = entries ? entries->first : NULL; o; o = o->next)
            map_put(live, node_text(o, "ref"), live);
        arena_done(&a);
    }
    return 0;
}

/* Deletes, in batches, the keys whose first `parts` parts are not in `live`. */
static int delete_others(struct store *s, const struct store_kv *rows, size_t count, size_t prefix,
                         unsigned parts, const struct map *live, struct err *err)
{
    struct store_txn *t = MEM_NEW(struct store_txn);
    int rc = 0;

    store_txn_init(t);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        if (map_get(live, key_part(rows[i].key, prefix, parts)))
            continue;
        store_txn_delete(t, rows[i].key);
        if (t->op_count == BATCH_OPS) {
            rc = row_commit(s, t, "", err);
            store_txn_clear(t);
        }
    }
    if (rc == 0 && t->op_count)
        rc = row_commit(s, t, "", err);
    store_txn_done(t);
    mem_free(t);
    return rc;
}

static int drop_revisions(struct store *s, int64_t below, struct arena *a, struct err *err)
{
    struct store_range range = {.prefix = STR("/rev/"),
                                .after = row_number_key(a, "/rev/", below),
                                .keys_only = true,
                                .descending = true};
    struct store_kv *rows;
    struct map none;
    size_t n;
    int rc;

    map_init(&none);
    rc = store_list(s, &range, a, &rows, &n, NULL, err);
    if (rc == 0)
        rc = delete_others(s, rows, n, range.prefix.n, 1, &none, err);
    map_done(&none);
    return rc;
}

static int drop_unreachable(struct store *s, struct map *live, struct arena *a, struct err *err)
{
    struct store_range objects = {.prefix = STR("/obj/"), .keys_only = true};
    struct store_range marks = {.prefix = STR("/tx/"), .keys_only = true};
    struct store_kv *rows;
    struct map left; /* commits that still have a key */
    size_t n;
    int rc;

    map_init(&left);
    rc = store_list(s, &objects, a, &rows, &n, NULL, err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        if (map_get(live, key_part(rows[i].key, objects.prefix.n, 2)))
            map_put(&left, key_part(rows[i].key, objects.prefix.n, 1), &left);
    }
    if (rc == 0)
        rc = delete_others(s, rows, n, objects.prefix.n, 2, live, err);
    if (rc == 0)
        rc = store_list(s, &marks, a, &rows, &n, NULL, err);
    if (rc == 0)
        rc = delete_others(s, rows, n, marks.prefix.n, 1, &left, err);
    map_done(&left);
    return rc;
}

int revision_trim(struct revisions *r, int64_t keep, struct err *err)
{
    struct store_range range = {.prefix = STR("/rev/")};
    struct store_kv *rows;
    struct arena a;
    struct map live;
    size_t n = 0;
    int rc;

    if (keep < 1)
        return err_set(err, ERR_INVALID, "the newest revision cannot be forgotten");
    if (r->head.revision <= keep)
        return 0;
    arena_init(&a);
    map_init(&live);
    rc = drop_revisions(r->store, r->head.revision - keep + 1, &a, err);
    if (rc == 0)
        rc = store_list(r->store, &range, &a, &rows, &n, NULL, err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        struct node *m;

        rc = row_parse(rows[i].value, "a revision", &a, &m, err);
        if (rc == 0)
            rc = reach(r->store, m, &live, err);
    }
    if (rc == 0)
        rc = drop_unreachable(r->store, &live, &a, err);
    map_done(&live);
    arena_done(&a);
    return rc;
}
