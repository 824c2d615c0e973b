/* How a configuration lies in the store:
 *
 *     /head               {"revision": N}: the one key that makes a commit happen
 *     /rev/N              manifest: who, when, what changed in number, and a reference for each
 * page /tx/TXID            the commit of this id happened; without it /obj/TXID/ is an orphan
 *     /obj/TXID/pXX       page XX of 256: where each object is whose key hashes to XX
 *     /obj/TXID/I         record I of that commit: names, source bytes, canonical JSON
 *     /obj/TXID/I/P       its parts, if it is larger than a transaction should be
 *
 * A commit rewrites the pages it touches and shares the others with the revision before, so a small
 * change in a large mesh stays small, and any revision can still be read whole.
 */
#include "store/revision.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mesh/base/hash.h"
#include "mesh/base/json.h"
#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "mesh/base/text.h"
#include "store/ledger.h"
#include "store/revision_rows.h"
#include "store/row.h"
#include "store/store.h"

#define PAGES        256u
#define BATCH_OPS    100u
#define BATCH_BYTES  (1u << 20)
#define RECORD_BYTES (900u << 10) /* a larger record is cut into parts */
#define PART_BYTES                                                                                 \
    (400u << 10) /* at most doubled by escaping: a record has no raw control bytes                 \
                  */
#define RECORD_MAX (1u << 29)
#define REF_MAX    64
#define OBJ        5u /* bytes of "/obj/" */
#define TX         4u /* bytes of "/tx/" */

struct revisions {
    struct store *store;
    struct revision_head head; /* values are struct object */
    char pages[PAGES][REF_MAX];
    int64_t head_seq; /* mod_seq of /head; 0 if there was no commit yet */
    struct store_watch *watch;
    struct commit *pending; /* becomes the head when the store says that it happened */
    bool stale;             /* another server committed and reading it failed */
    bool littered;          /* records of a failed commit could not be removed: no room, mostly */
};

/* ------------------------------------------------------------------ objects */

struct str revision_key(struct arena *a, struct str kind, struct str ns, struct str name)
{
    return arena_printf(a, "%.*s/%.*s/%.*s", STR_ARG(kind), STR_ARG(ns), STR_ARG(name));
}

static unsigned page_of(struct str key)
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
    o->page = page_of(key);
    o->mark = 0;
    return o;
}

static void put_object(struct revision_head *head, const struct object *from)
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

static int compare_objects(const void *a, const void *b)
{
    return by_name(a, b);
}

/* ------------------------------------------------------------------ reading */

static struct str obj_key(struct arena *a, struct str ref)
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

/* The text of a record, put together from its parts if it has any. */
static int read_record(struct store *s, const struct object *o, struct arena *a, struct str *out,
                       struct err *err)
{
    struct buf text;
    int rc = 0;

    if (o->parts == 0)
        return revision_row_get(s, obj_key(a, o->seen.ref), a, out, err);
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
    rc = read_record(s, out, &scratch, &text, err);
    if (rc == 0 && (out->at < 0 || n < 0 || (uint64_t)out->at + (uint64_t)n > text.n))
        rc = err_set(err, ERR_IO, "the database is damaged: object %.*s; restore a backup",
                     STR_ARG(seen->ref));
    if (rc == 0)
        seen->object = arena_str(a, str_sub(text, (size_t)out->at, (size_t)n));
    arena_done(&scratch);
    return rc;
}

static int read_manifest(struct store *s, int64_t revision, struct arena *a, struct node **out,
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
    rc = revision_row_get(s, obj_key(&a, ref), &a, &text, err);
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

/* Every object of a revision; what fn sees is valid during the call. */
static int each_object(struct store *s, const struct node *manifest, object_fn *fn, void *arg,
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
    put_object(arg, o);
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

static int load_head(struct revisions *r, struct err *err)
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
            rc = read_manifest(r->store, fresh.revision, &a, &manifest, err);
        }
        if (rc == 0)
            rc = each_object(r->store, manifest, into_head, &fresh, err);
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

static struct object *find_object(const struct revisions *r, struct str kind, struct str ns,
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
    const struct object *o = find_object(r, kind, ns, name);

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

/* ------------------------------------------------------------------ writing */

/* Immutable records on their way to the store, in batches. */
struct writer {
    struct store *store;
    struct store_txn *txn;
};

static int flush(struct writer *w, struct err *err)
{
    int rc = 0;

    if (w->txn->op_count)
        rc = row_commit(w->store, w->txn, "another server changed the configuration", err);
    store_txn_clear(w->txn);
    return rc;
}

static int write_key(struct writer *w, struct str key, struct str value, struct err *err)
{
    if ((w->txn->op_count >= BATCH_OPS || w->txn->bytes + key.n + value.n > BATCH_BYTES) &&
        flush(w, err))
        return -1;
    store_txn_put(w->txn, key, value);
    return 0;
}

static int write_parts(struct writer *w, struct str ref, struct str text, int64_t *parts,
                       struct err *err)
{
    int64_t n = 0;

    while (text.n) {
        size_t cut = MIN(text.n, PART_BYTES);
        struct arena a;
        struct buf b;
        int rc;

        while (cut < text.n && ((unsigned char)text.p[cut] & 0xc0) == 0x80)
            cut--; /* not within a character */
        arena_init(&a);
        buf_init(&b, 2 * PART_BYTES + 64);
        buf_json(&b, str_sub(text, 0, cut));
        rc = write_key(w, arena_printf(&a, "/obj/%.*s/%06lld", STR_ARG(ref), (long long)n),
                       buf_str(&b), err);
        buf_done(&b);
        arena_done(&a);
        if (rc)
            return -1;
        text = str_sub(text, cut, text.n - cut);
        n++;
    }
    *parts = n;
    return 0;
}

/* One object's record. Fills in where its canonical JSON is. */
static int write_record(struct writer *w, const struct revision_change *c, struct object *o,
                        struct err *err)
{
    struct arena a;
    struct buf b;
    int rc = 0;

    arena_init(&a);
    buf_init(&b, RECORD_MAX);
    buf_addc(&b, '{');
    row_str(&b, "kind", c->kind);
    row_str(&b, "ns", c->ns);
    row_str(&b, "name", c->name);
    row_str(&b, "source", c->source);
    buf_adds(&b, ",\"object\":");
    o->at = (int64_t)b.n;
    buf_add(&b, c->object);
    buf_addc(&b, '}');
    if (b.failed)
        rc = err_set(err, ERR_LIMIT, "%.*s is too large", STR_ARG(c->name));
    else if (b.n > RECORD_BYTES)
        rc = write_parts(w, o->seen.ref, buf_str(&b), &o->parts, err);
    else
        rc = write_key(w, obj_key(&a, o->seen.ref), buf_str(&b), err);
    buf_done(&b);
    arena_done(&a);
    return rc;
}

/* One commit under way. Its objects live in its arena until they become the head. */
struct commit {
    struct revisions *r;
    const struct revision_change *changes;
    const enum revision_result *results;
    size_t count;
    const struct ledger_audit *audit;
    struct arena arena;
    struct object *objects; /* one per change; unused ones are empty */
    char txid[TEXT_ULID_MAX];
    int64_t revision;
    size_t created, changed, deleted;
    bool touched[PAGES];
    char pages[PAGES][REF_MAX];
};

static bool writes(enum revision_result result)
{
    return result == REVISION_CREATED || result == REVISION_CHANGED;
}

static enum revision_result judge(const struct revisions *r, const struct revision_change *c)
{
    const struct object *o = find_object(r, c->kind, c->ns, c->name);

    if (c->deleted)
        return o ? REVISION_DELETED : REVISION_ABSENT;
    if (!o)
        return REVISION_CREATED;
    return str_eq(o->seen.object, c->object) ? REVISION_UNCHANGED : REVISION_CHANGED;
}

bool revision_preview(const struct revisions *r, const struct revision_change *changes,
                      size_t count, enum revision_result *results)
{
    bool any = false;

    for (size_t i = 0; i < count; i++) {
        results[i] = judge(r, &changes[i]);
        any = any || (results[i] != REVISION_UNCHANGED && results[i] != REVISION_ABSENT);
    }
    return any;
}

static int write_objects(struct commit *k, struct writer *w, struct err *err)
{
    for (size_t i = 0; i < k->count; i++) {
        const struct revision_change *c = &k->changes[i];
        const struct object *old = find_object(k->r, c->kind, c->ns, c->name);
        struct object *o = &k->objects[i];

        if (k->results[i] == REVISION_DELETED)
            k->deleted++;
        if (!writes(k->results[i]))
            continue;
        *(k->results[i] == REVISION_CREATED ? &k->created : &k->changed) += 1;
        o->seen = (struct revision_object){c->kind,
                                           c->ns,
                                           c->name,
                                           c->object,
                                           c->file,
                                           c->line,
                                           old ? old->seen.created_ms : k->audit->now_ms,
                                           k->revision,
                                           arena_printf(&k->arena, "%s/%zu", k->txid, i)};
        if (write_record(w, c, o, err))
            return -1;
    }
    return 0;
}

static void page_entry(struct buf *b, const struct object *o)
{
    row_open(b, NULL, '{');
    row_str(b, "kind", o->seen.kind);
    row_str(b, "ns", o->seen.ns);
    row_str(b, "name", o->seen.name);
    row_str(b, "ref", o->seen.ref);
    row_int(b, "at", o->at);
    row_int(b, "n", (int64_t)o->seen.object.n);
    if (o->parts)
        row_int(b, "parts", o->parts);
    row_opt(b, "file", o->seen.file);
    row_int(b, "line", o->seen.line);
    row_int(b, "created_ms", o->seen.created_ms);
    row_int(b, "revision", o->seen.revision);
    buf_addc(b, '}');
}

static int write_page(struct commit *k, struct writer *w, unsigned page, struct buf *b,
                      struct err *err)
{
    struct str ref;

    if (b->n == 0) {
        k->pages[page][0] = '\0';
        return 0;
    }
    buf_adds(b, "]}");
    if (b->failed)
        return err_set(err, ERR_LIMIT, "too many objects in one configuration");
    snprintf(k->pages[page], REF_MAX, "%s/p%02x", k->txid, page);
    ref = str_from(k->pages[page]);
    return write_key(w, obj_key(&k->arena, ref), buf_str(b), err);
}

static void add_to_page(struct buf *pages, unsigned page, const struct object *o)
{
    if (pages[page].n == 0)
        buf_adds(&pages[page], "{\"objects\":[");
    page_entry(&pages[page], o);
}

static int write_pages(struct commit *k, struct writer *w, struct err *err)
{
    struct buf *pages = mem_array(PAGES, sizeof(*pages));
    struct map_entry *e;
    struct map gone;
    int rc = 0;

    map_init(&gone);
    memcpy(k->pages, k->r->pages, sizeof(k->pages));
    for (unsigned p = 0; p < PAGES; p++)
        buf_init(&pages[p], BATCH_BYTES);
    for (size_t i = 0; i < k->count; i++) {
        const struct revision_change *c = &k->changes[i];
        struct str key = revision_key(&k->arena, c->kind, c->ns, c->name);

        if (!writes(k->results[i]) && k->results[i] != REVISION_DELETED)
            continue;
        k->objects[i].page = page_of(key);
        k->touched[k->objects[i].page] = true;
        map_put(&gone, key, k);
        if (writes(k->results[i]))
            add_to_page(pages, k->objects[i].page, &k->objects[i]);
    }
    for (size_t i = 0; (e = map_each(&k->r->head.objects, &i));) {
        const struct object *o = e->value;

        if (k->touched[o->page] && !map_get(&gone, e->key))
            add_to_page(pages, o->page, o);
    }
    for (unsigned p = 0; p < PAGES; p++) {
        if (rc == 0 && k->touched[p])
            rc = write_page(k, w, p, &pages[p], err);
        buf_done(&pages[p]);
    }
    map_done(&gone);
    mem_free(pages);
    return rc;
}

static struct str manifest_text(struct commit *k)
{
    size_t live = k->r->head.objects.count + k->created - k->deleted;
    struct buf b;

    buf_init(&b, BATCH_BYTES);
    buf_addc(&b, '{');
    row_int(&b, "revision", k->revision);
    row_int(&b, "at_ms", k->audit->now_ms);
    row_opt(&b, "who", k->audit->actor);
    row_opt(&b, "source", k->audit->source);
    row_opt(&b, "message", k->audit->message);
    row_str(&b, "tx", str_from(k->txid));
    row_int(&b, "created", (int64_t)k->created);
    row_int(&b, "changed", (int64_t)k->changed);
    row_int(&b, "deleted", (int64_t)k->deleted);
    row_int(&b, "objects", (int64_t)live);
    row_open(&b, "pages", '{');
    for (unsigned p = 0; p < PAGES; p++) {
        char name[8];

        snprintf(name, sizeof(name), "%02x", p);
        if (k->pages[p][0])
            row_str(&b, name, str_from(k->pages[p]));
    }
    buf_adds(&b, "}}");
    return row_done(&b, &k->arena);
}

/* The transaction that makes it so. */
static int write_head(struct commit *k, struct store_txn *t, struct err *err)
{
    struct ledger_audit audit = *k->audit;
    struct store *s = k->r->store;

    audit.revision_before = k->r->head.revision;
    audit.revision = k->revision;
    store_txn_clear(t);
    store_txn_if_seq(t, STR(REVISION_HEAD_KEY), k->r->head_seq);
    store_txn_put(t, STR(REVISION_HEAD_KEY),
                  arena_printf(&k->arena, "{\"revision\":%lld}", (long long)k->revision));
    store_txn_put(t, row_number_key(&k->arena, "/rev/", k->revision), manifest_text(k));
    store_txn_put(t, arena_printf(&k->arena, "/tx/%s", k->txid),
                  arena_printf(&k->arena, "{\"revision\":%lld}", (long long)k->revision));
    if (ledger_audit_add(s, t, &audit, err))
        return -1;
    return row_commit(s, t,
                      "the configuration was changed meanwhile by somebody else: look at it again, "
                      "then retry",
                      err);
}

/* The store has it: memory follows. */
static void become_head(struct commit *k, int64_t seq)
{
    struct revisions *r = k->r;

    for (size_t i = 0; i < k->count; i++) {
        const struct revision_change *c = &k->changes[i];

        if (writes(k->results[i]))
            put_object(&r->head, &k->objects[i]);
        else if (k->results[i] == REVISION_DELETED)
            mem_free(map_del(&r->head.objects, revision_key(&k->arena, c->kind, c->ns, c->name)));
    }
    r->head.revision = k->revision;
    r->head_seq = seq;
    memcpy(r->pages, k->pages, sizeof(r->pages));
}

/* /head changed. Our own watch is the oldest on it, so that the head in memory is new before any
 * other watcher is called. */
static void on_head(void *arg, const struct store_event *events, size_t count, int64_t seq)
{
    struct revisions *r = arg;
    struct err ignored;

    (void)events; /* one key: that it changed is all there is to know */
    (void)count;
    if (seq <= r->head_seq)
        return;
    if (r->pending) {
        become_head(r->pending, seq);
        r->pending = NULL;
    } else if (load_head(r, &ignored)) {
        r->stale = true; /* told by the next commit */
    }
}

/* The records of a commit that did not happen. If this fails too, the next commit or the next open
 * sweeps them. */
static void discard(struct revisions *r, const char *txid)
{
    struct store_result result;
    struct store_txn *t = MEM_NEW(struct store_txn);
    struct arena a;
    struct err ignored;

    arena_init(&a);
    store_txn_init(t);
    store_txn_if(t, STORE_ABSENT, arena_printf(&a, "/tx/%s", txid));
    store_txn_delete_prefix(t, arena_printf(&a, "/obj/%s/", txid));
    if (store_commit(r->store, t, &result, &ignored)) /* see above */
        r->littered = true;
    store_txn_done(t);
    arena_done(&a);
    mem_free(t);
}

static int sweep(struct store *s, struct err *err);

static int check_changes(const struct revision_change *changes, size_t count, struct err *err)
{
    struct arena a;
    struct map seen;
    int rc = 0;

    arena_init(&a);
    map_init(&seen);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        const struct revision_change *c = &changes[i];

        if (c->kind.n == 0 || c->name.n == 0)
            rc = err_set(err, ERR_INVALID, "an object needs a kind and a name");
        else if (map_put(&seen, revision_key(&a, c->kind, c->ns, c->name), &seen))
            rc = err_set(err, ERR_INVALID, "%.*s %.*s/%.*s is given twice: leave one out",
                         STR_ARG(c->kind), STR_ARG(c->ns), STR_ARG(c->name));
    }
    map_done(&seen);
    arena_done(&a);
    return rc;
}

static int check_expected(struct revisions *r, int64_t expect_revision, struct err *err)
{
    if (r->stale && load_head(r, err))
        return -1;
    if (expect_revision < 0 || expect_revision == r->head.revision)
        return 0;
    return err_set(err, ERR_CONFLICT,
                   "the configuration is at revision %lld, not at %lld as expected: look at what "
                   "changed, then retry",
                   (long long)r->head.revision, (long long)expect_revision);
}

static int commit_changes(struct commit *k, struct err *err)
{
    struct store_txn *t = MEM_NEW(struct store_txn);
    struct writer w = {k->r->store, t};
    int rc = -1;

    store_txn_init(t);
    k->objects = ARENA_ARRAY(&k->arena, k->count, struct object);
    text_ulid(text_wall_ms(), k->txid);
    k->revision = k->r->head.revision + 1;
    if (write_objects(k, &w, err) == 0 && write_pages(k, &w, err) == 0 && flush(&w, err) == 0) {
        k->r->pending = k;
        rc = write_head(k, t, err);
        if (rc == 0 && k->r->pending) /* called from a watcher: ours is called later */
            become_head(k, store_seq(k->r->store));
        k->r->pending = NULL;
    }
    store_txn_done(t);
    mem_free(t);
    if (rc)
        discard(k->r, k->txid);
    return rc;
}

static int commit_any(struct revisions *r, const struct revision_change *changes, size_t count,
                      int64_t expect_revision, const struct ledger_audit *audit, int64_t *revision,
                      enum revision_result *results, struct err *err)
{
    enum revision_result *judged;
    struct commit *k;
    int rc = 0;

    if (check_changes(changes, count, err) || check_expected(r, expect_revision, err))
        return -1;
    if (r->littered && sweep(r->store, err))
        return -1;
    r->littered = false;
    k = MEM_NEW(struct commit);
    arena_init(&k->arena);
    judged = ARENA_ARRAY(&k->arena, count + 1, enum revision_result);
    k->revision = r->head.revision;
    if (revision_preview(r, changes, count, judged)) {
        k->r = r;
        k->changes = changes;
        k->results = judged;
        k->count = count;
        k->audit = audit;
        rc = commit_changes(k, err);
    }
    if (rc == 0) {
        *revision = k->revision;
        if (results && count)
            memcpy(results, judged, count * sizeof(*judged));
    }
    arena_done(&k->arena);
    mem_free(k);
    return rc;
}

int revision_commit(struct revisions *r, const struct revision_change *changes, size_t count,
                    int64_t expect_revision, const struct ledger_audit *audit, int64_t *revision,
                    enum revision_result *results, struct err *err)
{
    size_t sources = 0, objects = 0;

    if (count > LIMIT_APPLY_DOCUMENTS)
        return err_set(err, ERR_LIMIT, "at most %u documents in one commit, not %zu",
                       LIMIT_APPLY_DOCUMENTS, count);
    for (size_t i = 0; i < count; i++) {
        sources += changes[i].source.n;
        objects += changes[i].deleted ? 0 : changes[i].object.n;
    }
    if (sources > LIMIT_APPLY_BYTES || objects > LIMIT_APPLY_BYTES)
        return err_set(err, ERR_LIMIT, "at most %u bytes in one commit, not %zu", LIMIT_APPLY_BYTES,
                       MAX(sources, objects));
    return commit_any(r, changes, count, expect_revision, audit, revision, results, err);
}

/* ------------------------------------------------------------------ history */

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

    if (read_manifest(r->store, revision, a, &m, err))
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
        rc = read_manifest(r->store, revision, &scratch, &manifest, err);
    if (rc == 0 && revision != 0)
        rc = each_object(r->store, manifest, into_list, &g, err);
    if (rc == 0) {
        *out = ARENA_ARRAY(a, g.count + 1, struct revision_object);
        if (g.count) {
            memcpy(*out, g.list, g.count * sizeof(*g.list));
            qsort(*out, g.count, sizeof(**out), compare_objects);
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
    rc = store_get(r->store, obj_key(&scratch, o->ref), &scratch, &kv, err);
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
        rc = read_record(r->store, &find, &scratch, &text, err);
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

    if (check_expected(r, expect_revision, err))
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
            rc = commit_any(r, changes, n, expect_revision, audit, revision, NULL, err);
    }
    map_done(&wanted);
    arena_done(&a);
    return rc;
}

/* ----------------------------------------------------------------- cleaning */

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
        txid = key_part(row[0].key, OBJ, 1);
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

static int sweep(struct store *s, struct err *err)
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
        if (revision_row_get(s, obj_key(&a, p->text), &a, &text, err) ||
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
        rc = delete_others(s, rows, n, OBJ, 1, &none, err);
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
        if (map_get(live, key_part(rows[i].key, OBJ, 2)))
            map_put(&left, key_part(rows[i].key, OBJ, 1), &left);
    }
    if (rc == 0)
        rc = delete_others(s, rows, n, OBJ, 2, live, err);
    if (rc == 0)
        rc = store_list(s, &marks, a, &rows, &n, NULL, err);
    if (rc == 0)
        rc = delete_others(s, rows, n, TX, 1, &left, err);
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

/* ----------------------------------------------------------------- the rest */

struct revisions *revision_open(struct store *store, struct err *err)
{
    struct revisions *r = MEM_NEW(struct revisions);

    r->store = store;
    map_init(&r->head.objects);
    r->littered = sweep(store, err) != 0; /* a full disk is no reason to stand still */
    if ((r->littered && err->code != ERR_FULL) || load_head(r, err)) {
        revision_close(r);
        return NULL;
    }
    r->watch = store_watch_open(store, STR(REVISION_HEAD_KEY), 0, on_head, r, err);
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
