package informer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"

	"kubus.dev/gateway/internal/informer"
	"kubus.dev/gateway/internal/resource"
	"kubus.dev/proto"
	"kubus.dev/proto/bustest"
	"kubus.dev/proto/statelog"
	"kubus.dev/proto/store"
)

var pods = proto.GroupResource{Resource: "pods"}

// world is a log and informers over its views.
type world struct {
	t   *testing.T
	log *statelog.Log
	*informer.Factory
}

func newWorld(t *testing.T, server *store.Server, change func(*informer.Options)) *world {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	conn := bustest.Connect(t, server)
	views := statelog.OpenViews(ctx, conn, zap.NewNop())
	log, err := statelog.OpenLog(ctx, conn, views, 1, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if err := views.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	o := informer.Options{View: log.View, Barrier: log.Barrier, Registry: resource.NewRegistry(resource.BuiltIn()), Logger: zap.NewNop()}
	if change != nil {
		change(&o)
	}
	w := &world{t, log, informer.New(ctx, o)}
	t.Cleanup(func() {
		w.Shutdown()
		cancel()
		_ = views.Wait()
	})
	return w
}

// write commits a pod with a label.
func (w *world) write(namespace, name, label string) {
	w.t.Helper()
	data, err := json.Marshal(&corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"l": label}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.commit(statelog.Write{Key: proto.Key{GroupResource: pods, Namespace: namespace, Name: name}, Data: data})
}

func (w *world) remove(namespace, name string) {
	w.t.Helper()
	w.commit(statelog.Write{Key: proto.Key{GroupResource: pods, Namespace: namespace, Name: name}, Delete: true, Data: []byte(`{}`)})
}

func (w *world) commit(write statelog.Write) {
	w.t.Helper()
	gr := write.Key.GroupResource
	if e := w.log.View(gr).Get(gr, write.Key.Namespace, write.Key.Name); e != nil {
		write.Expect = e.Revision()
		if write.Delete {
			write.Data = e.Data()
		}
	}
	if _, err := w.log.Commit(w.t.Context(), write); err != nil {
		w.t.Fatal(err)
	}
}

func names(pods []*corev1.Pod) (out []string) {
	for _, p := range pods {
		out = append(out, p.Namespace+"/"+p.Name+"="+p.Labels["l"])
	}
	return out
}

func TestListersShowTheLogAsItIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, bustest.Server(t), nil)
	lister := w.Core().V1().Pods().Lister()
	w.write("a", "one", "x")
	w.write("a", "two", "y")
	w.write("b", "one", "x")
	all, err := lister.List(labels.Everything())
	if got := names(all); err != nil || !slices.Equal(got, []string{"a/one=x", "a/two=y", "b/one=x"}) {
		t.Errorf("got %v, %v", got, err)
	}
	some, err := lister.Pods("a").List(labels.SelectorFromSet(labels.Set{"l": "y"}))
	if got := names(some); err != nil || !slices.Equal(got, []string{"a/two=y"}) {
		t.Errorf("got %v, %v", got, err)
	}
	one, err := lister.Pods("a").Get("one")
	if err != nil || one.Labels["l"] != "x" || one.ResourceVersion == "" {
		t.Fatalf("got %+v, %v", one, err)
	}
	if again, _ := lister.Pods("a").Get("one"); again != one {
		t.Error("an object that did not change was decoded twice")
	}
	w.write("a", "one", "z")
	if again, err := lister.Pods("a").Get("one"); err != nil || again.Labels["l"] != "z" {
		t.Errorf("got %+v, %v", again, err)
	}
	w.remove("a", "one")
	if _, err := lister.Pods("a").Get("one"); !apierrors.IsNotFound(err) {
		t.Errorf("got %v", err)
	}
	if synced := w.WaitForCacheSync(t.Context().Done()); len(synced) != 1 {
		t.Errorf("got %v", synced)
	}
}

func TestAResourceIsTheSameInformerHoweverItIsAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, bustest.Server(t), nil)
	w.write("a", "one", "x")
	generic, err := w.ForResource(schema.GroupVersionResource{Version: "v1", Resource: "pods"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := generic.Lister().ByNamespace("a").Get("one")
	if err != nil {
		t.Fatal(err)
	}
	if typed, err := w.Core().V1().Pods().Lister().Pods("a").Get("one"); err != nil || typed != got {
		t.Errorf("got %v and %v, %v", got, typed, err)
	}
	if _, err := w.ForResource(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "things"}); err == nil {
		t.Error("a resource that nobody serves has an informer")
	}
}

func TestIndexesOfOnesOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, bustest.Server(t), nil)
	i := w.Core().V1().Pods().Informer()
	byLabel := cache.Indexers{"label": func(obj any) ([]string, error) { return []string{obj.(*corev1.Pod).Labels["l"]}, nil }}
	if err := i.AddIndexers(byLabel); err != nil {
		t.Fatal(err)
	}
	if err := i.AddIndexers(byLabel); err == nil {
		t.Error("an index was added twice")
	}
	w.write("a", "one", "x")
	w.write("a", "two", "y")
	w.write("b", "one", "x")
	x := i.GetIndexer()
	if keys, err := x.IndexKeys("label", "x"); err != nil || !slices.Equal(keys, []string{"a/one", "b/one"}) {
		t.Errorf("got %v, %v", keys, err)
	}
	if values := x.ListIndexFuncValues("label"); !slices.Equal(values, []string{"x", "y"}) {
		t.Errorf("got %v", values)
	}
	if _, err := x.ByIndex("none", "x"); err == nil {
		t.Error("an index that nobody added was asked")
	}
	if err := x.Add(&corev1.Pod{}); err == nil {
		t.Error("an object was added past the log")
	}
}

// What another process acknowledged is found, however far the view is.
func TestAGetThatFindsNothingAsksTheLog(t *testing.T) {
	t.Parallel()
	server := bustest.Server(t)
	one, two := newWorld(t, server, nil), newWorld(t, server, nil)
	for n := range 50 {
		name := fmt.Sprintf("p-%d", n)
		one.write("a", name, "x")
		if _, err := two.Core().V1().Pods().Lister().Pods("a").Get(name); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAGetWaitsForWhatSomebodyIsAboutToMake(t *testing.T) {
	t.Parallel()
	waiting := make(chan struct{})
	w := newWorld(t, bustest.Server(t), func(o *informer.Options) {
		o.Patience = func(key proto.Key) time.Duration {
			if key.Name != "late" {
				return 0
			}
			close(waiting)
			return time.Minute
		}
	})
	found := make(chan error, 1)
	go func() {
		_, err := w.Core().V1().Pods().Lister().Pods("a").Get("late")
		found <- err
	}()
	<-waiting
	if _, err := w.Core().V1().Pods().Lister().Pods("a").Get("other"); !apierrors.IsNotFound(err) {
		t.Errorf("got %v", err)
	}
	w.write("a", "late", "x")
	if err := <-found; err != nil {
		t.Error(err)
	}
}

func TestObjectsOfASealedKindAreOpened(t *testing.T) {
	t.Parallel()
	w := newWorld(t, bustest.Server(t), func(o *informer.Options) {
		o.Open = func(_ proto.Key, sealed []byte) ([]byte, error) {
			return bytes.Replace(sealed, []byte(`"data":"sealed"`), []byte(`"data":{"a":"Yg=="}`), 1), nil
		}
	})
	key := proto.Key{GroupResource: proto.GroupResource{Resource: "secrets"}, Namespace: "a", Name: "s"}
	w.commit(statelog.Write{Key: key, Data: []byte(`{"kind":"Secret","apiVersion":"v1","metadata":{"name":"s","namespace":"a"},"data":"sealed"}`)})
	got, err := w.Core().V1().Secrets().Lister().Secrets("a").Get("s")
	if err != nil || string(got.Data["a"]) != "b" || got.ResourceVersion == "" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestHandlersAreToldOfEverything(t *testing.T) {
	t.Parallel()
	w := newWorld(t, bustest.Server(t), nil)
	w.write("a", "there", "x")
	var mu sync.Mutex
	var got []string
	note := func(line string) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, line)
	}
	i := w.Core().V1().Pods().Informer()
	handle, err := i.AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(obj any, first bool) { note(fmt.Sprintf("add %s first=%v", obj.(*corev1.Pod).Name, first)) },
		UpdateFunc: func(before, after any) {
			note(fmt.Sprintf("update %s from %s to %s", after.(*corev1.Pod).Name, before.(*corev1.Pod).Labels["l"], after.(*corev1.Pod).Labels["l"]))
		},
		DeleteFunc: func(obj any) { note("delete " + obj.(*corev1.Pod).Name) },
	})
	if err != nil {
		t.Fatal(err)
	}
	<-handle.HasSyncedChecker().Done()
	w.write("a", "new", "x")
	w.Tell()
	w.write("a", "new", "y")
	w.Tell()
	w.remove("a", "there")
	w.Tell()
	mu.Lock()
	want := []string{"add there first=true", "add new first=false", "update new from x to y", "delete there"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	mu.Unlock()
	if err := i.RemoveEventHandler(handle); err != nil {
		t.Fatal(err)
	}
	w.write("a", "new", "z")
	w.Tell()
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(got, want) {
		t.Errorf("a handler that was removed was told %q", got[len(want):])
	}
}

// A handler that nobody tells is told all the same.
func TestHandlersNeedNobodyToTellThem(t *testing.T) {
	t.Parallel()
	w := newWorld(t, bustest.Server(t), nil)
	told := make(chan string, 10)
	if _, err := w.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(obj any) { told <- obj.(*corev1.Pod).Name }}); err != nil {
		t.Fatal(err)
	}
	for n := range 10 {
		w.write("a", fmt.Sprintf("p-%d", n), "x")
		if got := <-told; got != fmt.Sprintf("p-%d", n) {
			t.Errorf("got %s", got)
		}
	}
	w.Shutdown()
	if _, err := w.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{}); err == nil {
		t.Error("a handler was added after the end")
	}
}
