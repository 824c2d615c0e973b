/* Delegates: an HTTP rule that names another VirtualService is replaced by the rules of that one,
 * as far as its own conditions allow. Source: fields.md 4.6. */
#include "mesh/compile_parts.h"

#include <string.h>

#include "mesh/kinds/kinds.h"
#include "mesh/kinds/virtual_service.h"

/* ---- can both conditions hold, as far as we can tell? ---- */

static bool is_given(const struct match_string *m)
{
    return m->kind != MATCH_ANY;
}

/* Does what the leaf asks for lie within what the root asks for? Expressions are not compared:
 * never. */
static bool string_covers(const struct match_string *root, const struct match_string *leaf)
{
    if (!is_given(root) || !is_given(leaf) || root->kind == MATCH_PRESENT)
        return true;
    if (root->kind == MATCH_REGEX || leaf->kind == MATCH_REGEX || leaf->kind == MATCH_PRESENT)
        return false;
    if (root->kind == MATCH_PREFIX)
        return str_starts(leaf->text, root->text);
    return leaf->kind == MATCH_EXACT && str_eq(leaf->text, root->text);
}

/* Names of headers have no case; parameters that differ in nothing else are taken for one, which
 * drops a rule rather than widen it. */
static const struct named_match *find_match(const struct named_match *list, size_t count,
                                            struct str name)
{
    for (size_t i = 0; i < count; i++) {
        if (str_eq_nocase(list[i].key, name))
            return &list[i];
    }
    return NULL;
}

static bool matches_cover(const struct named_match *root, size_t root_count,
                          const struct named_match *leaf, size_t leaf_count)
{
    for (size_t i = 0; i < root_count; i++) {
        const struct named_match *other = find_match(leaf, leaf_count, root[i].key);

        if (other && !string_covers(&root[i].value, &other->value))
            return false;
    }
    return true;
}

static bool labels_agree(const struct labels *a, const struct labels *b)
{
    for (size_t i = 0; i < a->count; i++) {
        for (size_t k = 0; k < b->count; k++) {
            if (str_eq(a->items[i].key, b->items[k].key) &&
                !str_eq(a->items[i].value, b->items[k].value))
                return false;
        }
    }
    return true;
}

static bool gateways_cover(const struct http_rule_match *root, const struct http_rule_match *leaf)
{
    for (size_t i = 0; root->gateways_count && i < leaf->gateways_count; i++) {
        if (!compile_has_export(root->gateways, root->gateways_count, leaf->gateways[i]))
            return false;
    }
    return true;
}

static bool match_covers(const struct http_rule_match *root, const struct http_rule_match *leaf)
{
    if (root->ignore_uri_case != leaf->ignore_uri_case && is_given(&root->uri) &&
        is_given(&leaf->uri))
        return false;
    if (root->port && leaf->port && root->port != leaf->port)
        return false;
    if (root->source_namespace.n && leaf->source_namespace.n &&
        !str_eq(root->source_namespace, leaf->source_namespace))
        return false;
    return string_covers(&root->uri, &leaf->uri) && string_covers(&root->scheme, &leaf->scheme) &&
           string_covers(&root->method, &leaf->method) &&
           string_covers(&root->authority, &leaf->authority) &&
           matches_cover(root->headers, root->headers_count, leaf->headers, leaf->headers_count) &&
           matches_cover(root->query_params, root->query_params_count, leaf->query_params,
                         leaf->query_params_count) &&
           matches_cover(root->without_headers, root->without_headers_count, leaf->without_headers,
                         leaf->without_headers_count) &&
           labels_agree(&root->source_labels, &leaf->source_labels) && gateways_cover(root, leaf);
}

/* ---- both together: the leaf's, and what only the root has ---- */

static void join_matches(struct arena *a, const struct named_match *root, size_t root_count,
                         struct named_match **leaf, size_t *leaf_count)
{
    struct named_match *all = ARENA_ARRAY(a, root_count + *leaf_count + 1, struct named_match);
    size_t n = *leaf_count;

    if (n)
        memcpy(all, *leaf, n * sizeof(*all));
    for (size_t i = 0; i < root_count; i++) {
        if (!find_match(*leaf, *leaf_count, root[i].key))
            all[n++] = root[i];
    }
    *leaf = all;
    *leaf_count = n;
}

static bool has_label(const struct labels *l, struct str key)
{
    for (size_t i = 0; i < l->count; i++) {
        if (str_eq(l->items[i].key, key))
            return true;
    }
    return false;
}

static void join_labels(struct arena *a, const struct labels *root, struct labels *leaf)
{
    struct label *all = ARENA_ARRAY(a, root->count + leaf->count + 1, struct label);
    size_t n = leaf->count;

    if (n)
        memcpy(all, leaf->items, n * sizeof(*all));
    for (size_t i = 0; i < root->count; i++) {
        if (!has_label(leaf, root->items[i].key))
            all[n++] = root->items[i];
    }
    leaf->items = all;
    leaf->count = n;
}

static void inherit(const struct match_string *root, struct match_string *leaf)
{
    if (!is_given(leaf))
        *leaf = *root;
}

static struct str join_names(struct arena *a, struct str root, struct str leaf)
{
    if (root.n == 0 || leaf.n == 0)
        return root.n ? root : leaf;
    return arena_printf(a, "%.*s-%.*s", STR_ARG(root), STR_ARG(leaf));
}

static void join_match(struct arena *a, const struct http_rule_match *root,
                       struct http_rule_match *leaf)
{
    leaf->name = join_names(a, root->name, leaf->name);
    if (!is_given(&leaf->uri))
        leaf->ignore_uri_case = root->ignore_uri_case;
    inherit(&root->uri, &leaf->uri);
    inherit(&root->scheme, &leaf->scheme);
    inherit(&root->method, &leaf->method);
    inherit(&root->authority, &leaf->authority);
    join_matches(a, root->headers, root->headers_count, &leaf->headers, &leaf->headers_count);
    join_matches(a, root->query_params, root->query_params_count, &leaf->query_params,
                 &leaf->query_params_count);
    join_matches(a, root->without_headers, root->without_headers_count, &leaf->without_headers,
                 &leaf->without_headers_count);
    join_labels(a, &root->source_labels, &leaf->source_labels);
    if (leaf->port == 0)
        leaf->port = root->port;
    if (leaf->source_namespace.n == 0)
        leaf->source_namespace = root->source_namespace;
    if (leaf->gateways_count == 0) {
        leaf->gateways = root->gateways;
        leaf->gateways_count = root->gateways_count;
    }
}

/* False: no pair of conditions can hold together. */
static bool merge_matches(struct arena *a, const struct http_rule *root, struct http_rule *leaf)
{
    const struct http_rule_match *own = leaf->match;
    size_t own_count = leaf->match_count;

    if (root->match_count == 0)
        return true;
    if (own_count == 0) {
        leaf->match = root->match;
        leaf->match_count = root->match_count;
        return true;
    }
    leaf->match = ARENA_ARRAY(a, root->match_count * own_count, struct http_rule_match);
    leaf->match_count = 0;
    for (size_t i = 0; i < root->match_count; i++) {
        for (size_t k = 0; k < own_count; k++) {
            struct http_rule_match *m = &leaf->match[leaf->match_count];

            if (!match_covers(&root->match[i], &own[k]))
                continue;
            *m = own[k];
            join_match(a, &root->match[i], m);
            leaf->match_count++;
        }
    }
    return leaf->match_count > 0;
}

/* Short names of the root's mirrors belong to its namespace, not to the delegate's. */
static void inherit_mirrors(struct build *b, const struct object *o, const struct http_rule *root,
                            struct http_rule *leaf)
{
    struct arena *a = &b->tmp;

    if (leaf->mirror || leaf->mirrors_count)
        return;
    if (root->mirror) {
        leaf->mirror = ARENA_NEW(a, struct destination);
        *leaf->mirror = *root->mirror;
        leaf->mirror->host = model_fqdn(a, root->mirror->host, o->meta.ns, b->c->domain);
        leaf->has_mirror_percent = root->has_mirror_percent;
        leaf->mirror_percent = root->mirror_percent;
        leaf->mirror_percentage = root->mirror_percentage;
    }
    leaf->mirrors = ARENA_ARRAY(a, root->mirrors_count + 1, struct http_mirror);
    leaf->mirrors_count = root->mirrors_count;
    for (size_t i = 0; i < root->mirrors_count; i++) {
        leaf->mirrors[i] = root->mirrors[i];
        leaf->mirrors[i].destination.host =
            model_fqdn(a, root->mirrors[i].destination.host, o->meta.ns, b->c->domain);
    }
}

static void inherit_rest(const struct http_rule *root, struct http_rule *leaf)
{
    if (leaf->timeout_ns == DURATION_UNSET)
        leaf->timeout_ns = root->timeout_ns;
    if (!leaf->retries)
        leaf->retries = root->retries;
    if (!leaf->rewrite)
        leaf->rewrite = root->rewrite;
    if (!leaf->fault)
        leaf->fault = root->fault;
    if (!leaf->cors_policy)
        leaf->cors_policy = root->cors_policy;
    if (!leaf->headers)
        leaf->headers = root->headers;
}

/* ---- the rules of one VirtualService, its delegates in their place ---- */

static const struct object *find_delegate(const struct build *b, const struct object *root,
                                          const struct http_delegate *d)
{
    const struct object *o =
        catalog_object(b->c, KIND_VIRTUAL_SERVICE, d->ns.n ? d->ns : root->meta.ns, d->name);
    const struct virtual_service *vs = o ? o->spec : NULL;

    return vs && vs->hosts_count == 0 && compile_visibility(b, o, root->meta.ns) >= 0 ? o : NULL;
}

static void add(struct build *b, struct rules *r, const struct http_rule *rule,
                const struct object *from)
{
    r->http = compile_room(&b->tmp, r->http, r->http_count, &r->http_cap, sizeof(*r->http));
    r->http[r->http_count++] = (struct sourced_rule){rule, from};
}

static void add_delegated(struct build *b, struct rules *r, const struct http_rule *root)
{
    const struct object *o = find_delegate(b, r->object, root->delegate);
    const struct virtual_service *vs = o ? o->spec : NULL;

    if (!vs)
        findings_add(b->f, FIND_REFERENCE, SEVERITY_WARNING,
                     "%.*s: there is no delegate %.*s that it may use; the rule has no effect",
                     STR_ARG(compile_object_name(b, r->object)), STR_ARG(root->delegate->name));
    for (size_t i = 0; vs && i < vs->http_count; i++) {
        struct http_rule *leaf = ARENA_NEW(&b->tmp, struct http_rule);

        *leaf = vs->http[i];
        if (leaf->delegate || !merge_matches(&b->tmp, root, leaf))
            continue; /* one level only; what cannot be reached is not there */
        leaf->name = join_names(&b->tmp, root->name, leaf->name);
        inherit_rest(root, leaf);
        inherit_mirrors(b, r->object, root, leaf);
        add(b, r, leaf, o);
    }
}

void compile_expand(struct build *b, struct rules *r)
{
    for (size_t i = 0; i < r->spec->http_count; i++) {
        const struct http_rule *rule = &r->spec->http[i];

        if (rule->delegate)
            add_delegated(b, r, rule);
        else
            add(b, r, rule, r->object);
    }
}
