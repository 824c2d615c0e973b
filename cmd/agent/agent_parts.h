/* What the files of the running agent share; everybody else wants cmd/agent/agent.h.
 *
 * Flow:      agent.c assembles the parts, puts every commit into force and stops; agent_host.c
 * knows who this host is and applies what concerns it (capture, names); agent_commands.c is the
 * command line.
 */
#pragma once

#include "cmd/agent/agent.h"
#include "cmd/command.h"

#define CONFIG_DIR "/etc/weft"
#define STATE_DIR "/var/lib/weft"
#define SOCKET_PATH "/run/weft/agent.sock"

enum { NOTE_SIGNAL = 1, NOTE_SAVE = 2, NOTE_CHECK = 4, NOTE_DRAIN = 8, NOTE_CAPTURE = 16 };

/* ---- agent.c ---- */

int agent_run(const struct args *args);

/* ---- agent_host.c ---- */

void agent_service_name(struct str ns, struct str name, struct buf *out);
void agent_rebuild_self(struct agent *a);
/* Read services.d into a fresh arena; on a problem the services in force stay. */
int agent_read_services(struct agent *a, struct err *err);
int agent_init_self(struct agent *a, struct err *err);
/* Of callers that belong to no service. */
void agent_name_callers(struct agent *a);
/* Hear of the end of a plan that is under way. Its descriptor is another one after a call. */
void agent_watch_capture(struct agent *a);
void agent_unwatch_capture(struct agent *a);
int agent_give_plan(struct agent *a, const struct capture_plan *p, struct err *err);
int agent_apply_capture(struct agent *a, struct err *err);
/* After a snapshot is in force; failing here is not a nack: the proxy serves, and the check tries
 * again. */
void agent_apply_host(struct agent *a);
