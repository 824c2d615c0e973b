# weft agent run --standalone (WEFT_BIN to pick a binary). Features: tls12 (mutual TLS 1.2 with tickets, weft's own way; the
# other end must speak it: haproxy@tls12), accesslog. Without it every TLS 1.3 handshake is full, tcp-resume too.
# Key exchange is P-256 whatever GROUP says; GROUP=P-256 makes the others do the same.
: "${WEFT_BIN:=$BENCH/../../build/release/weft}"
c_version() { "$WEFT_BIN" version; }
c_supports() {
  case $1 in
    edge) return 1;;                # a Gateway with TLS is not written here yet
    tcp) ! has tls12 || return 1;;  # it resumes by ticket: those would not be full handshakes
  esac
  return 0
}

_protocol() { if is_tcp; then echo TCP; elif [ "$MODE" = http2 ]; then echo HTTP2; else echo HTTP; fi; }

# A service with one place where it is: NAME HOST PORT [ACCOUNT]; with an account, an agent stands there.
_entry() {
  cat <<D
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: $1, namespace: default}
spec:
  hosts: [$2]
  location: $([ -n "$4" ] && echo MESH_INTERNAL || echo MESH_EXTERNAL)
  resolution: STATIC
  ports: [{number: 80, name: main, protocol: $(_protocol)}]
  endpoints: [{address: 127.0.0.1, ports: {main: $3}$([ -n "$4" ] && echo ", serviceAccount: $4, labels: {security.istio.io/tlsMode: istio}")}]
D
}

_strict() {
  cat <<D
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
D
}

_cert() { install -m 600 "$CERTS/$1.key" "$RUN/dir/certs/$1.key"; cp "$CERTS/$1.crt" "$RUN/dir/certs/"; cp "$CERTS/ca.pem" "$RUN/dir/certs/roots.pem"; }

c_conf() {
  if [ "${GEN:-0}" != 0 ]; then _routes "$ROUTES" > "$RUN/routes.next"; return; fi
  rm -rf "$RUN/dir"; mkdir -p "$RUN/dir/certs" "$RUN/dir/services.d"
  cat > "$RUN/dir/agent.ini" <<D
[agent]
workers = $WORKERS
admin = off
metrics = off
health = off
mesh_tls = $(has tls12 && echo 1.2 || echo 1.3)
access_log = $(has accesslog && echo "$RUN/access.log" || echo off)
D
  if [ "$ROLE" = in ]; then
    tls_in && { _cert server; _strict > "$RUN/dir/strict.yaml"; }
    printf '[service server]\nlisten = 127.0.0.1:%s\nport = %s\nprotocol = %s\n' "$LISTEN" "$NEXT" \
      "$(is_tcp && echo tcp || echo http)" > "$RUN/dir/services.d/server.ini"
    return
  fi
  tls_out && _cert client
  printf '[listener main]\nbind = 127.0.0.1:%s\n' "$LISTEN" > "$RUN/dir/services.d/main.ini"
  if [ "$MODE" = routes ]; then
    _routes "$ROUTES" > "$RUN/dir/routes.yaml"
  else
    echo "service = $SNI:80" >> "$RUN/dir/services.d/main.ini"
    _entry next "$SNI" "$NEXT" "$(tls_out && echo server)" > "$RUN/dir/next.yaml"
  fi
}

_routes() {
  awk -v n="$1" -v p="$NEXT" -v g="${GEN:-0}" 'BEGIN{for(i=0;i<=n;i++) {
    name = i<n ? "svc" i : "gen" g
    printf "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: %s, namespace: default}\n",name
    printf "spec:\n  hosts: [%s.mesh.test]\n  location: MESH_EXTERNAL\n  resolution: STATIC\n",name
    printf "  ports: [{number: 80, name: main, protocol: HTTP}]\n  endpoints: [{address: 127.0.0.1, ports: {main: %d}}]\n",p}}'
}

c_reload() { [ ! -e "$RUN/routes.next" ] || mv "$RUN/routes.next" "$RUN/dir/routes.yaml"; }   # the folder is watched

c_start() { exec "$WEFT_BIN" agent run --standalone "$RUN/dir" --socket "$RUN/agent.sock"; }
