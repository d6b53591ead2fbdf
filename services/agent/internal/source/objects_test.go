package source

import (
	"context"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/bustest/apitest"
)

func TestReferencesAreAllThatASpecNames(t *testing.T) {
	t.Parallel()
	local := func(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }
	env := func(cm, secret string) corev1.Container {
		return corev1.Container{
			EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: local(cm)}}},
			Env: []corev1.EnvVar{{Value: "plain"},
				{ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: local(secret)}}}},
		}
	}
	volume := func(v corev1.VolumeSource) corev1.PodSpec {
		return corev1.PodSpec{Volumes: []corev1.Volume{{VolumeSource: v}}}
	}
	tests := []struct {
		name                string
		spec                corev1.PodSpec
		configMaps, secrets []string
		pulls               []string
	}{
		{"nothing", corev1.PodSpec{}, nil, nil, nil},
		{"a volume of a ConfigMap", volume(corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: local("c")}}), []string{"c"}, nil, nil},
		{"a volume of a Secret", volume(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s"}}), nil, []string{"s"}, nil},
		{"a projected volume", volume(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: local("c")}}, {Secret: &corev1.SecretProjection{LocalObjectReference: local("s")}},
			{DownwardAPI: &corev1.DownwardAPIProjection{}}}}}), []string{"c"}, []string{"s"}, nil},
		{"a container's environment", corev1.PodSpec{Containers: []corev1.Container{env("c", "s")}}, []string{"c"}, []string{"s"}, nil},
		{"an init container's", corev1.PodSpec{InitContainers: []corev1.Container{env("c", "s")}}, []string{"c"}, []string{"s"}, nil},
		{"an ephemeral container's", corev1.PodSpec{EphemeralContainers: []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon(env("c", "s"))}}}, []string{"c"}, []string{"s"}, nil},
		{"pull secrets", corev1.PodSpec{ImagePullSecrets: []corev1.LocalObjectReference{local("s")}}, nil, nil, []string{"s"}},
		{"a pull secret that a container needs too", corev1.PodSpec{Containers: []corev1.Container{env("c", "s")}, ImagePullSecrets: []corev1.LocalObjectReference{local("s")}}, []string{"c"}, []string{"s"}, nil},
		{"one name in two places is one", corev1.PodSpec{Containers: []corev1.Container{env("c", "s"), env("c", "s")}}, []string{"c"}, []string{"s"}, nil},
		{"an empty name is none", corev1.PodSpec{Containers: []corev1.Container{env("", "")}}, nil, nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			configMaps, secrets, pulls := References(&corev1.Pod{Spec: tt.spec})
			if !slices.Equal(configMaps, tt.configMaps) || !slices.Equal(secrets, tt.secrets) || !slices.Equal(pulls, tt.pulls) {
				t.Errorf("got %v, %v and %v, want %v, %v and %v", configMaps, secrets, pulls, tt.configMaps, tt.secrets, tt.pulls)
			}
		})
	}
}

// world is a node's Objects over an API, with what they told of changes.
type world struct {
	*Objects
	api   *apitest.API
	store *Store
	stop  func()

	mu   sync.Mutex
	told []types.UID
}

func newWorld(t *testing.T, api *apitest.API, store *Store) *world {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &world{api: api, store: store}
	w.Objects = NewObjects(ctx, api.Client("system:node:n"), store, zap.NewNop(), func(pods []types.UID) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.told = append(w.told, pods...)
	})
	w.stop = func() {
		cancel()
		w.Wait()
	}
	return w
}

func (w *world) changes() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.told)
}

func open(t *testing.T) *Store {
	t.Helper()
	s, err := OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// user is a pod that names the ConfigMap "c".
func user(uid types.UID) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: string(uid), Namespace: "ns", UID: uid}}
	p.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "c"}}}}}
	return p
}

func configMap(value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{Data: map[string]string{"k": value}}
}

const (
	configMapPath = "/api/v1/namespaces/ns/configmaps/c"
)

func (w *world) value(t *testing.T) string {
	t.Helper()
	c, err := w.ConfigMap(t.Context(), "ns", "c")
	if apierrors.IsNotFound(err) {
		return "none: " + err.Error()
	}
	if err != nil {
		return err.Error()
	}
	return c.Data["k"]
}

func TestAnObjectIsAskedForOnceThenFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, apitest.New(), open(t))
		defer w.stop()
		w.api.Put(configMapPath, configMap("1"))
		w.Hold(user("u"))
		if got := w.value(t); got != "1" {
			t.Errorf("got %s", got)
		}
		synctest.Wait()
		w.api.Put(configMapPath, configMap("2"))
		synctest.Wait()
		asked := len(w.api.Requests())
		if got := w.value(t); got != "2" || w.changes() != 1 {
			t.Errorf("got %s after the change, of which pods heard %d times", got, w.changes())
		}
		if n := len(w.api.Requests()); n != asked {
			t.Errorf("a followed object was asked for again: %v", w.api.Requests()[asked:])
		}
		w.api.Delete(configMapPath)
		synctest.Wait()
		if got, want := w.value(t), `none: configmap "c" not found`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if w.changes() != 2 {
			t.Errorf("pods heard %d times of a change and a deletion", w.changes())
		}
	})
}

func TestAnAbsentObjectIsSeenWhenItComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, apitest.New(), open(t))
		defer w.stop()
		w.Hold(user("u"))
		if got := w.value(t); !strings.HasPrefix(got, "none") {
			t.Errorf("got %s", got)
		}
		synctest.Wait()
		w.api.Put(configMapPath, configMap("1"))
		synctest.Wait()
		if got := w.value(t); got != "1" || w.changes() != 1 {
			t.Errorf("got %s, told %d times", got, w.changes())
		}
	})
}

func TestWithoutTheAPITheKeptCopyMustDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api, store := apitest.New(), open(t)
		api.Put(configMapPath, configMap("1"))
		before := newWorld(t, api, store)
		before.Hold(user("u"))
		before.value(t)
		before.stop()

		api.Away(true)
		w := newWorld(t, api, store)
		defer w.stop()
		w.Hold(user("u"))
		if got := w.value(t); got != "1" {
			t.Errorf("got %s, want the kept 1", got)
		}
		api.Put(configMapPath, configMap("2"))
		api.Away(false)
		time.Sleep(time.Minute)
		if got := w.value(t); got != "2" {
			t.Errorf("when the API is back: got %s", got)
		}
		if _, err := w.Secret(t.Context(), "ns", "never-seen"); !apierrors.IsNotFound(err) {
			t.Errorf("got %v", err)
		}
		api.Away(true)
		if _, err := w.Secret(t.Context(), "ns", "never-seen"); err == nil || apierrors.IsNotFound(err) {
			t.Errorf("an object of which nothing is known: %v", err)
		}
	})
}

func TestWhatNoPodNamesIsNeitherWatchedNorKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, apitest.New(), open(t))
		defer w.stop()
		w.api.Put(configMapPath, configMap("1"))
		w.Hold(user("u"))
		w.Hold(user("v"))
		w.value(t)
		synctest.Wait()
		file := w.store.objectFile("configmaps", "ns", "c")
		w.Release("u")
		if _, err := os.Stat(file); err != nil {
			t.Errorf("one pod still names it: %v", err)
		}
		w.Release("v")
		if _, err := os.Stat(file); !os.IsNotExist(err) {
			t.Errorf("nobody names it any more, but its copy is there: %v", err)
		}
		w.api.Put(configMapPath, configMap("2"))
		synctest.Wait()
		if w.changes() != 0 {
			t.Errorf("a released object was followed: %v", w.told)
		}
	})
}

func TestSweepRemovesTheCopiesOfAFormerRunThatNobodyNames(t *testing.T) {
	t.Parallel()
	store := open(t)
	w := newWorld(t, apitest.New(), store)
	defer w.stop()
	for _, name := range []string{"c", "left"} {
		if err := store.save(store.objectFile("configmaps", "ns", name), configMap("1")); err != nil {
			t.Fatal(err)
		}
	}
	w.Hold(user("u"))
	if err := w.Sweep(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(store.objectFile("configmaps", "ns", "c")); err != nil {
		t.Errorf("a named object's copy: %v", err)
	}
	if _, err := os.Stat(store.objectFile("configmaps", "ns", "left")); !os.IsNotExist(err) {
		t.Errorf("the copy of what nobody names: %v", err)
	}
}
