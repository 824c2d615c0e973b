#include "mesh/cel.h"

#include <string.h>

/* The grammar of the language's definition, by recursive descent:
 *
 *   expr    = or ["?" or ":" expr]
 *   or      = unary {operator unary}          precedence does not matter for being well-formed
 *   unary   = {"!" | "-"} member
 *   member  = primary {"." NAME ["(" args ")"] | "[" expr "]"}
 *   primary = literal | ["."] NAME ["(" args ")"] | "(" expr ")" | "[" args "]" | "{" pairs "}"
 */
struct cel {
    const char *at, *end;
    unsigned depth;
};

static bool expr(struct cel *c);

static bool is_name(char x)
{
    return (x >= 'a' && x <= 'z') || (x >= 'A' && x <= 'Z') || x == '_';
}

static bool is_digit(char x)
{
    return x >= '0' && x <= '9';
}

static void blanks(struct cel *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\n' || *c->at == '\r'))
        c->at++;
}

static bool take(struct cel *c, const char *word)
{
    size_t n = strlen(word);

    blanks(c);
    if ((size_t)(c->end - c->at) < n || memcmp(c->at, word, n) != 0)
        return false;
    c->at += n;
    return true;
}

static bool name(struct cel *c)
{
    blanks(c);
    if (c->at == c->end || !is_name(*c->at))
        return false;
    while (c->at < c->end && (is_name(*c->at) || is_digit(*c->at)))
        c->at++;
    return true;
}

static bool number(struct cel *c)
{
    blanks(c);
    if (c->at == c->end || !is_digit(*c->at))
        return false;
    while (c->at < c->end && (is_digit(*c->at) || is_name(*c->at) || *c->at == '.')) {
        bool exponent = *c->at == 'e' || *c->at == 'E';

        c->at++;
        if (exponent && c->at < c->end && (*c->at == '+' || *c->at == '-'))
            c->at++;
    }
    return true;
}

/* '...', "...", and the same three times; r and b may stand before. */
static bool string(struct cel *c)
{
    const char *start = c->at;
    bool raw = false;
    char quote;

    blanks(c);
    start = c->at;
    while (c->at < c->end && (*c->at == 'r' || *c->at == 'R' || *c->at == 'b' || *c->at == 'B')) {
        raw = raw || *c->at == 'r' || *c->at == 'R';
        c->at++;
    }
    if (c->at == c->end || (*c->at != '"' && *c->at != '\'')) {
        c->at = start;
        return false;
    }
    quote = *c->at;
    if (c->end - c->at >= 3 && c->at[1] == quote && c->at[2] == quote) {
        for (c->at += 3; c->end - c->at >= 3; c->at++) {
            if (c->at[0] == quote && c->at[1] == quote && c->at[2] == quote) {
                c->at += 3;
                return true;
            }
        }
        return false;
    }
    for (c->at++; c->at < c->end && *c->at != quote; c->at++) {
        if (*c->at == '\\' && !raw)
            c->at++;
    }
    if (c->at >= c->end) {
        c->at = c->end;
        return false;
    }
    c->at++;
    return true;
}

/* Up to the closing mark; `pairs` wants a ':' in each. */
static bool list(struct cel *c, const char *close, bool pairs)
{
    if (take(c, close))
        return true;
    do {
        if (!expr(c) || (pairs && (!take(c, ":") || !expr(c))))
            return false;
    } while (take(c, ","));
    return take(c, close);
}

static bool primary(struct cel *c)
{
    if (take(c, "("))
        return expr(c) && take(c, ")");
    if (take(c, "["))
        return list(c, "]", false);
    if (take(c, "{"))
        return list(c, "}", true);
    if (string(c) || number(c))
        return true;
    (void)take(c, "."); /* a name from the root */
    if (!name(c))
        return false;
    return take(c, "(") ? list(c, ")", false) : true;
}

static bool member(struct cel *c)
{
    if (!primary(c))
        return false;
    for (;;) {
        if (take(c, ".")) {
            if (!name(c) || (take(c, "(") && !list(c, ")", false)))
                return false;
        } else if (take(c, "[")) {
            if (!expr(c) || !take(c, "]"))
                return false;
        } else {
            return true;
        }
    }
}

static bool unary(struct cel *c)
{
    while (take(c, "!") || take(c, "-")) {
    }
    return member(c);
}

static bool word_in(struct cel *c)
{
    const char *start = c->at;

    if (take(c, "in") && (c->at == c->end || (!is_name(*c->at) && !is_digit(*c->at))))
        return true;
    c->at = start;
    return false;
}

static bool operator_next(struct cel *c)
{
    static const char *const operators[] = {"&&", "||", "==", "!=", "<=", ">=", "<",
                                            ">",  "+",  "-",  "*",  "/",  "%"};

    for (size_t i = 0; i < sizeof(operators) / sizeof(*operators); i++) {
        if (take(c, operators[i]))
            return true;
    }
    return word_in(c);
}

static bool operands(struct cel *c)
{
    do {
        if (!unary(c))
            return false;
    } while (operator_next(c));
    return true;
}

static bool expr(struct cel *c)
{
    bool ok;

    if (++c->depth > CEL_DEPTH_MAX)
        return false;
    ok = operands(c) && (!take(c, "?") || (operands(c) && take(c, ":") && expr(c)));
    c->depth--;
    return ok;
}

int cel_check(struct str text, struct err *err)
{
    struct cel c = {text.p, text.p + text.n, 0};
    bool ok = expr(&c);

    blanks(&c);
    if (ok && c.at == c.end)
        return 0;
    if (c.depth > CEL_DEPTH_MAX)
        return err_set(err, ERR_INVALID, "the expression is nested too deeply");
    return err_set(err, ERR_INVALID, "\"%.*s\" is not an expression: it goes wrong at character %zu",
                   STR_ARG(text), (size_t)(c.at - text.p) + 1);
}
