/* Schema tables: what a message of a document looks like, one row per field. Everything generic
 * comes from them: decode, encode, messages with "did you mean", what is built and what is not.
 *
 * Flow:    mesh/kinds/X.c declares the rows beside the struct of X.h; decode.c and encode.c walk
 * them. Threads: constant. To add a field: a member in the kind's struct, one row in its table;
 * decode, encode, bounds, presence and the "not yet" refusal follow. To build one that is "not
 * yet": take NOT_YET out of its row (or of its enum value's row).
 */
#pragma once

#include "mesh/base/arena.h"
#include "mesh/base/err.h"
#include "mesh/base/str.h"

enum field_type {
    FIELD_STRING,      /* struct str */
    FIELD_WORD,        /* struct str, one of `values` in any case, stored as the table writes it */
    FIELD_BOOL,        /* bool */
    FIELD_INT32,       /* int32_t */
    FIELD_UINT32,      /* uint32_t */
    FIELD_UINT64,      /* uint64_t */
    FIELD_DOUBLE,      /* double */
    FIELD_DURATION,    /* int64_t nanoseconds */
    FIELD_ENUM,        /* int, one of `values`, exactly */
    FIELD_BYTES,       /* struct str, base64 in the document */
    FIELD_MATCH,       /* struct match_string: exact, prefix or regex */
    FIELD_MESSAGE,     /* pointer to the struct of `message`; NULL if absent */
    FIELD_EMBED,       /* the struct of `message` in place, where absent and empty mean the same */
    FIELD_STRINGS,     /* struct str *, count */
    FIELD_UINT32S,     /* uint32_t *, count */
    FIELD_MATCHES,     /* struct match_string *, count */
    FIELD_MESSAGES,    /* array of the struct of `message`, count */
    FIELD_LABELS,      /* struct labels: map<string,string> */
    FIELD_NUMBERS,     /* struct named_number *, count: map<string,uint32> */
    FIELD_MATCH_MAP,   /* struct named_match *, count: map<string,StringMatch> */
    FIELD_MESSAGE_MAP, /* {uint32_t port; message} *, count: map<uint32,message> */
    FIELD_NAMED_MESSAGES, /* {struct str key; message} *, count: map<string,message> */
    FIELD_OBJECT,         /* const struct node *: a map of anything, kept as it is; NULL if absent */
    FIELD_SWITCH,      /* bool, "on" or "off": these five are of settings files */
    FIELD_PORT,        /* uint16_t */
    FIELD_TEXT,        /* const char *, ends in NUL; NULL if absent: paths and the like */
    FIELD_IP,          /* struct addr, port 0; family 0 if absent */
    FIELD_ADDRESS,     /* struct addr: IP:PORT */
    FIELD_ANY,         /* not looked into: only for rows that are refused */
};

enum field_status {
    FIELD_BUILT,
    FIELD_NOT_YET,     /* WEFT1601 */
    FIELD_UNSUPPORTED, /* WEFT1501, with `reason` */
    FIELD_DEPRECATED,  /* taken, with a warning and `reason` */
};

enum field_flag {
    FIELD_REQUIRED = 1,
    FIELD_ZERO = 2,             /* a duration may be 0 */
    FIELD_WHOLE_SECONDS = 4,    /* a duration is a whole number of seconds */
    FIELD_PRESENT = 8,          /* of a StringMatch: {} means present */
    FIELD_EMPTY_PREFIX = 16,    /* of a StringMatch: prefix "" is fine */
    FIELD_ZERO_IS_DEFAULT = 32, /* 0 is read as the default */
    FIELD_BOUNDED = 64,         /* min and max hold */
    FIELD_FREE_KEYS = 128,      /* of a map<string,string>: not held to the syntax of labels */
    FIELD_ISTIO_LABELS = 256,   /* of a map<string,string>: labels by Istio's rules, which are wider than Kubernetes' */
    FIELD_NOT_EMPTY = 512,      /* if the map or list is given, it has an element */
    FIELD_NO_WILDCARD = 1024,   /* of a selector: no '*' in it, no empty key, no value over 63 bytes */
    FIELD_SECRET = 2048,        /* never shown: encode_redact() puts a mark in its place */
    FIELD_MAY_BE_OFF = 4096,    /* an address may be "off": family 0 */
    FIELD_STAR = 8192,          /* of a StringMatch: regex "*", which is no expression, means present */
    FIELD_SELECTOR = 16384,     /* of a map<string,string>: a label that nothing can have is worth a warning only */
    FIELD_FINE = 32768,         /* a duration may be finer than a millisecond, not shorter */
};

#define SCHEMA_REDACTED "(redacted)" /* what stands in the place of a secret that is shown */

struct field_value {
    const char *name; /* NULL ends the table */
    int value;
    enum field_status status;
    const char *reason;
    int alias_of; /* FIELD_DEPRECATED: the value to store */
};

struct schema;

/* 0, or -1 with what is wrong and what would be right. */
typedef int field_check(struct str value, struct err *err);

struct field {
    const char *name; /* as YAML has it */
    enum field_type type;
    size_t offset;
    size_t count_offset;   /* lists and maps */
    size_t has_offset;     /* a bool that says it was given; 0: none (offset 0 is `node`) */
    size_t default_offset; /* a member of the same type that is the default; 0: none */
    enum field_status status;
    unsigned flags;
    int64_t def, min, max; /* of strings with FIELD_BOUNDED: bytes */
    size_t most;           /* lists and maps: elements at most; 0: no limit but the document's */
    const char *def_text;  /* the default of texts and addresses; NULL: empty */
    const struct field_value *values;
    const struct schema *message;
    field_check *check; /* strings: the value; lists: each; match maps: each key */
    const char *oneof;  /* at most one field with this name of a group */
    const char
        *reason; /* FIELD_UNSUPPORTED, FIELD_DEPRECATED: why, and the nearest thing that works */
    const char *partly;  /* values that pass the check and are not built yet, in words; NULL: none */
    const char *meaning; /* one sentence */
};

/* A message. Its struct begins with `const struct node *node`. */
struct schema {
    const char *name;
    size_t size;
    const struct field *fields;
    size_t count;
    void (*finish)(void *message, struct arena *a); /* derived members; NULL: none */
};

#define SCHEMA_AT(s, m) .offset = offsetof(struct s, m)
#define SCHEMA_LIST(s, m)                                                                          \
    .offset = offsetof(struct s, m), .count_offset = offsetof(struct s, m##_count)
#define SCHEMA_HAS(s, m)        .offset = offsetof(struct s, m), .has_offset = offsetof(struct s, has_##m)
#define SCHEMA_DEFAULT(text)    .def_text = (text)
#define SCHEMA_BOUNDS(lo, hi)   .min = (lo), .max = (hi)
#define SCHEMA_VALUE(text, number) {(text), (number), FIELD_BUILT, NULL, 0}
#define SCHEMA_NOT_YET          .status = FIELD_NOT_YET
#define SCHEMA_UNSUPPORTED(why) .status = FIELD_UNSUPPORTED, .reason = (why)
#define SCHEMA(var, text, s, rows)                                                                 \
    const struct schema var = {                                                                    \
        .name = (text), .size = sizeof(struct s), .fields = (rows), .count = COUNT(rows)}

const struct field *schema_find(const struct schema *s,
                                struct str name); /* NULL if there is none */

/* Follow "servers.port.number" through messages, lists and embedded ones; NULL if any part is
 * missing. */
const struct field *schema_path(const struct schema *s, const char *dotted);

/* What was probably meant by an unknown name: "did you mean "timeout"?", or empty. */
struct str schema_suggest(const struct schema *s, struct str name, struct arena *a);

const struct field_value *schema_value(const struct field_value *values, struct str name,
                                       bool nocase);
const struct field_value *schema_value_of(const struct field_value *values, int value);
/* "A, B or C": the values that work today. */
struct str schema_values(const struct field_value *values, struct arena *a);

/* Write the defaults of every field into a cleared message. */
void schema_defaults(const struct schema *s, void *message);

/* The default of a scalar as a settings file writes it; empty if there is none. */
struct str schema_default(const struct field *f, struct arena *a);

const char *field_type_name(enum field_type type); /* "a string", "a list of strings", ... */
