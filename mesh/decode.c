#include "mesh/decode.h"

#include <string.h>

#include "mesh/base/json.h"
#include "mesh/base/text.h"
#include "mesh/base/yaml.h"
#include "mesh/decode_parts.h"
#include "mesh/ini_doc.h"
#include "mesh/ini_shape.h"
#include "mesh/kinds/service.h"
#include "mesh/validate.h"

#define GATEWAY_API "gateway.networking.k8s.io/"

/* ---- envelope ---- */

/* What stands around a spec, for "did you mean". */
static const struct field envelope_rows[] = {
    {.name = "apiVersion", .type = FIELD_STRING}, {.name = "kind", .type = FIELD_STRING}, {.name = "metadata", .type = FIELD_ANY},
    {.name = "spec", .type = FIELD_ANY},          {.name = "status", .type = FIELD_ANY},
};
static const struct schema envelope = {.name = "document", .fields = envelope_rows, .count = COUNT(envelope_rows)};

static bool has_version(const struct kind *k, struct str api)
{
    struct str group = STR_NONE, version = api;

    if (!str_cut(&version, '/', &group))
        group = STR_NONE;
    if (!str_eq(group, str_from(k->group)))
        return false;
    for (size_t i = 0; i < COUNT(k->versions) && k->versions[i]; i++) {
        if (str_eq(version, str_from(k->versions[i])))
            return true;
    }
    return false;
}

static void fail_kind(const struct decoder *d, const struct node *n)
{
    const char *why = kind_refused(n->text);
    const struct kind *meant;
    struct finding *x;

    if (why) {
        decode_fail(d, n, FIND_UNSUPPORTED, "kind %.*s is not supported: %s", STR_ARG(n->text), why)
            ->hint =
            arena_printf(d->f->arena, "pass it by with --skip-kinds %.*s", STR_ARG(n->text));
        return;
    }
    x = decode_fail(d, n, FIND_ENVELOPE, "unknown kind \"%.*s\"", STR_ARG(n->text));
    meant = kind_closest(n->text);
    if (meant)
        x->hint = arena_printf(d->f->arena, "did you mean \"%s\"?", meant->name);
}

/* NULL with findings if the document is not of a kind that is taken. */
static const struct kind *decode_kind(const struct decoder *d, const struct node *root)
{
    const struct node *api = node_get(root, STR("apiVersion")), *kind = node_get(root, STR("kind"));
    const struct kind *k;

    if (!kind || kind->kind == NODE_NULL || !api || api->kind == NODE_NULL) {
        if (!api || api->kind == NODE_NULL)
            decode_fail_missing(d, root, "apiVersion", "such as networking.istio.io/v1");
        if (!kind || kind->kind == NODE_NULL)
            decode_fail_missing(d, root, "kind", "such as VirtualService");
        return NULL;
    }
    if (!decode_is(d, api, NODE_STRING, "a string") || !decode_is(d, kind, NODE_STRING, "a string"))
        return NULL;
    k = kind_find(kind->text);
    if (!k) {
        fail_kind(d, kind);
        return NULL;
    }
    if (!has_version(k, api->text)) {
        if (str_starts(api->text, STR(GATEWAY_API)))
            decode_fail(
                d, api, FIND_UNSUPPORTED,
                "the Kubernetes Gateway API is not read; use a Gateway of networking.istio.io and "
                "a VirtualService")
                ->hint = arena_printf(d->f->arena, "pass it by with --skip-kinds %s", k->name);
        else
            decode_fail(d, api, FIND_ENVELOPE, "kind %s is not in \"%.*s\"", k->name,
                        STR_ARG(api->text))
                ->hint = arena_printf(d->f->arena, "write apiVersion: %.*s",
                                      STR_ARG(kind_api_version(k, d->a)));
        return NULL;
    }
    decode_status(d, kind, k->status, arena_printf(d->f->arena, "kind %s", k->name), NULL);
    return k;
}

/* A Service has no exportTo in its spec, so Istio reads it here: namespaces by comma. */
static void check_export_annotation(const struct decoder *d, const struct node *n)
{
    struct str rest = n->kind == NODE_STRING ? n->text : STR_NONE, item;
    struct err err;

    if (d->m->kind->id != KIND_SERVICE)
        decode_point_at_key(decode_fail(d, n, FIND_VALUE, "annotation " EXPORT_TO_ANNOTATION " is for Service only"), n);
    while (str_next(&rest, ',', &item)) {
        if (common_check_export_to(str_trim(item), &err))
            decode_fail_check(d, n, &err);
    }
}

static void check_annotation(const struct decoder *d, const struct node *n)
{
    if (str_starts(n->key, STR("internal.istio.io/")))
        decode_point_at_key(decode_fail(d, n, FIND_VALUE,
                                        "annotation %.*s is Istio's own; leave it out",
                                        STR_ARG(n->key)),
                            n);
    else if (str_eq(n->key, STR("istio.io/dry-run")) && d->m->kind->id != KIND_AUTHORIZATION_POLICY)
        decode_point_at_key(
            decode_fail(d, n, FIND_VALUE,
                        "annotation istio.io/dry-run is for AuthorizationPolicy only"),
            n);
    else if (str_eq(n->key, STR(EXPORT_TO_ANNOTATION)))
        check_export_annotation(d, n);
    else if (str_eq(n->key, STR("proxy.istio.io/config")))
        decode_point_at_key(decode_fail(d, n, FIND_NOT_YET, "annotation %.*s is not supported yet",
                                        STR_ARG(n->key)),
                            n);
}

static void decode_annotations(const struct decoder *d, const struct node *n)
{
    static const struct field row = {
        .name = "annotations", .type = FIELD_LABELS, .flags = FIELD_FREE_KEYS};

    decode_labels(d, &row, n, &d->m->annotations);
    for (const struct node *c = n->kind == NODE_MAP ? n->first : NULL; c; c = c->next)
        check_annotation(d, c);
}

static void decode_created(const struct decoder *d, const struct node *n)
{
    if (!decode_is(d, n, NODE_STRING, "a time"))
        return;
    if (!text_untime(n->text, &d->m->created_ms))
        decode_fail(d, n, FIND_VALUE, "creationTimestamp is a time such as 2026-01-31T12:00:00Z");
}

static void check_name(const struct decoder *d, const struct node *n, struct str name)
{
    struct err err;

    if (d->m->kind->id == KIND_GATEWAY || d->m->kind->id == KIND_NAMESPACE ||
        d->m->kind->id == KIND_SERVICE) {
        if (common_check_label(name, &err))
            decode_fail(d, n, FIND_ENVELOPE, "%s", err.text);
    } else if (common_check_name(name, &err)) {
        decode_fail(d, n, FIND_ENVELOPE, "%s", err.text);
    }
}

static void fail_metadata(const struct decoder *d, const struct node *n)
{
    struct finding *x = decode_fail(d, n, FIND_UNKNOWN_FIELD, "unknown field \"%.*s\" in metadata", STR_ARG(n->key));

    decode_point_at_key(x, n);
    x->hint = schema_suggest(&ini_metadata, n->key, d->f->arena);
    if (x->hint.n == 0 && d->m->kind->spec && schema_find(d->m->kind->spec, n->key))
        x->hint = STR("it belongs under spec");
}

static void decode_metadata_member(const struct decoder *d, const struct node *n)
{
    static const struct str dropped[] = {STR_INIT("uid"),        STR_INIT("resourceVersion"),
                                         STR_INIT("generation"), STR_INIT("managedFields"),
                                         STR_INIT("selfLink"),   STR_INIT("ownerReferences"),
                                         STR_INIT("finalizers")};
    static const struct field labels_row = {.name = "labels", .type = FIELD_LABELS};
    struct err err;

    for (size_t i = 0; i < COUNT(dropped); i++) {
        if (str_eq(n->key, dropped[i]))
            return; /* Kubernetes writes these for itself */
    }
    if (n->kind == NODE_NULL)
        return;
    if (str_eq(n->key, STR("name"))) {
        if (decode_is(d, n, NODE_STRING, "a string") && n->text.n)
            check_name(d, n, n->text);
    } else if (str_eq(n->key, STR("namespace"))) {
        if (decode_is(d, n, NODE_STRING, "a string") && n->text.n &&
            common_check_label(n->text, &err))
            decode_fail(d, n, FIND_ENVELOPE, "%s", err.text);
    } else if (str_eq(n->key, STR("labels"))) {
        decode_labels(d, &labels_row, n, &d->m->labels);
    } else if (str_eq(n->key, STR("annotations"))) {
        decode_annotations(d, n);
    } else if (str_eq(n->key, STR("creationTimestamp"))) {
        decode_created(d, n);
    } else if (str_eq(n->key, STR("generateName"))) {
        decode_point_at_key(decode_fail(d, n, FIND_UNSUPPORTED,
                                        "generateName is not supported: give the object a name"),
                            n);
    } else {
        fail_metadata(d, n);
    }
}

static void decode_metadata(const struct decoder *d, const struct node *root)
{
    const struct node *meta = node_get(root, STR("metadata"));
    const struct node *name = meta ? node_get(meta, STR("name")) : NULL;

    d->m->name = node_text(root, "metadata.name");
    d->m->ns = d->m->kind->is_namespaced ? node_text(root, "metadata.namespace") : STR_NONE;
    if (d->m->kind->is_namespaced && d->m->ns.n == 0)
        d->m->ns = STR("default");
    if (!meta || meta->kind == NODE_NULL) {
        decode_fail_missing(d, root, "metadata", "a name at least");
        return;
    }
    if (!decode_is(d, meta, NODE_MAP, "a map"))
        return;
    if (!name || decode_is_empty(name))
        decode_fail_missing(d, meta, "name", "the name of the object");
    for (const struct node *c = meta->first; c; c = c->next)
        decode_metadata_member(d, c);
}

static void fail_top_level(const struct decoder *d, const struct node *n)
{
    struct finding *x = decode_fail(d, n, FIND_UNKNOWN_FIELD, "unknown field \"%.*s\" beside metadata and spec",
                                    STR_ARG(n->key));

    decode_point_at_key(x, n);
    x->hint = schema_suggest(&envelope, n->key, d->f->arena);
    if (x->hint.n == 0 && d->m->kind->spec && schema_find(d->m->kind->spec, n->key))
        x->hint = STR("it belongs under spec");
    else if (x->hint.n == 0 && schema_find(&ini_metadata, n->key))
        x->hint = STR("it belongs under metadata");
}

static void check_top_level(const struct decoder *d, const struct node *root)
{
    static const struct str known[] = {STR_INIT("apiVersion"), STR_INIT("kind"),
                                       STR_INIT("metadata"), STR_INIT("spec"), STR_INIT("status")};
    /* Kubernetes keeps these of a ServiceAccount outside of any spec. */
    static const struct str account[] = {STR_INIT("secrets"), STR_INIT("imagePullSecrets"),
                                         STR_INIT("automountServiceAccountToken")};

    for (const struct node *c = root->first; c; c = c->next) {
        bool found = false, is_account = false;

        for (size_t i = 0; i < COUNT(known); i++)
            found = found || str_eq(c->key, known[i]);
        for (size_t i = 0; i < COUNT(account); i++)
            is_account = is_account || str_eq(c->key, account[i]);
        if (found)
            continue;
        if (d->m->kind->id == KIND_SERVICE_ACCOUNT && is_account)
            decode_point_at_key(
                decode_fail(d, c, FIND_UNSUPPORTED,
                            "%.*s is not supported: an account is only a name in an identity "
                            "here; leave it out",
                            STR_ARG(c->key)),
                c);
        else
            fail_top_level(d, c);
    }
}

static void *decode_spec(const struct decoder *d, const struct node *root)
{
    const struct schema *s = d->m->kind->spec;
    struct node *spec = node_get(root, STR("spec"));
    void *out;

    if (!s) {
        /* Kubernetes writes spec.finalizers into every Namespace. */
        if (spec && !decode_is_empty(spec) && d->m->kind->id != KIND_NAMESPACE)
            decode_fail(d, spec, FIND_UNKNOWN_FIELD, "kind %s has no spec", d->m->kind->name);
        return NULL;
    }
    out = arena_zalloc(d->a, s->size);
    schema_defaults(s, out);
    if (!spec || spec->kind == NODE_NULL)
        spec = node_new(d->a, NODE_MAP);
    if (!spec->parent) {
        const struct node *meta = node_get(root, STR("metadata"));

        spec->line = meta ? meta->line : root->line;
        spec->column = meta ? meta->column : root->column;
        spec->key = STR("spec");
        spec->key_line = spec->line;
        spec->key_column = spec->column;
    }
    decode_message(d, s, spec, out);
    return out;
}

/* The object as far as it could be read, so that the checks of validate.h can add to the findings;
 * NULL if its kind is not taken. */
static struct object *decode_partly(const struct node *root, struct str file, unsigned document,
                                    struct arena *a, struct findings *f)
{
    struct object *o = ARENA_NEW(a, struct object);
    struct decoder d = {a, f, &o->meta};

    o->node = root;
    o->meta.file = file;
    o->meta.document = document;
    o->meta.line = root->line;
    o->meta.column = root->column;
    if (!decode_is(&d, root, NODE_MAP, "a map with apiVersion, kind, metadata and spec"))
        return NULL;
    o->meta.kind = decode_kind(&d, root);
    if (!o->meta.kind)
        return NULL;
    decode_metadata(&d, root);
    check_top_level(&d, root);
    o->spec = decode_spec(&d, root);
    return o;
}

struct object *decode_object(const struct node *root, struct str file, unsigned document,
                             struct arena *a, struct findings *f)
{
    size_t before = f->errors;
    struct object *o = decode_partly(root, file, document, a, f);

    return f->errors == before ? o : NULL;
}

int decode_settings(const struct schema *s, const struct node *n, struct str file, struct arena *a,
                    void *out, struct findings *f)
{
    struct object_meta m = {.file = file, .line = n->line, .column = n->column};
    struct decoder d = {a, f, &m};
    size_t before = f->errors;

    memset(out, 0, s->size);
    schema_defaults(s, out);
    decode_message(&d, s, n, out);
    return f->errors == before ? 0 : -1;
}

/* ---- documents ---- */

void object_list_add(struct object_list *list, struct arena *a, struct object *o)
{
    if (list->count == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 16;
        struct object **items = ARENA_ARRAY(a, cap, struct object *);

        if (list->count)
            memcpy(items, list->items, list->count * sizeof(*items));
        list->items = items;
        list->cap = cap;
    }
    list->items[list->count++] = o;
}

static bool is_list(const struct node *root)
{
    return root->kind == NODE_MAP && str_eq(node_text(root, "kind"), STR("List"));
}

/* Where documents go. */
struct intake {
    struct arena *a;
    struct object_list *out;
    struct findings *f;
    const struct documents_how *how;
};

static size_t errors_that_count(const struct intake *in)
{
    return in->how->takes_not_yet ? findings_errors_besides(in->f, FIND_NOT_YET) : in->f->errors;
}

static bool names_kind(struct str list, struct str kind)
{
    struct str item;

    if (str_eq(list, STR("all")))
        return true;
    while (str_next(&list, ',', &item)) {
        if (str_eq_nocase(str_trim(item), kind))
            return true;
    }
    return false;
}

/* A Gateway of the Kubernetes Gateway API has the name of one of ours. */
static bool is_passed_by(const struct intake *in, const struct node *root)
{
    struct str kind = node_text(root, "kind");
    bool is_ours = kind_find(kind) && !str_starts(node_text(root, "apiVersion"), STR(GATEWAY_API));

    return in->how->skip_kinds.n && kind.n && !is_ours && names_kind(in->how->skip_kinds, kind);
}

static void pass_by(const struct intake *in, const struct node *root,
                    const struct node_document *doc)
{
    const struct node *meta = node_get(root, STR("metadata"));
    struct object_meta m = {.file = doc->file,
                            .document = doc->number,
                            .line = root->line,
                            .column = root->column,
                            .name = meta ? node_text(meta, "name") : STR_NONE};

    object_report(in->f, &m, node_get(root, STR("kind")), FIND_WARNING, SEVERITY_WARNING,
                  "%.*s %.*s is passed by", STR_ARG(node_text(root, "kind")), STR_ARG(m.name));
}

static void take_object(const struct intake *in, const struct node *root,
                        const struct node_document *doc)
{
    size_t before = errors_that_count(in);
    struct object *o;

    if (root->kind == NODE_MAP && is_passed_by(in, root)) {
        pass_by(in, root, doc);
        return;
    }
    o = decode_partly(root, doc->file, doc->number, in->a, in->f);

    if (o)
        validate_object(o, in->f);
    if (o && errors_that_count(in) == before)
        object_list_add(in->out, in->a, o);
}

static void take_list(const struct intake *in, const struct node_document *doc)
{
    struct object_meta m = {.file = doc->file,
                            .document = doc->number,
                            .line = doc->root->line,
                            .column = doc->root->column};
    struct decoder d = {in->a, in->f, &m};
    const struct node *items = node_get(doc->root, STR("items"));

    if (!str_eq(node_text(doc->root, "apiVersion"), STR("v1")))
        decode_fail(&d, doc->root, FIND_ENVELOPE, "a List has apiVersion: v1");
    for (const struct node *c = doc->root->first; c; c = c->next) {
        if (!str_eq(c->key, STR("apiVersion")) && !str_eq(c->key, STR("kind")) &&
            !str_eq(c->key, STR("metadata")) && !str_eq(c->key, STR("items")))
            decode_point_at_key(decode_fail(&d, c, FIND_UNKNOWN_FIELD,
                                            "unknown field \"%.*s\" in a List", STR_ARG(c->key)),
                                c);
    }
    if (!items || items->kind == NODE_NULL ||
        !decode_is(&d, items, NODE_LIST, "a list of documents"))
        return;
    for (const struct node *c = items->first; c; c = c->next)
        take_object(in, c, doc);
}

const char *const document_endings[] = {".yaml", ".yml", ".json", ".ini", NULL};

/* The one place where it is decided: a file's ending, else the first character that counts. */
static enum syntax syntax_of(struct str text, struct str file)
{
    struct str start = str_trim(text);

    if (str_ends(file, STR(".ini")))
        return SYNTAX_INI;
    if (!str_ends(file, STR(".yaml")) && !str_ends(file, STR(".yml")) && ini_doc_is(text))
        return SYNTAX_INI;
    return start.n && (start.p[0] == '{' || start.p[0] == '[') ? SYNTAX_JSON : SYNTAX_YAML;
}

static int read_documents(struct str text, struct str file, enum syntax syntax, struct arena *a,
                          struct node_document **out, struct findings *f)
{
    struct node_document single = {.file = file, .number = 1, .length = text.n};

    switch (syntax == SYNTAX_AUTO ? syntax_of(text, file) : syntax) {
    case SYNTAX_JSON:
        if (json_parse(text, file, a, &single.root, f))
            return -1;
        *out = ARENA_NEW(a, struct node_document);
        **out = single;
        return 0;
    case SYNTAX_INI:
        return ini_doc_parse(text, file, a, out, f);
    case SYNTAX_AUTO:
    case SYNTAX_YAML:
        break;
    }
    return yaml_parse(text, file, a, out, f);
}

int documents_read(struct str text, struct str file, const struct documents_how *how,
                   struct arena *a, struct object_list *out, struct findings *f)
{
    const struct intake in = {a, out, f, how};
    struct node_document *docs = NULL;
    size_t before = errors_that_count(&in);
    int rc = read_documents(text, file, how->syntax, a, &docs, f);

    if (rc == 0 && !docs)
        findings_add(f, FIND_WARNING, SEVERITY_WARNING, "there is no document in it")->file = file;
    for (const struct node_document *doc = docs; doc; doc = doc->next) {
        if (is_list(doc->root))
            take_list(&in, doc);
        else
            take_object(&in, doc->root, doc);
    }
    return rc == 0 && errors_that_count(&in) == before ? 0 : -1;
}

int documents_parse(struct str text, struct str file, enum syntax syntax, struct arena *a,
                    struct object_list *out, struct findings *f)
{
    const struct documents_how how = {.syntax = syntax};

    return documents_read(text, file, &how, a, out, f);
}
