package history

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

const template = `{"metadata":{"labels":{"app":"web"},"annotations":{"a":"<b>&c"}},"spec":{"containers":[{"name":"web","image":"nginx:1.27","ports":[{"containerPort":80,"protocol":"TCP"}],"resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent"}],"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","securityContext":{"runAsUser":9007199254740993},"schedulerName":"default-scheduler"}}`

// What k8s.io/kubernetes v1.37.2 makes of it: the patch of
// pkg/controller/statefulset.getPatch, named by history.NewControllerRevision.
const (
	upstreamData = `{"spec":{"template":{"$patch":"replace","metadata":{"annotations":{"a":"\u003cb\u003e\u0026c"},"labels":{"app":"web"}},"spec":{"containers":[{"image":"nginx:1.27","imagePullPolicy":"IfNotPresent","name":"web","ports":[{"containerPort":80,"protocol":"TCP"}],"resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File"}],"dnsPolicy":"ClusterFirst","restartPolicy":"Always","schedulerName":"default-scheduler","securityContext":{"runAsUser":9007199254740992},"terminationGracePeriodSeconds":30}}}}`
	// with creationTimestamp, as releases before 1.34 encoded it
	formerData = `{"spec":{"template":{"$patch":"replace","metadata":{"creationTimestamp":null,"labels":{"app":"web"}},"spec":{"containers":[]}}}}`
)

func decoded(t *testing.T) *corev1.PodTemplateSpec {
	t.Helper()
	var out corev1.PodTemplateSpec
	if err := json.Unmarshal([]byte(template), &out); err != nil {
		t.Fatal(err)
	}
	return &out
}

func TestDataHashAndNameAreUpstreams(t *testing.T) {
	t.Parallel()
	data, err := Data(decoded(t))
	if err != nil || string(data) != upstreamData {
		t.Fatalf("%v, data\n%s\nwant\n%s", err, data, upstreamData)
	}
	for collisions, want := range map[int32]string{0: "web-fb495d8b", 1: "web-fb495d8c", 17: "web-675f556dd6"} {
		if got := Name("web", Hash(data, collisions)); got != want {
			t.Errorf("after %d collisions: %s, want %s", collisions, got, want)
		}
	}
	for collisions, want := range map[int32]string{0: "6f765d8849", 1: "57b9965fc6", 17: "64bdc6bd64"} { // controller.ComputeHash
		if got := TemplateHash(decoded(t), &collisions); got != want {
			t.Errorf("template after %d collisions: %s, want %s", collisions, got, want)
		}
	}
	if got := Name(strings.Repeat("a", 253), "fb495d8b"); got != strings.Repeat("a", 223)+"-fb495d8b" {
		t.Errorf("a long name became %s", got)
	}
}

func TestATemplateComesBack(t *testing.T) {
	t.Parallel()
	want := decoded(t)
	want.Spec.SecurityContext.RunAsUser = new(int64(9007199254740992)) // numbers pass through JSON's floats, upstream too
	got, err := Template(revision("r", 1, upstreamData))
	if err != nil || !equality.Semantic.DeepEqual(got, want) {
		t.Errorf("%v, got %+v", err, got)
	}
	former, err := Template(revision("r", 1, formerData))
	if err != nil {
		t.Fatal(err)
	}
	data, err := Data(former)
	if want := strings.Replace(formerData, `"creationTimestamp":null,`, "", 1); err != nil || strings.Contains(string(data), "creationTimestamp") || Hash(data, 0) == Hash([]byte(formerData), 0) {
		t.Errorf("%v, a former release's revision reads as %s, want %s", err, data, want)
	}
	for _, broken := range []string{``, `{}`, `[]`, `{"spec":{"template":{"spec":{}}}}`, `{"spec":{"replicas":2}}`} {
		if _, err := Template(revision("r", 1, broken)); !errors.Is(err, ErrNoTemplate) {
			t.Errorf("%q: %v", broken, err)
		}
	}
}

func revision(name string, number int64, data string) *appsv1.ControllerRevision {
	return &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Revision: number, Data: runtime.RawExtension{Raw: []byte(data)}}
}

func names(revisions []*appsv1.ControllerRevision) (out string) {
	for _, r := range revisions {
		out += r.Name + " "
	}
	return out
}

func TestOrder(t *testing.T) {
	t.Parallel()
	young := revision("a", 2, "")
	young.CreationTimestamp = metav1.NewTime(time.Unix(100, 0))
	all := []*appsv1.ControllerRevision{revision("e", 3, ""), young, revision("c", 2, ""), revision("b", 2, ""), revision("d", 1, "")}
	if got := Next(all); got != 4 {
		t.Errorf("the next number is %d, want 4", got)
	}
	if got := Next(nil); got != 1 {
		t.Errorf("the first number is %d, want 1", got)
	}
	used := func(r *appsv1.ControllerRevision) bool { return r.Name == "b" }
	if got := names(Oldest(all, 3, used)); got != "d c a " {
		t.Errorf("the three oldest that are not used: %s", got)
	}
	if got := names(Oldest(all, -1, used)); got != "" {
		t.Errorf("nothing is superfluous, got %s", got)
	}
	if names(all) != "e a c b d " {
		t.Errorf("the caller's order changed: %s", names(all))
	}
	Sort(all)
	if got := names(all); got != "d b c a e " {
		t.Errorf("by number, age and name: %s", got)
	}
}
