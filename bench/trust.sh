#!/bin/bash
# What signing the log costs (docs/adr/0007-signed-log.md), and what changed since another
# build, such as the last one before the accounts of docs/adr/0006-accounts.md: measures the
# variants in turns on empty data, each round in the other order, and prints, as Markdown for
# docs/performance.md, medians with their range, and whether what is new is within 5 % of
# what was, and within 5 MiB: writes, reads, watch, the start until the API is ready, and the
# resident memory of all processes when nothing happens.
#
#   bench/trust.sh [ROUNDS]            default 3
#
# Environment:
#   KUBUS    the kubus binary; default bin/kubus of this repository
#   BEFORE   another build's kubus, measured as "before"; unset: none
#   FORM     allinone (default) or services
#   ONLY     default create,list,watch
#   SCALE    default 0.3
#   IDLE     seconds after the start at which memory is read; default 20
#   WITHIN   percent, default 5;  MEMORY  MiB, default 5
#   PORT     default 26443
#   OUT      folder for results and logs; default a temporary one
#   BENCH    kubus-bench; built when unset
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
rounds=${1:-3}
kubus=${KUBUS:-$here/../bin/kubus}
out=${OUT:-$(mktemp -d)}
mkdir -p "$out"
bench=${BENCH:-$out/kubus-bench}
[ -x "$bench" ] || (cd "$here" && go build -trimpath -o "$bench" ./cmd/kubus-bench)
: >"$out/results.jsonl"
printf 'gateway:\n  signing: {keyFile: "", adoptFile: ""}\n' >"$out/unsigned.yaml"
printf '{}\n' >"$out/signed.yaml"

binary=
stop() { [ -z "$binary" ] || "$binary" down --data-dir "$out/data" --purge --yes >>"$out/log" 2>&1 || true; binary=; }
trap stop EXIT

# resident memory of all processes of the instance, in MiB
memory() {
	local pid total=0 one
	for pid in $(pgrep -f -- "$out/data(/|\$| )"); do
		one=$(awk '/^VmRSS/ {print $2}' "/proc/$pid/status" 2>/dev/null || true)
		total=$((total + ${one:-0}))
	done
	awk -v kib="$total" 'BEGIN {printf "%.1f", kib / 1024}'
}

result() { # NAME FIGURE WHAT UNIT VALUE
	printf '{"server":"%s","figure":"%s","what":"%s","unit":"%s","less":true,"value":%s}\n' "$@" | tee -a "$out/results.jsonl" >&2
}

measure() { # NAME
	local begin end settings=(--settings "$out/signed.yaml")
	binary=$kubus
	case $1 in
	before) binary=$BEFORE settings=() ;; # as it came; it may know of none
	unsigned) settings=(--settings "$out/unsigned.yaml") ;;
	esac
	begin=$(date +%s%N)
	"$binary" up --nodes 0 --form "${FORM:-allinone}" --detach --data-dir "$out/data" --listen "127.0.0.1:${PORT:-26443}" --node-name bench "${settings[@]}" --kubeconfig "$out/kubeconfig" >>"$out/log" 2>&1
	end=$(date +%s%N)
	result "$1" start "start until the API is ready" s "$(awk -v ns=$((end - begin)) 'BEGIN {printf "%.2f", ns / 1e9}')"
	sleep "${IDLE:-20}"
	result "$1" idle-memory "idle, all processes" MiB "$(memory)"
	"$bench" run -name "$1" -kubeconfig "$out/kubeconfig" -only "${ONLY:-create,list,watch}" -scale "${SCALE:-0.3}" -out "$out/results.jsonl" >&2
	stop
}

variants="unsigned signed"
[ -z "${BEFORE:-}" ] || variants="before $variants"
for round in $(seq "$rounds"); do
	order=$variants
	[ $((round % 2)) = 1 ] || order=$(printf '%s\n' $variants | tac)
	for name in $order; do measure "$name"; done
done
bounds=(-within "${WITHIN:-5}" -memory "${MEMORY:-5}")
echo
echo "Signing ($rounds rounds, ${FORM:-allinone}, scale ${SCALE:-0.3}, $(nproc) cores, load $(cut -d ' ' -f 1 /proc/loadavg) at the end):"
echo
"$bench" verdict -base unsigned -other signed "${bounds[@]}" "$out/results.jsonl"
if [ -n "${BEFORE:-}" ]; then
	echo
	echo "Since $("$BEFORE" version 2>/dev/null | head -1 || echo "the other build"):"
	echo
	"$bench" verdict -base before -other signed "${bounds[@]}" "$out/results.jsonl"
fi
echo "results: $out/results.jsonl" >&2
