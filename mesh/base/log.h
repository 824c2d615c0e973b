/* Events for people: one line each, "LEVEL message key=value ...", on standard error.
 *
 * error: someone must act. warn: we carry on, and the line says how. info: life cycle.
 * debug: transitions. The level is tested before arguments are evaluated.
 * Control characters of the message are escaped, so that one event is one line.
 * Threads: any.
 */
#pragma once

#include "mesh/base/base.h"
#include "mesh/base/str.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

extern enum log_level log_level; /* the one global: set at start or by the admin page */

bool log_level_parse(struct str s, enum log_level *out) MUST_USE;
void log_name(const char *program); /* printed in front; default none */
void log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define LOG_AT(level, ...)                                                                         \
    do {                                                                                           \
        if ((level) <= log_level)                                                                  \
            log_line((level), __VA_ARGS__);                                                        \
    } while (0)
#define log_error(...) LOG_AT(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  LOG_AT(LOG_WARN, __VA_ARGS__)
#define log_info(...)  LOG_AT(LOG_INFO, __VA_ARGS__)
#define log_debug(...) LOG_AT(LOG_DEBUG, __VA_ARGS__)
