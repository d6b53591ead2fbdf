package differential

import "testing"

func TestADefinitionHasEndedWhenNothingOfItIsToCome(t *testing.T) {
	t.Parallel()
	const cleanup = "customresourcecleanup.apiextensions.k8s.io"
	object := func(deleted bool, finalizers ...any) any {
		m := map[string]any{"name": "x", "finalizers": finalizers}
		if deleted {
			m["deletionTimestamp"] = "2026-01-01T00:00:00Z"
		}
		return map[string]any{"metadata": m}
	}
	for name, c := range map[string]struct {
		code int
		doc  any
		want bool
	}{
		"it is gone":                                 {404, map[string]any{}, true},
		"nobody deletes it":                          {200, object(false, cleanup), true},
		"its instances are being deleted":            {200, object(true, cleanup), false},
		"and somebody else holds it":                 {200, object(true, cleanup, "example.com/f"), false},
		"only somebody else holds it":                {200, object(true, "example.com/f"), true},
		"nobody holds it: the next write is its end": {200, object(true), false},
	} {
		if got := ended(c.code, c.doc); got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
