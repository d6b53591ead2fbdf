package read

import (
	"net/http/httptest"
	"net/url"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"

	"kubus.dev/gateway/internal/resource"
	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// pods is the collection of pods over no view.
func pods(t testing.TB) *collection {
	t.Helper()
	gv := schema.GroupVersion{Version: "v1"}
	kind := resource.NewRegistry(resource.BuiltIn()).Find(gv.WithResource("pods"))
	cache := newCache(1 << 20)
	return &collection{Reader: &Reader{cache: cache}, kind: kind, gr: kind.GR(), gv: gv, enc: newEncoder(kind, gv, cache), types: kind.Codec.Machinery(gv, "")}
}

// FuzzSelectors: the options of a list are refused as the client's mistake, or select
// without a panic; what lasts is decided by the name alone.
func FuzzSelectors(f *testing.F) {
	for _, seed := range [][2]string{
		{"a=b,c!=d", "spec.nodeName=n"}, {"a in (b,c),!d,e notin ()", "metadata.name=p,metadata.namespace!=x"}, {"a>1", "status.phase!=Running"},
		{"=", "=="}, {"a b", `metadata.name=\,`}, {"(", "status.podIP=1.2.3.4,spec.unknown=1"}, {"a=b=c", "metadata.name"},
	} {
		f.Add(seed[0], seed[1], "5", "")
	}
	f.Add("", "", "-1", "x")
	f.Add("", "", "9999999999999999999", "0")
	c := pods(f)
	key := proto.Key{GroupResource: c.gr, Namespace: "x", Name: "p"}
	entry := statelog.NewEntry(key, 7, []byte(`{"kind":"Pod","apiVersion":"v1","metadata":{"name":"p","namespace":"x","labels":{"a":"b"}},"spec":{"nodeName":"n","containers":[{"name":"c"}]},"status":{"phase":"Running"}}`), false)
	other := statelog.NewEntry(key, 8, []byte(`{"kind":"Pod","apiVersion":"v1","metadata":{"name":"p","namespace":"x"},"spec":{},"status":{}}`), false)
	f.Fuzz(func(t *testing.T, label, field, limit, revision string) {
		query := url.Values{"labelSelector": {label}, "fieldSelector": {field}, "limit": {limit}, "resourceVersion": {revision}}
		req := httptest.NewRequest("GET", "/api/v1/pods?"+query.Encode(), nil)
		options, err := c.listOptions(req, &request.RequestInfo{Verb: "list"})
		if err != nil {
			if !apierrors.IsBadRequest(err) && !apierrors.IsInvalid(err) {
				t.Errorf("%v: got %v", query, err)
			}
			return
		}
		s := c.selector("x", options)
		if s.matches(entry) != s.matches(other) && s.lasting() {
			t.Errorf("%v: the selection lasts, and an update changed it", query)
		}
	})
}
