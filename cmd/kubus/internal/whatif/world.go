package whatif

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"kubus.dev/proto"
	"kubus.dev/services/scheduler"
)

// API is the cluster that is asked.
type API interface {
	// Do sends one request; an error has the API's Status.
	Do(ctx context.Context, method, path string, query url.Values, body []byte) ([]byte, error)
}

// OverHTTP reaches an API server as a kubeconfig says.
func OverHTTP(config *rest.Config) (API, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, err
	}
	c, err := rest.NewRESTClient(base, "", rest.ClientContentConfig{}, nil, client)
	return &overHTTP{c}, err
}

type overHTTP struct{ client *rest.RESTClient }

func (o *overHTTP) Do(ctx context.Context, method, path string, query url.Values, body []byte) ([]byte, error) {
	r := o.client.Verb(method).AbsPath(path).SetHeader("Accept", "application/json")
	for key, values := range query {
		r = r.Param(key, values[0])
	}
	if body != nil {
		r = r.SetHeader("Content-Type", "application/json").Body(body)
	}
	answer, err := r.DoRaw(ctx)
	if err != nil { // what the API says of it is in the body
		var status metav1.Status
		if json.Unmarshal(answer, &status) == nil && status.Kind == "Status" {
			return nil, &apierrors.StatusError{ErrStatus: status}
		}
	}
	return answer, err
}

// page bounds one answer to a list.
const page = "1000"

// world lists all that decisions look at.
func world(ctx context.Context, api API) (scheduler.World, error) {
	w := scheduler.World{}
	for _, gr := range scheduler.Resources() {
		query := url.Values{"limit": {page}}
		for {
			data, err := api.Do(ctx, http.MethodGet, collection(gr, ""), query, nil)
			if apierrors.IsNotFound(err) {
				break // an older API without this kind
			}
			if err != nil {
				return nil, fmt.Errorf("listing %s: %w", gr, err)
			}
			var list struct {
				metav1.ListMeta `json:"metadata"`
				Items           []json.RawMessage `json:"items"`
			}
			if err := json.Unmarshal(data, &list); err != nil {
				return nil, fmt.Errorf("listing %s: %w", gr, err)
			}
			w[gr] = append(w[gr], list.Items...)
			if list.Continue == "" {
				break
			}
			query.Set("continue", list.Continue)
		}
	}
	return w, nil
}

// collection is the path of a resource; every group that matters here is at v1.
func collection(gr proto.GroupResource, namespace string) string {
	path := "/api/v1"
	if gr.Group != "" {
		path = "/apis/" + gr.Group + "/v1"
	}
	if namespace != "" {
		path += "/namespaces/" + namespace
	}
	return path + "/" + gr.Resource
}

// parts are the kinds, besides pods, that decisions look at.
var parts = map[string]proto.GroupResource{
	"Namespace": {Resource: "namespaces"}, "Node": {Resource: "nodes"},
	"PersistentVolume": {Resource: "persistentvolumes"}, "PersistentVolumeClaim": {Resource: "persistentvolumeclaims"},
	"StorageClass": {Group: "storage.k8s.io", Resource: "storageclasses"}, "PodDisruptionBudget": {Group: "policy", Resource: "poddisruptionbudgets"},
	"CSINode": {Group: "storage.k8s.io", Resource: "csinodes"}, "CSIDriver": {Group: "storage.k8s.io", Resource: "csidrivers"},
	"CSIStorageCapacity": {Group: "storage.k8s.io", Resource: "csistoragecapacities"},
}

// dry asks the API what it would make of a new object; as it is, where it is there already or
// its namespace is not yet.
func dry(ctx context.Context, api API, gr proto.GroupResource, namespace string, data []byte) ([]byte, error) {
	made, err := api.Do(ctx, http.MethodPost, collection(gr, namespace), url.Values{"dryRun": {"All"}}, data)
	if apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) {
		return data, nil
	}
	return made, err
}
