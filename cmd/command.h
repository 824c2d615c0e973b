/* Commands and their flags as tables: parsing, --help and usage errors come from the same rows.
 *
 * Ownership: values point into argv. Threads: start-up only.
 * Exit codes are one set for every command and output format (cli_api.md section 2).
 */
#pragma once

#include "mesh/base/base.h"
#include "mesh/base/err.h"
#include "mesh/base/str.h"

enum exit_code {
    EXIT_DONE = 0,
    EXIT_FINDINGS = 1, /* findings, or a difference */
    EXIT_USAGE = 2,
    EXIT_UNREACHABLE = 3, /* no server */
    EXIT_REFUSED = 4,     /* by validation */
    EXIT_CONFLICT = 5,
    EXIT_DENIED = 6,
    EXIT_NOT_FOUND = 7,
    EXIT_TIMEOUT = 8,
};

enum flag_kind { FLAG_SWITCH, FLAG_TEXT, FLAG_REPEATED };

struct flag {
    const char *name; /* long, without dashes */
    char letter;      /* 0: none */
    enum flag_kind kind;
    const char *value; /* its name in help: "FILE" */
    const char *help;  /* one sentence */
};

#define ARGS_MAX 64

struct args {
    const struct command *command;
    struct {
        const struct flag *flag;
        const char *value;
    } given[ARGS_MAX];
    size_t given_count;
    const char *rest[ARGS_MAX]; /* what is not a flag */
    size_t rest_count;
};

struct command {
    const char *name;    /* "token create" */
    const char *usage;   /* "[flags] KIND[/NAME]" */
    const char *summary; /* one line for the list */
    const char *details; /* paragraphs for its own help, with examples */
    const struct flag *flags;
    size_t flag_count;
    size_t rest_min, rest_max;
    int (*run)(const struct args *a); /* returns an exit code */
};

/* "--flag value", "--flag=value", "-f value", "-n5"; "--" ends flags. ERR_INVALID names the flag
 * and what is near it. */
int args_parse(const struct command *c, int argc, char **argv, struct args *out,
               struct err *err) MUST_USE;
bool args_has(const struct args *a, const char *name);
const char *args_text(const struct args *a, const char *name, const char *otherwise);
const char *args_nth(const struct args *a, const char *name,
                     size_t n); /* repeated; NULL past the end */
void command_help(const struct command *c);

/* Print "weft: error text" and return the exit code that fits its kind. */
int command_failed(const struct err *err);
/* Print every finding to standard error, one a line; the first becomes the err. Returns -1. */
struct findings;
int command_findings(const struct findings *f, struct err *err);

/* What to run next, for people: by systemd where it runs and the unit is installed. "weft-agent" gives
 * "systemctl enable --now weft-agent", else `otherwise`. */
const char *command_start_hint(const char *unit, const char *otherwise);

/* Where things are, by flag, environment and default (in this order): the flag's name is e.g.
 * "state-dir", the variable WEFT_STATE_DIR. */
bool args_path_is_default(const struct args *a, const char *flag, const char *variable);
const char *args_path(const struct args *a, const char *flag, const char *variable,
                      const char *otherwise);

/* Command tables of the programs. complete.c and manual.c write shell completion and manual pages
 * from them: a placeholder of `usage` or of a flag's `value` (KIND, HOST, FILE, ...) says what may
 * stand there. */
extern const struct command server_commands[];
extern const size_t server_command_count;
extern const struct command agent_commands[];
extern const size_t agent_command_count;
extern const struct command ctl_commands[];
extern const size_t ctl_command_count;

/* What `get` shows besides documents; NULL past the end. */
const char *ctl_list_name(size_t i);

/* commands.c: all of them, in the order of help. */
const struct command *command_at(size_t i); /* NULL past the end */
bool command_is_hidden(const struct command *c); /* for programs, not for people */
/* Do the words of `name` stand at the front of argv? Returns how many, 0 for no. */
int command_match(const char *name, int argc, char *const *argv);
const char *exit_code_text(int code); /* NULL past the last */

int completion_run(const struct args *a); /* weft completion SHELL: complete.c */
int complete_run(const struct args *a);   /* what may stand at the cursor */
int manual_run(const struct args *a);     /* weft man [PAGE]: manual.c */
