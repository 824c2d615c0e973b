/* JSON, RFC 8259: strict reader (UTF-8 checked, duplicate names refused, depth and size bounded)
 * and deterministic writer. Sources of verdicts: JSONTestSuite. */
#pragma once

#include "mesh/base/buf.h"
#include "mesh/base/node.h"

/* Parse one value with nothing behind it. Texts that need no unescaping point into `text`, which
 * must live as long as the arena. On bad input one finding is added and -1 returned. */
int json_parse(struct str text, struct str file, struct arena *a, struct node **out,
               struct findings *f) MUST_USE;

/* The same for messages and API answers, where one err is enough. */
int json_read(struct str text, struct arena *a, struct node **out, struct err *err) MUST_USE;

/* indent 0 is one line without blanks; otherwise that many spaces a level. Order is kept. */
void json_write(const struct node *n, unsigned indent, struct buf *out);
