package gateway

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"kubus.dev/gateway/internal/resource"
	"kubus.dev/proto/apiclient"
)

// What kinds do beside their strategies, and what is true of one kind only.

// create makes an object of a built-in kind with its minimal fields.
func create(t *testing.T, g *running, kind, name string) (path string) {
	t.Helper()
	for _, k := range resource.BuiltIn() {
		if k.GVK.Kind == kind {
			path = collectionPath(k, k.Served[0])
			must[unstructured.Unstructured](t, g, "POST", path, objectOf(k, k.Served[0], name))
			return path + "/" + name
		}
	}
	t.Fatalf("%s is not built in", kind)
	return ""
}

// withAccount makes what pods of the default namespace run as.
func withAccount(t *testing.T, g *running) {
	t.Helper()
	must[corev1.ServiceAccount](t, g, "POST", "/api/v1/namespaces/default/serviceaccounts", `{"metadata":{"name":"default"}}`)
}

func TestEveryWorkloadScales(t *testing.T) {
	g := start(t)
	for _, kind := range []string{"ReplicationController", "ReplicaSet", "Deployment", "StatefulSet"} {
		t.Run(kind, func(t *testing.T) {
			path := create(t, g, kind, "s")
			s := must[autoscalingv1.Scale](t, g, "GET", path+"/scale", nil)
			if s.Spec.Replicas != 1 || s.Status.Selector != "a=b" || s.Kind != "Scale" {
				t.Errorf("got %+v", s)
			}
			s.Spec.Replicas = 3
			must[autoscalingv1.Scale](t, g, "PUT", path+"/scale", s)
			g.fails(t, metav1.StatusReasonConflict, "", "PUT", path+"/scale", s) // it has the old version
			must[autoscalingv1.Scale](t, g, "PATCH", path+"/scale?fieldManager=hand", `{"spec":{"replicas":4}}`, "application/merge-patch+json")
			u := must[unstructured.Unstructured](t, g, "GET", path, nil)
			replicas, _, err := unstructured.NestedInt64(u.Object, "spec", "replicas")
			if err != nil || replicas != 4 || u.GetGeneration() != 3 {
				t.Errorf("got %d replicas, generation %d, %v", replicas, u.GetGeneration(), err)
			}
			owner := slices.IndexFunc(u.GetManagedFields(), func(e metav1.ManagedFieldsEntry) bool {
				return e.Manager == "hand" && e.Subresource == "scale" && strings.Contains(string(e.FieldsV1.Raw), "f:replicas")
			})
			if owner < 0 {
				t.Errorf("the replicas are nobody's: %+v", u.GetManagedFields())
			}
			g.fails(t, metav1.StatusReasonInvalid, "must be greater than or equal to 0", "PATCH", path+"/scale", `{"spec":{"replicas":-1}}`, "application/merge-patch+json")
		})
	}
}

func TestAnAutoscalerIsOneObjectInTwoVersions(t *testing.T) {
	g := start(t)
	const v1, v2 = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers", "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
	cpu := int32(70)
	made := must[autoscalingv1.HorizontalPodAutoscaler](t, g, "POST", v1, &autoscalingv1.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Name: "h"},
		Spec: autoscalingv1.HorizontalPodAutoscalerSpec{MaxReplicas: 5, TargetCPUUtilizationPercentage: &cpu, ScaleTargetRef: autoscalingv1.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "d"}}})
	shown := must[autoscalingv2.HorizontalPodAutoscaler](t, g, "GET", v2+"/h", nil)
	if shown.UID != made.UID || shown.APIVersion != "autoscaling/v2" || len(shown.Spec.Metrics) != 1 || *shown.Spec.Metrics[0].Resource.Target.AverageUtilization != cpu {
		t.Errorf("got %+v", shown)
	}
	must[autoscalingv2.HorizontalPodAutoscaler](t, g, "PATCH", v2+"/h/status", `{"status":{"currentReplicas":2,"desiredReplicas":3}}`, "application/merge-patch+json")
	list := must[autoscalingv1.HorizontalPodAutoscalerList](t, g, "GET", v1, nil)
	if len(list.Items) != 1 || list.Items[0].Status.DesiredReplicas != 3 || *list.Items[0].Spec.TargetCPUUtilizationPercentage != cpu {
		t.Errorf("got %+v", list)
	}
	status := must[autoscalingv1.HorizontalPodAutoscaler](t, g, "GET", v1+"/h/status", nil)
	if status.APIVersion != "autoscaling/v1" || status.Status.CurrentReplicas != 2 {
		t.Errorf("got %+v", status)
	}
}

func TestAPodIsResizedByItsSubresourceOnly(t *testing.T) {
	g := start(t)
	withAccount(t, g)
	p := pod("r")
	p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"cpu": apiresource.MustParse("100m")}
	must[corev1.Pod](t, g, "POST", podPath, p)
	const bigger = `{"spec":{"containers":[{"name":"c","resources":{"requests":{"cpu":"200m"}}}]}}`
	g.fails(t, metav1.StatusReasonInvalid, "pod updates may not change fields", "PATCH", podPath+"/r", bigger, "application/strategic-merge-patch+json")
	got := must[corev1.Pod](t, g, "PATCH", podPath+"/r/resize", bigger, "application/strategic-merge-patch+json")
	if cpu := got.Spec.Containers[0].Resources.Requests["cpu"]; cpu.String() != "200m" || got.Generation != 2 {
		t.Errorf("got %s, generation %d", cpu.String(), got.Generation)
	}
	got = must[corev1.Pod](t, g, "PATCH", podPath+"/r/resize", `{"spec":{"containers":[{"name":"c","image":"other","resources":{"requests":{"cpu":"300m"}}}]}}`, "application/strategic-merge-patch+json")
	if got.Spec.Containers[0].Image != "i" {
		t.Errorf("the image became %s", got.Spec.Containers[0].Image)
	}
	g.fails(t, metav1.StatusReasonInvalid, "must be greater than or equal to 0", "PATCH", podPath+"/r/resize", `{"spec":{"containers":[{"name":"c","resources":{"requests":{"cpu":"-1"}}}]}}`, "application/strategic-merge-patch+json")
}

func TestACertificateIsApprovedByItsSubresourceOnly(t *testing.T) {
	g := start(t)
	path := create(t, g, "CertificateSigningRequest", "c")
	made := must[certificatesv1.CertificateSigningRequest](t, g, "GET", path, nil)
	if made.Spec.Username != AdminUser || !slices.Contains(made.Spec.Groups, "system:masters") {
		t.Errorf("the request is by %s of %v", made.Spec.Username, made.Spec.Groups)
	}
	approved := made.DeepCopy()
	approved.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "Test", Message: "a test"}}
	if same := must[certificatesv1.CertificateSigningRequest](t, g, "PUT", path, approved); len(same.Status.Conditions) != 0 {
		t.Errorf("an update approved: %+v", same.Status)
	}
	g.fails(t, metav1.StatusReasonInvalid, "", "PUT", path+"/status", approved)
	got := must[certificatesv1.CertificateSigningRequest](t, g, "PUT", path+"/approval", approved)
	if len(got.Status.Conditions) != 1 || got.Status.Conditions[0].LastUpdateTime.IsZero() || got.Status.Conditions[0].LastTransitionTime.IsZero() {
		t.Errorf("got %+v", got.Status)
	}
	got.Status.Conditions = nil
	g.fails(t, metav1.StatusReasonInvalid, "may not remove", "PUT", path+"/approval", got)
	found := must[certificatesv1.CertificateSigningRequestList](t, g, "GET", "/apis/certificates.k8s.io/v1/certificatesigningrequests?fieldSelector=spec.signerName%3Dexample.com/s", nil)
	none := must[certificatesv1.CertificateSigningRequestList](t, g, "GET", "/apis/certificates.k8s.io/v1/certificatesigningrequests?fieldSelector=spec.signerName%3Dexample.com/other", nil)
	if len(found.Items) != 1 || len(none.Items) != 0 {
		t.Errorf("the signer selects %d, another %d", len(found.Items), len(none.Items))
	}
}

func TestASignerNeedsTheRightToSign(t *testing.T) {
	g := start(t)
	path := create(t, g, "PodCertificateRequest", "p")
	jane := userWith(t, g, "jane", `{"apiGroups":["certificates.k8s.io"],"resources":["podcertificaterequests/status"],"verbs":["get","patch","update"]}`)
	const deny = `{"status":{"conditions":[{"type":"Denied","status":"True","reason":"Test","message":"m","lastTransitionTime":"2026-01-02T03:04:05Z"}]}}`
	request := apiclient.Request{Method: http.MethodPatch, Path: path + "/status", Body: []byte(deny), ContentType: "application/merge-patch+json"}
	if _, err := jane.Do(t.Context(), request); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), `is not permitted to "sign" for signer "example.com/s"`) {
		t.Errorf("got %v", err)
	}
	if _, err := g.admin.Do(t.Context(), request); err != nil {
		t.Error(err)
	}
}

// userWith gives a client of a user who has one rule everywhere.
func userWith(t *testing.T, g *running, user, rule string) *apiclient.Client {
	t.Helper()
	must[json.RawMessage](t, g, "POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", `{"metadata":{"name":"of-`+user+`"},"rules":[`+rule+`]}`)
	must[json.RawMessage](t, g, "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
		`{"metadata":{"name":"of-`+user+`"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"of-`+user+`"},"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"`+user+`"}]}`)
	return apiclient.New(apiclient.Local(g), user)
}

func TestWhoWritesAPolicyMustReadItsParameters(t *testing.T) {
	g := start(t)
	jane := userWith(t, g, "jane", `{"apiGroups":["admissionregistration.k8s.io"],"resources":["*"],"verbs":["*"]}`)
	const group = "/apis/admissionregistration.k8s.io/v1/"
	withParams := func(kind string) string {
		return `{"metadata":{"name":"p"},` + strings.Replace(minimal[kind], `"spec":{`, `"spec":{"paramKind":{"apiVersion":"v1","kind":"ConfigMap"},`, 1) + `}`
	}
	byName := func(kind string) string {
		return `{"metadata":{"name":"b"},` + strings.Replace(minimal[kind], `"spec":{`, `"spec":{"paramRef":{"name":"c","namespace":"default","parameterNotFoundAction":"Deny"},`, 1) + `}`
	}
	for _, c := range []struct{ path, body, refusal string }{
		{"validatingadmissionpolicies", withParams("ValidatingAdmissionPolicy"), `must have "get" permission on all objects of the referenced paramKind (kind=ConfigMap, apiVersion=v1)`},
		{"mutatingadmissionpolicies", withParams("MutatingAdmissionPolicy"), `must have "get" permission on all objects of the referenced paramKind (kind=ConfigMap, apiVersion=v1)`},
		{"validatingadmissionpolicybindings", byName("ValidatingAdmissionPolicyBinding"), "permission on the object referenced by paramRef"},
		{"mutatingadmissionpolicybindings", byName("MutatingAdmissionPolicyBinding"), "permission on the object referenced by paramRef"},
	} {
		request := apiclient.Request{Method: http.MethodPost, Path: group + c.path, Body: []byte(c.body)}
		if _, err := jane.Do(t.Context(), request); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), c.refusal) {
			t.Errorf("%s: got %v", c.path, err)
		}
		if _, err := g.admin.Do(t.Context(), request); err != nil {
			t.Errorf("%s by the administrator: %v", c.path, err)
		}
	}
	// The policy tells a binding's parameters apart: reading ConfigMaps is enough.
	john := userWith(t, g, "john", `{"apiGroups":["","admissionregistration.k8s.io"],"resources":["configmaps","validatingadmissionpolicybindings"],"verbs":["*"]}`)
	body := strings.Replace(byName("ValidatingAdmissionPolicyBinding"), `"name":"b"`, `"name":"j"`, 1)
	if _, err := john.Do(t.Context(), apiclient.Request{Method: http.MethodPost, Path: group + "validatingadmissionpolicybindings", Body: []byte(body)}); err != nil {
		t.Error(err)
	}
}

func TestAdminAccessToDevicesIsForItsNamespaces(t *testing.T) {
	g := start(t)
	const claims = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims"
	body := func(name string) string {
		return `{"metadata":{"name":"` + name + `"},"spec":{"devices":{"requests":[{"name":"one","exactly":{"deviceClassName":"gpu","adminAccess":true}}]}}}`
	}
	g.fails(t, metav1.StatusReasonInvalid, "label on the containing namespace", "POST", claims, body("a"))
	must[corev1.Namespace](t, g, "PATCH", "/api/v1/namespaces/default", `{"metadata":{"labels":{"resource.kubernetes.io/admin-access":"true"}}}`, "application/merge-patch+json")
	must[unstructured.Unstructured](t, g, "POST", claims, body("a"))
}

func TestWhoAllocatesDevicesNeedsTheRightToBind(t *testing.T) {
	g := start(t)
	path := create(t, g, "ResourceClaim", "c")
	jane := userWith(t, g, "jane", `{"apiGroups":["resource.k8s.io"],"resources":["resourceclaims/status"],"verbs":["get","patch","update"]}`)
	request := apiclient.Request{Method: http.MethodPatch, Path: path + "/status", ContentType: "application/merge-patch+json",
		Body: []byte(`{"status":{"allocation":{"devices":{"results":[{"request":"one","driver":"example.com","pool":"p","device":"d"}]}}}}`)}
	if _, err := jane.Do(t.Context(), request); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), `requires resource="resourceclaims/binding"`) {
		t.Errorf("got %v", err)
	}
	if _, err := g.admin.Do(t.Context(), request); err != nil {
		t.Error(err)
	}
}

func TestADeletedJobOrphansItsPodsAndSaysSo(t *testing.T) {
	g := start(t)
	deleted := func(name, query string) (warnings []string) {
		path := create(t, g, "Job", name)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, g.url+path+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := g.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("got %s", resp.Status)
		}
		return resp.Header.Values("Warning")
	}
	if made := must[batchv1.Job](t, g, "GET", create(t, g, "Job", "labelled"), nil); made.Labels["job-name"] != "labelled" {
		t.Errorf("the defaults of the template's labels are not there: %v", made.Labels)
	}
	if w := deleted("silent", ""); len(w) != 1 || !strings.Contains(w[0], "child pods are preserved by default when jobs are deleted") {
		t.Errorf("got %q", w)
	}
	job := must[batchv1.Job](t, g, "GET", "/apis/batch/v1/namespaces/default/jobs/silent", nil)
	if job.DeletionTimestamp == nil || !slices.Contains(job.Finalizers, metav1.FinalizerOrphanDependents) {
		t.Errorf("got %+v", job.ObjectMeta)
	}
	if w := deleted("clear", "?propagationPolicy=Background"); len(w) != 0 {
		t.Errorf("got %q", w)
	}
	g.fails(t, metav1.StatusReasonNotFound, "", "GET", "/apis/batch/v1/namespaces/default/jobs/clear", nil)
}

func TestAClaimShowsItsSourceInBothFields(t *testing.T) {
	g := start(t)
	const path = "/api/v1/namespaces/default/persistentvolumeclaims"
	must[corev1.PersistentVolumeClaim](t, g, "POST", path, `{"metadata":{"name":"c"},"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}},"dataSource":{"kind":"PersistentVolumeClaim","name":"other"}}}`)
	got := must[corev1.PersistentVolumeClaim](t, g, "GET", path+"/c", nil)
	if got.Status.Phase != corev1.ClaimPending {
		t.Errorf("the phase is %q", got.Status.Phase)
	}
	if ref := got.Spec.DataSourceRef; ref == nil || ref.Name != "other" || got.Spec.DataSource == nil {
		t.Errorf("got %+v", got.Spec)
	}
}

func TestABindingMayBePostedToItsCollection(t *testing.T) {
	g := start(t)
	withAccount(t, g)
	must[corev1.Pod](t, g, "POST", podPath, pod("b"))
	must[metav1.Status](t, g, "POST", "/api/v1/namespaces/default/bindings", &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "b"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n1"}})
	if p := must[corev1.Pod](t, g, "GET", podPath+"/b", nil); p.Spec.NodeName != "n1" {
		t.Errorf("the pod is on %q", p.Spec.NodeName)
	}
	g.fails(t, metav1.StatusReasonMethodNotAllowed, "", "GET", "/api/v1/namespaces/default/bindings", nil)
}

func TestComponentsAreAskedWhenTheyAreRead(t *testing.T) {
	g := start(t)
	const path = "/api/v1/componentstatuses"
	list := must[corev1.ComponentStatusList](t, g, "GET", path, nil)
	one := must[corev1.ComponentStatus](t, g, "GET", path+"/store", nil)
	if len(list.Items) != 1 || list.Items[0].Name != "store" || one.Conditions[0].Status != corev1.ConditionTrue || one.Conditions[0].Message != "ok" {
		t.Errorf("got %+v and %+v", list, one)
	}
	if none := must[corev1.ComponentStatusList](t, g, "GET", path+"?fieldSelector=metadata.name%3Dx", nil); len(none.Items) != 0 {
		t.Errorf("got %+v", none)
	}
	table, err := g.admin.Do(t.Context(), apiclient.Request{Path: path, Accept: "application/json;as=Table;v=v1;g=meta.k8s.io"})
	if err != nil || !strings.Contains(string(table), `"Healthy"`) {
		t.Errorf("got %s, %v", table, err)
	}
	g.fails(t, metav1.StatusReasonNotFound, `componentstatus "x" not found`, "GET", path+"/x", nil)
	g.fails(t, metav1.StatusReasonMethodNotAllowed, "", "POST", path, `{"metadata":{"name":"y"}}`)
	g.fails(t, metav1.StatusReasonMethodNotAllowed, "", "GET", path+"?watch=true", nil)
}

func TestTheClusterHasItsBasicObjects(t *testing.T) {
	g := start(t)
	cidr := must[networkingv1.ServiceCIDR](t, g, "GET", "/apis/networking.k8s.io/v1/servicecidrs/kubernetes", nil)
	if !slices.Equal(cidr.Spec.CIDRs, []string{"10.96.0.0/16"}) || !meta.IsStatusConditionTrue(cidr.Status.Conditions, networkingv1.ServiceCIDRConditionReady) {
		t.Errorf("got %+v", cidr)
	}
	const schemas, levels = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas", "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations"
	names := map[string]bool{}
	for _, s := range must[flowcontrolv1.FlowSchemaList](t, g, "GET", schemas, nil).Items {
		names[s.Name] = true
	}
	for _, l := range must[flowcontrolv1.PriorityLevelConfigurationList](t, g, "GET", levels, nil).Items {
		names[l.Name] = true
	}
	for _, want := range []string{"exempt", "catch-all", "system-nodes", "global-default", "workload-low", "leader-election"} {
		if !names[want] {
			t.Errorf("there is no %s", want)
		}
	}
	must[json.RawMessage](t, g, "DELETE", schemas+"/exempt", nil)
	must[json.RawMessage](t, g, "PATCH", levels+"/workload-low", `{"spec":{"limited":{"nominalConcurrencyShares":77}}}`, "application/merge-patch+json")
	must[json.RawMessage](t, g, "POST", schemas, `{"metadata":{"name":"old","annotations":{"apf.kubernetes.io/autoupdate-spec":"true"}},"spec":{"priorityLevelConfiguration":{"name":"exempt"}}}`)
	if err := g.bootstrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	must[json.RawMessage](t, g, "GET", schemas+"/exempt", nil)
	if l := must[flowcontrolv1.PriorityLevelConfiguration](t, g, "GET", levels+"/workload-low", nil); *l.Spec.Limited.NominalConcurrencyShares != 100 {
		t.Errorf("the level that follows has %d shares", *l.Spec.Limited.NominalConcurrencyShares)
	}
	g.fails(t, metav1.StatusReasonNotFound, "", "GET", schemas+"/old", nil)
}
