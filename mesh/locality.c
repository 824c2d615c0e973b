#include "mesh/locality.h"

#define PARTS 3

struct locality locality_of(struct str text)
{
    struct str part[PARTS] = {STR_NONE, STR_NONE, STR_NONE};

    for (size_t i = 0; i < PARTS && str_next(&text, '/', &part[i]); i++)
        ;
    return (struct locality){part[0], part[1], part[2]};
}

static bool is_name(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');

        if (!letter && c != '-' && c != '_' && c != '.')
            return false;
    }
    return s.n > 0;
}

int locality_check(struct str text, struct err *err)
{
    struct str rest = text, part;
    bool good = text.n <= LOCALITY_BYTES_MAX && !str_ends(text, STR("/"));

    while (good && str_next(&rest, '/', &part))
        good = is_name(part);
    return good ? 0
                : err_set(err, ERR_INVALID,
                          "\"%.*s\" is no locality: region/zone/subzone, of letters, digits, '-', '_' and '.'",
                          (int)MIN(text.n, (size_t)LOCALITY_BYTES_MAX), text.p);
}

static bool part_matches(struct str part, struct str pattern)
{
    return pattern.n == 0 || str_eq(pattern, STR("*")) || str_eq(part, pattern);
}

bool locality_is_within(const struct locality *l, struct str pattern)
{
    struct locality p = locality_of(pattern);

    return part_matches(l->region, p.region) && part_matches(l->zone, p.zone) && part_matches(l->subzone, p.subzone);
}

unsigned locality_distance(const struct locality *a, const struct locality *b)
{
    if (!str_eq(a->region, b->region))
        return 3;
    if (!str_eq(a->zone, b->zone))
        return 2;
    return str_eq(a->subzone, b->subzone) ? 0 : 1;
}
