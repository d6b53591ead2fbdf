package typecheck

import (
	"errors"
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/cel/openapi/resolver"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/openapi"
)

// documents serves one group version, whose URL and one field of whose kind a test sets.
type documents struct {
	discovery.DiscoveryInterface
	url, field    string
	lists, bodies int
}

func (d *documents) OpenAPIV3() openapi.Client { return d }

func (d *documents) Paths() (map[string]openapi.GroupVersion, error) {
	d.lists++
	if d.url == "" {
		return map[string]openapi.GroupVersion{}, nil
	}
	return map[string]openapi.GroupVersion{"apis/shop.example.com/v1": document{d, d.url}}, nil
}

// document is an entry of a list, which knows the URL as it was.
type document struct {
	*documents
	at string
}

func (d document) ServerRelativeURL() string { return d.at }

func (d document) Schema(string) ([]byte, error) {
	d.bodies++
	return fmt.Appendf(nil, `{"components":{"schemas":{"w":{"type":"object","properties":{%q:{"type":"string"}},
		"x-kubernetes-group-version-kind":[{"group":"shop.example.com","version":"v1","kind":"Widget"}]}}}}`, d.field), nil
}

var widget = schema.GroupVersionKind{Group: "shop.example.com", Version: "v1", Kind: "Widget"}

func wantField(t *testing.T, s *schemas, field string) {
	t.Helper()
	got, err := s.ResolveSchema(widget)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := got.Properties[field]; !ok || len(got.Properties) != 1 {
		t.Errorf("got %v, want the field %q alone", got.Properties, field)
	}
}

func wantReads(t *testing.T, d *documents, lists, bodies int) {
	t.Helper()
	if d.lists != lists || d.bodies != bodies {
		t.Errorf("%d lists and %d documents were read, want %d and %d", d.lists, d.bodies, lists, bodies)
	}
}

func TestADocumentIsReadOnceForManyPolicies(t *testing.T) {
	d := &documents{url: "/openapi/v3/apis/shop.example.com/v1?hash=1", field: "size"}
	s := newSchemas(d)
	for range 100 {
		wantField(t, s, "size")
	}
	wantReads(t, d, 1, 1)
	s.round()
	wantField(t, s, "size")
	wantReads(t, d, 2, 1)
}

func TestAChangedDocumentIsReadAgain(t *testing.T) {
	d := &documents{url: "/openapi/v3/apis/shop.example.com/v1?hash=1", field: "size"}
	s := newSchemas(d)
	wantField(t, s, "size")
	d.url, d.field = "/openapi/v3/apis/shop.example.com/v1?hash=2", "length"
	wantField(t, s, "size") // as of this round
	s.round()
	wantField(t, s, "length")
	wantReads(t, d, 2, 2)
	d.url = ""
	s.round()
	if _, err := s.ResolveSchema(widget); !errors.Is(err, resolver.ErrSchemaNotFound) {
		t.Errorf("of a version that is not served any more: got %v", err)
	}
}

func TestADocumentWithoutAHashIsNotRemembered(t *testing.T) {
	d := &documents{url: "/openapi/v3/apis/shop.example.com/v1", field: "size"}
	s := newSchemas(d)
	wantField(t, s, "size")
	d.field = "length"
	wantField(t, s, "length")
	wantReads(t, d, 1, 2)
}

func TestWhatIsForgottenIsReadAgain(t *testing.T) {
	d := &documents{url: "/openapi/v3/apis/shop.example.com/v1?hash=1", field: "size"}
	s := newSchemas(d)
	if !s.empty() {
		t.Error("nothing was asked, and something is held")
	}
	wantField(t, s, "size")
	if s.empty() {
		t.Error("what was asked is not held")
	}
	s.forget()
	if !s.empty() {
		t.Error("after it was forgotten something is held")
	}
	wantField(t, s, "size")
	wantReads(t, d, 2, 2)
}
