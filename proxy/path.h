/* Paths of requests in one form, so that rules, policies and the endpoint see the same one.
 *
 * Source:  Istio's pathNormalization (fields.md 4.10). BASE resolves "." and "..", decodes escapes of letters, digits and
 *          "-._~", and makes "\" a "/". MERGE also makes one "/" of several. DECODE first decodes %2F and %5C, too. Nothing
 *          is decoded twice.
 *          What it makes is made the same by another run: a '%' that would begin an escape of decoded bytes becomes %25, and
 *          "<>^`{|}, which no path may hold, are escaped, as Envoy does.
 * Threads: any. A pure function; the result is `path` itself where nothing changes, else lies in `a`.
 */
#pragma once

#include "mesh/base/arena.h"
#include "mesh/snapshot.h"

/* `path` is a request target with its query, which is left alone. False: it holds %00, and the request is to be refused. */
bool path_normalise(enum path_mode mode, struct str path, struct arena *a, struct str *out) MUST_USE;
