/* Waiting for changes: server-sent events (/v1/watch) and parked list requests
 * (?after=REV&wait=60s), over one log of recent changes kept in memory. A cursor older than the log
 * gets 410: list again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/server/api.h"
#include "mesh/base/json.h"
#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "mesh/encode.h"
#include "mesh/kinds/kinds.h"
#include "store/revision.h"

#define EVENTS_MAX     10000
#define EVENT_BYTES    (64u << 20) /* of all events kept */
#define HEARTBEAT_MS   15000
#define SLOW_BYTES_MAX (8u << 20) /* a watcher that reads nothing is cut here */

const char *const api_watch_query[] = {"from", "kinds", NULL};

struct event {
    int64_t revision;
    int kind;
    size_t bytes;
    char *text; /* "id: ...\nevent: ...\ndata: ...\n\n", owned */
};

struct watcher {
    struct watches *owner;
    struct watcher *next, *prev;
    struct serve_request *r;
    uint64_t kinds; /* bits of kind_id; parked: one */
    bool parked;    /* a list request; else a stream */
    int64_t until_ms;
};

struct watches {
    struct server *server;
    struct task task;
    struct timer timer;
    struct watcher *first;
    size_t count;
    struct event events[EVENTS_MAX];   /* ring */
    uint64_t first_event, event_count; /* the oldest kept; ever */
    size_t event_bytes;
    int64_t base;                /* revision before the first event known */
    int64_t changed[KIND_COUNT]; /* revision that changed something of that kind last */
};

static void unlink_watcher(struct watcher *w)
{
    if (w->prev)
        w->prev->next = w->next;
    else
        w->owner->first = w->next;
    if (w->next)
        w->next->prev = w->prev;
    w->owner->count--;
    mem_free(w);
}

static void on_gone(struct serve_request *r)
{
    unlink_watcher(r->user);
}

static struct watcher *add_watcher(struct watches *ws, struct serve_request *r, uint64_t kinds)
{
    struct watcher *w = mem_zalloc(sizeof(*w));

    w->owner = ws;
    w->r = r;
    w->kinds = kinds;
    w->next = ws->first;
    if (ws->first)
        ws->first->prev = w;
    ws->first = w;
    ws->count++;
    r->user = w;
    r->on_gone = on_gone;
    return w;
}

static bool too_many(struct api_call *c)
{
    if (c->server->watches->count < LIMIT_WATCHERS)
        return false;
    serve_header(c->r, "retry-after", STR("10"));
    reply_problem(c->r, 503, "Service Unavailable", "too many watchers");
    return true;
}

static void answer_parked(struct watcher *w, bool changed)
{
    struct api_call c = {.server = w->owner->server, .r = w->r, .waited = true};

    w->r->on_gone = NULL;
    w->r->user = NULL;
    unlink_watcher(w);
    if (!changed) {
        serve_answer(c.r, 304, NULL, STR_NONE);
        return;
    }
    arena_init(&c.arena);
    c.params[0] = str_sub(c.r->path, strlen("/v1/"), c.r->path.n);
    c.param_count = 1;
    api_list(&c);
    arena_done(&c.arena);
}

/* False: it does not read, and is no more. */
static bool send_event(struct watcher *w, struct str text)
{
    if (serve_more(w->r, text) <= SLOW_BYTES_MAX)
        return true;
    w->r->on_gone = NULL;
    serve_end(w->r);
    unlink_watcher(w);
    return false;
}

/* The events from number `from` on that come after a revision. */
static void send_events(struct watcher *w, uint64_t from, int64_t after)
{
    const struct watches *ws = w->owner;

    for (uint64_t i = MAX(from, ws->first_event); i < ws->event_count; i++) {
        const struct event *e = &ws->events[i % EVENTS_MAX];

        if (e->revision > after && (w->kinds & 1ull << e->kind) &&
            !send_event(w, str_from(e->text)))
            return;
    }
}

static void run(struct task *t, unsigned notes)
{
    struct watches *ws = CONTAINER(t, struct watches, task);
    int64_t now = loop_now_ms(ws->server->loop), nearest = now + HEARTBEAT_MS;
    struct watcher *next;

    (void)notes; /* the timer's alone */
    for (struct watcher *w = ws->first; w; w = next) {
        next = w->next;
        if (w->until_ms > now) {
            nearest = MIN(nearest, w->until_ms);
        } else if (w->parked) {
            answer_parked(w, false);
        } else {
            w->until_ms = now + HEARTBEAT_MS;
            (void)send_event(w, STR(": still here\n\n")); /* it may be the last */
        }
    }
    timer_set(&ws->timer, nearest);
}

struct watches *api_watches_new(struct server *s)
{
    struct watches *ws = mem_zalloc(sizeof(*ws));

    ws->server = s;
    ws->base = revision_current(s->revisions);
    for (size_t i = 0; i < KIND_COUNT; i++)
        ws->changed[i] = ws->base;
    task_init(&ws->task, s->loop, run);
    timer_init(&ws->timer, &ws->task, 1);
    timer_in(&ws->timer, HEARTBEAT_MS);
    return ws;
}

void api_watches_free(struct watches *ws)
{
    if (!ws)
        return;
    while (ws->first) {
        ws->first->r->on_gone = NULL;
        unlink_watcher(ws->first);
    }
    timer_stop(&ws->timer);
    task_forget(&ws->task);
    for (size_t i = 0; i < EVENTS_MAX; i++)
        mem_free(ws->events[i].text);
    mem_free(ws);
}

/* Cursors before it are gone. */
static void drop_oldest(struct watches *ws)
{
    struct event *e = &ws->events[ws->first_event++ % EVENTS_MAX];

    ws->base = e->revision;
    ws->event_bytes -= e->bytes;
    mem_free(e->text);
    *e = (struct event){0};
}

/* What was stored, without its secrets. */
static void add_object(struct buf *b, struct str object)
{
    struct arena a;
    struct node *root;
    struct err err;

    arena_init(&a);
    if (json_read(object, &a, &root, &err) == 0) { /* else: cannot be, we wrote it */
        if (encode_redact_document(root))
            json_write(root, 0, b);
        else
            buf_add(b, object);
    }
    arena_done(&a);
}

static void log_event(struct watches *ws, int64_t revision, const struct kind *k,
                      const struct revision_change *c)
{
    struct buf b;

    if (ws->event_count - ws->first_event == EVENTS_MAX)
        drop_oldest(ws);
    buf_init(&b, LIMIT_APPLY_BYTES);
    buf_printf(&b, "id: %lld\nevent: %s\ndata: ", (long long)revision,
               c->deleted ? "deleted" : "modified");
    if (c->deleted) {
        buf_adds(&b, "{\"kind\":");
        buf_json(&b, c->kind);
        buf_adds(&b, ",\"metadata\":{\"namespace\":");
        buf_json(&b, c->ns);
        buf_adds(&b, ",\"name\":");
        buf_json(&b, c->name);
        buf_adds(&b, "}}");
    } else {
        add_object(&b, c->object);
    }
    buf_adds(&b, "\n\n");
    ws->event_bytes += b.n;
    ws->events[ws->event_count++ % EVENTS_MAX] =
        (struct event){revision, (int)k->id, b.n, str_dup(buf_str(&b))};
    buf_done(&b);
    while (ws->event_bytes > EVENT_BYTES)
        drop_oldest(ws);
}

void api_watch_committed(struct server *s, int64_t revision, const struct revision_change *changes,
                         const enum revision_result *results, size_t count)
{
    struct watches *ws = s->watches;
    uint64_t from = ws->event_count, kinds = 0;
    struct watcher *next;

    for (size_t i = 0; i < count; i++) {
        const struct kind *k = kind_find(changes[i].kind);

        if (!k || results[i] == REVISION_UNCHANGED || results[i] == REVISION_ABSENT)
            continue;
        log_event(ws, revision, k, &changes[i]);
        ws->changed[k->id] = revision;
        kinds |= 1ull << k->id;
    }
    for (struct watcher *w = ws->first; w; w = next) {
        next = w->next;
        if (!(w->kinds & kinds))
            continue;
        if (w->parked)
            answer_parked(w, true);
        else
            send_events(w, from, 0);
    }
}

bool api_park(struct api_call *c, int kind, int64_t after, int64_t wait_ms)
{
    struct watches *ws = c->server->watches;
    struct watcher *w;

    if (ws->changed[kind] > after)
        return false;
    if (after > revision_current(c->server->revisions)) {
        reply_problem(c->r, 410, "Gone",
                      "this revision is not of this store (restored from a backup?); list again");
        return true;
    }
    if (too_many(c))
        return true;
    w = add_watcher(ws, c->r, 1ull << kind);
    w->parked = true;
    w->until_ms = loop_now_ms(c->server->loop) + wait_ms;
    timer_set(&ws->timer, MIN(ws->timer.at_ms, w->until_ms));
    return true;
}

static bool read_kinds(struct api_call *c, uint64_t *out)
{
    struct str list, item;

    *out = UINT64_MAX;
    if (!reply_query(c->r, STR("kinds"), &c->arena, &list))
        return true;
    *out = 0;
    while (str_next(&list, ',', &item)) {
        const struct kind *k = kind_find_any(item);

        if (!k) {
            reply_problem(c->r, 400, "Bad Request",
                          "kinds is a comma list of kinds like virtualservices");
            return false;
        }
        *out |= 1ull << k->id;
    }
    return true;
}

void api_watch(struct api_call *c)
{
    struct watches *ws = c->server->watches;
    int64_t from = revision_current(c->server->revisions), now = from;
    struct watcher *w;
    struct str text;
    uint64_t kinds;

    if ((reply_query(c->r, STR("from"), &c->arena, &text) ||
         http_get(c->r->head, STR("last-event-id"), &text)) &&
        !str_int(text, 0, INT64_MAX, &from)) {
        reply_problem(c->r, 400, "Bad Request", "from is a revision");
        return;
    }
    if (!read_kinds(c, &kinds) || too_many(c))
        return;
    if (from < ws->base || from > now) {
        reply_problem(c->r, 410, "Gone",
                      "changes since that revision are not kept; list again and watch from there");
        return;
    }
    if (!str_eq(c->r->method, STR("GET"))) { /* HEAD: it would never end */
        serve_answer(c->r, 200, "text/event-stream", STR_NONE);
        return;
    }
    w = add_watcher(ws, c->r, kinds);
    w->until_ms = loop_now_ms(c->server->loop) + HEARTBEAT_MS;
    serve_begin(c->r, 200, "text/event-stream");
    (void)serve_more(c->r, STR(": watching\n\n"));
    send_events(w, 0, from);
}
