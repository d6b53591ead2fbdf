package gateway

import (
	"errors"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"kubus.dev/gateway/internal/aggregate"
	"kubus.dev/gateway/internal/resource"
	"kubus.dev/proto"
	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/bus"
)

// delegates are the group versions that services of the cluster serve. What metrics
// servers register with elsewhere is the place here too.
func delegates(conn *bus.Conn) map[schema.GroupVersion]aggregate.Delegate {
	verbs := metav1.Verbs{"get", "list"}
	return map[schema.GroupVersion]aggregate.Delegate{
		{Group: "metrics.k8s.io", Version: "v1beta1"}: {
			Road: busRoad{conn, proto.MetricsRequestSubject}, Priority: resource.Priority{Group: 100, Version: 100},
			Resources: []metav1.APIResource{
				{Name: "nodes", Kind: "NodeMetrics", Verbs: verbs},
				{Name: "pods", Namespaced: true, Kind: "PodMetrics", Verbs: verbs},
			},
		},
	}
}

// busRoad is the way to a service that answers requests on a subject.
type busRoad struct {
	conn    *bus.Conn
	subject string
}

func (o busRoad) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := apiclient.Ask(o.conn, o.subject, r)
	if errors.Is(err, bus.ErrNoResponders) {
		return nil, apierrors.NewServiceUnavailable("no metrics service answers on the bus")
	}
	return resp, err
}
