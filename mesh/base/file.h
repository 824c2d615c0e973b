/* Bounded reads and atomic writes of whole files. Blocking: only at start-up, on the control
 * thread for small files, and in tools. Descriptors are CLOEXEC. */
#pragma once

#include <sys/types.h>

#include "mesh/base/buf.h"
#include "mesh/base/err.h"

/* Append the file to `out` (its own maximum is the bound: ERR_LIMIT past it). "-" is stdin. */
int file_read(const char *path, struct buf *out, struct err *err);

/* Replace `path` whole: temporary file beside it, fsync, rename, fsync of the folder. The file
 * has `mode` before its first byte is written. */
int file_write(const char *path, struct str contents, mode_t mode, struct err *err);

/* Make the folder and its parents; existing ones are fine, and keep their mode. */
int file_mkdirs(const char *path, mode_t mode, struct err *err);

/* Names in a folder that end in one of `suffixes` (NULL-ended array), sorted bytewise, each from
 * malloc, the array too. *count is 0 and *names NULL for an empty folder. */
int file_list(const char *dir, const char *const *suffixes, char ***names, size_t *count,
              struct err *err);
void file_list_free(char **names, size_t count);

bool file_exists(const char *path);
