/* The tree every document becomes, whatever its syntax: YAML, JSON and INI readers make it,
 * decode reads it, encode makes it, the writers print it. Every node knows its line and column.
 *
 * Ownership: nodes and their texts live in one arena and die with it.
 */
#pragma once

#include "mesh/base/arena.h"
#include "mesh/base/findings.h"

enum node_kind { NODE_NULL, NODE_BOOL, NODE_NUMBER, NODE_STRING, NODE_LIST, NODE_MAP };

struct node {
    enum node_kind kind;
    unsigned line, column;         /* of the value, from 1 */
    unsigned key_line, key_column; /* of the key, if it is a member of a map */
    struct str key;                /* name within the parent map; empty in a list */
    struct str text;               /* scalars: digits of a number, "true", the string's value */
    struct node *parent;
    struct node *first, *last, *next; /* children in source order */
    size_t count;                     /* of children */
};

struct node_document {
    struct str file;
    unsigned number; /* from 1 within the file */
    struct node *root;
    size_t offset, length; /* the source bytes of this document within the text */
    struct node_document *next;
};

struct node *node_new(struct arena *a, enum node_kind kind);
struct node *node_string(struct arena *a, struct str text); /* borrows text */
struct node *node_number(struct arena *a, int64_t value);
struct node *node_bool(struct arena *a, bool value);
void node_append(struct node *list, struct node *child);
void node_set(struct node *map, struct str key, struct node *child); /* appends; no check for twins */

struct node *node_get(const struct node *map, struct str key); /* NULL if absent or not a map */
struct node *node_at(const struct node *list, size_t i);
/* Follow "metadata.labels" style paths through maps; NULL if any part is missing. */
struct node *node_path(const struct node *map, const char *dotted);
struct str node_text(const struct node *map, const char *dotted); /* scalar text or empty */
bool node_is_true(const struct node *map, const char *dotted);
/* The first member whose key an earlier one has, or NULL. Linear in the count of members. */
struct node *node_twin(const struct node *map);
void node_drop_twins(struct node *map); /* keeps the first of each key */

bool node_eq(const struct node *a, const struct node *b); /* same value; map order does not count */
struct node *node_copy(struct arena *a, const struct node *n); /* deep, texts copied */

/* "/spec/http/0/route" of a node, RFC 6901. */
struct str node_pointer(struct arena *a, const struct node *n);

/* kind as a word for messages: "a list", "a string", ... */
const char *node_kind_name(enum node_kind kind);
