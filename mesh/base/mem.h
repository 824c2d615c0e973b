/* Heap memory that is always there: out of memory ends the process, because sizes are bounded
 * before anything is allocated.
 *
 * Threads: any.
 */
#pragma once

#include "mesh/base/base.h"

void *mem_alloc(size_t bytes);  /* not cleared; 0 bytes gives a pointer too */
void *mem_zalloc(size_t bytes); /* cleared */
void *mem_realloc(void *p, size_t bytes);
void *mem_array(size_t count, size_t size); /* cleared; checks overflow */
void mem_free(void *p);                     /* NULL is fine */

#define MEM_NEW(type) ((type *)mem_zalloc(sizeof(type)))
