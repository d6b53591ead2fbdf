package flow

import (
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage"
	width "k8s.io/apiserver/pkg/util/flowcontrol/request"

	"kubus.dev/proto/statelog"
)

// sampled is how many objects tell how large all are.
const sampled = 16

// sizes tells how many objects a resource has and how large they are, by its name as
// upstream writes it: pods, deployments.apps. Upstream counts once a minute; the view
// knows.
func sizes(view ViewFunc) func(string) (storage.Stats, error) {
	return func(name string) (storage.Stats, error) {
		gr := schema.ParseGroupResource(name)
		of := resourceOf(gr.Group, gr.Resource)
		snapshot := view(of).Snapshot(of)
		n := snapshot.Len()
		if n == 0 {
			return storage.Stats{}, width.ObjectCountNotFoundErr
		}
		looked, bytes := 0, 0
		snapshot.Ascend("", func(e *statelog.Entry) bool {
			looked++
			bytes += len(e.Data())
			return looked < sampled
		})
		return storage.Stats{ObjectCount: int64(n), EstimatedAverageObjectSizeBytes: int64(bytes / looked)}, nil
	}
}
