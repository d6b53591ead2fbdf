package gateway

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// storedAsBeta are those whose storage version is v1 here and still a beta upstream,
// so that the hash of it differs.
var storedAsBeta = []string{"clustertrustbundles", "podcertificaterequests", "devicetaintrules", "storageversionmigrations", "customresourcedefinitions"}

// TestDiscoveryIsUpstreams holds what we serve against the discovery documents that
// upstream publishes with its source: every stable group version, each with its
// resources, names, verbs, short names, categories, scope and kinds. The
// documents are of a server with all versions on; the stable ones are on by default.
func TestDiscoveryIsUpstreams(t *testing.T) {
	g := start(t)
	upstream := upstreamDiscovery(t)
	groups := must[metav1.APIGroupList](t, g, "GET", "/apis", nil)
	var names []string
	for _, group := range groups.Groups {
		if group.Name != "metrics.k8s.io" { // of a server that extends upstream's
			names = append(names, group.Name)
		}
	}
	var wanted []string
	for _, group := range published[metav1.APIGroupList](t, upstream, "apis.json").Groups {
		stableOnly(&group)
		if len(group.Versions) == 0 {
			continue
		}
		if !slices.Contains(names, group.Name) {
			t.Errorf("group %s is not served", group.Name)
			continue
		}
		wanted = append(wanted, group.Name)
		got := must[metav1.APIGroup](t, g, "GET", "/apis/"+group.Name, nil)
		if !reflect.DeepEqual(got.Versions, group.Versions) || got.PreferredVersion != group.PreferredVersion {
			t.Errorf("%s: got %+v, want %+v", group.Name, got, group)
		}
	}
	if !slices.Equal(names, wanted) {
		t.Errorf("groups are in the order\n%v, want\n%v", names, wanted)
	}
	for _, file := range stableVersions(t, upstream) {
		want := published[metav1.APIResourceList](t, upstream, file)
		if group, _, _ := strings.Cut(want.GroupVersion, "/"); want.GroupVersion != "v1" && !slices.Contains(names, group) {
			continue
		}
		path := "/apis/" + want.GroupVersion
		if want.GroupVersion == "v1" {
			path = "/api/v1"
		}
		got := must[metav1.APIResourceList](t, g, "GET", path, nil)
		compareResources(t, got, want)
	}
}

func compareResources(t *testing.T, got, want *metav1.APIResourceList) {
	t.Helper()
	have := map[string]metav1.APIResource{}
	for _, r := range got.APIResources {
		have[r.Name] = r
	}
	for _, r := range want.APIResources {
		mine, ok := have[r.Name]
		if slices.Contains(storedAsBeta, r.Name) {
			r.StorageVersionHash = mine.StorageVersionHash
		}
		delete(have, r.Name)
		switch {
		case !ok:
			t.Errorf("%s: %s is not served", want.GroupVersion, r.Name)
		case !reflect.DeepEqual(mine, r):
			t.Errorf("%s: got  %s\nwant %s", want.GroupVersion, asJSON(t, mine), asJSON(t, r))
		}
	}
	for name := range have {
		t.Errorf("%s: %s is served, upstream has none", want.GroupVersion, name)
	}
}

var stable = regexp.MustCompile(`^v[0-9]+$`)

func stableOnly(group *metav1.APIGroup) {
	group.Versions = slices.DeleteFunc(group.Versions, func(v metav1.GroupVersionForDiscovery) bool { return !stable.MatchString(v.Version) })
}

// upstreamDiscovery is where the module of Kubernetes has its documents.
func upstreamDiscovery(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "api", "discovery")
}

// stableVersions lists the documents of stable group versions.
func stableVersions(t *testing.T, dir string) []string {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range files {
		parts := strings.Split(strings.TrimSuffix(f.Name(), ".json"), "__")
		if stable.MatchString(parts[len(parts)-1]) {
			out = append(out, f.Name())
		}
	}
	if len(out) < 20 {
		t.Fatalf("only %d documents in %s", len(out), dir)
	}
	return out
}

func published[T any](t *testing.T, dir, file string) *T {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	out := new(T)
	if err := json.Unmarshal(data, out); err != nil {
		t.Fatal(err)
	}
	return out
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
