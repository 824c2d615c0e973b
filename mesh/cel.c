#include "mesh/cel.h"

#include <string.h>

/* The grammar of the language's definition, by recursive descent:
 *
 *   expr    = or ["?" or ":" expr]
 *   or      = unary {operator unary}          precedence does not matter for being well-formed
 *   unary   = {"!" | "-"} member
 *   member  = primary {"." NAME ["(" args ")"] | "[" expr "]"}
 *   primary = literal | ["."] NAME ["(" args ")"] | "(" expr ")" | "[" args "]" | "{" pairs "}"
 *
 * Two kinds of calls are macros, which look at the shape of an argument: has(a.b), and those that go over a list.
 */
enum shape { SHAPE_OTHER, SHAPE_NAME, SHAPE_SELECTION };

struct cel {
    const char *at, *end;
    unsigned depth;
    enum shape shape; /* of the expression that was just read */
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

/* A word; *out is it. */
static bool word(struct cel *c, struct str *out)
{
    const char *start;

    blanks(c);
    start = c->at;
    if (c->at == c->end || !is_name(*c->at))
        return false;
    while (c->at < c->end && (is_name(*c->at) || is_digit(*c->at)))
        c->at++;
    *out = (struct str){start, (size_t)(c->at - start)};
    return true;
}

static bool is_one_of(struct str name, const struct str *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (str_eq(words[i], name))
            return true;
    }
    return false;
}

/* What the language keeps for itself; a member may be called so. */
static bool is_reserved(struct str name)
{
    static const struct str words[] = {STR_INIT("as"),    STR_INIT("break"),  STR_INIT("const"),     STR_INIT("continue"),
                                       STR_INIT("else"),  STR_INIT("for"),    STR_INIT("function"),  STR_INIT("if"),
                                       STR_INIT("import"), STR_INIT("in"),    STR_INIT("let"),       STR_INIT("loop"),
                                       STR_INIT("namespace"), STR_INIT("package"), STR_INIT("return"), STR_INIT("var"),
                                       STR_INIT("void"),  STR_INIT("while")};

    return is_one_of(name, words, COUNT(words));
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
    bool ok = take(c, close);

    if (!ok) {
        do {
            if (!expr(c) || (pairs && (!take(c, ":") || !expr(c))))
                return false;
        } while (take(c, ","));
        ok = take(c, close);
    }
    c->shape = SHAPE_OTHER;
    return ok;
}

static bool is_loop(struct str name)
{
    static const struct str loops[] = {STR_INIT("all"), STR_INIT("exists"), STR_INIT("exists_one"), STR_INIT("filter"),
                                       STR_INIT("map")};

    return is_one_of(name, loops, COUNT(loops));
}

/* The arguments of NAME(...) or, of something, .NAME(...), behind the '('. */
static bool call(struct cel *c, struct str name, bool is_method)
{
    const char *start = c->at;
    enum shape first = SHAPE_OTHER;
    size_t count = 0;

    if (!take(c, ")")) {
        do {
            if (!expr(c))
                return false;
            first = count++ == 0 ? c->shape : first;
        } while (take(c, ","));
        if (!take(c, ")"))
            return false;
    }
    if ((!is_method && str_eq(name, STR("has")) && (count != 1 || first != SHAPE_SELECTION)) ||
        (is_method && is_loop(name) && (count == 2 || (count == 3 && str_eq(name, STR("map")))) && first != SHAPE_NAME)) {
        c->at = start;
        return false;
    }
    c->shape = SHAPE_OTHER;
    return true;
}

static bool primary(struct cel *c)
{
    const char *start;
    struct str name;

    if (take(c, "("))
        return expr(c) && take(c, ")"); /* of the shape of what is within */
    c->shape = SHAPE_OTHER;
    if (take(c, "["))
        return list(c, "]", false);
    if (take(c, "{"))
        return list(c, "}", true);
    if (string(c) || number(c))
        return true;
    (void)take(c, "."); /* a name from the root */
    start = c->at;
    if (!word(c, &name) || is_reserved(name)) {
        c->at = start;
        return false;
    }
    c->shape = SHAPE_NAME;
    return take(c, "(") ? call(c, name, false) : true;
}

static bool member(struct cel *c)
{
    struct str name;

    if (!primary(c))
        return false;
    for (;;) {
        if (take(c, ".")) {
            if (!word(c, &name))
                return false;
            c->shape = SHAPE_SELECTION;
            if (take(c, "(") && !call(c, name, true))
                return false;
        } else if (take(c, "[")) {
            if (!expr(c) || !take(c, "]"))
                return false;
            c->shape = SHAPE_OTHER;
        } else {
            return true;
        }
    }
}

static bool unary(struct cel *c)
{
    bool is_plain = true;

    while (take(c, "!") || take(c, "-"))
        is_plain = false;
    if (!member(c))
        return false;
    c->shape = is_plain ? c->shape : SHAPE_OTHER;
    return true;
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
    if (!unary(c))
        return false;
    while (operator_next(c)) {
        if (!unary(c))
            return false;
        c->shape = SHAPE_OTHER;
    }
    return true;
}

static bool expr(struct cel *c)
{
    bool ok;

    if (++c->depth > CEL_DEPTH_MAX)
        return false;
    ok = operands(c);
    if (ok && take(c, "?")) {
        ok = operands(c) && take(c, ":") && expr(c);
        c->shape = SHAPE_OTHER;
    }
    c->depth--;
    return ok;
}

int cel_check(struct str text, struct err *err)
{
    struct cel c = {text.p, text.p + text.n, 0, SHAPE_OTHER};
    bool ok = expr(&c);

    blanks(&c);
    if (ok && c.at == c.end)
        return 0;
    if (c.depth > CEL_DEPTH_MAX)
        return err_set(err, ERR_INVALID, "the expression is nested too deeply");
    return err_set(err, ERR_INVALID, "\"%.*s\" is not an expression: it goes wrong at character %zu",
                   STR_ARG(text), (size_t)(c.at - text.p) + 1);
}
