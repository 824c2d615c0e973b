/* Text of INI, as ini.h and ini_node.h read it. */
#pragma once

#include "mesh/base/buf.h"
#include "mesh/base/str.h"

/* A value behind "key = ", for which `used` bytes of the line are gone: plain where that reads back
 * as the same, else in quotes, in as many lines as it needs. No newline behind. */
void ini_write_value(struct str text, size_t used, struct buf *out);
