package write

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/apiclient"
)

// Path is the URL path of a collection, or of one object where name is given.
// group and version as in apiVersion; namespace is empty for cluster scope.
func Path(group, version, namespace, resource string, name ...string) string {
	path := "/api/" + version
	if group != "" {
		path = "/apis/" + group + "/" + version
	}
	if namespace != "" {
		path += "/namespaces/" + namespace
	}
	path += "/" + resource
	for _, segment := range name {
		path += "/" + url.PathEscape(segment)
	}
	return path
}

// Create posts object to a collection.
func Create(path string, object any) (apiclient.Request, error) {
	return request("POST", path, "application/json", object)
}

// Update puts object, whose resourceVersion is the condition, to its own path or to
// that of a subresource.
func Update(path string, object any) (apiclient.Request, error) {
	return request("PUT", path, "application/json", object)
}

// Merge sends a JSON merge patch.
func Merge(path string, patch any) (apiclient.Request, error) {
	return request("PATCH", path, "application/merge-patch+json", patch)
}

// Strategic sends a strategic merge patch.
func Strategic(path string, patch any) (apiclient.Request, error) {
	return request("PATCH", path, "application/strategic-merge-patch+json", patch)
}

// Delete deletes one object, or with policy and preconditions; options may be nil.
func Delete(path string, options *metav1.DeleteOptions) (apiclient.Request, error) {
	if options == nil {
		return apiclient.Request{Method: "DELETE", Path: path}, nil
	}
	options = options.DeepCopy()
	options.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "DeleteOptions"}
	return request("DELETE", path, "application/json", options)
}

// OnlyUID is the precondition that the object is still the same one.
func OnlyUID(uid types.UID) *metav1.Preconditions { return &metav1.Preconditions{UID: &uid} }

func request(method, path, contentType string, body any) (apiclient.Request, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return apiclient.Request{}, fmt.Errorf("encoding body of %s %s: %w", method, path, err)
	}
	return apiclient.Request{Method: method, Path: path, Body: data, ContentType: contentType}, nil
}

// Revision is the resourceVersion of an object in JSON; zero when it has none.
func Revision(object []byte) uint64 {
	var partial struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
	}
	if json.Unmarshal(object, &partial) != nil {
		return 0
	}
	revision, err := strconv.ParseUint(partial.Metadata.ResourceVersion, 10, 64)
	if err != nil {
		return 0
	}
	return revision
}
