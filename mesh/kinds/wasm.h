/* extensions.istio.io WasmPlugin and TrafficExtension: filters of somebody else on the way of
 * requests. Fields: mesh/kinds/wasm.c. */
#pragma once

#include "mesh/kinds/common.h"

enum pull_policy { PULL_UNSPECIFIED, PULL_IF_NOT_PRESENT, PULL_ALWAYS };
enum plugin_phase { PHASE_UNSPECIFIED, PHASE_AUTHN, PHASE_AUTHZ, PHASE_STATS };
enum fail_strategy { FAIL_STRATEGY_CLOSE, FAIL_STRATEGY_OPEN, FAIL_STRATEGY_RELOAD };
enum plugin_type { PLUGIN_UNSPECIFIED, PLUGIN_HTTP, PLUGIN_NETWORK };
enum plugin_mode { PLUGIN_MODE_UNDEFINED, PLUGIN_CLIENT, PLUGIN_SERVER, PLUGIN_BOTH };
enum env_source { ENV_INLINE, ENV_HOST };

struct wasm_env {
    const struct node *node;
    struct str name, value;
    enum env_source source;
};

struct wasm_vm {
    const struct node *node;
    struct wasm_env *env;
    size_t env_count;
};

struct traffic_selector {
    const struct node *node;
    enum plugin_mode mode;
    struct port_selector *ports;
    size_t ports_count;
};

/* Where a module is and how it runs: the whole of WasmPlugin, or `wasm` of TrafficExtension. */
struct wasm_module {
    const struct node *node;
    struct str url, sha256, name;
    enum pull_policy pull;
    const struct node *config; /* pluginConfig, as written; NULL: none */
    enum fail_strategy fail;
    struct wasm_vm *vm;
    enum plugin_type type;
};

struct wasm_plugin {
    struct wasm_module module; /* first: its `node` is the document's */
    struct policy_target target;
    enum plugin_phase phase;
    bool has_priority;
    int32_t priority;
    struct traffic_selector *match;
    size_t match_count;
};

struct lua_code {
    const struct node *node;
    struct str code;
};

struct traffic_extension {
    const struct node *node;
    struct policy_target target; /* never by targetRef */
    enum plugin_phase phase;
    bool has_priority;
    int32_t priority;
    struct traffic_selector *match;
    size_t match_count;
    struct wasm_module *wasm; /* exactly one of these */
    struct lua_code *lua;
};

extern const struct schema wasm_plugin_schema, traffic_extension_schema;
void wasm_plugin_validate(const struct check *c, const void *spec);
void traffic_extension_validate(const struct check *c, const void *spec);
