package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"kubus.dev/proto/apiclient"
)

// write carries out one write of a user and gives what is there then.
func (s *store) write(r apiclient.Request, by string) (object, error) {
	p, ok := s.find(r.Path)
	if !ok {
		return nil, apierrors.NewNotFound(schema.GroupResource{}, r.Path)
	}
	var body object
	if len(r.Body) > 0 {
		if err := json.Unmarshal(r.Body, &body); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
	}
	if r.Method == http.MethodPost {
		return s.create(p, body, by)
	}
	present := p.objects[p.key]
	switch {
	case present == nil:
		return nil, p.notFound(p.key)
	case r.Method == http.MethodDelete:
		return s.delete(p, present, body, by)
	case r.Method == http.MethodPatch:
		return s.patch(p, present, r, body, by)
	}
	return s.update(p, present, body, by)
}

func (s *store) create(p place, body object, by string) (object, error) {
	m := clone(meta(body))
	if name, _ := m["name"].(string); name != "" {
		p.key.Name = name
	} else {
		p.key.Name = fmt.Sprintf("%s%05d", m["generateName"], s.revision%100000)
		m["name"] = p.key.Name
	}
	if p.namespaced {
		m["namespace"] = p.key.Namespace
		if err := s.admit(p); err != nil {
			return nil, err
		}
	}
	if p.objects[p.key] != nil {
		return nil, apierrors.NewAlreadyExists(p.groupResource(), p.key.Name)
	}
	o := clone(body)
	o["metadata"] = m
	return s.put(p.kind, p.key, o, by), nil
}

// admit refuses what is made in a namespace that is not there, or not for long.
func (s *store) admit(p place) error {
	namespaces, served := s.find("/api/v1/namespaces/" + p.key.Namespace)
	if !served {
		return nil
	}
	ns := namespaces.objects[types.NamespacedName{Name: p.key.Namespace}]
	switch {
	case ns == nil:
		return apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, p.key.Namespace)
	case meta(ns)["deletionTimestamp"] != nil:
		err := apierrors.NewForbidden(p.groupResource(), p.key.Name, fmt.Errorf("unable to create new content in namespace %s because it is being terminated", p.key.Namespace))
		err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
			Type: corev1.NamespaceTerminatingCause, Message: fmt.Sprintf("namespace %s is being terminated", p.key.Namespace), Field: "metadata.namespace",
		})
		return err
	}
	return nil
}

func (s *store) update(p place, present, body object, by string) (object, error) {
	if err := p.unchanged(present, meta(body)); err != nil {
		return nil, err
	}
	var next object
	switch p.sub {
	case "status":
		next = clone(present)
		next["status"] = body["status"]
		if annotations := meta(body)["annotations"]; annotations != nil { // as upstream's strategies have it
			m := maps.Clone(meta(next))
			m["annotations"] = annotations
			next["metadata"] = m
		}
	case "finalize":
		next = clone(present)
		spec := maps.Clone(field(next, "spec"))
		spec["finalizers"] = field(body, "spec")["finalizers"]
		next["spec"] = spec
	case "scale":
		next = clone(present)
		spec := maps.Clone(field(next, "spec"))
		spec["replicas"] = field(body, "spec")["replicas"]
		next["spec"] = spec
	default:
		next = clone(body)
		if delete(next, "status"); present["status"] != nil {
			next["status"] = present["status"]
		}
	}
	return s.change(p, present, next, by), nil
}

// unchanged holds a write to the UID and the resourceVersion that it names.
func (k *kind) unchanged(present, wanted object) error {
	if uid := wanted["uid"]; uid != nil && uid != meta(present)["uid"] {
		return apierrors.NewConflict(k.groupResource(), fmt.Sprint(meta(present)["name"]), errors.New("another UID"))
	}
	if v, _ := wanted["resourceVersion"].(string); v != "" && v != meta(present)["resourceVersion"] {
		return apierrors.NewConflict(k.groupResource(), fmt.Sprint(meta(present)["name"]), errors.New("the object has been modified"))
	}
	return nil
}

func (s *store) patch(p place, present object, r apiclient.Request, body object, by string) (object, error) {
	m := meta(body)
	if uid := m["uid"]; uid != nil && uid != meta(present)["uid"] {
		return nil, apierrors.NewInvalid(p.gvk.GroupKind(), p.key.Name, nil)
	}
	if v, _ := m["resourceVersion"].(string); v != "" && v != meta(present)["resourceVersion"] {
		return nil, apierrors.NewConflict(p.groupResource(), p.key.Name, errors.New("the object has been modified"))
	}
	next := present
	if strings.Contains(r.ContentType, "merge-patch") && !strings.Contains(r.ContentType, "strategic") {
		next = merge(next, body).(object)
	} else { // an apply is near enough to one, for what controllers own
		merged, err := strategic(present, r.Body, p.sample)
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		next = merged
	}
	switch whole := clone(present); p.sub {
	case "status":
		whole["status"] = next["status"]
		next = whole
	default:
		if next = clone(next); present["status"] != nil {
			next["status"] = present["status"]
		} else {
			delete(next, "status")
		}
	}
	return s.change(p, present, next, by), nil
}

func strategic(present object, patch []byte, sample any) (object, error) {
	before, err := json.Marshal(present)
	if err != nil {
		return nil, err
	}
	after, err := strategicpatch.StrategicMergePatch(before, patch, sample)
	if err != nil {
		return nil, err
	}
	var next object
	return next, json.Unmarshal(after, &next)
}

func merge(to, patch any) any {
	changes, ok := patch.(object)
	if !ok {
		return patch
	}
	out, _ := to.(object)
	if out = maps.Clone(out); out == nil {
		out = object{}
	}
	for name, value := range changes {
		if value == nil {
			delete(out, name)
			continue
		}
		out[name] = merge(out[name], value)
	}
	return out
}

// change writes a new version, unless it says nothing new, or removes an object that
// only waited for its last finalizer.
func (s *store) change(p place, present, next object, by string) object {
	m := clone(meta(next))
	for _, kept := range []string{"uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "resourceVersion", "namespace", "name"} {
		if m[kept] = meta(present)[kept]; m[kept] == nil {
			delete(m, kept)
		}
	}
	next["metadata"] = m
	next["apiVersion"], next["kind"] = p.gvk.GroupVersion().String(), p.gvk.Kind
	switch {
	case m["deletionTimestamp"] != nil && !p.holds(next):
		s.drop(p.kind, p.key, by)
		return next
	case reflect.DeepEqual(tidy(present), tidy(next)):
		return present
	}
	return s.put(p.kind, p.key, next, by)
}

// tidy takes what means nothing out of an object, for comparison.
func tidy(o any) any {
	fields, ok := o.(object)
	if !ok {
		return o
	}
	out := object{}
	for name, value := range fields {
		value = tidy(value)
		if list, ok := value.([]any); ok && len(list) == 0 {
			continue
		}
		if inner, ok := value.(object); value == nil || ok && len(inner) == 0 {
			continue
		}
		out[name] = value
	}
	return out
}

// holds tells what keeps an object that is deleted: a finalizer, or the node of a pod.
func (k *kind) holds(o object) bool {
	if list, _ := meta(o)["finalizers"].([]any); len(list) > 0 {
		return true
	}
	if k.resource == "namespaces" {
		list, _ := field(o, "spec")["finalizers"].([]any)
		return len(list) > 0
	}
	if k.resource != "pods" {
		return false
	}
	grace, _ := meta(o)["deletionGracePeriodSeconds"].(float64)
	return grace > 0
}

func (s *store) delete(p place, present, options object, by string) (object, error) {
	preconditions, _ := options["preconditions"].(object)
	if err := p.unchanged(present, preconditions); err != nil {
		return nil, err
	}
	next := clone(present)
	m := meta(next)
	m["finalizers"] = finalizersFor(m["finalizers"], options["propagationPolicy"])
	if m["deletionTimestamp"] == nil {
		m["deletionTimestamp"] = stamp()
		if p.resource == "pods" {
			m["deletionGracePeriodSeconds"] = graceOf(present, options)
		}
		if generation, ok := m["generation"].(float64); ok {
			m["generation"] = generation + 1
		}
	} else if grace, ok := options["gracePeriodSeconds"].(float64); ok && grace == 0 {
		m["deletionGracePeriodSeconds"] = 0.0
	}
	if !p.holds(next) {
		s.drop(p.kind, p.key, by)
		return present, nil
	}
	if reflect.DeepEqual(tidy(present), tidy(next)) {
		return present, nil
	}
	return s.put(p.kind, p.key, next, by), nil
}

// graceOf is how long a pod's node may take; nothing where no node runs it.
func graceOf(pod, options object) float64 {
	if phase := field(pod, "status")["phase"]; field(pod, "spec")["nodeName"] == nil || phase == string(corev1.PodSucceeded) || phase == string(corev1.PodFailed) {
		return 0
	}
	if grace, ok := options["gracePeriodSeconds"].(float64); ok {
		return grace
	}
	return 30
}

func finalizersFor(present, policy any) []any {
	list, _ := present.([]any)
	for name, of := range map[string]metav1.DeletionPropagation{
		metav1.FinalizerOrphanDependents: metav1.DeletePropagationOrphan,
		metav1.FinalizerDeleteDependents: metav1.DeletePropagationForeground,
	} {
		if policy == nil {
			continue
		}
		list = slices.DeleteFunc(slices.Clone(list), func(f any) bool { return f == name })
		if policy == string(of) {
			list = append(list, name)
		}
	}
	return list
}
