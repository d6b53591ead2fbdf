package podcontrol

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"go.uber.org/zap"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/apiclient"
	"kubus.dev/services/controllers/internal/event"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/write"
)

// api is a cluster whose mirror shows each write at once.
type api struct {
	pods     *mirror.Kind[corev1.Pod]
	made     map[string]*corev1.Pod
	revision uint64
	lose     int   // answers that are lost on the way
	deaf     int   // reads that are not answered
	late     bool  // the mirror shows nothing by itself
	refuse   error // of every create
	sent     int   // writes
	listed   int
}

// Do answers a list of the pod of one name, as all may ask for who make pods.
func (a *api) Do(_ context.Context, r apiclient.Request) ([]byte, error) {
	name, ok := strings.CutPrefix(r.Path, "/api/v1/namespaces/default/pods?fieldSelector=metadata.name%3D")
	if !ok {
		return nil, apierrors.NewForbidden(corev1.Resource("pods"), r.Path, nil)
	}
	a.listed++
	if a.deaf > 0 {
		a.deaf--
		return nil, errors.New("the answer was lost")
	}
	found := corev1.PodList{}
	if p := a.made[name]; p != nil {
		found.Items = append(found.Items, *p)
	}
	return json.Marshal(found)
}

func (a *api) Bulk(_ context.Context, _ apiclient.BulkOptions, requests []apiclient.Request) ([]apiclient.Result, error) {
	results := make([]apiclient.Result, len(requests))
	for i, r := range requests {
		a.sent++
		results[i] = a.write(r)
	}
	if a.lose > 0 {
		a.lose--
		return nil, errors.New("the answer was lost")
	}
	return results, nil
}

func (a *api) write(r apiclient.Request) apiclient.Result {
	if r.Method == "DELETE" {
		name := r.Path[strings.LastIndex(r.Path, "/")+1:]
		if a.pods.Get("default", name) == nil {
			return apiclient.Result{Err: apierrors.NewNotFound(corev1.Resource("pods"), name)}
		}
		a.revision++
		delete(a.made, name)
		a.pods.Drop(a.revision, "default", name)
		return apiclient.Result{}
	}
	var p corev1.Pod
	if err := json.Unmarshal(r.Body, &p); err != nil {
		return apiclient.Result{Err: err}
	}
	switch {
	case a.refuse != nil:
		return apiclient.Result{Err: a.refuse}
	case a.made[p.Name] != nil:
		return apiclient.Result{Err: apierrors.NewAlreadyExists(corev1.Resource("pods"), p.Name)}
	}
	a.revision++
	p.ResourceVersion, p.UID = fmt.Sprint(a.revision), types.UID(p.Name)
	a.made[p.Name] = &p
	if !a.late {
		a.pods.Put(a.revision, p.DeepCopy())
	}
	body, err := json.Marshal(&p)
	return apiclient.Result{Body: body, Err: err}
}

var (
	kind = appsv1.SchemeGroupVersion.WithKind("ReplicaSet")
	set  = &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "s"},
		Spec:       appsv1.ReplicaSetSpec{Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}}},
	}
	about = event.Object{GroupVersionKind: kind, Meta: set}
)

func control() (*Control, *api) {
	world := mirror.NewWorld()
	a := &api{pods: world.Pods, made: map[string]*corev1.Pod{}}
	return New(frame.NewEnv("test", "test", world, write.New(a, nil), &frame.Settings{}, zap.NewNop())), a
}

func some(n int) []*corev1.Pod {
	pods := make([]*corev1.Pod, n)
	for i := range pods {
		pods[i] = FromTemplate(set, kind, &set.Spec.Template)
	}
	return pods
}

func TestPodsAreNamedHereAndInTheMirrorAfterwards(t *testing.T) {
	t.Parallel()
	c, a := control()
	errs, late := c.Create(t.Context(), about, some(3))
	if err := errors.Join(append(errs, late)...); err != nil {
		t.Fatal(err)
	}
	made := a.pods.ByIndex(mirror.ByController, "s")
	if len(made) != 3 {
		t.Fatalf("%d pods in the mirror, want 3", len(made))
	}
	for _, p := range made {
		if len(p.Name) != len("web-")+5 || p.Name[:4] != "web-" || p.GenerateName != "web-" {
			t.Errorf("name %q, generateName %q", p.Name, p.GenerateName)
		}
	}
	if errs, late := c.Delete(t.Context(), about, made); errors.Join(append(errs, late)...) != nil || len(a.pods.List("")) != 0 {
		t.Errorf("deleting: %v, %v, %d left", errs, late, len(a.pods.List("")))
	}
	if errs, late := c.Delete(t.Context(), about, made); errors.Join(append(errs, late)...) != nil {
		t.Errorf("deleting what is gone: %v, %v", errs, late)
	}
}

func TestALostAnswerMakesNoPodTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, a := control()
		a.lose = 2
		errs, late := c.Create(t.Context(), about, some(5))
		if err := errors.Join(append(errs, late)...); err != nil {
			t.Fatal(err)
		}
		if n := len(a.pods.List("")); n != 5 || a.sent != 15 || a.listed != 5 {
			t.Errorf("%d pods by %d writes, %d asked for, want 5 by 15, all asked for", n, a.sent, a.listed)
		}
	})
}

// Who was told that the pod is there already, and not at which revision, has to wait
// for it all the same: it would make another one.
func TestAPodOfALostAnswerIsWaitedForThoughTheQuestionIsLostToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, a := control()
		a.lose, a.deaf, a.late = 1, 2, true
		if _, late := c.Create(t.Context(), about, some(1)); !errors.As(late, new(*mirror.Behind)) {
			t.Errorf("got %v, want to be told that the mirror is behind", late)
		}
		if a.listed != 3 {
			t.Errorf("asked %d times, want until there was an answer", a.listed)
		}
	})
}

func TestWherePodsAreRefusedFewAreTried(t *testing.T) {
	t.Parallel()
	c, a := control()
	a.refuse = apierrors.NewForbidden(corev1.Resource("pods"), "web-x", errors.New("exceeded quota"))
	if _, late := c.Create(t.Context(), about, some(10)); late != nil {
		t.Fatal(late)
	}
	a.sent = 0
	errs, late := c.Create(t.Context(), about, some(5000))
	if late != nil || len(errs) != 5000 || errs[4999] == nil {
		t.Errorf("%d errors, late %v", len(errs), late)
	}
	if a.sent > 1 {
		t.Errorf("%d were tried before one was known to be taken", a.sent)
	}
	a.refuse, a.sent = nil, 0
	if errs, late := c.Create(t.Context(), about, some(100)); late != nil || errors.Join(errs...) != nil || len(a.pods.List("")) != 100 {
		t.Errorf("once they are taken: %v, %v, %d pods", errs, late, len(a.pods.List("")))
	}
}

func TestATemplateWithoutLabelsMakesNoPods(t *testing.T) {
	t.Parallel()
	c, a := control()
	if _, err := c.Create(t.Context(), about, []*corev1.Pod{FromTemplate(set, kind, &corev1.PodTemplateSpec{})}); !errors.Is(err, ErrNoLabels) || a.sent != 0 {
		t.Errorf("got %v after %d writes", err, a.sent)
	}
}
