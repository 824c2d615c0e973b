/* Stories of HTTP/2, in each pairing of versions. See world.h and party.h. */
#include "test/world/party.h"

/* ---- requests and answers ---- */

static void requests_follow_each_other(struct world *w, bool caller2, bool app2)
{
    char *big = bulk_text(w, MIN(w->bulk, (size_t)60000));
    size_t n = strlen(big);
    struct party *caller, *app;

    app_speaks(w, app2);
    caller = party_call(w, caller2);
    party_ask(caller, "GET", "/one", "", 0);
    app = party_meet(w, app2);
    party_hear_request(app, "GET", "/one", "", 0);
    party_answer(app, app->id, 200, "first", 5);
    party_hear_answer(caller, caller->id, 200, "first", 5);
    party_ask(caller, "POST", "/two", big, n);
    party_hear_request(app, "POST", "/two", big, n);
    party_answer(app, app->id, 404, "", 0);
    party_hear_answer(caller, caller->id, 404, "", 0);
    party_ask(caller, "GET", "/three", "", 0);
    party_hear_request(app, "GET", "/three", "", 0);
    party_answer(app, app->id, 200, big, n);
    party_hear_answer(caller, caller->id, 200, big, n);
    hang_up(caller->e);
}
PAIRINGS(requests_follow_each_other, EVERYWHERE)

/* More than any window, so that credit has to come back on each way. */
static void a_long_answer_passes_whole(struct world *w, bool caller2, bool app2)
{
    char *big = bulk_text(w, w->bulk);
    size_t sent = 0;
    struct party *caller, *app;
    char line[64];

    app_speaks(w, app2);
    caller = party_call(w, caller2);
    party_ask(caller, "GET", "/", "", 0);
    app = party_meet(w, app2);
    party_hear_request(app, "GET", "/", "", 0);
    if (app2) {
        snprintf(line, sizeof(line), ":status: 200|content-length: %zu", w->bulk);
        party_head(app, 1, false, line);
    } else {
        snprintf(line, sizeof(line), "HTTP/1.1 200 X\r\nContent-Length: %zu\r\n\r\n", w->bulk);
        say(app->e, line);
    }
    while (sent < w->bulk) {
        size_t some = MIN(w->bulk - sent, (size_t)16000);

        if (app2 && sent >= 64000) /* as much as it was given credit for */
            (void)expect_frame(app, H2_WINDOW, 1, (sent - 64000) / 48000);
        if (app2)
            party_data(app, 1, big + sent, some, sent + some == w->bulk);
        else
            say_bytes(app->e, big + sent, some);
        sent += some;
        settle(w);
        if (caller2)
            party_read(caller);
    }
    party_hear_answer(caller, caller->id, 200, big, w->bulk);
    hang_up(caller->e);
}
PAIRINGS(a_long_answer_passes_whole, EVERYWHERE)

static void trailers_pass(struct world *w, bool caller2, bool app2)
{
    struct party *caller, *app;

    app_speaks(w, app2);
    caller = party_call(w, caller2);
    if (caller2) {
        party_ask(caller, "POST", "/", "", 0);
    } else {
        party_ask(caller, "POST", "/", "x", 1);
    }
    app = party_meet(w, app2);
    party_hear_request(app, "POST", "/", "x", caller2 ? 0 : 1);
    if (app2) {
        party_head(app, 1, false, ":status: 200");
        party_data(app, 1, "body", 4, false);
        party_head(app, 1, true, "x-sum: 7");
    } else {
        say(app->e, "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nx-sum: 7\r\n\r\n");
    }
    if (caller2) {
        party_hear_answer(caller, 1, 200, "body", 4);
        EXPECT(w, strcmp(expect_frame(caller, H2_HEADERS, 1, 1)->fields, "x-sum: 7") == 0);
    } else {
        hear(caller->e, "\r\n0\r\nx-sum: 7\r\n\r\n");
    }
    hang_up(caller->e);
}
PAIRINGS(trailers_pass, EVERYWHERE)

STORY(many_streams_are_answered_in_any_order, EVERYWHERE)
{
    struct party *caller, *app;

    app_speaks(w, true);
    caller = party_call(w, true);
    for (int i = 0; i < 10; i++)
        party_ask(caller, "GET", "/", "", 0);
    app = party_meet(w, true);
    for (int i = 0; i < 10; i++)
        party_hear_request(app, "GET", "/", "", 0);
    for (uint32_t i = 10; i > 0; i--) { /* who asked which is not known here: streams are told apart by their bodies only */
        char body[32];

        snprintf(body, sizeof(body), "answer %u", i);
        party_answer(app, 2 * i - 1, 200, body, strlen(body));
    }
    for (uint32_t i = 1; i <= 10; i++)
        party_hear_answer(caller, 2 * i - 1, 200, NULL, 0);
    hang_up(caller->e);
}

STORY(many_streams_go_to_many_connections_of_http1, EVERYWHERE)
{
    struct party *caller, *apps[4];

    app_speaks(w, false);
    caller = party_call(w, true);
    for (size_t i = 0; i < COUNT(apps); i++) {
        party_ask(caller, "GET", "/", "", 0);
        apps[i] = party_meet(w, false);
        party_hear_request(apps[i], "GET", "/", "", 0);
    }
    for (size_t i = COUNT(apps); i > 0; i--)
        party_answer(apps[i - 1], 0, 200, "ok", 2);
    for (uint32_t i = 1; i <= COUNT(apps); i++)
        party_hear_answer(caller, 2 * i - 1, 200, "ok", 2);
    hang_up(caller->e);
}

/* ---- who leaves ---- */

static void the_caller_gives_up_a_request(struct world *w, bool caller2, bool app2)
{
    struct party *caller, *app;

    app_speaks(w, app2);
    caller = party_call(w, caller2);
    party_ask(caller, "GET", "/", "", 0);
    app = party_meet(w, app2);
    party_hear_request(app, "GET", "/", "", 0);
    party_abort(caller);
    party_hear_abort(app);
    if (!caller2)
        return;
    party_ask(caller, "GET", "/next", "", 0); /* the connection goes on */
    if (!app2)
        app = party_meet(w, app2);
    party_hear_request(app, "GET", "/next", "", 0);
    party_answer(app, app->id, 200, "ok", 2);
    party_hear_answer(caller, caller->id, 200, "ok", 2);
    hang_up(caller->e);
}
PAIRINGS(the_caller_gives_up_a_request, EVERYWHERE)

static void the_caller_is_gone_in_the_middle(struct world *w, bool caller2, bool app2)
{
    struct party *caller, *app;

    app_speaks(w, app2);
    caller = party_call(w, caller2);
    party_ask(caller, "GET", "/", "", 0);
    app = party_meet(w, app2);
    party_hear_request(app, "GET", "/", "", 0);
    if (app2) {
        party_head(app, 1, false, ":status: 200");
        party_data(app, 1, "half", 4, false);
    } else {
        say(app->e, "HTTP/1.1 200 X\r\nContent-Length: 8\r\n\r\nhalf");
    }
    settle(w);
    slam(caller->e);
    party_hear_abort(app);
}
PAIRINGS(the_caller_is_gone_in_the_middle, EVERYWHERE)

static void the_application_gives_up_an_answer(struct world *w, bool caller2, bool app2)
{
    struct party *caller, *app;

    app_speaks(w, app2);
    caller = party_call(w, caller2);
    party_ask(caller, "GET", "/", "", 0);
    app = party_meet(w, app2);
    party_hear_request(app, "GET", "/", "", 0);
    if (app2) {
        party_head(app, 1, false, ":status: 200|content-length: 8");
        party_data(app, 1, "half", 4, false);
    } else {
        say(app->e, "HTTP/1.1 200 X\r\nContent-Length: 8\r\n\r\nhalf");
    }
    if (caller2)
        (void)expect_frame(caller, H2_DATA, 1, 0);
    else
        hear(caller->e, "half");
    party_abort(app);
    party_hear_abort(caller);
    if (caller2)
        EXPECT(w, !stream_ended(caller, 1)); /* what is half is not passed off as whole */
    hang_up(caller->e);
}
PAIRINGS(the_application_gives_up_an_answer, EVERYWHERE)

static void an_answer_comes_before_the_request_ends(struct world *w, bool caller2, bool app2)
{
    struct party *caller, *app;

    app_speaks(w, app2);
    caller = party_call(w, caller2);
    if (caller2) {
        caller->id = 1;
        party_head(caller, 1, false, ":method: POST|:scheme: http|:path: /|:authority: svc.test|content-length: 10");
        party_data(caller, 1, "part", 4, false);
    } else {
        say(caller->e, "POST / HTTP/1.1\r\nHost: svc.test\r\nContent-Length: 10\r\n\r\npart");
    }
    app = party_meet(w, app2);
    if (app2)
        (void)expect_frame(app, H2_DATA, 1, 0);
    else
        hear(app->e, "part");
    party_answer(app, 1, 403, "no", 2);
    if (app2)
        party_frame32(app, H2_RST, 1, NGHTTP2_NO_ERROR);
    party_hear_answer(caller, 1, 403, "no", 2);
    later(w, 2 * LIMIT_LINGER_MS + 500); /* the rest is not waited for */
    if (!caller2)
        hear_gone(caller->e);
    else
        (void)expect_frame(caller, H2_RST, 1, 0);
    hang_up(caller->e);
}
PAIRINGS(an_answer_comes_before_the_request_ends, EVERYWHERE)

/* ---- connections that go away ---- */

static void say_goaway(struct party *p, uint32_t last)
{
    char text[8] = {0, 0, 0, (char)last, 0, 0, 0, 0};
    struct buf b;

    buf_init(&b, 64);
    h2_frame(&b, H2_GOAWAY, 0, 0, (struct str){text, sizeof(text)});
    party_say(p, &b);
    buf_done(&b);
}

static void a_goaway_moves_what_follows(struct world *w, bool caller2, bool app2)
{
    struct party *caller, *other, *app, *next;

    if (!app2)
        return; /* it is the application that says it */
    app_speaks(w, true);
    caller = party_call(w, caller2);
    other = party_call(w, caller2);
    party_ask(caller, "GET", "/one", "", 0);
    app = party_meet(w, true);
    party_hear_request(app, "GET", "/one", "", 0);
    say_goaway(app, 1);
    settle(w);
    party_ask(other, "GET", "/two", "", 0);
    next = party_meet(w, true);
    party_hear_request(next, "GET", "/two", "", 0);
    party_answer(next, 1, 200, "two", 3);
    party_hear_answer(other, other->id, 200, "two", 3);
    party_answer(app, 1, 200, "one", 3);
    party_hear_answer(caller, caller->id, 200, "one", 3);
    hang_up(caller->e);
    hang_up(other->e);
}
PAIRINGS(a_goaway_moves_what_follows, EVERYWHERE)

static void what_a_goaway_refuses_is_tried_again(struct world *w, bool caller2, bool app2)
{
    struct party *caller, *app;

    if (!app2)
        return;
    w->rules.retry = (struct retry_policy){.attempts = 2, .on = RETRY_REFUSED_STREAM, .backoff_base_ms = 25};
    app_speaks(w, true);
    caller = party_call(w, caller2);
    party_ask(caller, "POST", "/", "payload", 7);
    app = party_meet(w, true);
    party_hear_request(app, "POST", "/", "payload", 7);
    say_goaway(app, 0);
    app = party_meet(w, true);
    party_hear_request(app, "POST", "/", "payload", 7);
    party_answer(app, 1, 200, "ok", 2);
    party_hear_answer(caller, caller->id, 200, "ok", 2);
    hang_up(caller->e);
}
PAIRINGS(what_a_goaway_refuses_is_tried_again, IN_PLAIN) /* nothing is tried again on the way into a service */

static void a_refused_stream_is_tried_again(struct world *w, bool caller2, bool app2)
{
    struct party *caller, *app;

    if (!app2)
        return;
    w->rules.retry = (struct retry_policy){.attempts = 2, .on = RETRY_REFUSED_STREAM, .backoff_base_ms = 25};
    app_speaks(w, true);
    caller = party_call(w, caller2);
    party_ask(caller, "POST", "/", "payload", 7);
    app = party_meet(w, true);
    party_hear_request(app, "POST", "/", "payload", 7);
    party_frame32(app, H2_RST, 1, NGHTTP2_REFUSED_STREAM);
    party_hear_request(app, "POST", "/", "payload", 7); /* on the same connection */
    party_answer(app, 3, 200, "ok", 2);
    party_hear_answer(caller, caller->id, 200, "ok", 2);
    hang_up(caller->e);
}
PAIRINGS(a_refused_stream_is_tried_again, IN_PLAIN) /* nothing is tried again on the way into a service */

/* ---- tunnels ---- */

static void a_websocket_passes(struct world *w, bool caller2, bool app2)
{
    struct party *caller, *app;

    app_speaks(w, app2);
    caller = party_call(w, caller2);
    party_ask_tunnel(caller);
    app = party_meet(w, app2);
    party_hear_tunnel(app);
    party_accept_tunnel(app);
    party_hear_tunnel_accepted(caller);
    party_say_in_tunnel(caller, "ping", false);
    party_hear_in_tunnel(app, "ping", "ping");
    party_say_in_tunnel(app, "pong", false);
    party_hear_in_tunnel(caller, "pong", "pong");
    party_say_in_tunnel(caller, " bye", true); /* each way ends by itself */
    party_hear_in_tunnel(app, " bye", "ping bye");
    party_hear_end_of_tunnel(app);
    party_say_in_tunnel(app, " and you", true);
    party_hear_in_tunnel(caller, " and you", "pong and you");
    party_hear_end_of_tunnel(caller);
    hang_up(caller->e);
}
PAIRINGS(a_websocket_passes, EVERYWHERE)

static void a_refused_websocket_is_an_answer(struct world *w, bool caller2, bool app2)
{
    struct party *caller, *app;

    app_speaks(w, app2);
    caller = party_call(w, caller2);
    party_ask_tunnel(caller);
    app = party_meet(w, app2);
    party_hear_tunnel(app);
    party_answer(app, app->id, 403, "no", 2);
    party_hear_answer(caller, caller->id, 403, "no", 2);
    hang_up(caller->e);
}
PAIRINGS(a_refused_websocket_is_an_answer, EVERYWHERE)

static void a_caller_of_a_websocket_is_gone(struct world *w, bool caller2, bool app2)
{
    struct party *caller, *app;

    app_speaks(w, app2);
    caller = party_call(w, caller2);
    party_ask_tunnel(caller);
    app = party_meet(w, app2);
    party_hear_tunnel(app);
    party_accept_tunnel(app);
    party_hear_tunnel_accepted(caller);
    party_abort(caller);
    party_hear_abort(app);
    hang_up(caller->e);
}
PAIRINGS(a_caller_of_a_websocket_is_gone, EVERYWHERE)
