/* What the keys of INI may be, as the schema tables say: ini_node.c reads by it, ini_write.c
 * writes. Threads: constant. */
#pragma once

#include "mesh/schema.h"

/* What a row, or a value of a map, asks for. */
enum ini_shape_kind {
    SHAPE_STRING,
    SHAPE_NUMBER,
    SHAPE_BOOL,
    SHAPE_STRINGS, /* lists of scalars */
    SHAPE_NUMBERS,
    SHAPE_MESSAGE,  /* of `message` */
    SHAPE_MESSAGES, /* a list of them */
    SHAPE_MAP,      /* with free keys; `values` is the row */
    SHAPE_ANY,
    SHAPE_UNKNOWN,
};

struct ini_shape {
    enum ini_shape_kind kind;
    const struct schema *message;
    const struct field *values;
};

struct ini_shape ini_shape_of(const struct field *f);
struct ini_shape ini_shape_of_value(const struct field *map);

/* The keys of a document that are not of its spec: apiVersion, kind and metadata.*. A member of a
 * spec that has such a name is written with "spec." in front. */
extern const struct schema ini_envelope, ini_metadata;
