#!/bin/bash
# Runs upstream's conformance suite against a cluster of its own on this machine and
# writes the tables of docs/conformance.md. Exit 0 says that the suite ran, that no
# process of the cluster died and that nothing was left in it, not that all passed.
#
#   test/conformance/run.sh [FOCUS]     default: every [Conformance] test
#
# Environment:
#   SUITE_DIR   folder with run.sh, which runs the suite against a kubeconfig
#   SUITE_BIN   upstream's e2e.test, ginkgo and kubectl
#   REGISTRY    where the suite's images are; default 127.0.0.1:5000
#   KUBUS       the kubus binary; default bin/kubus of this repository
#   OUT         folder for reports and logs; default a temporary one
#   NODES       nodes of the cluster; default 1. With more, REGISTRY must be an address that all nodes reach
#   LISTEN      address of the API; default kubus up's own
#   PAGE        the page to write; default docs/conformance.md, "" writes none
#   PROCS, TIMEOUT, PHASES  as the suite's run.sh
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
: "${SUITE_DIR:?folder with the run.sh of the suite}" "${SUITE_BIN:?folder with e2e.test, ginkgo and kubectl}"
kubus=${KUBUS:-$root/bin/kubus}
page=${PAGE-$root/docs/conformance.md}
out=${OUT:-$(mktemp -d)}
data=$out/data
focus=${1:-'\[Conformance\]'}
mkdir -p "$out/reports"

stop() { "$kubus" down --data-dir "$data" --purge --yes; }
trap stop EXIT
registry=${REGISTRY:-127.0.0.1:5000}
echo "agent: {insecureRegistries: [\"$registry\"]}" > "$out/settings.yaml"
"$kubus" up --data-dir "$data" --kubeconfig "$out/kubeconfig" --node-name conformance --nodes "${NODES:-1}" \
	--settings "$out/settings.yaml" ${LISTEN:+--listen "$LISTEN"} --detach

for phase in ${PHASES:-parallel serial}; do
	PHASES=$phase PROCS=${PROCS:-8} TIMEOUT=${TIMEOUT:-60m} REGISTRY=$registry \
		"$SUITE_DIR/run.sh" "$out/kubeconfig" "$SUITE_BIN/e2e.test" "$out/reports/$phase" "$focus" || true
done
if [ -n "$page" ]; then
	(cd "$here" && go run . -write "$page" "$out"/reports/*/)
else
	(cd "$here" && go run . "$out"/reports/*/)
fi

k() { "$kubus" kubectl --data-dir "$data" "$@"; }
failed=0
"$kubus" status --data-dir "$data" || failed=1
restarts=$("$kubus" status --data-dir "$data" -o json | grep -o '"restarts": *[0-9]*' | grep -vc ': *0$' || true)
[ "$restarts" = 0 ] || { echo "a process of the cluster died and was started again" >&2; failed=1; }
left=$(k get namespaces -o name | grep -vxE 'namespace/(default|kube-system|kube-public|kube-node-lease)' || true)
[ -z "$left" ] || { echo "left behind: $left" >&2; failed=1; }
pods=$(k get pods --all-namespaces -o name)
[ -z "$pods" ] || { echo "left behind: $pods" >&2; failed=1; }
exit $failed
