/* Manual pages, written from the tables of commands (man(7) source). */
#pragma once

#include <stdio.h>

void manual_list(FILE *to); /* "weft-apply.1", one a line */
