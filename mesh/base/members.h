/* A C struct as JSON, by a table of its members.
 *
 *   static const struct member point_rows[] = {
 *       MEMBER("name", struct point, name),           the kind follows from the member's type
 *       MEMBER("x", struct point, x, .is_optional = true),
 *       NAMED("colour", struct point, colour, colours),
 *       LIST("tags", struct point, tags, tag_count, AS_TEXT),
 *   };
 *   static const struct shape point = SHAPE(point_rows);
 *
 * Ownership: nothing is kept. Threads: any; tables are constant.
 */
#pragma once

#include <stddef.h>

#include "mesh/base/addr.h"
#include "mesh/base/buf.h"

enum member_kind {
    AS_TEXT,   /* struct str */
    AS_BOOL,
    AS_NUMBER, /* any integer */
    AS_REAL,   /* double */
    AS_NAME,   /* an enum, by `names` */
    AS_BITS,   /* an unsigned, as the list of the `names` of its bits; NULL ends them */
    AS_ADDR,   /* struct addr: "IP:PORT", and "port" beside it */
    AS_SUBNET, /* struct cidr */
    AS_OBJECT, /* a struct, by `of`; without a name of its own its members stand among those of the outer one */
    AS_CUSTOM, /* by `custom` */
};

/* Where the values are. */
enum member_place {
    PLACE_HERE,
    PLACE_POINTER,  /* behind a pointer; left out if it is NULL */
    PLACE_LIST,     /* an array behind a pointer, with a count */
    PLACE_POINTERS, /* the same, of pointers to structs */
};

struct shape {
    const struct member *rows;
    size_t count;
};

struct custom {
    void (*print)(struct buf *b, const void *value);
    bool (*is_unset)(const void *value);
};

struct member {
    const char *name;
    enum member_kind kind;
    enum member_place place;
    size_t at, count_at; /* offsets */
    size_t bytes;        /* of one value */
    bool is_signed;
    bool is_optional;    /* left out if it is 0, false, empty, or holds only such */
    const char *const *names;
    const struct shape *of;
    const struct custom *custom;
};

#define SHAPE(rows_) {.rows = (rows_), .count = sizeof(rows_) / sizeof((rows_)[0])}

#define MEMBER_OF(type, m) (((type *)0)->m)
#define MEMBER_KIND(value)                                                                         \
    _Generic((value), struct str: AS_TEXT, bool: AS_BOOL, double: AS_REAL, struct addr: AS_ADDR, default: AS_NUMBER)
#define MEMBER_SIGNED(value) _Generic((value), int: true, int64_t: true, default: false)

#define MEMBER_AS(json, type, m, kind_, ...)                                                       \
    {.name = json,                                                                                 \
     .kind = (kind_),                                                                              \
     .at = offsetof(type, m),                                                                      \
     .bytes = sizeof(MEMBER_OF(type, m)),                                                          \
     .is_signed = MEMBER_SIGNED(MEMBER_OF(type, m)),                                               \
     __VA_ARGS__}
#define MEMBER(json, type, m, ...)        MEMBER_AS(json, type, m, MEMBER_KIND(MEMBER_OF(type, m)), __VA_ARGS__)
#define NAMED(json, type, m, list, ...)   MEMBER_AS(json, type, m, AS_NAME, .names = (list), __VA_ARGS__)
#define OBJECT(json, type, m, shape, ...) MEMBER_AS(json, type, m, AS_OBJECT, .of = &(shape), __VA_ARGS__)
#define LIST(json, type, m, count_m, kind_, ...)                                                   \
    {.name = json,                                                                                 \
     .kind = (kind_),                                                                              \
     .place = PLACE_LIST,                                                                          \
     .at = offsetof(type, m),                                                                      \
     .count_at = offsetof(type, count_m),                                                          \
     .bytes = sizeof(*MEMBER_OF(type, m)),                                                         \
     __VA_ARGS__}
#define POINTERS(json, type, m, count_m, shape)                                                    \
    {.name = json,                                                                                 \
     .kind = AS_OBJECT,                                                                            \
     .place = PLACE_POINTERS,                                                                      \
     .at = offsetof(type, m),                                                                      \
     .count_at = offsetof(type, count_m),                                                          \
     .bytes = sizeof(*MEMBER_OF(type, m)),                                                         \
     .of = &(shape)}

/* The comma that the next value needs, if it needs one; then `"name":`. */
void members_key(struct buf *b, const char *name);

/* `{...}` of the struct at `base`, with a comma before it if it needs one. */
void members_print(struct buf *b, const struct shape *s, const void *base);
