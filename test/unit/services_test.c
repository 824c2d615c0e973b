/* services.d/NAME.ini: what is taken, and what every mistake is answered with. */
#include "cmd/agent/agent.h"
#include "mesh/base/file.h"
#include "test/test.h"

#include <unistd.h>

struct reading {
    char dir[64];
    struct agent_settings settings;
    struct addr host;
    struct arena arena;
    struct findings f;
    struct local_service *services;
    size_t count;
    struct local_set local;
    int rc;
};

static void write_file(const struct reading *x, const char *name, const char *text)
{
    char path[256];
    struct err err;

    (void)snprintf(path, sizeof(path), "%s/services.d/%s", x->dir, name);
    CHECK_INT(file_write(path, str_from(text), 0600, &err), 0);
}

static void reading_init(struct reading *x)
{
    char path[256];
    struct err err;

    memset(x, 0, sizeof(*x));
    (void)snprintf(x->dir, sizeof(x->dir), "/tmp/weft-services.XXXXXX");
    CHECK(mkdtemp(x->dir));
    (void)snprintf(path, sizeof(path), "%s/services.d", x->dir);
    CHECK_INT(file_mkdirs(path, 0700, &err), 0);
    CHECK_INT(agent_settings_read(x->dir, x->dir, "s", NULL, &x->settings, &err), 0);
    CHECK(addr_parse_ip(STR("10.0.0.5"), &x->host));
    arena_init(&x->arena);
    findings_init(&x->f, &x->arena);
}

static void read_all(struct reading *x)
{
    x->rc =
        services_read(x->dir, &x->settings, &x->host, &x->arena, &x->local, &x->f);
    x->services = x->local.services;
    x->count = x->local.service_count;
    CHECK_INT(x->rc, x->f.errors ? -1 : 0);
}

static void reading_done(struct reading *x)
{
    char command[256];

    (void)snprintf(command, sizeof(command), "rm -r '%s'", x->dir);
    CHECK_INT(system(command), 0);
    agent_settings_done(&x->settings);
    arena_done(&x->arena);
}

/* The text of a.ini is refused, first with this code and line and a text that holds the words. */
static void check_refused(const char *text, enum finding_code code, unsigned line,
                          const char *words)
{
    struct reading x;
    size_t at;
    struct buf b;

    reading_init(&x);
    write_file(&x, "a.ini", text);
    read_all(&x);
    CHECK(x.f.first);
    buf_init(&b, 4096);
    finding_print(x.f.first, &b);
    if (x.f.first->line != line || !str_find(x.f.first->detail, str_from(words), &at))
        print_error("%.*s\n", STR_ARG(buf_str(&b)));
    CHECK_INT(x.rc, -1);
    CHECK_INT(x.f.first->code, code);
    CHECK_INT(x.f.first->line, line);
    CHECK(str_ends(x.f.first->file, STR("/services.d/a.ini")));
    CHECK(str_find(x.f.first->detail, str_from(words), &at));
    buf_done(&b);
    reading_done(&x);
}

static void check_app(const struct local_service *s, const char *want)
{
    char text[ADDR_TEXT_MAX];

    CHECK_TEXT(addr_format(&s->app, text), want);
}

TEST(a_port_is_enough)
{
    struct reading x;
    const struct local_service *s;

    reading_init(&x);
    write_file(&x, "a.ini", "[service reviews]\nport = 9080\n");
    read_all(&x);
    CHECK_INT(x.count, 1);
    s = &x.services[0];
    CHECK_STR(s->name, "reviews");
    CHECK_STR(s->ns, "default");
    CHECK_STR(s->account, "reviews");
    CHECK_INT(s->port, 9080);
    CHECK_INT(s->service_port, 9080);
    CHECK_STR(s->protocol, "");
    CHECK_INT(s->labels.count, 1);
    CHECK_STR(labels_get(&s->labels, STR("app")), "reviews");
    check_app(s, "10.0.0.5:9080");
    CHECK(!s->is_gateway);
    reading_done(&x);
}

static void check_listen(const char *keys, const char *listen, const char *app, uint16_t service_port)
{
    char text[ADDR_TEXT_MAX];
    struct reading x;

    reading_init(&x);
    write_file(&x, "a.ini", keys);
    read_all(&x);
    CHECK_INT(x.count, 1);
    CHECK_TEXT(addr_format(&x.services[0].listen, text), listen);
    CHECK_INT(x.services[0].port, x.services[0].listen.port); /* what peers dial */
    CHECK_INT(x.services[0].service_port, service_port);
    check_app(&x.services[0], app);
    reading_done(&x);
}

TEST(an_explicit_listener_stands_in_front_of_the_application)
{
    check_listen("[service a]\nlisten = 10.0.0.5:8080\n", "10.0.0.5:8080", "127.0.0.1:8080", 8080);
    check_listen("[service a]\nlisten = 10.0.0.5:8080\nport = 8081\n", "10.0.0.5:8080", "127.0.0.1:8081", 8080);
    check_listen("[service a]\nlisten = 0.0.0.0:8080\nport = 8081\naddress = 10.0.0.5\nservice_port = 80\n",
                 "0.0.0.0:8080", "10.0.0.5:8081", 80);
}

TEST(listeners_for_callers_of_this_host_are_read)
{
    char text[ADDR_TEXT_MAX];
    struct reading x;

    reading_init(&x);
    write_file(&x, "a.ini",
               "[listener web]\nbind = 127.0.0.1:9080\nservice = web.shop:8080\n"
               "[listener short]\nbind = [::1]:9080\nservice = web\n[listener all]\nbind = 127.0.0.1:80\nprotocol = http\n");
    read_all(&x);
    CHECK_INT(x.local.listener_count, 3);
    CHECK_INT(x.count, 0);
    CHECK_STR(x.local.listeners[0].service, "web.shop");
    CHECK_INT(x.local.listeners[0].port, 8080);
    CHECK_INT(x.local.listeners[1].port, 0);
    CHECK_TEXT(addr_format(&x.local.listeners[1].bind, text), "[::1]:9080");
    CHECK_STR(x.local.listeners[2].service, "");
    reading_done(&x);
}

TEST(mistakes_of_explicit_listeners_are_told)
{
    static const struct {
        const char *text;
        enum finding_code code;
        unsigned line;
        const char *words;
    } rows[] = {
        {"[service a]\nlisten = 8080\n", FIND_VALUE, 2, "IP:PORT"},
        {"[service a]\nlisten = 127.0.0.1:8080\nport = 8081\n", FIND_VALUE, 2, "loopback"},
        {"[service a]\nlisten = 10.0.0.5:8080\naddress = 10.0.0.5\n", FIND_CONFLICT, 2, "own address"},
        {"[service a]\nlisten = 0.0.0.0:8080\n", FIND_CONFLICT, 2, "own address"},
        {"[service a]\nlisten = 10.0.0.5:22\nport = 8081\n", FIND_VALUE, 2, "SSH"},
        {"[service a]\nport = 8080\n[service b]\nlisten = 10.0.0.5:8080\nport = 8081\n", FIND_CONFLICT, 4, "a is at this"},
        {"[gateway a]\nlisten = 10.0.0.5:8080\n", FIND_UNKNOWN_FIELD, 2, "listen"},
        {"[listener a]\nservice = web\n", FIND_REQUIRED, 1, "bind is required"},
        {"[listener a]\nbind = 127.0.0.1:0\n", FIND_VALUE, 2, "IP:PORT"},
        {"[listener a]\nbind = 127.0.0.1:1\nservice = web:http\n", FIND_VALUE, 3, "port"},
        {"[listener a]\nbind = 127.0.0.1:1\nservice = a b\n", FIND_VALUE, 3, "service"},
        {"[listener a]\nbind = 127.0.0.1:1\nprotocol = tcp\n", FIND_VALUE, 3, "Host"},
        {"[listener a]\nbind = 127.0.0.1:1\nservice = web\nprotocol = http\n", FIND_VALUE, 4, "the service says"},
        {"[listener a]\nbind = 127.0.0.1:1\nport = 2\n", FIND_UNKNOWN_FIELD, 3, "port"},
        {"[listener a]\nbind = 127.0.0.1:15020\n", FIND_CONFLICT, 2, "agent itself"},
        {"[listener a]\nbind = 127.0.0.1:1\n[listener b]\nbind = 127.0.0.1:1\n", FIND_CONFLICT, 4, "a has this"},
        {"[listener a]\nbind = 127.0.0.1:1\n[listener b]\nbind = 0.0.0.0:1\n", FIND_CONFLICT, 4, "a has this"},
        {"[listener a]\nbind = 127.0.0.1:1\n[listener a]\nbind = 127.0.0.1:2\n", FIND_DUPLICATE, 3, "twice"},
    };

    for (size_t i = 0; i < COUNT(rows); i++)
        check_refused(rows[i].text, rows[i].code, rows[i].line, rows[i].words);
}

TEST(every_key_is_taken)
{
    struct reading x;
    const struct local_service *s;

    reading_init(&x);
    write_file(&x, "a.ini",
               "[service reviews]\nport = 9080\nservice_port = 80\nprotocol = HTTP\nversion = v2\n"
               "label.tier = backend\nlabel.app = shop\naddress = 127.0.0.1\nnamespace = shop\n"
               "account = bookinfo\n");
    read_all(&x);
    CHECK_INT(x.count, 1);
    s = &x.services[0];
    CHECK_INT(s->service_port, 80);
    CHECK_STR(s->protocol, "http");
    CHECK_STR(labels_get(&s->labels, STR("version")), "v2");
    CHECK_STR(labels_get(&s->labels, STR("tier")), "backend");
    CHECK_STR(labels_get(&s->labels, STR("app")), "shop");
    CHECK_INT(s->labels.count, 3);
    check_app(s, "127.0.0.1:9080");
    CHECK_STR(s->ns, "shop");
    CHECK_STR(s->account, "bookinfo");
    reading_done(&x);
}

TEST(a_gateway_needs_no_port)
{
    struct reading x;

    reading_init(&x);
    write_file(&x, "a.ini", "[gateway edge]\nlabel.istio = ingressgateway\n");
    read_all(&x);
    CHECK_INT(x.count, 1);
    CHECK(x.services[0].is_gateway);
    CHECK_STR(labels_get(&x.services[0].labels, STR("istio")), "ingressgateway");
    reading_done(&x);
}

TEST(files_are_read_in_order_and_only_ini_ones)
{
    struct reading x;

    reading_init(&x);
    write_file(&x, "b.ini", "[service two]\nport = 2\n[service three]\nport = 3\n");
    write_file(&x, "a.ini", "[service one]\nport = 1\n");
    write_file(&x, "c.ini.bak", "nonsense");
    read_all(&x);
    CHECK_INT(x.count, 3);
    CHECK_STR(x.services[0].name, "one");
    CHECK_STR(x.services[1].name, "two");
    CHECK_STR(x.services[2].name, "three");
    reading_done(&x);
}

TEST(no_folder_and_no_file_are_no_services)
{
    struct reading x;
    char path[256];

    reading_init(&x);
    read_all(&x);
    CHECK_INT(x.count, 0);
    (void)snprintf(path, sizeof(path), "%s/services.d", x.dir);
    CHECK_INT(rmdir(path), 0);
    read_all(&x);
    CHECK_INT(x.count, 0);
    CHECK_INT(x.rc, 0);
    reading_done(&x);
}

TEST(every_mistake_names_its_file_and_line)
{
    check_refused("[service a]\nport = http\n", FIND_TYPE, 2, "whole number");
    check_refused("[service a]\nport = 0\n", FIND_VALUE, 2, "from 1 to 65535");
    check_refused("[service a]\nport = 65536\n", FIND_VALUE, 2, "from 1 to 65535");
    check_refused("[service a]\nport = 1\nservice_port = -1\n", FIND_VALUE, 3, "from 1 to 65535");
    check_refused("\n[service a]\n", FIND_REQUIRED, 2, "port is required");
    check_refused("[service a]\nport = 1\nprotocol = HTTP/2!\n", FIND_VALUE, 3, "protocol");
    check_refused("[service a]\nport = 1\naddress = localhost\n", FIND_VALUE, 3, "not an IP");
    check_refused("[service a]\nport = 1\nnamespace = A_B\n", FIND_VALUE, 3, "not a DNS label");
    check_refused("[service a]\nport = 1\naccount = a/b\n", FIND_VALUE, 3, "not a DNS label");
    check_refused("[service A_B]\nport = 1\n", FIND_VALUE, 1, "not a service name");
    check_refused("[service]\nport = 1\n", FIND_VALUE, 1, "needs a name");
    check_refused("[service a]\nport = 1\nprot = http\n", FIND_UNKNOWN_FIELD, 3, "unknown field");
    check_refused("[gateway a]\nport = 1\n", FIND_UNKNOWN_FIELD, 2, "unknown field");
    check_refused("[service a]\nport = 1\nport = 2\n", FIND_DUPLICATE_KEY, 3, "given twice");
    check_refused("[service a]\nport = 1\nversion = 1\nlabel.version = 2\n", FIND_DUPLICATE_KEY, 3,
                  "same label");
    check_refused("[sevice a]\nport = 1\n", FIND_UNKNOWN_FIELD, 1, "unknown section");
    check_refused("[service a]\nport = 22\n", FIND_VALUE, 2, "never captured");
    check_refused("[service a]\nport = 1\nversion = a b\n", FIND_VALUE, 3, "label");
    check_refused("[service a]\nport = 1\nlabel.a/b/c = x\n", FIND_VALUE, 3, "label");
    check_refused("port = 1\n", FIND_PARSE, 1, "section");
}

TEST(a_protocol_that_nobody_knows_or_that_the_mesh_cannot_carry_is_refused)
{
    check_refused("[service a]\nport = 1\nprotocol = htpp\n", FIND_VALUE, 3, "htpp");
    check_refused("[service a]\nport = 1\nprotocol = udp\n", FIND_UNSUPPORTED, 3, "TCP only");
}

TEST(what_is_not_built_yet_says_so)
{
    check_refused("[service a]\nport = 1\nrun_as = www\n", FIND_NOT_YET, 3,
                  "run_as is not supported");
    check_refused("[service a]\nport = 1\nunit = a\n", FIND_NOT_YET, 3, "unit is not supported");
    check_refused("[service a]\nport = 1\ncheck = /\n", FIND_NOT_YET, 3, "check is not supported");
}

TEST(the_agents_own_ports_are_not_a_services)
{
    static const char *const own[] = {"15001", "15006", "15000", "15020", "15021", "15053"};

    for (size_t i = 0; i < COUNT(own); i++) {
        char text[100];

        (void)snprintf(text, sizeof(text), "[service a]\nport = %s\n", own[i]);
        check_refused(text, FIND_CONFLICT, 2, "belongs to the agent");
    }
}

TEST(two_services_share_neither_name_nor_port)
{
    check_refused("[service a]\nport = 1\n[service a]\nport = 2\n", FIND_DUPLICATE, 3,
                  "defined twice");
    check_refused("[service a]\nport = 1\n[service b]\nport = 1\n", FIND_CONFLICT, 4,
                  "another service's already");
}

TEST(one_name_in_two_namespaces_is_two_services)
{
    struct reading x;

    reading_init(&x);
    write_file(&x, "a.ini", "[service a]\nport = 1\n[service a]\nport = 2\nnamespace = shop\n");
    read_all(&x);
    CHECK_INT(x.count, 2);
    reading_done(&x);
}

TEST(all_mistakes_are_told_at_once)
{
    struct reading x;

    reading_init(&x);
    write_file(&x, "a.ini", "[service a]\nport = x\nprot = http\n");
    write_file(&x, "b.ini", "[service b]\naddress = y\nport = 3\n");
    read_all(&x);
    CHECK_INT(x.f.errors, 3); /* two keys, the address */
    reading_done(&x);
}

TEST(more_services_than_a_host_may_have_are_refused)
{
    struct reading x;
    struct buf b;
    char *text;

    reading_init(&x);
    buf_init(&b, 1 << 20);
    for (int i = 1; i <= 257; i++)
        buf_printf(&b, "[service s%d]\nport = %d\n", i, 1000 + i);
    text = buf_steal(&b);
    write_file(&x, "a.ini", text);
    free(text);
    read_all(&x);
    CHECK_INT(x.count, 256);
    CHECK_INT(x.f.errors, 1);
    CHECK_INT(x.f.first->code, FIND_LIMIT);
    CHECK_INT(x.f.first->line, 513);
    reading_done(&x);
}
