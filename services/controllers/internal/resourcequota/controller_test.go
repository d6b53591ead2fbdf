package resourcequota

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/apiclient"
	"kubus.dev/services/controllers/internal/feed"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/write"
)

// api takes status updates of quotas, by compare-and-set, and shows them in the mirror.
type api struct {
	world    *mirror.World
	revision uint64
	writes   int
}

func (a *api) Do(context.Context, apiclient.Request) ([]byte, error) {
	return nil, apierrors.NewInternalError(nil)
}

func (a *api) Bulk(_ context.Context, _ apiclient.BulkOptions, requests []apiclient.Request) ([]apiclient.Result, error) {
	results := make([]apiclient.Result, len(requests))
	for i, r := range requests {
		quota := &corev1.ResourceQuota{}
		if err := json.Unmarshal(r.Body, quota); err != nil {
			return nil, err
		}
		if now := a.world.ResourceQuotas.Get(quota.Namespace, quota.Name); now.ResourceVersion != quota.ResourceVersion {
			results[i].Err = apierrors.NewConflict(corev1.Resource("resourcequotas"), quota.Name, nil)
			continue
		}
		a.writes++
		a.put(quota)
		results[i].Body, _ = json.Marshal(quota)
	}
	return results, nil
}

func (a *api) put(quota *corev1.ResourceQuota) {
	a.revision++
	quota.ResourceVersion = fmt.Sprint(a.revision)
	a.world.ResourceQuotas.Put(a.revision, quota)
}

func (a *api) addPod(name string) {
	a.revision++
	a.world.Pods.Put(a.revision, newPod("cpu=1", "", func(p *corev1.Pod) {
		p.Namespace, p.Name, p.UID = "ns", name, types.UID(name)
	}))
}

func (a *api) dropPod(name string) {
	a.revision++
	a.world.Pods.Drop(a.revision, "ns", name)
}

// charge is what admission does before it lets a pod be made.
func (a *api) charge(used string) {
	quota := a.world.ResourceQuotas.Get("ns", "q").DeepCopy()
	quota.Status.Used = list(used)
	a.put(quota)
}

func (a *api) used() string { return text(a.world.ResourceQuotas.Get("ns", "q").Status.Used) }

// play runs the controller over a quota of five pods, in made-up time.
func play(t *testing.T, act func(a *api)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		a := &api{world: mirror.NewWorld()}
		e := frame.NewEnv("resourcequota", "", a.world, write.New(a, nil), &frame.Settings{}, zap.NewNop())
		e.Feed = feed.New(nil, nil, zap.NewNop())
		loop, err := Controller().Make(e)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- loop.Run(ctx, 2) }()
		a.put(&corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "q"}, Spec: corev1.ResourceQuotaSpec{Hard: list("pods=5")}})
		synctest.Wait()
		act(a)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestANewQuotaHasItsStatusAtOnce(t *testing.T) {
	play(t, func(a *api) {
		if got := a.used(); got != "pods=0" || a.writes != 1 {
			t.Errorf("got %s after %d writes", got, a.writes)
		}
	})
}

func TestADeletedPodIsGivenBackAtOnce(t *testing.T) {
	play(t, func(a *api) {
		a.charge("pods=2")
		a.addPod("a")
		a.addPod("b")
		a.dropPod("a")
		synctest.Wait()
		if got := a.used(); got != "pods=1" {
			t.Errorf("got %s", got)
		}
	})
}

func TestWhatIsChargedAndNotYetMadeIsLeftAloneForAWhile(t *testing.T) {
	play(t, func(a *api) {
		for i := range 10 { // never quiet for a second
			a.charge(fmt.Sprint("pods=", i+2))
			a.addPod(fmt.Sprint(i))
			time.Sleep(settle / 2)
		}
		if got := a.used(); got != "pods=11" || a.writes != 1 {
			t.Errorf("amid a burst: got %s after %d writes", got, a.writes)
		}
		time.Sleep(2 * settle)
		if got := a.used(); got != "pods=10" { // one was charged and never made
			t.Errorf("after it: got %s", got)
		}
		writes := a.writes
		time.Sleep(time.Hour)
		if a.writes != writes {
			t.Errorf("%d more writes though nothing happened", a.writes-writes)
		}
	})
}

func TestAStatusThatSomebodyWroteIsPutRight(t *testing.T) {
	play(t, func(a *api) {
		quota := a.world.ResourceQuotas.Get("ns", "q").DeepCopy()
		quota.Status.Hard = list("pods=9")
		a.put(quota)
		synctest.Wait()
		if got := text(a.world.ResourceQuotas.Get("ns", "q").Status.Hard); got != "pods=5" {
			t.Errorf("got %s", got)
		}
	})
}

func TestAPodThatNobodyCanStopIsGivenBackWhenItsGraceIsOver(t *testing.T) {
	play(t, func(a *api) {
		a.addPod("a")
		time.Sleep(2 * settle)
		p := a.world.Pods.Get("ns", "a").DeepCopy()
		now, grace := metav1.Now(), int64(30)
		p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &now, &grace
		a.revision++
		a.world.Pods.Put(a.revision, p)
		time.Sleep(29 * time.Second)
		if got := a.used(); got != "pods=1" {
			t.Errorf("within its grace period: got %s", got)
		}
		time.Sleep(2 * time.Second)
		if got := a.used(); got != "pods=0" {
			t.Errorf("after it: got %s", got)
		}
	})
}
