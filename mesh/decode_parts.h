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

/* A value of the wrong type. */
struct finding *decode_fail_type(const struct decoder *d, const struct node *n, const char *want);

/* ---- decode_scalar.c: one value by its row; what is wrong is told ---- */

/* False with a finding. The bounds are those of the type; the row's go before them. */
bool decode_integer(const struct decoder *d, const struct field *f, const struct node *n, int64_t low, int64_t high,
                    int64_t *out);
void decode_double(const struct decoder *d, const struct field *f, const struct node *n, double *out);
void decode_duration(const struct decoder *d, const struct field *f, const struct node *n, int64_t *out);
void decode_string(const struct decoder *d, const struct field *f, const struct node *n, struct str *out);
void decode_switch(const struct decoder *d, const struct field *f, const struct node *n, bool *out);
void decode_address(const struct decoder *d, const struct field *f, const struct node *n, struct addr *out);
void decode_bytes(const struct decoder *d, const struct field *f, const struct node *n, struct str *out);
void decode_number(const struct decoder *d, const struct field *f, const struct node *n, char *at);
void decode_enum(const struct decoder *d, const struct field *f, const struct node *n, int *at);
void decode_word(const struct decoder *d, const struct field *f, const struct node *n, struct str *at);

/* ---- decode_hint.c: what was probably meant; may be empty ---- */

struct str decode_hint_message(const struct decoder *d, const struct schema *s, const struct node *n);
struct str decode_hint_list(const struct decoder *d, const struct field *f, const struct node *n);
struct str decode_hint_labels(const struct node *n, struct arena *a);
struct str decode_hint_match(const struct node *n, struct arena *a);
struct str decode_hint_duration(const struct node *n, struct arena *a);
struct str decode_hint_string(const struct node *n, struct arena *a);
/* Of a name that the schema does not have: a like one, or where it belongs. */
struct str decode_hint_unknown(const struct decoder *d, const struct schema *s, struct str name);
/* "route.destination" for "host": the nearest message within the schema that has the field. */
struct str decode_path_to(const struct schema *s, struct str name, struct arena *a);
/* NULL: none is like it. */
const struct field_value *decode_closest_value(const struct field_value *values, struct str name, struct arena *a);

/* null, "", [] or {}: as if it were not given, for most fields. */
bool decode_is_empty(const struct node *n);
void decode_labels(const struct decoder *d, const struct field *f, const struct node *n,
                   struct labels *out);
/* `out` has its defaults. False: it is no map, and nothing of it was read. */
bool decode_message(const struct decoder *d, const struct schema *s, const struct node *n,
                    void *out);
