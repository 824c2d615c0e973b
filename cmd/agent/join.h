/* `weft join`. */
#pragma once

#include "cmd/command.h"

int join_run(const struct args *a);
