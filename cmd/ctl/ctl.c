/* The operator's commands: they talk to the server's API over its Unix socket. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/command.h"
#include "cmd/ctl/convert.h"
#include "cmd/ctl/explain_field.h"
#include "cmd/ctl/reference.h"
#include "cmd/ctl/files.h"
#include "cmd/ctl/lint.h"
#include "cmd/ctl/table.h"
#include "mesh/base/file.h"
#include "mesh/base/json.h"
#include "mesh/base/limits.h"
#include "mesh/base/yaml.h"
#include "mesh/kinds/kinds.h"
#include "proxy/wire/fetch.h"

#define SERVER_SOCKET "/run/weft/api.sock"
#define AGENT_SOCKET  "/run/weft/agent.sock"
#define CALL_MS       60000
#define PATH_BYTES    (16u << 10)

/* One call and its answer. */
struct call {
    const char *socket;
    unsigned status;
    struct buf body;
    struct arena arena;
    struct node *root; /* NULL if the answer is not JSON */
};

static void call_init(struct call *c, const struct args *a)
{
    *c = (struct call){.socket = args_path(a, "socket", "WEFT_SOCKET", SERVER_SOCKET)};
    buf_init(&c->body, LIMIT_APPLY_BYTES * 2u);
    arena_init(&c->arena);
}

static int call_done(struct call *c, int code)
{
    buf_done(&c->body);
    arena_done(&c->arena);
    return code;
}

static int call(struct call *c, const char *method, struct str path, const char *accept,
                const char *type, struct str body, struct err *err)
{
    const struct http_field fields[] = {
        {STR("accept"), str_from(accept)}
    };
    const struct fetch_request r = {.unix_path = c->socket,
                                    .method = str_from(method),
                                    .path = path,
                                    .host = STR("weft"),
                                    .fields = fields,
                                    .field_count = COUNT(fields),
                                    .body = body,
                                    .content_type = str_from(type),
                                    .answer_max = LIMIT_APPLY_BYTES * 2u,
                                    .timeout_ms = CALL_MS};
    struct err ignored;

    if (fetch_wait(&r, &c->status, &c->body, err)) {
        (void)err_wrap(err,
                       "no server at %s (is it running here? weft server run, or --socket PATH)",
                       c->socket);
        err->code = ERR_IO;
        return -1;
    }
    c->root = NULL;
    if (json_read(arena_str(&c->arena, buf_str(&c->body)), &c->arena, &c->root, &ignored))
        c->root = NULL; /* YAML or text: printed as it is */
    return 0;
}

/* ---- what the server refused ---- */

static unsigned number_of(const struct node *n, const char *name)
{
    uint64_t value = 0;

    return str_uint(node_text(n, name), 0, UINT32_MAX, &value) ? (unsigned)value : 0;
}

/* A finding as findings_json() wrote it. */
static struct finding read_finding(const struct node *n)
{
    struct str code = node_text(n, "code");
    uint64_t number = 0;

    if (str_starts(code, STR("WEFT")))
        code = str_sub(code, 4, code.n);
    return (struct finding){
        .code = str_uint(code, 0, INT32_MAX, &number) ? (enum finding_code)number : FIND_VALUE,
        .severity = str_eq(node_text(n, "severity"), STR("warning")) ? SEVERITY_WARNING : SEVERITY_ERROR,
        .file = node_text(n, "file"),
        .line = number_of(n, "line"),
        .column = number_of(n, "column"),
        .object = node_text(n, "object"),
        .pointer = node_text(n, "pointer"),
        .detail = node_text(n, "detail"),
        .hint = node_text(n, "hint"),
    };
}

static void print_findings(const struct node *list)
{
    struct buf b;

    buf_init(&b, LIMIT_API_BODY_BYTES);
    for (const struct node *n = list ? list->first : NULL; n; n = n->next) {
        struct finding f = read_finding(n);

        if (f.file.n)
            finding_print(&f, &b);
        else
            finding_print_text(&f, &b);
        buf_addc(&b, '\n');
    }
    fprintf(stderr, "%.*s", STR_ARG(buf_str(&b)));
    buf_done(&b);
}

static int exit_of(unsigned status)
{
    switch (status) {
    case 401:
    case 403:
        return EXIT_DENIED;
    case 404:
        return EXIT_NOT_FOUND;
    case 409:
    case 412:
        return EXIT_CONFLICT;
    case 503:
        return EXIT_UNREACHABLE;
    default:
        return EXIT_REFUSED;
    }
}

static int refused(const struct call *c)
{
    struct str detail = node_text(c->root, "detail"), title = node_text(c->root, "title");

    if (!c->root)
        fprintf(stderr, "weft: the server answered %u: %.*s\n", c->status,
                STR_ARG(buf_str(&c->body)));
    else {
        print_findings(node_get(c->root, STR("errors")));
        fprintf(stderr, "weft: %.*s\n", STR_ARG(detail.n ? detail : title));
    }
    return exit_of(c->status);
}

/* Call, and end with what went wrong unless the answer is 2xx. -1 means go on. */
static int ask(struct call *c, const char *method, struct str path, const char *accept,
               const char *type, struct str body)
{
    struct err err;

    if (call(c, method, path, accept, type, body, &err))
        return command_failed(&err);
    return c->status >= 300 ? refused(c) : -1;
}

static void escape(struct buf *out, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char b = (unsigned char)s.p[i];

        if ((b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z') || (b >= '0' && b <= '9') ||
            strchr("-._~", b))
            buf_addc(out, (char)b);
        else
            buf_printf(out, "%%%02X", b);
    }
}

/* ---- apply, delete -f ---- */

struct files_body {
    struct buf *out;
    size_t count;
};

static int add_file(void *arg, struct str name, struct str text, struct err *err)
{
    struct files_body *b = arg;

    (void)err; /* what does not fit is told at the end */
    buf_adds(b->out, b->count++ ? ",{\"name\":" : "{\"name\":");
    buf_json(b->out, name);
    buf_adds(b->out, ",\"text\":");
    buf_json(b->out, text);
    buf_addc(b->out, '}');
    return 0;
}

static int files_body(const struct args *a, struct buf *out, struct err *err)
{
    struct files_body b = {out, 0};

    buf_adds(out, "{\"files\":[");
    if (files_each(a, add_file, &b, err))
        return -1;
    buf_adds(out, "]}");
    if (out->failed)
        return err_set(err, ERR_LIMIT, "more than %u MiB in one apply", LIMIT_APPLY_BYTES >> 20);
    return 0;
}

static void print_results(const struct call *c)
{
    const struct node *results = node_get(c->root, STR("results"));
    size_t changed = 0;

    print_findings(node_get(c->root, STR("warnings")));
    for (const struct node *n = results ? results->first : NULL; n; n = n->next) {
        struct str result = node_text(n, "result");

        printf("%.*s/%.*s %.*s%s (namespace %.*s)\n", STR_ARG(node_text(n, "kind")),
               STR_ARG(node_text(n, "name")), STR_ARG(result),
               node_is_true(c->root, "dryRun") ? " (dry run)" : "",
               STR_ARG(node_text(n, "namespace")));
        changed += !str_eq(result, STR("unchanged")) && !str_eq(result, STR("absent"));
    }
    if (node_is_true(c->root, "dryRun"))
        printf("dry run: nothing was changed\n");
    else if (changed)
        printf("revision %.*s\n", STR_ARG(node_text(c->root, "revision")));
    else
        printf("nothing changed, revision %.*s\n", STR_ARG(node_text(c->root, "revision")));
}

static int send_files(const struct args *a, bool deleting)
{
    struct call c;
    struct buf body, path;
    struct err err;
    int code;

    call_init(&c, a);
    buf_init(&body, LIMIT_APPLY_BYTES * 2u);
    buf_init(&path, 8192);
    buf_printf(&path, "/v1/apply?dryRun=%s&delete=%s", args_has(a, "dry-run") ? "true" : "false",
               deleting ? "true" : "false");
    if (args_has(a, "message")) {
        buf_adds(&path, "&message=");
        escape(&path, str_from(args_text(a, "message", "")));
    }
    if (args_has(a, "skip-kinds")) {
        buf_adds(&path, "&skipKinds=");
        escape(&path, str_from(args_text(a, "skip-kinds", "")));
    }
    if (args_has(a, "expect-revision")) {
        buf_adds(&path, "&expectRevision=");
        escape(&path, str_from(args_text(a, "expect-revision", "")));
    }
    if (files_body(a, &body, &err)) {
        code = command_failed(&err);
    } else {
        code = ask(&c, "POST", buf_str(&path), "application/json",
                   "application/vnd.weft.files+json", buf_str(&body));
        if (code < 0) {
            print_results(&c);
            code = EXIT_DONE;
        }
    }
    buf_done(&body);
    buf_done(&path);
    return call_done(&c, code);
}

static int apply_run(const struct args *a)
{
    if (!args_has(a, "file")) {
        fprintf(stderr, "weft: what shall be applied? weft apply -f FILE (a file, a folder, or - "
                        "for standard input)\n");
        return EXIT_USAGE;
    }
    return send_files(a, false);
}

/* ---- get ---- */

/* What get knows besides kinds of documents. */
static const struct {
    const char *name, *path;
    const struct table_column *columns;
} lists[] = {
    {"hosts",        "/v1/hosts",        table_hosts       },
    {"services",     "/v1/services",     table_services    },
    {"endpoints",    "/v1/endpoints",    table_endpoints   },
    {"certificates", "/v1/certificates", table_certificates},
    {"tokens",       "/v1/tokens",       table_tokens      },
    {"revisions",    "/v1/revisions",    table_revisions   },
    {"audit",        "/v1/audit",        table_audit       },
};

const char *ctl_list_name(size_t i)
{
    return i < COUNT(lists) ? lists[i].name : NULL;
}

enum output { OUTPUT_TABLE, OUTPUT_YAML, OUTPUT_JSON, OUTPUT_INI, OUTPUT_NAME };

static int read_output(const struct args *a, enum output *out)
{
    static const char *const names[] = {"table", "yaml", "json", "ini", "name"};
    const char *want = args_text(a, "output", "table");

    for (size_t i = 0; i < COUNT(names); i++) {
        if (strcmp(want, names[i]) == 0) {
            *out = (enum output)i;
            return 0;
        }
    }
    fprintf(stderr, "weft: --output %s: write table, yaml, json, ini or name\n", want);
    return -1;
}

/* By what it is called, whatever it is. */
static void print_name(const struct node *n)
{
    static const char *const names[] = {"metadata.name", "name",     "service", "id",
                                        "serial",        "revision", "number"};
    struct str kind = node_text(n, "kind"), name = STR_NONE;

    for (size_t i = 0; i < COUNT(names) && name.n == 0; i++)
        name = node_text(n, names[i]);
    printf("%.*s%s%.*s\n", STR_ARG(kind), kind.n ? "/" : "", STR_ARG(name));
}

static void print_text(const struct call *c, enum output output)
{
    struct buf b;

    buf_init(&b, LIMIT_APPLY_BYTES);
    if (output == OUTPUT_YAML)
        yaml_write(c->root, &b);
    else if (!convert_write_ini(c->root, &b))
        fprintf(stderr, "weft: some documents are of kinds that this version of weft does not know\n");
    printf("%.*s", STR_ARG(buf_str(&b)));
    buf_done(&b);
}

static void print_answer(const struct call *c, enum output output,
                         const struct table_column *columns)
{
    const struct node *items = node_get(c->root, STR("items"));

    if (!c->root || output == OUTPUT_JSON) {
        printf("%.*s", STR_ARG(buf_str(&c->body)));
        return;
    }
    if (output == OUTPUT_TABLE) {
        table_print(c->root, items, columns);
        return;
    }
    if (output == OUTPUT_NAME) {
        for (const struct node *n = items ? items->first : c->root; n; n = items ? n->next : NULL) {
            print_name(n);
        }
        return;
    }
    print_text(c, output);
}

static int get_list(const struct args *a, struct str path, const struct table_column *columns)
{
    enum output output;
    struct call c;
    int code;

    if (read_output(a, &output))
        return EXIT_USAGE;
    if (output == OUTPUT_INI && columns != table_objects) {
        fprintf(stderr, "weft: only documents are written as ini; this is a list: table, yaml, json or name\n");
        return EXIT_USAGE;
    }
    call_init(&c, a);
    code = ask(&c, "GET", path, "application/json", "application/json", STR_NONE);
    if (code < 0) {
        print_answer(&c, output, columns);
        code = EXIT_DONE;
    }
    return call_done(&c, code);
}

/* KIND, KIND NAME or KIND/NAME. */
static const struct kind *read_target(const struct args *a, struct str *name)
{
    struct str first = str_from(a->rest[0]), rest = first, kind = first;
    const struct kind *k;

    *name = a->rest_count > 1 ? str_from(a->rest[1]) : STR_NONE;
    if (str_cut(&rest, '/', &kind))
        *name = rest;
    else
        kind = first;
    k = kind_find_any(kind);
    if (k)
        return k;
    fprintf(stderr, "weft: \"%.*s\" is no kind. There are:", STR_ARG(kind));
    for (size_t i = 0; i < COUNT(lists); i++)
        fprintf(stderr, " %s", lists[i].name);
    for (size_t i = 0; (k = kind_at(i)); i++)
        fprintf(stderr, " %s%s%s%s", k->plural, k->shorts[0] ? "(" : "",
                k->shorts[0] ? k->shorts[0] : "", k->shorts[0] ? ")" : "");
    fputc('\n', stderr);
    return NULL;
}

static void object_path(const struct args *a, const struct kind *k, struct str name,
                        struct buf *out)
{
    buf_adds(out, "/v1/namespaces/");
    escape(out, str_from(args_text(a, "namespace", "default")));
    buf_printf(out, "/%s/", k->plural);
    escape(out, name);
}

/* Of the lists only hosts can be asked for one by one. */
static int get_named(const struct args *a, const char *list, const char *path,
                     const struct table_column *columns)
{
    struct buf one;
    int code;

    if (a->rest_count > 1 && strcmp(list, "hosts") != 0) {
        fprintf(stderr, "weft: get %s takes no name; it shows all\n", list);
        return EXIT_USAGE;
    }
    buf_init(&one, PATH_BYTES);
    buf_adds(&one, path);
    if (a->rest_count > 1) {
        buf_addc(&one, '/');
        escape(&one, str_from(a->rest[1]));
    }
    code = get_list(a, buf_str(&one), columns);
    buf_done(&one);
    return code;
}

static int get_run(const struct args *a)
{
    const struct kind *k;
    struct str name;
    struct buf path;
    int code;

    for (size_t i = 0; i < COUNT(lists); i++) {
        if (strcmp(a->rest[0], lists[i].name) == 0)
            return get_named(a, lists[i].name, lists[i].path, lists[i].columns);
    }
    k = read_target(a, &name);
    if (!k)
        return EXIT_USAGE;
    buf_init(&path, PATH_BYTES);
    if (name.n) {
        object_path(a, k, name, &path);
    } else {
        buf_printf(&path, "/v1/%s", k->plural);
        if (!args_has(a, "all-namespaces")) {
            buf_adds(&path, "?namespace=");
            escape(&path, str_from(args_text(a, "namespace", "default")));
        }
    }
    code = get_list(a, buf_str(&path), table_objects);
    buf_done(&path);
    return code;
}

static int delete_run(const struct args *a)
{
    const struct kind *k;
    struct str name;
    struct call c;
    struct buf path;
    int code;

    if (args_has(a, "file"))
        return send_files(a, true);
    if (a->rest_count == 0) {
        fprintf(stderr,
                "weft: what shall be deleted? weft delete KIND/NAME, or weft delete -f FILE\n");
        return EXIT_USAGE;
    }
    k = read_target(a, &name);
    if (!k || name.n == 0) {
        if (k)
            fprintf(stderr, "weft: which one? weft delete %s/NAME\n", k->singular);
        return EXIT_USAGE;
    }
    call_init(&c, a);
    buf_init(&path, PATH_BYTES);
    object_path(a, k, name, &path);
    code = ask(&c, "DELETE", buf_str(&path), "application/json", "application/json", STR_NONE);
    if (code < 0) {
        print_results(&c);
        code = EXIT_DONE;
    }
    buf_done(&path);
    return call_done(&c, code);
}

/* ---- tokens ---- */

static int token_create(const struct args *a)
{
    struct call c;
    struct buf body;
    int code;

    call_init(&c, a);
    buf_init(&body, 8192);
    buf_addc(&body, '{');
    buf_adds(&body, "\"uses\":");
    buf_json(&body, str_from(args_text(a, "uses", "1")));
    buf_adds(&body, ",\"ttl\":");
    buf_json(&body, str_from(args_text(a, "ttl", "1h")));
    buf_adds(&body, ",\"services\":");
    buf_json(&body, str_from(args_text(a, "service", "")));
    buf_adds(&body, ",\"from\":");
    buf_json(&body, str_from(args_text(a, "from", "")));
    buf_addc(&body, '}');
    code =
        ask(&c, "POST", STR("/v1/tokens"), "application/json", "application/json", buf_str(&body));
    if (code < 0) {
        struct str token = node_text(c.root, "token");

        /* The token alone on standard output, so that $(weft token create) works. */
        fprintf(stderr, "valid until %.*s, %.*s use(s); on the host:\n  weft join TOKEN\n",
                STR_ARG(node_text(c.root, "expires")), STR_ARG(node_text(c.root, "uses")));
        printf("%.*s\n", STR_ARG(token));
        code = EXIT_DONE;
    }
    buf_done(&body);
    return call_done(&c, code);
}

static int token_list(const struct args *a)
{
    return get_list(a, STR("/v1/tokens"), table_tokens);
}

static int token_revoke(const struct args *a)
{
    struct call c;
    struct buf path;
    int code;

    call_init(&c, a);
    buf_init(&path, 4096);
    buf_adds(&path, "/v1/tokens/");
    escape(&path, str_from(a->rest[0]));
    code = ask(&c, "DELETE", buf_str(&path), "application/json", "application/json", STR_NONE);
    if (code < 0) {
        printf("token %s revoked\n", a->rest[0]);
        code = EXIT_DONE;
    }
    buf_done(&path);
    return call_done(&c, code);
}

/* ---- status ---- */

static int server_status(const struct call *c)
{
    const struct node *hosts = node_get(c->root, STR("hosts"));
    bool red = false;

    printf("server      %.*s, weft %.*s, trust domain %.*s\n",
           STR_ARG(node_text(c->root, "server")), STR_ARG(node_text(c->root, "version")),
           STR_ARG(node_text(c->root, "trustDomain")));
    printf("revision    %.*s (%.*s documents, %.*s services)\n",
           STR_ARG(node_text(c->root, "revision")), STR_ARG(node_text(c->root, "objects")),
           STR_ARG(node_text(c->root, "services")));
    printf("certificate until %.*s\n", STR_ARG(node_text(c->root, "certificateNotAfter")));
    printf("hosts       %.*s, %.*s connected\n\n", STR_ARG(node_text(c->root, "hostCount")),
           STR_ARG(node_text(c->root, "connected")));
    table_print(c->root, hosts, table_hosts);
    for (const struct node *n = hosts ? hosts->first : NULL; n; n = n->next) {
        if (!str_eq(node_text(n, "state"), STR("active")))
            continue;
        red = red || !node_is_true(n, "connected") || !node_is_true(n, "inSync");
        if (node_text(n, "refused").n)
            printf("\n%.*s refuses the newest revision: %.*s\n", STR_ARG(node_text(n, "name")),
                   STR_ARG(node_text(n, "refused")));
    }
    return red ? EXIT_FINDINGS : EXIT_DONE;
}

static int agent_status(const struct call *c)
{
    const struct node *services = node_get(c->root, STR("services"));
    bool connected = node_is_true(c->root, "link.connected"),
         ready = node_is_true(c->root, "ready");

    printf("host        %.*s (%.*s), weft %.*s, trust domain %.*s\n",
           STR_ARG(node_text(c->root, "host")), STR_ARG(node_text(c->root, "id")),
           STR_ARG(node_text(c->root, "version")), STR_ARG(node_text(c->root, "trustDomain")));
    printf("serving     %s, revision %.*s, capture %.*s, names %s\n",
           ready ? "yes" : "no, no configuration yet", STR_ARG(node_text(c->root, "revision")),
           STR_ARG(node_text(c->root, "captureBackend")),
           node_is_true(c->root, "dns") ? "on" : "off");
    if (connected)
        printf("server      %.*s at %.*s since %.*s\n", STR_ARG(node_text(c->root, "link.server")),
               STR_ARG(node_text(c->root, "link.address")),
               STR_ARG(node_text(c->root, "link.since")));
    else
        printf("server      not connected since %.*s: %.*s\n",
               STR_ARG(node_text(c->root, "link.since")),
               STR_ARG(node_text(c->root, "link.problem")));
    printf("certificate until %.*s\n", STR_ARG(node_text(c->root, "certificateNotAfter")));
    for (const struct node *n = services ? services->first : NULL; n; n = n->next)
        printf("%s     %.*s/%.*s%s%.*s%s\n", node_is_true(n, "gateway") ? "gateway" : "service",
               STR_ARG(node_text(n, "namespace")), STR_ARG(node_text(n, "name")),
               node_is_true(n, "gateway") ? "" : " port ",
               STR_ARG(node_is_true(n, "gateway") ? STR("") : node_text(n, "port")),
               node_is_true(n, "refused") ? "  REFUSED by the server" : "");
    return connected && ready ? EXIT_DONE : EXIT_FINDINGS;
}

/* The server's view where there is a server, else this host's agent. */
static int status_run(const struct args *a)
{
    struct call c;
    struct err err;
    int code;

    call_init(&c, a);
    if (args_has(a, "agent") || (!args_has(a, "socket") && !file_exists(c.socket))) {
        c.socket = args_path(a, "agent", "WEFT_AGENT_SOCKET", AGENT_SOCKET);
        if (call(&c, "GET", STR("/status"), "application/json", "application/json", STR_NONE,
                 &err)) {
            fprintf(stderr, "weft: neither a server nor an agent answers on this host\n");
            return call_done(&c, EXIT_UNREACHABLE);
        }
        code = c.status >= 300 ? refused(&c) : agent_status(&c);
        return call_done(&c, code);
    }
    code = ask(&c, "GET", STR("/v1/status"), "application/json", "application/json", STR_NONE);
    return call_done(&c, code < 0 ? server_status(&c) : code);
}

static int eject_run(const struct args *a)
{
    struct call c;
    struct buf path;
    int code;

    call_init(&c, a);
    buf_init(&path, 4096);
    buf_adds(&path, "/v1/hosts/");
    escape(&path, str_from(a->rest[0]));
    buf_adds(&path, "/eject");
    code = ask(&c, "POST", buf_str(&path), "application/json", "application/json", STR_NONE);
    if (code < 0) {
        printf("host %s ejected: its services are withdrawn and its key is refused from now on\n",
               a->rest[0]);
        code = EXIT_DONE;
    }
    buf_done(&path);
    return call_done(&c, code);
}

/* ---- the table ---- */

#define SOCKET_FLAG                                                                                \
    {                                                                                              \
        "socket", 's', FLAG_TEXT, "PATH",                                                          \
            "The server's socket (default /run/weft/api.sock, or $WEFT_SOCKET)."                   \
    }
#define OUTPUT_FLAG                                                                                \
    {                                                                                              \
        "output", 'o', FLAG_TEXT, "table|yaml|json|name", "How to show it (default table)."        \
    }
#define NS_FLAG                                                                                    \
    {                                                                                              \
        "namespace", 'n', FLAG_TEXT, "NAME", "Namespace (default \"default\")."                    \
    }

#define SKIP_FLAG                                                                                  \
    {"skip-kinds", 0, FLAG_TEXT, "KIND[,...]|all",                                                 \
     "Pass by documents of these kinds, which mean nothing here; each is told. A kind of weft's "  \
     "is never passed by."}

static const struct flag apply_flags[] = {
    {"file",            'f', FLAG_REPEATED, "FILE",
     "A file, a folder, or - for standard input; may be given several times."                             },
    {"dry-run",         0,   FLAG_SWITCH,   NULL,
     "Check everything and say what would change; change nothing."                                        },
    {"message",         'm', FLAG_TEXT,     "TEXT", "Why, for the history."                               },
    {"expect-revision", 0,   FLAG_TEXT,     "N",    "Refuse if the configuration is not at this revision."},
    SKIP_FLAG,
    SOCKET_FLAG,
};
static const struct flag lint_flags[] = {
    {"file",          'f', FLAG_REPEATED, "FILE",
     "A file, a folder, or - for standard input; may be given several times."       },
    {"allow-not-yet", 0,   FLAG_SWITCH,   NULL,
     "What is only not supported yet (WEFT1601) is told, but is no failure."        },
    SKIP_FLAG,
    {"output",        'o', FLAG_TEXT,     "text|json", "How to tell what was found (default text)."},
};
static const struct flag convert_flags[] = {
    {"file",   'f', FLAG_REPEATED, "FILE",
     "A file, a folder, or - for standard input; may be given several times."                  },
    {"output", 'o', FLAG_TEXT,     "yaml|json|ini", "The syntax to write (default yaml)."},
};
static const struct flag field_flags[] = {
    {"recursive", 'r', FLAG_SWITCH, NULL, "The members of the members, too."},
    {"output", 'o', FLAG_TEXT, "text|json", "How to tell it (default text)."},
};
static const struct flag get_flags[] = {
    NS_FLAG,
    {"all-namespaces", 'A', FLAG_SWITCH, NULL, "Of all namespaces."},
    {"output", 'o', FLAG_TEXT, "table|yaml|json|ini|name",
     "How to show it (default table); ini is for documents only."},
    SOCKET_FLAG,
};
static const struct flag delete_flags[] = {
    NS_FLAG,
    {"file",            'f', FLAG_REPEATED, "FILE", "Delete what these files describe."          },
    {"dry-run",         0,   FLAG_SWITCH,   NULL,   "With -f: say what would go; change nothing."},
    {"message",         'm', FLAG_TEXT,     "TEXT", "With -f: why, for the history."             },
    {"expect-revision", 0,   FLAG_TEXT,     "N",
      "With -f: refuse if the configuration is not at this revision."                             },
    SKIP_FLAG,
    SOCKET_FLAG,
};
static const struct flag token_flags[] = {
    {"uses",    0, FLAG_TEXT, "N",          "How many hosts may join with it (default 1)."    },
    {"ttl",     0, FLAG_TEXT, "DURATION",   "How long it is valid (default 1h)."              },
    {"service", 0, FLAG_TEXT, "NAME[,...]",
     "Services the host may offer, NAME or NAMESPACE/NAME (default: names nobody owns)."      },
    {"from",    0, FLAG_TEXT, "CIDR[,...]", "Addresses the host may come from (default: any)."},
    SOCKET_FLAG,
};
static const struct flag list_flags[] = {OUTPUT_FLAG, SOCKET_FLAG};
static const struct flag plain_flags[] = {SOCKET_FLAG};
static const struct flag status_flags[] = {
    {"agent", 'a', FLAG_TEXT, "PATH", "Ask the agent at this socket instead of the server."},
    SOCKET_FLAG,
};

const struct command ctl_commands[] = {
    {"apply",        "-f FILE [flags]",     "Put documents into force, all or none.",
     "Istio's documents, unchanged, in YAML, JSON or INI. Every problem is told at once, with file and "
     "line; then nothing is\n"
     "changed.\n\n  weft apply -f rules.yaml -m \"reviews to v2\"\n  weft apply -f rules/ "
     "--dry-run\n  cat x.yaml | weft apply -f -",                                                                                                                       apply_flags,  COUNT(apply_flags),  0, 0, apply_run   },
    {"lint",         "-f FILE [flags]",     "Check documents without a server.",
     "The checks that apply makes of each document, all at once. Exit code 4 if there is an error.\n\n"
     "  weft lint -f rules/\n  weft lint -f rules.yaml -o json --allow-not-yet",
     lint_flags, COUNT(lint_flags), 0, 0, lint_run},
    {"convert",      "-f FILE [flags]",     "Write documents in another syntax: YAML, JSON or INI.",
     "The syntax of a file is told by its name (.yaml, .yml, .json, .ini), that of standard input by how it begins.\n"
     "What is written is the canonical form, as get shows it: without comments, defaults left out, namespaces said.\n"
     "Documents that are not supported yet are converted, too; with an error, nothing is. No server is needed.\n\n"
     "  weft convert -f rules.yaml -o ini\n  weft convert -f rules/ -o json\n  cat x.ini | weft convert -f -",
     convert_flags, COUNT(convert_flags), 0, 0, convert_run},
    {"explain-field", "[FIELD] [flags]", "Say what a field of a document means.",
     "Its sentence, type, default, rules, and whether it works; a kind alone tells its members, nothing at all the kinds.\n\n"
     "  weft explain-field virtualservice.spec.http.retries\n  weft explain-field dr -r\n  weft explain-field vs.http.match -o json",
     field_flags, COUNT(field_flags), 0, 1, explain_field_run},
    {"reference", "DIR", "", NULL, NULL, 0, 1, 1, reference_run},
    {"get",          "KIND [NAME] [flags]",
     "Show documents, or hosts, services, endpoints, certificates, tokens, revisions, audit.",       "Kinds take Istio's names: virtualservices (vs), destinationrules (dr), gateways (gw), "
     "serviceentries (se),\n"
     "workloadentries (we), peerauthentications (pa), services of documents (svc).\n\n"
     "  weft get hosts\n  weft get vs -A\n  weft get vs reviews -o yaml", get_flags,    COUNT(get_flags),    1, 2, get_run     },
    {"delete",       "KIND/NAME | -f FILE", "Take documents out of force.",
     "  weft delete vs/reviews\n  weft delete -f rules.yaml",                                                                                                           delete_flags, COUNT(delete_flags), 0,
     2,                                                                                                                                                                                                          delete_run  },
    {"token create", "[flags]",
     "Make a token with which a host joins; printed once, kept only as a hash.",                     "  weft token create\n  weft token create --uses 20 --ttl 24h --service web,api --from "
     "10.0.0.0/16",                                                                     token_flags,  COUNT(token_flags),  0, 0, token_create},
    {"token list",   "[flags]",             "Show tokens; their secrets are not kept.",              NULL,                                                              list_flags,
     COUNT(list_flags),                                                                                                                                                                                    0, 0, token_list  },
    {"token revoke", "TOKEN-ID",                  "Make a token useless. Hosts that joined with it stay.", NULL,
     plain_flags,                                                                                                                                                                     COUNT(plain_flags),  1, 1, token_revoke},
    {"host eject",   "HOST",
     "Take a host out of the mesh for good: its services go, its key is refused.",                   NULL,
     plain_flags,                                                                                                                                                                     COUNT(plain_flags),  1, 1, eject_run   },
    {"status",       "[flags]",
     "One screen: the server and its hosts or, on other machines, this host's agent.",               "Exit code 1 if a host is away or behind.",                        status_flags, COUNT(status_flags), 0, 0,
     status_run                                                                                                                                                                                                              },
};
const size_t ctl_command_count = COUNT(ctl_commands);
