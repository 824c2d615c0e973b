/* The syntax of CEL, the expression language of Telemetry: whether a text is an expression. Nothing
 * is evaluated here.
 *
 * Threads: pure. Limits: nesting CEL_DEPTH_MAX.
 */
#pragma once

#include "mesh/base/err.h"
#include "mesh/base/str.h"

#define CEL_DEPTH_MAX 64

/* A field_check: 0, or -1 with where it stops making sense. */
int cel_check(struct str text, struct err *err);
