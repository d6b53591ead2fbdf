#!/bin/bash
# What signing the log costs (docs/adr/0007-signed-log.md), and what changed since another
# build: measures the variants in turns on empty data, and prints one table and, of each
# start, the seconds until the API is ready and the resident memory 20 s later.
#
#   bench/trust.sh [ROUNDS]            default 3
#
# Environment:
#   KUBUS    the kubus binary; default bin/kubus of this repository
#   BEFORE   another build's kubus, measured as "before"; unset: none
#   ONLY     default create,list,watch
#   SCALE    default 0.3
#   IDLE     seconds after the start at which memory is read; default 20
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

measure() { # NAME BINARY SETTINGS
	local begin end pid
	binary=$2
	begin=$(date +%s.%N)
	"$2" up --nodes 0 --detach --data-dir "$out/data" --listen "127.0.0.1:${PORT:-26443}" --node-name bench --settings "$3" --kubeconfig "$out/kubeconfig" >>"$out/log" 2>&1
	end=$(date +%s.%N)
	sleep "${IDLE:-20}"
	pid=$(pgrep -f "serve --data-dir $out/data\$" | head -1)
	printf '%s: ready after %.2f s, %d MiB\n' "$1" "$(echo "$end - $begin" | bc)" $(($(awk '/VmRSS/ {print $2}' "/proc/$pid/status") / 1024)) | tee -a "$out/starts" >&2
	"$bench" run -name "$1" -kubeconfig "$out/kubeconfig" -only "${ONLY:-create,list,watch}" -scale "${SCALE:-0.3}" -out "$out/results.jsonl" >&2
	stop
}

for round in $(seq "$rounds"); do
	[ -z "${BEFORE:-}" ] || measure before "$BEFORE" "$out/signed.yaml"
	measure unsigned "$kubus" "$out/unsigned.yaml"
	measure signed "$kubus" "$out/signed.yaml"
done
"$bench" table "$out/results.jsonl"
sort "$out/starts"
echo "results: $out/results.jsonl" >&2
