package resize

import (
	"os"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

func TestAPodHasWhatItIsGranted(t *testing.T) {
	t.Parallel()
	small := podOf(sized{name: "a", ResourceRequirements: needs("cpu=1", "")})
	big := podOf(sized{name: "a", ResourceRequirements: needs("cpu=2", "")})
	granted := Of(small)
	if granted.Apply(small) != small {
		t.Error("a pod that asks for no more is not copied")
	}
	got := granted.Apply(big)
	if got == big || got.Spec.Containers[0].Resources.Requests.Cpu().Value() != 1 || big.Spec.Containers[0].Resources.Requests.Cpu().Value() != 2 {
		t.Errorf("asked %v, got %v", big.Spec.Containers, got.Spec.Containers)
	}
	big.Spec.EphemeralContainers = []corev1.EphemeralContainer{{}}
	if got := granted.Apply(big); len(got.Spec.EphemeralContainers) != 1 {
		t.Error("all else is as the pod says")
	}
}

func TestAnAllocationIsKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir() + "/pod"
	if a, err := Load(dir); a != nil || err != nil {
		t.Errorf("nothing kept: %v, %v", a, err)
	}
	want := Of(podOf(sized{name: "a", ResourceRequirements: needs("cpu=1500m", "mem=1Gi")}))
	if err := Save(dir, want); err != nil {
		t.Fatal(err)
	}
	if got, err := Load(dir); err != nil || !equality.Semantic.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := os.WriteFile(dir+"/"+allocationFile, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil {
		t.Error("a torn file is taken for good")
	}
	if err := Drop(dir); err != nil {
		t.Fatal(err)
	}
	if a, err := Load(dir); a != nil || err != nil {
		t.Errorf("dropped: %v, %v", a, err)
	}
	if err := Drop(dir); err != nil {
		t.Error(err)
	}
}

func TestRequestsAreServedInOrder(t *testing.T) {
	t.Parallel()
	high, early, late := int32(1000), time.Unix(100, 0), time.Unix(200, 0)
	one, two := needs("cpu=1 mem=1Gi", ""), needs("cpu=2 mem=1Gi", "")
	request := func(name string, from, to corev1.ResourceRequirements, priority *int32, since time.Time) Request {
		r := Request{Granted: podOf(sized{name: "a", ResourceRequirements: from}), Asked: podOf(sized{name: "a", ResourceRequirements: to}), Since: since}
		r.Asked.Name, r.Asked.Spec.Priority = name, priority
		return r
	}
	want := []Request{
		request("less", two, one, nil, late),
		request("important", one, two, &high, late),
		request("guaranteed", needs("cpu=1 mem=1Gi", "cpu=1 mem=1Gi"), needs("cpu=2 mem=1Gi", "cpu=2 mem=1Gi"), nil, late),
		request("waits long", one, two, nil, early),
		request("waits less", one, two, nil, late),
		request("new", one, two, nil, time.Time{}),
	}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, Order)
	for i := range got {
		if got[i].Asked.Name != want[i].Asked.Name {
			t.Errorf("%d is %s, want %s", i, got[i].Asked.Name, want[i].Asked.Name)
		}
	}
}

func TestMessagesAreKubelets(t *testing.T) {
	t.Parallel()
	pod := podOf(sized{name: "c1", ResourceRequirements: needs("cpu=25m", "")})
	want := `Pod resize Deferred: {"containers":[{"name":"c1","resources":{"requests":{"cpu":"25m"}}}],"generation":2,"error":"no room"}`
	if got := Message(Pending+corev1.PodReasonDeferred, pod, 2, "no room"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
