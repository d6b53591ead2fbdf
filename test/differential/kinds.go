package differential

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// Kind is one resource in one served version.
type Kind struct {
	Group      string   `json:"group,omitempty"`
	Version    string   `json:"version"`
	Resource   string   `json:"resource"`
	Name       string   `json:"name"`
	Namespaced bool     `json:"namespaced,omitempty"`
	Verbs      []string `json:"verbs"`
	// Subresources are by name, each with its verbs.
	Subresources map[string][]string `json:"subresources,omitempty"`

	body map[string]any
}

// APIVersion is group/version.
func (k *Kind) APIVersion() string {
	if k.Group == "" {
		return k.Version
	}
	return k.Group + "/" + k.Version
}

// Serves says whether the kind has a verb.
func (k *Kind) Serves(verb string) bool { return slices.Contains(k.Verbs, verb) }

// Root is the path of the group and version.
func (k *Kind) Root() string {
	if k.Group == "" {
		return "/api/" + k.Version
	}
	return "/apis/" + k.Group + "/" + k.Version
}

// Path is the path of the collection in a namespace, "" for all.
func (k *Kind) Path(namespace string) string {
	if !k.Namespaced || namespace == "" {
		return k.Root() + "/" + k.Resource
	}
	return k.Root() + "/namespaces/" + namespace + "/" + k.Resource
}

// Title names the kind in scenarios: pods, deployments.apps, events.events.k8s.io.
func (k *Kind) Title() string {
	title := k.Resource
	if k.Group != "" {
		title += "." + k.Group
	}
	if k.Version != "v1" {
		title += ":" + k.Version
	}
	return title
}

// Object gives a valid object of a name.
func (k *Kind) Object(namespace, name string) map[string]any {
	text := strings.ReplaceAll(string(encode(k.body)), "NAMESPACE", or(namespace, "default"))
	text = strings.ReplaceAll(text, "GROUP", name+".example.com") // so that no two scenarios write the same object
	var out map[string]any
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		panic("a body is no JSON: " + err.Error())
	}
	meta := map[string]any{"name": k.ObjectName(name)}
	if k.Namespaced {
		meta["namespace"] = namespace
	}
	out["metadata"] = meta
	return out
}

// ObjectName is what an object must be called that the scenario calls name.
func (k *Kind) ObjectName(name string) string {
	switch k.Resource {
	case "customresourcedefinitions":
		return "widgets." + name + ".example.com"
	case "apiservices":
		return "v1." + name + ".example.com"
	case "ipaddresses":
		sum := fnv.New32a()
		_, _ = sum.Write([]byte(name)) // which cannot fail
		return fmt.Sprintf("198.18.%d.%d", sum.Sum32()>>8&0xff, sum.Sum32()&0xff)
	}
	return name
}

// CommonKinds lists what both servers serve and testdata has a body of, in the
// order of upstream's discovery, and what it lacks: kinds that only one has, and
// those without a body.
func CommonKinds(ctx context.Context, upstream, kubus *Server, bodies string) (kinds []*Kind, lacking []string, err error) {
	valid, err := loadBodies(bodies)
	if err != nil {
		return nil, nil, err
	}
	a, err := discover(ctx, upstream)
	if err != nil {
		return nil, nil, fmt.Errorf("upstream: %w", err)
	}
	b, err := discover(ctx, kubus)
	if err != nil {
		return nil, nil, fmt.Errorf("kubus: %w", err)
	}
	served := map[string]bool{}
	for _, k := range b {
		served[k.Title()] = true
	}
	for _, k := range a {
		switch k.body = valid[k.APIVersion()+" "+k.Name]; {
		case !served[k.Title()]:
			lacking = append(lacking, k.Title()+" is served by upstream only")
		case !k.Serves("get"): // reviews are asked in a suite of their own
		case k.body == nil:
			lacking = append(lacking, k.Title()+" has no body in "+bodies)
		default:
			kinds = append(kinds, k)
		}
		delete(served, k.Title())
	}
	for title := range served {
		lacking = append(lacking, title+" is served by kubus only")
	}
	slices.Sort(lacking)
	return kinds, lacking, nil
}

// GiveBodies gives kinds that were recorded their valid objects.
func GiveBodies(kinds []*Kind, file string) error {
	valid, err := loadBodies(file)
	if err != nil {
		return err
	}
	for _, k := range kinds {
		if k.body = valid[k.APIVersion()+" "+k.Name]; k.body == nil {
			return fmt.Errorf("%s has no body in %s", k.Title(), file)
		}
	}
	return nil
}

func discover(ctx context.Context, s *Server) ([]*Kind, error) {
	var groups metav1.APIGroupList
	if err := fetch(ctx, s, "/apis", &groups); err != nil {
		return nil, err
	}
	versions := []string{"v1"}
	for _, g := range groups.Groups {
		for _, v := range g.Versions {
			versions = append(versions, v.GroupVersion)
		}
	}
	var out []*Kind
	for _, gv := range versions {
		path := "/apis/" + gv
		if gv == "v1" {
			path = "/api/v1"
		}
		var list metav1.APIResourceList
		if err := fetch(ctx, s, path, &list); err != nil {
			return nil, err
		}
		out = append(out, kindsOf(gv, list.APIResources)...)
	}
	return out, nil
}

func kindsOf(gv string, resources []metav1.APIResource) []*Kind {
	group, version, ok := strings.Cut(gv, "/")
	if !ok {
		group, version = "", gv
	}
	var out []*Kind
	byName := map[string]*Kind{}
	for _, r := range resources {
		if !strings.Contains(r.Name, "/") {
			k := &Kind{Group: group, Version: version, Resource: r.Name, Name: r.Kind, Namespaced: r.Namespaced, Verbs: r.Verbs, Subresources: map[string][]string{}}
			out, byName[r.Name] = append(out, k), k
		}
	}
	for _, r := range resources {
		if name, sub, ok := strings.Cut(r.Name, "/"); ok && byName[name] != nil {
			byName[name].Subresources[sub] = r.Verbs
		}
	}
	return out
}

func fetch(ctx context.Context, s *Server, path string, into any) error {
	data, err := s.Fetch(ctx, path, "application/json")
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// loadBodies reads valid objects, by "apiVersion kind".
func loadBodies(file string) (map[string]map[string]any, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	out := map[string]map[string]any{}
	docs := utilyaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader(data)))
	buf := make([]byte, len(data)+1)
	for {
		n, err := docs.Read(buf)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		var doc map[string]any
		if err := yaml.Unmarshal(buf[:n], &doc); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		out[fmt.Sprint(doc["apiVersion"], " ", doc["kind"])] = doc
	}
}
