/* `weft convert`: documents from one syntax into another, without a server. */
#pragma once

#include "mesh/base/buf.h"
#include "mesh/base/node.h"

struct args;

int convert_run(const struct args *a); /* exit code: EXIT_REFUSED if there is an error */

/* The documents as INI, a blank line between them: the items of a list, or the one that `root` is.
 * What is no document of a kind is left out and makes it false. */
bool convert_write_ini(const struct node *root, struct buf *out);
