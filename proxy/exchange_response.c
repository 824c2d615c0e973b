/* The response on its way to the client: the endpoint's, or an answer of our own. */
#include "proxy/edit.h"
#include "proxy/exchange_parts.h"
#include "proxy/filter/filter.h"

/* ---- answers of our own ---- */

/* RFC 9110 6.6.1: also to what is passed on, if nobody has said when it was made. */
static void add_date(const struct exchange *x, struct http_head *h)
{
    char text[HTTP_DATE_MAX];

    http_set(h, STR("date"), http_date(loop_wall_ms(x->worker->loop), text));
}

static void note_status(struct exchange *x, const struct http_field *fields, size_t count)
{
    int status = x->is_grpc ? grpc_status(fields, count) : -1;

    if (status >= 0)
        x->grpc_status = status;
}

static struct str server_name(const struct exchange *x)
{
    return x->conn->kind == LISTENER_OUTBOUND ? STR("envoy") : STR("istio-envoy");
}

size_t exchange_head_bytes(const struct http_head *h)
{
    size_t n = h->is_request ? h->method.n + h->path.n + h->authority.n + 20
                             : 17; /* start line, host, empty line */

    for (size_t i = 0; i < h->count; i++)
        n += h->fields[i].name.n + h->fields[i].value.n + 4;
    return n;
}

#define RESET_PREFIX "upstream connect error or disconnect/reset before headers. "

/* Envoy's texts, with what we know about the reason. */
static void body_format(const struct exchange *x, enum outcome why, struct buf *b)
{
    struct str text = str_from(outcome_body(why));

    if (x->tries > 1 && str_starts(text, STR(RESET_PREFIX))) {
        buf_adds(b, RESET_PREFIX "retried and the latest ");
        text = str_sub(text, sizeof(RESET_PREFIX) - 1, text.n);
    }
    buf_add(b, text);
    if (x->failure[0] && why == OUTCOME_CONNECT_FAILED)
        buf_printf(b, ", transport failure reason: %s", x->failure);
}

enum exchange_state exchange_answer(struct exchange *x, enum outcome why, struct http_head *h,
                                    struct str body)
{
    struct bytes b;
    struct str type;

    if (x->outcome == OUTCOME_NONE)
        x->outcome = why;
    if (x->route && x->outcome != OUTCOME_CORS_PREFLIGHT)
        edit_response(x, h);
    if (x->is_grpc && h->status) {
        grpc_answer(h, body);
        body = STR_NONE;
    }
    x->status = h->status;
    if (x->down->reset != STREAM_RESET_NONE || x->status == 0 || x->responded)
        return EXCHANGE_OVER;
    if (h->status == 204 || h->status == 304) /* have none, whatever the rule says */
        body = STR_NONE;
    h->framing = body.n ? HTTP_BODY_LENGTH : HTTP_BODY_NONE;
    h->content_length = body.n;
    if (body.n && !http_get(h, STR("content-type"), &type))
        http_add(h, STR("content-type"), STR("text/plain"));
    note_status(x, h->fields, h->count);
    filters_response(x, h);
    add_date(x, h);
    http_set(h, STR("server"), server_name(x));
    h->keep_alive = x->down->in_ended; /* nobody reads the rest of the request */
    x->responded = true;
    x->response_head_bytes = exchange_head_bytes(h);
    stream_send_head(x->down, h, body.n == 0);
    if (body.n > 0) {
        bytes_init(&b);
        bytes_append(&b, body);
        stream_send_data(x->down, &b, true);
        bytes_done(&b);
    }
    return EXCHANGE_OVER;
}

enum exchange_state exchange_reply(struct exchange *x, enum outcome why)
{
    enum exchange_state next;
    struct http_head h;
    struct buf text;

    buf_init(&text, 1024);
    body_format(x, why, &text);
    http_head_init(&h, &x->arena, false);
    h.status = outcome_status(why);
    if (why == OUTCOME_DEADLINE)
        http_add(&h, STR("grpc-status"), STR("4"));
    if (why == OUTCOME_OVERFLOW)
        http_add(&h, STR("x-envoy-overloaded"), STR("true"));
    next = exchange_answer(x, why, &h, buf_str(&text));
    buf_done(&text);
    return next;
}

/* ---- the endpoint's ---- */

void exchange_pass_informational(struct exchange *x)
{
    const struct http_head *h;

    while ((h = stream_informational(x->attempt->stream))) {
        if (h->status != 100) /* that one was ours to send */
            stream_send_head(x->down, h, false);
    }
}

void exchange_start_response(struct exchange *x)
{
    struct stream *up = x->attempt->stream;
    struct http_head h;
    bool end_now = up->in_ended && up->in.n == 0 && up->in_trailer_count == 0;
    struct str date;
    char ms[STR_UINT_MAX];

    http_head_copy(&h, &up->in_head, &x->arena);
    h.keep_alive = true; /* what was said of the other connection */
    http_set(&h, STR("x-envoy-upstream-service-time"), str_of_uint((uint64_t)MAX(x->service_time_ms, 0), ms));
    if (x->set_cookie.n)
        http_add(&h, STR("set-cookie"), x->set_cookie);
    edit_response(x, &h);
    filters_response(x, &h);
    http_set(&h, STR("server"), server_name(x));
    if (!http_get(&h, STR("date"), &date))
        add_date(x, &h);
    x->status = h.status;
    note_status(x, h.fields, h.count);
    x->responded = true;
    x->response_head_bytes = exchange_head_bytes(&h);
    timer_stop(&x->attempt->timer);
    bytes_done(&x->replay);
    x->replay_off = true;
    stream_send_head(x->down, &h, end_now);
}

void exchange_pump_response(struct exchange *x)
{
    struct stream *up = x->attempt->stream, *down = x->down;
    struct bytes some;

    bytes_init(&some);
    while (up->in.n > 0 && down->reset == STREAM_RESET_NONE) {
        size_t n = MIN(up->in.n, stream_room(down));

        if (n == 0)
            return;
        bytes_move(&some, &up->in, n);
        if (x->is_grpc)
            grpc_frames_feed(&x->down_messages, &some);
        stream_send_data(down, &some, false);
        bytes_done(&some);
        stream_consumed(up);
    }
    exchange_watch_messages(x);
    if (!up->in_ended || up->in.n > 0 || down->out_ended)
        return;
    note_status(x, up->in_trailers, up->in_trailer_count);
    if (up->in_trailer_count > 0)
        stream_send_trailers(down, up->in_trailers, up->in_trailer_count);
    else
        stream_send_data(down, &some, true);
}
