/* Why it ended: one row per reason (outcome.def), and Envoy's response flags.
 *
 * Flow:    conn, exchange, attempt and tunnel end with one outcome, the first wins; access.c and
 * metrics.c print it. Threads: any; constant tables.
 */
#pragma once

#include "mesh/base/base.h"
#include "mesh/base/str.h"

enum outcome {
#define OUTCOME(name, flag, status, details, is_error, body, text) OUTCOME_##name,
#include "proxy/outcome.def"
#undef OUTCOME
    OUTCOMES
};

/* Response flags as bits, in the order in which Envoy prints them. */
enum response_flag {
    RF_NONE = 0,
    RF_UH = 1 << 0,
    RF_UT = 1 << 1,
    RF_LR = 1 << 2,
    RF_UR = 1 << 3,
    RF_UF = 1 << 4,
    RF_UC = 1 << 5,
    RF_UO = 1 << 6,
    RF_NR = 1 << 7,
    RF_DC = 1 << 8,
    RF_URX = 1 << 9,
    RF_SI = 1 << 10,
    RF_IH = 1 << 11,
    RF_DPE = 1 << 12,
    RF_UPE = 1 << 13,
    RF_NC = 1 << 14,
    RF_UDO = 1 << 15,
    RF_DI = 1 << 16,
    RF_FI = 1 << 17,
    RF_DT = 1 << 18,
    RF_RL = 1 << 19,
};

#define RESPONSE_FLAGS_TEXT 80 /* all of them joined, with the NUL */

const char *outcome_name(enum outcome o);
unsigned outcome_flag(enum outcome o);
unsigned outcome_status(enum outcome o);
const char *outcome_details(enum outcome o);
bool outcome_is_error(enum outcome o);
const char *outcome_body(enum outcome o);
const char *outcome_text(enum outcome o);

/* "UF,URX", or "-" for none. `text` has RESPONSE_FLAGS_TEXT bytes; returns it. */
const char *response_flags_format(unsigned flags, char *text);
