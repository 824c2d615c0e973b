#include "mesh/ini_shape.h"

#include "mesh/kinds/common.h"

struct ini_shape ini_shape_of(const struct field *f)
{
    switch (f->type) {
    case FIELD_STRING:
    case FIELD_WORD:
    case FIELD_DURATION:
    case FIELD_ENUM:
    case FIELD_BYTES:
    case FIELD_TEXT:
    case FIELD_IP:
    case FIELD_ADDRESS:
    case FIELD_SWITCH:
        return (struct ini_shape){SHAPE_STRING, NULL, NULL};
    case FIELD_BOOL:
        return (struct ini_shape){SHAPE_BOOL, NULL, NULL};
    case FIELD_INT32:
    case FIELD_UINT32:
    case FIELD_UINT64:
    case FIELD_DOUBLE:
    case FIELD_PORT:
        return (struct ini_shape){SHAPE_NUMBER, NULL, NULL};
    case FIELD_MATCH:
        return (struct ini_shape){SHAPE_MESSAGE, &string_match_schema, NULL};
    case FIELD_MESSAGE:
    case FIELD_EMBED:
        return (struct ini_shape){SHAPE_MESSAGE, f->message, NULL};
    case FIELD_STRINGS:
        return (struct ini_shape){SHAPE_STRINGS, NULL, NULL};
    case FIELD_UINT32S:
        return (struct ini_shape){SHAPE_NUMBERS, NULL, NULL};
    case FIELD_MATCHES:
        return (struct ini_shape){SHAPE_MESSAGES, &string_match_schema, NULL};
    case FIELD_MESSAGES:
        return (struct ini_shape){SHAPE_MESSAGES, f->message, NULL};
    case FIELD_LABELS:
    case FIELD_NUMBERS:
    case FIELD_MATCH_MAP:
    case FIELD_MESSAGE_MAP:
    case FIELD_NAMED_MESSAGES:
        return (struct ini_shape){SHAPE_MAP, NULL, f};
    case FIELD_OBJECT:
    case FIELD_ANY:
        break;
    }
    return (struct ini_shape){SHAPE_ANY, NULL, NULL};
}

struct ini_shape ini_shape_of_value(const struct field *map)
{
    switch (map->type) {
    case FIELD_NUMBERS:
        return (struct ini_shape){SHAPE_NUMBER, NULL, NULL};
    case FIELD_MATCH_MAP:
        return (struct ini_shape){SHAPE_MESSAGE, &string_match_schema, NULL};
    case FIELD_MESSAGE_MAP:
    case FIELD_NAMED_MESSAGES:
        return (struct ini_shape){SHAPE_MESSAGE, map->message, NULL};
    default:
        return (struct ini_shape){SHAPE_STRING, NULL, NULL};
    }
}

static const struct field metadata_rows[] = {
    {"name",              FIELD_STRING, .meaning = "The object's name."              },
    {"namespace",         FIELD_STRING, .meaning = "Its namespace."                  },
    {"labels",            FIELD_LABELS, .meaning = "Labels that others select it by."},
    {"annotations",       FIELD_LABELS, .meaning = "Notes about it."                 },
    {"creationTimestamp", FIELD_STRING, .meaning = "When it was first applied."      },
};

const struct schema ini_metadata = {
    .name = "metadata", .fields = metadata_rows, .count = COUNT(metadata_rows)};

static const struct field envelope_rows[] = {
    {"apiVersion", FIELD_STRING, .meaning = "API group and version of the kind."},
    {"kind", FIELD_STRING, .meaning = "The kind."},
    {"metadata", FIELD_MESSAGE, .message = &ini_metadata, .meaning = "Its name and labels."},
};

const struct schema ini_envelope = {
    .name = "a document", .fields = envelope_rows, .count = COUNT(envelope_rows)};
