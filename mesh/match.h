/* Matchers shared by routing and policy: strings, hosts, regular expressions.
 *
 * Regex: an allow-list of RE2's syntax on PCRE2 with JIT and a match limit, anchored to the whole value. Reaching the limit is
 * MATCH_FAILED and refuses the request; it never means "no match".
 * Ownership: a compiled regex belongs to the arena's owner and must be freed by regex_free (register it with the part).
 * Threads: a compiled regex may be used by many threads at once (match data is per thread).
 */
#pragma once

#include "mesh/base/arena.h"
#include "mesh/base/err.h"
#include "mesh/base/str.h"

struct regex;

enum match_kind {
    MATCH_ANY, /* unset: matches everything, absent too */
    MATCH_PRESENT,
    MATCH_EXACT,
    MATCH_PREFIX,
    MATCH_REGEX,
};

enum match_result { MATCH_NO, MATCH_YES, MATCH_FAILED };

struct match_string {
    enum match_kind kind;
    struct str text;
    struct regex *regex; /* MATCH_REGEX; owned by whoever made it */
};

/* Is the pattern inside the allow-list (no back-references, look-around, possessive or atomic groups, recursion, ...),
 * at most LIMIT_REGEX_BYTES and compilable? */
int match_regex_check(struct str pattern, struct err *err) MUST_USE;
struct regex *regex_new(struct str pattern, struct err *err) MUST_USE;
struct regex *regex_new_nocase(struct str pattern, struct err *err) MUST_USE;
void regex_free(struct regex *r); /* NULL is fine */
enum match_result regex_match(const struct regex *r, struct str subject);

/* For substitution: not anchored, groups counted. The text may hold \0 to \9 and \\. */
struct buf;
struct regex *regex_new_search(struct str pattern, struct err *err) MUST_USE;
int regex_check_substitution(const struct regex *r, struct str to, struct err *err) MUST_USE;
/* Appends the subject to `out` with every match replaced; MATCH_NO: there was none. */
enum match_result regex_replace(const struct regex *r, struct str subject, struct str to,
                                struct buf *out);

enum match_result match_string(const struct match_string *m, struct str value, bool nocase);
/* `present` false: the value is absent. */
enum match_result match_optional(const struct match_string *m, bool present, struct str value);

/* Istio's host patterns: exact, "*", "*.suffix" (suffix based: *.com covers a.b.com but not com). */
bool match_host(struct str pattern, struct str host);
/* Does every host that `inner` covers fall under `outer`? */
bool match_host_covers(struct str outer, struct str inner);
