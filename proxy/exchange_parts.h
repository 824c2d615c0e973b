/* What the files of the exchange share; everybody else wants proxy/exchange.h.
 *
 * Flow:      exchange.c steps; exchange_request.c makes and sends the request, exchange_response.c the response or our
 *            own answer, exchange_report.c tells of it at the end.
 */
#pragma once

#include "proxy/exchange.h"

static inline int64_t exchange_now(const struct exchange *x)
{
    return loop_now_ms(x->worker->loop);
}

/* ---- exchange_request.c ---- */

/* The head as rules judge it, in place: what a client may not say is taken out, what we say of it is there. Once. */
void exchange_receive(struct exchange *x);
/* The head as it will be sent on: the route's edits and rewrites are made. OUTCOME_NONE, or why it cannot be. */
enum outcome exchange_prepare(struct exchange *x);
static inline bool exchange_is_tunnel(const struct exchange *x)
{
    return x->down->in_head.framing == HTTP_BODY_TUNNEL;
}
bool exchange_request_complete(const struct exchange *x); /* all of its body was moved on */
void exchange_send_request(struct exchange *x);
void exchange_pump_request(struct exchange *x);

/* ---- exchange_response.c ---- */

size_t exchange_head_bytes(const struct http_head *h);
void exchange_start_response(struct exchange *x);
void exchange_pass_informational(struct exchange *x);
void exchange_pump_response(struct exchange *x);

/* Answers of our own. Both end the exchange: EXCHANGE_OVER. */
enum exchange_state exchange_reply(struct exchange *x, enum outcome why); /* as the outcome says */
enum exchange_state exchange_answer(struct exchange *x, enum outcome why, struct http_head *h,
                                    struct str body);

/* ---- exchange_report.c ---- */

void exchange_watch_messages(struct exchange *x); /* some may have passed: they are to be counted in a while */
/* Messages of a gRPC call that nobody counted yet; the end of the call counts the last. */
void exchange_count_messages(struct exchange *x);
void exchange_count(struct exchange *x, int64_t duration_ms);
void exchange_log(struct exchange *x, int64_t duration_ms);
