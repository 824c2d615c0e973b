#include "test/test.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mesh/base/limits.h"
#include "mesh/base/loop.h"

#define READ_NOTE  1u
#define WRITE_NOTE 2u
#define TIME_NOTE  4u

/* A task that remembers its calls. */
struct actor {
    struct task task;
    struct timer timer;
    struct watch watch;
    struct reap reap;
    struct flush flush;
    unsigned calls, notes;
    unsigned again; /* note yourself so often */
    char name;
};

static struct loop *loop;
static char order[64]; /* names of actors as they ran */

static void run(struct task *t, unsigned notes)
{
    struct actor *a = CONTAINER(t, struct actor, task);
    size_t n = strlen(order);

    a->calls++;
    a->notes |= notes;
    if (n + 1 < sizeof(order)) {
        order[n] = a->name;
        order[n + 1] = '\0';
    }
    if (a->again) {
        a->again--;
        task_note(t, 1);
    }
}

static void start(void)
{
    struct err err;

    loop = loop_new(&err);
    CHECK(loop != NULL);
    memset(order, 0, sizeof(order));
}

static void actor_init(struct actor *a, char name)
{
    *a = (struct actor){.name = name};
    task_init(&a->task, loop, run);
    timer_init(&a->timer, &a->task, TIME_NOTE);
}

TEST(notes_run_once_in_fifo_order)
{
    struct actor a, b;

    start();
    actor_init(&a, 'a');
    actor_init(&b, 'b');
    task_note(&b.task, 1);
    task_note(&a.task, 2);
    task_note(&b.task, 4); /* joins the call that waits */
    CHECK_INT(a.calls, 0); /* only the loop calls */
    loop_turn(loop, 0);
    CHECK_TEXT(order, "ba");
    CHECK_INT(b.notes, 5);
    loop_turn(loop, 0);
    CHECK_INT(b.calls, 1);
    loop_free(loop);
}

TEST(a_note_during_the_call_is_not_lost)
{
    struct actor a, b;

    start();
    actor_init(&a, 'a');
    actor_init(&b, 'b');
    a.again = 2;
    task_note(&a.task, 1);
    task_note(&b.task, 1);
    loop_turn(loop, 0);
    CHECK_TEXT(order, "abaa"); /* b has its turn between */
    loop_free(loop);
}

TEST(a_forgotten_task_does_not_run)
{
    struct actor a, b, c;

    start();
    actor_init(&a, 'a');
    actor_init(&b, 'b');
    actor_init(&c, 'c');
    task_note(&a.task, 1);
    task_note(&b.task, 1);
    task_note(&c.task, 1);
    task_forget(&b.task);
    task_forget(&b.task);
    loop_turn(loop, 0);
    CHECK_TEXT(order, "ac");
    loop_free(loop);
}

TEST(a_turn_is_bounded_and_the_loop_does_not_sleep_while_work_remains)
{
    struct actor a;

    start();
    actor_init(&a, 'a');
    a.again = LIMIT_TURN_TASKS + 10;
    task_note(&a.task, 1);
    loop_turn(loop, 60000);
    CHECK_INT(a.calls, LIMIT_TURN_TASKS);
    loop_turn(loop, 60000); /* would hang here otherwise */
    CHECK_INT(a.calls, LIMIT_TURN_TASKS + 11);
    CHECK_INT(loop_turns(loop), 2);
    loop_free(loop);
}

TEST(a_deadline_falls_due_when_the_clock_passes_it)
{
    struct actor a;

    start();
    actor_init(&a, 'a');
    timer_in(&a.timer, 100000);
    loop_advance(loop, 90000);
    loop_turn(loop, 0);
    CHECK_INT(a.calls, 0);
    loop_advance(loop, 10000);
    loop_turn(loop, 0);
    CHECK_INT(a.calls, 1);
    CHECK_INT(a.notes, TIME_NOTE);
    loop_advance(loop, 1000000);
    loop_turn(loop, 0);
    CHECK_INT(a.calls, 1); /* once */
    loop_free(loop);
}

TEST(deadlines_beyond_the_wheel_are_kept)
{
    static const int64_t waits[] = {1, 4095, 4096, 4097, 10000, 100000, 86400000};
    struct actor a;

    start();
    actor_init(&a, 'a');
    for (size_t i = 0; i < COUNT(waits); i++) {
        loop_turn(loop, 0);
        a.calls = 0;
        timer_in(&a.timer, waits[i] + 5000);
        loop_advance(loop, waits[i]);
        loop_turn(loop, 0);
        CHECK_INT(a.calls, 0);
        loop_advance(loop, 5000);
        loop_turn(loop, 0);
        CHECK_INT(a.calls, 1);
    }
    loop_free(loop);
}

TEST(a_deadline_may_move_later_earlier_or_away)
{
    struct actor a;

    start();
    actor_init(&a, 'a');
    timer_in(&a.timer, 100);
    timer_in(&a.timer, 50000); /* later */
    loop_advance(loop, 40000);
    loop_turn(loop, 0);
    CHECK_INT(a.calls, 0);
    timer_in(&a.timer, 100); /* earlier */
    loop_advance(loop, 100);
    loop_turn(loop, 0);
    CHECK_INT(a.calls, 1);
    timer_in(&a.timer, 100);
    timer_stop(&a.timer);
    loop_advance(loop, 50000);
    loop_turn(loop, 0);
    CHECK_INT(a.calls, 1);
    timer_set(&a.timer, 1); /* long past */
    loop_advance(loop, 1);
    loop_turn(loop, 0);
    CHECK_INT(a.calls, 2);
    loop_free(loop);
}

TEST(many_timers_fire_in_their_order)
{
    static struct actor actors[5000];
    unsigned fired = 0;

    start();
    for (unsigned i = 0; i < COUNT(actors); i++) {
        actor_init(&actors[i], 'x');
        timer_in(&actors[i].timer, (int64_t)(i * 7919 % COUNT(actors)) * 3 + 1000);
    }
    for (int step = 0; step < 40; step++) {
        int64_t now;

        loop_advance(loop, 500);
        loop_turn(loop, 0);
        now = loop_now_ms(loop);
        for (unsigned i = 0; i < COUNT(actors); i++) {
            CHECK(actors[i].timer.at_ms == 0 || actors[i].timer.at_ms > now);
            CHECK_INT(actors[i].calls, actors[i].timer.at_ms == 0);
        }
    }
    /* More than a turn's bound may fall due at once; none is lost. */
    for (unsigned i = 0; i < COUNT(actors); i++)
        fired += actors[i].calls;
    CHECK_INT(fired, COUNT(actors));
    loop_free(loop);
}

TEST(the_loop_wakes_for_a_deadline_in_real_time)
{
    struct actor a;
    int64_t from;

    start();
    actor_init(&a, 'a');
    loop_turn(loop, 0);
    from = loop_now_ms(loop);
    timer_in(&a.timer, 20);
    while (a.calls == 0)
        loop_turn(loop, 10000);
    CHECK(loop_now_ms(loop) - from >= 20);
    CHECK(loop_now_ms(loop) - from < 5000);
    CHECK(loop_turns(loop) < 20); /* it slept */
    loop_free(loop);
}

TEST(a_descriptor_is_reported_while_it_is_ready_and_wanted)
{
    struct actor a;
    char byte;
    int ends[2];

    start();
    actor_init(&a, 'a');
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    watch_init(&a.watch, &a.task, ends[0], READ_NOTE, WRITE_NOTE);
    CHECK_INT(write(ends[1], "x", 1), 1);
    loop_turn(loop, 0);
    CHECK_INT(a.calls, 0); /* nothing is armed yet */
    watch_want(&a.watch, true, false);
    loop_turn(loop, 1000);
    loop_turn(loop, 1000); /* level-triggered */
    CHECK_INT(a.calls, 2);
    CHECK_INT(a.notes, READ_NOTE);
    CHECK_INT(read(ends[0], &byte, 1), 1);
    loop_turn(loop, 0);
    CHECK_INT(a.calls, 2);
    watch_want(&a.watch, true, true);
    loop_turn(loop, 1000);
    CHECK_INT(a.notes, READ_NOTE | WRITE_NOTE);
    watch_want(&a.watch, false, false);
    a.calls = 0;
    loop_turn(loop, 0);
    CHECK_INT(a.calls, 0);
    CHECK_INT(watch_detach(&a.watch), ends[0]);
    CHECK_INT(a.watch.fd, -1);
    watch_init(&a.watch, &a.task, ends[0], READ_NOTE, WRITE_NOTE);
    watch_want(&a.watch, true, false);
    watch_close(&a.watch);
    CHECK_INT(fcntl(ends[0], F_GETFD), -1); /* closed */
    watch_close(&a.watch);                  /* again is fine */
    watch_want(&a.watch, true, true);       /* and wanting more of it, too */
    close(ends[1]);
    loop_free(loop);
}

static void free_actor(struct reap *r)
{
    struct actor *a = CONTAINER(r, struct actor, reap);

    free(a);
    order[strlen(order)] = 'R';
}

static void flush_actor(struct flush *f)
{
    struct actor *a = CONTAINER(f, struct actor, flush);

    order[strlen(order)] = (char)(a->name - 'a' + 'A');
    if (a->again) {
        a->again--;
        loop_flush(loop, f, flush_actor);
    }
}

TEST(flushes_run_once_after_the_tasks_and_reaps_last)
{
    struct actor *a = malloc(sizeof(*a));
    struct actor b;

    start();
    actor_init(a, 'a');
    actor_init(&b, 'b');
    loop_reap(loop, &a->reap, free_actor);
    loop_flush(loop, &a->flush, flush_actor);
    loop_flush(loop, &b.flush, flush_actor);
    loop_flush(loop, &b.flush, flush_actor);
    task_note(&b.task, 1);
    loop_turn(loop, 0);
    CHECK_TEXT(order, "bABR");
    loop_free(loop);
}

TEST(a_flush_that_queues_itself_waits_for_the_next_turn)
{
    struct actor a;

    start();
    actor_init(&a, 'a');
    a.again = 1;
    loop_flush(loop, &a.flush, flush_actor);
    loop_turn(loop, 0);
    CHECK_TEXT(order, "A");
    loop_turn(loop, 60000); /* does not sleep */
    CHECK_TEXT(order, "AA");
    loop_free(loop);
}

#define SENDERS 4
#define POSTS   5000

struct letter {
    struct post post;
    unsigned sender, number;
};

static struct letter letters[SENDERS][POSTS];
static unsigned next_number[SENDERS];
static unsigned received;
static bool in_order;

static void receive(struct post *p)
{
    struct letter *l = CONTAINER(p, struct letter, post);

    in_order = in_order && l->number == next_number[l->sender];
    next_number[l->sender]++;
    if (++received == SENDERS * POSTS)
        loop_stop(loop);
}

static void *send_all(void *arg)
{
    unsigned sender = *(const unsigned *)arg;

    for (unsigned i = 0; i < POSTS; i++) {
        letters[sender][i] = (struct letter){
            {receive, NULL},
            sender, i
        };
        loop_post(loop, &letters[sender][i].post);
    }
    return NULL;
}

TEST(posts_of_other_threads_arrive_in_the_order_of_each_sender)
{
    pthread_t threads[SENDERS];
    unsigned ids[SENDERS];

    start();
    received = 0;
    in_order = true;
    memset(next_number, 0, sizeof(next_number));
    for (unsigned i = 0; i < SENDERS; i++) {
        ids[i] = i;
        CHECK_INT(pthread_create(&threads[i], NULL, send_all, &ids[i]), 0);
    }
    loop_run(loop);
    for (unsigned i = 0; i < SENDERS; i++)
        pthread_join(threads[i], NULL);
    CHECK(in_order);
    CHECK_INT(received, SENDERS * POSTS);
    loop_free(loop);
}

static void *stop_soon(void *arg)
{
    (void)arg;
    loop_stop(loop);
    return NULL;
}

TEST(a_sleeping_loop_is_stopped_from_another_thread)
{
    pthread_t thread;

    start();
    CHECK_INT(pthread_create(&thread, NULL, stop_soon, NULL), 0);
    loop_run(loop);
    pthread_join(thread, NULL);
    loop_free(loop);
}

TEST(freeing_a_loop_runs_what_was_posted_and_reaped)
{
    struct actor *a = malloc(sizeof(*a));
    static struct letter l;

    start();
    received = 0;
    next_number[0] = 0;
    l = (struct letter){
        {receive, NULL},
        0, 0
    };
    actor_init(a, 'a');
    loop_post(loop, &l.post);
    loop_reap(loop, &a->reap, free_actor);
    loop_free(loop);
    CHECK_INT(received, 1);
    CHECK_TEXT(order, "R");
}
