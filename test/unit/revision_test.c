#include "store/revision.h"

#include <signal.h>
#include <sys/wait.h>

#include "store/ledger.h"
#include "test/unit/store_world.h"

static const struct ledger_audit by_alice = {.now_ms = 1767225600000,
                                             .actor = STR_INIT("uid 1000 (alice)"),
                                             .source = STR_INIT("local"),
                                             .action = STR_INIT("apply"),
                                             .message = STR_INIT("why not")};

static struct revision_change change(const char *name, const char *object)
{
    return (struct revision_change){.kind = STR("VirtualService"),
                                    .ns = STR("shop"),
                                    .name = str_from(name),
                                    .object = str_from(object),
                                    .source = STR("# a comment\nkind: VirtualService\n"),
                                    .file = STR("shop.yaml"),
                                    .line = 12};
}

static struct revision_change removal(const char *name)
{
    struct revision_change c = change(name, "");

    c.deleted = true;
    return c;
}

static struct revisions *open_revisions(struct world *w)
{
    struct revisions *r = revision_open(w->store, &w->err);

    test_ok(r ? 0 : -1, &w->err, __FILE__, __LINE__);
    return r;
}

static int64_t commit(struct world *w, struct revisions *r, struct revision_change c,
                      enum revision_result *result)
{
    int64_t revision = -1;

    test_ok(revision_commit(r, &c, 1, -1, &by_alice, &revision, result, &w->err), &w->err, __FILE__,
            __LINE__);
    return revision;
}

static const struct revision_object *get(struct revisions *r, const char *name)
{
    return revision_get(r, STR("VirtualService"), STR("shop"), str_from(name));
}

TEST(a_commit_makes_one_revision_and_keeps_the_time_of_making)
{
    struct world w = world_open();
    struct revisions *r = open_revisions(&w);
    struct ledger_audit later = by_alice;
    struct revision_change both[2] = {change("web", "{\"a\":1}"), change("api", "{\"a\":2}")};
    enum revision_result results[2];
    int64_t revision;

    CHECK_INT(revision_current(r), 0);
    OK(revision_commit(r, both, 2, 0, &by_alice, &revision, results, &w.err));
    CHECK_INT(revision, 1);
    CHECK_INT(results[0], REVISION_CREATED);
    CHECK_INT(results[1], REVISION_CREATED);
    both[0] = change("web", "{\"a\":3}");
    later.now_ms += 5000;
    OK(revision_commit(r, both, 2, 1, &later, &revision, results, &w.err));
    CHECK_INT(revision, 2);
    CHECK_INT(results[0], REVISION_CHANGED);
    CHECK_INT(results[1], REVISION_UNCHANGED);
    CHECK_STR(get(r, "web")->object, "{\"a\":3}");
    CHECK_INT(get(r, "web")->revision, 2);
    CHECK_INT(get(r, "web")->created_ms, by_alice.now_ms);
    CHECK_INT(get(r, "web")->line, 12);
    CHECK_STR(get(r, "web")->file, "shop.yaml");
    CHECK_INT(get(r, "api")->revision, 1);
    revision_close(r);
    world_close(&w);
}

TEST(the_same_again_makes_no_revision_and_no_audit_row)
{
    struct world w = world_open();
    struct revisions *r = open_revisions(&w);
    enum revision_result result;
    int64_t seq;

    commit(&w, r, change("web", "{\"a\":1}"), &result);
    seq = store_seq(w.store);
    CHECK_INT(commit(&w, r, change("web", "{\"a\":1}"), &result), 1);
    CHECK_INT(result, REVISION_UNCHANGED);
    CHECK_INT(commit(&w, r, removal("nothing"), &result), 1);
    CHECK_INT(result, REVISION_ABSENT);
    CHECK_INT(store_seq(w.store), seq);
    CHECK_INT(world_count(&w, "/audit/"), 1);
    revision_close(r);
    world_close(&w);
}

TEST(what_is_deleted_and_made_again_is_new)
{
    struct world w = world_open();
    struct revisions *r = open_revisions(&w);
    struct revision_change c = change("web", "{\"a\":1}");
    struct ledger_audit later = by_alice;
    enum revision_result result;
    int64_t revision;

    commit(&w, r, c, &result);
    CHECK_INT(commit(&w, r, removal("web"), &result), 2);
    CHECK_INT(result, REVISION_DELETED);
    CHECK(!get(r, "web"));
    later.now_ms += 1000;
    OK(revision_commit(r, &c, 1, -1, &later, &revision, &result, &w.err));
    CHECK_INT(result, REVISION_CREATED);
    CHECK_INT(get(r, "web")->created_ms, later.now_ms);
    revision_close(r);
    world_close(&w);
}

TEST(an_unexpected_revision_is_refused)
{
    struct world w = world_open();
    struct revisions *r = open_revisions(&w);
    struct revision_change c = change("web", "{\"a\":2}");
    enum revision_result result;
    int64_t revision = 77;

    commit(&w, r, change("web", "{\"a\":1}"), &result);
    FAILS(revision_commit(r, &c, 1, 0, &by_alice, &revision, &result, &w.err), ERR_CONFLICT,
          "at revision 1, not at 0");
    CHECK_INT(revision, 77);
    CHECK_STR(get(r, "web")->object, "{\"a\":1}");
    revision_close(r);
    world_close(&w);
}

TEST(the_same_object_twice_is_refused)
{
    struct world w = world_open();
    struct revisions *r = open_revisions(&w);
    struct revision_change twice[2] = {change("web", "{\"a\":1}"), change("web", "{\"a\":2}")};
    int64_t revision;

    FAILS(revision_commit(r, twice, 2, -1, &by_alice, &revision, NULL, &w.err), ERR_INVALID,
          "given twice");
    CHECK_INT(revision_current(r), 0);
    CHECK_INT(store_seq(w.store), 0);
    revision_close(r);
    world_close(&w);
}

TEST(everything_is_there_after_opening_again)
{
    struct world w = world_open();
    struct revisions *r = open_revisions(&w);
    const struct revision_object **list;
    enum revision_result result;
    struct str source;

    commit(&w, r, change("web", "{\"a\":\"\\u0001 \xc3\xa4\"}"), &result);
    commit(&w, r, change("api", "{}"), &result);
    revision_close(r);
    store_close(w.store);
    w.store = store_open(w.path, &w.err);
    CHECK(w.store);
    r = open_revisions(&w);
    CHECK_INT(revision_current(r), 2);
    CHECK_STR(get(r, "web")->object, "{\"a\":\"\\u0001 \xc3\xa4\"}");
    CHECK_INT(get(r, "web")->revision, 1);
    CHECK_INT(get(r, "web")->created_ms, by_alice.now_ms);
    OK(revision_source(r, get(r, "web"), &w.arena, &source, &w.err));
    CHECK_STR(source, "# a comment\nkind: VirtualService\n");
    CHECK_INT(revision_list(r, STR(""), STR("shop"), &w.arena, &list), 2);
    CHECK_STR(list[0]->name, "api");
    CHECK_INT(revision_list(r, STR("Gateway"), STR(""), &w.arena, &list), 0);
    revision_close(r);
    world_close(&w);
}

TEST(history_tells_who_and_why_and_an_old_revision_comes_back)
{
    struct world w = world_open();
    struct revisions *r = open_revisions(&w);
    struct revision_entry *history, entry;
    struct revision_object *then;
    enum revision_result result;
    int64_t revision;
    struct str source;
    size_t n;

    commit(&w, r, change("web", "{\"a\":1}"), &result);
    commit(&w, r, change("api", "{\"a\":1}"), &result);
    commit(&w, r, change("web", "{\"a\":2}"), &result);
    commit(&w, r, removal("api"), &result);
    OK(revision_history(r, 0, 3, &w.arena, &history, &n, &w.err));
    CHECK_INT(n, 3);
    CHECK_INT(history[0].revision, 4);
    CHECK_INT(history[0].deleted, 1);
    CHECK_INT(history[0].objects, 1);
    CHECK_STR(history[0].who, "uid 1000 (alice)");
    CHECK_STR(history[0].message, "why not");
    OK(revision_history(r, 3, 10, &w.arena, &history, &n, &w.err));
    CHECK_INT(n, 2);
    CHECK_INT(history[0].revision, 2);
    OK(revision_at(r, 2, &w.arena, &then, &n, &w.err));
    CHECK_INT(n, 2);
    CHECK_STR(then[0].name, "api");
    CHECK_STR(then[1].object, "{\"a\":1}");
    FAILS(revision_at(r, 9, &w.arena, &then, &n, &w.err), ERR_MISSING, "revision 9 is not there");
    OK(revision_revert(r, 2, 4, &by_alice, &revision, &w.err));
    CHECK_INT(revision, 5);
    CHECK_STR(get(r, "web")->object, "{\"a\":1}");
    CHECK_STR(get(r, "api")->object, "{\"a\":1}");
    OK(revision_source(r, get(r, "api"), &w.arena, &source, &w.err));
    CHECK_STR(source, "# a comment\nkind: VirtualService\n");
    OK(revision_find(r, 5, &w.arena, &entry, &w.err));
    CHECK_INT(entry.created, 1);
    CHECK_INT(entry.changed, 1);
    OK(revision_revert(r, 0, -1, &by_alice, &revision, &w.err));
    CHECK_INT(revision_head(r)->objects.count, 0);
    revision_close(r);
    world_close(&w);
}

TEST(every_commit_has_its_audit_row)
{
    struct world w = world_open();
    struct revisions *r = open_revisions(&w);
    enum revision_result result;
    struct ledger_row *rows;
    int64_t verified;
    size_t n;

    commit(&w, r, change("web", "{\"a\":1}"), &result);
    commit(&w, r, change("web", "{\"a\":2}"), &result);
    OK(ledger_audit_list(w.store, 0, 10, &w.arena, &rows, &n, &w.err));
    CHECK_INT(n, 2);
    CHECK_INT(rows[0].audit.revision_before, 1);
    CHECK_INT(rows[0].audit.revision, 2);
    CHECK_STR(rows[0].audit.actor, "uid 1000 (alice)");
    OK(ledger_audit_verify(w.store, &verified, &w.err));
    CHECK_INT(verified, 2);
    revision_close(r);
    world_close(&w);
}

struct head_seen {
    struct revisions *revisions;
    int64_t revision;
    struct str object;
};

static void on_head(void *arg, const struct store_event *events, size_t count, int64_t seq)
{
    struct head_seen *h = arg;

    (void)events;
    (void)count;
    (void)seq;
    h->revision = revision_current(h->revisions);
    h->object = get(h->revisions, "web")->object;
}

TEST(a_watcher_of_the_head_sees_the_new_one_in_memory)
{
    struct world w = world_open();
    struct revisions *r = open_revisions(&w);
    struct head_seen h = {.revisions = r};
    enum revision_result result;

    CHECK(store_watch_open(w.store, STR(REVISION_HEAD_KEY), 0, on_head, &h, &w.err));
    commit(&w, r, change("web", "{\"a\":1}"), &result);
    CHECK_INT(h.revision, 1);
    CHECK_STR(h.object, "{\"a\":1}");
    revision_close(r);
    world_close(&w);
}

/* As with two servers on one store: the second sees what the first did, and its own commit follows.
 */
TEST(a_commit_by_somebody_else_is_seen)
{
    struct world w = world_open();
    struct revisions *one = open_revisions(&w), *two = open_revisions(&w);
    enum revision_result result;

    commit(&w, one, change("web", "{\"a\":1}"), &result);
    CHECK_INT(revision_current(two), 1);
    CHECK_STR(get(two, "web")->object, "{\"a\":1}");
    CHECK_INT(commit(&w, two, change("api", "{}"), &result), 2);
    CHECK_INT(revision_current(one), 2);
    CHECK(get(one, "api"));
    revision_close(one);
    revision_close(two);
    world_close(&w);
}

TEST(twenty_thousand_documents_are_one_commit)
{
    enum { N = 20000 };
    struct world w = world_open();
    struct revisions *r = open_revisions(&w);
    struct revision_change *changes = calloc(N + 1, sizeof(*changes));
    enum revision_result result;
    struct revision_object *then;
    int64_t revision;
    size_t n, keys;

    for (size_t i = 0; i < N; i++)
        changes[i] = change(arena_printf(&w.arena, "vs-%zu", i).p,
                            arena_printf(&w.arena, "{\"n\":%zu}", i).p);
    OK(revision_commit(r, changes, N, -1, &by_alice, &revision, NULL, &w.err));
    CHECK_INT(revision, 1);
    keys = world_count(&w, "/obj/");
    commit(&w, r, change("vs-77", "{\"n\":0}"), &result); /* rewrites one page, not all */
    CHECK_INT(world_count(&w, "/obj/"), keys + 2);
    revision_close(r);
    r = open_revisions(&w);
    CHECK_INT(revision_head(r)->objects.count, N);
    CHECK_STR(get(r, "vs-77")->object, "{\"n\":0}");
    CHECK_STR(get(r, "vs-19999")->object, "{\"n\":19999}");
    OK(revision_at(r, 1, &w.arena, &then, &n, &w.err));
    CHECK_INT(n, N);
    FAILS(revision_commit(r, changes, N + 1, -1, &by_alice, &revision, NULL, &w.err), ERR_LIMIT,
          "at most 20000");
    free(changes);
    revision_close(r);
    world_close(&w);
}

/* Larger than any transaction: cut into parts, never within a character. */
TEST(an_object_of_ten_megabytes_comes_back_byte_for_byte)
{
    enum { SIZE = 10 << 20 };
    struct world w = world_open();
    struct revisions *r = open_revisions(&w);
    char *text = malloc(SIZE + 1), *object = malloc(SIZE + 16);
    struct revision_change c = change("web", "");
    struct str source;
    int64_t revision;

    for (size_t i = 0; i < SIZE; i++) /* three-byte characters, so that cuts fall within some */
        text[i] = "\xe2\x82\xac"[i % 3];
    text[SIZE - SIZE % 3] = '\0';
    memset(text + 6, 'x', 3);
    snprintf(object, SIZE + 16, "{\"a\":\"%s\"}", text);
    c.object = str_from(object);
    c.source = str_from(text);
    OK(revision_commit(r, &c, 1, -1, &by_alice, &revision, NULL, &w.err));
    revision_close(r);
    r = open_revisions(&w);
    CHECK(str_eq(get(r, "web")->object, c.object));
    OK(revision_source(r, get(r, "web"), &w.arena, &source, &w.err));
    CHECK(str_eq(source, c.source));
    free(text);
    free(object);
    revision_close(r);
    world_close(&w);
}

TEST(more_than_the_limit_is_refused)
{
    struct world w = world_open();
    struct revisions *r = open_revisions(&w);
    struct revision_change c = change("web", "{}");
    size_t n = (64u << 20) + 1;
    char *text = malloc(n);
    int64_t revision;

    memset(text, 'x', n);
    c.source = (struct str){text, n};
    FAILS(revision_commit(r, &c, 1, -1, &by_alice, &revision, NULL, &w.err), ERR_LIMIT,
          "at most 67108864 bytes");
    CHECK_INT(store_seq(w.store), 0);
    free(text);
    revision_close(r);
    world_close(&w);
}

TEST(a_full_disk_changes_nothing)
{
    struct world w = world_open();
    struct revisions *r = open_revisions(&w);
    char *text = malloc((4 << 20) + 1);
    struct revision_change c = change("web", "{\"a\":2}");
    enum revision_result result;
    int64_t revision, verified;

    memset(text, 'x', 4 << 20);
    text[4 << 20] = '\0';
    commit(&w, r, change("web", "{\"a\":1}"), &result);
    OK(store_limit_bytes(w.store, 2 << 20, &w.err));
    c.source = str_from(text);
    FAILS(revision_commit(r, &c, 1, -1, &by_alice, &revision, NULL, &w.err), ERR_FULL, "no room");
    CHECK_INT(revision_current(r), 1);
    CHECK_STR(get(r, "web")->object, "{\"a\":1}");
    OK(store_limit_bytes(w.store, 0, &w.err));
    revision_close(r);
    r = open_revisions(&w); /* sweeps what was left, if anything */
    CHECK_INT(world_count(&w, "/obj/"), 2);
    OK(revision_commit(r, &c, 1, 1, &by_alice, &revision, NULL, &w.err));
    CHECK_INT(revision, 2);
    OK(ledger_audit_verify(w.store, &verified, &w.err));
    CHECK_INT(verified, 2);
    free(text);
    revision_close(r);
    world_close(&w);
}

TEST(orphans_of_a_commit_that_never_happened_are_swept)
{
    struct world w = world_open();
    struct revisions *r = open_revisions(&w);
    enum revision_result result;

    commit(&w, r, change("web", "{\"a\":1}"), &result);
    world_put(&w, "/obj/00000000000000000000000000/0", "{}");
    world_put(&w, "/obj/7ZZZZZZZZZZZZZZZZZZZZZZZZZ/0", "{}");
    world_put(&w, "/obj/7ZZZZZZZZZZZZZZZZZZZZZZZZZ/p00", "{}");
    CHECK_INT(world_count(&w, "/obj/"), 5);
    revision_close(r);
    r = open_revisions(&w);
    CHECK_INT(world_count(&w, "/obj/"), 2);
    CHECK_STR(get(r, "web")->object, "{\"a\":1}");
    revision_close(r);
    world_close(&w);
}

TEST(trimming_keeps_what_the_kept_revisions_reach)
{
    struct world w = world_open();
    struct revisions *r = open_revisions(&w);
    struct revision_object *then;
    enum revision_result result;
    char object[32];
    size_t n;

    commit(&w, r, change("old", "{\"a\":\"old\"}"), &result);
    for (int i = 0; i < 10; i++) {
        snprintf(object, sizeof(object), "{\"a\":%d}", i);
        commit(&w, r, change("web", object), &result);
    }
    OK(revision_trim(r, 2, &w.err));
    CHECK_INT(world_count(&w, "/rev/"), 2);
    CHECK_INT(world_count(&w, "/obj/"), 6); /* old and its page, web and its page, twice */
    CHECK_INT(world_count(&w, "/tx/"), 3);
    revision_close(r);
    r = open_revisions(&w);
    CHECK_STR(get(r, "old")->object, "{\"a\":\"old\"}");
    OK(revision_at(r, 10, &w.arena, &then, &n, &w.err));
    CHECK_INT(n, 2);
    CHECK_STR(then[1].object, "{\"a\":8}");
    FAILS(revision_at(r, 9, &w.arena, &then, &n, &w.err), ERR_MISSING, "revision 9");
    revision_close(r);
    world_close(&w);
}

/* -------------------------------------------------------------------- kill -9 */

enum { OBJECTS = 130, ROUNDS = 30 }; /* more than one batch holds */

/* Commit for ever; every acknowledged revision is told through the pipe. Never returns. */
static void commit_for_ever(const char *path, int out)
{
    struct err err;
    struct store *s = store_open(path, &err);
    struct revisions *r = s ? revision_open(s, &err) : NULL;
    struct revision_change changes[OBJECTS];
    char names[OBJECTS][16], object[48];
    int64_t revision;

    if (!r)
        _exit(2);
    for (size_t i = 0; i < OBJECTS; i++)
        snprintf(names[i], sizeof(names[i]), "vs-%zu", i);
    for (;;) {
        snprintf(object, sizeof(object), "{\"generation\":%lld}",
                 (long long)revision_current(r) + 1);
        for (size_t i = 0; i < OBJECTS; i++)
            changes[i] = change(names[i], object);
        if (revision_commit(r, changes, OBJECTS, -1, &by_alice, &revision, NULL, &err))
            _exit(3);
        if (write(out, &revision, sizeof(revision)) != (ssize_t)sizeof(revision))
            _exit(4);
    }
}

/* Let a child commit for a while, kill it, and give the last revision it acknowledged. */
static int64_t kill_one(struct world *w, unsigned delay_us)
{
    int64_t told, last = -1;
    int ends[2], status;
    pid_t child;

    CHECK_INT(pipe(ends), 0);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        close(ends[0]);
        commit_for_ever(w->path, ends[1]);
    }
    close(ends[1]);
    CHECK_INT(read(ends[0], &last, sizeof(last)), sizeof(last)); /* it is under way */
    usleep(delay_us); /* the moment of death is what this test varies */
    kill(child, SIGKILL);
    while (read(ends[0], &told, sizeof(told)) == (ssize_t)sizeof(told))
        last = told;
    close(ends[0]);
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status));
    return last;
}

/* Every object of the head belongs to one generation, the head's own. */
static void check_whole(struct world *w, struct revisions *r)
{
    const struct revision_object **list;
    struct revision_entry *history;
    char object[32];
    size_t n, entries;

    snprintf(object, sizeof(object), "{\"generation\":%lld}", (long long)revision_current(r));
    n = revision_list(r, STR(""), STR(""), &w->arena, &list);
    CHECK_INT(n, OBJECTS);
    for (size_t i = 0; i < n; i++)
        CHECK_STR(list[i]->object, object);
    test_ok(revision_history(r, 0, 0, &w->arena, &history, &entries, &w->err), &w->err, __FILE__,
            __LINE__);
    CHECK_INT(entries, revision_current(r));
    CHECK_INT(world_count(w, "/tx/"), entries);
    /* Every commit wrote as many records and pages; a remainder would be an orphan. */
    CHECK_INT(world_count(w, "/obj/") % entries, 0);
}

TEST(kill_9_loses_no_acknowledged_revision_and_leaves_none_half_done)
{
    struct world w = world_open();
    int64_t verified;

    store_close(w.store);
    for (unsigned i = 0; i < ROUNDS; i++) {
        int64_t acknowledged = kill_one(&w, i * 977 % 20000);
        struct revisions *r;

        w.store = store_open(w.path, &w.err);
        OK(w.store ? 0 : -1);
        r = open_revisions(&w);
        CHECK(revision_current(r) >= acknowledged);
        CHECK(revision_current(r) <= acknowledged + 1); /* done, but not told any more */
        check_whole(&w, r);
        OK(ledger_audit_verify(w.store, &verified, &w.err));
        CHECK_INT(verified, revision_current(r));
        revision_close(r);
        store_close(w.store);
        w.store = NULL;
        arena_done(&w.arena);
    }
    world_close(&w);
}
