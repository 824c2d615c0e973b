/* Manual pages, written from the tables of commands and of settings (man(7) source). */
#pragma once

#include <stdio.h>

#include "mesh/settings.h"

/* The settings files, each beside its table; a page of section 5 is written from each. */
extern const struct settings_file server_ini, agent_ini, services_ini;

void manual_list(FILE *to); /* "weft-apply.1", one a line */
