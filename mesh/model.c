#include "mesh/model.h"

#include <ctype.h>

bool service_is_exported(const struct service *s, struct str ns)
{
    struct str rest = s->export_to, item;

    if (rest.n == 0)
        return true;
    while (str_next(&rest, ' ', &item)) {
        if (str_eq(item, STR("*")) || str_eq(str_eq(item, STR(".")) ? s->ns : item, ns))
            return true;
    }
    return false;
}

struct str labels_get(const struct labels *l, struct str key)
{
    for (size_t i = 0; i < l->count; i++) {
        if (str_eq(l->items[i].key, key))
            return l->items[i].value;
    }
    return STR_NONE;
}

static bool has_label(const struct labels *have, const struct label *want)
{
    for (size_t i = 0; i < have->count; i++) {
        if (str_eq(have->items[i].key, want->key))
            return str_eq(have->items[i].value, want->value);
    }
    return false;
}

bool labels_match(const struct labels *have, const struct labels *want)
{
    for (size_t i = 0; i < want->count; i++) {
        if (!has_label(have, &want->items[i]))
            return false;
    }
    return true;
}

static struct str lower(struct arena *a, struct str s)
{
    char *p = (char *)arena_alloc(a, s.n + 1);

    for (size_t i = 0; i < s.n; i++)
        p[i] = (char)tolower((unsigned char)s.p[i]);
    p[s.n] = '\0';
    return (struct str){p, s.n};
}

struct str model_fqdn(struct arena *a, struct str host, struct str ns, struct str domain)
{
    struct addr ip;
    struct str name = lower(a, host);

    /* One trailing dot is legal in a name and means nothing to a matcher. */
    if (name.n > 1 && name.p[name.n - 1] == '.')
        name.n--;
    if (name.n == 0 || str_has(name, '.') || str_has(name, '*') || addr_parse_ip(name, &ip))
        return name;
    return arena_printf(a, "%.*s.%.*s.svc.%.*s", STR_ARG(name), STR_ARG(ns), STR_ARG(domain));
}

struct str model_gateway_ref(struct arena *a, struct str ref, struct str ns)
{
    struct str name = ref, first;

    if (str_eq(ref, STR("mesh")))
        return ref;
    if (str_cut(&name, '/', &first)) {
        if (!str_eq(first, STR(".")))
            return ref;
    } else if (str_cut(&name, '.', &first)) {
        struct str rest = name;

        name = first;
        if (!str_cut(&rest, '.', &ns))
            ns = rest;
    }
    return arena_printf(a, "%.*s/%.*s", STR_ARG(ns), STR_ARG(name));
}

struct str model_service_key(struct arena *a, struct str ns, struct str fqdn)
{
    return arena_printf(a, "%.*s/%.*s", STR_ARG(ns), STR_ARG(fqdn));
}

uint16_t model_target(const struct local_service *s, uint16_t number, uint16_t target)
{
    return number == s->service_port ? s->port : target;
}

struct addr model_service_address(const struct local_service *s, const struct addr *host)
{
    struct addr at = s->listen.family && !addr_is_any(&s->listen) ? s->listen : *host;

    at.port = 0;
    return at;
}

/* Of several gateways, where no service stands beside them: theirs, if it is one; else that of the host. */
static struct str namespace_of_gateways(const struct local_service *services, size_t count, struct str ns)
{
    for (size_t i = 0; i < count; i++) {
        if (!services[i].is_gateway || !str_eq(services[i].ns, services[0].ns))
            return ns;
    }
    return count ? services[0].ns : ns;
}

struct caller model_caller(const struct local_service *services, size_t count, struct str ns)
{
    static const struct labels none;
    const struct local_service *one = NULL, *gateway = NULL;
    size_t gateways = 0;

    for (size_t i = 0; i < count; i++) {
        if (!services[i].is_gateway) {
            one = &services[i];
        } else {
            gateway = &services[i];
            gateways++;
        }
    }
    if (count == gateways && gateways == 1)
        one = gateway;
    else if (count - gateways != 1)
        one = NULL;
    return (struct caller){one, one ? one->ns : namespace_of_gateways(services, count, ns), one ? &one->labels : &none,
                           gateways && count == gateways};
}
