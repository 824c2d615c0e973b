/* The files that -f names: a file, the documents of a folder (in the order of their names), or "-"
 * for standard input. */
#pragma once

#include "mesh/base/err.h"
#include "mesh/base/str.h"

struct args;

/* Told one file: its name ("(stdin)" for -) and its text, which live for the call. -1 with err ends
 * the walk. */
typedef int files_visit(void *arg, struct str name, struct str text, struct err *err);

int files_each(const struct args *a, files_visit *visit, void *arg, struct err *err) MUST_USE;
