#!/bin/bash
# Measures Kubus and upstream Kubernetes in turns on this machine, each on empty
# data, with the same client, and prints one table.
#
#   bench/compare.sh [ROUNDS]          default 3
#
# Environment:
#   UPSTREAM_DIR   folder with upstream's control-up.sh and build.sh; unset: Kubus alone
#   UPSTREAM_BIN   upstream's binaries; default UPSTREAM_DIR/bin, built when missing
#   KUBUS          the kubus binary; default bin/kubus of this repository
#   ONLY, SCALE, NODES  as kubus-bench's -only, -scale and -nodes; default all, 1, 100
#   KEEP           1: what a figure made is left, as each side is thrown away: for one figure a run
#   FORM           of kubus up: allinone, or services, which the figure memory needs
#   UPFLAGS        of kubus up; default --nodes 0
#   OUT            folder for results and logs; default a temporary one
#
# Beside the figures of kubus-bench, each side's start on empty data is told: of upstream
# kube-apiserver's alone until /readyz is well, of Kubus all of kubus up --detach.
# Upstream runs with TUNED=1 (no client-side limits) and etcd with fsync, Kubus with
# --nodes 0 and fsync on every acknowledged write. Nothing else should run meanwhile.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
rounds=${1:-3}
kubus=${KUBUS:-$here/../bin/kubus}
out=${OUT:-$(mktemp -d)}
only=${ONLY-ready,create,list,table,watch,schedule,job,namespace}
export KUBECTL=${KUBECTL:-$(dirname "$kubus")/kubectl}
mkdir -p "$out"
bench=$out/kubus-bench
(cd "$here" && go build -trimpath -o "$bench" ./cmd/kubus-bench)
: >"$out/results.jsonl"

started=
state=$out/upstream
stop() {
	case $started in
	kubus) "$kubus" down --data-dir "$out/data" --purge --yes >>"$out/kubus.log" 2>&1 || true ;;
	upstream) STATE=$state "$UPSTREAM_DIR/control-up.sh" stop ;;
	esac
	started=
}
trap stop EXIT

measure() { # NAME KUBECONFIG STOP START [PID of the controllers]
	"$bench" run -name "$1" -kubeconfig "$2" -stop "$3" -start "$4" -controllers-pid "${5:-0}" -only "$only" -scale "${SCALE:-1}" -nodes "${NODES:-100}" \
		-keep="${KEEP:-0}" -out "$out/results.jsonl" >&2
}

started_in() { # NAME MILLISECONDS
	[ -z "$only" ] || [[ ,$only, == *,ready,* ]] || return 0
	echo "{\"server\":\"$1\",\"figure\":\"ready\",\"what\":\"start on empty data\",\"unit\":\"ms\",\"less\":true,\"value\":$2}" | tee -a "$out/results.jsonl" >&2
}

run_kubus() {
	local up down began
	started=kubus
	# shellcheck disable=SC2206 # flags, each a word
	local flags=(${UPFLAGS:---nodes 0})
	up="'$kubus' up ${flags[*]} --detach --form '${FORM:-allinone}' --data-dir '$out/data' --listen 127.0.0.1:26443 --node-name bench --kubeconfig '$out/kubus.kubeconfig' >>'$out/kubus.log' 2>&1"
	down="'$kubus' down --data-dir '$out/data' >>'$out/kubus.log' 2>&1"
	began=$(date +%s%N)
	sh -c "$up"
	started_in kubus $((($(date +%s%N) - began) / 1000000))
	measure kubus "$out/kubus.kubeconfig" "$down" "$up" "$(pgrep -f "kubus-controllers -config $out/data" || true)"
	stop
}

run_upstream() {
	local control="STATE='$state' TUNED=1 KEEP=1 '$UPSTREAM_DIR/control-up.sh'"
	started=upstream
	STATE=$state TUNED=1 "$UPSTREAM_DIR/control-up.sh" "$bin" >>"$out/upstream.log" 2>&1
	started_in upstream "$(cat "$state/apiserver.startup_ms")"
	measure upstream "$state/admin.kubeconfig" "$control stop" "$control '$bin' >>'$out/upstream.log' 2>&1" "$(cut -d' ' -f1 "$state/kcm.pid")"
	stop
}

if [ -n "${UPSTREAM_DIR:-}" ]; then
	bin=${UPSTREAM_BIN:-$UPSTREAM_DIR/bin}
	[ -x "$bin/kube-apiserver" ] || "$UPSTREAM_DIR/build.sh" "$(dirname "$bin")" control
fi
for round in $(seq "$rounds"); do
	echo "round $round of $rounds" >&2
	[ -z "${UPSTREAM_DIR:-}" ] || run_upstream
	run_kubus
done
"$bench" table "$out/results.jsonl"
echo "results: $out/results.jsonl" >&2
