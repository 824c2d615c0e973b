/* Revisions that were: their list, their objects, and the way back to one. */
#include "store/revision_parts.h"

#include <stdlib.h>
#include <string.h>

static void read_entry(const struct node *m, struct arena *a, struct revision_entry *out)
{
    *out = (struct revision_entry){
        .revision = row_number(m, "revision"),
        .at_ms = row_number(m, "at_ms"),
        .who = arena_str(a, node_text(m, "who")),
        .source = arena_str(a, node_text(m, "source")),
        .message = arena_str(a, node_text(m, "message")),
        .created = (size_t)row_number(m, "created"),
        .changed = (size_t)row_number(m, "changed"),
        .deleted = (size_t)row_number(m, "deleted"),
        .objects = (size_t)row_number(m, "objects"),
    };
}

int revision_history(struct revisions *r, int64_t before, size_t limit, struct arena *a,
                     struct revision_entry **out, size_t *count, struct err *err)
{
    struct store_range range = {.prefix = STR("/rev/"), .limit = limit, .descending = true};
    struct revision_entry *list;
    struct store_kv *rows;
    struct arena scratch;
    size_t n = 0;
    int rc;

    arena_init(&scratch);
    if (before > 0)
        range.after = row_number_key(&scratch, "/rev/", before);
    rc = store_list(r->store, &range, &scratch, &rows, &n, NULL, err);
    list = ARENA_ARRAY(a, n + 1, struct revision_entry);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        struct node *m;

        rc = row_parse(rows[i].value, "a revision", &scratch, &m, err);
        if (rc == 0)
            read_entry(m, a, &list[i]);
    }
    arena_done(&scratch);
    if (rc)
        return -1;
    *out = list;
    *count = n;
    return 0;
}

int revision_find(struct revisions *r, int64_t revision, struct arena *a,
                  struct revision_entry *out, struct err *err)
{
    struct node *m;

    if (revision_read_manifest(r->store, revision, a, &m, err))
        return -1;
    read_entry(m, a, out);
    return 0;
}

struct gather {
    struct arena *arena;
    struct revision_object *list;
    size_t count, cap;
};

static int into_list(void *arg, const struct object *o, struct err *err)
{
    struct gather *g = arg;
    struct revision_object *to;

    (void)err; /* memory cannot be refused */
    if (g->count == g->cap) {
        g->cap = g->cap ? g->cap * 2 : 64;
        g->list = mem_realloc(g->list, g->cap * sizeof(*g->list));
    }
    to = &g->list[g->count++];
    *to = o->seen;
    to->kind = arena_str(g->arena, o->seen.kind);
    to->ns = arena_str(g->arena, o->seen.ns);
    to->name = arena_str(g->arena, o->seen.name);
    to->object = arena_str(g->arena, o->seen.object);
    to->file = arena_str(g->arena, o->seen.file);
    to->ref = arena_str(g->arena, o->seen.ref);
    return 0;
}

int revision_at(struct revisions *r, int64_t revision, struct arena *a,
                struct revision_object **out, size_t *count, struct err *err)
{
    struct gather g = {.arena = a};
    struct arena scratch;
    struct node *manifest;
    int rc = 0;

    arena_init(&scratch);
    if (revision != 0) /* 0 is the empty configuration before the first */
        rc = revision_read_manifest(r->store, revision, &scratch, &manifest, err);
    if (rc == 0 && revision != 0)
        rc = revision_each_object(r->store, manifest, into_list, &g, err);
    if (rc == 0) {
        *out = ARENA_ARRAY(a, g.count + 1, struct revision_object);
        if (g.count) {
            memcpy(*out, g.list, g.count * sizeof(*g.list));
            qsort(*out, g.count, sizeof(**out), revision_compare_objects);
        }
        *count = g.count;
    }
    mem_free(g.list);
    arena_done(&scratch);
    return rc;
}

int revision_source(struct revisions *r, const struct revision_object *o, struct arena *a,
                    struct str *out, struct err *err)
{
    struct object find = {.seen = *o};
    struct arena scratch;
    struct store_kv kv;
    struct node *record;
    struct str text;
    int rc;

    arena_init(&scratch);
    rc = store_get(r->store, revision_obj_key(&scratch, o->ref), &scratch, &kv, err);
    if (rc == 0 && !kv.mod_seq) { /* in parts: count them */
        struct store_range range = {.prefix = arena_printf(&scratch, "/obj/%.*s/", STR_ARG(o->ref)),
                                    .keys_only = true};
        struct store_kv *rows;
        size_t n;

        rc = store_list(r->store, &range, &scratch, &rows, &n, NULL, err);
        if (rc == 0 && n == 0)
            rc = err_set(err, ERR_MISSING, "the source of %.*s is not there", STR_ARG(o->name));
        find.parts = rc == 0 ? (int64_t)n : 0;
    }
    if (rc == 0)
        rc = revision_read_record(r->store, &find, &scratch, &text, err);
    if (rc == 0)
        rc = row_parse(text, "an object", &scratch, &record, err);
    if (rc == 0)
        *out = arena_str(a, node_text(record, "source"));
    arena_done(&scratch);
    return rc;
}

static int add_wanted(struct revisions *r, const struct revision_object *o, struct arena *a,
                      struct map *wanted, struct revision_change *c, struct err *err)
{
    map_put(wanted, revision_key(a, o->kind, o->ns, o->name), c);
    *c = (struct revision_change){.kind = o->kind,
                                  .ns = o->ns,
                                  .name = o->name,
                                  .object = o->object,
                                  .file = o->file,
                                  .line = o->line};
    return revision_source(r, o, a, &c->source, err);
}

int revision_revert(struct revisions *r, int64_t to, int64_t expect_revision,
                    const struct ledger_audit *audit, int64_t *revision, struct err *err)
{
    struct revision_change *changes;
    struct revision_object *old;
    struct map_entry *e;
    struct map wanted;
    struct arena a;
    size_t count, n = 0;
    int rc;

    if (revision_check_expected(r, expect_revision, err))
        return -1;
    arena_init(&a);
    map_init(&wanted);
    rc = revision_at(r, to, &a, &old, &count, err);
    if (rc == 0) {
        changes = ARENA_ARRAY(&a, count + r->head.objects.count + 1, struct revision_change);
        for (; rc == 0 && n < count; n++)
            rc = add_wanted(r, &old[n], &a, &wanted, &changes[n], err);
        for (size_t i = 0; (e = map_each(&r->head.objects, &i));) {
            const struct object *o = e->value;

            if (!map_get(&wanted, e->key))
                changes[n++] = (struct revision_change){.kind = arena_str(&a, o->seen.kind),
                                                        .ns = arena_str(&a, o->seen.ns),
                                                        .name = arena_str(&a, o->seen.name),
                                                        .deleted = true};
        }
        if (rc == 0)
            rc = revision_commit_any(r, changes, n, expect_revision, audit, revision, NULL, err);
    }
    map_done(&wanted);
    arena_done(&a);
    return rc;
}
