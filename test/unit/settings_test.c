/* Settings files: sections into structs by tables, every mistake with its place, and back. */
#include "mesh/base/addr.h"
#include "mesh/model.h"
#include "mesh/settings.h"
#include "test/test.h"

struct example {
    const struct node *node;
    bool on;
    uint16_t port;
    uint32_t workers;
    int64_t life_ns;
    const char *path;
    struct addr address, listen;
    struct labels labels;
    struct str text;
};

/* clang-format off */
static const struct field rows[] = {
    {"on", FIELD_SWITCH, SCHEMA_AT(example, on), .def = 1, .meaning = "A switch."},
    {"port", FIELD_PORT, SCHEMA_AT(example, port), .def = 80, .meaning = "A port."},
    {"workers", FIELD_UINT32, SCHEMA_AT(example, workers), .flags = FIELD_BOUNDED, .def = 2,
     SCHEMA_BOUNDS(1, 64), .meaning = "Threads."},
    {"life", FIELD_DURATION, SCHEMA_AT(example, life_ns), .flags = FIELD_BOUNDED,
     .def = 3600000000000, SCHEMA_BOUNDS(60000000000, 7200000000000), .meaning = "A life."},
    {"path", FIELD_TEXT, SCHEMA_AT(example, path), SCHEMA_DEFAULT("/etc/x"), .meaning = "A path."},
    {"address", FIELD_IP, SCHEMA_AT(example, address), .meaning = "An IP."},
    {"listen", FIELD_ADDRESS, SCHEMA_AT(example, listen), SCHEMA_DEFAULT("127.0.0.1:1"),
     .meaning = "Where to listen."},
    {"label", FIELD_LABELS, SCHEMA_AT(example, labels), .meaning = "Labels."},
    {"text", FIELD_STRING, SCHEMA_AT(example, text), .flags = FIELD_REQUIRED, .meaning = "Any."},
};
/* clang-format on */

static SCHEMA(schema, "[one]", example, rows);

static const struct settings_type types[] = {
    {"one",  &schema, false, NULL},
    {"many", &schema, true,  NULL}
};

static struct arena arena;
static struct findings findings;

static struct settings_section *parse(const char *text)
{
    struct settings_section *s;
    int rc;

    arena_done(&arena);
    findings_init(&findings, &arena);
    rc = settings_parse(str_from(text), STR("x.ini"), types, COUNT(types), &arena, &s, &findings);
    CHECK_INT(rc, findings.errors ? -1 : 0);
    return s;
}

TEST(every_type_is_read)
{
    const struct example *x =
        parse("[one]\non = off\nport = 8080\nworkers = 4\nlife = 1m30s\n"
              "path = /x\naddress = ::1\nlisten = 10.0.0.1:7\nlabel.a.b/c = d\n"
              "label[\"e:f\"] = g\ntext = 10\n")
            ->values;
    char text[ADDR_TEXT_MAX];

    CHECK_INT(findings.errors, 1); /* "e:f" is no label */
    CHECK_STR(findings.first->pointer, "/label/e:f");
    CHECK(!x->on);
    CHECK_INT(x->port, 8080);
    CHECK_INT(x->workers, 4);
    CHECK_INT(x->life_ns, 90000000000);
    CHECK_TEXT(x->path, "/x");
    CHECK_TEXT(addr_format_ip(&x->address, text), "::1");
    CHECK_TEXT(addr_format(&x->listen, text), "10.0.0.1:7");
    CHECK_STR(labels_get(&x->labels, STR("a.b/c")), "d");
    CHECK_STR(x->text, "10");
}

TEST(defaults_are_those_of_the_table)
{
    const struct example *x = parse("[one]\ntext = x\n")->values;
    char text[ADDR_TEXT_MAX];

    CHECK(x->on);
    CHECK_INT(x->port, 80);
    CHECK_INT(x->workers, 2);
    CHECK_INT(x->life_ns, 3600000000000);
    CHECK_TEXT(x->path, "/etc/x");
    CHECK_INT(x->address.family, 0);
    CHECK_TEXT(addr_format(&x->listen, text), "127.0.0.1:1");
}

TEST(sections_with_names_are_many_and_others_add_up)
{
    const struct settings_section *s =
        parse("[one]\ntext = x\n[many a]\ntext = a\n[one]\nport = 1\n[many b]\ntext = b\n");

    CHECK_INT(findings.errors, 0);
    CHECK_STR(((const struct example *)s->values)->text, "x");
    CHECK_INT(((const struct example *)s->values)->port, 1);
    CHECK_STR(s->next->name, "a");
    CHECK_INT(s->next->line, 3);
    CHECK_STR(s->next->next->name, "b");
    CHECK_STR(((const struct example *)s->next->next->values)->text, "b");
    CHECK(s->next->next->next == NULL);
}

static const struct {
    const char *text;
    enum finding_code code;
    unsigned line, column;
    const char *words;
} mistakes[] = {
    {"[one]\ntext = x\non = yes\n",       FIND_VALUE,         3, 6,  "on or off"           },
    {"[one]\ntext = x\nport = 0\n",       FIND_VALUE,         3, 8,  "from 1 to 65535"     },
    {"[one]\ntext = x\nport = x\n",       FIND_TYPE,          3, 8,  "whole number"        },
    {"[one]\ntext = x\nworkers = 65\n",   FIND_VALUE,         3, 11, "from 1 to 64"        },
    {"[one]\ntext = x\nlife = 3h\n",      FIND_VALUE,         3, 8,  "from 1m to 2h"       },
    {"[one]\ntext = x\nlife = long\n",    FIND_VALUE,         3, 8,  "duration"            },
    {"[one]\ntext = x\naddress = a\n",    FIND_VALUE,         3, 11, "an IP address"       },
    {"[one]\ntext = x\nlisten = ::1\n",   FIND_VALUE,         3, 10, "IP:PORT"             },
    {"[one]\ntext = x\nlisten = ::1:0\n", FIND_VALUE,         3, 10, "IP:PORT"             },
    {"[one]\ntext = x\nworkrs = 1\n",     FIND_UNKNOWN_FIELD, 3, 1,  "workers"             },
    {"[one]\ntext = x\ntext = y\n",       FIND_DUPLICATE_KEY, 3, 1,  "given twice"         },
    {"[one]\ntext = x\ntext.y = y\n",     FIND_TYPE,          3, 1,  "no members"          },
    {"[one]\ntext = x\nlabel = a\n",      FIND_TYPE,          3, 9,  "must be a map"       },
    {"[one]\n",                           FIND_REQUIRED,      1, 1,  "text is required"    },
    {"\n[on]\n",                          FIND_UNKNOWN_FIELD, 2, 1,  "[one] or [many NAME]"},
    {"[one x]\ntext = x\n",               FIND_VALUE,         1, 1,  "has no name"         },
    {"[many]\ntext = x\n",                FIND_VALUE,         1, 1,  "needs a name"        },
};

TEST(every_mistake_has_its_place)
{
    for (size_t i = 0; i < COUNT(mistakes); i++) {
        struct buf b;
        size_t at;

        (void)parse(mistakes[i].text);
        CHECK_INT(findings.errors, 1);
        CHECK_INT(findings.first->code, mistakes[i].code);
        CHECK_INT(findings.first->line, mistakes[i].line);
        CHECK_INT(findings.first->column, mistakes[i].column);
        buf_init(&b, 4096);
        finding_print(findings.first, &b);
        if (!str_find(buf_str(&b), str_from(mistakes[i].words), &at))
            print_error("%.*s\n", STR_ARG(buf_str(&b)));
        CHECK(str_find(buf_str(&b), str_from(mistakes[i].words), &at));
        CHECK(str_starts(buf_str(&b), STR("x.ini:")));
        buf_done(&b);
    }
}

TEST(all_mistakes_are_told_at_once)
{
    (void)parse("[one]\non = 1\nport = 0\n[two]\n[many]\ntext = x\nx = 1\n");
    CHECK_INT(findings.errors, 6); /* on, port, text of [one]; [two]; the name; x */
}

TEST(what_is_written_reads_back)
{
    struct example x = {0};
    const struct example *back;
    struct buf b;
    char *text;

    schema_defaults(&schema, &x);
    x.on = false;
    x.text = STR(" odd; ; \"text\"\n\xC3\xA4");
    x.port = 81;
    buf_init(&b, 4096);
    settings_write(&types[0], &x, &b);
    text = buf_steal(&b);
    CHECK(strstr(text, "; A switch.\non = off\n"));
    CHECK(strstr(text, "; Threads.\n; workers = 2\n")); /* a default is shown, as a comment */
    CHECK(strstr(text, "; A life.\n; life = 1h\n"));
    CHECK(strstr(text, "; Where to listen.\nlisten = 127.0.0.1:1\n"));
    back = parse(text)->values;
    CHECK_INT(findings.errors, 0);
    CHECK(!back->on);
    CHECK_INT(back->port, 81);
    CHECK_STR(back->text, " odd; ; \"text\"\n\xC3\xA4");
    CHECK_INT(back->life_ns, x.life_ns);
    free(text);
}
