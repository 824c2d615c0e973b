/* `weft lint`: documents checked without a server, by the code that the server uses. */
#pragma once

struct args;

int lint_run(const struct args *a); /* exit code: EXIT_REFUSED if there is an error */
