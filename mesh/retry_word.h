/* The conditions of retryOn, by Envoy's names.
 *
 * Flow:    compile_route.c reads a rule's; proxy/orders.c those that a request asks for.
 * Threads: pure.
 */
#pragma once

#include "mesh/base/str.h"

unsigned retry_word(struct str word); /* RETRY_* of mesh/snapshot.h; 0: there is no such condition */
