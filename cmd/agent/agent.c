/* `weft agent run`: assemble the parts, put every commit into force, stop without a trace. */
#include "cmd/agent/agent_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cmd/agent/capture.h"
#include "cmd/agent/dns.h"
#include "cmd/agent/tls_files.h"
#include "cmd/command.h"
#include "mesh/base/file.h"
#include "mesh/base/limits.h"
#include "mesh/base/log.h"
#include "mesh/base/mem.h"
#include "mesh/base/text.h"
#include "mesh/compile.h"
#include "proxy/proxy.h"

#define SAVE_MS        100 /* after a change, so that a burst is written once */
#define SAVE_AGAIN_MS  5000
#define CHECK_MS       5000 /* capture rules still there? resolv.conf changed? */
#define DRAIN_MS       5000
#define WITHDRAW_MS    300 /* for the server to tell the others that this host's services are gone */
#define DRAIN_LOOK_MS  20
#define CRYPTO_THREADS 1

/* What only the running program needs. */
struct running {
    struct agent agent;
    struct watch signals;
    struct timer drain_timer;
    int64_t drain_until_ms; /* 0: not stopping */
};

/* ---- putting configuration into force ---- */

/* Whoever waits for this expects to be redirected. That the rules are refused is told, and serving
 * goes on. */
static void note_ready(struct agent *a)
{
    if (a->is_ready || !a->snapshot ||
        (a->capture && capture_state(a->capture) == CAPTURE_UNDER_WAY))
        return;
    a->is_ready = true;
    log_info("serving revision=%llu services=%zu", (unsigned long long)a->revision,
             a->catalog.service_count);
}

/* Once for each change of them: commits come often, with the same ones. */
static void tell_warnings(struct agent *a, const struct findings *f)
{
    uint8_t digest[HASH_BYTES];
    struct buf text;

    buf_init(&text, LIMIT_RESOURCE_BYTES);
    findings_json(f, SEVERITY_WARNING, &text);
    hash_sha256(buf_str(&text), digest);
    buf_done(&text);
    if (hash_eq(digest, a->warned))
        return;
    memcpy(a->warned, digest, sizeof(digest));
    for (const struct finding *x = f->first; x; x = x->next) {
        if (x->severity == SEVERITY_WARNING)
            log_warn("%.*s%s%.*s", STR_ARG(x->object), x->object.n ? ": " : "", STR_ARG(x->detail));
    }
}

static struct snapshot *build(struct agent *a, const struct catalog *c, struct findings *f)
{
    struct snapshot *s = compile(c, &a->self, a->snapshot, f);
    struct err err;

    if (!s)
        return NULL;
    tls_files_need(a->tls_files, s);
    if (proxy_apply(a->proxy, s, &err)) {
        findings_add(f, FIND_CONFLICT, SEVERITY_ERROR, "%s", err.text);
        return snapshot_unref(s);
    }
    tls_files_keep(a->tls_files, s);
    return s;
}

static void adopt(struct agent *a, struct snapshot *s)
{
    snapshot_unref(a->snapshot);
    a->snapshot = s;
    agent_apply_host(a);
    timer_in(&a->save_timer, SAVE_MS);
}

int agent_commit(struct agent *a, struct resources *r, struct str epoch, uint64_t revision,
                 struct findings *f)
{
    struct catalog c;
    struct snapshot *s = NULL;

    catalog_init(&c);
    c.revision = revision;
    c.epoch = arena_str(&c.arena, epoch);
    if (catalog_read(r, &c, f) == 0)
        s = build(a, &c, f);
    if (!s) {
        catalog_done(&c);
        return -1;
    }
    resources_done(&a->held);
    a->held = *r;
    mem_free(a->epoch);
    a->epoch = str_dup(epoch);
    a->revision = revision;
    catalog_done(&a->catalog);
    a->catalog = c;
    adopt(a, s);
    note_ready(a);
    tell_warnings(a, f);
    return 0;
}

void agent_recompile(struct agent *a)
{
    struct findings f;
    struct arena arena;
    struct snapshot *s;
    struct err err;

    if (!a->snapshot)
        return;
    arena_init(&arena);
    findings_init(&f, &arena);
    s = build(a, &a->catalog, &f);
    if (s)
        adopt(a, s);
    else if (findings_err(&f, &err))
        log_error("the change of own services cannot be built, keeping what runs: %s", err.text);
    arena_done(&arena);
}

void agent_subscribe(struct agent *a, struct str key)
{
    if (map_get(&a->subscriptions, key))
        return;
    map_put(&a->subscriptions, key, a);
    if (a->link)
        link_subscribe(a->link, key);
    timer_in(&a->save_timer, SAVE_MS);
}

void agent_refused(struct agent *a, struct str ns, struct str service, struct str why)
{
    struct buf name;

    agent_service_name(ns, service, &name);
    if (!map_get(&a->refused, buf_str(&name)))
        log_error("service is not offered name=%.*s: %.*s", STR_ARG(buf_str(&name)), STR_ARG(why));
    map_put(&a->refusing, buf_str(&name), a);
    buf_done(&name);
}

static bool same_names(const struct map *a, const struct map *b)
{
    const struct map_entry *e;
    bool same = a->count == b->count;

    for (size_t i = 0; same && (e = map_each(a, &i));)
        same = map_get(b, e->key);
    return same;
}

void agent_registered(struct agent *a)
{
    bool same = same_names(&a->refused, &a->refusing);

    map_done(&a->refused);
    a->refused = a->refusing;
    map_init(&a->refusing);
    if (same)
        return;
    agent_rebuild_self(a);
    agent_recompile(a);
}

static void need(void *arg, struct str key)
{
    agent_subscribe(arg, key);
}

static void lookup(void *arg, struct str name, struct str key)
{
    (void)name; /* the key says which service it is */
    agent_subscribe(arg, key);
}

/* ---- events ---- */

static void settle_capture(struct agent *a)
{
    struct err err;

    agent_unwatch_capture(a);
    if (capture_settle(a->capture, 0, &err) == CAPTURE_REFUSED)
        log_error("capture rules were not changed, will try again: %s", err.text);
    agent_watch_capture(a);
    note_ready(a);
    report_soon(a->report);
}

static void reload_services(struct agent *a)
{
    struct err err;

    report_reloading(a->report);
    if (agent_read_services(a, &err)) {
        log_error("services.d was not reloaded, keeping what runs: %s", err.text);
        return;
    }
    agent_recompile(a);
    link_register(a->link);
    certs_want(a->certs);
    log_info("services.d reloaded services=%zu listeners=%zu", a->local.service_count,
             a->local.listener_count);
}

static int open_access_log(const struct agent_settings *s, struct err *err)
{
    int fd;

    if (!s->access_log || strcmp(s->access_log, "off") == 0)
        return -1;
    if (strcmp(s->access_log, "-") == 0)
        return fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
    fd = open(s->access_log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (fd < 0)
        (void)err_errno(err, ERR_IO, "access_log %s", s->access_log);
    return fd;
}

static void reopen_access_log(struct agent *a)
{
    struct err err = {0};
    int fd = open_access_log(&a->settings, &err);

    if (fd < 0)
        return;
    /* The number stays and the file behind it changes at once: the writer's thread never meets a
     * closed one. */
    if (dup3(fd, a->access_fd, O_CLOEXEC) < 0)
        log_error("the access log was not reopened, writing to the old file: %s", strerror(errno));
    (void)close(fd); /* only the copy is used */
}

static void check(struct agent *a)
{
    struct addr now[COUNT(a->nameservers)];
    size_t n;
    bool changed;
    struct err err;

    timer_in(&a->check_timer, CHECK_MS);
    if (!a->capture || !a->snapshot)
        return;
    n = agent_nameservers(a->settings.resolv_conf, now, COUNT(now));
    changed = n != a->nameserver_count;
    for (size_t i = 0; i < n && !changed; i++)
        changed = !addr_eq(&now[i], &a->nameservers[i]);
    if (changed && a->dns && dns_server_set_nameservers(a->dns, now, n, &err) == 0) {
        memcpy(a->nameservers, now, n * sizeof(now[0]));
        a->nameserver_count = n;
    }
    if ((changed || !capture_is_whole(a->capture)) && agent_apply_capture(a, &err))
        log_error("capture rules are not as wanted, will try again: %s", err.text);
}

/* Redirect nothing more. The table stays until the drain is over: without it the kernel stops
 * translating the connections that were redirected, and answers under way would never arrive.
 * close_parts removes it. */
static void stop_capture(struct agent *a)
{
    struct capture_plan none;
    struct err err;

    a->is_stopping = true;
    if (!a->capture)
        return;
    timer_stop(&a->check_timer); /* it would put the rules back */
    capture_plan_init(&none);
    none.range4 = none.range6 = (struct cidr){0};
    if (agent_give_plan(a, &none, &err))
        log_warn("redirects stay until the end of the drain: %s", err.text);
}

static void begin_stop(struct running *r)
{
    struct agent *a = &r->agent;

    if (r->drain_until_ms) { /* asked twice: now */
        loop_stop(a->loop);
        return;
    }
    log_info("stopping");
    report_stopping(a->report);
    r->drain_until_ms = loop_now_ms(a->loop) + DRAIN_MS;
    /* First callers elsewhere learn to use other endpoints, then the door closes. */
    timer_in(&r->drain_timer, link_is_up(a->link) ? WITHDRAW_MS : 1);
    if (a->link)
        link_withdraw(a->link);
}

static void drain(struct running *r)
{
    struct agent *a = &r->agent;

    if (!a->is_stopping) { /* withdrawn long enough */
        stop_capture(a);
        proxy_drain(a->proxy);
    }
    if (proxy_is_drained(a->proxy) || loop_now_ms(a->loop) >= r->drain_until_ms)
        loop_stop(a->loop);
    else
        timer_in(&r->drain_timer, DRAIN_LOOK_MS);
}

static void take_signals(struct running *r)
{
    struct signalfd_siginfo info;

    while (read(r->signals.fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGHUP && r->agent.standalone)
            standalone_reload(r->agent.standalone);
        else if (info.ssi_signo == SIGHUP)
            reload_services(&r->agent);
        else if (info.ssi_signo == SIGUSR1)
            reopen_access_log(&r->agent);
        else
            begin_stop(r);
    }
}

/* Worth keeping on the disk. A standalone agent's is there already. */
static bool has_state(const struct agent *a)
{
    return a->epoch && !a->standalone;
}

static void run(struct task *t, unsigned notes)
{
    struct agent *a = CONTAINER(t, struct agent, task);
    struct running *r = CONTAINER(a, struct running, agent);
    struct err err;

    if (notes & NOTE_SAVE)
        malloc_trim(0); /* commits pass through many times the memory that they leave behind */
    if (notes & NOTE_SAVE && has_state(a) && cache_save(a, &err)) {
        log_error("the state was not saved, a restart without a server would serve an older one; "
                  "trying again: %s",
                  err.text);
        timer_in(&a->save_timer, SAVE_AGAIN_MS);
    }
    if (notes & NOTE_CHECK)
        check(a);
    if (notes & NOTE_SIGNAL)
        take_signals(r);
    if (notes & NOTE_CAPTURE)
        settle_capture(a);
    if (notes & NOTE_DRAIN)
        drain(r);
}

/* ---- assembly ---- */

/* The kernel may know IPv6 and have it switched off: then the list of its addresses is empty. */
static bool host_has_ipv6(void)
{
    struct buf addresses;
    struct err err;
    bool some;

    buf_init(&addresses, LIMIT_API_BODY_BYTES);
    some = file_read("/proc/net/if_inet6", &addresses, &err) == 0 && addresses.n > 0;
    buf_done(&addresses);
    return some;
}

static int open_proxy(struct agent *a, struct err *err)
{
    struct proxy_options o = {.control = a->loop,
                              .workers = a->settings.workers,
                              .crypto_threads = CRYPTO_THREADS,
                              .mark = a->settings.capture ? CAPTURE_MARK : 0,
                              .connections_per_source = a->settings.connections_per_source,
                              .mesh_tls13 = a->settings.mesh_tls13,
                              .need = need,
                              .need_arg = a};

    a->access_fd = -1;
    if (a->settings.access_log && strcmp(a->settings.access_log, "off") != 0) {
        a->access_fd = open_access_log(&a->settings, err);
        if (a->access_fd < 0)
            return -1;
    }
    o.access_log_fd = a->access_fd;
    if (a->settings.capture) { /* nobody else is to connect there */
        o.outbound4 = a->settings.outbound;
        o.inbound4 = a->settings.inbound;
    }
    if (a->settings.capture && host_has_ipv6()) { /* redirects of the OUTPUT hook go to the loopback
                                                     address of the family */
        o.outbound6 = (struct addr){.family = 6, .port = a->settings.outbound.port};
        o.outbound6.ip[15] = 1;
        o.inbound6 = (struct addr){.family = 6, .port = a->settings.inbound.port};
    }
    a->proxy = proxy_new(&o, err);
    if (!a->proxy)
        return -1;
    a->tls_files = tls_files_new(a->loop, a->proxy);
    return 0;
}

static int open_names(struct agent *a, struct err *err)
{
    struct dns_options o = {.loop = a->loop,
                            .nameservers = a->nameservers,
                            .port = a->settings.dns_port,
                            .mark = a->settings.capture ? CAPTURE_MARK : 0,
                            .on_lookup = lookup,
                            .arg = a};

    if (!a->settings.dns)
        return 0;
    a->nameserver_count =
        agent_nameservers(a->settings.resolv_conf, a->nameservers, COUNT(a->nameservers));
    o.nameserver_count = a->nameserver_count;
    a->dns = dns_server_open(&o, err);
    return a->dns ? 0 : -1;
}

/* What the disk remembers, so that traffic flows before any server answers. */
static void load_stored(struct agent *a)
{
    struct resources r;
    struct findings f;
    struct arena arena;
    struct str epoch;
    uint64_t revision;
    struct err err;

    arena_init(&arena);
    findings_init(&f, &arena);
    resources_init(&r);
    if (cache_load(a, &r, &epoch, &revision, &arena, &err)) {
        if (err.code != ERR_MISSING)
            log_error("the stored state is not usable, waiting for a server: %s", err.text);
        resources_done(&r);
    } else if (agent_commit(a, &r, epoch, revision, &f)) {
        (void)findings_err(&f, &err);
        log_error("the stored state cannot be built, waiting for a server: %s", err.text);
        resources_done(&r);
    }
    arena_done(&arena);
}

static int open_capture(struct agent *a, struct err *err)
{
    if (!a->settings.capture)
        return 0;
    a->capture = capture_open(a->settings.capture, err);
    if (!a->capture)
        return -1;
    log_info("capture by %s: %.*s", capture_backend(a->capture), STR_ARG(capture_why(a->capture)));
    return 0;
}

/* What does not depend on where the configuration comes from. */
static int open_host(struct agent *a, struct err *err)
{
    if (open_capture(a, err))
        return -1;
    if (open_names(a, err))
        return -1;
    a->report = report_new(a);
    return 0;
}

static int open_member(struct agent *a, struct err *err)
{
    if (agent_init_self(a, err))
        return -1;
    agent_name_callers(a);
    if (agent_read_services(a, err) || open_proxy(a, err))
        return -1;
    a->certs = certs_new(a, err);
    if (!a->certs || open_host(a, err))
        return -1;
    load_stored(a);
    a->link = link_new(a, err);
    return a->link ? 0 : -1;
}

static int open_standalone(struct agent *a, struct err *err)
{
    a->standalone = standalone_new(a, err);
    if (!a->standalone || agent_init_self(a, err) || open_proxy(a, err) || open_host(a, err))
        return -1;
    return standalone_start(a->standalone, err);
}

static int open_parts(struct agent *a, struct err *err)
{
    if (a->settings.standalone_dir ? open_standalone(a, err) : open_member(a, err))
        return -1;
    a->admin = admin_new(a, err);
    return a->admin ? 0 : -1;
}

static void close_parts(struct agent *a)
{
    struct err err;

    report_free(a->report);
    agent_unwatch_capture(a);
    capture_close(a->capture, true);
    admin_free(a->admin);
    link_free(a->link);
    certs_free(a->certs);
    dns_server_close(a->dns);
    tls_files_free(a->tls_files);
    if (a->proxy)
        proxy_free(a->proxy);
    if (has_state(a) && cache_save(a, &err))
        log_error("the state was not saved: %s", err.text);
    if (a->access_fd >= 0)
        (void)close(a->access_fd); /* the writer is gone */
    standalone_free(a->standalone);
    snapshot_unref(a->snapshot);
    catalog_done(&a->catalog);
    resources_done(&a->held);
    map_done(&a->subscriptions);
    map_done(&a->refused);
    map_done(&a->refusing);
    arena_done(&a->services_arena);
    mem_free(a->epoch);
    mem_free(a->identity);
}

static int catch_signals(struct running *r, struct err *err)
{
    sigset_t set;
    int fd;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR1);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) ||
        (fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC)) < 0)
        return err_errno(err, ERR_IO, "signals");
    watch_init(&r->signals, &r->agent.task, fd, NOTE_SIGNAL, 0);
    watch_want(&r->signals, true, false);
    return 0;
}

static int serve_until_stopped(struct running *r, struct err *err)
{
    struct agent *a = &r->agent;
    char at[ADDR_TEXT_MAX];

    task_init(&a->task, a->loop, run);
    timer_init(&a->save_timer, &a->task, NOTE_SAVE);
    timer_init(&a->check_timer, &a->task, NOTE_CHECK);
    timer_init(&r->drain_timer, &a->task, NOTE_DRAIN);
    if (catch_signals(r, err)) /* before threads start: they inherit the mask */
        return -1;
    if (open_parts(a, err) == 0) {
        timer_in(&a->check_timer, CHECK_MS);
        report_soon(a->report);
        log_info("agent runs version=%s host=%s address=%s services=%zu capture=%s dns=%s",
                 WEFT_VERSION, a->member.name, addr_format_ip(&a->self.address, at),
                 a->local.service_count, a->capture ? capture_backend(a->capture) : "off",
                 a->dns ? "on" : "off");
        loop_run(a->loop);
        err->code = ERR_NONE;
    } else {
        err->code = err->code ? err->code : ERR_IO;
    }
    timer_stop(&a->save_timer);
    timer_stop(&a->check_timer);
    timer_stop(&r->drain_timer);
    close_parts(a);
    watch_close(&r->signals);
    task_forget(&a->task);
    return err->code ? -1 : 0;
}

int agent_run(const struct args *args)
{
    struct running r = {0};
    struct agent *a = &r.agent;
    const char *state = args_path(args, "state-dir", "WEFT_STATE_DIR", STATE_DIR);
    const char *alone = args_text(args, "standalone", NULL);
    const char *config = alone ? args_text(args, "config-dir", alone)
                               : args_path(args, "config-dir", "WEFT_CONFIG_DIR", CONFIG_DIR);
    char path[4096];
    struct err err = {0};
    int rc = -1;

    log_name("weft-agent");
    if (args_has(args, "debug"))
        log_level = LOG_DEBUG;
    catalog_init(&a->catalog);
    resources_init(&a->held);
    map_init(&a->subscriptions);
    map_init(&a->refused);
    map_init(&a->refusing);
    arena_init(&a->services_arena);
    a->access_fd = a->capture_watch.fd = -1;
    a->started_ms = text_wall_ms();
    (void)snprintf(path, sizeof(path), "%s/agent", state);
    if (agent_settings_read(config, path,
                            args_path(args, "socket", "WEFT_AGENT_SOCKET", SOCKET_PATH), alone,
                            &a->settings, &err) == 0 &&
        (alone || agent_member_read(path, &a->member, &err) == 0)) {
        a->loop = loop_new(&err);
        if (a->loop) {
            rc = serve_until_stopped(&r, &err);
            loop_free(a->loop);
        }
    }
    agent_member_done(&a->member);
    agent_settings_done(&a->settings);
    return rc ? command_failed(&err) : EXIT_DONE;
}
