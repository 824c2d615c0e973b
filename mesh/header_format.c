#include "mesh/header_format.h"

#include <string.h>

#include "mesh/time_form.h"

#define ARGUMENT_MAX 256u

enum argument { ARGUMENT_NONE, ARGUMENT_FIELD, ARGUMENT_TIME };

static const struct {
    struct str name;
    enum header_variable variable;
    enum argument argument;
} rows[] = {
#define PLAIN(name) {STR_INIT(#name), HEADER_##name, ARGUMENT_NONE}
    PLAIN(DOWNSTREAM_REMOTE_ADDRESS),
    PLAIN(DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT),
    PLAIN(DOWNSTREAM_REMOTE_PORT),
    PLAIN(DOWNSTREAM_LOCAL_ADDRESS),
    PLAIN(DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT),
    PLAIN(DOWNSTREAM_LOCAL_PORT),
    PLAIN(DOWNSTREAM_PEER_URI_SAN),
    PLAIN(REQUESTED_SERVER_NAME),
    PLAIN(PROTOCOL),
    PLAIN(HOSTNAME),
    PLAIN(ROUTE_NAME),
    PLAIN(UPSTREAM_CLUSTER),
    PLAIN(UPSTREAM_REMOTE_ADDRESS),
    PLAIN(UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT),
    PLAIN(UPSTREAM_REMOTE_PORT),
    PLAIN(UPSTREAM_LOCAL_ADDRESS),
    PLAIN(UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT),
    PLAIN(UPSTREAM_LOCAL_PORT),
    PLAIN(UPSTREAM_TRANSPORT_FAILURE_REASON),
    PLAIN(UPSTREAM_REQUEST_ATTEMPT_COUNT),
    PLAIN(RESPONSE_CODE),
    PLAIN(RESPONSE_CODE_DETAILS),
    PLAIN(RESPONSE_FLAGS),
#undef PLAIN
    /* who connects is who is believed to be the client */
    {STR_INIT("DOWNSTREAM_DIRECT_REMOTE_ADDRESS"),              HEADER_DOWNSTREAM_REMOTE_ADDRESS, ARGUMENT_NONE},
    {STR_INIT("DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT"), HEADER_DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT, ARGUMENT_NONE},
    {STR_INIT("DOWNSTREAM_DIRECT_REMOTE_PORT"),                 HEADER_DOWNSTREAM_REMOTE_PORT, ARGUMENT_NONE},
    {STR_INIT("UPSTREAM_HOST"),                                 HEADER_UPSTREAM_REMOTE_ADDRESS, ARGUMENT_NONE},
    {STR_INIT("START_TIME"),                                    HEADER_START_TIME, ARGUMENT_TIME},
    {STR_INIT("REQ"),                                           HEADER_REQ, ARGUMENT_FIELD},
    {STR_INIT("REQ_WITHOUT_QUERY"),                             HEADER_REQ_WITHOUT_QUERY, ARGUMENT_FIELD},
    {STR_INIT("RESP"),                                          HEADER_RESP, ARGUMENT_FIELD},
};

/* "NAME", "NAME(X)", "NAME(X?Y)" of the text between two '%'. */
static int parse_command(struct str command, struct header_piece *out, struct err *err)
{
    struct str rest = command, name = command, argument = STR_NONE;

    if (str_cut(&rest, '(', &name)) {
        size_t end;

        if (!str_find(rest, STR(")"), &end) || end > ARGUMENT_MAX)
            return err_set(err, ERR_INVALID, "%%%.*s%% has no closing ')'", STR_ARG(command));
        argument = str_sub(rest, 0, end);
    }
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (!str_eq(rows[i].name, name))
            continue;
        if (rows[i].argument == ARGUMENT_TIME && !time_form_check(argument))
            break;
        if (rows[i].argument == ARGUMENT_FIELD && argument.n == 0)
            return err_set(err, ERR_INVALID, "%%%.*s%% needs the name of a header, as in %%REQ(x-user)%%", STR_ARG(command));
        if (rows[i].argument == ARGUMENT_NONE && argument.n > 0)
            return err_set(err, ERR_INVALID, "%%%.*s%% takes no argument", STR_ARG(command));
        out->variable = rows[i].variable;
        out->name = argument;
        if (rows[i].argument == ARGUMENT_TIME)
            return 1;
        out->other = argument;
        if (!str_cut(&out->other, '?', &out->name)) {
            out->name = argument;
            out->other = STR_NONE;
        }
        return 1;
    }
    return err_set(err, ERR_UNSUPPORTED, "%%%.*s%% in the value of a header", STR_ARG(command));
}

/* Up to the '%' that closes it; an argument may hold some of its own. */
static bool cut_command(struct str *rest, struct str *command)
{
    struct str whole = *rest, behind;
    size_t open, end;

    if (!str_cut(rest, '%', command))
        return false;
    if (!str_find(*command, STR("("), &open))
        return true;
    behind = str_sub(whole, open, whole.n);
    if (!str_find(behind, STR(")"), &end) || open + end < command->n)
        return true;
    behind = str_sub(behind, end, behind.n);
    if (!str_find(behind, STR("%"), &end))
        return true;
    *command = str_sub(whole, 0, whole.n - behind.n + end);
    *rest = str_sub(whole, command->n + 1, whole.n);
    return true;
}

/* Cuts the next piece off. 1: there is one; 0: the end; -1: what comes is not a format. */
static int next_piece(struct str *rest, struct header_piece *out, struct err *err)
{
    const char *at = rest->n ? memchr(rest->p, '%', rest->n) : NULL;
    struct str command;

    *out = (struct header_piece){.variable = HEADER_LITERAL};
    if (rest->n == 0)
        return 0;
    if (at != rest->p) {
        out->text = at ? str_sub(*rest, 0, (size_t)(at - rest->p)) : *rest;
        *rest = str_sub(*rest, out->text.n, rest->n);
        return 1;
    }
    *rest = str_sub(*rest, 1, rest->n);
    if (!cut_command(rest, &command))
        return err_set(err, ERR_INVALID,
                       "a single '%%' in the value of a header: write \"%%%%\", or a variable such "
                       "as %%DOWNSTREAM_REMOTE_ADDRESS%%");
    if (command.n > 0)
        return parse_command(command, out, err);
    out->text = STR("%");
    return 1;
}

struct header_format header_format_literal(struct arena *a, struct str text)
{
    return (struct header_format){.text = arena_str(a, text)};
}

struct header_format header_format_compile(struct arena *a, struct str text)
{
    struct header_format f = header_format_literal(a, text);
    struct str rest = f.text;
    struct header_piece *pieces, ignored;
    size_t room = 1;
    struct err err;

    if (!str_has(text, '%'))
        return f;
    while (next_piece(&rest, &ignored, &err) > 0)
        room++;
    f.pieces = pieces = ARENA_ARRAY(a, room, struct header_piece);
    for (rest = f.text; next_piece(&rest, &pieces[f.count], &err) > 0;)
        f.count++;
    return f;
}

/* ---- the grammar, which is narrower than what can be read here: Istio's own, as Envoy had it ---- */

enum place { IN_TEXT, IN_NAME, IN_ARGUMENT, IN_LIST, IN_STRING, BEHIND_STRING, BEHIND_LIST, BEHIND_ARGUMENT, NOWHERE };

/* Of what is not listed, blanks are passed over; anything else leads to `other`. */
static const struct {
    const char *marks; /* pairs of a mark and the place behind it, as a digit */
    enum place other;
} grammar[] = {
    [IN_NAME] = {"%0(2", IN_NAME},           [IN_ARGUMENT] = {"[3", IN_STRING},
    [IN_LIST] = {"\"4", NOWHERE},            [IN_STRING] = {")7\"5", IN_STRING},
    [BEHIND_STRING] = {",3]6", NOWHERE},     [BEHIND_LIST] = {")7", NOWHERE},
    [BEHIND_ARGUMENT] = {"%0", NOWHERE},
};

static enum place place_behind(enum place at, char mark)
{
    for (const char *m = grammar[at].marks; *m; m += 2) {
        if (*m == mark)
            return (enum place)(m[1] - '0');
    }
    return mark == ' ' ? at : grammar[at].other;
}

static int fail_grammar(struct str value, enum place at, struct err *err)
{
    static const char *const wants[] = {
        [IN_LIST] = "inside [ ] stand strings in double quotes",
        [BEHIND_STRING] = "behind a string stands ',' or ']'",
        [BEHIND_LIST] = "behind ']' stands ')'",
        [BEHIND_ARGUMENT] = "behind ')' stands '%'",
    };

    return err_set(err, ERR_INVALID, "\"%.*s\": %s", STR_ARG(value),
                   wants[at] ? wants[at] : "a variable is not closed by '%'; a single '%' is written \"%%\"");
}

static int check_grammar(struct str value, struct err *err)
{
    enum place at = IN_TEXT, next;

    for (size_t i = 0; i < value.n; i++) {
        char mark = value.p[i];
        bool has_more = i + 1 < value.n;

        if (at == IN_TEXT) {
            if (mark != '%')
                continue;
            if (!has_more)
                return fail_grammar(value, IN_NAME, err);
            if (value.p[i + 1] == '%')
                i++;
            else
                at = IN_NAME;
            continue;
        }
        if (at == IN_STRING && mark == '\\') {
            i++;
            continue;
        }
        next = place_behind(at, mark);
        if (next == NOWHERE)
            return fail_grammar(value, at, err);
        at = next;
    }
    return at == IN_TEXT ? 0 : fail_grammar(value, IN_NAME, err);
}

int header_format_check(struct str text, struct err *err)
{
    struct header_piece piece;
    struct err found;
    bool is_unsupported = false;
    int step;

    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];

        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return err_set(err, ERR_INVALID,
                           "the value of a header may not hold control characters or line ends");
    }
    if (check_grammar(text, err))
        return -1;
    while ((step = next_piece(&text, &piece, &found))) {
        if (step > 0)
            continue;
        *err = found;
        if (found.code != ERR_UNSUPPORTED)
            return -1;
        is_unsupported = true; /* what is wrong behind it comes first */
    }
    return is_unsupported ? -1 : 0;
}
