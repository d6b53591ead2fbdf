package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"kubus.dev/proto/apiclient"
	"kubus.dev/services/controllers/internal/mirror"
)

// store is the API and what it keeps: objects, revisions and deletions in stages.
type store struct {
	kinds    []*kind // by the path of their collection
	revision uint64
	uids     int
	changed  func(k *kind, key types.NamespacedName, old, new object, by string)
}

type object = map[string]any

type kind struct {
	gvk        schema.GroupVersionKind
	resource   string
	namespaced bool
	path       string // of the collection, without namespace
	objects    map[types.NamespacedName]object
	sample     any // a value of the Go type, for strategic merge patches

	pending []entry // of a Model: not in the mirror yet
	connect func(w *mirror.World)
	deliver func(e entry)
	check   func(old, new object, own bool) error
}

// others is who writes where no controller does: users, nodes, the scheduler.
const others = ""

// keep adds a kind.
func keep[T any](s *store, gvk schema.GroupVersionKind, resource string, namespaced bool) *kind {
	k := &kind{gvk: gvk, resource: resource, namespaced: namespaced, objects: map[types.NamespacedName]object{}, sample: *new(T)}
	if k.path = "/apis/" + gvk.Group + "/" + gvk.Version + "/" + resource; gvk.Group == "" {
		k.path = "/api/" + gvk.Version + "/" + resource
	}
	s.kinds = append(s.kinds, k)
	slices.SortFunc(s.kinds, func(a, b *kind) int { return strings.Compare(a.path, b.path) })
	return k
}

// keepMirrored adds a kind that controllers mirror.
func keepMirrored[T any](s *store, of *mirror.Kind[T]) *kind {
	return keep[T](s, of.GVK(), of.Resource().Resource, of.Path("x") != of.Path(""))
}

// place is what a path names.
type place struct {
	*kind
	key types.NamespacedName
	sub string
}

// find gives the place of a path; false where nothing is served.
func (s *store) find(path string) (place, bool) {
	for _, k := range s.kinds {
		base := strings.TrimSuffix(k.path, k.resource)
		rest, ok := strings.CutPrefix(path, base)
		if !ok {
			continue
		}
		parts := strings.Split(rest, "/")
		p := place{kind: k}
		if k.namespaced && parts[0] == "namespaces" && len(parts) > 2 {
			p.key.Namespace, parts = parts[1], parts[2:]
		}
		if parts[0] != k.resource || k.resource == "namespaces" && len(parts) > 2 && parts[2] != "status" && parts[2] != "finalize" {
			continue
		}
		if len(parts) > 1 {
			p.key.Name = parts[1]
		}
		if len(parts) > 2 {
			p.sub = parts[2]
		}
		return p, true
	}
	return place{}, false
}

// get answers a read; the error is a status.
func (s *store) get(uri string) (any, error) {
	path, query, _ := strings.Cut(uri, "?")
	if list := s.discovery(path); list != nil {
		return list, nil
	}
	p, ok := s.find(path)
	if !ok {
		return nil, apierrors.NewNotFound(schema.GroupResource{}, path)
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if p.key.Name == "" {
		return s.list(p, values)
	}
	present := p.objects[p.key]
	if present == nil {
		return nil, p.notFound(p.key)
	}
	if p.sub == "scale" {
		return scaleOf(present), nil
	}
	return present, nil
}

func (s *store) list(p place, values url.Values) (any, error) {
	name, named := strings.CutPrefix(values.Get("fieldSelector"), "metadata.name=")
	if !named && values.Get("fieldSelector") != "" {
		return nil, apierrors.NewBadRequest("sim: nobody serves the selector " + values.Get("fieldSelector"))
	}
	items := []any{}
	for _, key := range p.keys() {
		if (p.key.Namespace == "" || key.Namespace == p.key.Namespace) && (!named || key.Name == name) {
			items = append(items, p.objects[key])
		}
	}
	return object{"metadata": object{"resourceVersion": fmt.Sprint(s.revision)}, "items": items}, nil
}

// discovery is the API's description of itself; nil where path asks for something else.
func (s *store) discovery(path string) any {
	group, version := "", ""
	switch parts := strings.Split(path, "/"); {
	case path == "/api/v1":
		version = "v1"
	case path == "/apis":
		groups := &metav1.APIGroupList{}
		for _, k := range s.kinds {
			if n := len(groups.Groups); k.gvk.Group != "" && (n == 0 || groups.Groups[n-1].Name != k.gvk.Group) {
				v := metav1.GroupVersionForDiscovery{GroupVersion: k.gvk.GroupVersion().String(), Version: k.gvk.Version}
				groups.Groups = append(groups.Groups, metav1.APIGroup{Name: k.gvk.Group, Versions: []metav1.GroupVersionForDiscovery{v}, PreferredVersion: v})
			}
		}
		return groups
	case len(parts) == 4 && parts[1] == "apis":
		group, version = parts[2], parts[3]
	default:
		return nil
	}
	list := &metav1.APIResourceList{GroupVersion: schema.GroupVersion{Group: group, Version: version}.String()}
	for _, k := range s.kinds {
		if k.gvk.Group == group && k.gvk.Version == version {
			verbs := metav1.Verbs{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
			list.APIResources = append(list.APIResources, metav1.APIResource{Name: k.resource, Kind: k.gvk.Kind, Namespaced: k.namespaced, Verbs: verbs})
		}
	}
	return list
}

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

// put writes an object as the API completes it.
func (s *store) put(k *kind, key types.NamespacedName, o object, by string) object {
	old := k.objects[key]
	o = clone(o)
	s.revision++
	m := meta(o)
	m["resourceVersion"] = fmt.Sprint(s.revision)
	delete(m, "managedFields")
	o["apiVersion"], o["kind"] = k.gvk.GroupVersion().String(), k.gvk.Kind
	if old == nil {
		s.uids++
		m["uid"] = fmt.Sprintf("uid-%d", s.uids)
		m["creationTimestamp"] = stamp()
		m["generation"] = 1.0
		k.complete(o)
	} else if !reflect.DeepEqual(tidy(old["spec"]), tidy(o["spec"])) {
		generation, _ := meta(old)["generation"].(float64)
		m["generation"] = generation + 1
	}
	k.objects[key] = o
	s.changed(k, key, old, o, by)
	return o
}

func (s *store) drop(k *kind, key types.NamespacedName, by string) {
	if old := k.objects[key]; old != nil {
		s.revision++
		delete(k.objects, key)
		s.changed(k, key, old, nil, by)
	}
}

// complete gives a new object what the API's defaults and admission give it.
func (k *kind) complete(o object) {
	phase := func(of string) {
		status := maps.Clone(field(o, "status"))
		if status == nil {
			status = object{}
		}
		if status["phase"] == nil {
			status["phase"] = of
		}
		o["status"] = status
	}
	switch k.resource {
	case "pods":
		phase(string(corev1.PodPending))
	case "persistentvolumeclaims", "persistentvolumes":
		phase("Pending")
	case "namespaces":
		phase(string(corev1.NamespaceActive))
		if spec := field(o, "spec"); spec["finalizers"] == nil {
			o["spec"] = object{"finalizers": []any{string(corev1.FinalizerKubernetes)}}
		}
	case "jobs":
		job := typed[batchv1.Job](o)
		completeJob(job)
		for name, value := range untyped(job) {
			o[name] = value
		}
	}
}

// completeJob is upstream's defaults and the selector that the API makes.
func completeJob(job *batchv1.Job) {
	spec := &job.Spec
	if spec.Completions == nil && spec.Parallelism == nil {
		spec.Completions = new(int32(1))
	}
	if spec.Parallelism == nil {
		spec.Parallelism = new(int32(1))
	}
	if spec.BackoffLimit == nil {
		spec.BackoffLimit = new(int32(6))
	}
	if spec.CompletionMode == nil {
		spec.CompletionMode = new(batchv1.NonIndexedCompletion)
	}
	if spec.Suspend == nil {
		spec.Suspend = new(bool)
	}
	if spec.PodReplacementPolicy == nil {
		spec.PodReplacementPolicy = new(batchv1.TerminatingOrFailed)
	}
	if spec.Selector != nil {
		return
	}
	uid := map[string]string{batchv1.ControllerUidLabel: string(job.UID)}
	spec.Selector = &metav1.LabelSelector{MatchLabels: uid}
	all := maps.Clone(spec.Template.Labels)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, uid)
	all[batchv1.JobNameLabel] = job.Name
	spec.Template.Labels = all
}

func scaleOf(o object) object {
	m := meta(o)
	return object{
		"apiVersion": "autoscaling/v1", "kind": "Scale",
		"metadata": object{"name": m["name"], "namespace": m["namespace"], "uid": m["uid"], "resourceVersion": m["resourceVersion"]},
		"spec":     object{"replicas": field(o, "spec")["replicas"]},
	}
}

func (k *kind) keys() []types.NamespacedName {
	return slices.SortedFunc(maps.Keys(k.objects), func(a, b types.NamespacedName) int { return strings.Compare(a.String(), b.String()) })
}

func (k *kind) groupResource() schema.GroupResource {
	return schema.GroupResource{Group: k.gvk.Group, Resource: k.resource}
}

func (k *kind) notFound(key types.NamespacedName) error {
	return apierrors.NewNotFound(k.groupResource(), key.Name)
}

func stamp() string { return metav1.NewTime(time.Now()).UTC().Format(time.RFC3339) }

func meta(o object) object { return field(o, "metadata") }

func field(o object, name string) object {
	out, _ := o[name].(object)
	return out
}

func revisionOf(o object) (revision uint64) {
	fmt.Sscan(meta(o)["resourceVersion"].(string), &revision)
	return revision
}

func keyOf(o object) types.NamespacedName {
	namespace, _ := meta(o)["namespace"].(string)
	return types.NamespacedName{Namespace: namespace, Name: meta(o)["name"].(string)}
}

// clone copies an object and its metadata.
func clone(o object) object {
	out := maps.Clone(o)
	if out == nil {
		return object{}
	}
	if m, ok := out["metadata"].(object); ok {
		out["metadata"] = maps.Clone(m)
	}
	return out
}

func typed[T any](o object) *T {
	if o == nil {
		return nil
	}
	data, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	out := new(T)
	if err := json.Unmarshal(data, out); err != nil {
		panic(err)
	}
	return out
}

func untyped(from any) object {
	data, err := json.Marshal(from)
	if err != nil {
		panic(err)
	}
	var out object
	if err := json.Unmarshal(data, &out); err != nil {
		panic(err)
	}
	return out
}
