/* revision_check: a walk through every kept revision. */
#include "mesh/base/json.h"
#include "mesh/base/mem.h"
#include "store/revision_rows.h"
#include "store/row.h"
#include "store/store.h"

struct walk {
    struct store *store;
    struct map pages; /* ref -> struct page_count: most are shared by many revisions */
};

struct page_count {
    size_t objects;
};

static int count_object(void *arg, const struct object *o, struct err *err)
{
    size_t *n = arg;

    (void)o; /* that it could be read is what counts */
    (void)err;
    (*n)++;
    return 0;
}

static int count_page(struct walk *w, struct str ref, size_t *objects, struct err *err)
{
    struct page_count *known = map_get(&w->pages, ref);

    if (!known) {
        size_t n = 0;

        if (revision_page_each(w->store, ref, count_object, &n, err))
            return -1;
        known = MEM_NEW(struct page_count);
        known->objects = n;
        map_put(&w->pages, ref, known);
    }
    *objects += known->objects;
    return 0;
}

static int damaged(int64_t revision, const char *how, struct err *err)
{
    return err_set(err, ERR_IO, "revision %lld %s: restore a backup", (long long)revision, how);
}

static int check_manifest(struct walk *w, int64_t revision, struct str text, size_t *objects,
                          struct err *err)
{
    const struct node *pages;
    struct node *m, *tx;
    struct arena a;
    struct str mark;
    int rc;

    arena_init(&a);
    *objects = 0;
    rc = row_parse(text, "a revision", &a, &m, err);
    if (rc == 0 && row_number(m, "revision") != revision)
        rc = damaged(revision, "names another number", err);
    if (rc == 0)
        rc = revision_row_get(w->store, arena_printf(&a, "/tx/%.*s", STR_ARG(node_text(m, "tx"))),
                              &a, &mark, err) ||
                     row_parse(mark, "the mark of a commit", &a, &tx, err)
                 ? -1
                 : 0;
    if (rc == 0 && row_number(tx, "revision") != revision)
        rc = damaged(revision, "is not what its commit says", err);
    pages = rc == 0 ? node_get(m, STR("pages")) : NULL;
    for (const struct node *p = pages ? pages->first : NULL; rc == 0 && p; p = p->next)
        rc = count_page(w, p->text, objects, err);
    if (rc == 0 && (int64_t)*objects != row_number(m, "objects"))
        rc = damaged(revision, "has not as many objects as it says", err);
    arena_done(&a);
    return rc;
}

/* The kept revisions: without a gap, up to what /head names. */
static int check_history(struct walk *w, struct revision_health *out, struct err *err)
{
    struct store_range range = {.prefix = STR("/rev/")};
    struct store_kv *rows, head;
    struct node *node;
    struct arena a;
    size_t n;
    int rc;

    arena_init(&a);
    rc = store_list(w->store, &range, &a, &rows, &n, NULL, err);
    if (rc == 0)
        rc = store_get(w->store, STR(REVISION_HEAD_KEY), &a, &head, err);
    if (rc == 0 && head.mod_seq) {
        rc = row_parse(head.value, REVISION_HEAD_KEY, &a, &node, err);
        if (rc == 0)
            out->head = row_number(node, "revision");
    }
    out->first = out->head - (int64_t)n + 1;
    if (n == 0)
        out->first = 0;
    if (rc == 0 && (out->first < 0 || (n == 0) != (out->head == 0)))
        rc = damaged(out->head, "is the newest, which the history does not lead to", err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        int64_t revision = out->first + (int64_t)i;

        if (!str_eq(rows[i].key, row_number_key(&a, "/rev/", revision)))
            rc = damaged(revision, "is missing", err);
        else
            rc = check_manifest(w, revision, rows[i].value, &out->objects, err);
    }
    arena_done(&a);
    return rc;
}

static int count_orphan(struct store *s, struct str txid, void *arg, struct err *err)
{
    size_t *n = arg;

    (void)s; /* orphan_fn */
    (void)txid;
    (void)err;
    (*n)++;
    return 0;
}

int revision_check(struct store *store, struct revision_health *out, struct err *err)
{
    struct revision_health found = {0};
    struct walk w = {.store = store};
    struct map_entry *e;
    int rc;

    map_init(&w.pages);
    rc = check_history(&w, &found, err);
    if (rc == 0)
        rc = revision_orphan_each(store, count_orphan, &found.orphans, err);
    for (size_t i = 0; (e = map_each(&w.pages, &i));)
        mem_free(e->value);
    map_done(&w.pages);
    if (rc == 0)
        *out = found;
    return rc;
}
