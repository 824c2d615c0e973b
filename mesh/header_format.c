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

/* "NAME", "NAME(X)", "NAME(X?Y):LENGTH" of the text between two '%'. */
static int parse_command(struct str command, struct header_piece *out, struct err *err)
{
    struct str rest = command, name = command, argument = STR_NONE;
    uint64_t bytes;

    if (str_cut(&rest, '(', &name)) {
        size_t end;

        if (!str_find(rest, STR(")"), &end) || end > ARGUMENT_MAX)
            return err_set(err, ERR_INVALID, "%%%.*s%% has no closing ')'", STR_ARG(command));
        argument = str_sub(rest, 0, end);
        rest = str_sub(rest, end + 1, rest.n);
        if (rest.n && (rest.p[0] != ':' || !str_uint(str_sub(rest, 1, rest.n), 1, 65535, &bytes)))
            return err_set(err, ERR_INVALID,
                           "%%%.*s%%: behind ')' may only stand ':' and a length",
                           STR_ARG(command));
        if (rest.n)
            out->bytes_max = (size_t)bytes;
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

int header_format_next(struct str *rest, struct header_piece *out, struct err *err)
{
    const char *at = rest->n ? memchr(rest->p, '%', rest->n) : NULL;
    struct str command;

    *out = (struct header_piece){.bytes_max = SIZE_MAX};
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

int header_format_check(struct str value, struct err *err)
{
    struct header_piece piece;
    struct err found;
    bool is_unsupported = false;
    int step;

    for (size_t i = 0; i < value.n; i++) {
        unsigned char c = (unsigned char)value.p[i];

        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return err_set(err, ERR_INVALID,
                           "the value of a header may not hold control characters or line ends");
    }
    while ((step = header_format_next(&value, &piece, &found))) {
        if (step > 0)
            continue;
        *err = found;
        if (found.code != ERR_UNSUPPORTED)
            return -1;
        is_unsupported = true; /* what is wrong behind it comes first */
    }
    return is_unsupported ? -1 : 0;
}
