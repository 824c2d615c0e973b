/* What the files of decode share: where findings go, and the table-driven half.
 *
 * Flow:    decode.c reads the envelope and calls decode_message() for the spec; decode_field.c
 * walks the tables; decode_report.c makes findings. Nobody else includes this.
 */
#pragma once

#include "mesh/decode.h"

struct decoder {
    struct arena *a;
    struct findings *f;
    struct object_meta *m;
};

/* An error at a node; the caller may add a hint. */
struct finding *decode_fail(const struct decoder *d, const struct node *at, enum finding_code code,
                            const char *fmt, ...) PRINTF_LIKE(4, 5);
void decode_point_at_key(struct finding *x, const struct node *n);
void decode_fail_missing(const struct decoder *d, const struct node *parent, const char *name,
                         const char *meaning);
/* What a field_check said. */
void decode_fail_check(const struct decoder *d, const struct node *at, const struct err *err);
/* The one place where a status becomes a refusal or a warning. `what` names the field, value or
 * kind. */
void decode_status(const struct decoder *d, const struct node *at, enum field_status status,
                   struct str what, const char *reason);
/* Whether a node is of a kind; a finding if not. */
bool decode_is(const struct decoder *d, const struct node *n, enum node_kind kind,
               const char *want);

/* null, "", [] or {}: as if it were not given, for most fields. */
bool decode_is_empty(const struct node *n);
void decode_labels(const struct decoder *d, const struct field *f, const struct node *n,
                   struct labels *out);
/* `out` has its defaults. */
void decode_message(const struct decoder *d, const struct schema *s, const struct node *n,
                    void *out);
