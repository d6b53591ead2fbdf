package read_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"kubus.dev/gateway/internal/read"
	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

var leaseResource = proto.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}

func leaseKey(name string) proto.Key {
	return proto.Key{GroupResource: leaseResource, Namespace: "b", Name: name}
}

func lease(name, holder string) *coordinationv1.Lease {
	return &coordinationv1.Lease{TypeMeta: metav1.TypeMeta{Kind: "Lease", APIVersion: "coordination.k8s.io/v1"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "b", Name: name, UID: "u"}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder}}
}

// shown are names in namespace b, in order.
type shown []string

func (s shown) Get(ns, name string, revision uint64) *statelog.Entry {
	for _, e := range s.List(ns, revision) {
		if ns == "b" && e.Key().Name == name {
			return e
		}
	}
	return nil
}

func (s shown) List(ns string, revision uint64) (out []*statelog.Entry) {
	if ns != "" && ns != "b" {
		return nil
	}
	for _, name := range s {
		data, err := json.Marshal(lease(name, "shown"))
		if err != nil {
			panic(err)
		}
		out = append(out, statelog.NewEntry(leaseKey(name), revision, data, false))
	}
	return out
}

func TestShownObjectsAreReadAsStoredOnes(t *testing.T) {
	s := start(t, func(o *read.Options) {
		o.Shown = map[proto.GroupResource]read.Shown{leaseResource: shown{"a", "c", "e", "g"}}
	})
	for _, name := range []string{"b", "e", "f"} {
		s.put(lease(name, "stored"), leaseKey(name))
	}
	elsewhere := lease("x", "stored")
	elsewhere.Namespace = "a"
	last := s.put(elsewhere, proto.Key{GroupResource: leaseResource, Namespace: "a", Name: "x"})
	const inB = "a:shown b:stored c:shown e:stored f:stored g:shown"
	for name, mediaType := range mediaTypes {
		t.Run(name, func(t *testing.T) {
			c := s.client(mediaType).CoordinationV1()
			for what, q := range map[string]struct {
				ns   string
				o    metav1.ListOptions
				want string
			}{
				"everything":             {"", metav1.ListOptions{}, "x:stored " + inB},
				"one namespace":          {"b", metav1.ListOptions{}, inB},
				"another":                {"a", metav1.ListOptions{}, "x:stored"},
				"a shown name":           {"b", metav1.ListOptions{FieldSelector: "metadata.name=c"}, "c:shown"},
				"a shown name anywhere":  {"", metav1.ListOptions{FieldSelector: "metadata.name=c"}, "c:shown"},
				"all names but one":      {"b", metav1.ListOptions{FieldSelector: "metadata.name!=c"}, strings.Replace(inB, "c:shown ", "", 1)},
				"a name that both have":  {"b", metav1.ListOptions{FieldSelector: "metadata.name=e"}, "e:stored"},
				"a label that none have": {"b", metav1.ListOptions{LabelSelector: "k=v"}, ""},
				"not older":              {"b", metav1.ListOptions{ResourceVersion: fmt.Sprint(last), ResourceVersionMatch: "NotOlderThan"}, inB},
			} {
				list, err := c.Leases(q.ns).List(t.Context(), q.o)
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				if got := holders(list.Items); got != q.want || list.ResourceVersion != fmt.Sprint(last) {
					t.Errorf("%s: got %s at %s, want %s at %d", what, got, list.ResourceVersion, q.want, last)
				}
				for _, l := range list.Items {
					if *l.Spec.HolderIdentity == "shown" && l.ResourceVersion != fmt.Sprint(last) {
						t.Errorf("%s: %s is at %s", what, l.Name, l.ResourceVersion)
					}
				}
			}
			for name, want := range map[string]string{"a": "shown", "e": "stored", "b": "stored"} {
				got, err := c.Leases("b").Get(t.Context(), name, metav1.GetOptions{})
				if err != nil || *got.Spec.HolderIdentity != want {
					t.Errorf("get %s: got %v, %v", name, got, err)
				}
			}
		})
	}
	t.Run("in pages of any size", func(t *testing.T) {
		for limit := range int64(8) {
			var got []coordinationv1.Lease
			o := metav1.ListOptions{Limit: limit + 1}
			for {
				list, err := s.client("application/json").CoordinationV1().Leases("b").List(t.Context(), o)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, list.Items...)
				if left := ptr.Deref(list.RemainingItemCount, 0); int(left)+len(got) != 6 {
					t.Errorf("limit %d: %d remain after %d", o.Limit, left, len(got))
				}
				if o.Continue = list.Continue; o.Continue == "" {
					break
				}
			}
			if holders(got) != inB {
				t.Errorf("limit %d: got %s", o.Limit, holders(got))
			}
		}
	})
	t.Run("as a table and as metadata", func(t *testing.T) {
		_, _, body := s.get("/apis/coordination.k8s.io/v1/namespaces/b/leases", "application/json;as=Table;v=v1;g=meta.k8s.io")
		var table metav1.Table
		if err := json.Unmarshal(body, &table); err != nil || len(table.Rows) != 6 || table.Rows[0].Cells[0] != "a" || table.Rows[0].Cells[1] != "shown" {
			t.Errorf("got %v %s", err, body)
		}
		_, _, body = s.get("/apis/coordination.k8s.io/v1/namespaces/b/leases/a", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io")
		if !strings.Contains(string(body), `"name":"a"`) || strings.Contains(string(body), "spec") {
			t.Errorf("got %s", body)
		}
	})
}

func TestShownObjectsAreInitialEventsOnly(t *testing.T) {
	s := start(t, func(o *read.Options) {
		o.Shown = map[proto.GroupResource]read.Shown{leaseResource: shown{"a", "c"}}
	})
	s.put(lease("b", "stored"), leaseKey("b"))
	c := s.client("application/json").CoordinationV1().Leases("b")
	for name, q := range map[string]struct {
		fromList bool
		want     string
	}{
		"from anywhere on": {false, "a:shown b:stored c:shown c:stored"},
		"from a list on":   {true, "c:stored"},
	} {
		list, err := c.List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		o := metav1.ListOptions{ResourceVersion: "0"}
		if q.fromList {
			o.ResourceVersion = list.ResourceVersion
		}
		w, err := c.Watch(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		last := s.put(lease("c", "stored"), leaseKey("c"))
		var got []coordinationv1.Lease
		for len(got) == 0 || got[len(got)-1].ResourceVersion != fmt.Sprint(last) {
			select {
			case e := <-w.ResultChan():
				l, ok := e.Object.(*coordinationv1.Lease)
				if !ok {
					t.Fatalf("%s: got %v", name, e)
				}
				got = append(got, *l)
			case <-time.After(time.Minute):
				t.Fatalf("%s: got only %s", name, holders(got))
			}
		}
		w.Stop()
		if holders(got) != q.want {
			t.Errorf("%s: got %s, want %s", name, holders(got), q.want)
		}
		s.remove(leaseKey("c"))
	}
}

func holders(leases []coordinationv1.Lease) string {
	var out []string
	for _, l := range leases {
		out = append(out, l.Name+":"+*l.Spec.HolderIdentity)
	}
	return strings.Join(out, " ")
}
