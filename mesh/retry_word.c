#include "mesh/retry_word.h"

#include "mesh/snapshot.h"

unsigned retry_word(struct str word)
{
    static const struct {
        const char *word;
        unsigned bit;
    } words[] = {
        {"connect-failure",        RETRY_CONNECT_FAILURE     },
        {"refused-stream",         RETRY_REFUSED_STREAM      },
        {"reset",                  RETRY_RESET               },
        {"5xx",                    RETRY_5XX                 },
        {"gateway-error",          RETRY_GATEWAY_ERROR       },
        {"retriable-status-codes", RETRY_STATUS_CODES        },
        {"reset-before-request",   RETRY_RESET_BEFORE_REQUEST},
        {"retriable-4xx",          RETRY_RETRIABLE_4XX       },
        {"cancelled",              RETRY_GRPC_CANCELLED      },
        {"deadline-exceeded",      RETRY_GRPC_DEADLINE       },
        {"internal",               RETRY_GRPC_INTERNAL       },
        {"resource-exhausted",     RETRY_GRPC_RESOURCE       },
        {"unavailable",            RETRY_GRPC_UNAVAILABLE    },
        {"envoy-ratelimited",      RETRY_ENVOY_RATELIMITED   },
        {"retriable-headers",      RETRY_HEADERS             },
    };

    for (size_t i = 0; i < COUNT(words); i++) {
        if (str_eq(word, str_from(words[i].word)))
            return words[i].bit;
    }
    return 0;
}
