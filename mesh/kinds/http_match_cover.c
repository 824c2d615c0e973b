/* Rules that can never be reached, because earlier ones take every request that they would take. */
#include "mesh/kinds/check.h"
#include "mesh/kinds/virtual_service.h"

#define COMPARED_MAX 1000 /* matches of one VirtualService; those behind are not looked at */

/* ---- does one match take every request that another takes? ---- */

static bool is_any_path(const struct match_string *m)
{
    return m->kind == MATCH_ANY || (m->kind == MATCH_PREFIX && (m->text.n == 0 || str_eq(m->text, STR("/")))) ||
           (m->kind == MATCH_REGEX && str_eq(m->text, STR(".*")));
}

static bool starts(struct str s, struct str prefix, bool nocase)
{
    return s.n >= prefix.n && (nocase ? str_eq_nocase(str_sub(s, 0, prefix.n), prefix) : str_starts(s, prefix));
}

/* Expressions are not understood: one covers only itself. */
static bool string_covers(const struct match_string *wide, const struct match_string *narrow, bool nocase)
{
    switch (wide->kind) {
    case MATCH_ANY:
        return true;
    case MATCH_PRESENT:
        return narrow->kind != MATCH_ANY;
    case MATCH_PREFIX:
        return (narrow->kind == MATCH_PREFIX || narrow->kind == MATCH_EXACT) && starts(narrow->text, wide->text, nocase);
    case MATCH_EXACT:
        return narrow->kind == MATCH_EXACT && narrow->text.n == wide->text.n && starts(narrow->text, wide->text, nocase);
    case MATCH_REGEX:
        return narrow->kind == MATCH_REGEX && str_eq(narrow->text, wide->text);
    }
    return false;
}

static bool uri_covers(const struct http_rule_match *wide, const struct http_rule_match *narrow)
{
    if (is_any_path(&wide->uri))
        return true;
    return (wide->ignore_uri_case || !narrow->ignore_uri_case) &&
           string_covers(&wide->uri, &narrow->uri, wide->ignore_uri_case);
}

/* What the wide one asks for, the narrow one asks for too, or for more of it. */
static bool named_cover(const struct named_match *wide, size_t wide_count, const struct named_match *narrow,
                        size_t narrow_count, bool are_headers)
{
    for (size_t i = 0; i < wide_count; i++) {
        bool found = false;

        for (size_t k = 0; k < narrow_count; k++)
            found = found || ((are_headers ? str_eq_nocase(wide[i].key, narrow[k].key) : str_eq(wide[i].key, narrow[k].key)) &&
                              string_covers(&wide[i].value, &narrow[k].value, false));
        if (!found)
            return false;
    }
    return true;
}

/* Of absences, a wider value that is absent says more: the other way round. */
static bool absent_cover(const struct http_rule_match *wide, const struct http_rule_match *narrow)
{
    for (size_t i = 0; i < wide->without_headers_count; i++) {
        const struct named_match *w = &wide->without_headers[i];
        bool found = false;

        for (size_t k = 0; k < narrow->without_headers_count; k++) {
            const struct named_match *n = &narrow->without_headers[k];

            found = found || (str_eq_nocase(w->key, n->key) && string_covers(&n->value, &w->value, false));
        }
        if (!found)
            return false;
    }
    return true;
}

static bool gateways_cover(const struct http_rule_match *wide, const struct http_rule_match *narrow)
{
    if (wide->gateways_count && narrow->gateways_count == 0)
        return false;
    for (size_t i = 0; wide->gateways_count && i < narrow->gateways_count; i++) {
        bool found = false;

        for (size_t k = 0; k < wide->gateways_count; k++)
            found = found || str_eq(narrow->gateways[i], wide->gateways[k]);
        if (!found)
            return false;
    }
    return true;
}

static bool match_covers(const struct http_rule_match *wide, const struct http_rule_match *narrow)
{
    if (wide->port && wide->port != narrow->port)
        return false;
    if (wide->source_namespace.n && !str_eq(wide->source_namespace, narrow->source_namespace))
        return false;
    return uri_covers(wide, narrow) && string_covers(&wide->scheme, &narrow->scheme, false) &&
           string_covers(&wide->method, &narrow->method, false) &&
           string_covers(&wide->authority, &narrow->authority, false) &&
           named_cover(wide->headers, wide->headers_count, narrow->headers, narrow->headers_count, true) &&
           named_cover(wide->query_params, wide->query_params_count, narrow->query_params, narrow->query_params_count, false) &&
           absent_cover(wide, narrow) && labels_match(&narrow->source_labels, &wide->source_labels) &&
           gateways_cover(wide, narrow);
}

/* ---- the matches of a VirtualService, in the order in which they are tried ---- */

struct tried {
    const struct http_rule *rule;
    const struct http_rule_match *match;
};

static const struct http_rule_match any_request;

static const struct tried *find_cover(const struct tried *earlier, size_t count, const struct http_rule_match *m)
{
    for (size_t i = 0; i < count; i++) {
        /* what a delegate does not take goes on to the next rule */
        if (!earlier[i].rule->delegate && match_covers(earlier[i].match, m))
            return &earlier[i];
    }
    return NULL;
}

static unsigned line_of(const struct tried *t)
{
    const struct node *at = t->match->node ? t->match->node : t->rule->node;

    return at ? at->line : 0;
}

static void warn_of_cover(const struct check *c, const struct http_rule *r, const struct http_rule_match *m,
                          const struct tried *cover)
{
    if (r->match_count > 1)
        WARN(c, m->node, "this match has no effect: line %u takes all that it would take", line_of(cover));
    else
        WARN(c, r->node, "this rule is never reached: line %u takes all that it would take", line_of(cover));
}

static size_t count_matches(const struct virtual_service *vs)
{
    size_t n = 0;

    for (size_t i = 0; i < vs->http_count; i++)
        n += MAX(vs->http[i].match_count, 1);
    return MIN(n, COMPARED_MAX);
}

void check_reached(const struct check *c, const struct virtual_service *vs)
{
    size_t room_for = count_matches(vs), count = 0;
    struct tried *tried = ARENA_ARRAY(c->f->arena, room_for + 1, struct tried);

    for (size_t i = 0; i < vs->http_count; i++) {
        const struct http_rule *r = &vs->http[i];
        size_t matches = MAX(r->match_count, 1);

        for (size_t k = 0; k < matches && count < room_for; k++) {
            const struct http_rule_match *m = r->match_count ? &r->match[k] : &any_request;
            const struct tried *cover = find_cover(tried, count, m);

            if (cover)
                warn_of_cover(c, r, m, cover);
            tried[count++] = (struct tried){r, m};
        }
    }
}
