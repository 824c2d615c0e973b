/* gRPC-Web: browsers have no trailers, so they come as a last frame of the body, and may come in base64. The call of a browser is
 * told as a gRPC call, and its answer written as a browser reads it.
 *
 * Flow:      grpc_web_wrap puts a stream in front of the client's; whoever owns that sees gRPC alone.
 * Ownership: the stream that is returned owns the other; stream_release ends both.
 * Threads:   the codec's loop.
 * Source:    PROTOCOL-WEB.md of gRPC; which type an answer has is Envoy's rule: `accept` alone decides.
 */
#pragma once

#include "proxy/wire/stream.h"

/* `s`: a server's stream with a head, which nobody owns yet. Returns `s` itself where it is no call of gRPC-Web. */
struct stream *grpc_web_wrap(struct stream *s);
