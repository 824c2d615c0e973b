#include "mesh/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 4096 /* with the newline; PIPE_BUF, so that lines of threads do not mix */

enum log_level log_level = LOG_INFO;

static const char *program; /* set before threads start */

static const struct {
    struct str name;
    const char *printed;
} levels[] = {
    [LOG_ERROR] = {STR_INIT("error"), "ERROR"},
    [LOG_WARN] = {STR_INIT("warn"),  "WARN" },
    [LOG_INFO] = {STR_INIT("info"),  "INFO" },
    [LOG_DEBUG] = {STR_INIT("debug"), "DEBUG"},
};

bool log_level_parse(struct str s, enum log_level *out)
{
    for (size_t i = 0; i < COUNT(levels); i++) {
        if (str_eq_nocase(s, levels[i].name)) {
            *out = (enum log_level)i;
            return true;
        }
    }
    return false;
}

void log_name(const char *name)
{
    program = name;
}

/* The journal stamps lines itself. Asked once; the answer is the same in every thread. */
static bool wants_time(void)
{
    static atomic_int known; /* 0 not asked, 1 yes, 2 no */
    int answer = atomic_load_explicit(&known, memory_order_relaxed);

    if (answer == 0) {
        answer = getenv("JOURNAL_STREAM") ? 2 : 1;
        atomic_store_explicit(&known, answer, memory_order_relaxed);
    }
    return answer == 1;
}

static size_t print_front(char *line, size_t room, enum log_level level)
{
    struct timespec now;
    struct tm tm;
    size_t n = 0;

    if (wants_time()) {
        clock_gettime(CLOCK_REALTIME, &now);
        gmtime_r(&now.tv_sec, &tm);
        n = strftime(line, room, "%Y-%m-%dT%H:%M:%S", &tm);
        n += (size_t)snprintf(line + n, room - n, ".%03dZ ", (int)(now.tv_nsec / 1000000));
    }
    n += (size_t)snprintf(line + n, room - n, "%s%.40s%s ", levels[level].printed,
                          program ? " " : "", program ? program : "");
    return n;
}

/* Copy with control characters written as \n, \t, \xNN; stops when the line is full. */
static size_t add_escaped(char *line, size_t n, const char *text)
{
    static const char digits[] = "0123456789abcdef";

    for (; *text && n + 5 < LINE_MAX_BYTES; text++) {
        unsigned char c = (unsigned char)*text;

        if (c >= 0x20 && c != 0x7F) {
            line[n++] = *text;
            continue;
        }
        line[n++] = '\\';
        if (c == '\n' || c == '\t' || c == '\r') {
            line[n++] = c == '\n' ? 'n' : c == '\t' ? 't' : 'r';
        } else {
            line[n++] = 'x';
            line[n++] = digits[c >> 4];
            line[n++] = digits[c & 15];
        }
    }
    return n;
}

void log_line(enum log_level level, const char *fmt, ...)
{
    char line[LINE_MAX_BYTES], text[LINE_MAX_BYTES];
    int saved = errno; /* callers log and then look at errno */
    size_t n = print_front(line, sizeof(line), level);
    ssize_t written;
    va_list ap;

    errno = saved;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    n = add_escaped(line, n, text);
    line[n++] = '\n';
    do {
        written = write(STDERR_FILENO, line, n);
    } while (written < 0 && errno == EINTR);
    errno = saved;
}
