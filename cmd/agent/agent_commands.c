/* The command line of the agent, and its commands that run for a moment. */
#include "cmd/agent/agent_parts.h"

#include <stdio.h>

#include "cmd/agent/capture.h"
#include "cmd/agent/guard.h"
#include "cmd/agent/join.h"
#include "cmd/owner.h"
#include "mesh/base/log.h"

static int release_run(const struct args *args)
{
    bool all = args_has(args, "all"), removed;
    struct err err = {0};

    if (capture_release(all, &removed, &err) < 0)
        return err.code == ERR_CONFLICT && args_has(args, "unless-alive") ? EXIT_DONE
                                                                          : command_failed(&err);
    if (removed)
        printf("removed what a dead agent left: %s\n",
               all ? "redirects, guard, routes" : "redirects; the guard stays");
    return EXIT_DONE;
}

/* With settings that cannot be read the agent will not start: all the more the ports are closed. */
static int guard_run(const struct args *args)
{
    struct agent_settings s = {.capture = CAPTURE_AUTO};
    struct capture_plan plan;
    struct err err = {0};
    char dir[4096];
    int rc;

    (void)snprintf(dir, sizeof(dir), "%s/agent",
                   args_path(args, "state-dir", "WEFT_STATE_DIR", STATE_DIR));
    capture_plan_init(&plan);
    if (agent_settings_read(args_path(args, "config-dir", "WEFT_CONFIG_DIR", CONFIG_DIR), dir,
                            SOCKET_PATH, NULL, &s, &err)) {
        log_warn("the guard goes by defaults: %s", err.text);
    } else {
        plan.outbound_port = s.outbound.port;
        plan.inbound_port = s.inbound.port;
    }
    rc = guard_restore(dir, s.capture, &plan, &err);
    agent_settings_done(&s);
    if (rc < 0)
        return err.code == ERR_CONFLICT ? EXIT_DONE : command_failed(&err);
    if (plan.inbound_count)
        printf("STRICT ports closed until an agent serves: %zu\n", plan.inbound_count);
    return EXIT_DONE;
}

/* ---- commands ---- */

static const struct flag join_flags[] = {
    {"token-file", 'f', FLAG_TEXT,   "FILE",
     "Read the token from a file, or - for standard input (argv shows in ps)."                            },
    {"name",       0,   FLAG_TEXT,   "NAME", "Name of this host in the mesh (default: its host name)."    },
    {"address",    0,   FLAG_TEXT,   "IP",   "How others reach this host (default: what the server sees)."},
    {"state-dir",  0,   FLAG_TEXT,   "DIR",
     "Key and certificates go to DIR/agent (default /var/lib/weft, or $WEFT_STATE_DIR)."                  },
    OWNER_FLAG,
    {"again",      0,   FLAG_SWITCH, NULL,   "Join although this host is a member already."               },
};

static const struct flag agent_flags[] = {
    {"config-dir", 0, FLAG_TEXT,   "DIR",
     "agent.ini and services.d/ (default /etc/weft, or $WEFT_CONFIG_DIR)."            },
    {"state-dir",  0, FLAG_TEXT,   "DIR",
     "Key, certificates, last good state (default /var/lib/weft, or $WEFT_STATE_DIR)."},
    {"socket",     0, FLAG_TEXT,   "PATH",
     "Local pages (default /run/weft/agent.sock, or $WEFT_AGENT_SOCKET)."             },
    {"standalone", 0, FLAG_TEXT,   "DIR",
     "No server and no join: documents (*.yaml, *.json, *.ini), certs/, agent.ini and services.d/ "
     "are in DIR."                                                                    },
    {"debug",      0, FLAG_SWITCH, NULL,   "Log every step."                          },
};

static const struct flag guard_flags[] = {
    {"config-dir", 0, FLAG_TEXT, "DIR",
     "agent.ini says how to capture (default /etc/weft, or $WEFT_CONFIG_DIR)."           },
    {"state-dir",  0, FLAG_TEXT, "DIR",
     "DIR/agent/guard.json says which ports (default /var/lib/weft, or $WEFT_STATE_DIR)."},
};

static const struct flag release_flags[] = {
    {"all",          0, FLAG_SWITCH, NULL,
     "Remove the guard and the routes too: STRICT ports are then open to plaintext."},
    {"unless-alive", 0, FLAG_SWITCH, NULL,
     "An agent that is alive is no conflict: say nothing, exit code 0."             },
};

const struct command agent_commands[] = {
    {"join",          "[flags] [TOKEN]", "Make this host a member of the mesh.",
     "The server prints a token: weft token create. The host trusts nothing but the pin in it.\n\n"
     "  weft join weft1....\n  weft join --token-file /etc/weft/join-token", join_flags,    COUNT(join_flags),    0, 1, join_run   },
    {"agent run",     "[flags]",         "Run the data plane of this host in the foreground.",
     "Services are read from CONFIG/services.d/NAME.ini, again on SIGHUP:\n\n"
     "  [service reviews]\n  port = 9080\n  protocol = http\n  version = v1\n\n"
     "From files alone, loaded again when they change (a set with an error is refused, what runs "
     "stays):\n\n"
     "  weft agent run --standalone /etc/weft/edge",                         agent_flags,   COUNT(agent_flags),   0, 0, agent_run  },
    {"agent guard",   "[flags]",         "Close the STRICT ports of this host until an agent serves.",
     "weft-guard-boot.service runs it at boot, before the network is up: ports that were STRICT "
     "when "
     "an agent\nlast ran refuse connections from other hosts. Once an agent is alive nothing is "
     "touched.",                                                             guard_flags,   COUNT(guard_flags),   0, 0, guard_run  },
    {"agent release", "[flags]",         "Remove the redirects that a dead agent left on this host.",
     "The agent's unit runs it after every end of the agent, weft-guard.service at boot, each "
     "minute, and\nwhen the agent's unit has failed for good. Nothing there is fine; while an "
     "agent "
     "is alive nothing is\ntouched (exit code 5). Without --all, STRICT ports stay closed to "
     "plaintext and virtual addresses\nrefused.",                            release_flags, COUNT(release_flags), 0, 0, release_run},
};
const size_t agent_command_count = COUNT(agent_commands);
