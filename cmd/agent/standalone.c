/* `weft agent run --standalone DIR`: one proxy from files alone.
 *
 *     DIR/ *.yaml *.json *.ini    documents, checked together as one apply
 *     DIR/agent.ini, services.d/  as an ordinary agent has them
 *     DIR/certs/                  file_certs.h
 *
 * What a server does between documents and an agent (catalog_build, catalog_view) is done here for the one agent there
 * is, which has subscribed to everything; the rest is agent_commit. A load is whole or not at all: certificates,
 * services.d and documents are read and checked first, and taken over only when the snapshot stands.
 *
 * Every change in the folders (inotify) and SIGHUP load again, DEBOUNCE_MS after the last one. A folder that went away
 * is looked for every WATCH_AGAIN_MS. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "cmd/agent/agent.h"
#include "cmd/agent/file_certs.h"
#include "cmd/command.h"
#include "mesh/base/file.h"
#include "mesh/base/limits.h"
#include "mesh/base/log.h"
#include "mesh/base/mem.h"
#include "mesh/base/text.h"
#include "mesh/catalog.h"
#include "mesh/decode.h"
#include "mesh/identity.h"
#include "mesh/validate.h"
#include "mesh/vip.h"

#define DEBOUNCE_MS     100
#define DEBOUNCE_MAX_MS 1000
#define WATCH_AGAIN_MS  1000
#define DOMAIN          "cluster.local"
#define ROOT_NAMESPACE  "istio-system"
#define HOST_ID         "here" /* endpoints with it are reached in memory */

enum { NOTE_CHANGED = 1, NOTE_LOAD = 2, NOTE_WATCH = 4 };

struct standalone {
    struct agent *agent;
    struct task task;
    struct timer load_timer, watch_timer;
    struct watch changes; /* inotify; fd -1: there is none */
    int64_t first_ms;     /* of the changes that wait, 0: none */
    struct file_certs certs;
    uint64_t revision;
    char digest[65]; /* of the resources in force */
    int64_t loaded_ms;
    char problem[ERR_TEXT_MAX];
};

/* One load under way. */
struct load {
    struct standalone *s;
    struct arena arena, local_arena;
    struct findings findings;
    struct object_list objects;
    struct file_certs certs;
    struct local_set local;
    struct map vips; /* address -> taken */
    struct map wanted;
    struct catalog all;
    struct resources view;
};

/* ---- reading ---- */

static void problem(struct load *l, const char *path, const char *text)
{
    findings_add(&l->findings, FIND_PARSE, SEVERITY_ERROR, "%s", text)->file =
        arena_str(l->findings.arena, str_from(path));
}

static void read_document(struct load *l, const char *name)
{
    struct str path = arena_printf(&l->arena, "%s/%s", l->s->agent->settings.standalone_dir, name);
    struct buf text;
    struct err err;

    buf_init(&text, LIMIT_APPLY_BYTES);
    if (file_read(path.p, &text, &err))
        problem(l, path.p, err.text);
    else if (documents_parse(arena_str(&l->arena, buf_str(&text)), path, SYNTAX_AUTO, &l->arena, &l->objects,
                             &l->findings))
        log_debug("%s has errors", path.p);
    buf_done(&text);
}

static void read_documents(struct load *l)
{
    const char *dir = l->s->agent->settings.standalone_dir;
    char **names = NULL;
    size_t n = 0;
    struct err err;

    if (file_list(dir, document_endings, &names, &n, &err))
        problem(l, dir, err.text);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(names[i], "agent.ini") != 0) /* its settings */
            read_document(l, names[i]);
    }
    file_list_free(names, n);
    if (l->objects.count > LIMIT_APPLY_DOCUMENTS)
        findings_add(&l->findings, FIND_LIMIT, SEVERITY_ERROR, "more than %u documents in %s", LIMIT_APPLY_DOCUMENTS,
                     dir);
}

static bool knows_host(void *arg, struct str fqdn, struct str ns)
{
    const struct self *self = arg;

    (void)ns; /* any namespace's service may be a destination */
    for (size_t i = 0; i < self->service_count; i++) {
        if (!self->services[i].is_gateway && str_eq_nocase(self->services[i].fqdn, fqdn))
            return true;
    }
    return false;
}

static void check_documents(struct load *l)
{
    const struct validate_scope scope = {
        .domain = DOMAIN, .knows_host = knows_host, .arg = &l->s->agent->self};

    validate_duplicates(&l->objects, &l->findings);
    validate_set(&l->objects, &scope, &l->findings);
}

/* A service without a certificate serves plaintext only. */
static void check_identities(struct load *l)
{
    const struct self *self = &l->s->agent->self;

    for (size_t i = 0; i < self->service_count; i++) {
        if (!file_certs_has(&l->certs, self->services[i].identity))
            findings_add(&l->findings, FIND_WARNING, SEVERITY_WARNING,
                         "%s %.*s: no certificate in certs/ has the name %.*s, so mutual TLS with it fails",
                         self->services[i].is_gateway ? "gateway" : "service", STR_ARG(self->services[i].name),
                         STR_ARG(self->services[i].identity));
    }
}

/* ---- documents and own services become what this agent sees ---- */

static bool is_free(struct load *l, const struct addr *a)
{
    char text[ADDR_TEXT_MAX];

    return !map_get(&l->vips, str_from(addr_format_ip(a, text)));
}

static void take(struct load *l, const struct addr *a)
{
    char text[ADDR_TEXT_MAX];

    map_put(&l->vips, str_from(addr_format_ip(a, text)), l);
}

/* Stable as long as no other name has the same hash. Without capture nobody could use one. */
static void vip_of(void *arg, struct str ns, struct str fqdn, struct addr *vip4, struct addr *vip6)
{
    struct load *l = arg;
    struct str key = model_service_key(&l->arena, ns, fqdn);

    *vip4 = *vip6 = (struct addr){0};
    if (!l->s->agent->settings.capture)
        return;
    for (uint64_t i = 0; i < VIP_COUNT; i++) {
        vip_candidate(key, i, vip4, vip6);
        if (!is_free(l, vip4) || !is_free(l, vip6))
            continue;
        take(l, vip4);
        take(l, vip6);
        return;
    }
    *vip4 = *vip6 = (struct addr){0};
}

static struct registered *registered_rows(struct load *l)
{
    const struct self *self = &l->s->agent->self;
    struct registered *rows = ARENA_ARRAY(&l->arena, self->service_count + 1, struct registered);

    for (size_t i = 0; i < self->service_count; i++) {
        const struct local_service *s = &self->services[i];

        rows[i] = (struct registered){.service = *s,
                                      .host_id = self->host_id,
                                      .host = self->host,
                                      .address = model_service_address(s, &self->address),
                                      .weight = 1};
    }
    return rows;
}

static void build_view(struct load *l)
{
    const struct agent *a = l->s->agent;
    const struct catalog_input in = {.objects = l->objects.items,
                                     .object_count = l->objects.count,
                                     .registered = registered_rows(l),
                                     .registered_count = a->self.service_count,
                                     .revision = l->s->revision + 1,
                                     .epoch = STR("standalone"),
                                     .trust_domain = str_from(a->member.trust_domain),
                                     .domain = str_from(a->member.domain),
                                     .root_namespace = str_from(a->member.root_namespace),
                                     .vip = vip_of,
                                     .vip_arg = l};
    const struct viewer viewer = {.ns = a->self.ns,
                                  .services = a->self.services,
                                  .service_count = a->self.service_count,
                                  .subscriptions = &l->wanted};

    catalog_build(&in, &l->all);
    for (size_t i = 0; i < l->all.service_count; i++)
        map_put(&l->wanted, l->all.services[i]->key, l);
    catalog_view(&l->all, &viewer, &l->view);
}

/* ---- one load ---- */

static void load_init(struct load *l, struct standalone *s)
{
    *l = (struct load){.s = s};
    arena_init(&l->arena);
    arena_init(&l->local_arena);
    findings_init(&l->findings, &l->arena);
    map_init(&l->vips);
    map_init(&l->wanted);
    catalog_init(&l->all);
    resources_init(&l->view);
}

static void load_done(struct load *l)
{
    catalog_done(&l->all);
    resources_done(&l->view);
    map_done(&l->vips);
    map_done(&l->wanted);
    file_certs_done(&l->certs);
    arena_done(&l->local_arena);
    arena_done(&l->arena);
}

static void read_certs(struct load *l)
{
    const struct agent *a = l->s->agent;
    struct str dir = arena_printf(&l->arena, "%s/certs", a->settings.standalone_dir);

    if (file_certs_read(dir.p, &l->certs, &l->findings))
        return;
    if (a->member.trust_domain && l->certs.trust_domain.n &&
        !str_eq(l->certs.trust_domain, str_from(a->member.trust_domain)))
        findings_add(&l->findings, FIND_CONFLICT, SEVERITY_ERROR,
                     "the certificates are of trust domain %.*s, and this agent was started in %s: restart it",
                     STR_ARG(l->certs.trust_domain), a->member.trust_domain);
}

/* Into the agent's hands, with what it had before in `former`, for the case that it cannot be built. */
static void take_self(struct load *l, struct self *former)
{
    struct agent *a = l->s->agent;

    *former = a->self;
    a->self.identity = arena_str(&l->local_arena, file_certs_caller(&l->certs));
    agent_build_self(a, &l->local, &l->local_arena);
}

static void adopt(struct load *l)
{
    struct standalone *s = l->s;
    struct agent *a = s->agent;
    struct arena arena = a->services_arena;
    struct file_certs certs = s->certs;

    a->services_arena = l->local_arena;
    a->local = l->local;
    l->local_arena = arena;
    s->certs = l->certs;
    l->certs = certs;
}

static int put_into_force(struct load *l)
{
    struct standalone *s = l->s;
    struct agent *a = s->agent;
    struct self former;
    bool fresh_certs = !file_certs_same(&s->certs, &l->certs);
    struct buf digest;

    take_self(l, &former);
    check_documents(l);
    check_identities(l);
    if (l->findings.errors == 0) {
        build_view(l);
        buf_init(&digest, sizeof(s->digest));
        resources_digest(&l->view, &digest);
        if (fresh_certs) /* before the snapshot that names them */
            file_certs_apply(&l->certs, a->proxy);
        if (agent_commit(a, &l->view, STR("standalone"), s->revision + 1, &l->findings) == 0) {
            (void)snprintf(s->digest, sizeof(s->digest), "%.*s", STR_ARG(buf_str(&digest)));
            s->revision++;
            adopt(l);
            resources_init(&l->view); /* the agent has it */
        } else if (fresh_certs) {
            file_certs_apply(&s->certs, a->proxy);
        }
        buf_done(&digest);
    }
    if (l->findings.errors == 0)
        return 0;
    a->self = former;
    return -1;
}

static int load(struct standalone *s, struct err *err)
{
    const struct agent *a = s->agent;
    struct load l;
    int rc = -1;

    load_init(&l, s);
    read_certs(&l);
    (void)services_read(a->settings.config_dir, &a->settings, &a->self.address, &l.local_arena, &l.local,
                        &l.findings); /* problems are findings, here and below */
    read_documents(&l);
    if (l.findings.errors == 0)
        rc = put_into_force(&l);
    (void)command_findings(&l.findings, err); /* warnings too */
    if (rc == 0) {
        s->loaded_ms = loop_wall_ms(a->loop);
        log_info("loaded %s revision=%llu documents=%zu services=%zu listeners=%zu certificates=%zu",
                 a->settings.standalone_dir, (unsigned long long)s->revision, l.objects.count, a->local.service_count,
                 a->local.listener_count, s->certs.count);
    }
    load_done(&l);
    return rc;
}

void standalone_reload(struct standalone *s)
{
    struct err err;

    s->first_ms = 0;
    timer_stop(&s->load_timer);
    s->problem[0] = '\0';
    report_reloading(s->agent->report);
    if (load(s, &err)) {
        (void)snprintf(s->problem, sizeof(s->problem), "%s", err.text);
        log_error("%s was not loaded, keeping revision %llu: %s", s->agent->settings.standalone_dir,
                  (unsigned long long)s->revision, err.text);
    }
    report_soon(s->agent->report);
}

/* ---- changes ---- */

static bool watch_folder(struct standalone *s, const char *below)
{
    char path[PATH_MAX];

    (void)snprintf(path, sizeof(path), "%s%s", s->agent->settings.standalone_dir, below);
    return inotify_add_watch(s->changes.fd, path,
                             IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF |
                                 IN_MOVE_SELF | IN_ONLYDIR) >= 0;
}

/* Again and again: a folder may have been put in the place of another. The same one twice is harmless. */
static bool watch_folders(struct standalone *s)
{
    (void)watch_folder(s, "/services.d"); /* they need not be there */
    (void)watch_folder(s, "/certs");
    return watch_folder(s, "");
}

static void changed(struct standalone *s)
{
    int64_t now = loop_now_ms(s->agent->loop);
    char events[4096];

    while (read(s->changes.fd, events, sizeof(events)) > 0)
        ; /* what changed does not matter, that it did is enough */
    if (!s->first_ms)
        s->first_ms = now;
    timer_set(&s->load_timer, MIN(now + DEBOUNCE_MS, s->first_ms + DEBOUNCE_MAX_MS));
}

static void run(struct task *t, unsigned notes)
{
    struct standalone *s = CONTAINER(t, struct standalone, task);

    if (notes & NOTE_CHANGED)
        changed(s);
    if (notes & NOTE_WATCH && watch_folders(s))
        timer_in(&s->load_timer, DEBOUNCE_MS); /* it is back */
    else if (notes & NOTE_WATCH)
        timer_in(&s->watch_timer, WATCH_AGAIN_MS);
    if (!(notes & NOTE_LOAD))
        return;
    if (!watch_folders(s))
        timer_in(&s->watch_timer, WATCH_AGAIN_MS);
    standalone_reload(s);
}

static void watch_changes(struct standalone *s)
{
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

    if (fd < 0) {
        log_warn("changes of files are not seen, send SIGHUP after them: %s", strerror(errno));
        return;
    }
    watch_init(&s->changes, &s->task, fd, NOTE_CHANGED, 0);
    watch_want(&s->changes, true, false);
    if (!watch_folders(s))
        timer_in(&s->watch_timer, WATCH_AGAIN_MS);
}

/* ---- life ---- */

/* A member of a mesh of its own: what a join would have said. */
static int be_member(struct standalone *s, struct err *err)
{
    struct agent_member *m = &s->agent->member;
    char name[HOST_NAME_MAX + 1] = "localhost";
    struct load l;
    int rc = 0;

    load_init(&l, s);
    read_certs(&l);
    if (l.findings.errors)
        rc = command_findings(&l.findings, err);
    (void)gethostname(name, sizeof(name) - 1); /* it then stays localhost */
    m->host_id = str_dup(STR(HOST_ID));
    m->name = str_dup(str_from(name));
    m->address = str_dup(STR_NONE);
    m->trust_domain = str_dup(l.certs.trust_domain.n ? l.certs.trust_domain : STR(DOMAIN));
    m->domain = str_dup(STR(DOMAIN));
    m->root_namespace = str_dup(STR(ROOT_NAMESPACE));
    load_done(&l);
    return rc;
}

struct standalone *standalone_new(struct agent *a, struct err *err)
{
    struct standalone *s = mem_zalloc(sizeof(*s));

    s->agent = a;
    s->changes.fd = -1;
    task_init(&s->task, a->loop, run);
    timer_init(&s->load_timer, &s->task, NOTE_LOAD);
    timer_init(&s->watch_timer, &s->task, NOTE_WATCH);
    if (be_member(s, err) == 0)
        return s;
    standalone_free(s);
    return NULL;
}

int standalone_start(struct standalone *s, struct err *err)
{
    if (load(s, err))
        return -1;
    watch_changes(s);
    return 0;
}

void standalone_free(struct standalone *s)
{
    if (!s)
        return;
    if (s->changes.fd >= 0)
        watch_close(&s->changes);
    timer_stop(&s->load_timer);
    timer_stop(&s->watch_timer);
    task_forget(&s->task);
    file_certs_done(&s->certs);
    mem_free(s);
}

/* ---- pages ---- */

void standalone_json(const struct standalone *s, struct buf *out)
{
    buf_adds(out, "{\"folder\":");
    buf_json(out, str_from(s->agent->settings.standalone_dir));
    buf_printf(out, ",\"digest\":\"%s\",\"loaded\":\"", s->digest);
    text_time(out, s->loaded_ms, false);
    buf_adds(out, "\",\"problem\":");
    buf_json(out, str_from(s->problem));
    buf_addc(out, '}');
}

const char *standalone_problem(const struct standalone *s)
{
    return s->problem;
}

void standalone_certs_json(const struct standalone *s, struct buf *out)
{
    file_certs_json(&s->certs, out);
}

int64_t standalone_certs_earliest_ms(const struct standalone *s)
{
    return file_certs_earliest_ms(&s->certs);
}
