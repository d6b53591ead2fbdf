package cronjob

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/apiclient"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/write"
)

// api is a cluster whose mirrors show each write at once.
type api struct {
	world    *mirror.World
	revision uint64
	refuse   string // a method and the end of a path, refused once
}

func (a *api) Do(_ context.Context, r apiclient.Request) ([]byte, error) {
	j := a.world.Jobs.Get("ns", nameIn(r.Path))
	if j == nil {
		return nil, apierrors.NewNotFound(batchv1.Resource("jobs"), r.Path)
	}
	return json.Marshal(j)
}

func nameIn(path string) string { return path[strings.LastIndex(path, "/")+1:] }

func (a *api) Bulk(_ context.Context, _ apiclient.BulkOptions, requests []apiclient.Request) ([]apiclient.Result, error) {
	out := make([]apiclient.Result, len(requests))
	for i, r := range requests {
		a.revision++
		if a.refuse != "" && strings.HasSuffix(r.Method+" "+r.Path, a.refuse) {
			a.refuse = ""
			out[i].Err = apierrors.NewInternalError(errors.New("refused"))
			continue
		}
		out[i].Body, out[i].Err = a.write(r)
	}
	return out, nil
}

func (a *api) write(r apiclient.Request) ([]byte, error) {
	switch {
	case r.Method == "DELETE":
		a.world.Jobs.Drop(a.revision, "ns", nameIn(r.Path))
		return nil, nil
	case strings.HasSuffix(r.Path, "/status"):
		var c batchv1.CronJob
		if err := json.Unmarshal(r.Body, &c); err != nil {
			return nil, err
		}
		a.putCron(&c)
		return json.Marshal(&c)
	}
	var j batchv1.Job
	if err := json.Unmarshal(r.Body, &j); err != nil {
		return nil, err
	}
	if a.world.Jobs.Get("ns", j.Name) != nil {
		return nil, apierrors.NewAlreadyExists(batchv1.Resource("jobs"), j.Name)
	}
	j.UID = types.UID(j.Name)
	a.putJob(&j)
	return json.Marshal(&j)
}

func (a *api) putCron(c *batchv1.CronJob) {
	a.revision++
	c.ResourceVersion = fmt.Sprint(a.revision)
	a.world.CronJobs.Put(a.revision, c)
}

func (a *api) putJob(j *batchv1.Job) {
	a.revision++
	j.ResourceVersion = fmt.Sprint(a.revision)
	a.world.Jobs.Put(a.revision, j)
}

func (a *api) jobs() (names []string) {
	for _, j := range a.world.Jobs.List("ns") {
		names = append(names, j.Name)
	}
	slices.Sort(names)
	return names
}

func (a *api) active() (names []string) {
	for _, ref := range a.world.CronJobs.Get("ns", "c").Status.Active {
		names = append(names, ref.Name)
	}
	return names
}

// running runs a cron job that was just made, each minute, in made-up time that begins at
// the turn of one.
func running(t *testing.T, play func(a *api, minute func() string), changes ...change) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		a := &api{world: mirror.NewWorld()}
		e := frame.NewEnv("cronjob", "cronjob-controller", a.world, write.New(a, nil), &frame.Settings{}, zap.NewNop())
		a.world.Jobs.Follow()
		a.putCron(cronJob(append([]change{schedule("* * * * *"), created(time.Now())}, changes...)...))
		loop, err := Controller().Make(e)
		if err != nil {
			t.Fatal(err)
		}
		go loop.Run(ctx, 1)
		play(a, func() string {
			time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(time.Minute + time.Second)))
			synctest.Wait()
			return nameOf(a.world.CronJobs.Get("ns", "c"), time.Now().Truncate(time.Minute))
		})
	})
}

func TestEachStartMakesOneJob(t *testing.T) {
	running(t, func(a *api, minute func() string) {
		first := minute()
		second := minute()
		if want := []string{first, second}; !slices.Equal(a.jobs(), want) || !slices.Equal(a.active(), want) {
			t.Errorf("jobs %v, active %v, want %v", a.jobs(), a.active(), want)
		}
	})
}

func TestAJobWhoseStatusWasLostIsFoundAgain(t *testing.T) {
	running(t, func(a *api, minute func() string) {
		a.refuse = "PUT /apis/batch/v1/namespaces/ns/cronjobs/c/status"
		name := minute()
		if !slices.Equal(a.jobs(), []string{name}) || !slices.Equal(a.active(), []string{name}) || a.refuse != "" {
			t.Errorf("jobs %v, active %v, want %s", a.jobs(), a.active(), name)
		}
	})
}

func TestAJobOfThatNameThatIsAnothersIsLeftAlone(t *testing.T) {
	running(t, func(a *api, minute func() string) {
		name := nameOf(a.world.CronJobs.Get("ns", "c"), time.Now().Truncate(time.Minute).Add(time.Minute))
		a.putJob(&batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: "x"}})
		minute()
		if len(a.active()) != 0 {
			t.Errorf("active %v", a.active())
		}
		if next := minute(); !slices.Equal(a.active(), []string{next}) {
			t.Errorf("the start after it: active %v, want %s", a.active(), next)
		}
	})
}

func TestReplacingWaitsUntilTheOldJobIsDeleted(t *testing.T) {
	running(t, func(a *api, minute func() string) {
		first := minute()
		a.refuse = "DELETE /apis/batch/v1/namespaces/ns/jobs/" + first
		second := minute()
		if !slices.Equal(a.jobs(), []string{second}) || !slices.Equal(a.active(), []string{second}) || a.refuse != "" {
			t.Errorf("jobs %v, active %v, want %s", a.jobs(), a.active(), second)
		}
	}, policy(batchv1.ReplaceConcurrent))
}

func TestANewScheduleIsNotMadeUpForInThePast(t *testing.T) {
	running(t, func(a *api, minute func() string) {
		c := a.world.CronJobs.Get("ns", "c").DeepCopy()
		c.CreationTimestamp = metav1.NewTime(time.Now().Add(-time.Hour))
		c.Spec.Schedule = "*/1 * * * *"
		time.Sleep(10 * time.Second)
		a.putCron(c)
		synctest.Wait()
		if len(a.jobs()) != 0 {
			t.Errorf("started %v at once", a.jobs())
		}
		if first := minute(); !slices.Equal(a.jobs(), []string{first}) {
			t.Errorf("jobs %v, want %s", a.jobs(), first)
		}
	}, schedule("0 0 1 1 *"))
}

func TestAFinishedJobIsSeenAtOnce(t *testing.T) {
	running(t, func(a *api, minute func() string) {
		first := minute()
		j := a.world.Jobs.Get("ns", first).DeepCopy()
		j.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue}}
		a.putJob(j)
		synctest.Wait()
		if len(a.active()) != 0 {
			t.Errorf("active %v", a.active())
		}
	})
}
