package resource

import (
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"kubus.dev/proto"
)

var (
	table = slices.Concat(
		core(), apps(), autoscaling(), batch(), certificateKinds(), networking(), policy(), rbac(), storage(), admissionRegistration(),
		scheduling(), coordination(), nodeKinds(), discovery(), dynamicResources(), flowControl(), migration(),
	)
	byGVR = func() map[schema.GroupVersionResource]*Kind {
		index := make(map[schema.GroupVersionResource]*Kind, len(table)+1)
		for _, k := range table {
			for _, gv := range k.Served {
				index[gv.WithResource(k.GVR.Resource)] = k
			}
		}
		return index
	}()
	byGR = func() map[proto.GroupResource]*Kind {
		index := make(map[proto.GroupResource]*Kind, len(table))
		for _, k := range table {
			index[k.GR()] = k
		}
		return index
	}()
)

// Table lists all kinds, in the order of discovery. Do not modify it.
func Table() []*Kind { return table }

// Find gives the kind served as gvr, which may be another than its storage
// version; nil if there is none.
func Find(gvr schema.GroupVersionResource) *Kind { return byGVR[gvr] }

// Of gives the kind that is kept as gr in the state log; nil if there is none.
func Of(gr proto.GroupResource) *Kind { return byGR[gr] }

// Versions lists the served group versions in the order of discovery: the
// core group first, then as upstream's aggregated discovery ranks the groups.
func Versions() []schema.GroupVersion {
	var all []schema.GroupVersion
	for _, k := range table {
		for _, gv := range k.Served {
			if !slices.Contains(all, gv) {
				all = append(all, gv)
			}
		}
	}
	return all
}
