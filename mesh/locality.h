/* Where somebody stands: "region/zone/subzone", of which the last ones may be missing.
 *
 * Ownership: the parts point into the text. Pure; no thread rules.
 * Source:    Istio's localities (WorkloadEntry.locality, localityLbSetting).
 */
#pragma once

#include "mesh/base/err.h"
#include "mesh/base/str.h"

#define LOCALITY_BYTES_MAX 256u

struct locality {
    struct str region, zone, subzone; /* empty: not said */
};

struct locality locality_of(struct str text);
/* A field_check: names of letters, digits, '-', '_' and '.', between '/'. The empty text is fine. */
int locality_check(struct str text, struct err *err);
/* Does it lie in "region/zone/subzone", in which '*' and what is missing stand for any? */
bool locality_is_within(const struct locality *l, struct str pattern);
/* 0: the same subzone, 1: zone, 2: region, 3: elsewhere. */
unsigned locality_distance(const struct locality *a, const struct locality *b);
