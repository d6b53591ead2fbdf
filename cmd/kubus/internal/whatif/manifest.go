package whatif

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// object is one object of a manifest.
type object struct {
	metav1.PartialObjectMetadata
	data []byte // JSON
}

func (o *object) String() string {
	if o.Namespace == "" {
		return o.Kind + " " + o.Name
	}
	return o.Kind + " " + o.Namespace + "/" + o.Name
}

// clusterScoped are the kinds without a namespace that matter here.
var clusterScoped = map[string]bool{"Namespace": true, "Node": true, "PersistentVolume": true, "StorageClass": true, "PriorityClass": true, "CSINode": true, "CSIDriver": true}

// read gives the objects of a manifest, those of lists one by one.
func read(r io.Reader, namespace string) ([]object, error) {
	var out []object
	documents := yaml.NewYAMLReader(bufio.NewReader(r))
	for {
		text, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		data, err := yaml.ToJSON(text)
		if err != nil {
			return nil, err
		}
		if string(data) == "null" {
			continue
		}
		if out, err = add(out, data, namespace); err != nil {
			return nil, err
		}
	}
}

func add(out []object, data []byte, namespace string) ([]object, error) {
	var list struct {
		metav1.TypeMeta
		Items []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, err
	}
	if list.Kind == "" || list.APIVersion == "" {
		return nil, errors.New("an object has no kind or no apiVersion")
	}
	if list.Items != nil {
		var err error
		for _, item := range list.Items {
			if out, err = add(out, item, namespace); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	o := object{data: data}
	if err := json.Unmarshal(data, &o.PartialObjectMetadata); err != nil {
		return nil, fmt.Errorf("%s: %w", list.Kind, err)
	}
	if o.Namespace == "" && !clusterScoped[o.Kind] {
		o.Namespace = namespace
	}
	return append(out, o), nil
}
