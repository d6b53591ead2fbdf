package ttlafterfinished

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"kubus.dev/proto/apiclient"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/write"
)

// api has a job that may be newer than the mirror's.
type api struct {
	world   *mirror.World
	job     *batchv1.Job
	deleted *metav1.DeleteOptions
}

func (a *api) Do(context.Context, apiclient.Request) ([]byte, error) { return json.Marshal(a.job) }

func (a *api) Bulk(_ context.Context, _ apiclient.BulkOptions, requests []apiclient.Request) ([]apiclient.Result, error) {
	a.deleted = new(metav1.DeleteOptions)
	err := json.Unmarshal(requests[0].Body, a.deleted)
	a.world.Jobs.Drop(9, "ns", "j")
	return []apiclient.Result{{Err: err}}, nil
}

func TestAJobGoesAtItsTimeAndNeverEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		job := func(ttl int32, revision string) *batchv1.Job {
			j := ended(batchv1.JobComplete, ptr.To(ttl))
			j.Namespace, j.Name, j.UID, j.ResourceVersion = "ns", "j", "j", revision
			j.Status.Conditions[0].LastTransitionTime = metav1.NewTime(time.Now())
			return j
		}
		a := &api{world: mirror.NewWorld(), job: job(60, "2")} // its time was prolonged meanwhile
		e := frame.NewEnv("ttl", "ttl", a.world, write.New(a, nil), &frame.Settings{}, zap.NewNop())
		loop, err := Controller().Make(e)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go loop.Run(ctx, 1)
		a.world.Jobs.Put(1, job(10, "1"))
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if a.deleted != nil {
			t.Fatal("deleted before its time")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if a.deleted == nil {
			t.Fatal("not deleted at its time")
		}
		p := a.deleted.Preconditions
		if p == nil || *p.UID != types.UID("j") || *p.ResourceVersion != "2" || *a.deleted.PropagationPolicy != metav1.DeletePropagationForeground {
			t.Errorf("deleted with %+v", a.deleted)
		}
	})
}
