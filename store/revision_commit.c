/* A commit: records and pages first, in as many transactions as they need; then one transaction
 * makes it so. */
#include "store/revision_parts.h"

#include <stdio.h>
#include <string.h>

#include "mesh/base/text.h"

#define BATCH_BYTES (1u << 20)
#define RECORD_BYTES (900u << 10) /* a larger record is cut into parts */
/* At most doubled by escaping: a record has no raw control bytes. */
#define PART_BYTES (400u << 10)

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
        rc = write_key(w, revision_obj_key(&a, o->seen.ref), buf_str(&b), err);
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
    const struct object *o = revision_find_object(r, c->kind, c->ns, c->name);

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
        const struct object *old = revision_find_object(k->r, c->kind, c->ns, c->name);
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
    return write_key(w, revision_obj_key(&k->arena, ref), buf_str(b), err);
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
        k->objects[i].page = revision_page_of(key);
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
            revision_put_object(&r->head, &k->objects[i]);
        else if (k->results[i] == REVISION_DELETED)
            mem_free(map_del(&r->head.objects, revision_key(&k->arena, c->kind, c->ns, c->name)));
    }
    r->head.revision = k->revision;
    r->head_seq = seq;
    memcpy(r->pages, k->pages, sizeof(r->pages));
}

void revision_on_head(void *arg, const struct store_event *events, size_t count, int64_t seq)
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
    } else if (revision_load_head(r, &ignored)) {
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

int revision_check_expected(struct revisions *r, int64_t expect_revision, struct err *err)
{
    if (r->stale && revision_load_head(r, err))
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

int revision_commit_any(struct revisions *r, const struct revision_change *changes, size_t count,
                        int64_t expect_revision, const struct ledger_audit *audit,
                        int64_t *revision, enum revision_result *results, struct err *err)
{
    enum revision_result *judged;
    struct commit *k;
    int rc = 0;

    if (check_changes(changes, count, err) || revision_check_expected(r, expect_revision, err))
        return -1;
    if (r->littered && revision_sweep(r->store, err))
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
    return revision_commit_any(r, changes, count, expect_revision, audit, revision, results, err);
}
