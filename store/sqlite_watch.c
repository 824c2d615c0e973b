/* Watchers. A commit from within a callback only queues; the delivery loop further up the stack
 * gets to it. Replays queue the same way, which is what keeps every watcher's events in order. */
#include "store/sqlite_parts.h"

static void call_watch(struct store_watch *w, struct batch *b)
{
    struct store_event *mine = mem_array(b->count, sizeof(*mine));
    size_t n = 0;

    for (size_t i = 0; i < b->count; i++) {
        if (str_starts(b->events[i].key, (struct str){w->prefix, w->prefix_bytes}))
            mine[n++] = b->events[i];
    }
    if (n)
        w->fn(w->arg, mine, n, b->seq);
    mem_free(mine);
}

/* The events of one transaction of the log. */
static int read_log(struct store *s, int64_t seq, struct batch *b, struct err *err)
{
    sqlite3_stmt *st = db_stmt(s, SQL_LOG_READ);
    int rc;

    b->seq = seq;
    sqlite3_bind_int64(st, 1, seq);
    while ((rc = db_next_row(s, st, err)) > 0) {
        bool deleted = sqlite3_column_int(st, 2) != 0;

        db_note_event(b, (struct store_event){
                             deleted, db_column(st, 0), deleted ? STR_NONE : db_column(st, 1), seq,
                             sqlite3_column_int64(st, 3), sqlite3_column_int64(st, 4)});
    }
    return rc;
}

/* *at: the next transaction in the log at or behind it; 0 if there is none. */
static int next_logged(struct store *s, int64_t *at, struct err *err)
{
    sqlite3_stmt *st = db_stmt(s, SQL_LOG_NEXT);
    int rc;

    sqlite3_bind_int64(st, 1, *at);
    rc = db_next_row(s, st, err);
    if (rc < 0)
        return -1;
    *at = rc ? sqlite3_column_int64(st, 0) : 0; /* min() of no rows is NULL, which reads as 0 */
    sqlite3_reset(st);
    return 0;
}

/* from_seq..seq of the item for its one watcher. A database that cannot be read now ends the
 * replay, and with it the watch would have a hole: so it is closed, and its owner hears nothing
 * more. */
static void replay(struct store *s, struct batch *item)
{
    struct store_watch *w = item->replay;
    struct err ignored;

    for (int64_t at = item->from_seq; !w->closed; at++) {
        struct batch *b;

        if (next_logged(s, &at, &ignored))
            w->closed = true;
        if (w->closed || at == 0 || at > item->seq)
            break;
        b = db_batch_new();
        s->replay_seq = at;
        if (read_log(s, at, b, &ignored))
            w->closed = true;
        else if (b->count)
            call_watch(w, b);
        db_batch_free(b);
    }
    s->replay_seq = INT64_MAX;
}

int64_t db_replay_floor(const struct store *s)
{
    int64_t lowest = s->replay_seq;

    for (const struct batch *b = s->queue; b; b = b->next) {
        if (b->replay)
            lowest = MIN(lowest, b->from_seq);
    }
    return lowest;
}

static void reap_watches(struct store *s)
{
    for (struct store_watch **at = &s->watches; *at;) {
        struct store_watch *w = *at;

        if (w->closed) {
            *at = w->next;
            mem_free(w->prefix);
            mem_free(w);
        } else {
            at = &w->next;
        }
    }
}

void db_deliver(struct store *s)
{
    struct batch *b;

    if (s->delivering)
        return;
    s->delivering = true;
    while ((b = s->queue)) {
        s->queue = b->next;
        if (!s->queue)
            s->queue_end = &s->queue;
        if (b->replay)
            replay(s, b);
        for (struct store_watch *w = b->replay ? NULL : s->watches; w; w = w->next) {
            if (!w->closed && b->id >= w->first_id)
                call_watch(w, b);
        }
        db_batch_free(b);
    }
    s->delivering = false;
    reap_watches(s);
}

struct store_watch *store_watch_open(struct store *s, struct str prefix, int64_t from_seq,
                                     store_watch_fn *fn, void *arg, struct err *err)
{
    struct store_watch **end = &s->watches, *w;

    if (from_seq > 0 && from_seq <= s->compacted) {
        err_set(err, ERR_MISSING,
                "compacted: what happened up to %lld is forgotten, and %lld was asked for; list "
                "again and watch from %lld",
                (long long)s->compacted, (long long)from_seq, (long long)s->seq + 1);
        return NULL;
    }
    w = MEM_NEW(struct store_watch);
    w->store = s;
    w->prefix = str_dup(prefix);
    w->prefix_bytes = prefix.n;
    w->fn = fn;
    w->arg = arg;
    while (*end)
        end = &(*end)->next;
    *end = w;
    if (from_seq > 0 && from_seq <= s->seq) {
        struct batch *item = db_batch_new();

        item->replay = w;
        item->from_seq = from_seq;
        item->seq = s->seq;
        db_enqueue(s, item);
    }
    w->first_id = s->next_id;
    db_deliver(s);
    return w;
}

void store_watch_close(struct store_watch *w)
{
    if (!w)
        return;
    w->closed = true;
    if (!w->store->delivering)
        reap_watches(w->store);
}

int store_compact(struct store *s, int64_t seq, struct err *err)
{
    int64_t upto = MIN(MIN(seq, s->seq), db_replay_floor(s) - 1);

    if (upto <= s->compacted)
        return 0;
    if (db_begin(s, err))
        return -1;
    if (db_trim_log(s, upto, err) || db_run(s, db_stmt(s, SQL_COMMIT), err)) {
        db_rollback(s);
        return -1;
    }
    s->compacted = upto;
    return 0;
}
