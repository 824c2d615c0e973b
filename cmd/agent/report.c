/* What the service manager hears of an agent: ready when traffic flows by a configuration, what it
 * waits for until then, and that it is alive as long as every thread that carries traffic turns. */
#include "cmd/agent/agent.h"
#include "cmd/notify.h"
#include "mesh/base/log.h"
#include "mesh/base/mem.h"
#include "mesh/snapshot.h"
#include "proxy/proxy.h"

#define EXTEND_MS 30000 /* at each ping of a start that takes long, because no server answers */

enum { NOTE_REPORT = 1 };

struct report {
    struct agent *agent;
    struct task task;
    struct timer timer;
    struct notify notify;
};

/* Listeners stand from the start; a configuration and its redirects come after it. */
static bool is_serving(const struct agent *a)
{
    return a->is_ready && (!a->capture || capture_state(a->capture) != CAPTURE_REFUSED);
}

static void say_status(struct report *r)
{
    const struct agent *a = r->agent;
    unsigned long long revision = (unsigned long long)a->revision;

    if (a->is_stopping)
        notify_status(&r->notify, "draining connections");
    else if (!a->is_ready && a->standalone)
        notify_status(&r->notify, "reading %s", a->settings.standalone_dir);
    else if (!a->is_ready)
        notify_status(&r->notify, "waiting for a first configuration: %s", link_problem(a->link));
    else if (!is_serving(a))
        notify_status(&r->notify, "revision %llu is not captured, trying again; see the log", revision);
    else if (a->standalone && *standalone_problem(a->standalone))
        notify_status(&r->notify, "serving revision %llu; the last reload was refused: %s", revision,
                      standalone_problem(a->standalone));
    else if (a->standalone || link_is_up(a->link))
        notify_status(&r->notify, "serving revision %llu, services here: %zu", revision,
                      a->self.service_count);
    else
        notify_status(&r->notify, "serving revision %llu, services here: %zu; no server: %s", revision,
                      a->self.service_count, link_problem(a->link));
}

/* A worker that stands still for the watchdog's time gets no ping sent, and systemd ends us with a
 * core of all threads; the loop that sends it is watched by sending it. */
static void report(struct task *t, unsigned notes)
{
    struct report *r = CONTAINER(t, struct report, task);

    (void)notes; /* there is one */
    timer_in(&r->timer, notify_ping_ms(&r->notify));
    if (proxy_is_alive(r->agent->proxy))
        notify_alive(&r->notify);
    say_status(r);
    if (is_serving(r->agent))
        notify_ready(&r->notify);
    else if (!r->notify.is_ready)
        notify_extend(&r->notify, EXTEND_MS);
}

struct report *report_new(struct agent *a)
{
    struct report *r = mem_zalloc(sizeof(*r));

    r->agent = a;
    notify_open(&r->notify);
    task_init(&r->task, a->loop, report);
    timer_init(&r->timer, &r->task, NOTE_REPORT);
    return r;
}

void report_soon(struct report *r)
{
    if (r->notify.fd >= 0)
        timer_in(&r->timer, 1);
}

void report_reloading(struct report *r)
{
    notify_reloading(&r->notify);
    report_soon(r);
}

void report_stopping(struct report *r)
{
    notify_stopping(&r->notify);
    report_soon(r);
}

void report_free(struct report *r)
{
    if (!r)
        return;
    timer_stop(&r->timer);
    task_forget(&r->task);
    notify_close(&r->notify);
    mem_free(r);
}
