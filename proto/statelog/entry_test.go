package statelog

import (
	"encoding/json"
	"testing"

	"kubus.dev/proto"
)

func TestResourceVersionIsSplicedIntoMetadata(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ in, want string }{
		"at the front of metadata":        {`{"kind":"A","metadata":{"name":"x"}}`, `{"kind":"A","metadata":{"resourceVersion":"7","name":"x"}}`},
		"into empty metadata":             {`{"metadata":{}}`, `{"metadata":{"resourceVersion":"7"}}`},
		"not into a nested metadata":      {`{"spec":{"metadata":{"a":1}},"metadata":{"b":2}}`, `{"spec":{"metadata":{"a":1}},"metadata":{"resourceVersion":"7","b":2}}`},
		"not into a string that looks so": {`{"a":"\"metadata\":{","metadata":{"b":2}}`, `{"a":"\"metadata\":{","metadata":{"resourceVersion":"7","b":2}}`},
		"past an escaped quote":           {`{"a\\\"":"x\\","metadata":{"b":2}}`, `{"a\\\"":"x\\","metadata":{"resourceVersion":"7","b":2}}`},
		"nowhere without metadata":        {`{"a":1}`, `{"a":1}`},
		"with white space kept":           {"{ \"metadata\" : { \"b\":2} }", "{ \"metadata\" : {\"resourceVersion\":\"7\", \"b\":2} }"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := string(NewEntry(proto.Key{}, 7, []byte(tc.in), false).JSON()); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestMetaIsReadFromTheBytes(t *testing.T) {
	t.Parallel()
	e := NewEntry(proto.Key{}, 7, []byte(`{"spec":{"metadata":{"labels":{"no":"no"}}},"metadata":{"uid":"u","labels":{"app":"web"},"ownerReferences":[{"kind":"ReplicaSet","name":"rs","uid":"o","controller":true}]}}`), false)
	m := e.Meta()
	if m.UID != "u" || m.Labels["app"] != "web" || m.Controller() == nil || m.Controller().Name != "rs" {
		t.Errorf("got %+v", m)
	}
}

func FuzzSpliceKeepsTheObject(f *testing.F) {
	f.Add([]byte(`{"metadata":{"name":"a"},"b":[{}]}`))
	f.Add([]byte(`{"metadata":{}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var before map[string]any
		out := NewEntry(proto.Key{}, 7, data, false).JSON()
		if json.Unmarshal(data, &before) != nil {
			return
		}
		meta, ok := before["metadata"].(map[string]any)
		if !ok {
			return
		}
		if _, has := meta["resourceVersion"]; has {
			return
		}
		var after map[string]any
		if err := json.Unmarshal(out, &after); err != nil {
			t.Fatalf("%s became %s: %v", data, out, err)
		}
	})
}
