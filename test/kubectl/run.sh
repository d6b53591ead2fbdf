#!/bin/bash
# Runs kubectl's own shell suites (test/cmd of k8s.io/kubernetes, each a function that
# drives kubectl and looks at what it says) against a control plane of its own: gateway,
# controllers and scheduler, no node but the object "127.0.0.1" that upstream's script makes.
# Writes the table of docs/kubectl.md. Exit 0 says that they ran, not that all passed.
#
#   test/kubectl/run.sh [SUITE...]      default: all, in upstream's order; a name without run_ and _tests
#
# Environment:
#   SUITE_BIN  folder with kubectl-convert; without it run_convert_tests fails
#   KUBUS      the kubus binary, with kubectl beside it; default bin/kubus of this repository
#   OUT        folder for reports and logs; default a temporary one
#   PAGE       the page to write; default docs/kubectl.md where all run, "" writes none
#   LISTEN     address of the API; default 127.0.0.1:16443
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
kubus=${KUBUS:-$root/bin/kubus}
listen=${LISTEN:-127.0.0.1:16443}
page=${PAGE-$([ $# -gt 0 ] || echo "$root/docs/kubectl.md")}
out=${OUT:-$(mktemp -d)}
out=$(realpath -m "$out")
data=$out/data tree=$out/tree
mkdir -p "$out"

# Upstream's scripts, of the version whose API is served. They write beside themselves.
src=$(cd "$root/gateway" && go list -m -f '{{.Dir}}' k8s.io/kubernetes)
rm -rf "$tree" "$out/junit" "$out/tmp"
mkdir -p "$tree/_output/bin" "$tree/test/e2e" "$out/junit"
cp -r "$src/hack" "$src/third_party" "$tree/"
cp -r "$src/test/cmd" "$src/test/fixtures" "$tree/test/"
cp -r "$src/test/e2e/testing-manifests" "$tree/test/e2e/"
chmod -R u+w "$tree"
find "$tree/test/fixtures/pkg/kubectl/plugins" -name 'kubectl*' -type f -exec chmod +x {} + # a Go module keeps no modes
sed -i 's/CN=127.0.0.1/CN = kubus API authority/' "$tree/hack/lib/util.sh" # whom client certificates are of
ln -s "$(dirname "$kubus")/kubectl" "$tree/_output/bin/kubectl"
[ -z "${SUITE_BIN:-}" ] || ln -s "$SUITE_BIN/kubectl-convert" "$tree/_output/bin/kubectl-convert"

# One suite reads a manifest off the web.
python3 -u -m http.server --bind 127.0.0.1 --directory "$tree" 0 > "$out/web.log" 2>&1 &
web=$!
until port=$(grep -o 'port [0-9]*' "$out/web.log"); do sleep 0.1; done
grep -rl raw.githubusercontent.com "$tree/test/cmd" | xargs sed -i "s|https://raw.githubusercontent.com/kubernetes/kubernetes/master/|http://127.0.0.1:${port#port }/|g"

# What upstream's script starts kube-apiserver with; its controllers allot no ranges.
cat > "$out/settings.yaml" <<-END
	gateway:
	  authentication: {anonymous: false}
	  admission:
	    disable: [ServiceAccount, DefaultStorageClass, DefaultTolerationSeconds, MutatingAdmissionWebhook, ValidatingAdmissionWebhook, StorageObjectInUseProtection]
	controllers:
	  controllers: ["*", "-node-ipam"]
END
k() { "$kubus" kubectl --data-dir "$data" "$@"; }
stop() { "$kubus" down --data-dir "$data" --purge --yes; }
trap 'kill "${web:-}" 2> /dev/null; stop' EXIT
"$kubus" up --data-dir "$data" --kubeconfig "$out/kubeconfig" --nodes 0 --node-name kubectl --listen "$listen" --service-cidr 10.0.0.0/24 \
	--settings "$out/settings.yaml" --detach

# Upstream's server allows everybody it knows everything, has no default class, and knows its user by
# the bearer token "admin-token"; ours is a service account.
k create clusterrolebinding everybody --clusterrole cluster-admin --group system:authenticated
k delete storageclass --all
k create serviceaccount admin -n kube-system
k create clusterrolebinding test-admin --clusterrole cluster-admin --serviceaccount kube-system:admin
token=$(k create token admin -n kube-system --duration 10h)
grep -rl admin-token "$tree/test/cmd" | xargs sed -i "s/admin-token/$token/g"

cat > "$tree/run" <<-'END'
	set -o errexit -o nounset -o pipefail
	KUBE_ROOT=$PWD
	source hack/lib/init.sh
	source hack/lib/test.sh
	source test/cmd/legacy-script.sh
	kube::etcd::start() { :; }
	kube::etcd::cleanup() { :; }
	make() { :; }
	setup
	kubectl create -f - <<< '{"kind":"Node","apiVersion":"v1","metadata":{"name":"127.0.0.1","annotations":{"save-managers":"true"}},"status":{"capacity":{"memory":"1Gi"}}}'
	SUPPORTED_RESOURCES=("*")
	runTests
END
# What kube-apiserver would have made with its --cert-dir.
mkdir -p "$out/tmp"
cp "$data/pki/apiserver.crt" "$out/tmp/"
log=$out/suites.log
(cd "$tree" && env -u KUBECONFIG TMPDIR="$out/tmp" ALLOW_SKEW=1 SECURE_API_PORT="${listen##*:}" KUBE_JUNIT_REPORT_DIR="$out/junit" \
	WHAT="$*" bash ./run > "$log" 2>&1) || true

"$kubus" status --data-dir "$data" || true
python3 - "$out/junit" "$page" <<-'END'
	import glob, os, re, sys, xml.etree.ElementTree as tree
	folder, page = sys.argv[1:]
	cases = [c for f in glob.glob(folder + "/*.xml") for c in tree.parse(f).iter("testcase")]
	def why(case):
	    text = re.sub(r"\x1b\[[0-9;]*m", "", "".join(e.text or "" for e in case if e.tag in ("failure", "error", "system-err")))
	    lines = [l.strip() for l in text.splitlines() if l.strip()]
	    told = [l for l in lines if re.search(r"FAIL!|^!!!.*Error|^error:|Error from server|Expected|Timeout", l)] or lines
	    return (told[0] if told else "")[:140].replace("|", "\\|")
	failed = [c for c in cases if c.find("failure") is not None or c.find("error") is not None]
	out = [f"{len(cases) - len(failed)} of {len(cases)} suites pass."]
	if failed:
	    out += ["", "| suite | first failure |", "|---|---|"] + [f"| {c.get('name')} | {why(c)} |" for c in sorted(failed, key=lambda c: c.get("name"))]
	print("\n".join(out))
	if page:
	    text = open(page).read()
	    begin, end = "<!-- results: begin -->\n", "<!-- results: end -->"
	    a, b = text.index(begin) + len(begin), text.index(end)
	    open(page, "w").write(text[:a] + "\n".join(out) + "\n" + text[b:])
END
[ -s "$log" ]
