#include "mesh/kinds/check.h"

#include "mesh/kinds/kinds.h"

/* The node of a member, else of the message: where to point. */
const struct node *check_member(const struct node *message, const char *name)
{
    const struct node *n = message ? node_get(message, str_from(name)) : NULL;

    return n ? n : message;
}

const struct node *check_element(const struct node *message, const char *name, size_t i)
{
    const struct node *list = message ? node_get(message, str_from(name)) : NULL;
    const struct node *n = list && list->kind == NODE_LIST ? node_at(list, i) : NULL;

    return n ? n : message;
}

bool check_given(const struct node *message, const char *name)
{
    const struct node *n = message ? node_get(message, str_from(name)) : NULL;

    return n && n->kind != NODE_NULL;
}

/* Not given, or empty; something of a wrong type was reported by decode and is not "absent". */
bool check_absent(const struct node *message, const char *name)
{
    const struct node *n = message ? node_get(message, str_from(name)) : NULL;

    return !n || n->kind == NODE_NULL || (n->kind == NODE_LIST && n->count == 0);
}

void check_export_to(const struct check *c, const struct node *spec, const struct str *to,
                            size_t count)
{
    bool is_entry = c->m->kind->id == KIND_SERVICE_ENTRY;

    for (size_t i = 0; i < count; i++) {
        const struct node *at = check_element(spec, "exportTo", i);
        struct str own = str_eq(to[i], STR(".")) ? c->m->ns : to[i];

        if (str_eq(to[i], STR("~")) && !is_entry)
            FAIL(c, at, FIND_VALUE, "exportTo \"~\" (nobody) is for a ServiceEntry only");
        else if (count > 1 && (str_eq(to[i], STR("~")) || str_eq(to[i], STR("*"))))
            FAIL(c, at, FIND_VALUE, "exportTo \"%.*s\" must stand alone", STR_ARG(to[i]));
        for (size_t j = 0; j < i; j++) {
            if (str_eq(own, str_eq(to[j], STR(".")) ? c->m->ns : to[j])) {
                FAIL(c, at, FIND_VALUE, "exportTo names \"%.*s\" twice", STR_ARG(own));
                break;
            }
        }
    }
}

bool check_is_unix(struct str address)
{
    return str_starts(address, STR("unix:"));
}

void check_selector(const struct check *c, const struct label_selector *s)
{
    if (s && s->node && s->labels.count == 0 && (s->node->count == 0 || node_get(s->node, STR("matchLabels"))))
        WARN(c, s->node, "an empty selector takes every workload of the namespace");
}

/* What Istio lets a policy be attached to. The Kubernetes Gateway API is not read here. */
static const struct {
    const char *group, *kind;
    bool is_cluster_only;
} target_kinds[] = {
    {"",                          "Service",      false},
    {"core",                      "Service",      false},
    {"networking.istio.io",       "ServiceEntry", false},
    {"gateway.networking.k8s.io", "Gateway",      true },
    {"gateway.networking.k8s.io", "GatewayClass", true },
};

static void check_target_ref(const struct check *c, const struct target_ref *t)
{
    if (t->ns.n)
        FAIL(c, check_member(t->node, "namespace"), FIND_VALUE,
             "namespace must be left out: a policy is attached within its own namespace");
    if (t->kind.n == 0)
        return; /* reported as required */
    for (size_t i = 0; i < COUNT(target_kinds); i++) {
        if (!str_eq(t->group, str_from(target_kinds[i].group)) ||
            !str_eq(t->kind, str_from(target_kinds[i].kind)))
            continue;
        if (target_kinds[i].is_cluster_only)
            FAIL(c, check_member(t->node, "kind"), FIND_UNSUPPORTED,
                 "a %s of the Kubernetes Gateway API does not exist outside a cluster: use selector "
                 "with the labels of the gateway",
                 target_kinds[i].kind);
        return;
    }
    FAIL(c, check_member(t->node, "kind"), FIND_VALUE,
         "a policy cannot be attached to \"%.*s\" of group \"%.*s\": use a Service of group \"\" or a "
         "ServiceEntry of networking.istio.io",
         STR_ARG(t->kind), STR_ARG(t->group));
}

void check_target(const struct check *c, const struct policy_target *t)
{
    check_selector(c, &t->selector);
    for (size_t i = 0; policy_target_at(t, i); i++)
        check_target_ref(c, policy_target_at(t, i));
}
