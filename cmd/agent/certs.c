/* Keys and SVIDs of this host: the host's own (towards servers), one for callers that belong to no
 * service, one per local service. Keys are made here and are 0600; certificates are renewed at a
 * sixth of their life (pki/lifetime.h), and kept on disk, so that a restart needs no server. When
 * the host certificate itself ran out, the bound key gets a new one (recover). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/agent/agent.h"
#include "mesh/base/file.h"
#include "mesh/base/json.h"
#include "mesh/base/limits.h"
#include "mesh/base/log.h"
#include "mesh/base/mem.h"
#include "mesh/base/text.h"
#include "mesh/identity.h"
#include "pki/creds.h"
#include "pki/key.h"
#include "pki/lifetime.h"
#include "proxy/proxy.h"
#include "proxy/wire/fetch.h"

#define FILE_BYTES   (1u << 20)
#define REQUESTS_MAX 100 /* in one call: the server's bound */
#define LOOK_MS      3600000

struct svid {
    struct svid *next;
    char *kind, *ns, *service, *account; /* as asked from the server */
    char *identity;                      /* SPIFFE URI */
    char *file;                          /* name without suffix, in the state folder */
    struct key *key;
    struct creds *creds;   /* NULL: none yet */
    int64_t rest_until_ms; /* of the loop: not renewed before, whatever the wall clock says */
};

struct certs {
    struct agent *agent;
    struct task task;
    struct timer timer;
    struct svid *list; /* the host's first */
    struct fetch *fetch;
    bool recovering;
    int64_t retry_ms;
};

static void file_path(const struct certs *c, const struct svid *v, const char *suffix, char *out,
                      size_t n)
{
    (void)snprintf(out, n, "%s/%s.%s", c->agent->settings.state_dir, v->file, suffix);
}

static void svid_free(struct svid *v)
{
    mem_free(v->kind);
    mem_free(v->ns);
    mem_free(v->service);
    mem_free(v->account);
    mem_free(v->identity);
    mem_free(v->file);
    key_free(v->key);
    creds_unref(v->creds);
    mem_free(v);
}

/* ---- disk ---- */

static int read_roots(const struct certs *c, struct buf *out, struct err *err)
{
    char path[4096];

    (void)snprintf(path, sizeof(path), "%s/roots.pem", c->agent->settings.state_dir);
    return file_read(path, out, err);
}

static struct creds *build(const struct svid *v, struct str chain, struct str roots,
                           struct err *err)
{
    char pem[KEY_PEM_MAX];
    struct creds *made = NULL;

    if (roots.n == 0)
        (void)err_set(err, ERR_INVALID, "there are no roots with the certificate");
    else
        made = creds_new(chain, (struct str){pem, key_pem(v->key, pem)}, roots, err);
    key_wipe(pem, sizeof(pem));
    if (made && !str_eq(creds_uri(made), str_from(v->identity))) {
        (void)err_set(err, ERR_INVALID, "it is of another identity");
        made = creds_unref(made);
    }
    return made;
}

/* The key, made now if there is none, and the certificate if there is one. */
static int load(struct certs *c, struct svid *v, struct err *err)
{
    char path[4096];
    struct buf chain, roots;
    int rc = -1;

    buf_init(&chain, FILE_BYTES);
    buf_init(&roots, FILE_BYTES);
    file_path(c, v, "key", path, sizeof(path));
    if (file_exists(path)) {
        v->key = key_load(path, err);
        if (!v->key)
            goto out;
    } else { /* the host's came with the join; any other may be another one after a restart */
        v->key = key_new();
        if (key_save(v->key, path, err))
            log_warn("the key of %s is not on the disk, a restart makes another: %s", v->identity,
                     err->text);
    }
    file_path(c, v, "crt", path, sizeof(path));
    if (file_exists(path)) {
        if (file_read(path, &chain, err) || read_roots(c, &roots, err))
            goto out;
        v->creds = build(v, buf_str(&chain), buf_str(&roots), err);
        if (!v->creds)
            log_warn("stored certificate of %s is not usable, asking for another: %s", v->identity,
                     err->text);
    }
    rc = 0;
out:
    buf_done(&chain);
    buf_done(&roots);
    return rc;
}

static int64_t pause_ms(const struct svid *v)
{
    return lifetime_pause_ms(creds_not_before_ms(v->creds), creds_not_after_ms(v->creds));
}

/* Takes effect also when the disk does not take it: a restart then begins with the former one and
 * asks again, which is better than letting this one run out in memory. */
static int store(struct certs *c, struct svid *v, struct str chain, struct str roots,
                 struct err *err)
{
    struct creds *fresh = build(v, chain, roots, err);
    char path[4096], roots_path[4096];
    struct err unsaved;

    if (!fresh)
        return -1;
    (void)snprintf(roots_path, sizeof(roots_path), "%s/roots.pem", c->agent->settings.state_dir);
    file_path(c, v, "crt", path, sizeof(path));
    if (file_write(roots_path, roots, 0644, &unsaved) || file_write(path, chain, 0644, &unsaved))
        log_warn("the new certificate of %s is used but not on the disk: %s", v->identity,
                 unsaved.text);
    creds_unref(v->creds);
    v->creds = fresh;
    v->rest_until_ms = loop_now_ms(c->agent->loop) + pause_ms(v);
    return 0;
}

/* ---- the list ---- */

static struct svid *add(struct certs *c, const char *kind, struct str ns, struct str service,
                        struct str account, struct str file, struct err *err)
{
    struct svid *v = mem_zalloc(sizeof(*v)), **at = &c->list;
    struct str td = str_from(c->agent->member.trust_domain);
    struct buf uri;

    buf_init(&uri, 4096);
    if (strcmp(kind, "host") == 0)
        identity_host(&uri, td, str_from(c->agent->member.host_id));
    else
        identity_service(&uri, td, ns, account);
    v->kind = str_dup(str_from(kind));
    v->ns = str_dup(ns);
    v->service = str_dup(service);
    v->account = str_dup(account);
    v->identity = str_dup(buf_str(&uri));
    v->file = str_dup(file);
    buf_done(&uri);
    if (load(c, v, err)) {
        svid_free(v);
        return NULL;
    }
    while (*at)
        at = &(*at)->next;
    *at = v;
    return v;
}

static struct svid *find(const struct certs *c, struct str identity)
{
    for (struct svid *v = c->list; v; v = v->next) {
        if (str_eq(str_from(v->identity), identity))
            return v;
    }
    return NULL;
}

/* Does a local service need it? The host's own and that of callers always stay. */
static bool is_wanted(const struct certs *c, const struct svid *v)
{
    const struct self *self = &c->agent->self;

    if (strcmp(v->kind, "service") != 0)
        return true;
    for (size_t i = 0; i < self->service_count; i++) {
        const struct local_service *s = &self->services[i];

        if (str_eq(s->identity, str_from(v->identity)) && str_eq(s->name, str_from(v->service)))
            return true;
    }
    return false;
}

/* Nobody renews what no service needs any more: the server might refuse it. */
static void drop_services(struct certs *c)
{
    for (struct svid **at = &c->list; *at;) {
        struct svid *v = *at;

        if (is_wanted(c, v)) {
            at = &v->next;
        } else {
            *at = v->next;
            svid_free(v);
        }
    }
}

/* Identities of the local services that have no row yet. */
static void add_services(struct certs *c)
{
    const struct self *self = &c->agent->self;

    for (size_t i = 0; i < self->service_count; i++) {
        const struct local_service *s = &self->services[i];
        struct buf file;
        struct svid *v;
        struct err err;

        if (find(c, s->identity))
            continue;
        buf_init(&file, 1024);
        /* No label has a dot: a-b of c and a of b-c must not share a key. */
        buf_printf(&file, "svid-%.*s.%.*s", STR_ARG(s->ns), STR_ARG(s->account));
        v = add(c, "service", s->ns, s->name, s->account, buf_str(&file), &err);
        if (!v)
            log_error("no key for %.*s, it cannot serve: %s", STR_ARG(s->name), err.text);
        else if (v->creds)
            proxy_set_creds(c->agent->proxy, s->identity, v->creds);
        buf_done(&file);
    }
}

/* ---- asking ---- */

/* Until its renewal; 0 or less: it is due. */
static int64_t wait_ms(const struct certs *c, const struct svid *v)
{
    int64_t renew =
        v->creds ? lifetime_renew_ms(creds_not_before_ms(v->creds), creds_not_after_ms(v->creds))
                 : 0;

    return MAX(renew - loop_wall_ms(c->agent->loop),
               v->rest_until_ms - loop_now_ms(c->agent->loop));
}

/* The next look, jittered by a tenth: at the earliest renewal; after a failure later and later, but
 * often enough for the life of what this host has. */
static void schedule(struct certs *c, bool failed)
{
    int64_t wait = failed ? LIFETIME_RETRY_MAX_MS : LOOK_MS;

    for (const struct svid *v = c->list; v; v = v->next) {
        if (!failed)
            wait = MIN(wait, MAX(wait_ms(c, v), LIFETIME_RETRY_MIN_MS));
        else if (v->creds)
            wait = MIN(wait, pause_ms(v));
    }
    if (failed)
        wait = lifetime_retry_ms(c->retry_ms, wait);
    c->retry_ms = failed ? wait : 0;
    wait += (int64_t)(text_random_u64() % (uint64_t)(wait / 10 + 1));
    timer_in(&c->timer, wait);
}

/* False if something was not got, and has to be asked for again later. */
static bool take(struct certs *c, const struct node *root)
{
    struct str roots = node_text(root, "roots"), problem;
    const struct node *list = node_get(root, STR("certificates"));
    bool host_changed = false, good = true;
    struct err err;

    for (const struct node *n = list ? list->first : NULL; n; n = n->next) {
        struct svid *v = find(c, node_text(n, "identity"));

        problem = node_text(n, "problem");
        if (problem.n) {
            log_error("no certificate for service %.*s, trying again: %.*s",
                      STR_ARG(node_text(n, "service")), STR_ARG(problem));
            good = false;
        }
        if (!v)
            continue;
        if (store(c, v, node_text(n, "certificate"), roots, &err)) {
            log_error("the certificate of %s was not taken, keeping the old one: %s", v->identity,
                      err.text);
            good = false;
            continue;
        }
        log_info("certificate renewed identity=%s serial=%.*s", v->identity,
                 STR_ARG(creds_serial(v->creds)));
        if (v == c->list)
            host_changed = true;
        else
            proxy_set_creds(c->agent->proxy, str_from(v->identity), v->creds);
    }
    if (host_changed)
        link_restart(c->agent->link);
    return good;
}

static void answered(void *arg, const struct fetch_answer *answer, const struct err *err)
{
    struct certs *c = arg;
    struct arena a;
    struct node *root;
    struct err bad;

    c->fetch = NULL;
    arena_init(&a);
    if (err) {
        log_warn("certificates were not renewed, trying again: %s", err->text);
        schedule(c, true);
    } else if (answer->status != 200) {
        log_warn("certificates were not renewed, trying again: the server answered %u: %.*s",
                 answer->status, (int)MIN(answer->body.n, 300), answer->body.p);
        schedule(c, true);
    } else if (json_read(answer->body, &a, &root, &bad)) {
        log_warn("certificates were not renewed, trying again: %s", bad.text);
        schedule(c, true);
    } else if (c->recovering) {
        bool stored =
            store(c, c->list, node_text(root, "certificate"), node_text(root, "roots"), &bad) == 0;

        if (stored)
            link_restart(c->agent->link);
        else
            log_error("this host's new certificate was not taken, trying again: %s", bad.text);
        schedule(c, !stored);
    } else {
        schedule(c, !take(c, root));
    }
    arena_done(&a);
}

static int add_request(const struct svid *v, struct buf *out, struct err *err)
{
    struct buf csr;
    int rc;

    buf_init(&csr, FILE_BYTES);
    rc = key_csr(v->key, &csr, err);
    if (rc == 0) {
        buf_printf(out, "{\"kind\":\"%s\",\"namespace\":", v->kind);
        buf_json(out, str_from(v->ns));
        buf_adds(out, ",\"service\":");
        buf_json(out, str_from(v->service));
        buf_adds(out, ",\"account\":");
        buf_json(out, str_from(v->account));
        buf_adds(out, ",\"csr\":");
        buf_json(out, buf_str(&csr));
        buf_addc(out, '}');
    }
    buf_done(&csr);
    return rc;
}

static void recover(struct certs *c)
{
    struct buf body, csr;
    struct err err;

    buf_init(&body, FILE_BYTES);
    buf_init(&csr, FILE_BYTES);
    if (key_csr(c->list->key, &csr, &err) == 0) {
        buf_adds(&body, "{\"host\":");
        buf_json(&body, str_from(c->agent->member.host_id));
        buf_adds(&body, ",\"csr\":");
        buf_json(&body, buf_str(&csr));
        buf_addc(&body, '}');
        c->recovering = true;
        c->fetch = link_call(c->agent->link, false, "POST", "/v1/agent/recover", buf_str(&body),
                             answered, c);
    }
    if (!c->fetch)
        schedule(c, true);
    buf_done(&body);
    buf_done(&csr);
}

static void ask(struct certs *c)
{
    int64_t now = loop_wall_ms(c->agent->loop);
    struct buf body;
    struct err err;
    bool failed = false;
    size_t n = 0;

    if (c->fetch)
        return;
    if (!c->list->creds || creds_not_after_ms(c->list->creds) <= now) {
        recover(c);
        return;
    }
    buf_init(&body, LIMIT_API_BODY_BYTES);
    buf_adds(&body, "{\"requests\":[");
    for (const struct svid *v = c->list; v && n < REQUESTS_MAX && !failed; v = v->next) {
        if (wait_ms(c, v) > 0)
            continue;
        if (n)
            buf_addc(&body, ',');
        failed = add_request(v, &body, &err) != 0;
        n++;
    }
    buf_adds(&body, "]}");
    c->recovering = false;
    if (failed)
        log_error("no request for a certificate can be made, trying again: %s", err.text);
    else if (n)
        c->fetch = link_call(c->agent->link, true, "POST", "/v1/agent/certificates", buf_str(&body),
                             answered, c);
    if (!c->fetch)
        schedule(c, n > 0);
    buf_done(&body);
}

static void run(struct task *t, unsigned notes)
{
    (void)notes; /* the timer's alone */
    ask(CONTAINER(t, struct certs, task));
}

/* ---- face ---- */

void certs_want(struct certs *c)
{
    drop_services(c);
    add_services(c);
    timer_in(&c->timer, 1);
}

struct creds *certs_host(const struct certs *c)
{
    return c->list->creds;
}

int64_t certs_earliest_ms(const struct certs *c)
{
    int64_t first = INT64_MAX;

    for (const struct svid *v = c->list; v; v = v->next)
        if (v->creds) /* one that was refused, or has not come yet, does not end */
            first = MIN(first, creds_not_after_ms(v->creds));
    return first;
}

void certs_print(struct str identity, const struct creds *c, struct buf *out)
{
    buf_adds(out, "\"identity\":");
    buf_json(out, identity);
    if (!c)
        return;
    buf_adds(out, ",\"fingerprint\":");
    buf_json(out, creds_fingerprint(c));
    buf_adds(out, ",\"serial\":");
    buf_json(out, creds_serial(c));
    buf_adds(out, ",\"notBefore\":\"");
    text_time(out, creds_not_before_ms(c), false);
    buf_adds(out, "\",\"notAfter\":\"");
    text_time(out, creds_not_after_ms(c), false);
    buf_addc(out, '"');
}

void certs_json(const struct certs *c, struct buf *out)
{
    size_t n = 0;

    buf_adds(out, "{\"certificates\":[");
    for (const struct svid *v = c->list; v; v = v->next) {
        buf_adds(out, n++ ? ",{" : "{");
        certs_print(str_from(v->identity), v->creds, out);
        buf_addc(out, '}');
    }
    buf_adds(out, "]}");
}

struct certs *certs_new(struct agent *a, struct err *err)
{
    struct certs *c = mem_zalloc(sizeof(*c));
    struct svid *host, *callers;
    struct identity id;

    c->agent = a;
    task_init(&c->task, a->loop, run);
    timer_init(&c->timer, &c->task, 1);
    host = add(c, "host", STR_NONE, STR_NONE, STR_NONE, STR("host"), err);
    if (!host || !host->creds) {
        if (host)
            (void)err_set(err, ERR_MISSING, "this host has no certificate: weft join TOKEN");
        certs_free(c);
        return NULL;
    }
    if (identity_parse(a->self.identity, &id, err)) {
        certs_free(c);
        return NULL;
    }
    callers = add(c, "default", id.ns, STR_NONE, id.account, STR("callers"), err);
    if (!callers) {
        certs_free(c);
        return NULL;
    }
    if (callers->creds)
        proxy_set_creds(a->proxy, a->self.identity, callers->creds);
    add_services(c);
    schedule(c, false);
    return c;
}

void certs_free(struct certs *c)
{
    if (!c)
        return;
    if (c->fetch)
        fetch_cancel(c->fetch);
    timer_stop(&c->timer);
    task_forget(&c->task);
    while (c->list) {
        struct svid *v = c->list;

        c->list = v->next;
        svid_free(v);
    }
    mem_free(c);
}
