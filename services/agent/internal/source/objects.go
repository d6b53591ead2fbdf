package source

import (
	"context"
	"errors"
	"maps"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/apiclient"
)

// Objects gives the ConfigMaps and Secrets that the node's pods name. While a
// pod holds a name, the object is watched, and kept on disk.
type Objects struct {
	// Bundles are held and released with the rest.
	Bundles *Bundles

	configMaps *cache[corev1.ConfigMap, *corev1.ConfigMap]
	secrets    *cache[corev1.Secret, *corev1.Secret]
}

// NewObjects makes an empty set. Its watches end with ctx; Wait waits for them.
// changed is told, on some goroutine, when an object that pods hold is created,
// changed or deleted.
func NewObjects(ctx context.Context, api *apiclient.Client, store *Store, log *zap.Logger, changed func(pods []types.UID)) *Objects {
	return &Objects{
		Bundles:    NewBundles(ctx, api, store, log, changed),
		configMaps: newCache[corev1.ConfigMap](ctx, api, store, log, "configmaps", changed),
		secrets:    newCache[corev1.Secret](ctx, api, store, log, "secrets", changed),
	}
}

// ConfigMap gives the newest known version; do not change it.
func (o *Objects) ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	return o.configMaps.get(ctx, types.NamespacedName{Namespace: namespace, Name: name})
}

// Secret gives the newest known version; do not change it.
func (o *Objects) Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	return o.secrets.get(ctx, types.NamespacedName{Namespace: namespace, Name: name})
}

// Hold notes what the pod names. Again for the same pod it replaces what was noted.
func (o *Objects) Hold(pod *corev1.Pod) {
	configMaps, secrets, pulls := References(pod)
	o.configMaps.hold(pod.UID, pod.Namespace, configMaps, nil)
	o.secrets.hold(pod.UID, pod.Namespace, secrets, pulls)
	o.Bundles.Hold(pod)
}

// Release forgets the pod.
func (o *Objects) Release(uid types.UID) {
	o.configMaps.hold(uid, "", nil, nil)
	o.secrets.hold(uid, "", nil, nil)
	o.Bundles.Release(uid)
}

// Sweep removes kept copies of what no pod holds; call it when all pods are known.
func (o *Objects) Sweep() error {
	return errors.Join(o.configMaps.sweep(), o.secrets.sweep())
}

// Wait waits for the watches; call it after their context has ended.
func (o *Objects) Wait() {
	o.configMaps.running.Wait()
	o.secrets.running.Wait()
	o.Bundles.Wait()
}

type object[T any] interface {
	*T
	metav1.Object
}

type cache[T any, P object[T]] struct {
	ctx      context.Context // bounds the watches, which outlive the calls that begin them
	api      *apiclient.Client
	store    *Store
	log      *zap.Logger
	resource string
	changed  func([]types.UID)
	running  sync.WaitGroup

	mu   sync.Mutex
	held map[types.NamespacedName]*held[T]
	pods map[types.UID]map[types.NamespacedName]bool
}

type held[T any] struct {
	pods     map[types.UID]bool // true: the pod cannot start without it, so a copy is kept
	stop     context.CancelFunc // of the watch; nil before it is begun
	known    bool               // value is the API's answer
	followed bool               // the watch keeps it
	value    *T                 // nil when known: does not exist
}

func newCache[T any, P object[T]](ctx context.Context, api *apiclient.Client, store *Store, log *zap.Logger, resource string, changed func([]types.UID)) *cache[T, P] {
	return &cache[T, P]{
		ctx: ctx, api: api, store: store, log: log, resource: resource, changed: changed,
		held: map[types.NamespacedName]*held[T]{}, pods: map[types.UID]map[types.NamespacedName]bool{},
	}
}

func (c *cache[T, P]) sweep() error {
	return c.store.sweepObjects(c.resource, func(key types.NamespacedName) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.held[key] != nil
	})
}

// hold notes the objects that a pod needs to start, and those that it may use besides.
func (c *cache[T, P]) hold(uid types.UID, namespace string, needed, used []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := make(map[types.NamespacedName]bool, len(needed)+len(used))
	for i, name := range slices.Concat(needed, used) {
		key := types.NamespacedName{Namespace: namespace, Name: name}
		now[key] = true
		h := c.held[key]
		if h == nil {
			h = &held[T]{pods: map[types.UID]bool{}}
			c.held[key] = h
		}
		h.pods[uid] = i < len(needed)
	}
	for key := range c.pods[uid] {
		if !now[key] {
			c.drop(key, uid)
		}
	}
	if len(now) == 0 {
		delete(c.pods, uid)
		return
	}
	c.pods[uid] = now
}

func (c *cache[T, P]) drop(key types.NamespacedName, uid types.UID) {
	h := c.held[key]
	if h == nil {
		return
	}
	delete(h.pods, uid)
	if len(h.pods) > 0 {
		return
	}
	delete(c.held, key)
	if h.stop != nil {
		h.stop()
	}
	_ = os.Remove(c.store.objectFile(c.resource, key.Namespace, key.Name)) // an old copy would only be unused
}

// get answers from the watch where there is one, else asks the API, else the disk.
func (c *cache[T, P]) get(ctx context.Context, key types.NamespacedName) (*T, error) {
	c.mu.Lock()
	if h := c.held[key]; h != nil && h.known && (h.followed || h.value != nil) {
		value := h.value
		c.mu.Unlock()
		return c.answer(key, value)
	}
	c.mu.Unlock()
	kept := new(T)
	haveKept := load(c.store.objectFile(c.resource, key.Namespace, key.Name), kept) == nil
	value, err := c.ask(ctx, key, haveKept)
	if err != nil && !apierrors.IsNotFound(err) {
		if !haveKept || ctx.Err() != nil {
			return nil, err
		}
		c.log.Info("the API does not answer, using the kept copy", zap.String("kind", c.resource),
			zap.String("namespace", key.Namespace), zap.String("name", key.Name), zap.Error(err))
		c.follow(key)
		return kept, nil
	}
	if err != nil {
		value = nil
	}
	c.mu.Lock()
	if h := c.held[key]; h != nil && !h.followed {
		h.known, h.value = true, value
	}
	c.mu.Unlock()
	c.keep(key, value)
	c.follow(key)
	return c.answer(key, value)
}

// patience is how long a kept copy waits for a newer answer.
const patience = 2 * time.Second

func (c *cache[T, P]) ask(ctx context.Context, key types.NamespacedName, hasty bool) (*T, error) {
	if hasty {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	return apiclient.Get[T](ctx, c.api, c.path(key.Namespace)+"/"+key.Name)
}

func (c *cache[T, P]) answer(key types.NamespacedName, value *T) (*T, error) {
	if value == nil {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: singular(c.resource)}, key.Name)
	}
	return value, nil
}

// singular gives kubelet's wording: configmap "x" not found.
func singular(resource string) string { return resource[:len(resource)-1] }

func (c *cache[T, P]) path(namespace string) string {
	return "/api/v1/namespaces/" + namespace + "/" + c.resource
}

func (c *cache[T, P]) keep(key types.NamespacedName, value *T) {
	if value == nil || !c.kept(key) {
		return
	}
	P(value).SetManagedFields(nil)
	if err := c.store.save(c.store.objectFile(c.resource, key.Namespace, key.Name), value); err != nil {
		c.log.Warn("object not kept", zap.String("kind", c.resource), zap.String("name", key.Name), zap.Error(err))
	}
}

// kept tells whether a copy of the object belongs on the disk: some pod needs it to start.
func (c *cache[T, P]) kept(key types.NamespacedName) bool {
	if _, secret := any((*T)(nil)).(*corev1.Secret); secret && c.store.bare {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.held[key]
	return h != nil && slices.Contains(slices.Collect(maps.Values(h.pods)), true)
}

// follow begins the watch of an object that pods hold.
func (c *cache[T, P]) follow(key types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.held[key]
	if h == nil || h.stop != nil || c.ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithCancel(c.ctx)
	h.stop = cancel
	c.running.Add(1)
	go func() {
		defer c.running.Done()
		defer cancel()
		query := url.Values{"fieldSelector": {"metadata.name=" + key.Name}}
		err := apiclient.ListWatch(ctx, c.api, c.path(key.Namespace), query, func(_, new *T) { c.set(key, h, new) }, func() { c.synced(h) })
		if err != nil && ctx.Err() == nil {
			c.log.Warn("object is not followed any more", zap.String("name", key.String()), zap.Error(err))
		}
	}()
}

func (c *cache[T, P]) synced(h *held[T]) {
	c.mu.Lock()
	h.known, h.followed = true, true
	c.mu.Unlock()
}

func (c *cache[T, P]) set(key types.NamespacedName, h *held[T], value *T) {
	c.mu.Lock()
	if c.held[key] != h {
		c.mu.Unlock()
		return
	}
	same := h.known && h.value != nil && value != nil && P(h.value).GetResourceVersion() == P(value).GetResourceVersion()
	h.known, h.value = true, value
	pods := make([]types.UID, 0, len(h.pods))
	for uid := range h.pods {
		pods = append(pods, uid)
	}
	c.mu.Unlock()
	if same {
		return
	}
	c.keep(key, value)
	c.changed(pods)
}

// References lists the ConfigMaps and Secrets that a pod's spec names; pulls are the Secrets that only pulling its images
// needs.
func References(pod *corev1.Pod) (configMaps, secrets, pulls []string) {
	cm, sec := map[string]bool{}, map[string]bool{}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.ConfigMap != nil {
			cm[v.ConfigMap.Name] = true
		}
		if v.Secret != nil {
			sec[v.Secret.SecretName] = true
		}
		if v.Projected == nil {
			continue
		}
		for j := range v.Projected.Sources {
			if s := v.Projected.Sources[j]; s.ConfigMap != nil {
				cm[s.ConfigMap.Name] = true
			} else if s.Secret != nil {
				sec[s.Secret.Name] = true
			}
		}
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			environment(&list[i], cm, sec)
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		c := corev1.Container(pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		environment(&c, cm, sec)
	}
	forPulls := map[string]bool{}
	for _, s := range pod.Spec.ImagePullSecrets {
		if !sec[s.Name] {
			forPulls[s.Name] = true
		}
	}
	return names(cm), names(sec), names(forPulls)
}

func environment(c *corev1.Container, cm, sec map[string]bool) {
	for _, f := range c.EnvFrom {
		if f.ConfigMapRef != nil {
			cm[f.ConfigMapRef.Name] = true
		}
		if f.SecretRef != nil {
			sec[f.SecretRef.Name] = true
		}
	}
	for _, e := range c.Env {
		if e.ValueFrom == nil {
			continue
		}
		if r := e.ValueFrom.ConfigMapKeyRef; r != nil {
			cm[r.Name] = true
		}
		if r := e.ValueFrom.SecretKeyRef; r != nil {
			sec[r.Name] = true
		}
	}
}

func names(set map[string]bool) []string {
	delete(set, "")
	out := make([]string, 0, len(set))
	for n := range set {
		out = append(out, n)
	}
	return out
}
