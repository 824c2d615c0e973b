#include "mesh/kinds/rate_limit.h"

#include "mesh/kinds/check.h"

/* Rows of designated initialisers, which clang-format 14 cannot lay out (it even crashes). */
/* clang-format off */


static const struct field key_fields[] = {
    {"sourceIp", FIELD_BOOL, SCHEMA_AT(rate_limit_key, source_ip), .oneof = "key",
     .meaning = "One bucket for each address of a client; of IPv6, for each /64."},
    {"principal", FIELD_BOOL, SCHEMA_AT(rate_limit_key, principal), .oneof = "key",
     .meaning = "One bucket for each identity of a peer; those without one share a bucket."},
    {"header", FIELD_STRING, SCHEMA_AT(rate_limit_key, header), .check = common_check_token,
     .oneof = "key",
     .meaning = "One bucket for each value of this header; requests without it share a bucket."},
};
static SCHEMA(key_schema, "RateLimitKey", rate_limit_key, key_fields);

static const struct field_value header_values[] = {
    SCHEMA_VALUE("OFF", RATE_LIMIT_HEADERS_OFF),
    SCHEMA_VALUE("ON", RATE_LIMIT_HEADERS_ON),
    {.name = NULL},
};

static const struct field rule_fields[] = {
    {"name", FIELD_STRING, SCHEMA_AT(rate_limit_rule, name), .flags = FIELD_REQUIRED,
     .check = common_check_label, .meaning = "Name of the limit in metrics, unique."},
    {"route", FIELD_STRING, SCHEMA_AT(rate_limit_rule, route),
     .meaning = "Name of the http rule of a VirtualService that it is for, at a gateway; all requests when not given."},
    {"key", FIELD_MESSAGE, SCHEMA_AT(rate_limit_rule, key), .message = &key_schema,
     .meaning = "What tells clients apart; one bucket for all when not given."},
    {"requests", FIELD_UINT32, SCHEMA_AT(rate_limit_rule, requests), SCHEMA_BOUNDS(1, 1000000000),
     .flags = FIELD_REQUIRED | FIELD_BOUNDED, .meaning = "Requests that fit in an interval."},
    {"interval", FIELD_DURATION, SCHEMA_AT(rate_limit_rule, interval_ns), .def = 1000000000,
     .meaning = "The interval; the bucket fills up evenly over it."},
    {"burst", FIELD_UINT32, SCHEMA_AT(rate_limit_rule, burst), SCHEMA_BOUNDS(1, 1000000000),
     .default_offset = offsetof(struct rate_limit_rule, requests),
     .flags = FIELD_BOUNDED | FIELD_ZERO_IS_DEFAULT,
     .meaning = "Requests that may come at once after a pause; `requests` when not given. A bucket must fill up "
                "within 366 days."},
    {"maxKeys", FIELD_UINT32, SCHEMA_AT(rate_limit_rule, keys_max), SCHEMA_BOUNDS(1, 1000000),
     .def = 10000, .flags = FIELD_BOUNDED,
     .meaning = "Buckets kept at once; the longest unused one goes first. A change begins with full buckets."},
    {"status", FIELD_UINT32, SCHEMA_AT(rate_limit_rule, status), SCHEMA_BOUNDS(400, 599),
     .def = 429, .flags = FIELD_BOUNDED, .meaning = "Status of the answer to what is too much."},
    {"responseHeaders", FIELD_ENUM, SCHEMA_AT(rate_limit_rule, headers), .values = header_values,
     .def = RATE_LIMIT_HEADERS_ON,
     .meaning = "Whether answers carry ratelimit-limit, ratelimit-remaining and ratelimit-reset, and "
                "refusals retry-after."},
};
static SCHEMA(rule_schema, "RateLimitRule", rate_limit_rule, rule_fields);

static const struct field rate_limit_fields[] = {
    POLICY_TARGET_ROWS(rate_limit),
    {"limits", FIELD_MESSAGES, SCHEMA_LIST(rate_limit, limits), .message = &rule_schema, .most = 64,
     .flags = FIELD_REQUIRED, .meaning = "Limits; a request needs room in every one that fits."},
};
SCHEMA(rate_limit_schema, "RateLimit", rate_limit, rate_limit_fields);

/* clang-format on */

/* Nobody waits longer for a bucket, and moments are numbers (proxy/gcra.h). */
#define FILL_MAX_DAYS 366
#define DAY_NS        86400e9

static void check_fill(const struct check *c, const struct rate_limit_rule *l)
{
    if (l->requests && l->interval_ns > 0 &&
        (double)l->interval_ns / l->requests * l->burst > FILL_MAX_DAYS * DAY_NS)
        FAIL(c, l->node, FIND_VALUE,
             "limit \"%.*s\" fills its bucket in more than %d days; make burst or interval smaller", STR_ARG(l->name),
             FILL_MAX_DAYS);
}

void rate_limit_validate(const struct check *c, const void *spec)
{
    const struct rate_limit *r = spec;

    check_target(c, &r->target);
    for (size_t i = 0; i < r->limits_count; i++) {
        const struct rate_limit_rule *l = &r->limits[i];

        check_fill(c, l);
        if (l->key && !l->key->source_ip && !l->key->principal && !l->key->header.n)
            FAIL(c, l->key->node, FIND_REQUIRED, "key needs sourceIp, principal or header");
        for (size_t j = 0; j < i; j++) {
            if (l->name.n && str_eq(l->name, r->limits[j].name)) {
                FAIL(c, check_member(l->node, "name"), FIND_VALUE, "\"%.*s\" is given twice",
                     STR_ARG(l->name));
                break;
            }
        }
    }
}
