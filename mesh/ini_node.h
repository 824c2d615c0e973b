/* INI entries into nodes, by the schema tables: a key is a path through a message, and the row that
 * it ends at says what kind of node its value is. INI itself has no types, so a string field that
 * holds 10 stays a string, and decode.h checks the rest as it does for YAML and JSON.
 *
 *   timeout = 10s                       a member
 *   retries.attempts = 3                a member of a member, which is made if it is not there
 *   hosts = a.example.com               a list of scalars: each time one more element
 *   match.uri.prefix = /api             a path through a list means its last element, made if none
 *   labels["app.kubernetes.io/name"] = web      a key of a map, in brackets and quotes
 *   labels.app = web                            or bare, if it is of letters, digits, '-', '_', '/'
 *   hosts = []    retries = {}          an empty list, an empty message
 *   hosts = ["a.example.com", "b"]      a list of scalars at once
 *   match = [{"uri": {"prefix": "/"}}]  any list, map or message as JSON; strings that follow each
 *                                       other are one string, so that it can be broken into lines
 *
 * Flow:      ini.h -> here -> decode.h. settings.c and ini_doc.c decide what a section is.
 * Errors:    findings with line and column. A name that the schema does not know becomes a string
 *            node, which decode.h refuses as it refuses it in YAML.
 * Ownership: nodes live in the arena; what they are found by, until ini_tree_done.
 */
#pragma once

#include "mesh/base/ini.h"
#include "mesh/base/map.h"
#include "mesh/base/node.h"
#include "mesh/schema.h"

struct ini_tree {
    struct arena *arena;
    struct findings *findings;
    struct str file;
    unsigned document;  /* of findings; 0: none */
    struct map members; /* parent and key -> node */
};

void ini_tree_init(struct ini_tree *t, struct arena *a, struct findings *f, struct str file);
void ini_tree_done(struct ini_tree *t);

/* A map node that begins at a line. */
struct node *ini_tree_map(struct ini_tree *t, unsigned line, unsigned column);

/* Set what the entry says in `root`, a message of the schema. */
void ini_tree_set(struct ini_tree *t, struct node *root, const struct schema *s,
                  const struct ini_entry *e);

/* "http.match": a new element of `match` in the last `http` of `root`; its schema goes to *element.
 * NULL with a finding if the path does not lead to a list of messages. */
struct node *ini_tree_element(struct ini_tree *t, struct node *root, const struct schema *s,
                              struct str path, unsigned line, const struct schema **element);
