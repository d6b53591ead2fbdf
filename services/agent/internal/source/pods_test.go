package source

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/bustest/apitest"
)

type log []string

func (l *log) Update(p *corev1.Pod) { *l = append(*l, "update "+string(p.UID)) }
func (l *log) Remove(p *corev1.Pod) { *l = append(*l, "remove "+string(p.UID)) }
func (l *log) Synced()              { *l = append(*l, "synced") }

func TestFollowPodsTellsOfTheNodesPodsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		on := func(node string, uid types.UID) *corev1.Pod {
			return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: uid}, Spec: corev1.PodSpec{NodeName: node}}
		}
		const a, b = "/api/v1/namespaces/ns/pods/a", "/api/v1/namespaces/ns/pods/b"
		api, got := apitest.New(), &log{}
		api.Put(a, on("n", "1"))
		api.Put(b, on("elsewhere", "2"))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = FollowPods(ctx, api.Client("system:node:n"), "n", got)
		}()
		synctest.Wait()
		api.Put(a, on("n", "3")) // another pod of the name, whose predecessor's end was missed
		api.Delete(a)
		synctest.Wait()
		cancel()
		<-done
		if want := []string{"update 1", "synced", "remove 1", "update 3", "remove 3"}; !slices.Equal(*got, want) {
			t.Errorf("got %q, want %q", *got, want)
		}
	})
}
