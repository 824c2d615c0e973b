/* Every bound, its unit, and what the peer or operator sees when it is reached. */
#pragma once

/* documents */
#define LIMIT_APPLY_BYTES      (64u << 20) /* 413 with the figure */
#define LIMIT_APPLY_DOCUMENTS  20000u      /* 413 */
#define LIMIT_API_BODY_BYTES   (1u << 20)  /* every other request body: 413 */
#define LIMIT_NODE_DEPTH       64u         /* WEFT1002 at the line */
#define LIMIT_YAML_ALIAS_NODES 200000u     /* nodes made by aliases: WEFT1002 */
#define LIMIT_FINDINGS         1000u       /* later ones are counted, not listed */
#define LIMIT_INI_LINE         199u        /* bytes; inih cuts there: WEFT1002 */
#define LIMIT_NUMBER_BYTES     100u        /* of a number in what is kept as it is: WEFT1002 */
#define LIMIT_REGEX_BYTES      1024u       /* Istio's bound: WEFT1205 */

/* loop */
#define LIMIT_TURN_TASKS 4096u        /* tasks run before the loop looks at descriptors again */
#define LIMIT_TURN_BYTES (256u << 10) /* bytes one object may move in a call */

/* HTTP */
#define LIMIT_HEAD_BYTES    (60u << 10) /* request head: 431; response head: 502 */
#define LIMIT_HEADERS       100u        /* fields of a message: 431 */
#define LIMIT_METHOD_BYTES  64u         /* request method: 501 */
#define LIMIT_TARGET_BYTES  (16u << 10) /* request target: 414 */
#define LIMIT_CHUNK_EXT     1024u       /* bytes of a chunk line: 400 */
#define LIMIT_TRAILER_BYTES (8u << 10)  /* trailer section: request 431; response 502 */
#define LIMIT_LINGER_BYTES                                                                         \
    (256u << 10)                     /* read and dropped after our last answer: then not read      \
                                      */
#define LIMIT_LINGER_MS      2000    /* for the peer to read our last answer: then closed */
#define LIMIT_GRPC_MESSAGE_BYTES (4u << 10) /* of the reason in our own answers: the rest is cut */
#define LIMIT_REPORT_MS      5000    /* between counts of a long call's messages */
#define LIMIT_INFORMATIONAL  10u     /* 1xx answers before the final one: 502 */
#define LIMIT_HEAD_MS        10000   /* whole request head from its first byte: 408, close */
#define LIMIT_BODY_MS        10000   /* of a request to a gateway: at its end LIMIT_BODY_BYTES_PER_S must have come: 408, close */
#define LIMIT_BODY_BYTES_PER_S 240
#define LIMIT_IDLE_MS        3600000 /* idle keep-alive connection: closed */
#define LIMIT_DRAIN_IDLE_MS  200     /* idle one while draining: closed; answered if it asks */
#define LIMIT_WRITE_STALL_MS 300000  /* no byte accepted by a peer with output waiting: closed */

/* HTTP/2 */
#define LIMIT_H2_STREAMS      100u        /* at a time, from a client: REFUSED_STREAM; PROTOCOL_ERROR once it was told */
#define LIMIT_H2_HELD_BYTES   (1u << 20)  /* of bodies in one connection, before its credit is held back */
#define LIMIT_H2_CONTINUATION 16u         /* frames of one head: ENHANCE_YOUR_CALM */
#define LIMIT_H2_FRAMES       2000        /* without use, at once: ENHANCE_YOUR_CALM */
#define LIMIT_H2_FRAMES_PER_S 40          /* and for good */
#define LIMIT_H2_RESETS       400         /* of requests that were not answered, at once: ENHANCE_YOUR_CALM */
#define LIMIT_H2_RESETS_PER_S 40          /* and for good */
#define LIMIT_H2_STOP_MS      1000        /* for the rest of a request that was answered early: then stopped, with NO_ERROR */
#define LIMIT_H2_STOP_BYTES   (32u << 10) /* of it, where no length was said: stopped at once */
#define LIMIT_H2_FIELDS_SEEN  2000u       /* of one head, also those past its limit: ENHANCE_YOUR_CALM */

/* streams */
#define LIMIT_STREAM_HIGH  (64u << 10) /* stop reading the other side above this */
#define LIMIT_STREAM_LOW   (32u << 10) /* resume below */
#define LIMIT_REPLAY_BYTES (64u << 10) /* request body kept for retries; beyond it retries end */
#define LIMIT_HEAD_ARENA   2048u       /* bytes of an exchange's arena inside the exchange */

/* proxy */
#define LIMIT_SNIFF_MS     5000  /* first bytes on a port of unknown protocol; then opaque */
#define LIMIT_SNIFF_BYTES  4096u /* a ClientHello or request line prefix */
#define LIMIT_HANDSHAKE_MS 5000  /* TLS handshake of a downstream: closed */
#define LIMIT_CONNECT_MS   10000 /* TCP and TLS connect to an endpoint, if not configured */
#define LIMIT_PENDING_MS   5000  /* a request waits this long for a subscription: 503 */
#define LIMIT_MIRRORS      1024u   /* copies of requests under way, per worker: no more are made */
#define LIMIT_MIRROR_MS    60000   /* one of them, where the route has no timeout: dropped */
#define LIMIT_RING_POINTS  (1u << 20) /* of one set of endpoints: ringHash.minimumRingSize above it is refused */
#define LIMIT_MAGLEV_SLOTS 5000011u   /* maglev.tableSize is below it, as Istio has it */
#define LIMIT_WORKERS      64u
#define LIMIT_CONNECTIONS  65536u /* downstream connections per worker: idle ones are closed, else accept pauses */
#define LIMIT_POOL_IDLE    256u   /* idle upstream connections per cluster and worker */

/* control plane */
#define LIMIT_SYNC_FRAME_BYTES  (16u << 20) /* one message of the agent stream: session closed */
#define LIMIT_RESOURCE_BYTES    (LIMIT_SYNC_FRAME_BYTES - (1u << 20)) /* one resource within it */
#define LIMIT_OBJECT_BYTES      (4u << 20) /* one document as JSON: refused at apply */
#define LIMIT_HOSTS             20000u     /* sessions: 503 with Retry-After */
#define LIMIT_SERVICES_PER_HOST 256u
#define LIMIT_LISTENERS_PER_HOST 1024u /* [listener] sections: refused with the line */
#define LIMIT_WATCHERS          1000u
