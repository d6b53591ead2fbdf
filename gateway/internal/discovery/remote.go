package discovery

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"kubus.dev/gateway/internal/resource"
)

// Remote is a group version that another server serves behind an APIService.
type Remote struct {
	GroupVersion schema.GroupVersion
	Priority     resource.Priority
	// Resources are what the server said last; Stale says that it does not answer now.
	Resources []metav1.APIResource
	Stale     bool
	// Ours says that the gateway describes the group version itself, server or no server.
	Ours bool
}

// Remotes are those of one moment. A value never changes: who compares pointers
// knows whether anything did.
type Remotes struct{ All []Remote }

func (r *Remotes) list() []Remote {
	if r == nil {
		return nil
	}
	return r.All
}
