#!/bin/bash
# Runs the differential test against servers of its own: upstream's etcd and kube-apiserver,
# with the two controllers of kube-controller-manager whose work is the gateway's own here,
# and the gateway as `kubus envtest` starts it, with the same keys and the same flags.
#
#   UPSTREAM_BIN=… test/differential/run.sh [FLAGS of kubus-differential]
#   UPSTREAM_BIN=… test/differential/run.sh -- COMMAND…
#
# Without FLAGS it asks everything and writes docs/differential.md. A COMMAND finds the
# kubeconfigs in UPSTREAM and KUBUS.
# UPSTREAM_BIN holds upstream's etcd, kube-apiserver and kube-controller-manager of the version that is served; BIN
# (default bin/) kubus, kubectl and kubus-differential; OUT (default a temporary folder) keys,
# data and logs. Ports: 28443, 28379, 28257 upstream's, 29443, 29379 ours.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
: "${UPSTREAM_BIN:?folder with upstream\'s etcd, kube-apiserver and kube-controller-manager}"
bin=${BIN:-$root/bin}
out=${OUT:-$(mktemp -d)}
mkdir -p "$out/pki"
cd "$out/pki"

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key" 2> /dev/null; }
cert() { # NAME SUBJECT EXTENSIONS
	key "$1"
	openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
	openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile <(printf '%b' "$3") -out "$1.crt" 2> /dev/null
}
if [ ! -e admin.crt ]; then
	key ca
	openssl req -x509 -new -key ca.key -subj /CN=differential -days 2 -out ca.crt 2> /dev/null
	cert server /CN=kube-apiserver 'subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:kubernetes.default.svc\nextendedKeyUsage=serverAuth'
	cert admin /O=system:masters/CN=admin 'extendedKeyUsage=clientAuth'
	key sa
	openssl ec -in sa.key -pubout -out sa.pub 2> /dev/null
fi
kubeconfig() { # NAME PORT
	cat > "$out/$1.kubeconfig" <<-END
		apiVersion: v1
		kind: Config
		clusters: [{name: c, cluster: {server: "https://127.0.0.1:$2", certificate-authority: $out/pki/ca.crt}}]
		users: [{name: u, user: {client-certificate: $out/pki/admin.crt, client-key: $out/pki/admin.key}}]
		contexts: [{name: x, context: {cluster: c, user: u}}]
		current-context: x
	END
}
pids=()
answers() { # PID COMMAND...: waits until the command does well, as long as the process lives
	local pid=$1
	shift
	until "$@" > /dev/null 2>&1; do
		kill -0 "$pid" 2> /dev/null || { echo "a server ended: see $out" >&2; exit 1; }
		sleep 0.2
	done
}
stop() { # the last first: a server does not end well without its store
	for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
		kill "${pids[i]}" 2> /dev/null && wait "${pids[i]}" || true
	done
}
trap stop EXIT
serve() { # NAME FOLDER API-PORT ETCD-PORT
	kubeconfig "$1" "$3"
	rm -rf "$out/$1"
	"$2/etcd" --data-dir "$out/$1" --listen-client-urls "http://127.0.0.1:$4" --advertise-client-urls "http://127.0.0.1:$4" \
		--listen-peer-urls "http://127.0.0.1:$(($4 + 1))" > "$out/$1-etcd.log" 2>&1 &
	pids+=($!)
	answers $! curl -sf "http://127.0.0.1:$4/health"
	"$2/kube-apiserver" --bind-address 127.0.0.1 --secure-port "$3" --etcd-servers "http://127.0.0.1:$4" --service-cluster-ip-range 10.96.0.0/16 \
		--tls-cert-file server.crt --tls-private-key-file server.key --client-ca-file ca.crt \
		--service-account-signing-key-file sa.key --service-account-key-file sa.pub --service-account-issuer https://kubernetes.default.svc \
		--authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction --allow-privileged --endpoint-reconciler-type none > "$out/$1.log" 2>&1 &
	pids+=($!)
	answers $! curl -sf --cacert ca.crt --cert admin.crt --key admin.key "https://127.0.0.1:$3/readyz"
}
serve upstream "$UPSTREAM_BIN" 28443 28379
"$UPSTREAM_BIN/kube-controller-manager" --kubeconfig "$out/upstream.kubeconfig" --leader-elect=false --bind-address 127.0.0.1 --secure-port 28257 \
	--authentication-skip-lookup --controllers clusterrole-aggregation-controller,validatingadmissionpolicy-status-controller > "$out/controllers.log" 2>&1 &
pids+=($!)
aggregated() { # ROLE: it has rules
	curl -sf --cacert ca.crt --cert admin.crt --key admin.key "https://127.0.0.1:28443/apis/rbac.authorization.k8s.io/v1/clusterroles/$1" | grep -q '"verbs"'
}
for role in view edit admin; do answers $! aggregated "$role"; done
serve kubus "$("$bin/kubus" envtest "$out/assets")" 29443 29379

if [ "${1:-}" = -- ]; then
	shift
	UPSTREAM=$out/upstream.kubeconfig KUBUS=$out/kubus.kubeconfig "$@"
	exit
fi
[ $# -gt 0 ] || set -- -write "$root/docs/differential.md"
cd "$root"
"$bin/kubus-differential" -upstream "$out/upstream.kubeconfig" -kubus "$out/kubus.kubeconfig" "$@"
