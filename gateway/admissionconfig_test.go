package gateway

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/proto/bustest"
)

// settings is what plugins can be told.
const settings = `apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: EventRateLimit
  configuration:
    apiVersion: eventratelimit.admission.k8s.io/v1alpha1
    kind: Configuration
    limits: [{type: Namespace, qps: 1, burst: 2}]
- name: PodNodeSelector
  configuration:
    podNodeSelectorPluginConfig: {clusterDefaultNodeSelector: "pool=usual"}
- name: PodSecurity
  configuration:
    apiVersion: pod-security.admission.config.k8s.io/v1
    kind: PodSecurityConfiguration
    defaults: {enforce: baseline}
- name: ResourceQuota
  configuration:
    apiVersion: apiserver.config.k8s.io/v1
    kind: ResourceQuotaConfiguration
    limitedResources: [{resource: services, matchContains: [services.loadbalancers]}]
`

func TestPluginsThatAreEnabledDisabledAndToldSomething(t *testing.T) {
	g := startWith(t, bustest.Server(t), func(c *Config) {
		c.Admission = Admission{
			Enable: []string{"AlwaysPullImages", "DenyServiceExternalIPs", "EventRateLimit", "PodNodeSelector", "PodTolerationRestriction",
				"ExtendedResourceToleration", "OwnerReferencesPermissionEnforcement"},
			Disable:    []string{"DefaultTolerationSeconds"},
			ConfigFile: filepath.Join(t.TempDir(), "admission.yaml"),
		}
		if err := os.WriteFile(c.Admission.ConfigFile, []byte(settings), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	path := newNamespace(t, g, "told")
	t.Run("AlwaysPullImages, PodNodeSelector, ExtendedResourceToleration, and no DefaultTolerationSeconds", func(t *testing.T) {
		made := must[corev1.Pod](t, g, "POST", path+"/pods", `{"metadata":{"name":"a"},"spec":{"containers":[{"name":"c","image":"i:1","imagePullPolicy":"Never","resources":{"limits":{"example.com/gpu":"1"}}}]}}`)
		if s := made.Spec; s.Containers[0].ImagePullPolicy != corev1.PullAlways || s.NodeSelector["pool"] != "usual" || len(s.Tolerations) != 1 || s.Tolerations[0].Key != "example.com/gpu" {
			t.Errorf("got %+v", s)
		}
	})
	t.Run("PodTolerationRestriction", func(t *testing.T) {
		must[corev1.Namespace](t, g, "PATCH", path, `{"metadata":{"annotations":{"scheduler.alpha.kubernetes.io/tolerationsWhitelist":"[{\"key\":\"ok\"}]"}}}`, "application/merge-patch+json")
		g.fails(t, metav1.StatusReasonUnknown, "pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace whitelist", "POST", path+"/pods",
			`{"metadata":{"name":"b"},"spec":{"tolerations":[{"key":"other","operator":"Exists"}],"containers":[{"name":"c","image":"i"}]}}`)
	})
	t.Run("PodSecurity by default", func(t *testing.T) {
		g.fails(t, metav1.StatusReasonForbidden, `violates PodSecurity "baseline:latest": host namespaces`, "POST", path+"/pods", `{"metadata":{"name":"c"},"spec":{"hostNetwork":true,"containers":[{"name":"c","image":"i"}]}}`)
	})
	t.Run("DenyServiceExternalIPs", func(t *testing.T) {
		g.fails(t, metav1.StatusReasonForbidden, "Use of external IPs is denied by admission control", "POST", path+"/services", `{"metadata":{"name":"s"},"spec":{"externalIPs":["192.0.2.9"],"ports":[{"port":80}]}}`)
	})
	t.Run("ResourceQuota of what is limited where there is no quota", func(t *testing.T) {
		g.fails(t, metav1.StatusReasonForbidden, "insufficient quota to consume: services.loadbalancers", "POST", path+"/services", `{"metadata":{"name":"l"},"spec":{"type":"LoadBalancer","ports":[{"port":80}]}}`)
		must[corev1.Service](t, g, "POST", path+"/services", `{"metadata":{"name":"c"},"spec":{"ports":[{"port":80}]}}`)
	})
	t.Run("OwnerReferencesPermissionEnforcement", func(t *testing.T) {
		must[map[string]any](t, g, "POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/told/roles", `{"metadata":{"name":"maps"},"rules":[{"apiGroups":[""],"resources":["configmaps"],"verbs":["create"]}]}`)
		must[map[string]any](t, g, "POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/told/rolebindings", `{"metadata":{"name":"maps"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"maps"},"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"mapper"}]}`)
		g.as("mapper").fails(t, metav1.StatusReasonForbidden, "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on", "POST", path+"/configmaps",
			`{"metadata":{"name":"owned","ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"a","uid":"u","blockOwnerDeletion":true}]}}`)
	})
	t.Run("EventRateLimit", func(t *testing.T) {
		var refused int
		for i := range 6 {
			_, err := g.do(t, "POST", path+"/events", fmt.Sprintf(`{"metadata":{"name":"e-%d"},"involvedObject":{"namespace":"told"},"reason":"r","type":"Normal"}`, i))
			if apierrors.IsTooManyRequests(err) {
				refused++
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if refused < 2 {
			t.Errorf("%d of 6 events were refused", refused)
		}
	})
}
