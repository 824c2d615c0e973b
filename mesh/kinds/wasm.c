#include "mesh/kinds/wasm.h"

#include "mesh/base/buf.h"
#include "mesh/kinds/check.h"
#include "mesh/url.h"

static bool is_url(struct str s, struct url *u, struct err *err)
{
    struct url ignored;

    return url_parse_request(s, u, err) == 0 && url_parse(s, &ignored, err) == 0;
}

/* As Istio reads it: what a request could not ask for stands behind "http://", so that "host/image:tag" is fine, but
 * "host:5000/image" has the scheme "host". */
static int check_url(struct str s, struct err *err)
{
    static const struct str schemes[] = {STR_INIT(""), STR_INIT("oci"), STR_INIT("http"), STR_INIT("https"), STR_INIT("file")};
    struct err why;
    struct url u;
    struct buf b;
    bool is_image;

    if (url_parse_request(s, &u, &why)) {
        buf_init(&b, s.n + sizeof("http://"));
        buf_printf(&b, "http://%.*s", STR_ARG(s));
        is_image = is_url(buf_str(&b), &u, &why);
        buf_done(&b);
        return is_image ? 0 : err_set(err, ERR_INVALID, "\"%.*s\" is not a URL: it has %s", STR_ARG(s), why.text);
    }
    if (!is_url(s, &u, &why))
        return err_set(err, ERR_INVALID, "\"%.*s\" is not a URL: it has %s", STR_ARG(s), why.text);
    for (size_t i = 0; i < COUNT(schemes); i++) {
        if (str_eq_nocase(u.scheme, schemes[i]))
            return 0;
    }
    return err_set(err, ERR_INVALID, "\"%.*s\": a URL begins with oci, http, https or file://%s", STR_ARG(s),
                   str_starts(str_sub(s, u.scheme.n, s.n), STR("://")) ? "" : "; write oci:// before a host with a port");
}

static int check_sha256(struct str s, struct err *err)
{
    bool ok = s.n == 64;

    for (size_t i = 0; ok && i < s.n; i++)
        ok = (s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'f');
    return ok ? 0 : err_set(err, ERR_INVALID, "sha256 has 64 digits of 0-9 and a-f");
}

/* Rows of designated initialisers, which clang-format 14 cannot lay out (it even crashes). */
/* clang-format off */


static const struct field_value pull_values[] = {
    SCHEMA_VALUE("UNSPECIFIED_POLICY", PULL_UNSPECIFIED),
    SCHEMA_VALUE("IfNotPresent", PULL_IF_NOT_PRESENT),
    SCHEMA_VALUE("Always", PULL_ALWAYS),
    {.name = NULL},
};

static const struct field_value plugin_phase_values[] = {
    SCHEMA_VALUE("UNSPECIFIED_PHASE", PHASE_UNSPECIFIED),
    SCHEMA_VALUE("AUTHN", PHASE_AUTHN),
    SCHEMA_VALUE("AUTHZ", PHASE_AUTHZ),
    SCHEMA_VALUE("STATS", PHASE_STATS),
    {.name = NULL},
};

static const struct field_value extension_phase_values[] = {
    SCHEMA_VALUE("UNSPECIFIED", PHASE_UNSPECIFIED),
    SCHEMA_VALUE("AUTHN", PHASE_AUTHN),
    SCHEMA_VALUE("AUTHZ", PHASE_AUTHZ),
    SCHEMA_VALUE("STATS", PHASE_STATS),
    {.name = NULL},
};

static const struct field_value fail_values[] = {
    SCHEMA_VALUE("FAIL_CLOSE", FAIL_STRATEGY_CLOSE),
    SCHEMA_VALUE("FAIL_OPEN", FAIL_STRATEGY_OPEN),
    SCHEMA_VALUE("FAIL_RELOAD", FAIL_STRATEGY_RELOAD),
    {.name = NULL},
};

static const struct field_value type_values[] = {
    SCHEMA_VALUE("UNSPECIFIED_PLUGIN_TYPE", PLUGIN_UNSPECIFIED),
    SCHEMA_VALUE("HTTP", PLUGIN_HTTP),
    SCHEMA_VALUE("NETWORK", PLUGIN_NETWORK),
    {.name = NULL},
};

static const struct field_value mode_values[] = {
    SCHEMA_VALUE("UNDEFINED", PLUGIN_MODE_UNDEFINED),
    SCHEMA_VALUE("CLIENT", PLUGIN_CLIENT),
    SCHEMA_VALUE("SERVER", PLUGIN_SERVER),
    SCHEMA_VALUE("CLIENT_AND_SERVER", PLUGIN_BOTH),
    {.name = NULL},
};

static const struct field_value source_values[] = {
    SCHEMA_VALUE("INLINE", ENV_INLINE),
    SCHEMA_VALUE("HOST", ENV_HOST),
    {.name = NULL},
};

static const struct field env_fields[] = {
    {"name", FIELD_STRING, SCHEMA_AT(wasm_env, name), SCHEMA_BOUNDS(1, 256),
     .flags = FIELD_REQUIRED | FIELD_BOUNDED, .meaning = "Name of the variable, unique."},
    {"valueFrom", FIELD_ENUM, SCHEMA_AT(wasm_env, source), .values = source_values,
     .meaning = "Where its value is from: written here, or the agent's own variable."},
    {"value", FIELD_STRING, SCHEMA_AT(wasm_env, value), SCHEMA_BOUNDS(0, 2048),
     .flags = FIELD_BOUNDED, .meaning = "Its value, with INLINE only."},
};
static SCHEMA(env_schema, "EnvVar", wasm_env, env_fields);

static const struct field vm_fields[] = {
    {"env", FIELD_MESSAGES, SCHEMA_LIST(wasm_vm, env), .message = &env_schema, .most = 256,
     .meaning = "Variables that the module sees."},
};
static SCHEMA(vm_schema, "VmConfig", wasm_vm, vm_fields);

static const struct field match_fields[] = {
    {"mode", FIELD_ENUM, SCHEMA_AT(traffic_selector, mode), .values = mode_values,
     .def = PLUGIN_BOTH, .meaning = "Requests of the workload (CLIENT), to it (SERVER), or both."},
    {"ports", FIELD_MESSAGES, SCHEMA_LIST(traffic_selector, ports),
     .message = &port_selector_schema, .meaning = "Ports that it is for; all when not given."},
};
static SCHEMA(match_schema, "TrafficSelector", traffic_selector, match_fields);

/* `url` first; `at` is offsetof the module within the message. */
#define MODULE_ROWS                                                                                \
    {"url", FIELD_STRING, SCHEMA_AT(wasm_module, url), .flags = FIELD_REQUIRED,                    \
     .check = check_url,                                                                           \
     .meaning = "Where the module is: oci:// (also without it), http://, https:// or file://."},   \
    {"sha256", FIELD_STRING, SCHEMA_AT(wasm_module, sha256), .check = check_sha256,                \
     .meaning = "Digest that the module must have."},                                              \
    {"imagePullPolicy", FIELD_ENUM, SCHEMA_AT(wasm_module, pull), .values = pull_values,           \
     .meaning = "When it is fetched again; IfNotPresent, but Always for the tag latest."},         \
    {"imagePullSecret", FIELD_ANY,                                                                 \
     SCHEMA_UNSUPPORTED("it names a Secret of Kubernetes; fetch the module with file://"),         \
     .meaning = "Secret to fetch it with."},                                                       \
    {"verificationKey", FIELD_ANY,                                                                 \
     SCHEMA_UNSUPPORTED("Istio never implemented it; use sha256"), .meaning = "Dead field."},      \
    {"pluginConfig", FIELD_OBJECT, SCHEMA_AT(wasm_module, config),                                 \
     .meaning = "Settings that the module reads, anything."},                                      \
    {"pluginName", FIELD_STRING, SCHEMA_AT(wasm_module, name), SCHEMA_BOUNDS(1, 256),              \
     .flags = FIELD_BOUNDED, .meaning = "Which of the plugins of the module is used."},            \
    {"failStrategy", FIELD_ENUM, SCHEMA_AT(wasm_module, fail), .values = fail_values,              \
     .meaning = "Whether requests fail or pass while the module cannot run."},                     \
    {"vmConfig", FIELD_MESSAGE, SCHEMA_AT(wasm_module, vm), .message = &vm_schema,                 \
     .meaning = "What the module's machine gets."},                                                \
    {"type", FIELD_ENUM, SCHEMA_AT(wasm_module, type), .values = type_values,                      \
     .meaning = "Whether it sees requests (HTTP) or bytes (NETWORK); HTTP when not given."}

#define PLACE_ROWS(s, phases)                                                                      \
    {"phase", FIELD_ENUM, SCHEMA_AT(s, phase), .values = (phases),                                 \
     .meaning = "Where in the chain of filters; at its end when not given."},                      \
    {"priority", FIELD_INT32, SCHEMA_HAS(s, priority),                                             \
     .meaning = "Within a phase the higher one comes first."},                                     \
    {"match", FIELD_MESSAGES, SCHEMA_LIST(s, match), .message = &match_schema,                     \
     .meaning = "Traffic that it sees, alternatives; all when not given."}

static const struct field module_fields[] = {MODULE_ROWS};
static SCHEMA(module_schema, "WasmConfig", wasm_module, module_fields);

static_assert(offsetof(struct wasm_plugin, module) == 0, "MODULE_ROWS count from the start");

static const struct field wasm_plugin_fields[] = {
    POLICY_TARGET_ROWS(wasm_plugin),
    MODULE_ROWS,
    PLACE_ROWS(wasm_plugin, plugin_phase_values),
};
SCHEMA(wasm_plugin_schema, "WasmPlugin", wasm_plugin, wasm_plugin_fields);

static const struct field lua_fields[] = {
    {"inlineCode", FIELD_STRING, SCHEMA_AT(lua_code, code), SCHEMA_BOUNDS(1, 65536),
     .flags = FIELD_REQUIRED | FIELD_BOUNDED,
     .meaning = "Lua with the functions envoy_on_request and envoy_on_response."},
};
static SCHEMA(lua_schema, "LuaConfig", lua_code, lua_fields);

static const struct field traffic_extension_fields[] = {
    POLICY_SELECTOR_ROW(traffic_extension),
    POLICY_TARGETS_ROW(traffic_extension),
    PLACE_ROWS(traffic_extension, extension_phase_values),
    {"wasm", FIELD_MESSAGE, SCHEMA_AT(traffic_extension, wasm), .message = &module_schema,
     .oneof = "filter_config", .meaning = "A WebAssembly module."},
    {"lua", FIELD_MESSAGE, SCHEMA_AT(traffic_extension, lua), .message = &lua_schema,
     .oneof = "filter_config", .meaning = "A piece of Lua."},
};
SCHEMA(traffic_extension_schema, "TrafficExtension", traffic_extension, traffic_extension_fields);

/* clang-format on */

/* ---- checks ---- */

static void check_module(const struct check *c, const struct wasm_module *m)
{
    struct err err;
    struct url u;
    size_t at;

    if (str_find(m->url, STR("://"), &at) && url_parse_request(m->url, &u, &err) && check_url(m->url, &err) == 0)
        WARN(c, check_member(m->node, "url"), "\"%.*s\" is not a URL and counts as the name of an image", STR_ARG(m->url));
    for (size_t i = 0; m->vm && i < m->vm->env_count; i++) {
        const struct wasm_env *e = &m->vm->env[i];

        if (e->source == ENV_HOST && check_given(e->node, "value"))
            FAIL(c, check_member(e->node, "value"), FIND_VALUE,
                 "value is for valueFrom INLINE; with HOST the agent's own variable is taken");
        for (size_t j = 0; j < i; j++) {
            if (e->name.n && str_eq(e->name, m->vm->env[j].name)) {
                FAIL(c, check_member(e->node, "name"), FIND_VALUE, "\"%.*s\" is given twice",
                     STR_ARG(e->name));
                break;
            }
        }
    }
}

/* A port is named once in each match. */
static void check_matches(const struct check *c, const struct traffic_selector *match, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct traffic_selector *m = &match[i];

        for (size_t j = 0; j < m->ports_count; j++) {
            for (size_t k = 0; k < j; k++) {
                if (m->ports[j].number && m->ports[j].number == m->ports[k].number)
                    FAIL(c, m->ports[j].node, FIND_VALUE, "port %u is given twice", m->ports[j].number);
            }
        }
    }
}

void wasm_plugin_validate(const struct check *c, const void *spec)
{
    const struct wasm_plugin *p = spec;

    check_target(c, &p->target);
    check_module(c, &p->module);
    check_matches(c, p->match, p->match_count);
}

void traffic_extension_validate(const struct check *c, const void *spec)
{
    const struct traffic_extension *t = spec;

    check_target(c, &t->target);
    if (!t->wasm && !t->lua)
        FAIL(c, t->node, FIND_REQUIRED, "wasm or lua is required");
    if (t->wasm)
        check_module(c, t->wasm);
    check_matches(c, t->match, t->match_count);
}
