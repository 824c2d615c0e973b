/* INI by inih: sections "[type name]" with the key = value lines below them, in order, each with
 * its place. What a key means and which type its value has is not known here: ini_node.h.
 *
 *   [type name]            ; a comment begins with ';' behind a blank, or a line with ';' or '#'
 *   key    = plain value
 *   key    = "JSON string" ; begins with a quote: escapes, blanks at its ends, ';' inside
 *            "goes on"     ; an indented line continues the value above: strings are joined
 *   key["a.b:c"].sub = 1   ; quotes in a key, too
 *
 * What inih would cut or drop silently (a line over LIMIT_INI_LINE, an overlong section name, a key
 * outside any section, ';' in a string) is read whole or is a finding with its line.
 *
 * Ownership: everything lives in the arena.
 */
#pragma once

#include "mesh/base/arena.h"
#include "mesh/base/findings.h"

/* What one line gives to a value. */
struct ini_piece {
    struct str text; /* without blanks at its ends and comment, quotes kept */
    struct str said; /* of a quoted value: what the string says; else text */
    unsigned line, column;
    struct ini_piece *next;
};

struct ini_entry {
    struct str key;
    struct str text; /* plain: the lines joined with newlines; quoted: what the strings say */
    bool quoted;
    unsigned line, column; /* of the value */
    unsigned key_line, key_column;
    struct ini_piece *pieces; /* at least one; an empty first line is left out if others follow */
    struct ini_entry *next;
};

struct ini_section {
    struct str title;      /* "service web" */
    struct str type, name; /* "service", "web": split at the first blank; name may be empty */
    unsigned line;
    unsigned column, name_column; /* of type and name; name_column 0: there is none */
    size_t offset;                /* of its line within the text */
    struct ini_entry *first, *last;
    struct ini_section *next;
};

/* -1 with findings if there was any error. */
int ini_read(struct str text, struct str file, struct arena *a, struct ini_section **out,
             struct findings *f) MUST_USE;
