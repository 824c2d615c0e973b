/* weft explain-field PATH: a field's sentence, type, default and rules, from the tables. */
#pragma once

struct args;

int explain_field_run(const struct args *a);
