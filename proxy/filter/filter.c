#include "proxy/filter/filter.h"

#include "proxy/exchange.h"

static const struct filter *const filters[] = {&fault_filter, &cors_filter, &rate_limit_filter};

enum filter_verdict filters_request(struct exchange *x, struct filter_answer *out)
{
    for (; x->filter.at < COUNT(filters); x->filter.at++) {
        enum filter_verdict v = filters[x->filter.at]->request(x, out);

        if (v != FILTER_CONTINUE)
            return v;
    }
    return FILTER_CONTINUE;
}

void filters_response(struct exchange *x, struct http_head *h)
{
    for (size_t i = 0; i < COUNT(filters); i++) {
        if (filters[i]->response)
            filters[i]->response(x, h);
    }
}

void filter_refusal(struct exchange *x, enum outcome why, unsigned status, int grpc_status, struct filter_answer *out)
{
    out->why = why;
    out->body = str_from(outcome_body(why));
    http_head_init(&out->head, &x->arena, false);
    out->head.status = status;
    if (x->is_grpc && grpc_status >= 0)
        http_add(&out->head, STR("grpc-status"), grpc_status_text(grpc_status));
}
