/* One thread's event loop: turns, tasks, descriptors, timers, posts and the reap list.
 *
 * Flow of a turn: libevent reports descriptors, the wheel reports deadlines, other threads'
 *   posts arrive: all of these only *note* (set a bit in a task and link it into the FIFO run
 *   queue). Then the run queue is drained (at most LIMIT_TURN_TASKS; the loop does not sleep
 *   while work remains), then the flush list runs once, then reaped objects are freed.
 * Rule: a task's function is called only by the loop, so functions never nest. The loop takes
 *   and clears the bits before the call; a note that arrives during the call queues it again.
 * Ownership: tasks, watches, timers, posts are embedded in the caller's objects. An object is
 *   freed only through loop_reap, after task_forget/watch_close/timer_stop.
 * Threads: a loop belongs to the thread that runs it. Only loop_post and loop_stop may be
 *   called from others. Bases are made without libevent's locks.
 * Units: *_ms milliseconds of CLOCK_MONOTONIC, fixed for a turn.
 */
#pragma once

#include "mesh/base/base.h"
#include "mesh/base/err.h"

struct loop;
struct task;
struct event;

/* What an object does when something became possible. `notes` are the bits noted since the
 * last call. Called on the object's loop, never nested. */
typedef void task_fn(struct task *t, unsigned notes);

struct task {
    task_fn *run;
    struct loop *loop;
    unsigned notes;
    bool queued;
    struct task *next, *prev; /* run queue */
};

/* A descriptor; readiness is noted to `task` as `read_note` and `write_note`. Level-triggered. */
struct watch {
    struct task *task;
    struct event *read_event, *write_event;
    int fd; /* -1 when closed */
    unsigned read_note, write_note;
    bool reading, writing;
};

/* One deadline; noted to `task` as `note`. Moving it later costs nothing (lazy re-arm). */
struct timer {
    struct task *task;
    unsigned note;
    int64_t at_ms;   /* the wanted deadline, 0 if stopped */
    int64_t slot_ms; /* where it is filed in the wheel, 0 if nowhere */
    struct timer *next, *prev;
};

/* Work for another thread's loop. `fn` runs there, once, in order of posting per sender. */
struct post {
    void (*fn)(struct post *p);
    struct post *next;
};

/* Something to free between turns. */
struct reap {
    void (*free_fn)(struct reap *r);
    struct reap *next;
};

/* Something to flush after the run queue, once per turn; linked at most once. */
struct flush {
    void (*fn)(struct flush *f);
    bool queued;
    struct flush *next;
};

struct loop *loop_new(struct err *err);
void loop_free(struct loop *l); /* runs outstanding posts and reaps first */

void loop_run(struct loop *l);        /* returns after loop_stop */
void loop_turn(struct loop *l, int64_t wait_ms); /* one turn, sleeping at most wait_ms: for tests */
void loop_stop(struct loop *l);       /* any thread */
void loop_post(struct loop *l, struct post *p); /* any thread; p stays the caller's */
uint64_t loop_turns(const struct loop *l);      /* any thread: for the watchdog */

int64_t loop_now_ms(const struct loop *l);  /* monotonic, fixed for a turn */
int64_t loop_wall_ms(const struct loop *l); /* since 1970, fixed for a turn */
size_t loop_timers(const struct loop *l);   /* deadlines that stand: the leak ledger */
/* Tests move the clock: all deadlines up to now + ms fall due at the next turn. */
void loop_advance(struct loop *l, int64_t ms);

void task_init(struct task *t, struct loop *l, task_fn *run);
void task_note(struct task *t, unsigned bits); /* only on the task's own thread */
void task_forget(struct task *t);              /* unlink and drop its notes */

/* Watch `fd` (non-blocking). Nothing is armed until watch_want. */
void watch_init(struct watch *w, struct task *t, int fd, unsigned read_note, unsigned write_note);
void watch_want(struct watch *w, bool read, bool write); /* idempotent, cheap when unchanged */
void watch_close(struct watch *w);  /* detach and close the descriptor */
int watch_detach(struct watch *w);  /* detach and give the descriptor back */

void timer_init(struct timer *t, struct task *task, unsigned note);
void timer_set(struct timer *t, int64_t at_ms); /* absolute, loop_now_ms scale */
void timer_in(struct timer *t, int64_t ms);     /* relative to now */
void timer_stop(struct timer *t);

void loop_reap(struct loop *l, struct reap *r, void (*free_fn)(struct reap *r));
void loop_flush(struct loop *l, struct flush *f, void (*fn)(struct flush *f));

/* Memory for the length of one call, shared by all objects of the loop: nothing in it survives a call that may use
 * it too. Made at first use, so that a loop without traffic has none. */
#define LOOP_SCRATCH_BYTES (64u << 10)
void *loop_scratch(struct loop *l);
