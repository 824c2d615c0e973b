/* XXH64, a hash without a key: the same text gives the same number on every host, as in Envoy. Not for secrets.
 *
 * Source: the XXH64 algorithm description of the xxHash project (doc/xxhash_spec.md). Pure; no thread rules.
 */
#pragma once

#include "mesh/base/str.h"

uint64_t xxh64(struct str s, uint64_t seed);
