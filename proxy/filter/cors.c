/* Answers to browsers of other origins (CorsPolicy), as Envoy's filter gives them: an origin that is allowed is
 * echoed, a preflight is answered here; what comes from elsewhere passes without a word. */
#include "proxy/exchange.h"
#include "proxy/filter/filter.h"

static bool is_allowed(const struct route_cors *c, struct str origin)
{
    for (size_t i = 0; i < c->origin_count; i++) {
        const struct match_string *m = &c->origins[i];

        /* a limit that is reached allows nothing */
        if (match_string(m, STR("*"), false) == MATCH_YES || match_string(m, origin, false) == MATCH_YES)
            return true;
    }
    return false;
}

static void add(struct http_head *h, struct str name, struct str value)
{
    if (value.n)
        http_set(h, name, value);
}

/* "*" allows what was asked for. */
static void add_list(struct exchange *x, struct http_head *h, struct str name, struct str list, struct str asked)
{
    struct str value = STR_NONE;

    if (str_eq(list, STR("*")))
        (void)http_get(&x->down->in_head, asked, &value); /* nothing was asked: nothing is allowed */
    else
        value = list;
    add(h, name, value);
}

static enum filter_verdict preflight(struct exchange *x, const struct route_cors *c,
                                     struct filter_answer *out)
{
    struct http_head *h = &out->head;

    out->why = OUTCOME_CORS_PREFLIGHT;
    out->body = STR_NONE;
    http_head_init(h, &x->arena, false);
    h->status = 200;
    if (!x->filter.cors)
        return FILTER_ANSWER;
    add_list(x, h, STR("access-control-allow-methods"), c->methods, STR("access-control-request-method"));
    add_list(x, h, STR("access-control-allow-headers"), c->headers, STR("access-control-request-headers"));
    add(h, STR("access-control-max-age"), c->max_age);
    return FILTER_ANSWER;
}

static enum filter_verdict on_request(struct exchange *x, struct filter_answer *out)
{
    const struct route_cors *c = x->route->cors;
    const struct http_head *h = &x->down->in_head;
    struct str origin, method;
    bool is_preflight;

    if (!c || !http_get(h, STR("origin"), &origin) || origin.n == 0)
        return FILTER_CONTINUE;
    x->filter.cors = is_allowed(c, origin);
    is_preflight = str_eq(h->method, STR("OPTIONS")) &&
                   http_get(h, STR("access-control-request-method"), &method) && method.n > 0;
    if (is_preflight && (x->filter.cors || c->answer_unmatched))
        return preflight(x, c, out);
    return FILTER_CONTINUE;
}

static void on_response(struct exchange *x, struct http_head *h)
{
    const struct route_cors *c = x->route ? x->route->cors : NULL;
    struct str origin;

    if (!c || !x->filter.cors || !http_get(&x->down->in_head, STR("origin"), &origin))
        return;
    add(h, STR("access-control-allow-origin"), origin);
    if (c->credentials)
        add(h, STR("access-control-allow-credentials"), STR("true"));
    add(h, STR("access-control-expose-headers"), c->expose);
}

const struct filter cors_filter = {.name = "cors", .request = on_request, .response = on_response};
