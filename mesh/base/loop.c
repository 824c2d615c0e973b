/* The loop: libevent for descriptors, and for deadlines a hashed wheel of our own.
 *
 * The wheel has WHEEL_SLOTS slots of 1 ms. A timer is filed at slot_ms; a deadline beyond the wheel
 * is filed at its far end and filed again when the hand gets there. A deadline that moves later
 * changes at_ms alone (connections touch theirs with every byte): when the slot comes due, the
 * timer is filed again at its new place. One that moves earlier is filed again at once. A bitmap of
 * occupied slots makes "when is the next one due" a scan of at most WHEEL_SLOTS / 64 words.
 *
 * One libevent timer stands at that moment. Nothing here calls back into an owner except
 * run_queue: events, deadlines and posts end in task_note. Posted functions run first in their turn
 * and are expected to note as well.
 */
#include "mesh/base/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "mesh/base/limits.h"
#include "mesh/base/mem.h"
#include "mesh/base/text.h"

#define WHEEL_SLOTS 4096
#define WHEEL_WORDS (WHEEL_SLOTS / 64)

struct loop {
    struct event_base *base;
    struct event *wheel_event; /* when the earliest occupied slot comes due, or the wait ends */
    struct event *mail_event;
    int mail_fd; /* eventfd */

    _Atomic(struct post *) mail; /* newest first; pushed by any thread, taken whole by ours */
    atomic_bool stopping;
    atomic_uint_fast64_t turns;

    int64_t now_ms, wall_ms;
    int64_t ahead_ms; /* what loop_advance added */
    int64_t hand_ms;  /* every slot up to here has been emptied */
    struct timer *slots[WHEEL_SLOTS];
    uint64_t occupied[WHEEL_WORDS];
    size_t timer_count; /* filed ones */

    struct task *first, *last; /* run queue */
    struct flush *flush_first, *flush_last;
    struct reap *reaps;
    void *scratch;
};

static int64_t monotonic_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void update_clock(struct loop *l)
{
    l->now_ms = monotonic_ms() + l->ahead_ms;
    l->wall_ms = text_wall_ms() + l->ahead_ms;
}

int64_t loop_now_ms(const struct loop *l)
{
    return l->now_ms;
}

int64_t loop_wall_ms(const struct loop *l)
{
    return l->wall_ms;
}

void loop_advance(struct loop *l, int64_t ms)
{
    l->ahead_ms += ms;
}

uint64_t loop_turns(const struct loop *l)
{
    return atomic_load_explicit(&l->turns, memory_order_relaxed);
}

size_t loop_timers(const struct loop *l)
{
    return l->timer_count;
}

/* ---- tasks ---- */

void task_init(struct task *t, struct loop *l, task_fn *run)
{
    *t = (struct task){.run = run, .loop = l};
}

void task_note(struct task *t, unsigned bits)
{
    struct loop *l = t->loop;

    t->notes |= bits;
    if (t->queued)
        return;
    t->queued = true;
    t->next = NULL;
    t->prev = l->last;
    if (l->last)
        l->last->next = t;
    else
        l->first = t;
    l->last = t;
}

void task_forget(struct task *t)
{
    struct loop *l = t->loop;

    t->notes = 0;
    if (!t->queued)
        return;
    t->queued = false;
    if (t->prev)
        t->prev->next = t->next;
    else
        l->first = t->next;
    if (t->next)
        t->next->prev = t->prev;
    else
        l->last = t->prev;
    t->next = t->prev = NULL;
}

/* Tasks noted meanwhile go to the end, so that nobody starves the rest; the bound lets
 * descriptors be looked at between. */
static void run_queue(struct loop *l)
{
    for (unsigned i = 0; i < LIMIT_TURN_TASKS && l->first; i++) {
        struct task *t = l->first;
        unsigned notes = t->notes;

        task_forget(t);
        t->run(t, notes);
    }
}

/* ---- descriptors ---- */

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct watch *w = arg;

    (void)fd, (void)what; /* libevent's signature */
    task_note(w->task, w->read_note);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct watch *w = arg;

    (void)fd, (void)what; /* libevent's signature */
    task_note(w->task, w->write_note);
}

void watch_init(struct watch *w, struct task *t, int fd, unsigned read_note, unsigned write_note)
{
    *w = (struct watch){.task = t, .fd = fd, .read_note = read_note, .write_note = write_note};
}

/* libevent fails only for want of memory, or for a descriptor that epoll does not take, which is
 * a fault of ours. */
static void must_add(struct event *event, const struct timeval *wait)
{
    int failed = event_add(event, wait);

    assert(!failed);
}

/* Arm or disarm one direction. */
static void want(struct watch *w, struct event **event, short what, bool on)
{
    if (!*event) {
        *event = event_new(w->task->loop->base, w->fd, (short)(what | EV_PERSIST),
                           what == EV_READ ? on_readable : on_writable, w);
        assert(*event);
    }
    if (on)
        must_add(*event, NULL);
    else
        event_del(*event);
}

void watch_want(struct watch *w, bool read, bool write)
{
    if (w->fd < 0)
        return;
    if (w->reading != read) {
        w->reading = read;
        want(w, &w->read_event, EV_READ, read);
    }
    if (w->writing != write) {
        w->writing = write;
        want(w, &w->write_event, EV_WRITE, write);
    }
}

int watch_detach(struct watch *w)
{
    int fd = w->fd;

    if (w->read_event)
        event_free(w->read_event);
    if (w->write_event)
        event_free(w->write_event);
    w->read_event = w->write_event = NULL;
    w->reading = w->writing = false;
    w->fd = -1;
    return fd;
}

void watch_close(struct watch *w)
{
    int fd = watch_detach(w);

    if (fd >= 0)
        close(fd);
}

/* ---- deadlines ---- */

void timer_init(struct timer *t, struct task *task, unsigned note)
{
    *t = (struct timer){.task = task, .note = note};
}

static void file_timer(struct loop *l, struct timer *t)
{
    /* Past deadlines go to the next slot to be emptied, far ones to the last. */
    int64_t at = MIN(MAX(t->at_ms, l->hand_ms + 1), l->hand_ms + WHEEL_SLOTS - 1);
    size_t slot = (size_t)at % WHEEL_SLOTS;

    t->slot_ms = at;
    t->prev = NULL;
    t->next = l->slots[slot];
    if (t->next)
        t->next->prev = t;
    l->slots[slot] = t;
    l->occupied[slot / 64] |= UINT64_C(1) << slot % 64;
    l->timer_count++;
}

static void unfile_timer(struct loop *l, struct timer *t)
{
    size_t slot = (size_t)t->slot_ms % WHEEL_SLOTS;

    if (t->prev)
        t->prev->next = t->next;
    else
        l->slots[slot] = t->next;
    if (t->next)
        t->next->prev = t->prev;
    if (!l->slots[slot])
        l->occupied[slot / 64] &= ~(UINT64_C(1) << slot % 64);
    t->next = t->prev = NULL;
    t->slot_ms = 0;
    l->timer_count--;
}

void timer_set(struct timer *t, int64_t at_ms)
{
    struct loop *l = t->task->loop;

    t->at_ms = MAX(at_ms, 1); /* 0 means stopped */
    if (t->slot_ms && t->slot_ms <= t->at_ms)
        return;
    if (t->slot_ms)
        unfile_timer(l, t);
    file_timer(l, t);
}

void timer_in(struct timer *t, int64_t ms)
{
    timer_set(t, t->task->loop->now_ms + ms);
}

void timer_stop(struct timer *t)
{
    t->at_ms = 0;
    if (t->slot_ms)
        unfile_timer(t->task->loop, t);
}

/* When the next occupied slot behind the hand comes due; only called while there is one. */
static int64_t next_due(const struct loop *l)
{
    size_t start = (size_t)(l->hand_ms + 1) % WHEEL_SLOTS;
    uint64_t word = l->occupied[start / 64] & (~UINT64_C(0) << start % 64);

    /* The first word is looked at twice: its bits below `start` lie a whole round ahead. */
    for (size_t i = 0; i <= WHEEL_WORDS; i++) {
        size_t at = (start / 64 + i) % WHEEL_WORDS;

        if (i > 0)
            word = l->occupied[at];
        if (word) {
            size_t slot = at * 64 + (size_t)__builtin_ctzll(word);

            return l->hand_ms + 1 + (int64_t)((slot + WHEEL_SLOTS - start) % WHEEL_SLOTS);
        }
    }
    return INT64_MAX;
}

static void empty_slot(struct loop *l, size_t slot)
{
    while (l->slots[slot]) {
        struct timer *t = l->slots[slot];

        unfile_timer(l, t);
        if (t->at_ms > l->hand_ms) {
            file_timer(l, t); /* moved later; never this slot, which is a round ahead now */
            continue;
        }
        t->at_ms = 0;
        task_note(t->task, t->note);
    }
}

/* Move the hand to now over occupied slots only. */
static void run_wheel(struct loop *l)
{
    while (l->timer_count) {
        int64_t due = next_due(l);

        if (due > l->now_ms)
            break;
        l->hand_ms = due;
        empty_slot(l, (size_t)due % WHEEL_SLOTS);
    }
    l->hand_ms = MAX(l->hand_ms, l->now_ms);
}

static void on_wheel(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg; /* it only wakes the loop: run_wheel comes in every turn */
}

/* ---- mail ---- */

static void wake(struct loop *l)
{
    uint64_t one = 1;
    ssize_t n;

    do {
        n = write(l->mail_fd, &one, sizeof(one));
    } while (n < 0 && errno == EINTR);
    /* EAGAIN means the counter is full, and so the loop is waking already. */
}

static void on_mail(evutil_socket_t fd, short what, void *arg)
{
    uint64_t count;

    (void)what, (void)arg; /* the mail is taken in every turn; this only empties the counter */
    if (read(fd, &count, sizeof(count)) < 0)
        return;
}

void loop_post(struct loop *l, struct post *p)
{
    struct post *head = atomic_load_explicit(&l->mail, memory_order_relaxed);

    do {
        p->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&l->mail, &head, p, memory_order_release,
                                                    memory_order_relaxed));
    /* Whoever finds the box empty wakes; the loop takes all of it at once. */
    if (!head)
        wake(l);
}

void loop_stop(struct loop *l)
{
    atomic_store_explicit(&l->stopping, true, memory_order_release);
    wake(l);
}

static bool run_posts(struct loop *l)
{
    struct post *taken = atomic_exchange_explicit(&l->mail, NULL, memory_order_acquire);
    struct post *p = NULL;

    if (!taken)
        return false;
    while (taken) { /* newest first becomes oldest first */
        struct post *next = taken->next;

        taken->next = p;
        p = taken;
        taken = next;
    }
    while (p) {
        struct post *next = p->next; /* fn may free or post p again */

        p->fn(p);
        p = next;
    }
    return true;
}

/* ---- flush and reap ---- */

void loop_flush(struct loop *l, struct flush *f, void (*fn)(struct flush *f))
{
    f->fn = fn;
    if (f->queued)
        return;
    f->queued = true;
    f->next = NULL;
    if (l->flush_last)
        l->flush_last->next = f;
    else
        l->flush_first = f;
    l->flush_last = f;
}

/* Those that were queued when it began: one that queues itself again waits for the next turn. */
static void run_flushes(struct loop *l)
{
    struct flush *f = l->flush_first;

    l->flush_first = l->flush_last = NULL;
    while (f) {
        struct flush *next = f->next;

        f->queued = false;
        f->next = NULL;
        f->fn(f);
        f = next;
    }
}

void loop_reap(struct loop *l, struct reap *r, void (*free_fn)(struct reap *r))
{
    r->free_fn = free_fn;
    r->next = l->reaps;
    l->reaps = r;
}

static void run_reaps(struct loop *l)
{
    while (l->reaps) { /* freeing one may reap another */
        struct reap *r = l->reaps;

        l->reaps = r->next;
        r->free_fn(r);
    }
}

/* ---- turns ---- */

/* How long this turn may sleep; 0 while work remains, INT64_MAX if nothing is due ever. */
static int64_t sleep_ms(const struct loop *l, int64_t wait_ms)
{
    int64_t now = monotonic_ms() + l->ahead_ms; /* the turn's own clock is old by now */

    if (l->first || l->flush_first || atomic_load_explicit(&l->mail, memory_order_relaxed))
        return 0;
    if (l->timer_count)
        wait_ms = MIN(wait_ms, next_due(l) - now);
    return MAX(wait_ms, 0);
}

void loop_turn(struct loop *l, int64_t wait_ms)
{
    int64_t sleep = sleep_ms(l, wait_ms);

    if (sleep > 0 && sleep < INT64_MAX / 2000) {
        struct timeval tv = {.tv_sec = sleep / 1000, .tv_usec = sleep % 1000 * 1000};

        must_add(l->wheel_event, &tv);
    }
    event_base_loop(l->base, sleep > 0 ? EVLOOP_ONCE : EVLOOP_ONCE | EVLOOP_NONBLOCK);
    if (sleep > 0 && sleep < INT64_MAX / 2000)
        event_del(l->wheel_event);
    update_clock(l);
    run_posts(l);
    run_wheel(l);
    run_queue(l);
    run_flushes(l);
    run_reaps(l);
    atomic_fetch_add_explicit(&l->turns, 1, memory_order_relaxed);
}

void loop_run(struct loop *l)
{
    while (!atomic_exchange_explicit(&l->stopping, false, memory_order_acquire))
        loop_turn(l, INT64_MAX);
}

static struct event_base *new_base(void)
{
    struct event_config *config = event_config_new();
    struct event_base *base = NULL;

    if (!config)
        return NULL;
    /* One thread per base; mail goes through our own eventfd. */
    if (event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_IGNORE_ENV) == 0)
        base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

struct loop *loop_new(struct err *err)
{
    struct loop *l = MEM_NEW(struct loop);

    l->mail_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->mail_fd < 0) {
        err_errno(err, ERR_IO, "cannot make an eventfd");
        goto out;
    }
    l->base = new_base();
    if (!l->base) {
        err_errno(err, ERR_IO, "cannot make an event loop");
        goto out;
    }
    l->wheel_event = event_new(l->base, -1, 0, on_wheel, l);
    l->mail_event = event_new(l->base, l->mail_fd, EV_READ | EV_PERSIST, on_mail, l);
    if (!l->wheel_event || !l->mail_event || event_add(l->mail_event, NULL) != 0) {
        err_set(err, ERR_IO, "cannot watch the mailbox of an event loop");
        goto out;
    }
    update_clock(l);
    l->hand_ms = l->now_ms;
    return l;
out:
    loop_free(l);
    return NULL;
}

void loop_free(struct loop *l)
{
    bool more;

    if (!l)
        return;
    do {
        more = run_posts(l);
        run_reaps(l);
    } while (more);
    if (l->mail_event)
        event_free(l->mail_event);
    if (l->wheel_event)
        event_free(l->wheel_event);
    if (l->base)
        event_base_free(l->base);
    if (l->mail_fd >= 0)
        close(l->mail_fd);
    mem_free(l->scratch);
    mem_free(l);
}

void *loop_scratch(struct loop *l)
{
    if (!l->scratch)
        l->scratch = mem_alloc(LOOP_SCRATCH_BYTES);
    return l->scratch;
}
