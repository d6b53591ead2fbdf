package typecheck

import (
	"net/url"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/cel/openapi/resolver"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/openapi"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// schemas resolves types as upstream does, and remembers them: a document of a group
// version is a megabyte and more, and most policies are about the same few kinds. The list
// of documents is read once a round, and says by its hashes which of what is remembered
// still holds. A document without a hash is read each time.
//
// Not for use by several goroutines.
type schemas struct {
	from  resolver.ClientDiscoveryResolver
	list  *list
	known map[schema.GroupVersionKind]known
}

// known is a type, and the document that it was read from.
type known struct {
	document string
	schema   *spec.Schema
}

func newSchemas(client discovery.DiscoveryInterface) *schemas {
	l := &list{DiscoveryInterface: client}
	return &schemas{from: resolver.ClientDiscoveryResolver{Discovery: l}, list: l, known: map[schema.GroupVersionKind]known{}}
}

// round begins: what is asked from now on is answered by documents that are not older.
func (s *schemas) round() { s.list.paths = nil }

// forget gives the memory back.
func (s *schemas) forget() { s.list.paths, s.known = nil, map[schema.GroupVersionKind]known{} }

// empty says whether there is nothing to forget.
func (s *schemas) empty() bool { return len(s.known) == 0 && s.list.paths == nil }

// ResolveSchema is upstream's resolver.SchemaResolver.
func (s *schemas) ResolveSchema(gvk schema.GroupVersionKind) (*spec.Schema, error) {
	document, err := s.list.document(gvk.GroupVersion())
	if err != nil {
		return nil, err
	}
	if k, ok := s.known[gvk]; ok && document != "" && k.document == document {
		return k.schema, nil
	}
	delete(s.known, gvk)
	made, err := s.from.ResolveSchema(gvk)
	if err == nil && document != "" {
		s.known[gvk] = known{document, made}
	}
	return made, err
}

// list is a client whose list of documents is read once.
type list struct {
	discovery.DiscoveryInterface
	paths map[string]openapi.GroupVersion // nil: to be read
}

// OpenAPIV3 is the client of which upstream's resolver asks for documents.
func (l *list) OpenAPIV3() openapi.Client { return l }

// Paths is upstream's openapi.Client.
func (l *list) Paths() (map[string]openapi.GroupVersion, error) {
	if l.paths != nil {
		return l.paths, nil
	}
	paths, err := l.DiscoveryInterface.OpenAPIV3().Paths()
	if err != nil {
		return nil, err
	}
	l.paths = paths
	return paths, nil
}

// document names the present form of a group version's document; "" where there is no
// such document, or nothing tells its forms apart.
func (l *list) document(gv schema.GroupVersion) (string, error) {
	paths, err := l.Paths()
	if err != nil {
		return "", err
	}
	path := "apis/" + gv.String()
	if gv.Group == "" {
		path = "api/" + gv.Version
	}
	there, ok := paths[path]
	if !ok {
		return "", nil
	}
	at, err := url.Parse(there.ServerRelativeURL())
	if err != nil || !at.Query().Has("hash") {
		return "", nil
	}
	return there.ServerRelativeURL(), nil
}
