/* Certificates that rules name beside those of the mesh (snapshot.h, struct tls_material): files,
 * read when a rule comes into force and again when they change, and texts of Credentials.
 *
 * Flow:      agent.c shows every snapshot before the proxy gets it, and again when the proxy has it; what was read
 *            goes to proxy_set_creds under the material's key, and is dropped when two in force did not need it.
 * Errors:    are logged once, with the file; requests that need it fail until it is there. A file
 *            that becomes unusable leaves the last good one in force.
 * Threads:   the control thread.
 */
#pragma once

#include "mesh/base/err.h"

struct loop;
struct proxy;
struct snapshot;
struct tls_files;

struct tls_files *tls_files_new(struct loop *l, struct proxy *p);
void tls_files_free(struct tls_files *f); /* NULL is fine */

/* Read what this snapshot needs and was not read yet. */
void tls_files_need(struct tls_files *f, const struct snapshot *s);
/* It is in force: look after what it needs. What neither it nor the one before it needs is dropped: requests under way may
 * still try again by the one before. */
void tls_files_keep(struct tls_files *f, const struct snapshot *s);
/* Look whether a file has changed; the timer does it every TLS_FILES_LOOK_MS. */
void tls_files_look(struct tls_files *f);

#define TLS_FILES_LOOK_MS 5000
