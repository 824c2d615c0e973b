/* The head in memory, and how a configuration lies in the store:
 *
 *     /head               {"revision": N}: the one key that makes a commit happen
 *     /rev/N              manifest: who, when, what changed in number, a reference for each page
 *     /tx/TXID            the commit of this id happened; without it /obj/TXID/ is an orphan
 *     /obj/TXID/pXX       page XX of 256: where each object is whose key hashes to XX
 *     /obj/TXID/I         record I of that commit: names, source bytes, canonical JSON
 *     /obj/TXID/I/P       its parts, if it is larger than a transaction should be
 *
 * A commit rewrites the pages it touches and shares the others with the revision before, so a small
 * change in a large mesh stays small, and any revision can still be read whole.
 */
#include "store/revision_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/base/hash.h"

/* ------------------------------------------------------------------ objects */

struct str revision_key(struct arena *a, struct str kind, struct str ns, struct str name)
{
    return arena_printf(a, "%.*s/%.*s/%.*s", STR_ARG(kind), STR_ARG(ns), STR_ARG(name));
}

unsigned revision_page_of(struct str key)
{
    uint8_t hash[HASH_BYTES];

    hash_sha256(key, hash);
    return hash[0];
}

static struct str put_text(char **at, struct str s)
{
    char *p = *at;

    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    *at = p + s.n + 1;
    return (struct str){p, s.n};
}

/* A copy on the heap, in one piece. */
static struct object *object_new(const struct object *from, struct str key)
{
    const struct revision_object *f = &from->seen;
    struct object *o = mem_alloc(sizeof(*o) + f->kind.n + f->ns.n + f->name.n + f->object.n +
                                 f->file.n + f->ref.n + 6);
    char *at = (char *)(o + 1);

    *o = *from;
    o->seen.kind = put_text(&at, f->kind);
    o->seen.ns = put_text(&at, f->ns);
    o->seen.name = put_text(&at, f->name);
    o->seen.object = put_text(&at, f->object);
    o->seen.file = put_text(&at, f->file);
    o->seen.ref = put_text(&at, f->ref);
    o->page = revision_page_of(key);
    o->mark = 0;
    return o;
}

void revision_put_object(struct revision_head *head, const struct object *from)
{
    struct arena a;
    struct str key;

    arena_init(&a);
    key = revision_key(&a, from->seen.kind, from->seen.ns, from->seen.name);
    mem_free(map_put(&head->objects, key, object_new(from, key)));
    arena_done(&a);
}

static void clear_head(struct revision_head *head)
{
    struct map_entry *e;

    for (size_t i = 0; (e = map_each(&head->objects, &i));)
        mem_free(e->value);
    map_done(&head->objects);
    map_init(&head->objects);
    head->revision = 0;
}

static int by_name(const struct revision_object *a, const struct revision_object *b)
{
    int c = str_cmp(a->kind, b->kind);

    if (c == 0)
        c = str_cmp(a->ns, b->ns);
    return c ? c : str_cmp(a->name, b->name);
}

static int compare_pointers(const void *a, const void *b)
{
    return by_name(*(const struct revision_object *const *)a,
                   *(const struct revision_object *const *)b);
}

int revision_compare_objects(const void *a, const void *b)
{
    return by_name(a, b);
}

/* ------------------------------------------------------------------ reading */

struct str revision_obj_key(struct arena *a, struct str ref)
{
    return arena_printf(a, "/obj/%.*s", STR_ARG(ref));
}

int revision_row_get(struct store *s, struct str key, struct arena *a, struct str *value,
                     struct err *err)
{
    struct store_kv kv;

    if (store_get(s, key, a, &kv, err))
        return -1;
    if (!kv.mod_seq)
        return err_set(err, ERR_IO, "the database is damaged: %.*s is missing; restore a backup",
                       STR_ARG(key));
    *value = kv.value;
    return 0;
}

int revision_read_record(struct store *s, const struct object *o, struct arena *a, struct str *out,
                         struct err *err)
{
    struct buf text;
    int rc = 0;

    if (o->parts == 0)
        return revision_row_get(s, revision_obj_key(a, o->seen.ref), a, out, err);
    buf_init(&text, RECORD_MAX);
    for (int64_t i = 0; rc == 0 && i < o->parts; i++) {
        struct arena scratch;
        struct node *node;
        struct str value;

        arena_init(&scratch);
        rc = revision_row_get(
            s, arena_printf(&scratch, "/obj/%.*s/%06lld", STR_ARG(o->seen.ref), (long long)i),
            &scratch, &value, err);
        if (rc == 0)
            rc = json_read(value, &scratch, &node, err);
        if (rc == 0)
            buf_add(&text, node->text);
        arena_done(&scratch);
    }
    if (rc == 0)
        *out = row_done(&text, a);
    buf_done(&text);
    return rc;
}

/* One entry of a page, with the canonical JSON read from its record into `a`. */
static int read_object(struct store *s, const struct node *entry, struct arena *a,
                       struct object *out, struct err *err)
{
    struct revision_object *seen = &out->seen;
    int64_t n = row_number(entry, "n");
    struct arena scratch;
    struct str text;
    int rc;

    *out = (struct object){.at = row_number(entry, "at"), .parts = row_number(entry, "parts")};
    seen->kind = arena_str(a, node_text(entry, "kind"));
    seen->ns = arena_str(a, node_text(entry, "ns"));
    seen->name = arena_str(a, node_text(entry, "name"));
    seen->file = arena_str(a, node_text(entry, "file"));
    seen->line = (unsigned)row_number(entry, "line");
    seen->created_ms = row_number(entry, "created_ms");
    seen->revision = row_number(entry, "revision");
    seen->ref = arena_str(a, node_text(entry, "ref"));
    arena_init(&scratch); /* the record holds the source too, which is not wanted here */
    rc = revision_read_record(s, out, &scratch, &text, err);
    if (rc == 0 && (out->at < 0 || n < 0 || (uint64_t)out->at + (uint64_t)n > text.n))
        rc = err_set(err, ERR_IO, "the database is damaged: object %.*s; restore a backup",
                     STR_ARG(seen->ref));
    if (rc == 0)
        seen->object = arena_str(a, str_sub(text, (size_t)out->at, (size_t)n));
    arena_done(&scratch);
    return rc;
}

int revision_read_manifest(struct store *s, int64_t revision, struct arena *a, struct node **out,
                           struct err *err)
{
    struct store_kv kv;

    if (store_get(s, row_number_key(a, "/rev/", revision), a, &kv, err))
        return -1;
    if (!kv.mod_seq)
        return err_set(err, ERR_MISSING,
                       "revision %lld is not there: see the history for those that are",
                       (long long)revision);
    return row_parse(kv.value, "a revision", a, out, err);
}

int revision_page_each(struct store *s, struct str ref, object_fn *fn, void *arg, struct err *err)
{
    const struct node *entry = NULL;
    struct node *page;
    struct arena a;
    struct str text;
    int rc;

    arena_init(&a);
    rc = revision_row_get(s, revision_obj_key(&a, ref), &a, &text, err);
    if (rc == 0)
        rc = row_parse(text, "a page of a revision", &a, &page, err);
    if (rc == 0 && node_get(page, STR("objects")))
        entry = node_get(page, STR("objects"))->first;
    for (; rc == 0 && entry; entry = entry->next) {
        struct object o;
        struct arena one;

        arena_init(&one);
        rc = read_object(s, entry, &one, &o, err);
        if (rc == 0)
            rc = fn(arg, &o, err);
        arena_done(&one);
    }
    arena_done(&a);
    return rc;
}

int revision_each_object(struct store *s, const struct node *manifest, object_fn *fn, void *arg,
                         struct err *err)
{
    const struct node *pages = node_get(manifest, STR("pages"));

    for (const struct node *p = pages ? pages->first : NULL; p; p = p->next) {
        if (revision_page_each(s, p->text, fn, arg, err))
            return -1;
    }
    return 0;
}

static int into_head(void *arg, const struct object *o, struct err *err)
{
    (void)err; /* memory cannot be refused */
    revision_put_object(arg, o);
    return 0;
}

static int read_pages(struct revisions *r, const struct node *manifest, struct err *err)
{
    const struct node *pages = node_get(manifest, STR("pages"));

    memset(r->pages, 0, sizeof(r->pages));
    for (const struct node *p = pages ? pages->first : NULL; p; p = p->next) {
        uint64_t page;

        if (!str_hex(p->key, PAGES - 1, &page) || p->text.n >= REF_MAX)
            return err_set(err, ERR_IO, "the database is damaged: revision %lld; restore a backup",
                           (long long)row_number(manifest, "revision"));
        snprintf(r->pages[page], REF_MAX, "%.*s", STR_ARG(p->text));
    }
    return 0;
}

int revision_load_head(struct revisions *r, struct err *err)
{
    struct revision_head fresh = {0};
    struct node *head, *manifest;
    struct store_kv kv;
    struct arena a;
    int rc;

    map_init(&fresh.objects);
    arena_init(&a);
    rc = store_get(r->store, STR(REVISION_HEAD_KEY), &a, &kv, err);
    if (rc == 0 && kv.mod_seq) {
        rc = row_parse(kv.value, REVISION_HEAD_KEY, &a, &head, err);
        if (rc == 0) {
            fresh.revision = row_number(head, "revision");
            rc = revision_read_manifest(r->store, fresh.revision, &a, &manifest, err);
        }
        if (rc == 0)
            rc = revision_each_object(r->store, manifest, into_head, &fresh, err);
        if (rc == 0)
            rc = read_pages(r, manifest, err);
    }
    if (rc == 0) {
        clear_head(&r->head);
        map_done(&r->head.objects);
        r->head = fresh;
        r->head_seq = kv.mod_seq;
        r->stale = false;
    } else {
        clear_head(&fresh);
        map_done(&fresh.objects);
    }
    arena_done(&a);
    return rc;
}

int64_t revision_current(const struct revisions *r)
{
    return r->head.revision;
}

const struct revision_head *revision_head(const struct revisions *r)
{
    return &r->head;
}

struct object *revision_find_object(const struct revisions *r, struct str kind, struct str ns,
                                    struct str name)
{
    char small[512];
    struct arena a;
    struct object *o;

    arena_init_with(&a, small, sizeof(small));
    o = map_get(&r->head.objects, revision_key(&a, kind, ns, name));
    arena_done(&a);
    return o;
}

const struct revision_object *revision_get(const struct revisions *r, struct str kind,
                                           struct str ns, struct str name)
{
    const struct object *o = revision_find_object(r, kind, ns, name);

    return o ? &o->seen : NULL;
}

size_t revision_list(const struct revisions *r, struct str kind, struct str ns, struct arena *a,
                     const struct revision_object ***out)
{
    const struct revision_object **list =
        ARENA_ARRAY(a, r->head.objects.count + 1, const struct revision_object *);
    struct map_entry *e;
    size_t n = 0;

    for (size_t i = 0; (e = map_each(&r->head.objects, &i));) {
        const struct object *o = e->value;

        if ((kind.n == 0 || str_eq(kind, o->seen.kind)) && (ns.n == 0 || str_eq(ns, o->seen.ns)))
            list[n++] = &o->seen;
    }
    qsort(list, n, sizeof(const struct revision_object *), compare_pointers);
    *out = list;
    return n;
}

/* ----------------------------------------------------------------- the rest */

struct revisions *revision_open(struct store *store, struct err *err)
{
    struct revisions *r = MEM_NEW(struct revisions);

    r->store = store;
    map_init(&r->head.objects);
    r->littered = revision_sweep(store, err) != 0; /* a full disk is no reason to stand still */
    if ((r->littered && err->code != ERR_FULL) || revision_load_head(r, err)) {
        revision_close(r);
        return NULL;
    }
    r->watch = store_watch_open(store, STR(REVISION_HEAD_KEY), 0, revision_on_head, r, err);
    if (!r->watch) {
        revision_close(r);
        return NULL;
    }
    return r;
}

void revision_close(struct revisions *r)
{
    if (!r)
        return;
    store_watch_close(r->watch);
    clear_head(&r->head);
    map_done(&r->head.objects);
    mem_free(r);
}
