/* Documents into the model, by the schema tables.
 *
 * Flow:      text -> yaml/json/INI reader -> node -> decode_object (envelope, then the spec by its
 * table) -> validate_object. Ownership: objects live in the arena given and point into the nodes
 * there; `text` must live as long as the arena. Errors:    every problem is a finding with file,
 * line, column, document and JSON pointer. Nothing is ignored: a field without a row is WEFT1203,
 * one not built yet WEFT1601, one without meaning outside a cluster WEFT1501.
 */
#pragma once

#include "mesh/base/findings.h"
#include "mesh/kinds/common.h"
#include "mesh/kinds/kinds.h"

/* AUTO: INI if the file's name ends in .ini, or if it says nothing and the text begins with
 * "[Kind"; JSON if the first character is '{' or '['; else YAML. */
enum syntax { SYNTAX_AUTO, SYNTAX_YAML, SYNTAX_JSON, SYNTAX_INI };

/* Of the files of a folder that are documents; NULL-ended, for file_list(). */
extern const char *const document_endings[];

/* Reader, decode and validate_object for each document and each item of a List. Objects with errors
 * are not appended. -1 if there was any error. */
int documents_parse(struct str text, struct str file, enum syntax syntax, struct arena *a,
                    struct object_list *out, struct findings *f) MUST_USE;

/* The same, with more of a say. */
struct documents_how {
    enum syntax syntax;
    /* Documents whose only errors are that something is not supported yet (WEFT1601) are appended,
     * too; -1 if there was any other error. */
    bool takes_not_yet;
    /* Kinds to pass by, by comma, or "all": those that we do not know or cannot mean anything by.
     * A kind of ours is never passed by. Each passed document is a warning. */
    struct str skip_kinds;
};
int documents_read(struct str text, struct str file, const struct documents_how *how,
                   struct arena *a, struct object_list *out, struct findings *f) MUST_USE;

/* One document, which is not a List, or a node that stands for one (an item of a List). NULL if it
 * has an error; the checks of validate.h are not made here. */
struct object *decode_object(const struct node *root, struct str file, unsigned document,
                             struct arena *a, struct findings *f) MUST_USE;

/* A section of a settings file, as a message of the schema: `out` is cleared and gets its defaults.
 * -1 with findings at file and line. */
int decode_settings(const struct schema *s, const struct node *n, struct str file, struct arena *a,
                    void *out, struct findings *f) MUST_USE;

void object_list_add(struct object_list *list, struct arena *a, struct object *o);

/* A finding about an object, at a node of it (NULL: at the object). The detail is printed; the rest
 * is filled in. */
struct finding *object_report(struct findings *f, const struct object_meta *m,
                              const struct node *at, enum finding_code code, enum severity severity,
                              const char *fmt, ...) PRINTF_LIKE(6, 7);

/* For sorting, the oldest first: creationTimestamp in whole seconds, then name, then namespace
 * (fields.md 4.6). The server and every agent order rules by this. */
int object_older_first(const struct object *a, const struct object *b);

/* "VirtualService shop/reviews" */
struct str object_label(struct arena *a, const struct object_meta *m);
