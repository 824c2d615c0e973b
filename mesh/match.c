/* RE2's syntax on PCRE2. PCRE2 knows more than RE2 (back-references, look-around, verbs, ...) and a
 * few things differently, so a scanner goes over the pattern first: it refuses what RE2 refuses and
 * writes a pattern in which what is left means the same to PCRE2. What it rewrites:
 *
 *   \v        vertical tab to RE2, any vertical space to PCRE2     ->  \x0b
 *   \s        without vertical tab in RE2                          ->  [\t\n\f\r ]
 *   \12 \012  octal to RE2, perhaps a back-reference to PCRE2      ->  \x{0a}
 *   {         literal where it opens no repetition                 ->  \{
 *
 * Matching is bounded thrice: match limit (time), heap limit and depth limit (the interpreter's
 * memory, where the system allows no JIT), and a JIT stack of at most JIT_STACK_MAX. Whatever is
 * reached, the answer is MATCH_FAILED. */
#define PCRE2_CODE_UNIT_WIDTH 8

#include "mesh/match.h"

#include <ctype.h>
#include <pcre2.h>
#include <pthread.h>
#include <string.h>

#include "mesh/base/buf.h"
#include "mesh/base/limits.h"
#include "mesh/base/mem.h"

#define MATCH_LIMIT    200000u /* some milliseconds at worst */
#define MATCH_DEPTH    20000u
#define MATCH_HEAP_KIB 2048u
#define JIT_STACK_MIN  (32u << 10)
#define JIT_STACK_MAX  (2u << 20)
#define GROUPS_MAX     10u   /* \0 to \9 of a substitution */
#define NEST_MAX       100u  /* groups within groups */
#define REPEAT_MAX     1000u /* RE2's bound for nested counted repetitions */

struct regex {
    pcre2_code *code;
};

/* ---- the scanner ---- */

struct scan {
    struct str in;
    size_t at;
    struct buf *out;
    struct err *err;
    bool can_repeat;          /* something stands before that a repetition could repeat */
    uint64_t atom;            /* product of the counts inside the last atom */
    uint64_t inner[NEST_MAX]; /* largest product seen in each open group */
    size_t depth;
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_octal(char c)
{
    return c >= '0' && c <= '7';
}

static char peek(const struct scan *s, size_t ahead)
{
    return s->at + ahead < s->in.n ? s->in.p[s->at + ahead] : '\0';
}

static bool ahead_is(const struct scan *s, struct str text)
{
    return str_starts(str_sub(s->in, s->at, s->in.n - s->at), text);
}

static int fail(struct scan *s, const char *what)
{
    return err_set(s->err, ERR_INVALID, "regular expression, byte %zu: %s", s->at + 1, what);
}

static void take(struct scan *s, size_t n)
{
    buf_add(s->out, str_sub(s->in, s->at, n));
    s->at += n;
}

static void atom(struct scan *s)
{
    s->can_repeat = true;
    s->atom = 1;
    if (s->inner[s->depth] == 0)
        s->inner[s->depth] = 1;
}

static int scan_octal(struct scan *s)
{
    unsigned value = 0;

    /* \1 alone is a back-reference everywhere. */
    if (peek(s, 1) != '0' && !is_octal(peek(s, 2)))
        return fail(s, "back-references are not supported");
    s->at++;
    for (unsigned i = 0; i < 3 && is_octal(peek(s, 0)); i++, s->at++)
        value = value * 8 + (unsigned)(peek(s, 0) - '0');
    buf_printf(s->out, "\\x{%02x}", value);
    return 0;
}

static int scan_hex(struct scan *s)
{
    size_t n = 3;

    if (peek(s, 2) == '{') {
        while (isxdigit((unsigned char)peek(s, n)))
            n++;
        if (n == 3 || n > 9 || peek(s, n) != '}')
            return fail(s, "\\x{...} needs one to six hexadecimal digits");
        take(s, n + 1);
        return 0;
    }
    if (!isxdigit((unsigned char)peek(s, 2)) || !isxdigit((unsigned char)peek(s, 3)))
        return fail(s, "\\x needs two hexadecimal digits");
    take(s, 4);
    return 0;
}

static int scan_property(struct scan *s)
{
    size_t n = 3;

    if (peek(s, 2) != '{') {
        if (!isalpha((unsigned char)peek(s, 2)))
            return fail(s, "\\p needs a Unicode class: \\pL or \\p{Greek}");
        take(s, 3);
        return 0;
    }
    if (peek(s, n) == '^')
        n++;
    while (isalnum((unsigned char)peek(s, n)) || peek(s, n) == '_')
        n++;
    if (peek(s, n) != '}')
        return fail(s, "\\p{ needs the name of a Unicode class and a }");
    take(s, n + 1);
    return 0;
}

/* Escapes that mean one character or class, inside brackets too. */
static int scan_escape(struct scan *s, bool in_class)
{
    char c = peek(s, 1);

    if (s->at + 1 >= s->in.n)
        return fail(s, "a pattern may not end in a backslash");
    if (c >= '8' && c <= '9')
        return fail(s, "back-references are not supported");
    if (is_octal(c))
        return scan_octal(s);
    if (c == 'x')
        return scan_hex(s);
    if (c == 'p' || c == 'P')
        return scan_property(s);
    if (c == 'v') {
        buf_adds(s->out, "\\x0b");
    } else if (c == 's') {
        buf_adds(s->out, in_class ? "\\t\\n\\f\\r\\x20" : "[\\t\\n\\f\\r\\x20]");
    } else if (c != '\0' && (strchr("dDwWSaftnr", c) || ((unsigned char)c < 0x80 && !isalnum((unsigned char)c)))) {
        buf_add(s->out, str_sub(s->in, s->at, 2));
    } else {
        return fail(s, "this escape is not part of RE2's syntax");
    }
    s->at += 2;
    return 0;
}

static int scan_posix(struct scan *s)
{
    static const char *const names[] = {"alnum", "alpha", "ascii", "blank", "cntrl",
                                        "digit", "graph", "lower", "print", "punct",
                                        "space", "upper", "word",  "xdigit"};
    size_t start = peek(s, 2) == '^' ? 3 : 2;

    for (size_t i = 0; i < COUNT(names); i++) {
        struct str rest = str_sub(s->in, s->at + start, s->in.n);
        struct str name = str_from(names[i]);

        if (str_starts(rest, name) && str_starts(str_sub(rest, name.n, rest.n), STR(":]"))) {
            take(s, start + name.n + 2);
            return 0;
        }
    }
    return fail(s, "unknown class: [:alpha:], [:digit:], ... are known");
}

/* Behind a class such as \w a '-' begins no range. */
static void scan_hyphen(struct scan *s)
{
    if (peek(s, 0) != '-')
        return;
    buf_adds(s->out, "\\-");
    s->at++;
}

static bool is_class_escape(char c)
{
    return c != '\0' && strchr("dDwWsSpP", c);
}

static int scan_class(struct scan *s)
{
    take(s, 1);
    if (peek(s, 0) == '^')
        take(s, 1);
    if (peek(s, 0) == ']') { /* literal when it comes first */
        buf_adds(s->out, "\\]");
        s->at++;
    }
    while (s->at < s->in.n && peek(s, 0) != ']') {
        if (peek(s, 0) == '\\') {
            bool is_class = is_class_escape(peek(s, 1));

            if (scan_escape(s, true))
                return -1;
            if (is_class)
                scan_hyphen(s);
        } else if (ahead_is(s, STR("[:"))) {
            if (scan_posix(s))
                return -1;
            scan_hyphen(s);
        } else if (peek(s, 0) == '[') {
            buf_adds(s->out, "\\[");
            s->at++;
        } else {
            take(s, 1);
        }
    }
    if (s->at >= s->in.n)
        return fail(s, "a [ has no ]");
    take(s, 1);
    atom(s);
    return 0;
}

/* \Q...\E is literal; \b \B \A \z match no character. */
static int scan_backslash(struct scan *s)
{
    size_t end;
    struct str rest = str_sub(s->in, s->at, s->in.n);

    if (peek(s, 1) == 'Q') {
        if (!str_find(rest, STR("\\E"), &end)) {
            take(s, rest.n);
            buf_adds(s->out, "\\E");
        } else {
            take(s, end + 2);
        }
        atom(s);
        return 0;
    }
    if (peek(s, 1) != '\0' && strchr("bBAz", peek(s, 1))) {
        take(s, 2);
        atom(s);
        return 0;
    }
    if (scan_escape(s, false))
        return -1;
    atom(s);
    return 0;
}

/* Groups are told apart by number; the names, which may be longer here than there and twice the same, are left out. */
static int scan_group_name(struct scan *s, size_t prefix)
{
    size_t n = prefix;

    while (isalnum((unsigned char)peek(s, n)) || peek(s, n) == '_')
        n++;
    if (n == prefix || peek(s, n) != '>')
        return fail(s, "the name of a group is letters, digits and '_', and ends in '>'");
    buf_adds(s->out, "(");
    s->at += n + 1;
    return 0;
}

/* (?i) (?i-s:...) and (?:...). */
static int scan_flags(struct scan *s)
{
    size_t n = 2;
    bool negated = false;

    for (;; n++) {
        char c = peek(s, n);

        if (c == ':' || c == ')')
            break;
        if (c == '-' && !negated)
            negated = true;
        else if (c == '\0' || !strchr("imsU", c))
            return fail(
                s,
                "look-around, atomic groups, conditions, recursion and comments are not supported; "
                "flags are i, m, s and U");
    }
    if (n == 2 && peek(s, n) == ')')
        return fail(s, "(?) has no flags");
    if (peek(s, n - 1) == '-')
        return fail(s, "flags are missing after '-'");
    if (peek(s, n) == ')') { /* no group: holds to the end of the one around it */
        take(s, n + 1);
        s->can_repeat = false;
        return 1;
    }
    take(s, n + 1);
    return 0;
}

static int scan_open(struct scan *s)
{
    int step = 0;

    if (s->depth + 1 >= NEST_MAX)
        return fail(s, "groups are nested too deeply");
    if (ahead_is(s, STR("(?P<")))
        step = scan_group_name(s, 4);
    else if (ahead_is(s, STR("(?<")) && peek(s, 3) != '=' && peek(s, 3) != '!')
        step = scan_group_name(s, 3);
    else if (ahead_is(s, STR("(?")))
        step = scan_flags(s);
    else
        take(s, 1);
    if (step < 0)
        return -1;
    if (step == 0) {
        s->depth++;
        s->inner[s->depth] = 1;
        s->can_repeat = false;
    }
    return 0;
}

static int scan_close(struct scan *s)
{
    uint64_t inside;

    if (s->depth == 0)
        return fail(s, "a ) has no (");
    inside = s->inner[s->depth--];
    take(s, 1);
    s->can_repeat = true;
    s->atom = inside;
    if (s->inner[s->depth] < inside)
        s->inner[s->depth] = inside;
    return 0;
}

/* "{n}", "{n,}" or "{n,m}" at the front: its length, or 0 if the brace is literal. */
static size_t count_length(const struct scan *s, uint64_t *low, uint64_t *high)
{
    size_t n = 1, start = 1;
    bool ok;

    while (is_digit(peek(s, n)))
        n++;
    if (n == start)
        return 0;
    ok = str_uint(str_sub(s->in, s->at + start, n - start), 0, REPEAT_MAX, low);
    *high = *low;
    if (peek(s, n) == ',') {
        start = ++n;
        while (is_digit(peek(s, n)))
            n++;
        if (n > start)
            ok = str_uint(str_sub(s->in, s->at + start, n - start), 0, REPEAT_MAX, high) && ok;
    }
    if (peek(s, n) != '}')
        return 0;
    if (!ok)
        *low = *high = REPEAT_MAX + 1;
    return n + 1;
}

static int scan_repeat(struct scan *s, size_t length, uint64_t count)
{
    uint64_t low, high;

    if (!s->can_repeat)
        return fail(s, "there is nothing to repeat");
    if (count > REPEAT_MAX || s->atom * MAX(count, 1) > REPEAT_MAX)
        return fail(s, "repetition counts, and products of nested ones, may not exceed 1000");
    take(s, length);
    if (peek(s, 0) == '?')
        take(s, 1);
    if ((peek(s, 0) != '\0' && strchr("*+?", peek(s, 0))) ||
        (peek(s, 0) == '{' && count_length(s, &low, &high)))
        return fail(s, "a repetition cannot be repeated, and possessive ones are not supported");
    s->atom *= MAX(count, 1);
    if (s->inner[s->depth] < s->atom)
        s->inner[s->depth] = s->atom;
    s->can_repeat = false;
    return 0;
}

static int scan_brace(struct scan *s)
{
    uint64_t low = 0, high = 0;
    size_t n = count_length(s, &low, &high);

    if (n == 0) {
        buf_adds(s->out, "\\{");
        s->at++;
        atom(s);
        return 0;
    }
    if (low > high)
        return fail(s, "a repetition {n,m} needs n <= m");
    return scan_repeat(s, n, high);
}

static int scan_one(struct scan *s)
{
    switch (peek(s, 0)) {
    case '\\':
        return scan_backslash(s);
    case '[':
        return scan_class(s);
    case '(':
        return scan_open(s);
    case ')':
        return scan_close(s);
    case '*':
    case '+':
    case '?':
        return scan_repeat(s, 1, 1);
    case '{':
        return scan_brace(s);
    case '|':
        take(s, 1);
        s->can_repeat = false;
        return 0;
    default:
        take(s, 1);
        atom(s);
        return 0;
    }
}

static int translate(struct str pattern, struct buf *out, struct err *err)
{
    struct scan s = {.in = pattern, .out = out, .err = err};

    if (pattern.n == 0)
        return err_set(err, ERR_INVALID, "a regular expression must not be empty");
    if (pattern.n > LIMIT_REGEX_BYTES)
        return err_set(err, ERR_LIMIT,
                       "a regular expression has at most %u bytes, this one has %zu",
                       LIMIT_REGEX_BYTES, pattern.n);
    if (memchr(pattern.p, '\0', pattern.n))
        return err_set(err, ERR_INVALID, "a regular expression may not hold a NUL byte");
    while (s.at < pattern.n) {
        if (scan_one(&s))
            return -1;
    }
    if (s.depth > 0)
        return fail(&s, "a ( has no )");
    return 0;
}

/* ---- compiled expressions ---- */

static pcre2_code *compile(struct str text, uint32_t options, struct err *err)
{
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    PCRE2_UCHAR why[160];
    PCRE2_SIZE at = 0;
    pcre2_code *code;
    int status = 0;

    assert(context);
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    code = pcre2_compile((PCRE2_SPTR)text.p, text.n,
                         options | PCRE2_DOLLAR_ENDONLY | PCRE2_UTF | PCRE2_MATCH_INVALID_UTF |
                             PCRE2_NEVER_BACKSLASH_C,
                         &status, &at, context);
    pcre2_compile_context_free(context);
    if (code) {
        /* Without executable memory (a hardened unit) matching is interpreted, under the same
         * limits. */
        (void)pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
        return code;
    }
    pcre2_get_error_message(status, why, sizeof(why));
    err_set(err, ERR_INVALID, "regular expression: %s", (const char *)why);
    return NULL;
}

static struct regex *regex_make(struct str pattern, uint32_t options, struct err *err)
{
    struct buf text;
    struct regex *r = NULL;
    pcre2_code *code = NULL;

    buf_init(&text, LIMIT_REGEX_BYTES * 16); /* the longest rewriting is "\s", eightfold */
    if (translate(pattern, &text, err) == 0)
        code = compile(buf_str(&text), options, err);
    if (code) {
        r = MEM_NEW(struct regex);
        r->code = code;
    }
    buf_done(&text);
    return r;
}

/* The anchors make a match cover the whole value, trying other alternatives until one does. */
struct regex *regex_new(struct str pattern, struct err *err)
{
    return regex_make(pattern, PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_NO_AUTO_CAPTURE, err);
}

struct regex *regex_new_nocase(struct str pattern, struct err *err)
{
    return regex_make(pattern, PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_NO_AUTO_CAPTURE | PCRE2_CASELESS, err);
}

struct regex *regex_new_search(struct str pattern, struct err *err)
{
    return regex_make(pattern, 0, err);
}

void regex_free(struct regex *r)
{
    if (!r)
        return;
    pcre2_code_free(r->code);
    mem_free(r);
}

int match_regex_check(struct str pattern, struct err *err)
{
    struct regex *r = regex_new(pattern, err);

    if (!r)
        return -1;
    regex_free(r);
    return 0;
}

/* What matching needs and may not be shared: one per thread, made at its first match, freed at its
 * end. */
struct matcher {
    pcre2_match_data *match;
    pcre2_match_context *limits;
    pcre2_jit_stack *stack;
};

static pthread_key_t matcher_key;
static pthread_once_t matcher_once = PTHREAD_ONCE_INIT;

static void matcher_free(void *arg)
{
    struct matcher *m = arg;

    pcre2_match_data_free(m->match);
    pcre2_match_context_free(m->limits);
    pcre2_jit_stack_free(m->stack);
    mem_free(m);
}

static void matcher_make_key(void)
{
    int status = pthread_key_create(&matcher_key, matcher_free);

    assert(status == 0);
    (void)status; /* read by assert alone */
}

static struct matcher *matcher(void)
{
    struct matcher *m;

    pthread_once(&matcher_once, matcher_make_key);
    m = pthread_getspecific(matcher_key);
    if (m)
        return m;
    m = MEM_NEW(struct matcher);
    m->match = pcre2_match_data_create(GROUPS_MAX, NULL);
    m->limits = pcre2_match_context_create(NULL);
    m->stack = pcre2_jit_stack_create(JIT_STACK_MIN, JIT_STACK_MAX, NULL);
    assert(m->match && m->limits);
    pcre2_set_match_limit(m->limits, MATCH_LIMIT);
    pcre2_set_depth_limit(m->limits, MATCH_DEPTH);
    pcre2_set_heap_limit(m->limits, MATCH_HEAP_KIB);
    if (m->stack)
        pcre2_jit_stack_assign(m->limits, NULL, m->stack);
    pthread_setspecific(matcher_key, m);
    return m;
}

enum match_result regex_match(const struct regex *r, struct str subject)
{
    struct matcher *m = matcher();
    int status = pcre2_match(r->code, (PCRE2_SPTR)(subject.p ? subject.p : ""), subject.n, 0, 0,
                             m->match, m->limits);

    if (status == PCRE2_ERROR_NOMATCH)
        return MATCH_NO;
    return status >= 0 ? MATCH_YES : MATCH_FAILED;
}

/* ---- substitution ---- */

int regex_check_substitution(const struct regex *r, struct str to, struct err *err)
{
    uint32_t groups = 0;

    pcre2_pattern_info(r->code, PCRE2_INFO_CAPTURECOUNT, &groups);
    for (size_t i = 0; i < to.n; i++) {
        if (to.p[i] != '\\')
            continue;
        i++;
        if (i == to.n || (!is_digit(to.p[i]) && to.p[i] != '\\'))
            return err_set(err, ERR_INVALID,
                           "in a substitution a backslash stands before a digit or a backslash");
        if (is_digit(to.p[i]) && (uint32_t)(to.p[i] - '0') > groups)
            return err_set(err, ERR_INVALID, "the expression has no group \\%c", to.p[i]);
    }
    return 0;
}

static void substitute(const struct matcher *m, int pairs, struct str subject, struct str to,
                       struct buf *out)
{
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(m->match);

    for (size_t i = 0; i < to.n; i++) {
        int group;

        if (to.p[i] != '\\' || i + 1 == to.n || !is_digit(to.p[i + 1])) {
            if (to.p[i] == '\\' && i + 1 < to.n)
                i++;
            buf_addc(out, to.p[i]);
            continue;
        }
        group = to.p[++i] - '0';
        /* Groups behind the last one that took part have no entry, others may be unset. */
        if (group < pairs && at[2 * group] != PCRE2_UNSET)
            buf_add(out, str_sub(subject, at[2 * group], at[2 * group + 1] - at[2 * group]));
    }
}

/* As RE2's GlobalReplace: an empty match right behind the last one does not count. */
enum match_result regex_replace(const struct regex *r, struct str subject, struct str to,
                                struct buf *out)
{
    struct matcher *m = matcher();
    const PCRE2_SIZE *found = pcre2_get_ovector_pointer(m->match);
    size_t at = 0, last = SIZE_MAX;
    bool any = false;

    while (at <= subject.n) {
        int pairs = pcre2_match(r->code, (PCRE2_SPTR)(subject.p ? subject.p : ""), subject.n, at,
                                0, m->match, m->limits);

        if (pairs == PCRE2_ERROR_NOMATCH)
            break;
        if (pairs < 0)
            return MATCH_FAILED;
        buf_add(out, str_sub(subject, at, found[0] - at));
        at = found[0];
        if (found[1] == at && at == last) {
            size_t one = MAX(str_utf8(str_sub(subject, at, subject.n)), (size_t)1);

            buf_add(out, str_sub(subject, at, one));
            at += one;
            continue;
        }
        substitute(m, pairs == 0 ? (int)GROUPS_MAX : pairs, subject, to, out);
        at = last = found[1];
        any = true;
    }
    if (at < subject.n)
        buf_add(out, str_sub(subject, at, subject.n - at));
    return any ? MATCH_YES : MATCH_NO;
}

/* ---- strings and hosts ---- */

static enum match_result verdict(bool yes)
{
    return yes ? MATCH_YES : MATCH_NO;
}

enum match_result match_string(const struct match_string *m, struct str value, bool nocase)
{
    switch (m->kind) {
    case MATCH_ANY:
    case MATCH_PRESENT:
        return MATCH_YES;
    case MATCH_EXACT:
        return verdict(nocase ? str_eq_nocase(value, m->text) : str_eq(value, m->text));
    case MATCH_PREFIX:
        return verdict(nocase ? str_starts_nocase(value, m->text) : str_starts(value, m->text));
    case MATCH_REGEX:
        return m->regex ? regex_match(m->regex, value) : MATCH_FAILED;
    }
    return MATCH_FAILED;
}

enum match_result match_optional(const struct match_string *m, bool present, struct str value)
{
    if (!present)
        return verdict(m->kind == MATCH_ANY);
    return match_string(m, value, false);
}

static bool is_wildcard(struct str pattern)
{
    return pattern.n > 0 && pattern.p[0] == '*';
}

/* `host` is longer than `suffix` and ends in it. */
static bool ends_below(struct str host, struct str suffix)
{
    return host.n > suffix.n && str_eq_nocase(str_sub(host, host.n - suffix.n, suffix.n), suffix);
}

bool match_host(struct str pattern, struct str host)
{
    if (!is_wildcard(pattern))
        return str_eq_nocase(pattern, host);
    return pattern.n == 1 || ends_below(host, str_sub(pattern, 1, pattern.n - 1));
}

bool match_host_covers(struct str outer, struct str inner)
{
    if (!is_wildcard(inner))
        return match_host(outer, inner);
    if (!is_wildcard(outer))
        return false;
    if (outer.n == 1)
        return true;
    /* The '*' of `inner` stands for at least one byte, so equal suffixes are covered. */
    return inner.n >= outer.n && ends_below(inner, str_sub(outer, 1, outer.n - 1));
}
