package differential

import (
	"net/http"
	"slices"
	"strings"
)

// Some kinds have a controller in the server itself, which writes their status in its
// own time. Scenarios of them wait for it where they can, so that both sides go on from
// the same.

// settled are the kinds whose objects get a status after they were written: the condition
// that tells of it, or "" where it is the generation that was seen.
var settled = map[string]string{
	"customresourcedefinitions.apiextensions.k8s.io":           "Established",
	"apiservices.apiregistration.k8s.io":                       "Available",
	"flowschemas.flowcontrol.apiserver.k8s.io":                 "Dangling",
	"validatingadmissionpolicies.admissionregistration.k8s.io": "",
}

// send is a Scenario's, and waits behind a create.
func (s *story) send(name, method, path string, body any) {
	s.Scenario.send(name, method, path, body)
	obj, ok := body.(map[string]any)
	if !ok || method != http.MethodPost || path != s.collection() {
		return
	}
	if named, _ := meta(obj)["name"].(string); named != "" {
		s.settle(name, s.collection()+"/"+named)
	}
}

// settle waits behind a step for what the server itself writes into an object.
func (s *story) settle(step, path string) {
	if _, is := settled[s.k.Title()]; is {
		s.add(Step{Name: step + ", settled", Method: http.MethodGet, Path: path, Until: s.settled})
	}
}

// remove is a Scenario's, and waits until what ends in its own time is gone.
func (s *story) remove(name, path string) {
	s.Scenario.remove(name, path)
	if s.ends() {
		object, _, _ := strings.Cut(path, "?")
		s.look(name+", ended", object)
	}
}

// look is get of an object that may be about to end.
func (s *story) look(name, path string) {
	step := Step{Name: name, Method: http.MethodGet, Path: path}
	if s.ends() {
		step.Until = ended
	}
	s.add(step)
}

// ends says that deletions of this kind come to an end in the server's own time.
func (s *story) ends() bool { return s.k.Resource == "customresourcedefinitions" }

// settled says whether an object has its condition, or cannot get any.
func (s *story) settled(code int, doc any) bool {
	if code != http.StatusOK {
		return true
	}
	obj, _ := doc.(map[string]any)
	status, _ := obj["status"].(map[string]any)
	if settled[s.k.Title()] == "" {
		return status["observedGeneration"] == meta(obj)["generation"]
	}
	conditions, _ := status["conditions"].([]any)
	return slices.ContainsFunc(conditions, func(c any) bool {
		condition, _ := c.(map[string]any)
		return condition["type"] == settled[s.k.Title()] && (condition["status"] == "True" || !s.ends()) // a definition is not established at first
	})
}

// ended says whether an object is gone, or only held by others still, or not about to end
// at all. One that nobody holds is about to be gone: upstream's goes in a write of its own.
func ended(code int, doc any) bool {
	obj, ok := doc.(map[string]any)
	if code != http.StatusOK || !ok || meta(obj)["deletionTimestamp"] == nil {
		return true
	}
	finalizers, _ := meta(obj)["finalizers"].([]any)
	return len(finalizers) > 0 && !slices.Contains(finalizers, any("customresourcecleanup.apiextensions.k8s.io"))
}
