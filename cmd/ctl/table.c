#include "cmd/ctl/table.h"

#include <stdio.h>

#include "mesh/base/limits.h"

#define COLUMNS_MAX 12

const struct table_column table_objects[] = {
    {"NAMESPACE", "metadata.namespace"        },
    {"KIND",      "kind"                      },
    {"NAME",      "metadata.name"             },
    {"REVISION",  "metadata.resourceVersion"  },
    {"CREATED",   "metadata.creationTimestamp"},
    {NULL,        NULL                        }
};
const struct table_column table_hosts[] = {
    {"NAME",      "name"     },
    {"ADDRESS",   "address"  },
    {"STATE",     "state"    },
    {"CONNECTED", "connected"},
    {"IN SYNC",   "inSync"   },
    {"REVISION",  "revision" },
    {"SERVICES",  "services" },
    {"ID",        "id"       },
    {NULL,        NULL       }
};
const struct table_column table_services[] = {
    {"NAMESPACE", "namespace"},
    {"NAME",      "name"     },
    {"PORTS",     "ports"    },
    {"ADDRESS",   "vip4"     },
    {"ADDRESS6",  "vip6"     },
    {"FQDN",      "fqdn"     },
    {NULL,        NULL       }
};
const struct table_column table_endpoints[] = {
    {"SERVICE",   "service"            },
    {"ENDPOINTS", "endpoints.workloads"},
    {NULL,        NULL                 }
};
const struct table_column table_certificates[] = {
    {"IDENTITY",  "identity"},
    {"NOT AFTER", "notAfter"},
    {"HOST",      "host"    },
    {"SERIAL",    "serial"  },
    {NULL,        NULL      }
};
const struct table_column table_tokens[] = {
    {"ID",        "id"      },
    {"STATE",     "state"   },
    {"USES LEFT", "usesLeft"},
    {"EXPIRES",   "expires" },
    {"SERVICES",  "services"},
    {"CREATOR",   "creator" },
    {NULL,        NULL      }
};
const struct table_column table_revisions[] = {
    {"REVISION", "revision"},
    {"AT",       "at"      },
    {"WHO",      "who"     },
    {"CREATED",  "created" },
    {"CHANGED",  "changed" },
    {"DELETED",  "deleted" },
    {"MESSAGE",  "message" },
    {NULL,       NULL      }
};
const struct table_column table_audit[] = {
    {"NUMBER",  "number" },
    {"ACTION",  "action" },
    {"OBJECT",  "object" },
    {"ACTOR",   "actor"  },
    {"SOURCE",  "source" },
    {"VERDICT", "verdict"},
    {NULL,      NULL     }
};

/* What stands for an element of a list in one word. */
static void print_element(const struct node *n, struct buf *out)
{
    struct str name = node_text(n, "name"), number = node_text(n, "number"),
               address = node_text(n, "address");

    if (n->kind != NODE_MAP) {
        buf_add(out, n->text);
        return;
    }
    if (number.n && !str_eq(number, STR("0")))
        buf_add(out, number);
    if (number.n && !str_eq(number, STR("0")) && name.n)
        buf_addc(out, '/');
    buf_add(out, name);
    if (address.n) {
        buf_addc(out, '@');
        buf_add(out, address);
    }
}

static void print_cell(const struct node *row, const char *path, struct buf *out)
{
    const struct node *n = node_path(row, path);

    buf_clear(out);
    if (n && n->kind != NODE_LIST && n->kind != NODE_MAP)
        buf_add(out, n->text);
    for (const struct node *e = n ? n->first : NULL; e; e = e->next) {
        if (e != n->first)
            buf_addc(out, ',');
        print_element(e, out);
    }
    if (out->n == 0)
        buf_addc(out, '-');
}

void table_print(const struct node *root, const struct node *items,
                 const struct table_column *columns)
{
    int width[COLUMNS_MAX] = {0};
    size_t count = 0;
    struct buf cell;

    buf_init(&cell, LIMIT_API_BODY_BYTES);
    for (; columns[count].heading; count++)
        width[count] = (int)str_from(columns[count].heading).n;
    for (const struct node *n = items ? items->first : root; n; n = items ? n->next : NULL) {
        for (size_t i = 0; i < count; i++) {
            print_cell(n, columns[i].path, &cell);
            width[i] = MAX(width[i], (int)cell.n);
        }
    }
    for (size_t i = 0; i < count; i++)
        printf("%-*s%s", i + 1 < count ? width[i] : 0, columns[i].heading,
               i + 1 < count ? "  " : "\n");
    for (const struct node *n = items ? items->first : root; n; n = items ? n->next : NULL) {
        for (size_t i = 0; i < count; i++) {
            print_cell(n, columns[i].path, &cell);
            printf("%-*.*s%s", i + 1 < count ? width[i] : 0, STR_ARG(buf_str(&cell)),
                   i + 1 < count ? "  " : "\n");
        }
    }
    buf_done(&cell);
}
