package intake

import (
	"bytes"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/proto/apiclient"
)

// statusPatch changes those fields of an object's status that differ, on the condition
// that the object is as it was when next was made of it: lists are replaced as a whole.
func statusPatch(path string, object metav1.Object, present, next any) (apiclient.Request, error) {
	old, err := json.Marshal(present)
	if err != nil {
		return apiclient.Request{}, fmt.Errorf("encoding a status: %w", err)
	}
	new, err := json.Marshal(next)
	if err != nil {
		return apiclient.Request{}, fmt.Errorf("encoding a status: %w", err)
	}
	changes, ok := difference(old, new)
	if !ok {
		return apiclient.Request{}, fmt.Errorf("encoding a status: %s is none", new)
	}
	request, err := encode("PATCH", path+"/status", map[string]any{
		"metadata": map[string]any{"uid": object.GetUID(), "resourceVersion": object.GetResourceVersion()},
		"status":   changes,
	})
	request.ContentType = "application/merge-patch+json"
	return request, err
}

// difference is what makes old new, as a JSON merge patch; ok is false when one of them
// is no object.
func difference(old, new json.RawMessage) (changes map[string]any, ok bool) {
	before, now := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	if json.Unmarshal(old, &before) != nil || json.Unmarshal(new, &now) != nil || before == nil || now == nil {
		return nil, false
	}
	changes = map[string]any{}
	for field := range before {
		if _, found := now[field]; !found {
			changes[field] = nil
		}
	}
	for field, value := range now {
		was, found := before[field]
		if found && bytes.Equal(was, value) {
			continue
		}
		changes[field] = value
		if inner, ok := difference(was, value); found && ok {
			changes[field] = inner
		}
	}
	return changes, true
}
