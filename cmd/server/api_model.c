/* Documents over HTTP: apply, get, list, put, delete. Every change is one commit; what is wrong
 * with it is told whole, and then nothing is changed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/server/api.h"
#include "mesh/base/json.h"
#include "mesh/base/limits.h"
#include "mesh/base/log.h"
#include "mesh/base/text.h"
#include "mesh/base/yaml.h"
#include "mesh/decode.h"
#include "mesh/encode.h"
#include "mesh/validate.h"
#include "store/ledger.h"
#include "store/registry.h"
#include "store/revision.h"

const char *const api_apply_query[] = {"dryRun", "message", "expectRevision", "skipKinds",
                                       "file",   "delete",  NULL};
const char *const api_put_query[] = {"dryRun", "message", NULL};
const char *const api_list_query[] = {"namespace", "after", "wait", NULL};

/* One change on its way to a commit. */
struct change {
    struct api_call *call;
    struct object_list objects; /* given by the caller */
    struct findings findings;
    bool deleting, dry_run;
    int64_t expect; /* revision, -1: any */
    struct str message;
    struct str skip_kinds; /* documents to pass by, see decode.h */
};

static const char *result_name(enum revision_result r)
{
    switch (r) {
    case REVISION_UNCHANGED:
        return "unchanged";
    case REVISION_CREATED:
        return "created";
    case REVISION_CHANGED:
        return "changed";
    case REVISION_DELETED:
        return "deleted";
    case REVISION_ABSENT:
        return "absent";
    }
    return "?";
}

/* ---- checking ---- */

static bool knows_host(void *arg, struct str fqdn, struct str ns)
{
    const struct server *s = arg;
    const struct registry_service *svc;

    (void)ns; /* any namespace's service may be a destination */
    for (size_t i = 0; (svc = registry_service_each(s->registry, &i));) {
        if (str_eq_nocase(svc->fqdn, fqdn))
            return true;
    }
    return false;
}

static bool same_object(const struct object *a, const struct object *b)
{
    return a->meta.kind == b->meta.kind && str_eq(a->meta.ns, b->meta.ns) &&
           str_eq(a->meta.name, b->meta.name);
}

/* The whole set as it would be after the change. */
static void after_change(const struct change *x, struct arena *a, struct object_list *out)
{
    size_t count;
    struct object *const *head = publish_objects(x->call->server->publish, &count);

    for (size_t i = 0; i < count; i++) {
        bool touched = false;

        for (size_t k = 0; k < x->objects.count && !touched; k++)
            touched = same_object(head[i], x->objects.items[k]);
        if (!touched)
            object_list_add(out, a, head[i]);
    }
    for (size_t k = 0; !x->deleting && k < x->objects.count; k++)
        object_list_add(out, a, x->objects.items[k]);
}

static void copy_finding(struct findings *to, const struct finding *f)
{
    struct finding *n = findings_add(to, f->code, f->severity, "%.*s", STR_ARG(f->detail));
    struct finding *next = n->next;

    *n = *f;
    n->next = next;
}

/* References are asked of the whole set: taking away a subset may break a rule that this change
 * does not touch. Warnings are given for what was sent. */
static void check_set(struct change *x)
{
    struct server *s = x->call->server;
    struct validate_scope scope = {
        .domain = s->settings.domain, .knows_host = knows_host, .arg = s};
    struct object_list all = {0};
    struct findings warnings;

    after_change(x, &x->call->arena, &all);
    findings_init(&warnings, &x->call->arena);
    if (!x->deleting) {
        scope.changed = &x->objects;
        validate_set(&all, &scope, &x->findings);
    }
    if (x->findings.errors)
        return;
    scope.changed = NULL;
    findings_init(&warnings, &x->call->arena);
    validate_set(&all, &scope, &warnings);
    for (const struct finding *f = warnings.first; f; f = f->next) {
        if (f->severity == SEVERITY_ERROR)
            copy_finding(&x->findings, f);
    }
}

/* ---- committing ---- */

static void answer_refused(struct change *x)
{
    char title[160];

    x->call->server->counters.applies_refused++;
    (void)snprintf(title, sizeof(title), "%zu problem%s; nothing was changed", x->findings.errors,
                   x->findings.errors == 1 ? "" : "s");
    reply_findings(x->call->r, 422, title, &x->findings);
}

static void answer_done(struct change *x, int64_t revision, const struct revision_change *changes,
                        const enum revision_result *results, size_t count)
{
    struct buf out;

    buf_init(&out, LIMIT_APPLY_BYTES);
    buf_printf(&out, "{\"revision\":%lld,\"dryRun\":%s,\"results\":[", (long long)revision,
               x->dry_run ? "true" : "false");
    for (size_t i = 0; i < count; i++) {
        buf_adds(&out, i ? ",{\"kind\":" : "{\"kind\":");
        buf_json(&out, changes[i].kind);
        buf_adds(&out, ",\"namespace\":");
        buf_json(&out, changes[i].ns);
        buf_adds(&out, ",\"name\":");
        buf_json(&out, changes[i].name);
        buf_printf(&out, ",\"result\":\"%s\"}", result_name(results[i]));
    }
    buf_adds(&out, "],\"warnings\":");
    findings_json(&x->findings, SEVERITY_WARNING, &out);
    buf_addc(&out, '}');
    serve_header(x->call->r, "weft-revision",
                 arena_printf(&x->call->arena, "%lld", (long long)revision));
    reply_json(x->call->r, 200, &out);
    buf_done(&out);
}

/* What is stored must be readable again, or every later publication would stop at it. */
static void check_stored(struct change *x, const struct object *o, struct str json)
{
    struct object_list again = {0};
    struct findings f;

    findings_init(&f, &x->call->arena);
    if (documents_parse(json, o->meta.file, SYNTAX_JSON, &x->call->arena, &again, &f))
        findings_add(&x->findings, FIND_VALUE, SEVERITY_ERROR,
                     "%s %.*s/%.*s cannot be stored (a fault of this version of weft): %.*s",
                     o->meta.kind->name, STR_ARG(o->meta.ns), STR_ARG(o->meta.name),
                     STR_ARG(f.first->detail));
}

static struct revision_change *changes_of(struct change *x)
{
    struct arena *a = &x->call->arena;
    struct revision_change *changes = ARENA_ARRAY(a, x->objects.count + 1, struct revision_change);
    struct buf text;

    buf_init(&text, LIMIT_OBJECT_BYTES);
    for (size_t i = 0; i < x->objects.count; i++) {
        struct object *o = x->objects.items[i];
        struct str json;

        o->meta.created_ms = 0; /* the store stamps it, at first apply */
        buf_clear(&text);
        if (!x->deleting)
            json_write(encode_object(o, a), 0, &text);
        json = arena_str(a, buf_str(&text));
        if (text.failed)
            findings_add(&x->findings, FIND_LIMIT, SEVERITY_ERROR,
                         "%s %.*s/%.*s is larger than %u MiB: split it", o->meta.kind->name,
                         STR_ARG(o->meta.ns), STR_ARG(o->meta.name), LIMIT_OBJECT_BYTES >> 20);
        else if (!x->deleting)
            check_stored(x, o, json);
        changes[i] = (struct revision_change){.kind = str_from(o->meta.kind->name),
                                              .ns = o->meta.ns,
                                              .name = o->meta.name,
                                              .object = json,
                                              .file = o->meta.file,
                                              .line = o->meta.line,
                                              .deleted = x->deleting};
    }
    buf_done(&text);
    return changes;
}

static void commit(struct change *x)
{
    struct server *s = x->call->server;
    struct revision_change *changes;
    enum revision_result *results;
    struct ledger_audit audit;
    int64_t revision = revision_current(s->revisions);
    size_t count = x->objects.count;
    struct err err;

    if (x->findings.errors == 0)
        validate_duplicates(&x->objects, &x->findings);
    if (x->findings.errors == 0)
        check_set(x);
    changes = x->findings.errors == 0 ? changes_of(x) : NULL;
    if (!changes || x->findings.errors) {
        answer_refused(x);
        return;
    }
    results = ARENA_ARRAY(&x->call->arena, count + 1, enum revision_result);
    if (x->dry_run) {
        (void)revision_preview(s->revisions, changes, count,
                               results); /* the results say what would change */
        answer_done(x, revision, changes, results, count);
        return;
    }
    role_audit(s, x->call->r, x->deleting ? "delete" : "apply", &x->call->arena, &audit);
    audit.message = x->message;
    if (revision_commit(s->revisions, changes, count, x->expect, &audit, &revision, results,
                        &err)) {
        if (err.code == ERR_CONFLICT)
            reply_problem(x->call->r, 412, "Precondition Failed", err.text);
        else
            reply_err(x->call->r, &err);
        return;
    }
    s->counters.applies++;
    api_watch_committed(s, revision, changes, results, count);
    publish_soon(s->publish);
    answer_done(x, revision, changes, results, count);
}

static void change_init(struct change *x, struct api_call *c)
{
    *x = (struct change){.call = c, .expect = -1};
    findings_init(&x->findings, &c->arena);
}

/* "true", "false", or the bare name for true; false and answered if it is another. */
static bool read_switch(struct api_call *c, struct str name, bool *out)
{
    struct str value;

    if (!reply_query(c->r, name, &c->arena, &value))
        return true;
    if (!str_eq(value, STR("true")) && !str_eq(value, STR("false")) && value.n) {
        reply_problem(c->r, 400, "Bad Request",
                      arena_printf(&c->arena, "%.*s is true or false", STR_ARG(name)).p);
        return false;
    }
    *out = !str_eq(value, STR("false"));
    return true;
}

/* dryRun, delete, message, skipKinds, expectRevision; false and answered if they are wrong. */
static bool read_query(struct change *x)
{
    struct api_call *c = x->call;
    struct str value;

    if (!read_switch(c, STR("dryRun"), &x->dry_run) || !read_switch(c, STR("delete"), &x->deleting))
        return false;
    if (reply_query(c->r, STR("message"), &c->arena, &value))
        x->message = value;
    if (reply_query(c->r, STR("skipKinds"), &c->arena, &value))
        x->skip_kinds = value;
    if (reply_query(c->r, STR("expectRevision"), &c->arena, &value) &&
        !str_int(value, 0, INT64_MAX, &x->expect)) {
        reply_problem(c->r, 400, "Bad Request", "expectRevision is a number");
        return false;
    }
    return true;
}

static void parse(struct change *x, struct str text, struct str file, enum syntax syntax)
{
    struct findings *f = &x->findings;

    const struct documents_how how = {.syntax = syntax, .skip_kinds = x->skip_kinds};

    if (documents_read(text, file, &how, &x->call->arena, &x->objects, f))
        return; /* commit looks at the findings */
    if (x->objects.count > LIMIT_APPLY_DOCUMENTS)
        findings_add(f, FIND_LIMIT, SEVERITY_ERROR, "more than %u documents in one apply",
                     LIMIT_APPLY_DOCUMENTS);
}

/* {"files":[{"name":..,"text":..}]}: what the command line sends, so that findings can name files.
 */
static void parse_files(struct change *x)
{
    struct node *root;
    const struct node *files;
    struct err err;

    if (json_read(x->call->r->body, &x->call->arena, &root, &err)) {
        findings_add(&x->findings, FIND_PARSE, SEVERITY_ERROR, "%s", err.text);
        return;
    }
    files = node_get(root, STR("files"));
    for (const struct node *n = files ? files->first : NULL; n; n = n->next)
        parse(x, node_text(n, "text"), node_text(n, "name"), SYNTAX_AUTO);
}

void api_apply(struct api_call *c)
{
    struct str type = STR_NONE, file = STR("(request)");
    struct change x;

    change_init(&x, c);
    if (!read_query(&x))
        return;
    (void)http_get(c->r->head, STR("content-type"), &type); /* none is YAML, which JSON is too */
    (void)reply_query(c->r, STR("file"), &c->arena, &file);
    if (str_starts(type, STR("application/vnd.weft.files+json")))
        parse_files(&x);
    else
        parse(&x, c->r->body, file,
              str_starts(type, STR("application/json")) ? SYNTAX_JSON : SYNTAX_AUTO);
    if (x.findings.errors == 0 && x.objects.count == 0)
        findings_add(&x.findings, FIND_ENVELOPE, SEVERITY_ERROR,
                     "there is no document in what was sent");
    commit(&x);
}

/* ---- reading ---- */

static const struct kind *find_kind(struct api_call *c, struct str name)
{
    const struct kind *k = kind_find_any(name);

    if (!k)
        reply_problem(c->r, 404, "Not Found", "no such kind; see: weft get --help");
    return k;
}

/* The stored document with what the store knows of it, and without its secrets. */
static struct node *stored_node(struct arena *a, const struct revision_object *o)
{
    struct node *root, *meta;
    struct err err;
    struct buf time;

    if (json_read(o->object, a, &root, &err)) /* cannot be: the store wrote it */
        return node_new(a, NODE_MAP);
    (void)encode_redact_document(root); /* the same answer either way */
    meta = node_get(root, STR("metadata"));
    if (meta) {
        buf_init(&time, 64);
        text_time(&time, o->created_ms, false);
        node_set(meta, STR("creationTimestamp"), node_string(a, arena_str(a, buf_str(&time))));
        node_set(meta, STR("resourceVersion"),
                 node_string(a, arena_printf(a, "%lld", (long long)o->revision)));
        buf_done(&time);
    }
    return root;
}

static void answer_node(struct api_call *c, const struct node *n)
{
    struct str accept = STR_NONE;
    struct buf out;

    (void)http_get(c->r->head, STR("accept"), &accept);
    buf_init(&out, LIMIT_APPLY_BYTES);
    if (str_starts(accept, STR("application/yaml"))) {
        yaml_write(n, &out);
        serve_answer(c->r, 200, "application/yaml", buf_str(&out));
    } else { /* bounded by what was applied */
        json_write(n, 2, &out);
        reply_json(c->r, 200, &out);
    }
    buf_done(&out);
}

static void etag(struct api_call *c, int64_t revision)
{
    serve_header(c->r, "etag", arena_printf(&c->arena, "\"%lld\"", (long long)revision));
    serve_header(
        c->r, "weft-revision",
        arena_printf(&c->arena, "%lld", (long long)revision_current(c->server->revisions)));
}

static const struct revision_object *find_object(struct api_call *c)
{
    const struct kind *k = find_kind(c, c->params[1]);
    const struct revision_object *o;

    if (!k)
        return NULL;
    o = revision_get(c->server->revisions, str_from(k->name), c->params[0], c->params[2]);
    if (!o) {
        struct str detail = arena_printf(&c->arena, "%s %.*s/%.*s is not there", k->name,
                                         STR_ARG(c->params[0]), STR_ARG(c->params[2]));

        reply_problem(c->r, 404, "Not Found", detail.p);
    }
    return o;
}

void api_get(struct api_call *c)
{
    const struct revision_object *o = find_object(c);

    if (!o)
        return;
    etag(c, o->revision);
    answer_node(c, stored_node(&c->arena, o));
}

/* after=REV&wait=60s: true if the request was parked, or refused. */
static bool long_poll(struct api_call *c, const struct kind *k)
{
    struct str after, wait = STR("60s");
    int64_t revision, ns;

    if (c->waited || !reply_query(c->r, STR("after"), &c->arena, &after))
        return false;
    (void)reply_query(c->r, STR("wait"), &c->arena, &wait);
    if (!str_int(after, 0, INT64_MAX, &revision) || !str_duration(wait, &ns) || ns < 0 ||
        ns > 600000000000ll) {
        reply_problem(c->r, 400, "Bad Request", "after is a revision, wait a duration up to 10m");
        return true;
    }
    return api_park(c, (int)k->id, revision, ns / 1000000);
}

void api_list(struct api_call *c)
{
    const struct kind *k = find_kind(c, c->params[0]);
    const struct revision_object **rows;
    struct node *root, *items;
    struct str ns = STR_NONE;
    size_t n;

    if (!k || long_poll(c, k))
        return;
    (void)reply_query(c->r, STR("namespace"), &c->arena, &ns); /* none: all */
    n = revision_list(c->server->revisions, str_from(k->name), ns, &c->arena, &rows);
    root = node_new(&c->arena, NODE_MAP);
    items = node_new(&c->arena, NODE_LIST);
    node_set(root, STR("apiVersion"), node_string(&c->arena, STR("v1")));
    node_set(root, STR("kind"), node_string(&c->arena, STR("List")));
    node_set(root, STR("items"), items);
    for (size_t i = 0; i < n; i++)
        node_append(items, stored_node(&c->arena, rows[i]));
    etag(c, revision_current(c->server->revisions));
    answer_node(c, root);
}

/* ---- one object ---- */

/* If-Match: the revision of the object as it is; *, or none, is any. False and answered if it is
 * another. */
static bool if_match(struct api_call *c, const struct revision_object *o)
{
    struct str tag, none;
    char want[32], detail[160];

    if (http_get(c->r->head, STR("if-none-match"), &none) && str_eq(none, STR("*")) && o) {
        reply_problem(c->r, 412, "Precondition Failed", "it is there already");
        return false;
    }
    if (!http_get(c->r->head, STR("if-match"), &tag))
        return true;
    (void)snprintf(want, sizeof(want), "\"%lld\"", o ? (long long)o->revision : 0ll);
    if (o && (str_eq(tag, STR("*")) || str_eq(tag, str_from(want))))
        return true;
    (void)snprintf(detail, sizeof(detail),
                   "somebody changed it meanwhile: it is at %s, you expected %.*s", want,
                   (int)MIN(tag.n, 40), tag.p);
    reply_problem(c->r, 412, "Precondition Failed", detail);
    return false;
}

void api_put(struct api_call *c)
{
    const struct kind *k = find_kind(c, c->params[1]);
    const struct object *o;
    struct change x;

    if (!k)
        return;
    change_init(&x, c);
    if (!read_query(&x) || !if_match(c, revision_get(c->server->revisions, str_from(k->name),
                                                     c->params[0], c->params[2])))
        return;
    parse(&x, c->r->body, STR("(request)"), SYNTAX_AUTO);
    if (x.findings.errors) {
        answer_refused(&x);
        return;
    }
    o = x.objects.count == 1 ? x.objects.items[0] : NULL;
    if (!o || o->meta.kind != k || !str_eq(o->meta.ns, c->params[0]) ||
        !str_eq(o->meta.name, c->params[2])) {
        reply_problem(
            c->r, 422, "Unprocessable Content",
            "send exactly one document whose kind, namespace and name are those of the path");
        return;
    }
    commit(&x);
}

void api_delete(struct api_call *c)
{
    const struct revision_object *o = find_object(c);
    struct object *gone;
    struct change x;

    if (!o || !if_match(c, o))
        return;
    change_init(&x, c);
    x.deleting = true;
    gone = ARENA_NEW(&c->arena, struct object);
    gone->meta = (struct object_meta){.kind = kind_find(o->kind),
                                      .ns = arena_str(&c->arena, o->ns),
                                      .name = arena_str(&c->arena, o->name)};
    object_list_add(&x.objects, &c->arena, gone);
    commit(&x);
}
