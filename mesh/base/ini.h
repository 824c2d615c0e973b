/* INI by inih, for the daemons' own settings and services.d files: sections "[type name]" and
 * key = value lines with their line numbers.
 *
 * The result is one NODE_MAP per section in a list: {"": "type name", key: value, ...}; section
 * type and name are split at the first blank. What inih would cut or drop silently (a line over
 * LIMIT_INI_LINE, an overlong section name, a key outside any section) is a finding with its line.
 * A value may be double-quoted with JSON escapes. A repeated key is a finding.
 */
#pragma once

#include "mesh/base/node.h"

struct ini_section {
    struct str type, name; /* "[service web]": "service", "web"; name may be empty */
    unsigned line;
    struct node *values; /* NODE_MAP of NODE_STRING */
    struct ini_section *next;
};

int ini_read(struct str text, struct str file, struct arena *a, struct ini_section **out,
             struct findings *f) MUST_USE;
