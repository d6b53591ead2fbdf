// Package envtest runs controller-runtime's envtest, unchanged, on the programs that
// `kubus envtest` writes. It needs kubus and kubectl of `make build`, no root.
package envtest

import (
	"context"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

var binDir = flag.String("bin", "", "directory of the binaries (default: bin at the top)")

var assetsDir = flag.String("assets", "", "a folder for KUBEBUILDER_ASSETS that BenchmarkStart takes, such as upstream's (default: kubus')")

// assets is a folder for KUBEBUILDER_ASSETS.
func assets(t testing.TB) string {
	t.Helper()
	bin := *binDir
	if bin == "" {
		bin = filepath.Join("..", "..", "..", "bin")
	}
	kubus := filepath.Join(bin, "kubus")
	if _, err := os.Stat(kubus); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("CI promised a build: %v", err)
		}
		t.Skipf("needs `make build`: %v", err)
	}
	out, err := exec.Command(kubus, "envtest", filepath.Join(t.TempDir(), "assets")).Output()
	if err != nil {
		t.Fatalf("kubus envtest: %v", err)
	}
	return strings.TrimSpace(string(out))
}

func start(t *testing.T, env *envtest.Environment) (*rest.Config, client.WithWatch) {
	t.Helper()
	began := time.Now()
	cfg, err := env.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("started after %v", time.Since(began).Round(time.Millisecond))
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Errorf("stopping: %v", err)
		}
	})
	c, err := client.NewWithWatch(cfg, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return cfg, c
}

func TestAControllersTestsRunOnKubus(t *testing.T) {
	env := &envtest.Environment{BinaryAssetsDirectory: assets(t)}
	_, c := start(t, env)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	t.Run("objects are created, changed, watched, listed and deleted", func(t *testing.T) { objects(ctx, t, c) })
	t.Run("a pod needs no ServiceAccount", func(t *testing.T) {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
		if err := c.Create(ctx, pod); err != nil {
			t.Fatal(err)
		}
		pod.Status.Phase = corev1.PodRunning
		if err := c.Status().Update(ctx, pod); err != nil {
			t.Error(err)
		}
	})
	t.Run("a Service gets an address of envtest's range", func(t *testing.T) {
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
		if err := c.Create(ctx, s); err != nil || !strings.HasPrefix(s.Spec.ClusterIP, "10.0.0.") {
			t.Errorf("got %q, %v", s.Spec.ClusterIP, err)
		}
	})
	t.Run("a user of the test has the rights that he is given", func(t *testing.T) { users(ctx, t, env, c) })
	t.Run("the API server starts again over its etcd", func(t *testing.T) {
		server := env.ControlPlane.GetAPIServer()
		if err := server.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		user, err := env.ControlPlane.AddUser(envtest.User{Name: "again", Groups: []string{"system:masters"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		again, err := client.New(user.Config(), client.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := again.Get(ctx, client.ObjectKey{Namespace: "default", Name: "s"}, &corev1.Service{}); err != nil {
			t.Errorf("what was written before: %v", err)
		}
	})
}

func objects(ctx context.Context, t *testing.T, c client.WithWatch) {
	watch, err := c.Watch(ctx, &corev1.ConfigMapList{}, client.InNamespace("default"))
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", GenerateName: "m-"}, Data: map[string]string{"a": "1"}}
	if err := c.Create(ctx, m); err != nil {
		t.Fatal(err)
	}
	stale := m.DeepCopy()
	m.Data["a"] = "2"
	if err := c.Update(ctx, m); err != nil {
		t.Fatal(err)
	}
	if err := c.Update(ctx, stale); !apierrors.IsConflict(err) {
		t.Errorf("an update of an old version: got %v", err)
	}
	before := m.DeepCopy()
	m.Labels = map[string]string{"l": "v"}
	if err := c.Patch(ctx, m, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	var list corev1.ConfigMapList
	if err := c.List(ctx, &list, client.MatchingLabels{"l": "v"}); err != nil || len(list.Items) != 1 || list.Items[0].Data["a"] != "2" {
		t.Errorf("got %v, %v", list.Items, err)
	}
	if err := c.Delete(ctx, m); err != nil {
		t.Fatal(err)
	}
	if err := c.Get(ctx, client.ObjectKeyFromObject(m), m); !apierrors.IsNotFound(err) {
		t.Errorf("after the deletion: got %v", err)
	}
	for _, want := range []string{"ADDED", "MODIFIED", "MODIFIED", "DELETED"} {
		select {
		case e := <-watch.ResultChan():
			if string(e.Type) != want {
				t.Errorf("got %s, want %s", e.Type, want)
			}
		case <-ctx.Done():
			t.Fatalf("no %s event", want)
		}
	}
}

func users(ctx context.Context, t *testing.T, env *envtest.Environment, c client.Client) {
	user, err := env.AddUser(envtest.User{Name: "jane", Groups: []string{"readers"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	jane, err := client.New(user.Config(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := jane.List(ctx, &corev1.NamespaceList{}); !apierrors.IsForbidden(err) {
		t.Errorf("without a right: got %v", err)
	}
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "readers"}, Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: []string{"list"}}}}
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "readers"}, RoleRef: rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "readers"},
		Subjects: []rbacv1.Subject{{APIGroup: "rbac.authorization.k8s.io", Kind: "Group", Name: "readers"}}}
	for _, o := range []client.Object{role, binding} {
		if err := c.Create(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	if err := jane.List(ctx, &corev1.NamespaceList{}); err != nil {
		t.Error(err)
	}
	kubectl, err := user.Kubectl()
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr, err := kubectl.Run("get", "namespaces", "-o", "name")
	out, errOut := new(strings.Builder), new(strings.Builder)
	if err != nil {
		_, _ = io.Copy(errOut, stderr)
		t.Fatalf("kubectl: %v: %s", err, errOut)
	}
	if _, err := io.Copy(out, stdout); err != nil || !strings.Contains(out.String(), "namespace/default") {
		t.Errorf("kubectl said %q, %v", out, err)
	}
}

// BenchmarkStart is what a test of controllers pays before its first request and after
// its last one; see docs/envtest.md.
func BenchmarkStart(b *testing.B) {
	dir := *assetsDir
	if dir == "" {
		dir = assets(b)
	}
	var started, stopped time.Duration
	for b.Loop() {
		env := &envtest.Environment{BinaryAssetsDirectory: dir}
		began := time.Now()
		if _, err := env.Start(); err != nil {
			b.Fatal(err)
		}
		started += time.Since(began)
		began = time.Now()
		if err := env.Stop(); err != nil {
			b.Fatal(err)
		}
		stopped += time.Since(began)
	}
	b.ReportMetric(started.Seconds()/float64(b.N), "s-start/op")
	b.ReportMetric(stopped.Seconds()/float64(b.N), "s-stop/op")
}
