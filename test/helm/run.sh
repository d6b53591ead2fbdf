#!/bin/bash
# Holds Helm's own library against a control plane without nodes, which it starts and ends.
#
#   test/helm/run.sh [FLAGS of go test]
#
# BIN (default bin/) holds kubus and what it starts; LISTEN (default 127.0.0.1:7443) is the API's address.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
bin=${BIN:-$root/bin}
out=$(mktemp -d)
stop() { "$bin/kubus" down --purge --yes --data-dir "$out/data" > /dev/null; rm -rf "$out"; }
trap stop EXIT
"$bin/kubus" up --nodes 0 --detach --data-dir "$out/data" --listen "${LISTEN:-127.0.0.1:7443}" --kubeconfig "$out/kubeconfig" > /dev/null
cd "$root/test/helm"
export HELM_CACHE_HOME="$out/helm" HELM_CONFIG_HOME="$out/helm" HELM_DATA_HOME="$out/helm"
if [ -n "${TEST:-}" ]; then # a test binary that was built before
	"$TEST" -test.v -kubeconfig "$out/kubeconfig" "$@"
else
	GOWORK=off go test -count=1 -v . -kubeconfig "$out/kubeconfig" "$@"
fi
