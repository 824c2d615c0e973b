/* Documents for tests: parse a text, ask what was found. */
#pragma once

#include "mesh/base/json.h"
#include "mesh/base/yaml.h"
#include "mesh/decode.h"
#include "mesh/encode.h"
#include "mesh/validate.h"
#include "test/test.h"

struct docs {
    struct arena arena;
    struct findings findings;
    struct object_list objects;
    int result;
};

__attribute__((unused)) static void docs_parse(struct docs *d, struct str text, enum syntax syntax)
{
    memset(d, 0, sizeof(*d));
    arena_init(&d->arena);
    findings_init(&d->findings, &d->arena);
    d->result = documents_parse(text, STR("t.yaml"), syntax, &d->arena, &d->objects, &d->findings);
}

/* The same, with documents of kinds that are not supported yet among the objects. */
__attribute__((unused)) static void docs_parse_all(struct docs *d, struct str text, enum syntax syntax)
{
    const struct documents_how how = {.syntax = syntax, .takes_not_yet = true};

    memset(d, 0, sizeof(*d));
    arena_init(&d->arena);
    findings_init(&d->findings, &d->arena);
    d->result = documents_read(text, STR("t.yaml"), &how, &d->arena, &d->objects, &d->findings);
}

__attribute__((unused)) static void docs_done(struct docs *d)
{
    arena_done(&d->arena);
}

__attribute__((unused)) static void docs_print(const struct docs *d)
{
    struct buf b;

    buf_init(&b, 1u << 20);
    for (const struct finding *x = d->findings.first; x; x = x->next) {
        finding_print(x, &b);
        buf_addc(&b, '\n');
    }
    print_error("%.*s", STR_ARG(buf_str(&b)));
    buf_done(&b);
}

__attribute__((unused)) static size_t docs_count(const struct docs *d, enum finding_code code)
{
    size_t n = 0;

    for (const struct finding *x = d->findings.first; x; x = x->next)
        n += x->code == code;
    return n;
}

/* The first of its code; an empty one if there is none. */
__attribute__((unused)) static const struct finding *docs_find(const struct docs *d,
                                                               enum finding_code code)
{
    static const struct finding none;

    for (const struct finding *x = d->findings.first; x; x = x->next) {
        if (x->code == code)
            return x;
    }
    return &none;
}

/* A document with this kind's apiVersion and the spec given as YAML of two more blanks' indent. */
#define DOC(api, kind, spec)                                                                       \
    "apiVersion: " api "\nkind: " kind "\nmetadata:\n  name: x\n  namespace: shop\nspec:\n" spec
#define GW(spec)  DOC("networking.istio.io/v1", "Gateway", spec)
#define VS(spec)  DOC("networking.istio.io/v1", "VirtualService", spec)
#define DR(spec)  DOC("networking.istio.io/v1", "DestinationRule", spec)
#define SE(spec)  DOC("networking.istio.io/v1", "ServiceEntry", spec)
#define WE(spec)  DOC("networking.istio.io/v1", "WorkloadEntry", spec)
#define PA(spec)  DOC("security.istio.io/v1", "PeerAuthentication", spec)
#define SVC(spec) DOC("v1", "Service", spec)
#define HTTP_TO_A "  hosts: [a]\n  http:\n  - route:\n    - destination: {host: a}\n"

/* The text is taken without an error. */
#define CHECK_TAKEN(text)                                                                          \
    do {                                                                                           \
        struct docs d_;                                                                            \
        docs_parse(&d_, STR(text), SYNTAX_YAML);                                                   \
        if (d_.result != 0)                                                                        \
            docs_print(&d_);                                                                       \
        CHECK_INT(d_.result, 0);                                                                   \
        docs_done(&d_);                                                                            \
    } while (0)

/* The text has exactly one error, of this code, at this line; its detail holds the words. */
#define CHECK_REFUSED(text, want, at_line, words)                                                  \
    do {                                                                                           \
        struct docs d_;                                                                            \
        const struct finding *x_;                                                                  \
        docs_parse(&d_, STR(text), SYNTAX_YAML);                                                   \
        x_ = docs_find(&d_, (want));                                                               \
        if (x_->code != (want) || d_.findings.errors != 1 ||                                       \
            !str_find(x_->detail, STR(words), &(size_t){0}) || x_->line != (at_line))              \
            docs_print(&d_);                                                                       \
        CHECK_INT(x_->code, (want));                                                               \
        CHECK_INT(d_.findings.errors, 1);                                                          \
        CHECK(str_find(x_->detail, STR(words), &(size_t){0}));                                     \
        CHECK_INT(x_->line, (at_line));                                                            \
        CHECK(x_->column > 0);                                                                     \
        CHECK_INT(d_.objects.count, 0);                                                            \
        docs_done(&d_);                                                                            \
    } while (0)
