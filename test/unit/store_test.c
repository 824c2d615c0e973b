/* The store's face, as any engine must keep it, and what is SQLite's own below. */
#include "test/unit/store_world.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "mesh/base/file.h"
#include "store/migrate.h"

static struct store_result commit(struct world *w, struct store_txn *t)
{
    struct store_result result = {0};
    int rc = store_commit(w->store, t, &result, &w->err);

    store_txn_done(t);
    test_ok(rc, &w->err, __FILE__, __LINE__);
    return result;
}

TEST(a_key_counts_its_versions_and_remembers_its_making)
{
    struct world w = world_open();
    struct store_kv kv;

    CHECK_INT(store_seq(w.store), 0);
    CHECK_INT(world_put(&w, "/a", "{\"n\":1}"), 1);
    CHECK_INT(world_put(&w, "/b", "{}"), 2);
    CHECK_INT(world_put(&w, "/a", "{\"n\":2}"), 3);
    kv = world_get(&w, "/a");
    CHECK_STR(kv.value, "{\"n\":2}");
    CHECK_INT(kv.create_seq, 1);
    CHECK_INT(kv.mod_seq, 3);
    CHECK_INT(kv.version, 2);
    kv = world_get(&w, "/absent");
    CHECK_INT(kv.mod_seq, 0);
    world_close(&w);
}

TEST(a_key_made_again_starts_at_version_one)
{
    struct world w = world_open();
    struct store_txn t;
    struct store_kv kv;

    world_put(&w, "/a", "1");
    store_txn_init(&t);
    store_txn_delete(&t, STR("/a"));
    CHECK_INT(commit(&w, &t).seq, 2);
    CHECK_INT(world_get(&w, "/a").mod_seq, 0);
    world_put(&w, "/a", "2");
    kv = world_get(&w, "/a");
    CHECK_INT(kv.create_seq, 3);
    CHECK_INT(kv.version, 1);
    world_close(&w);
}

TEST(every_operation_of_a_transaction_has_one_seq)
{
    struct world w = world_open();
    struct store_txn t;

    world_put(&w, "/old", "1");
    store_txn_init(&t);
    store_txn_put(&t, STR("/a"), STR("1"));
    store_txn_put(&t, STR("/b"), STR("2"));
    store_txn_delete(&t, STR("/old"));
    CHECK_INT(commit(&w, &t).seq, 2);
    CHECK_INT(world_get(&w, "/a").mod_seq, 2);
    CHECK_INT(world_get(&w, "/b").mod_seq, 2);
    CHECK_INT(world_get(&w, "/old").mod_seq, 0);
    world_close(&w);
}

TEST(a_compare_that_does_not_hold_changes_nothing)
{
    static const struct {
        enum store_test test;
        const char *key, *value;
        int64_t mod_seq;
        bool holds;
    } rows[] = {
        {STORE_EXISTS,  "/a",  "",    0, true },
        {STORE_EXISTS,  "/no", "",    0, false},
        {STORE_ABSENT,  "/no", "",    0, true },
        {STORE_ABSENT,  "/a",  "",    0, false},
        {STORE_MOD_SEQ, "/a",  "",    1, true },
        {STORE_MOD_SEQ, "/a",  "",    2, false},
        {STORE_MOD_SEQ, "/no", "",    0, true },
        {STORE_MOD_SEQ, "/no", "",    1, false},
        {STORE_VALUE,   "/a",  "one", 0, true },
        {STORE_VALUE,   "/a",  "two", 0, false},
        {STORE_VALUE,   "/no", "",    0, false},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        struct world w = world_open();
        struct store_result result;
        struct store_txn t;

        world_put(&w, "/a", "one");
        store_txn_init(&t);
        store_txn_if(&t, STORE_EXISTS, STR("/a"));
        if (rows[i].test == STORE_MOD_SEQ)
            store_txn_if_seq(&t, str_from(rows[i].key), rows[i].mod_seq);
        else if (rows[i].test == STORE_VALUE)
            store_txn_if_value(&t, str_from(rows[i].key), str_from(rows[i].value));
        else
            store_txn_if(&t, rows[i].test, str_from(rows[i].key));
        store_txn_put(&t, STR("/b"), STR("1"));
        result = commit(&w, &t);
        CHECK_INT(result.succeeded, rows[i].holds);
        CHECK_INT(result.seq, rows[i].holds ? 2 : 1);
        CHECK_INT(result.failed, rows[i].holds ? 0 : 1);
        CHECK_INT(world_get(&w, "/b").mod_seq, rows[i].holds ? 2 : 0);
        world_close(&w);
    }
}

TEST(deleting_what_is_not_there_takes_no_seq)
{
    struct world w = world_open();
    struct store_txn t;

    world_put(&w, "/a", "1");
    store_txn_init(&t);
    store_txn_delete(&t, STR("/no"));
    store_txn_delete_prefix(&t, STR("/none/"));
    CHECK_INT(commit(&w, &t).seq, 1);
    CHECK_INT(store_seq(w.store), 1);
    world_close(&w);
}

TEST(transactions_keep_to_the_limits_of_etcd)
{
    struct world w = world_open();
    struct store_result result;
    struct store_txn *t = calloc(1, sizeof(*t));
    char *big = malloc(STORE_TXN_BYTES);
    char key[32];

    memset(big, ' ', STORE_TXN_BYTES);
    store_txn_init(t);
    for (unsigned i = 0; i < STORE_TXN_OPS; i++) {
        snprintf(key, sizeof(key), "/k/%u", i);
        store_txn_put(t, str_from(key), STR("1"));
    }
    OK(store_commit(w.store, t, &result, &w.err));
    store_txn_put(t, STR("/one/more"), STR("1"));
    FAILS(store_commit(w.store, t, &result, &w.err), ERR_LIMIT, "at most 128");
    store_txn_clear(t);
    store_txn_put(t, STR("/big"), (struct str){big, STORE_TXN_BYTES - 4});
    OK(store_commit(w.store, t, &result, &w.err));
    store_txn_clear(t);
    store_txn_put(t, STR("/big"), (struct str){big, STORE_TXN_BYTES - 3});
    FAILS(store_commit(w.store, t, &result, &w.err), ERR_LIMIT, "bytes");
    store_txn_done(t);
    free(t);
    free(big);
    world_close(&w);
}

TEST(a_key_is_written_only_once_in_a_transaction)
{
    struct world w = world_open();
    struct store_result result;
    struct store_txn t;

    store_txn_init(&t);
    store_txn_put(&t, STR("/a"), STR("1"));
    store_txn_delete(&t, STR("/a"));
    FAILS(store_commit(w.store, &t, &result, &w.err), ERR_INVALID, "twice");
    store_txn_clear(&t);
    store_txn_put(&t, STR("/a/b"), STR("1"));
    store_txn_delete_prefix(&t, STR("/a/"));
    FAILS(store_commit(w.store, &t, &result, &w.err), ERR_INVALID, "twice");
    store_txn_clear(&t);
    store_txn_put(&t, STR(""), STR("1"));
    FAILS(store_commit(w.store, &t, &result, &w.err), ERR_INVALID, "1 to 1024 bytes");
    store_txn_done(&t);
    CHECK_INT(store_seq(w.store), 0);
    world_close(&w);
}

TEST(lists_are_in_bytewise_order_and_stay_within_the_prefix)
{
    struct world w = world_open();
    struct store_range range = {.prefix = STR("/a/")};
    struct store_kv *rows;
    bool more;
    size_t n;

    world_put(&w, "/a/2", "2");
    world_put(&w, "/a", "no");
    world_put(&w, "/b/1", "no");
    world_put(&w, "/a/10", "10");
    world_put(&w, "/a/\xff", "last");
    world_put(&w, "/a/1", "1");
    OK(store_list(w.store, &range, &w.arena, &rows, &n, &more, &w.err));
    CHECK_INT(n, 4);
    CHECK(!more);
    CHECK_STR(rows[0].key, "/a/1");
    CHECK_STR(rows[1].key, "/a/10");
    CHECK_STR(rows[2].value, "2");
    CHECK_STR(rows[3].value, "last");
    range.limit = 2;
    OK(store_list(w.store, &range, &w.arena, &rows, &n, &more, &w.err));
    CHECK_INT(n, 2);
    CHECK(more);
    range.after = rows[1].key;
    range.keys_only = true;
    OK(store_list(w.store, &range, &w.arena, &rows, &n, &more, &w.err));
    CHECK_INT(n, 2);
    CHECK(!more);
    CHECK_STR(rows[0].key, "/a/2");
    CHECK_STR(rows[0].value, "");
    range = (struct store_range){.prefix = STR("/a/"), .after = STR("/a/2"), .descending = true};
    OK(store_list(w.store, &range, &w.arena, &rows, &n, &more, &w.err));
    CHECK_INT(n, 2);
    CHECK_STR(rows[0].key, "/a/10");
    range = (struct store_range){.prefix = STR("")};
    OK(store_list(w.store, &range, &w.arena, &rows, &n, &more, &w.err));
    CHECK_INT(n, 6);
    world_close(&w);
}

/* ----------------------------------------------------------------- watching */

/* What a watcher was told, as text: "3:+/a=1 -/b|" per transaction. */
struct ear {
    struct world *w;
    struct buf heard;
    struct store_watch *watch;
    int depth, deepest;
    int echoes; /* commits to make from within the callback */
    bool close; /* itself, on the first call */
};

static void on_event(void *arg, const struct store_event *events, size_t count, int64_t seq)
{
    struct ear *e = arg;

    e->depth++;
    e->deepest = MAX(e->deepest, e->depth);
    buf_printf(&e->heard, "%lld:", (long long)seq);
    for (size_t i = 0; i < count; i++)
        buf_printf(&e->heard, "%s%s%.*s=%.*s", i ? " " : "", events[i].deleted ? "-" : "+",
                   STR_ARG(events[i].key), STR_ARG(events[i].value));
    buf_addc(&e->heard, '|');
    if (e->close)
        store_watch_close(e->watch);
    if (e->echoes-- > 0)
        world_put(e->w, "/a/echo", "e");
    e->depth--;
}

static struct ear ear_open(struct world *w)
{
    struct ear e = {.w = w};

    buf_init(&e.heard, 1 << 16);
    return e;
}

TEST(watchers_hear_each_transaction_once_in_order_and_only_their_prefix)
{
    struct world w = world_open();
    struct ear e = ear_open(&w);
    struct store_txn t;

    world_put(&w, "/a/before", "1");
    e.watch = store_watch_open(w.store, STR("/a/"), 0, on_event, &e, &w.err);
    CHECK(e.watch);
    world_put(&w, "/a/1", "x");
    world_put(&w, "/b/1", "y");
    store_txn_init(&t);
    store_txn_put(&t, STR("/a/2"), STR("z"));
    store_txn_put(&t, STR("/b/2"), STR("z"));
    store_txn_delete(&t, STR("/a/1"));
    commit(&w, &t);
    CHECK_STR(buf_str(&e.heard), "2:+/a/1=x|4:+/a/2=z -/a/1=|");
    store_watch_close(e.watch);
    world_put(&w, "/a/3", "x");
    CHECK_STR(buf_str(&e.heard), "2:+/a/1=x|4:+/a/2=z -/a/1=|");
    buf_done(&e.heard);
    world_close(&w);
}

TEST(a_commit_from_a_watcher_is_heard_later_never_nested)
{
    struct world w = world_open();
    struct ear e = ear_open(&w), late = ear_open(&w);

    e.echoes = 2;
    e.watch = store_watch_open(w.store, STR("/a/"), 0, on_event, &e, &w.err);
    late.watch = store_watch_open(w.store, STR("/a/"), 0, on_event, &late, &w.err);
    world_put(&w, "/a/1", "x");
    CHECK_STR(buf_str(&e.heard), "1:+/a/1=x|2:+/a/echo=e|3:+/a/echo=e|");
    CHECK_STR(buf_str(&late.heard), "1:+/a/1=x|2:+/a/echo=e|3:+/a/echo=e|");
    CHECK_INT(e.deepest, 1);
    buf_done(&e.heard);
    buf_done(&late.heard);
    world_close(&w);
}

TEST(a_watcher_may_close_itself)
{
    struct world w = world_open();
    struct ear e = ear_open(&w);

    e.close = true;
    e.watch = store_watch_open(w.store, STR("/"), 0, on_event, &e, &w.err);
    world_put(&w, "/1", "x");
    world_put(&w, "/2", "x");
    CHECK_STR(buf_str(&e.heard), "1:+/1=x|");
    buf_done(&e.heard);
    world_close(&w);
}

TEST(a_late_watcher_hears_the_past_with_the_values_of_then)
{
    struct world w = world_open();
    struct ear e = ear_open(&w);
    struct store_txn t;

    world_put(&w, "/a", "1");
    world_put(&w, "/a", "2");
    store_txn_init(&t);
    store_txn_delete(&t, STR("/a"));
    commit(&w, &t);
    world_put(&w, "/other", "1");
    world_put(&w, "/a", "3");
    e.watch = store_watch_open(w.store, STR("/a"), 1, on_event, &e, &w.err);
    world_put(&w, "/a", "4");
    CHECK_STR(buf_str(&e.heard), "1:+/a=1|2:+/a=2|3:-/a=|5:+/a=3|6:+/a=4|");
    buf_done(&e.heard);
    world_close(&w);
}

static void on_first_open_late(void *arg, const struct store_event *events, size_t count,
                               int64_t seq)
{
    struct ear *e = arg;

    (void)events;
    (void)count;
    (void)seq;
    if (e->watch)
        return;
    world_put(e->w, "/a/2", "y");
    e->watch = store_watch_open(e->w->store, STR("/a/"), 1, on_event, e, &e->w->err);
    world_put(e->w, "/a/3", "z");
}

TEST(a_watch_opened_from_a_watcher_misses_nothing_and_hears_nothing_twice)
{
    struct world w = world_open();
    struct ear e = ear_open(&w);

    CHECK(store_watch_open(w.store, STR("/a/"), 0, on_first_open_late, &e, &w.err));
    world_put(&w, "/a/1", "x");
    CHECK_STR(buf_str(&e.heard), "1:+/a/1=x|2:+/a/2=y|3:+/a/3=z|");
    CHECK_INT(e.deepest, 1);
    buf_done(&e.heard);
    world_close(&w);
}

static void on_first_open_and_compact(void *arg, const struct store_event *events, size_t count,
                                      int64_t seq)
{
    struct ear *e = arg;

    (void)events;
    (void)count;
    (void)seq;
    if (e->watch)
        return;
    world_put(e->w, "/a/2", "y");
    e->watch = store_watch_open(e->w->store, STR("/a/"), 1, on_event, e, &e->w->err);
    CHECK_INT(store_compact(e->w->store, 2, &e->w->err), 0);
}

/* The replay waits behind the batch of /a/2: until then nobody may take the log from under it. */
TEST(what_a_queued_replay_wants_is_not_compacted)
{
    struct world w = world_open();
    struct ear e = ear_open(&w);

    CHECK(store_watch_open(w.store, STR("/a/"), 0, on_first_open_and_compact, &e, &w.err));
    world_put(&w, "/a/1", "x");
    CHECK_STR(buf_str(&e.heard), "1:+/a/1=x|2:+/a/2=y|");
    CHECK_INT(store_compacted(w.store), 0);
    OK(store_compact(w.store, 2, &w.err));
    CHECK_INT(store_compacted(w.store), 2);
    buf_done(&e.heard);
    world_close(&w);
}

TEST(what_was_compacted_cannot_be_replayed)
{
    struct world w = world_open();
    struct ear e = ear_open(&w);

    world_put(&w, "/a", "1");
    world_put(&w, "/a", "2");
    world_put(&w, "/a", "3");
    OK(store_compact(w.store, 2, &w.err));
    CHECK_INT(store_compacted(w.store), 2);
    CHECK(!store_watch_open(w.store, STR("/a"), 2, on_event, &e, &w.err));
    CHECK_INT(w.err.code, ERR_MISSING);
    CHECK(strstr(w.err.text, "compacted"));
    CHECK(store_watch_open(w.store, STR("/a"), 3, on_event, &e, &w.err));
    CHECK_STR(buf_str(&e.heard), "3:+/a=3|");
    CHECK_STR(world_get(&w, "/a").value, "3");
    buf_done(&e.heard);
    world_close(&w);
}

/* ------------------------------------------------------------------- leases */

TEST(leased_keys_vanish_with_their_lease_in_one_transaction)
{
    struct world w = world_open();
    struct ear e = ear_open(&w);
    int64_t id, other, next;
    struct store_txn t;

    OK(store_lease_grant(w.store, 1000, 5000, &id, &w.err));
    OK(store_lease_grant(w.store, 9000, 5000, &other, &w.err));
    store_txn_init(&t);
    store_txn_put_leased(&t, STR("/l/1"), STR("1"), id);
    store_txn_put_leased(&t, STR("/l/2"), STR("2"), id);
    store_txn_put_leased(&t, STR("/l/3"), STR("3"), other);
    store_txn_put_leased(&t, STR("/l/4"), STR("4"), id);
    commit(&w, &t);
    world_put(&w, "/l/4", "free again"); /* a put without the lease lets go of it */
    e.watch = store_watch_open(w.store, STR("/l/"), 0, on_event, &e, &w.err);
    OK(store_expire(w.store, 5999, &next, &w.err));
    CHECK_INT(next, 6000);
    OK(store_lease_keep(w.store, id, 5999, &w.err));
    OK(store_expire(w.store, 6000, &next, &w.err));
    CHECK_INT(next, 6999);
    OK(store_expire(w.store, 6999, &next, &w.err));
    CHECK_INT(next, 14000);
    CHECK_STR(buf_str(&e.heard), "3:-/l/1= -/l/2=|");
    CHECK_INT(world_count(&w, "/l/"), 2);
    FAILS(store_lease_keep(w.store, id, 7000, &w.err), ERR_MISSING, "ran out");
    OK(store_lease_revoke(w.store, other, &w.err));
    CHECK_INT(world_count(&w, "/l/"), 1);
    buf_done(&e.heard);
    world_close(&w);
}

TEST(a_lease_gets_its_whole_life_again_after_a_restart)
{
    struct world w = world_open();
    struct store_txn t;
    int64_t id, next;

    OK(store_lease_grant(w.store, 1000, 5000, &id, &w.err));
    store_txn_init(&t);
    store_txn_put_leased(&t, STR("/l"), STR("1"), id);
    commit(&w, &t);
    store_close(w.store);
    w.store = store_open(w.path, &w.err);
    CHECK(w.store);
    OK(store_expire(w.store, 70000, &next, &w.err));
    CHECK_INT(next, 71000);
    CHECK_INT(world_count(&w, "/l"), 1);
    OK(store_expire(w.store, 71000, &next, &w.err));
    CHECK_INT(next, -1);
    CHECK_INT(world_count(&w, "/l"), 0);
    world_close(&w);
}

TEST(a_key_cannot_hang_on_a_lease_that_is_not_there)
{
    struct world w = world_open();
    struct store_result result;
    struct store_txn t;

    store_txn_init(&t);
    store_txn_put_leased(&t, STR("/l"), STR("1"), 42);
    FAILS(store_commit(w.store, &t, &result, &w.err), ERR_MISSING, "lease 42");
    store_txn_done(&t);
    world_close(&w);
}

/* ----------------------------------------------------------------- the file */

TEST(what_was_written_is_there_after_opening_again)
{
    struct world w = world_open();
    char epoch[32];
    struct stat st;

    world_put(&w, "/a", "1");
    snprintf(epoch, sizeof(epoch), "%s", store_epoch(w.store));
    CHECK_INT(strlen(epoch), 26);
    CHECK_INT(stat(w.path, &st), 0);
    CHECK_INT(st.st_mode & 07777, 0600);
    store_close(w.store);
    w.store = store_open(w.path, &w.err);
    CHECK(w.store);
    CHECK_STR(world_get(&w, "/a").value, "1");
    CHECK_INT(store_seq(w.store), 1);
    CHECK_TEXT(store_epoch(w.store), epoch);
    world_close(&w);
}

TEST(a_second_server_is_kept_out)
{
    struct world w = world_open();

    CHECK(!store_open(w.path, &w.err));
    CHECK_INT(w.err.code, ERR_CONFLICT);
    CHECK(strstr(w.err.text, "another weft server"));
    world_close(&w);
}

/* Overwrite bytes of the closed database. user_version is at 60 in the file, big-endian. */
static void patch(struct world *w, off_t at, const void *bytes, size_t n)
{
    int fd;

    store_close(w->store);
    w->store = NULL;
    fd = open(w->path, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK_INT(pwrite(fd, bytes, n, at), n);
    close(fd);
}

TEST(a_database_of_a_newer_weft_is_refused_and_not_touched)
{
    static const unsigned char newer[4] = {0, 0, 0, 99};
    struct world w = world_open();
    struct stat before, after;

    world_put(&w, "/a", "1");
    patch(&w, 60, newer, sizeof(newer));
    CHECK_INT(stat(w.path, &before), 0);
    CHECK(!store_open(w.path, &w.err));
    CHECK_INT(w.err.code, ERR_UNSUPPORTED);
    CHECK(strstr(w.err.text, "newer weft"));
    CHECK_INT(stat(w.path, &after), 0);
    CHECK_INT(before.st_size, after.st_size);
    CHECK_INT(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
    world_close(&w);
}

/* The views of step 2 exist, so doing it again must fail: which shows the copy, and the way back.
 */
TEST(a_migration_that_fails_leaves_the_old_version_and_a_copy)
{
    static const unsigned char older[4] = {0, 0, 0, 1}, latest[4] = {0, 0, 0, 2};
    struct world w = world_open();
    char copy[128];

    CHECK_INT(migrate_latest(), 2);
    world_put(&w, "/a", "1");
    patch(&w, 60, older, sizeof(older));
    CHECK(!store_open(w.path, &w.err));
    CHECK(strstr(w.err.text, "migrating the database to schema 2"));
    snprintf(copy, sizeof(copy), "%s.before-2", w.path);
    CHECK(file_exists(copy));
    patch(&w, 60, latest, sizeof(latest));
    w.store = store_open(w.path, &w.err);
    CHECK(w.store);
    CHECK_STR(world_get(&w, "/a").value, "1");
    world_close(&w);
}

struct fake_engine {
    int copies, steps, last;
};

static int fake_copy(void *arg, const char *path, struct err *err)
{
    struct fake_engine *f = arg;

    (void)err;
    f->copies++;
    CHECK_TEXT(path, "/nowhere/db.before-2");
    return 0;
}

static int fake_apply(void *arg, const char *text, int version, struct err *err)
{
    struct fake_engine *f = arg;

    (void)err;
    CHECK(text[0]);
    f->steps++;
    f->last = version;
    return 0;
}

TEST(migrations_run_in_order_after_one_copy)
{
    struct fake_engine fresh = {0}, old = {0}, new = {0};
    struct migrate_engine e = {fake_copy, fake_apply, &fresh};
    struct err err;

    CHECK_INT(migrate_run(&e, 0, "/nowhere/db", &err), 0);
    CHECK_INT(fresh.copies, 0);
    CHECK_INT(fresh.steps, migrate_latest());
    CHECK_INT(fresh.last, migrate_latest());
    e.arg = &old;
    CHECK_INT(migrate_run(&e, 1, "/nowhere/db", &err), 0);
    CHECK_INT(old.copies, 1);
    CHECK_INT(old.steps, migrate_latest() - 1);
    e.arg = &new;
    CHECK_INT(migrate_run(&e, migrate_latest(), "/nowhere/db", &err), 0);
    CHECK_INT(new.copies + new.steps, 0);
}

TEST(a_file_that_is_no_database_is_refused)
{
    struct world w = world_open();
    struct err err;

    store_close(w.store);
    w.store = NULL;
    CHECK_INT(file_write(w.path,
                         STR("dear diary, today I did not write a database at all, but I "
                             "wrote more than a hundred bytes of prose."),
                         0600, &err),
              0);
    CHECK(!store_open(w.path, &w.err));
    CHECK_INT(w.err.code, ERR_INVALID);
    CHECK(strstr(w.err.text, "not a database of weft"));
    world_close(&w);
}

TEST(a_missing_or_empty_database_is_no_new_one)
{
    struct world w = world_open();

    CHECK(!store_create(w.path, &w.err));
    store_close(w.store);
    w.store = NULL;
    CHECK(!store_create(w.path, &w.err));
    CHECK_INT(w.err.code, ERR_CONFLICT);
    CHECK_INT(truncate(w.path, 0), 0);
    CHECK(!store_open(w.path, &w.err));
    CHECK_INT(w.err.code, ERR_INVALID);
    CHECK(strstr(w.err.text, "is empty: restore a backup"));
    CHECK_INT(unlink(w.path), 0);
    CHECK(!store_open(w.path, &w.err));
    CHECK_INT(w.err.code, ERR_MISSING);
    CHECK(!file_exists(w.path));
    world_close(&w);
}

TEST(a_damaged_database_is_refused)
{
    struct world w = world_open();
    char key[32], junk[4096];

    memset(junk, 0xa5, sizeof(junk));
    for (int i = 0; i < 500; i++) {
        snprintf(key, sizeof(key), "/k/%d", i);
        world_put(&w, key, "{\"some\":\"text that fills pages\"}");
    }
    patch(&w, 5 * 4096, junk, sizeof(junk));
    CHECK(!store_open(w.path, &w.err));
    CHECK_INT(w.err.code, ERR_IO);
    CHECK(strstr(w.err.text, "damaged"));
    world_close(&w);
}

TEST(a_backup_restores_with_a_new_epoch)
{
    struct world w = world_open();
    char backup[128], other[128], epoch[32];
    struct stat st;

    snprintf(backup, sizeof(backup), "%s/backup", w.dir);
    snprintf(other, sizeof(other), "%s/other.db", w.dir);
    snprintf(epoch, sizeof(epoch), "%s", store_epoch(w.store));
    world_put(&w, "/a", "1");
    OK(store_backup(w.store, backup, &w.err));
    world_put(&w, "/a", "2");
    FAILS(store_backup(w.store, backup, &w.err), ERR_CONFLICT, "exists already");
    CHECK_INT(stat(backup, &st), 0);
    CHECK_INT(st.st_mode & 07777, 0600);
    FAILS(store_restore(backup, w.path, &w.err), ERR_CONFLICT, "move it away");
    OK(store_restore(backup, other, &w.err));
    store_close(w.store);
    w.store = store_open(other, &w.err);
    CHECK(w.store);
    CHECK_STR(world_get(&w, "/a").value, "1");
    CHECK_INT(store_seq(w.store), 1);
    CHECK(strcmp(store_epoch(w.store), epoch) != 0);
    world_close(&w);
}

TEST(a_full_disk_refuses_the_write_and_keeps_everything)
{
    struct world w = world_open();
    char *big = malloc(1 << 20);
    struct store_result result;
    struct store_txn t;

    memset(big, ' ', 1 << 20);
    world_put(&w, "/a", "1");
    OK(store_limit_bytes(w.store, 300 << 10, &w.err));
    store_txn_init(&t);
    store_txn_put(&t, STR("/a"), STR("2"));
    store_txn_put(&t, STR("/big"), (struct str){big, 1 << 20});
    FAILS(store_commit(w.store, &t, &result, &w.err), ERR_FULL, "nothing was changed");
    CHECK_STR(world_get(&w, "/a").value, "1");
    CHECK_INT(store_seq(w.store), 1);
    CHECK_INT(world_put(&w, "/small", "1"), 2); /* what fits is still taken */
    OK(store_limit_bytes(w.store, 0, &w.err));
    OK(store_commit(w.store, &t, &result, &w.err));
    CHECK_INT(result.seq, 3);
    store_txn_done(&t);
    free(big);
    world_close(&w);
}
