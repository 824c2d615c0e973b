/* Settings files of the daemons: INI sections into structs, by schema tables.
 *
 *     [agent]             one section of its type; written twice, its keys add up
 *     workers = 4
 *     [service reviews]   any number of its type, each with a name
 *
 * To add a key: a member in the struct, a row in its table with default, bounds and one sentence of
 * meaning; reading, did-you-mean, and the file that `init` writes follow.
 *
 * Ownership: the structs and their texts live in the arena.
 * Errors:    every problem of the file is a finding with file, line and column.
 */
#pragma once

#include "mesh/base/findings.h"
#include "mesh/schema.h"

struct settings_type {
    const char *name; /* "agent" of [agent] */
    const struct schema *schema;
    bool is_named; /* [service NAME] */
    const char *meaning; /* what a section stands for; NULL: the file's page says it */
};

/* What a file may hold, and what its manual page says beside the rows. Constant. */
struct settings_file {
    const char *page;    /* "weft-agent.ini" of section 5 */
    const char *path;    /* where it is by default */
    const char *summary; /* half a sentence */
    const char *details; /* paragraphs; lines that begin with two blanks are examples */
    const struct settings_type *types;
    size_t type_count;
};

struct settings_section {
    const struct settings_type *type;
    struct str name; /* empty if the type has none */
    unsigned line;
    void *values; /* the struct of type->schema */
    struct settings_section *next;
};

/* Sections in the order of the text; of those without a name one each. -1 if there was any error;
 * the sections are there as far as they could be read, so that more can be checked. */
int settings_parse(struct str text, struct str file, const struct settings_type *types,
                   size_t type_count, struct arena *a, struct settings_section **out,
                   struct findings *f) MUST_USE;

/* A finding about a section, or about the value of one key (`key` NULL: the section). */
PRINTF_LIKE(6, 7)
struct finding *settings_report(struct findings *f, struct str file,
                                const struct settings_section *s, const char *key,
                                enum finding_code code, const char *fmt, ...);

/* Every key with its meaning; one at its default is a comment. */
void settings_write(const struct settings_type *type, const void *values, struct buf *out);
