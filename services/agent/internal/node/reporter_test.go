package node

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/bustest"
	"kubus.dev/proto/bustest/apitest"
	"kubus.dev/services/agent/internal/runtime"
)

const path = "/api/v1/nodes/n"

// outside is all that a Reporter touches.
type outside struct {
	mu      sync.Mutex
	reports []*corev1.Node
	by      []string // the instance of each report
	beats   int
	network string
	broken  error // what SetPodCIDR answers
}

func (o *outside) Images() []runtime.Image { return nil }

func (o *outside) Node(n *corev1.Node, instance string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reports, o.by = append(o.reports, n), append(o.by, instance)
	return nil
}

func (o *outside) Publish(string, []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.beats++
	return nil
}

func (o *outside) SetPodCIDR(_ context.Context, cidr string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.broken != nil {
		return o.broken
	}
	o.network = cidr
	return nil
}

func (o *outside) reported() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.reports)
}

func dataDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "agent"), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func reporter(dir string, o *outside) *Reporter {
	return NewReporter(settings(), machine(), dir, "i", o, o, o, zap.NewNop())
}

// object is the node in the API.
func object(cidr string, labels map[string]string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: labels}, Spec: corev1.NodeSpec{PodCIDR: cidr}}
}

// follow runs Follow until the returned function is called.
func follow(t *testing.T, r *Reporter, api *apitest.API, o *outside, ready func()) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = r.Follow(ctx, api.Client("system:node:n"), o, ready)
	}()
	return func() {
		cancel()
		<-done
	}
}

func ready(n *corev1.Node) corev1.ConditionStatus { return condition(n, corev1.NodeReady).Status }

func TestTheNodeIsReadyOnceItsNetworkHasTheCIDRThatTheClusterGave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, api := &outside{}, apitest.New()
		r := reporter(dataDir(t), o)
		kicked := 0
		stop := follow(t, r, api, o, func() { kicked++ })
		defer stop()
		synctest.Wait()
		if got := ready(r.Object()); got != corev1.ConditionFalse {
			t.Errorf("without a CIDR, Ready is %s", got)
		}
		api.Put(path, object("10.1.0.0/24", nil))
		synctest.Wait()
		if o.network != "10.1.0.0/24" || kicked != 1 || ready(r.Object()) != corev1.ConditionTrue {
			t.Errorf("network %q, %d kicks, Ready %s", o.network, kicked, ready(r.Object()))
		}
		api.Put(path, object("10.1.0.0/24", nil))
		synctest.Wait()
		if kicked != 1 {
			t.Error("the same CIDR again was taken for news")
		}
	})
}

func TestANetworkThatCannotBeMadeIsTheReasonWhyTheNodeIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, api := &outside{broken: errors.New("no bridge")}, apitest.New()
		api.Put(path, object("10.1.0.0/24", nil))
		r := reporter(dataDir(t), o)
		stop := follow(t, r, api, o, func() { t.Error("pods were told of a network") })
		defer stop()
		synctest.Wait()
		if got, want := condition(r.Object(), corev1.NodeReady).Message, "container runtime network not ready: no bridge"; got != want {
			t.Errorf("Ready says %q, want %q", got, want)
		}
	})
}

// A pod may select its node by any label, whoever wrote it.
func TestObjectHasTheLabelsOfTheAPIAndReportsHaveOurs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, api := &outside{}, apitest.New()
		dir := dataDir(t)
		r := reporter(dir, o)
		select {
		case <-r.Known():
			t.Error("the node is known before anybody asked")
		default:
		}
		stop := follow(t, r, api, o, func() {})
		<-r.Known()
		if got := r.Object().Labels[corev1.LabelHostname]; got != "n" {
			t.Errorf("before the API has the node, its host name is %q", got)
		}
		api.Put(path, object("", map[string]string{"disk": "ssd"}))
		synctest.Wait()
		if got := r.Object().Labels["disk"]; got != "ssd" {
			t.Errorf("the API's label is %q", got)
		}
		r.Refresh()
		if labels := o.reports[len(o.reports)-1].Labels; labels["disk"] != "" || labels[corev1.LabelHostname] != "n" {
			t.Errorf("the report's labels are %v: what others wrote is not ours to say", labels)
		}
		api.Put(path, object("", map[string]string{"disk": "nvme"}))
		synctest.Wait()
		stop()
		if got := reporter(dir, o).Object().Labels["disk"]; got != "nvme" {
			t.Errorf("after a restart, without the cluster, the label is %q", got)
		}
	})
}

func TestASecondLookSeesLabelsThatTheWatchHasNotBrought(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, api := &outside{}, apitest.New()
		r := reporter(dataDir(t), o)
		client := api.Client("system:node:n")
		r.Reread(t.Context(), client)
		if got := r.Object().Labels[corev1.LabelHostname]; got != "n" {
			t.Errorf("where the API has no node, the labels are %v", r.Object().Labels)
		}
		api.Put(path, object("", map[string]string{"disk": "ssd"}))
		r.Reread(t.Context(), client)
		if got := r.Object().Labels["disk"]; got != "ssd" {
			t.Errorf("the label is %q", got)
		}
	})
}

func TestANodeThatIsDeletedIsReportedAsANewOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, api := &outside{}, apitest.New()
		api.Put(path, object("", map[string]string{"disk": "ssd"}))
		r := reporter(dataDir(t), o)
		stop := follow(t, r, api, o, func() {})
		defer stop()
		synctest.Wait()
		before := o.reported()
		api.Delete(path)
		synctest.Wait()
		if n := o.reported(); n != before+1 || o.by[n-1] == "i" {
			t.Errorf("%d reports, by %v: want one more, by another instance", n-before, o.by)
		}
		if got := r.Object().Labels["disk"]; got != "" {
			t.Errorf("the label of the deleted object is still there: %q", got)
		}
	})
}

func TestARestartGoesOnWithTheNetworkOfBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, api := &outside{}, apitest.New()
		dir := dataDir(t)
		api.Put(path, object("10.1.0.0/24", nil))
		r := reporter(dir, o)
		stop := follow(t, r, api, o, func() {})
		synctest.Wait()
		since := condition(r.Object(), corev1.NodeReady).LastTransitionTime
		stop()

		time.Sleep(time.Hour)
		again := &outside{}
		r = reporter(dir, again)
		r.Resume(t.Context(), again)
		c := condition(r.Object(), corev1.NodeReady)
		if again.network != "10.1.0.0/24" || c.Status != corev1.ConditionTrue || !c.LastTransitionTime.Equal(&since) {
			t.Errorf("network %q, Ready %s since %s, want it since %s", again.network, c.Status, c.LastTransitionTime, since)
		}

		broken := &outside{broken: errors.New("gone")}
		r = reporter(dir, broken)
		r.Resume(t.Context(), broken)
		if got := ready(r.Object()); got != corev1.ConditionFalse {
			t.Errorf("where the network cannot be made again, Ready is %s", got)
		}
	})
}

func TestTheFileOfAnotherNodeIsNotContinued(t *testing.T) {
	t.Parallel()
	dir, o := dataDir(t), &outside{}
	r := reporter(dir, o)
	n := object("10.9.0.0/24", nil)
	n.Name = "another"
	r.keep(n)
	if kept := r.load(); kept != nil {
		t.Errorf("got %s", kept.Name)
	}
}

func TestTheHeartBeatsEveryTenSecondsAndNothingElseIsSaidWhileNothingChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &outside{}
		r := reporter(dataDir(t), o)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		time.Sleep(25 * time.Second)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if o.beats != 3 || o.reported() != 1 {
			t.Errorf("in 25 s there were %d beats and %d reports, want 3 and 1", o.beats, o.reported())
		}
	})
}

func TestAGatewayThatBeginsHearsTheNodeAtOnce(t *testing.T) {
	conn := bustest.Start(t)
	heard := make(chan string, 1)
	beats, err := conn.Subscribe(proto.HeartbeatSubjects, "", func(m *bus.Msg) { heard <- m.Subject })
	if err != nil {
		t.Fatal(err)
	}
	defer beats.Stop()
	o := &outside{}
	r := NewReporter(settings(), machine(), dataDir(t), "i", o, o, conn, zap.NewNop())
	hello, err := r.Greet(conn)
	if err != nil {
		t.Fatal(err)
	}
	defer hello.Stop()
	if err := conn.Publish(proto.GatewayHelloSubject, nil); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-heard:
		if want := proto.HeartbeatSubject(settings().Name); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	case <-time.After(5 * time.Second):
		t.Error("heard nothing")
	}
}
