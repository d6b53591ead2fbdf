// Command gen writes the OpenAPI documents of what the gateway serves: upstream's
// published documents, with the values of enumerations and without the paths and types
// of what is not in the table of kinds, and the types for server-side apply. Run it from
// the folder above.
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"log"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	openapiv2 "github.com/google/gnostic-models/openapiv2"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/schemaconv"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"kubus.dev/gateway/internal/discovery"
	"kubus.dev/gateway/internal/openapi/wire"
	"kubus.dev/gateway/internal/resource"
)

// table is what the documents describe: a gateway without custom kinds.
var table = resource.NewRegistry(resource.BuiltIn()).Load()

func main() {
	log.SetFlags(0)
	if err := run("documents"); err != nil {
		log.Fatal("gen: ", err)
	}
}

func run(out string) error {
	upstream, err := moduleDir("k8s.io/kubernetes")
	if err != nil {
		return err
	}
	dir := filepath.Join(upstream, "api", "openapi-spec")
	values, err := readEnums(upstream)
	if err != nil {
		return fmt.Errorf("enumerations: %w", err)
	}
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(out, "v3"), 0o755); err != nil {
		return err
	}
	if err := writeV2(filepath.Join(dir, "swagger.json"), out, values); err != nil {
		return fmt.Errorf("v2: %w", err)
	}
	models, err := writeV3(filepath.Join(dir, "v3"), filepath.Join(out, "v3"), values)
	if err != nil {
		return fmt.Errorf("v3: %w", err)
	}
	return writeTypes(models, filepath.Join(out, "types.json.gz"))
}

func moduleDir(module string) (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return "", fmt.Errorf("finding %s: %w", module, err)
	}
	return strings.TrimSpace(string(out)), nil
}

type object = map[string]any

func load(path string) (object, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var doc object
	return doc, json.Unmarshal(data, &doc)
}

func pack(path string, data []byte) error {
	var buf bytes.Buffer
	z, err := gzip.NewWriterLevel(&buf, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := z.Write(data); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return os.WriteFile(path, buf.Bytes(), 0o644)
}

// writeV2 keeps the served paths and the definitions they lead to.
func writeV2(from, out string, values enums) error {
	doc, err := load(from)
	if err != nil {
		return err
	}
	doc["info"].(object)["title"] = "Kubus"
	keepServed(doc["paths"].(object))
	definitions := doc["definitions"].(object)
	values.addTo(definitions)
	doc["definitions"] = closure(definitions, refs(doc["paths"]), kindNames(definitions))
	data, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	if err := pack(filepath.Join(out, "v2.json.gz"), data); err != nil {
		return err
	}
	parsed, err := openapiv2.ParseDocument(data)
	if err != nil {
		return err
	}
	binary, err := proto.MarshalOptions{Deterministic: true}.Marshal(parsed)
	if err != nil {
		return err
	}
	return pack(filepath.Join(out, "v2.pb.gz"), binary)
}

// writeV3 writes the document of each served group version and gives all schemas.
func writeV3(from, out string, values enums) (object, error) {
	models := object{}
	names := []string{"api", "apis", "version"}
	for _, gv := range discovery.Versions(table) {
		if gv.Group == "" {
			names = append(names, "api/"+gv.Version)
			continue
		}
		names = append(names, "apis/"+gv.Group, "apis/"+gv.String())
	}
	for _, name := range names {
		file := strings.ReplaceAll(name, "/", "__")
		doc, err := load(filepath.Join(from, file+"_openapi.json"))
		if err != nil {
			return nil, err
		}
		doc["info"].(object)["title"] = "Kubus"
		keepServed(doc["paths"].(object))
		if components, ok := doc["components"].(object); ok {
			if schemas, ok := components["schemas"].(object); ok {
				values.addTo(schemas)
				kept := closure(schemas, refs(doc["paths"]), nil)
				components["schemas"] = kept
				for k, v := range kept {
					models[k] = v
				}
			}
		}
		data, err := json.Marshal(doc)
		if err != nil {
			return nil, err
		}
		if err := pack(filepath.Join(out, file+".json.gz"), data); err != nil {
			return nil, err
		}
	}
	// Scale is served below apps, so no document of its own group names it.
	doc, err := load(filepath.Join(from, "apis__autoscaling__v1_openapi.json"))
	if err != nil {
		return nil, err
	}
	for k, v := range doc["components"].(object)["schemas"].(object) {
		if models[k] == nil {
			models[k] = v
		}
	}
	return models, nil
}

// keepServed drops the paths of resources that the table does not have.
func keepServed(paths object) {
	for path := range paths {
		if !served(path) {
			delete(paths, path)
		}
	}
}

func served(path string) bool {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	var gv schema.GroupVersion
	switch {
	case parts[0] == "api" && len(parts) > 1:
		gv, parts = schema.GroupVersion{Version: parts[1]}, parts[2:]
	case parts[0] == "apis" && len(parts) > 2:
		gv, parts = schema.GroupVersion{Group: parts[1], Version: parts[2]}, parts[3:]
	case parts[0] == "apis" && len(parts) == 2:
		return hasGroup(parts[1])
	default:
		return parts[0] == "api" || parts[0] == "apis" || parts[0] == "version"
	}
	if len(parts) > 0 && parts[0] == "watch" {
		parts = parts[1:]
	}
	if len(parts) > 2 && parts[0] == "namespaces" && parts[2] != "status" && parts[2] != "finalize" {
		parts = parts[2:]
	}
	if len(parts) == 0 {
		return hasVersion(gv)
	}
	kind := table.Find(gv.WithResource(parts[0]))
	if kind == nil {
		for _, r := range resource.Reviews() {
			if r.GVR == gv.WithResource(parts[0]) {
				return true
			}
		}
		return false
	}
	return len(parts) < 3 || len(parts) == 3 && kind.Subresource(parts[2]) != nil
}

func hasGroup(group string) bool {
	for _, gv := range discovery.Versions(table) {
		if gv.Group == group {
			return true
		}
	}
	return false
}

func hasVersion(gv schema.GroupVersion) bool {
	for _, v := range discovery.Versions(table) {
		if v == gv {
			return true
		}
	}
	return false
}

// servedKinds lists every kind that a request or answer can be.
func servedKinds() map[schema.GroupVersionKind]bool {
	kinds := map[schema.GroupVersionKind]bool{}
	for _, kind := range resource.BuiltIn() {
		for _, gv := range kind.Served {
			kinds[kind.ServedKind(gv)] = true
		}
		for i := range kind.Subresources {
			for _, gv := range kind.Served {
				kinds[kind.SubresourceKind(&kind.Subresources[i], gv)] = true
			}
		}
	}
	for _, r := range resource.Reviews() {
		kinds[r.GVK] = true
	}
	return kinds
}

// kindNames names the definitions of served kinds.
func kindNames(definitions object) []string {
	kinds := servedKinds()
	var names []string
	for name, d := range definitions {
		for _, gvk := range gvks(d.(object)) {
			if kinds[gvk] {
				names = append(names, name)
			}
		}
	}
	return names
}

func gvks(definition object) []schema.GroupVersionKind {
	list, _ := definition["x-kubernetes-group-version-kind"].([]any)
	var out []schema.GroupVersionKind
	for _, e := range list {
		m := e.(object)
		out = append(out, schema.GroupVersionKind{Group: m["group"].(string), Version: m["version"].(string), Kind: m["kind"].(string)})
	}
	return out
}

// refs gives the definitions that v names.
func refs(v any) []string {
	var out []string
	switch v := v.(type) {
	case object:
		for k, e := range v {
			if s, ok := e.(string); ok && k == "$ref" {
				out = append(out, s[strings.LastIndex(s, "/")+1:])
				continue
			}
			out = append(out, refs(e)...)
		}
	case []any:
		for _, e := range v {
			out = append(out, refs(e)...)
		}
	}
	return out
}

// closure keeps the named definitions and all that they lead to.
func closure(all object, roots ...[]string) object {
	kept := object{}
	var add func(names []string)
	add = func(names []string) {
		for _, name := range names {
			if kept[name] == nil && all[name] != nil {
				kept[name] = all[name]
				add(refs(all[name]))
			}
		}
	}
	for _, names := range roots {
		add(names)
	}
	return kept
}

// writeTypes writes what managed fields need of the served kinds.
func writeTypes(models object, path string) error {
	kinds := servedKinds()
	doc := wire.Document{}
	var roots []string
	for _, name := range slices.Sorted(maps.Keys(models)) {
		for _, gvk := range gvks(models[name].(object)) {
			if kinds[gvk] {
				roots = append(roots, name)
				doc.Kinds = append(doc.Kinds, wire.Kind{Group: gvk.Group, Version: gvk.Version, Kind: gvk.Kind, Type: name})
				delete(kinds, gvk)
			}
		}
	}
	sort.Slice(doc.Kinds, func(i, j int) bool { return fmt.Sprint(doc.Kinds[i]) < fmt.Sprint(doc.Kinds[j]) })
	for gvk := range kinds {
		log.Printf("gen: no type for %v", gvk)
	}
	data, err := json.Marshal(closure(models, roots))
	if err != nil {
		return err
	}
	specs := map[string]*spec.Schema{}
	if err := json.Unmarshal(data, &specs); err != nil {
		return err
	}
	converted, err := schemaconv.ToSchemaFromOpenAPI(specs, false)
	if err != nil {
		return err
	}
	for i := range converted.Types {
		t, err := wire.Of(converted.Types[i])
		if err != nil {
			return err
		}
		doc.Named = append(doc.Named, t)
	}
	sort.Slice(doc.Named, func(i, j int) bool { return doc.Named[i].Name < doc.Named[j].Name })
	if data, err = json.Marshal(doc); err != nil {
		return err
	}
	return pack(path, data)
}
