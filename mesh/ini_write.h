/* Text of INI, as ini.h, ini_node.h and ini_doc.h read it. */
#pragma once

#include "mesh/base/buf.h"
#include "mesh/base/node.h"

/* A value behind "key = ", for which `used` bytes of the line are gone: plain where that reads back
 * as the same, else in quotes, in as many lines as it needs. No newline behind. */
void ini_write_value(struct str text, size_t used, struct buf *out);

/* A document as encode_object() makes it. What has more than one element or much in it gets
 * sections; a list that no section can name and a key that no line can hold are written as JSON,
 * with all that surrounds the key. false and nothing written if its kind is not known here. */
bool ini_write_document(const struct node *root, struct buf *out);
