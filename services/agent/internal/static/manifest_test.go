package static

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

const web = `
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  hostNetwork: true
  containers:
  - {name: c, image: "registry:5000/web", ports: [{containerPort: 80}], livenessProbe: {httpGet: {port: 80}}, resources: {limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 100m}}}
  - {name: d, image: "web:1.2"}
  volumes: [{name: a}, {name: h, hostPath: {path: /tmp}}]
`

func TestParse(t *testing.T) {
	t.Parallel()
	p, err := Parse([]byte(web), "/m/web.yaml", "Node-1")
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "web-node-1" || p.Namespace != "default" || p.Spec.NodeName != "Node-1" || len(p.UID) != 32 ||
		p.Annotations[SourceAnnotation] != "file" || p.Annotations[HashAnnotation] != string(p.UID) || p.Status.Phase != corev1.PodPending {
		t.Errorf("%+v on %s", p.ObjectMeta, p.Spec.NodeName)
	}
	if tol := p.Spec.Tolerations; len(tol) != 1 || tol[0].Operator != "Exists" || tol[0].Effect != "NoExecute" {
		t.Errorf("it bears %v", tol)
	}
	c := p.Spec.Containers[0]
	probe := c.LivenessProbe
	cpu, memory := c.Resources.Requests["cpu"], c.Resources.Requests["memory"]
	if c.ImagePullPolicy != "Always" || c.TerminationMessagePath != "/dev/termination-log" || c.Ports[0].HostPort != 80 || c.Ports[0].Protocol != "TCP" ||
		probe.PeriodSeconds != 10 || probe.HTTPGet.Path != "/" || cpu.String() != "100m" || memory.String() != "1Gi" {
		t.Errorf("the first container is %+v", c)
	}
	if got := p.Spec.Containers[1].ImagePullPolicy; got != "IfNotPresent" {
		t.Errorf("the second one's pull policy is %s", got)
	}
	if s := p.Spec; s.RestartPolicy != "Always" || *s.TerminationGracePeriodSeconds != 30 || s.DNSPolicy != "ClusterFirst" || !*s.EnableServiceLinks || s.Volumes[0].EmptyDir == nil || *s.Volumes[1].HostPath.Type != "" {
		t.Errorf("spec %+v", s)
	}
}

func TestTheUIDIsWhatTheFileSaysAndWhereItIs(t *testing.T) {
	t.Parallel()
	uid := func(text, path, node string) string {
		p, err := Parse([]byte(text), path, node)
		if err != nil {
			t.Fatal(err)
		}
		return string(p.UID)
	}
	first := uid(web, "/m/a", "n")
	if uid(web+"\n# a remark\n", "/m/a", "n") != first {
		t.Error("a remark makes another pod")
	}
	for what, other := range map[string]string{"image": uid(strings.Replace(web, "1.2", "1.3", 1), "/m/a", "n"), "file": uid(web, "/m/b", "n"), "node": uid(web, "/m/a", "n2")} {
		if other == first {
			t.Errorf("another %s makes the same pod", what)
		}
	}
}

func TestWhatIsNoStaticPodIsRefused(t *testing.T) {
	t.Parallel()
	pod := func(spec string) string {
		return `{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: ` + spec + `}`
	}
	for text, want := range map[string]string{
		`{`:                              "couldn't parse as pod",
		`apiVersion: v1`:                 "couldn't parse as pod",
		`{apiVersion: v1, kind: Secret}`: "couldn't parse as pod",
		`{apiVersion: v1, kind: Pod, spec: {containers: [{name: c, image: i}]}}`: "name is needed",
		pod(`{}`): "at least one is needed",
		pod(`{containers: [{name: c, image: i}, {name: c, image: i}]}`):                                                            "twice",
		pod(`{containers: [{name: c}]}`):                                                                                           "no image",
		pod(`{containers: [{name: ../c, image: i}]}`):                                                                              `"../c"`,
		pod(`{containers: [{name: c, image: i}], volumes: [{name: ../v}]}`):                                                        `"../v"`,
		`{apiVersion: v1, kind: Pod, metadata: {name: p, uid: ../../x}, spec: {containers: [{name: c, image: i}]}}`:                "metadata.uid",
		`{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: ../x}, spec: {containers: [{name: c, image: i}]}}`:             "metadata.namespace",
		pod(`{serviceAccountName: a, containers: [{name: c, image: i}]}`):                                                          "static pods may not reference serviceaccounts",
		pod(`{containers: [{name: c, image: i, envFrom: [{secretRef: {name: s}}]}]}`):                                              "static pods may not reference secrets",
		pod(`{containers: [{name: c, image: i, env: [{name: E, valueFrom: {configMapKeyRef: {name: s, key: k}}}]}]}`):              "static pods may not reference configmaps",
		pod(`{containers: [{name: c, image: i}], volumes: [{name: v, secret: {secretName: s}}]}`):                                  `static pods may not reference the API in volume "v"`,
		pod(`{containers: [{name: c, image: i}], volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: t}}]}}]}`): `static pods may not reference the API in volume "v"`,
	} {
		if _, err := Parse([]byte(text), "f", "n"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

func TestNobodyMakesAPodOfTheAPIStatic(t *testing.T) {
	t.Parallel()
	p := FromAPI(aPod("1"))
	if Is(p) || p.Annotations[SourceAnnotation] != "api" {
		t.Errorf("annotations %v", p.Annotations)
	}
}
