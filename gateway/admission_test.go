package gateway

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/bustest"
)

// newNamespace makes a namespace with its default account and gives the path of what
// is in it.
func newNamespace(t testing.TB, g *running, name string, labels ...string) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
	for i := 0; i < len(labels); i += 2 {
		ns.Labels[labels[i]] = labels[i+1]
	}
	must[corev1.Namespace](t, g, "POST", "/api/v1/namespaces", ns)
	path := "/api/v1/namespaces/" + name
	must[corev1.ServiceAccount](t, g, "POST", path+"/serviceaccounts", `{"metadata":{"name":"default"}}`)
	return path
}

// as is the gateway as another user sees it.
func (g *running) as(user string) *running {
	other := *g
	other.admin = g.admin.As(user)
	return &other
}

// Every plugin that runs by default does what upstream's does.
func TestDefaultAdmission(t *testing.T) {
	g := start(t)
	for name, test := range map[string]func(t *testing.T, g *running){
		"NamespaceLifecycle: nothing is made where there is no namespace, or one that goes": func(t *testing.T, g *running) {
			g.fails(t, metav1.StatusReasonNotFound, `namespaces "nowhere" not found`, "POST", "/api/v1/namespaces/nowhere/configmaps", configMap("x"))
			g.fails(t, metav1.StatusReasonForbidden, "this namespace may not be deleted", "DELETE", "/api/v1/namespaces/kube-system", nil)
			path := newNamespace(t, g, "going")
			must[corev1.Namespace](t, g, "DELETE", path, nil)
			_, err := g.do(t, "POST", path+"/configmaps", configMap("x"))
			if !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
				t.Errorf("got %v, want the cause NamespaceTerminating", err)
			}
		},
		"LimitRanger: limits fill what is missing and bound what is there": func(t *testing.T, g *running) {
			path := newNamespace(t, g, "limited")
			must[corev1.LimitRange](t, g, "POST", path+"/limitranges", `{"metadata":{"name":"l"},"spec":{"limits":[{"type":"Container","default":{"cpu":"500m"},"defaultRequest":{"cpu":"100m"},"max":{"cpu":"1"}}]}}`)
			made := must[corev1.Pod](t, g, "POST", path+"/pods", pod("a"))
			if r := made.Spec.Containers[0].Resources; r.Limits.Cpu().String() != "500m" || r.Requests.Cpu().String() != "100m" {
				t.Errorf("got %+v", r)
			}
			g.fails(t, metav1.StatusReasonForbidden, "maximum cpu usage per Container is 1, but limit is 2", "POST", path+"/pods", `{"metadata":{"name":"b"},"spec":{"containers":[{"name":"c","image":"i","resources":{"limits":{"cpu":"2"}}}]}}`)
		},
		"ServiceAccount: a pod gets the default account and its token": func(t *testing.T, g *running) {
			path := newNamespace(t, g, "accounts")
			made := must[corev1.Pod](t, g, "POST", path+"/pods", `{"metadata":{"name":"a"},"spec":{"containers":[{"name":"c","image":"i"}]}}`)
			if c := made.Spec.Containers[0]; made.Spec.ServiceAccountName != "default" || len(made.Spec.Volumes) != 1 || len(c.VolumeMounts) != 1 || c.VolumeMounts[0].MountPath != "/var/run/secrets/kubernetes.io/serviceaccount" {
				t.Errorf("got %+v", made.Spec)
			}
			g.fails(t, metav1.StatusReasonForbidden, `error looking up service account accounts/nobody: serviceaccount "nobody" not found`, "POST", path+"/pods", `{"metadata":{"name":"b"},"spec":{"serviceAccountName":"nobody","containers":[{"name":"c","image":"i"}]}}`)
		},
		"ServiceAccount: a pod right after its namespace waits for the account": func(t *testing.T, g *running) {
			must[corev1.Namespace](t, g, "POST", "/api/v1/namespaces", `{"metadata":{"name":"fresh"}}`)
			asked := make(chan error, 1)
			go func() {
				_, err := g.do(t, "POST", "/api/v1/namespaces/fresh/pods", `{"metadata":{"name":"a"},"spec":{"containers":[{"name":"c","image":"i"}]}}`)
				asked <- err
			}()
			must[corev1.ServiceAccount](t, g, "POST", "/api/v1/namespaces/fresh/serviceaccounts", `{"metadata":{"name":"default"}}`)
			if err := <-asked; err != nil {
				t.Error(err)
			}
		},
		"NodeRestriction: a node changes itself and nothing else": func(t *testing.T, g *running) {
			path := newNamespace(t, g, "restricted-nodes")
			one := newNode(t, g, "one")
			newNode(t, g, "two")
			node := g.as("system:node:one")
			node.fails(t, metav1.StatusReasonForbidden, `node "one" is not allowed to modify node "two"`, "PATCH", "/api/v1/nodes/two/status", `{"status":{"phase":"Running"}}`, apiclient.MergePatch)
			node.fails(t, metav1.StatusReasonForbidden, `pod does not have "kubernetes.io/config.mirror" annotation, node "one" can only create mirror pods`, "POST", path+"/pods", `{"metadata":{"name":"a"},"spec":{"nodeName":"one","containers":[{"name":"c","image":"i"}]}}`)
			mirror := func(uid string) string {
				return fmt.Sprintf(`{"metadata":{"name":"mirror","annotations":{"kubernetes.io/config.mirror":"m"},"ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"one","uid":%q,"controller":true}]},"spec":{"nodeName":"one","containers":[{"name":"c","image":"i"}]}}`, uid)
			}
			node.fails(t, metav1.StatusReasonForbidden, "node one UID mismatch", "POST", path+"/pods", mirror("another"))
			must[corev1.Pod](t, node, "POST", path+"/pods", mirror(string(one.UID)))
			must[corev1.Pod](t, g, "POST", path+"/pods", `{"metadata":{"name":"elsewhere"},"spec":{"nodeName":"two","containers":[{"name":"c","image":"i"}]}}`)
			node.fails(t, metav1.StatusReasonForbidden, `node "one" can only delete pods with spec.nodeName set to itself`, "DELETE", path+"/pods/elsewhere", nil)
			node.fails(t, metav1.StatusReasonForbidden, `node "one" can only update pod status for pods with spec.nodeName set to itself`, "PATCH", path+"/pods/elsewhere/status", `{"status":{"message":"m"}}`, apiclient.MergePatch)
			node.fails(t, metav1.StatusReasonForbidden, `node "one" is not allowed to modify taints`, "PATCH", "/api/v1/nodes/one", `{"spec":{"taints":[{"key":"a","effect":"NoSchedule"}]}}`, apiclient.MergePatch)
		},
		"TaintNodesByCondition: a new node is not ready": func(t *testing.T, g *running) {
			made := must[corev1.Node](t, g, "POST", "/api/v1/nodes", `{"metadata":{"name":"new"}}`)
			if len(made.Spec.Taints) != 1 || made.Spec.Taints[0].Key != corev1.TaintNodeNotReady || made.Spec.Taints[0].Effect != corev1.TaintEffectNoSchedule {
				t.Errorf("got %+v", made.Spec.Taints)
			}
		},
		"Priority: a pod has its class's, one class is the default": func(t *testing.T, g *running) {
			const classes = "/apis/scheduling.k8s.io/v1/priorityclasses"
			path := newNamespace(t, g, "priorities")
			must[map[string]any](t, g, "POST", classes, `{"metadata":{"name":"high"},"value":1000,"preemptionPolicy":"Never"}`)
			withClass := func(name, class string) string {
				return fmt.Sprintf(`{"metadata":{"name":%q},"spec":{"priorityClassName":%q,"containers":[{"name":"c","image":"i"}]}}`, name, class)
			}
			made := must[corev1.Pod](t, g, "POST", path+"/pods", withClass("a", "high"))
			if *made.Spec.Priority != 1000 || *made.Spec.PreemptionPolicy != corev1.PreemptNever {
				t.Errorf("got %+v", made.Spec)
			}
			g.fails(t, metav1.StatusReasonForbidden, "no PriorityClass with name none was found", "POST", path+"/pods", withClass("b", "none"))
			must[map[string]any](t, g, "POST", classes, `{"metadata":{"name":"usual"},"value":7,"globalDefault":true}`)
			g.fails(t, metav1.StatusReasonForbidden, "PriorityClass usual is already marked as default. Only one default can exist", "POST", classes, `{"metadata":{"name":"other"},"value":8,"globalDefault":true}`)
			if made = must[corev1.Pod](t, g, "POST", path+"/pods", pod("c")); *made.Spec.Priority != 7 || made.Spec.PriorityClassName != "usual" {
				t.Errorf("got %+v", made.Spec)
			}
		},
		"DefaultTolerationSeconds: a pod stays five minutes on a node that is gone": func(t *testing.T, g *running) {
			made := must[corev1.Pod](t, g, "POST", newNamespace(t, g, "tolerant")+"/pods", pod("a"))
			for i, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
				if len(made.Spec.Tolerations) != 2 || made.Spec.Tolerations[i].Key != key || *made.Spec.Tolerations[i].TolerationSeconds != 300 {
					t.Errorf("got %+v", made.Spec.Tolerations)
				}
			}
		},
		"storage: claims get the default class and protection, and grow only where the class allows": func(t *testing.T, g *running) {
			path := newNamespace(t, g, "claims") + "/persistentvolumeclaims"
			must[map[string]any](t, g, "PATCH", "/apis/storage.k8s.io/v1/storageclasses/local", `{"metadata":{"annotations":{"storageclass.kubernetes.io/is-default-class":"false"}}}`, apiclient.MergePatch)
			must[map[string]any](t, g, "POST", "/apis/storage.k8s.io/v1/storageclasses", `{"metadata":{"name":"usual","annotations":{"storageclass.kubernetes.io/is-default-class":"true"}},"provisioner":"example.com/p"}`)
			made := must[corev1.PersistentVolumeClaim](t, g, "POST", path, `{"metadata":{"name":"a"},"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}}`)
			if made.Spec.StorageClassName == nil || *made.Spec.StorageClassName != "usual" || !slices.Contains(made.Finalizers, "kubernetes.io/pvc-protection") {
				t.Errorf("got %+v", made)
			}
			must[map[string]any](t, g, "PATCH", path+"/a", `{"spec":{"volumeName":"v"}}`, apiclient.MergePatch)
			must[map[string]any](t, g, "PATCH", path+"/a/status", `{"status":{"phase":"Bound","capacity":{"storage":"1Gi"}}}`, apiclient.MergePatch)
			grow := `{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}`
			g.fails(t, metav1.StatusReasonForbidden, "the storageclass that provisions the pvc must support resize", "PATCH", path+"/a", grow, apiclient.MergePatch)
			must[map[string]any](t, g, "PATCH", "/apis/storage.k8s.io/v1/storageclasses/usual", `{"allowVolumeExpansion":true}`, apiclient.MergePatch)
			must[map[string]any](t, g, "PATCH", path+"/a", grow, apiclient.MergePatch)
		},
		"RuntimeClass: a pod carries the overhead of its class": func(t *testing.T, g *running) {
			path := newNamespace(t, g, "runtimes")
			must[map[string]any](t, g, "POST", "/apis/node.k8s.io/v1/runtimeclasses", `{"metadata":{"name":"vm"},"handler":"vm","overhead":{"podFixed":{"cpu":"250m"}},"scheduling":{"nodeSelector":{"vm":"yes"}}}`)
			of := func(name, class string) string {
				return fmt.Sprintf(`{"metadata":{"name":%q},"spec":{"runtimeClassName":%q,"containers":[{"name":"c","image":"i"}]}}`, name, class)
			}
			made := must[corev1.Pod](t, g, "POST", path+"/pods", of("a", "vm"))
			if made.Spec.Overhead.Cpu().String() != "250m" || made.Spec.NodeSelector["vm"] != "yes" {
				t.Errorf("got %+v", made.Spec)
			}
			g.fails(t, metav1.StatusReasonForbidden, `pod rejected: RuntimeClass "gvisor" not found`, "POST", path+"/pods", of("b", "gvisor"))
			g.fails(t, metav1.StatusReasonForbidden, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead", "POST", path+"/pods",
				`{"metadata":{"name":"c"},"spec":{"overhead":{"cpu":"1"},"containers":[{"name":"c","image":"i"}]}}`)
		},
		"certificates: a signer's name has to be one's own to approve, sign and attest": func(t *testing.T, g *running) {
			const requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
			certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rootCertificate()})
			request := func(name, signer string) *certificatesv1.CertificateSigningRequest {
				return &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: certificatesv1.CertificateSigningRequestSpec{
					Request: requestFor(t, "test"), SignerName: signer, Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth},
				}}
			}
			must[map[string]any](t, g, "POST", "/apis/rbac.authorization.k8s.io/v1/clusterroles", `{"metadata":{"name":"csr"},"rules":[{"apiGroups":["certificates.k8s.io"],"resources":["*"],"verbs":["*"]}]}`)
			must[map[string]any](t, g, "POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", `{"metadata":{"name":"csr"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"csr"},"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"clerk"}]}`)
			// A right on every resource of the group is one on its signers; a narrower one is not.
			must[map[string]any](t, g, "PATCH", "/apis/rbac.authorization.k8s.io/v1/clusterroles/csr", `{"rules":[{"apiGroups":["certificates.k8s.io"],"resources":["certificatesigningrequests","certificatesigningrequests/approval","certificatesigningrequests/status","clustertrustbundles"],"verbs":["*"]}]}`, apiclient.MergePatch)
			made := must[certificatesv1.CertificateSigningRequest](t, g, "POST", requests, request("a", "example.com/s"))
			clerk := g.as("clerk")
			made.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "r"}}
			clerk.fails(t, metav1.StatusReasonForbidden, `user not permitted to approve requests with signerName "example.com/s"`, "PUT", requests+"/a/approval", made)
			approved := must[certificatesv1.CertificateSigningRequest](t, g, "PUT", requests+"/a/approval", made)
			approved.Status.Certificate = certificate
			clerk.fails(t, metav1.StatusReasonForbidden, `user not permitted to sign requests with signerName "example.com/s"`, "PUT", requests+"/a/status", approved)
			bundle := map[string]any{"metadata": map[string]any{"name": "example.com:s:b"}, "spec": map[string]any{"signerName": "example.com/s", "trustBundle": string(certificate)}}
			clerk.fails(t, metav1.StatusReasonForbidden, `user not permitted to attest for signerName "example.com/s"`, "POST", "/apis/certificates.k8s.io/v1/clustertrustbundles", bundle)
			masters := request("b", certificatesv1.KubeAPIServerClientSignerName)
			masters.Spec.Request = requestFor(t, "system:masters")
			g.fails(t, metav1.StatusReasonForbidden, "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed", "POST", requests, masters)
		},
		"DefaultIngressClass: an Ingress gets the default class": func(t *testing.T, g *running) {
			must[map[string]any](t, g, "POST", "/apis/networking.k8s.io/v1/ingressclasses", `{"metadata":{"name":"usual","annotations":{"ingressclass.kubernetes.io/is-default-class":"true"}},"spec":{"controller":"example.com/c"}}`)
			made := must[networkingv1.Ingress](t, g, "POST", "/apis/networking.k8s.io/v1/namespaces/default/ingresses", `{"metadata":{"name":"a"},"spec":{"defaultBackend":{"service":{"name":"s","port":{"number":80}}}}}`)
			if made.Spec.IngressClassName == nil || *made.Spec.IngressClassName != "usual" {
				t.Errorf("got %+v", made.Spec)
			}
		},
		"PodTopologyLabels: a bound pod carries its node's zone": func(t *testing.T, g *running) {
			path := newNamespace(t, g, "zones")
			must[corev1.Node](t, g, "POST", "/api/v1/nodes", `{"metadata":{"name":"zoned","labels":{"topology.kubernetes.io/zone":"z1"}}}`)
			must[corev1.Pod](t, g, "POST", path+"/pods", pod("a"))
			must[map[string]any](t, g, "POST", path+"/pods/a/binding", `{"metadata":{"name":"a"},"target":{"kind":"Node","name":"zoned"}}`)
			if got := must[corev1.Pod](t, g, "GET", path+"/pods/a", nil); got.Labels[corev1.LabelTopologyZone] != "z1" {
				t.Errorf("got %v", got.Labels)
			}
		},
	} {
		t.Run(name, func(t *testing.T) { test(t, g) })
	}
}

// requestFor is a certificate request for an organization.
func requestFor(t *testing.T, organization string) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(nil, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "test", Organization: []string{organization}}}, testKey)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

// PodSecurity judges by the version that is served; upstream's default version, of a
// build that was told none, allows everything.
func TestPodSecurity(t *testing.T) {
	g := start(t)
	privileged := `{"metadata":{"name":"a"},"spec":{"containers":[{"name":"c","image":"i","securityContext":{"privileged":true}}]}}`
	plain := `{"metadata":{"name":"b"},"spec":{"containers":[{"name":"c","image":"i"}]}}`
	harmless := `{"metadata":{"name":"c"},"spec":{"securityContext":{"runAsNonRoot":true,"seccompProfile":{"type":"RuntimeDefault"}},"containers":[{"name":"c","image":"i","securityContext":{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]}}}]}}`
	const enforce = "pod-security.kubernetes.io/enforce"
	restricted, baseline, free := newNamespace(t, g, "restricted", enforce, "restricted"), newNamespace(t, g, "baseline", enforce, "baseline"), newNamespace(t, g, "free")
	for _, c := range []struct{ namespace, pod, refusal string }{
		{restricted, privileged, `violates PodSecurity "restricted:latest": privileged`},
		{restricted, plain, `violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false`},
		{restricted, harmless, ""},
		{baseline, privileged, `violates PodSecurity "baseline:latest": privileged`},
		{baseline, plain, ""},
		{free, privileged, ""},
	} {
		if c.refusal == "" {
			must[corev1.Pod](t, g, "POST", c.namespace+"/pods", c.pod)
		} else {
			g.fails(t, metav1.StatusReasonForbidden, c.refusal, "POST", c.namespace+"/pods", c.pod)
		}
	}
	t.Run("by ephemeral containers as well", func(t *testing.T) {
		g.fails(t, metav1.StatusReasonForbidden, `violates PodSecurity "baseline:latest": privileged`, "PATCH", baseline+"/pods/b/ephemeralcontainers",
			`{"spec":{"ephemeralContainers":[{"name":"e","image":"i","securityContext":{"privileged":true}}]}}`, apiclient.StrategicMergePatch)
	})
	t.Run("a namespace that gets stricter warns of its pods", func(t *testing.T) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, g.url+free, strings.NewReader(`{"metadata":{"labels":{"`+enforce+`":"baseline"}}}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", apiclient.MergePatch)
		resp, err := g.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got := strings.Join(resp.Header.Values("Warning"), " "); resp.StatusCode != http.StatusOK || !strings.Contains(got, "a: privileged") {
			t.Errorf("got %s, warnings %q", resp.Status, got)
		}
	})
}

// What a node may write of its own labels, case by case.
func TestNodesAndTheirLabels(t *testing.T) {
	g := start(t)
	for i, c := range []struct {
		name          string
		before, after map[string]any
		refused       string
	}{
		{"a node may set labels of its own", nil, map[string]any{"rack": "7", "example.com/a": "b"}, ""},
		{"and those that kubelets set", nil, map[string]any{corev1.LabelHostname: "n", corev1.LabelTopologyZone: "z", "node.kubernetes.io/instance-type": "x"}, ""},
		{"no others of Kubernetes", nil, map[string]any{"node-role.kubernetes.io/master": "", "x.k8s.io/y": ""}, "node-role.kubernetes.io/master, x.k8s.io/y"},
		{"nor restricted ones", nil, map[string]any{"node-restriction.kubernetes.io/a": "", "sub.node-restriction.kubernetes.io/b": ""}, "node-restriction.kubernetes.io/a, sub.node-restriction.kubernetes.io/b"},
		{"what is there and stays is nobody's concern", map[string]any{"x.k8s.io/y": "1"}, map[string]any{"x.k8s.io/y": "1"}, ""},
		{"removing counts", map[string]any{"x.k8s.io/y": "1"}, map[string]any{"x.k8s.io/y": nil}, "x.k8s.io/y"},
		{"changing counts", map[string]any{"x.k8s.io/y": "1"}, map[string]any{"x.k8s.io/y": "2"}, "x.k8s.io/y"},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := fmt.Sprintf("n-%d", i)
			must[corev1.Node](t, g, "POST", "/api/v1/nodes", map[string]any{"metadata": map[string]any{"name": name, "labels": c.before}})
			patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": c.after}})
			if err != nil {
				t.Fatal(err)
			}
			node := g.as("system:node:" + name)
			if c.refused != "" {
				node.fails(t, metav1.StatusReasonForbidden, "is not allowed to modify labels: "+c.refused, "PATCH", "/api/v1/nodes/"+name, string(patch), apiclient.MergePatch)
				return
			}
			must[corev1.Node](t, node, "PATCH", "/api/v1/nodes/"+name, string(patch), apiclient.MergePatch)
		})
	}
}

// A plugin that misses an object in its view asks the log before it refuses.
func TestAdmissionSeesWhatAnotherGatewayAcknowledged(t *testing.T) {
	server := bustest.Server(t)
	one, two := startOver(t, server), startOver(t, server)
	for i := range 20 {
		name := fmt.Sprintf("n-%d", i)
		path := newNamespace(t, one, name)
		must[map[string]any](t, one, "POST", "/apis/scheduling.k8s.io/v1/priorityclasses", fmt.Sprintf(`{"metadata":{"name":%q},"value":%d}`, name, i+1))
		must[corev1.Pod](t, two, "POST", path+"/pods", fmt.Sprintf(`{"metadata":{"name":"a"},"spec":{"priorityClassName":%q,"containers":[{"name":"c","image":"i"}]}}`, name))
	}
}
