package resourcequota

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"kubus.dev/proto"
)

const countPrefix = "count/"

// aliases are the old names of some numbers of objects.
var aliases = map[corev1.ResourceName]proto.GroupResource{
	corev1.ResourceConfigMaps:             {Resource: "configmaps"},
	corev1.ResourceQuotas:                 {Resource: "resourcequotas"},
	corev1.ResourceReplicationControllers: {Resource: "replicationcontrollers"},
	corev1.ResourceSecrets:                {Resource: "secrets"},
}

// uncounted have meters of their own, or no limits at all.
var uncounted = []proto.GroupResource{
	{Resource: "pods"}, {Resource: "services"}, {Resource: "persistentvolumeclaims"},
	{Group: "resource.k8s.io", Resource: "resourceclaims"},
	{Resource: "events"}, {Group: "events.k8s.io", Resource: "events"},
}

// counts gives the collection whose objects a name counts, such as
// count/deployments.apps.
func counts(name corev1.ResourceName) (proto.GroupResource, bool) {
	if gr, ok := aliases[name]; ok {
		return gr, true
	}
	text, ok := strings.CutPrefix(string(name), countPrefix)
	if !ok {
		return proto.GroupResource{}, false
	}
	resource, group, _ := strings.Cut(text, ".")
	gr := proto.GroupResource{Group: group, Resource: resource}
	return gr, !slices.Contains(uncounted, gr)
}

// objectMeter counts for one name. No scope knows the objects that it counts.
func objectMeter(in holdings, name corev1.ResourceName) (meter, bool) {
	gr, ok := counts(name)
	if !ok {
		return meter{}, false
	}
	if _, served := in.Objects(gr); !served {
		return meter{}, false
	}
	return meter{
		of: func(other corev1.ResourceName) bool { return other == name },
		uses: func(scopes []scope, _ time.Time) ([]corev1.ResourceList, error) {
			n, _ := in.Objects(gr)
			if n == 0 || len(scopes) > 0 {
				return nil, nil
			}
			return []corev1.ResourceList{{name: *resource.NewQuantity(n, resource.DecimalSI)}}, nil
		},
	}, true
}
