/* Stories of streams: what two sides may do to each other at the worst moment. See world.h. */
#include "test/world/world.h"

/* ---- requests and answers ---- */

STORY(a_connection_carries_one_request_after_the_other, EVERYWHERE)
{
    struct end *caller = call(w), *app = reach(caller, "/one");

    answer_text(app, 200, "first");
    hear_answer(caller, 200, "first");
    ask_with(caller, "POST", "/two", "body", 4);
    hear_request(app, "POST /two ", "body", 4);
    say(app, "HTTP/1.1 204 X\r\n\r\n");
    hear_answer(caller, 204, "");
    ask(caller, "GET", "/three");
    hear_request(app, "GET /three ", "", 0);
    say(app, "HTTP/1.1 304 X\r\nContent-Length: 7\r\n\r\n");
    hear(caller, "304 Not Modified\r\n");
    hear(caller, "\r\n\r\n");
    ask(caller, "GET", "/four");
    hear_request(app, "GET /four ", "", 0);
    answer_text(app, 404, "");
    hear_answer(caller, 404, "");
    hang_up(caller);
}

STORY(large_bodies_pass_whole_in_both_directions, EVERYWHERE)
{
    struct end *caller = call(w), *app;
    char *big = bulk_text(w, w->bulk), line[32];

    ask_with(caller, "POST", "/", big, w->bulk);
    app = meet(w);
    hear_request(app, "POST / ", big, w->bulk);
    say(app, "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n");
    for (size_t at = 0; at < w->bulk; at += 1000) {
        size_t n = MIN(w->bulk - at, (size_t)1000);

        snprintf(line, sizeof(line), "%zx;x=\"y\"\r\n", n);
        say(app, line);
        say_bytes(app, big + at, n);
        say(app, "\r\n");
    }
    say(app, "0\r\nx-sum: 7\r\n\r\n");
    hear_answer_with(caller, 200, big, w->bulk);
    ask(caller, "GET", "/");
    hear_request(app, "GET / ", "", 0);
    answer_with(app, 200, big, w->bulk);
    hear_answer_with(caller, 200, big, w->bulk);
    hang_up(caller);
}

STORY(pipelined_requests_are_answered_in_their_order, EVERYWHERE)
{
    struct end *caller = call(w), *app;

    say(caller, "GET /1 HTTP/1.1\r\nHost: svc.test\r\n\r\n"
                "POST /2 HTTP/1.1\r\nHost: svc.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n"
                "GET /3 HTTP/1.1\r\nHost: svc.test\r\n\r\n");
    app = meet(w);
    hear_request(app, "GET /1 ", "", 0);
    answer_text(app, 200, "one");
    hear_request(app, "POST /2 ", "two", 3);
    answer_text(app, 200, "two");
    hear_request(app, "GET /3 ", "", 0);
    answer_text(app, 200, "three");
    hear_answer(caller, 200, "one");
    hear_answer(caller, 200, "two");
    hear_answer(caller, 200, "three");
    end_saying(caller);
    hear_end(caller);
}

STORY(an_answer_before_the_request_ends_leaves_the_connection_usable, EVERYWHERE)
{
    struct end *caller = call(w), *app;

    say(caller, "POST /early HTTP/1.1\r\nHost: svc.test\r\nContent-Length: 10\r\n\r\n01234");
    app = meet(w);
    hear(app, "\r\n\r\n01234");
    answer_text(app, 200, "early");
    hear_answer(caller, 200, "early");
    say(caller, "56789");
    hear(app, "56789");
    ask(caller, "GET", "/next");
    hear_request(app, "GET /next ", "", 0);
    answer_text(app, 200, "next");
    hear_answer(caller, 200, "next");
    hang_up(caller);
}

STORY(an_early_answer_does_not_wait_for_ever_for_the_rest, EVERYWHERE)
{
    struct end *caller = call(w), *app;

    say(caller, "POST /early HTTP/1.1\r\nHost: svc.test\r\nContent-Length: 10\r\n\r\n01234");
    app = meet(w);
    hear(app, "\r\n\r\n01234");
    answer_text(app, 413, "too large");
    hear_answer(caller, 413, "too large");
    later(w, 2 * LIMIT_LINGER_MS + 500); /* for the rest, and for the caller to read the answer */
    hear_gone(app);
}

STORY(an_endpoint_may_close_after_its_early_answer, EVERYWHERE)
{
    struct end *caller = call(w), *app;

    say(caller, "POST /early HTTP/1.1\r\nHost: svc.test\r\nContent-Length: 10\r\n\r\n01234");
    app = meet(w);
    hear(app, "\r\n\r\n01234");
    say(app, "HTTP/1.1 403 X\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    settle(w);
    hang_up(app);
    hear_answer(caller, 403, "no");
    hang_up(caller);
}

STORY(a_caller_who_asks_first_is_told_to_continue, EVERYWHERE)
{
    struct end *caller = call(w), *app;

    say(caller, "POST / HTTP/1.1\r\nHost: svc.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    hear(caller, "HTTP/1.1 100 Continue\r\n\r\n");
    say(caller, "hello");
    app = meet(w);
    hear_request(app, "POST / ", "hello", 5);
    say(app, "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n");
    answer_text(app, 200, "thanks");
    hear(caller, "HTTP/1.1 103 ");
    hear(caller, "\r\n\r\n");
    hear_answer(caller, 200, "thanks");
    hang_up(caller);
}

STORY(a_head_has_no_body_and_the_next_answer_is_its_own, EVERYWHERE)
{
    struct end *caller = call(w), *app;

    ask(caller, "HEAD", "/");
    app = meet(w);
    hear_request(app, "HEAD / ", "", 0);
    say(app, "HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\n");
    hear(caller, "content-length: 100");
    hear(caller, "\r\n\r\n");
    ask(caller, "GET", "/");
    hear_request(app, "GET / ", "", 0);
    answer_text(app, 200, "body");
    hear_answer(caller, 200, "body");
    hang_up(caller);
}

/* ---- endpoints that fail ---- */

STORY(a_second_answer_in_one_read_is_nobodys, EVERYWHERE)
{
    struct end *caller = call(w), *app, *fresh;

    app = reach(caller, "/");
    say(app, "HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\nok"
             "HTTP/1.1 200 X\r\nContent-Length: 8\r\n\r\nsmuggled");
    hear_answer(caller, 200, "ok");
    settle(w);
    fresh = reach(caller, "/next");
    answer_text(fresh, 200, "own");
    hear_answer(caller, 200, "own");
    hang_up(caller);
}

STORY(a_body_with_a_length_that_is_cut_is_cut_for_the_caller, EVERYWHERE)
{
    struct end *caller = call(w), *app = reach(caller, "/");

    say(app, "HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\nhalf");
    hear(caller, "half");
    hang_up(app);
    hear_gone(caller);
}

STORY(a_chunked_body_that_is_cut_never_ends_well, EVERYWHERE)
{
    struct end *caller = call(w), *app = reach(caller, "/");

    say(app, "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n");
    hear(caller, "1\r\nh\r\n");
    slam(app);
    hear_gone(caller);
    EXPECT(w, !memmem(caller->in, caller->in_n, "0\r\n\r\n", 5));
}

STORY(a_body_to_the_close_ends_with_it, EVERYWHERE)
{
    struct end *caller = call(w), *app;
    char *big = bulk_text(w, w->bulk);

    app = reach(caller, "/");
    say(app, "HTTP/1.1 200 X\r\n\r\n");
    say_bytes(app, big, w->bulk);
    end_saying(app);
    hear_answer_with(caller, 200, big, w->bulk);
    hear_end(app);
    app = reach(caller, "/next");
    answer_text(app, 200, "next");
    hear_answer(caller, 200, "next");
    hang_up(caller);
}

STORY(an_old_client_sees_a_cut_of_such_a_body_as_a_reset, EVERYWHERE)
{
    struct end *caller = call(w), *app;

    say(caller, "GET / HTTP/1.0\r\nHost: svc.test\r\n\r\n");
    app = meet(w);
    hear_request(app, "GET / ", "", 0);
    say(app, "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
    hear(caller, "half");
    slam(app);
    hear_gone(caller);
    EXPECT(w, caller->was_reset);
}

STORY(a_reset_before_the_answer_is_tried_again, EVERYWHERE)
{
    struct end *caller, *app;

    w->rules.retry = (struct retry_policy){.attempts = 2, .on = RETRY_RESET | RETRY_5XX, .backoff_base_ms = 25};
    apply_rules(w);
    caller = call(w);
    ask_with(caller, "POST", "/", "payload", 7);
    app = meet(w);
    hear_request(app, "POST / ", "payload", 7);
    slam(app);
    app = meet(w);
    hear_request(app, "POST / ", "payload", 7);
    slam(app);
    app = meet(w);
    hear_request(app, "POST / ", "payload", 7);
    answer_text(app, 200, "third time");
    hear_answer(caller, 200, "third time");
    hang_up(caller);
}

STORY(a_caller_may_leave_during_the_back_off, EVERYWHERE)
{
    struct end *caller, *app;

    w->rules.retry = (struct retry_policy){.attempts = 5, .on = RETRY_RESET | RETRY_5XX, .backoff_base_ms = 1000};
    apply_rules(w);
    caller = call(w);
    ask_with(caller, "POST", "/", "payload", 7);
    app = meet(w);
    hear_request(app, "POST / ", "payload", 7);
    slam(app);
    settle(w);
    slam(caller);
    settle(w);
    later(w, 60000);
    EXPECT(w, !unmet(w));
}

STORY(a_try_and_its_answer_may_meet_at_the_deadline, EVERYWHERE)
{
    struct end *caller, *app;

    w->rules.retry = (struct retry_policy){.attempts = 1, .on = RETRY_RESET, .per_try_timeout_ms = 100, .backoff_base_ms = 1};
    apply_rules(w);
    caller = call(w);
    app = reach(caller, "/");
    settle(w);
    answer_text(app, 200, "just in time");
    chaos_advance(100); /* both are noted in one turn */
    (void)UNTIL(w, unmet(w) || app->in_n > app->at || caller->in_n > 0, PATIENCE, 1);
    if (caller->in_n == 0) { /* the deadline came first; the host may have the connection back already */
        if (unmet(w))
            app = meet(w);
        hear_request(app, "GET / ", "", 0);
        answer_text(app, 200, "just in time");
    }
    hear_answer(caller, 200, "just in time");
    hang_up(caller);
}

STORY(an_endpoint_that_never_answers_costs_its_deadline, EVERYWHERE)
{
    struct end *caller, *app;

    w->rules.timeout_ms = 700;
    apply_rules(w);
    caller = call(w);
    app = reach(caller, "/");
    later(w, 700);
    hear_answer(caller, 504, "upstream request timeout");
    hear_gone(app);
    hang_up(caller);
}

/* ---- pools ---- */

STORY(an_idle_connection_that_closed_is_not_used_again, EVERYWHERE)
{
    struct end *caller = call(w), *app;

    for (int i = 0; i < 3; i++) {
        ask(caller, "GET", "/");
        app = meet(w);
        hear_request(app, "GET / ", "", 0);
        answer_text(app, 200, "ok");
        hear_answer(caller, 200, "ok");
        hang_up(app); /* the next request races with it */
    }
    hang_up(caller);
}

STORY(a_pooled_connection_that_dies_under_a_request_costs_a_safe_one_nothing, EVERYWHERE)
{
    struct end *caller = call(w), *app = reach(caller, "/");

    answer_text(app, 200, "ok");
    hear_answer(caller, 200, "ok");
    settle(w);
    ask(caller, "GET", "/again");
    hear(app, "GET /again ");
    slam(app);
    app = meet(w);
    hear_request(app, "GET /again ", "", 0);
    answer_text(app, 200, "on another");
    hear_answer(caller, 200, "on another");
    hang_up(caller);
}

STORY(idle_connections_leave_after_their_time, IN_PLAIN | IN_MTLS)
{
    struct end *caller, *app;

    w->rules.http_idle_ms = 1000;
    apply_rules(w);
    caller = call(w);
    app = reach(caller, "/");
    answer_text(app, 200, "ok");
    hear_answer(caller, 200, "ok");
    later(w, 999);
    chaos_advance(1);
    ask(caller, "GET", "/again"); /* in the very turn in which the pool lets go */
    settle(w);
    if (unmet(w))
        app = meet(w);
    hear_request(app, "GET /again ", "", 0);
    answer_text(app, 200, "ok");
    hear_answer(caller, 200, "ok");
    hang_up(caller);
}

/* ---- callers who leave ---- */

STORY(a_caller_may_leave_while_rules_are_asked_for, EVERYWHERE)
{
    struct end *caller, *other, *app;

    w->rules.pending = true;
    apply_rules(w);
    caller = call(w);
    other = call(w);
    ask(caller, "GET", "/gone");
    ask(other, "GET", "/stays");
    settle(w);
    EXPECT(w, w->needs == 1);
    slam(caller);
    settle(w);
    w->rules.pending = false;
    apply_rules(w);
    app = meet(w);
    hear_request(app, "GET /stays ", "", 0);
    answer_text(app, 200, "here");
    hear_answer(other, 200, "here");
    hang_up(other);
}

STORY(rules_that_never_come_end_the_wait, EVERYWHERE)
{
    struct end *caller;

    w->rules.pending = true;
    apply_rules(w);
    caller = call(w);
    ask(caller, "GET", "/");
    later(w, LIMIT_PENDING_MS);
    hear_answer(caller, 503, NULL);
    hang_up(caller);
}

STORY(a_caller_may_leave_while_we_connect, EVERYWHERE)
{
    struct end *caller = call(w);

    chaos_stall_connects(true);
    ask_with(caller, "POST", "/", "body", 4);
    settle(w);
    slam(caller);
}

STORY(a_connection_that_cannot_be_made_in_time_is_a_503, EVERYWHERE)
{
    struct end *caller;

    w->rules.connect_timeout_ms = 300;
    apply_rules(w);
    caller = call(w);
    chaos_stall_connects(true);
    ask_with(caller, "POST", "/", "body", 4);
    if (w->shape == SHAPE_PAIR) { /* it is the application that is not reached, and that is tried three times */
        for (int i = 0; i < 3; i++)
            later(w, 2000);
    } else {
        later(w, 300);
    }
    hear_answer(caller, 503, NULL);
    hang_up(caller);
}

STORY(a_caller_may_leave_in_the_middle_of_its_request, EVERYWHERE)
{
    struct end *caller = call(w), *app;

    say(caller, "POST / HTTP/1.1\r\nHost: svc.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel");
    app = meet(w);
    hear(app, "\r\n\r\n");
    slam(caller);
    hear_gone(app);
    EXPECT(w, !app->in || !memmem(app->in, app->in_n, "0\r\n\r\n", 5));
}

STORY(a_caller_who_left_behind_pipelined_requests_is_noticed, EVERYWHERE)
{
    struct end *caller = call(w), *app;

    say(caller, "GET /1 HTTP/1.1\r\nHost: svc.test\r\n\r\nGET /2 HTTP/1.1\r\nHost: svc.test\r\n\r\n");
    app = meet(w);
    hear_request(app, "GET /1 ", "", 0);
    settle(w);
    hang_up(caller);
    hear_gone(app);
}

STORY(a_caller_who_ends_its_side_in_the_middle_never_completes_its_request, EVERYWHERE)
{
    struct end *caller = call(w), *app;

    say(caller, "POST / HTTP/1.1\r\nHost: svc.test\r\nContent-Length: 10\r\n\r\n01234");
    app = meet(w);
    hear(app, "01234");
    end_saying(caller);
    hear_gone(app);
    hear_gone(caller);
}

STORY(a_caller_may_leave_in_the_middle_of_its_answer, EVERYWHERE)
{
    struct end *caller = call(w), *app;
    char *big = bulk_text(w, w->bulk);

    app = reach(caller, "/");
    caller->deaf = true;
    answer_with(app, 200, big, w->bulk);
    settle(w);
    slam(caller);
    settle(w);
    hang_up(app);
}

STORY(many_leave_in_one_turn_and_their_descriptors_are_used_again, EVERYWHERE)
{
    struct end *callers[8], *app;

    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < COUNT(callers); i++) {
            callers[i] = call(w);
            ask(callers[i], "GET", "/gone");
            if (i % 2)
                (void)round_of(w); /* some have come further than others */
        }
        for (size_t i = 0; i < COUNT(callers); i++)
            slam(callers[i]);
    }
    callers[0] = call(w);
    ask(callers[0], "GET", "/stays");
    for (;;) { /* requests of those who left may have come through */
        app = meet(w);
        (void)UNTIL(w, is_over(app) || memmem(app->in, app->in_n, "\r\n\r\n", 4), PATIENCE, 1);
        if (app->in_n > 0 && memmem(app->in, app->in_n, "GET /stays ", 11))
            break;
    }
    hear(app, "GET /stays ");
    hear(app, "\r\n\r\n");
    answer_text(app, 200, "here");
    hear_answer(callers[0], 200, "here");
    hang_up(callers[0]);
}

/* ---- pressure ---- */

#define LARGE ((size_t)3 << 20)

/* What may wait inside: each stream and each io has its mark, twice where there are two proxies; the TLS of a turn on top. */
static size_t bound_of(const struct world *w)
{
    return (w->shape == SHAPE_PLAIN ? 6u : 12u) * LIMIT_STREAM_HIGH + (1u << 20) / 4;
}

static size_t slices_bytes(void)
{
    return bytes_pool_live() * BYTES_SLICE;
}

STORY(a_slow_reader_holds_back_the_endpoint, EVERYWHERE)
{
    struct end *caller = call(w), *app;
    size_t n = w->mode == CHAOS_NONE || w->mode == CHAOS_COALESCED ? 4 * LARGE : w->bulk;
    char *big = bulk_text(w, n);

    app = reach(caller, "/");
    caller->deaf = true;
    answer_with(app, 200, big, n);
    settle(w);
    EXPECT(w, slices_bytes() <= bound_of(w));
    later(w, 1000);
    caller->deaf = false;
    hear_answer_with(caller, 200, big, n);
    hang_up(caller);
}

STORY(a_slow_endpoint_holds_back_the_caller, EVERYWHERE)
{
    struct end *caller = call(w), *app;
    size_t n = w->mode == CHAOS_NONE || w->mode == CHAOS_COALESCED ? 4 * LARGE : w->bulk;
    char *big = bulk_text(w, n);

    say(caller, "POST / HTTP/1.1\r\nHost: svc.test\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
    app = meet(w);
    hear(app, "x\r\n");
    app->deaf = true;
    {
        char line[32];

        snprintf(line, sizeof(line), "%zx\r\n", n);
        say(caller, line);
    }
    say_bytes(caller, big, n);
    say(caller, "\r\n0\r\n\r\n");
    settle(w);
    EXPECT(w, slices_bytes() <= bound_of(w) + LIMIT_REPLAY_BYTES);
    later(w, 1000);
    app->deaf = false;
    hear(app, "\r\n0\r\n\r\n");
    EXPECT(w, app->in_n >= n);
    answer_text(app, 200, "all of it");
    hear_answer(caller, 200, "all of it");
    hang_up(caller);
}

/* ---- changes meanwhile ---- */

STORY(a_drain_answers_what_is_under_way_and_then_closes, EVERYWHERE)
{
    struct end *caller = call(w), *idle = call(w), *app;

    ask(idle, "GET", "/");
    app = meet(w);
    hear_request(app, "GET / ", "", 0);
    answer_text(app, 200, "idle now");
    hear_answer(idle, 200, "idle now");
    settle(w);
    say(caller, "POST / HTTP/1.1\r\nHost: svc.test\r\nContent-Length: 4\r\n\r\nbo");
    hear(app, "\r\n\r\nbo");
    proxy_drain(w->caller.proxy);
    settle(w);
    say(caller, "dy");
    hear(app, "dy");
    answer_text(app, 200, "still here");
    hear_answer(caller, 200, "still here");
    hear_end(caller);
    hear_end(idle);
}

STORY(a_swap_in_the_middle_of_a_request_changes_the_next_one_only, EVERYWHERE)
{
    struct end *caller = call(w), *app, *other;

    say(caller, "POST /old HTTP/1.1\r\nHost: svc.test\r\nContent-Length: 4\r\n\r\nbo");
    app = meet(w);
    hear(app, "\r\n\r\nbo");
    w->rules.app = 1;
    apply_rules(w);
    say(caller, "dy");
    hear(app, "dy");
    answer_text(app, 200, "old");
    hear_answer(caller, 200, "old");
    ask(caller, "GET", "/new");
    other = meet(w);
    EXPECT(w, strcmp(other->name, "the other application") == 0);
    hear_request(other, "GET /new ", "", 0);
    answer_text(other, 200, "new");
    hear_answer(caller, 200, "new");
    hang_up(caller);
}

/* ---- tunnels ---- */

STORY(a_tunnel_ends_each_direction_by_itself, EVERYWHERE | AS_TCP)
{
    struct end *caller = call(w), *app = meet(w);
    char *big = bulk_text(w, w->bulk);

    say(app, "220 ready\r\n"); /* the server speaks first */
    hear(caller, "220 ready\r\n");
    say_bytes(caller, big, w->bulk);
    end_saying(caller);
    hear_bytes(app, w->bulk);
    EXPECT(w, memcmp(app->in, big, w->bulk) == 0);
    hear_end(app);
    say_bytes(app, big, w->bulk);
    hear_bytes(caller, w->bulk);
    EXPECT(w, memcmp(caller->in + caller->at - w->bulk, big, w->bulk) == 0);
    end_saying(app);
    hear_end(caller);
}

STORY(the_server_may_end_its_direction_of_a_tunnel_first, EVERYWHERE | AS_TCP)
{
    struct end *caller = call(w), *app = meet(w);

    say(app, "all I had");
    end_saying(app);
    hear(caller, "all I had");
    hear_end(caller);
    say(caller, "thanks, and here is mine");
    hear(app, "thanks, and here is mine");
    end_saying(caller);
    hear_end(app);
}

STORY(a_reset_of_a_tunnel_arrives_as_one, EVERYWHERE | AS_TCP)
{
    struct end *caller = call(w), *app = meet(w);

    say(caller, "half a sent");
    hear(app, "half a sent");
    slam(caller);
    hear_gone(app);
    EXPECT(w, app->was_reset);
}

STORY(a_tunnel_holds_back_whoever_is_faster, EVERYWHERE | AS_TCP)
{
    struct end *caller = call(w), *app = meet(w);
    size_t n = w->mode == CHAOS_NONE || w->mode == CHAOS_COALESCED ? 4 * LARGE : w->bulk;
    char *big = bulk_text(w, n);

    caller->deaf = app->deaf = true;
    say_bytes(caller, big, n);
    say_bytes(app, big, n);
    settle(w);
    EXPECT(w, slices_bytes() <= 2 * bound_of(w));
    caller->deaf = app->deaf = false;
    hear_bytes(caller, n);
    hear_bytes(app, n);
    EXPECT(w, memcmp(caller->in, big, n) == 0 && memcmp(app->in, big, n) == 0);
    hang_up(caller);
}

STORY(a_caller_of_a_tunnel_may_leave_while_we_connect, EVERYWHERE | AS_TCP)
{
    struct end *caller;

    chaos_stall_connects(true);
    caller = call(w);
    say(caller, "hello?");
    settle(w);
    slam(caller);
}

/* ---- handshakes ---- */

STORY(a_caller_may_leave_while_a_helper_shakes_hands, IN_MTLS)
{
    struct end *caller = call(w);

    chaos_hold_handshakes(true);
    ask(caller, "GET", "/");
    (void)UNTIL(w, chaos_held_handshakes() > 0, PATIENCE, 1);
    EXPECT(w, chaos_held_handshakes() > 0);
    slam(caller); /* the try is given up, the connection dies, the job is still out */
    settle(w);
    (void)UNTIL(w, under_way(w) <= 1, PATIENCE, 1);
    chaos_hold_handshakes(false);
    chaos_release_handshakes();
}

STORY(the_other_side_may_die_while_a_helper_shakes_hands, IN_MTLS)
{
    struct end *caller;

    w->rules.connect_timeout_ms = 500;
    apply_rules(w);
    caller = call(w);
    chaos_hold_handshakes(true);
    ask(caller, "GET", "/");
    (void)UNTIL(w, chaos_held_handshakes() > 0, PATIENCE, 1);
    later(w, 500);
    hear_answer(caller, 503, NULL);
    chaos_release_handshakes(); /* into a connection whose peer has gone */
    settle(w);
    chaos_hold_handshakes(false);
    chaos_release_handshakes();
    hang_up(caller);
}

STORY(a_handshake_by_helpers_carries_the_request_that_came_meanwhile, IN_MTLS)
{
    struct end *caller = call(w), *app;

    chaos_hold_handshakes(true);
    ask_with(caller, "POST", "/", "body", 4);
    for (int i = 0; i < 10000 && !unmet(w); i++) {
        (void)round_of(w);
        if (i % 7 == 0)
            chaos_release_handshakes();
    }
    chaos_hold_handshakes(false);
    chaos_release_handshakes();
    app = meet(w);
    hear_request(app, "POST / ", "body", 4);
    answer_text(app, 200, "ok");
    hear_answer(caller, 200, "ok");
    hang_up(caller);
}

/* ---- identities ---- */

static void identity_says(struct world *w, struct end *caller, struct end **app, const char *uri)
{
    char want[256];

    ask(caller, "GET", "/who");
    *app = meet(w);
    snprintf(want, sizeof(want), "URI=%s", uri);
    hear(*app, want);
    hear(*app, "\r\n\r\n"); /* a certificate may have names beside that */
    answer_text(*app, 200, uri);
    hear_answer(caller, 200, uri);
}

STORY(two_identities_never_share_a_connection_or_a_session, IN_MTLS | IN_PAIR)
{
    struct end *caller = call(w), *app;
    uint64_t full;

    identity_says(w, caller, &app, DB_URI);
    full = proxy_live(w->caller.proxy, "weft_handshakes_full_total");
    w->rules.identity = OTHER_URI;
    apply_rules(w);
    hang_up(app); /* so that a connection of its own shows which identity it has */
    settle(w);
    identity_says(w, caller, &app, OTHER_URI);
    EXPECT(w, w->shape == SHAPE_PAIR ||
                  proxy_live(w->caller.proxy, "weft_handshakes_full_total") == full + 1);
    EXPECT(w, alive(w, "weft_handshakes_resumed_total") == 0);
    EXPECT(w, proxy_live(w->caller.proxy, "weft_upstream_connects_total") >= 2);
    hang_up(caller);
}
