/* JSON of a snapshot's parts. Only mesh/snapshot*.c include this.
 *
 * What is printed is what is hashed (snapshot.c), so every member that means something has its row.
 */
#pragma once

#include "mesh/base/members.h"
#include "mesh/snapshot.h"

extern const struct shape snapshot_listener_shape, snapshot_cluster_shape, snapshot_endpoints_shape, snapshot_vhost_shape;
