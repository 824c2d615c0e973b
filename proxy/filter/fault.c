/* Delays and failures on purpose (HTTPFaultInjection). They come before retries and timeouts, which know nothing of
 * them. */
#include "proxy/exchange.h"
#include "proxy/filter/filter.h"

#define SHARE_ALL        1000000u
#define GRPC_UNAVAILABLE 14

static bool happens(struct exchange *x, uint32_t share)
{
    return share > 0 && worker_random(x->worker) % SHARE_ALL < share;
}

static enum filter_verdict fail(struct exchange *x, const struct route_fault *f,
                                struct filter_answer *out)
{
    filter_refusal(x, OUTCOME_FAULT_ABORT,
                   f->grpc_status < 0 ? f->abort_status : grpc_http_status(f->grpc_status), f->grpc_status, out);
    return FILTER_ANSWER;
}

static enum filter_verdict on_request(struct exchange *x, struct filter_answer *out)
{
    const struct route_fault *f = x->route->fault;

    if (!f)
        return FILTER_CONTINUE;
    if (x->filter.delayed && !x->waited)
        return FILTER_PAUSE;
    if (!x->filter.delayed && happens(x, f->delay_share)) {
        x->filter.delayed = true;
        x->flags |= RF_DI;
        timer_in(&x->wait, f->delay_ms);
        return FILTER_PAUSE;
    }
    return happens(x, f->abort_share) ? fail(x, f, out) : FILTER_CONTINUE;
}

const struct filter fault_filter = {.name = "fault", .request = on_request};
