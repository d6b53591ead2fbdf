package eviction

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func aPod(name string, priority int32, memory string) *corev1.Pod {
	p := &corev1.Pod{Spec: corev1.PodSpec{Priority: &priority, Containers: []corev1.Container{{Name: "c"}}}}
	p.Name = name
	if memory != "" {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(memory)}
	}
	return p
}

func TestRank(t *testing.T) {
	t.Parallel()
	takes := map[string]int64{"within, large": 900, "within, small": 1, "above, unimportant": 101, "above, more": 300, "above, important": 5000, "nothing asked": 150}
	usage := func(p *corev1.Pod) *Usage {
		n, ok := takes[p.Name]
		if !ok {
			return nil
		}
		return &Usage{Pod: Use{corev1.ResourceMemory: n}}
	}
	pods := []*corev1.Pod{
		aPod("within, small", 0, "100"), aPod("above, important", 9, "100"), aPod("above, unimportant", -1, "100"), aPod("nothing asked", 0, ""),
		aPod("within, large", 0, "1000"), aPod("above, more", 0, "100"), aPod("not measured", 9, "100"),
	}
	want := `["not measured" "above, unimportant" "above, more" "nothing asked" "above, important" "within, small" "within, large"]`
	var got []string
	for _, p := range Rank(pods, corev1.ResourceMemory, usage) {
		got = append(got, p.Name)
	}
	if fmt.Sprintf("%q", got) != want {
		t.Errorf("got %q\nwant %s", got, want)
	}
}

func TestWhatTheClusterDependsOnIsCritical(t *testing.T) {
	t.Parallel()
	with := func(key, value string) *corev1.Pod {
		p := aPod("p", 0, "")
		p.Annotations = map[string]string{key: value}
		return p
	}
	for name, c := range map[string]struct {
		pod  *corev1.Pod
		want bool
	}{
		"a pod of the API":            {with("kubernetes.io/config.source", "api"), false},
		"a static pod":                {with("kubernetes.io/config.source", "file"), true},
		"a mirror pod":                {with("kubernetes.io/config.mirror", "hash"), true},
		"an important pod":            {aPod("p", 1_000_000_000, ""), false},
		"a pod with a system's class": {aPod("p", 2_000_000_000, ""), true},
	} {
		if got := Critical(c.pod); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}
