package helm

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"helm.sh/helm/v4/pkg/action"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/cli"
	"helm.sh/helm/v4/pkg/kube"
	"helm.sh/helm/v4/pkg/release"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

var kubeconfig = flag.String("kubeconfig", "", "kubeconfig of the administrator of a cluster, which needs no nodes")

const (
	namespace = "shop"
	patience  = 2 * time.Minute
)

// cluster is Helm's configuration and a client beside it.
type cluster struct {
	config *action.Configuration
	client dynamic.Interface
}

func connect(t *testing.T) *cluster {
	t.Helper()
	if *kubeconfig == "" {
		t.Fatal("-kubeconfig is needed: make helm")
	}
	settings := cli.New()
	settings.KubeConfig = *kubeconfig
	settings.SetNamespace(namespace)
	config := action.NewConfiguration()
	if err := config.Init(settings.RESTClientGetter(), namespace, "secret"); err != nil {
		t.Fatal(err)
	}
	rest, err := settings.RESTClientGetter().ToRESTConfig()
	if err != nil {
		t.Fatal(err)
	}
	client, err := dynamic.NewForConfig(rest)
	if err != nil {
		t.Fatal(err)
	}
	return &cluster{config, client}
}

func load(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.LoadDir("testdata/chart")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var (
	configMaps  = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	secrets     = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	services    = schema.GroupVersionResource{Version: "v1", Resource: "services"}
	deployments = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	budgets     = schema.GroupVersionResource{Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"}
	roles       = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"}
	widgets     = schema.GroupVersionResource{Group: "shop.example.com", Version: "v1", Resource: "widgets"}
	definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
)

// field gives a field of an object as text; "" where there is no such object.
func (c *cluster) field(t *testing.T, gvr schema.GroupVersionResource, name string, path ...string) string {
	t.Helper()
	obj, err := c.client.Resource(gvr).Namespace(namespace).Get(t.Context(), name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	value, found, err := unstructured.NestedFieldNoCopy(obj.Object, path...)
	if err != nil || !found {
		t.Fatalf("%s %s has no %v: %v", gvr.Resource, name, path, err)
	}
	return fmt.Sprint(value)
}

// holds wants fields of objects.
func (c *cluster) holds(t *testing.T, when string, want map[string]string) {
	t.Helper()
	got := map[string]string{
		"greeting":      c.field(t, configMaps, "shop-settings", "data", "greeting"),
		"revision":      c.field(t, configMaps, "shop-settings", "data", "revision"),
		"replicas":      c.field(t, deployments, "shop", "spec", "replicas"),
		"widget":        c.field(t, widgets, "shop", "spec", "size"),
		"budget":        c.field(t, budgets, "shop", "spec", "minAvailable"),
		"port":          c.field(t, services, "shop", "spec", "type"),
		"role":          c.field(t, roles, "shop", "metadata", "name"),
		"extra":         c.field(t, secrets, "shop-extra", "metadata", "name"),
		"once":          c.field(t, secrets, "shop-once", "metadata", "name"),
		"pre-install":   c.field(t, configMaps, "shop-pre-install", "data", "revision"),
		"post-install":  c.field(t, configMaps, "shop-post-install", "data", "revision"),
		"pre-upgrade":   c.field(t, configMaps, "shop-pre-upgrade", "data", "revision"),
		"post-upgrade":  c.field(t, configMaps, "shop-post-upgrade", "data", "revision"),
		"pre-rollback":  c.field(t, configMaps, "shop-pre-rollback", "data", "revision"),
		"post-rollback": c.field(t, configMaps, "shop-post-rollback", "data", "revision"),
		"pre-delete":    c.field(t, configMaps, "shop-pre-delete", "data", "revision"),
		"post-delete":   c.field(t, configMaps, "shop-post-delete", "data", "revision"),
	}
	for key, value := range got {
		if value != want[key] {
			t.Errorf("%s: %s is %q, want %q", when, key, value, want[key])
		}
	}
}

func statusOf(t *testing.T, r release.Releaser) string {
	t.Helper()
	accessor, err := release.NewAccessor(r)
	if err != nil {
		t.Fatal(err)
	}
	return accessor.Status()
}

// A chart with definitions, hooks, custom resources and objects of several groups is
// installed, upgraded, rolled back and uninstalled, by server-side apply and without it.
func TestAChartComesAndGoes(t *testing.T) {
	for name, serverSide := range map[string]bool{"server-side apply": true, "patches of the client": false} {
		t.Run(name, func(t *testing.T) { comeAndGo(t, connect(t), serverSide) })
	}
}

func comeAndGo(t *testing.T, c *cluster, serverSide bool) {
	how := fmt.Sprint(serverSide)
	install := action.NewInstall(c.config)
	install.ReleaseName, install.Namespace, install.CreateNamespace = "shop", namespace, true
	install.ServerSideApply, install.WaitStrategy, install.Timeout = serverSide, kube.HookOnlyStrategy, patience
	made, err := install.RunWithContext(t.Context(), load(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := statusOf(t, made); got != "deployed" {
		t.Errorf("installed: the release is %s", got)
	}
	first := map[string]string{"greeting": "hello", "revision": "1", "replicas": "2", "widget": "2", "budget": "1", "port": "ClusterIP", "role": "shop", "pre-install": "1", "post-install": "1"}
	c.holds(t, "installed", first)
	for key, want := range map[string]string{"apps": "true", "policies": "true", "namespace": "default"} {
		if got := c.field(t, configMaps, "shop-settings", "data", key); got != want {
			t.Errorf("the chart saw of the cluster: %s is %q, want %q", key, got, want)
		}
	}

	upgrade := action.NewUpgrade(c.config)
	upgrade.Namespace, upgrade.ServerSideApply, upgrade.WaitStrategy, upgrade.Timeout = namespace, how, kube.HookOnlyStrategy, patience
	if _, err := upgrade.RunWithContext(t.Context(), "shop", load(t), map[string]any{"greeting": "good day", "replicas": 3, "extra": true}); err != nil {
		t.Fatal(err)
	}
	c.holds(t, "upgraded", map[string]string{"greeting": "good day", "revision": "2", "replicas": "3", "widget": "3", "budget": "1", "port": "ClusterIP", "role": "shop", "extra": "shop-extra",
		"pre-install": "1", "post-install": "1", "pre-upgrade": "2", "post-upgrade": "2"})

	// What the API refuses fails the upgrade, and leaves what was. The release keeps the
	// extra Secret: a rollback deletes what the last release has, failed or not, and no more.
	if _, err := upgrade.RunWithContext(t.Context(), "shop", load(t), map[string]any{"replicas": 0, "extra": true}); err == nil || !apierrors.IsInvalid(err) {
		t.Errorf("a widget of size 0: got %v, want that it is invalid", err)
	}
	if got := c.field(t, widgets, "shop", "spec", "size"); got != "3" {
		t.Errorf("after an upgrade that failed the widget's size is %s, want 3", got)
	}

	rollback := action.NewRollback(c.config)
	rollback.Version, rollback.ServerSideApply, rollback.WaitStrategy, rollback.Timeout = 1, how, kube.HookOnlyStrategy, patience
	if err := rollback.Run("shop"); err != nil {
		t.Fatal(err)
	}
	c.holds(t, "rolled back", map[string]string{"greeting": "hello", "revision": "1", "replicas": "2", "widget": "2", "budget": "1", "port": "ClusterIP", "role": "shop",
		"pre-install": "1", "post-install": "1", "pre-upgrade": "3", "post-upgrade": "2", "pre-rollback": "1", "post-rollback": "1"})
	history, err := action.NewHistory(c.config).Run("shop")
	if err != nil || len(history) != 4 {
		t.Errorf("got %d releases, want 4: %v", len(history), err)
	}

	uninstall := action.NewUninstall(c.config)
	uninstall.WaitStrategy, uninstall.Timeout, uninstall.DeletionPropagation = kube.StatusWatcherStrategy, patience, "foreground"
	if _, err := uninstall.Run("shop"); err != nil {
		t.Fatal(err)
	}
	c.holds(t, "uninstalled", map[string]string{"pre-install": "1", "post-install": "1", "pre-upgrade": "3", "post-upgrade": "2", "pre-rollback": "1", "post-rollback": "1", "pre-delete": "1", "post-delete": "1"})
	if _, err := c.client.Resource(definitions).Get(t.Context(), "widgets.shop.example.com", metav1.GetOptions{}); err != nil {
		t.Errorf("a chart's definitions stay: %v", err)
	}
	for _, gvr := range []schema.GroupVersionResource{definitions, {Version: "v1", Resource: "namespaces"}} {
		name := map[string]string{"customresourcedefinitions": "widgets.shop.example.com", "namespaces": namespace}[gvr.Resource]
		if err := c.client.Resource(gvr).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
			if _, err := c.client.Resource(gvr).Get(t.Context(), name, metav1.GetOptions{}); apierrors.IsNotFound(err) {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s %s does not go", gvr.Resource, name)
			}
		}
	}
}
