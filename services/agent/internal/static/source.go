package static

import (
	"context"
	"net/url"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/apiclient"
)

// Waits between attempts to bring the mirrors to what they should be.
const (
	retryFirst = time.Second
	retryMost  = time.Minute
	answerMost = 10 * time.Second // of the API, to one request
)

// Pods are those that run (pod.Manager).
type Pods interface {
	Update(pod *corev1.Pod)
}

// Reports carries statuses to the cluster (report.Pods).
type Reports interface {
	Status(pod *corev1.Pod, status *corev1.PodStatus, gone bool) error
	Forget(uid types.UID)
}

// Events says something about a pod or the node.
type Events interface {
	Pod(pod *corev1.Pod, fieldPath, eventType, reason, message string)
	Node(eventType, reason, message string)
}

// Source runs the pods of a folder. The fields are set before its first call. It stands between
// the pods and their reports: see Status.
type Source struct {
	Folder  *Folder // nil: there are no static pods, and those of before end
	Pods    Pods
	Out     Reports
	API     *apiclient.Client
	NodeUID func() types.UID // "" before the API has the node
	Events  Events
	Log     *zap.Logger

	wake chan struct{}

	telling sync.Mutex // one report at a time, so that an older status never wins; taken before mu

	mu     sync.Mutex
	world  World
	last   map[types.UID]*corev1.PodStatus // of the pods on the node, as told last
	failed map[string]bool                 // files' problems that were told
}

// New has no pods; the fields are set before its first call.
func New() *Source {
	return &Source{
		wake: make(chan struct{}, 1), last: map[types.UID]*corev1.PodStatus{}, failed: map[string]bool{},
		world: World{Wanted: map[string]*corev1.Pod{}, Here: map[string]Pod{}, Mirrors: map[string]*corev1.Pod{}},
	}
}

// Adopt tells of a static pod that an agent of before has left, with its status, nil where that
// is not known.
func (s *Source) Adopt(pod *corev1.Pod, last *corev1.PodStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.world.Here[key(pod)] = Pod{pod, pod.DeletionTimestamp != nil}
	if last != nil {
		s.last[pod.UID] = last
	}
}

// Begin starts the pods of the folder and ends the adopted ones that are not there any more. It
// asks nobody; call it before the pods' manager is told that it has been given all pods.
func (s *Source) Begin() {
	s.read()
	s.mu.Lock()
	here := make([]*corev1.Pod, 0, len(s.world.Here))
	for _, p := range s.world.Here {
		here = append(here, p.Pod)
	}
	s.mu.Unlock()
	for _, pod := range here {
		s.Pods.Update(pod) // it is known, and stays
	}
	s.run(s.plan())
}

// Run keeps pods and mirrors to what the files say until ctx ends.
func (s *Source) Run(ctx context.Context) error {
	if s.Folder != nil {
		watching := make(chan error, 1)
		ctx, cancel := context.WithCancel(ctx)
		defer func() {
			cancel()
			<-watching
		}()
		go func() { // waited for above
			err := s.Folder.Watch(ctx, func() {
				s.read()
				s.kick()
			})
			if err != nil {
				s.Log.Error("static pods are not watched", zap.Error(err))
			}
			watching <- err
		}()
	}
	retry := time.NewTimer(0)
	defer retry.Stop()
	for wait := time.Duration(0); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-retry.C:
		}
		if ctx.Err() != nil { // what ends with us is no news
			return nil
		}
		p := s.plan()
		s.run(p)
		if len(p.Start) > 0 {
			s.kick() // they are to be shown
		}
		if s.mirror(ctx, p) {
			wait = 0
			continue
		}
		wait = min(max(2*wait, retryFirst), retryMost)
		retry.Reset(wait)
	}
}

func (s *Source) kick() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// read takes what the files say, and tells of a problem once.
func (s *Source) read() {
	if s.Folder == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	pods, problems := s.Folder.Read()
	s.world.Wanted = pods
	now := map[string]bool{}
	for _, err := range problems {
		now[err.Error()] = true
		if !s.failed[err.Error()] {
			s.Log.Warn("a static pod's file cannot be used", zap.Error(err))
			s.Events.Node(corev1.EventTypeWarning, "FailedStaticPod", err.Error())
		}
	}
	s.failed = now
}

func (s *Source) plan() Plan {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := Decide(s.world)
	for i, pod := range p.Start {
		p.Start[i] = seen(pod, time.Now())
		s.world.Here[key(pod)] = Pod{Pod: p.Start[i]}
	}
	for i, pod := range p.End {
		p.End[i] = ended(pod)
		s.world.Here[key(pod)] = Pod{p.End[i], true}
	}
	return p
}

// run does what the plan wants of the node.
func (s *Source) run(p Plan) {
	for _, pod := range p.End {
		s.Log.Info("static pod ends: its file changed or went", zap.String("namespace", pod.Namespace), zap.String("pod", pod.Name))
		s.Pods.Update(pod)
	}
	for _, pod := range p.Start {
		s.Log.Info("static pod starts", zap.String("namespace", pod.Namespace), zap.String("pod", pod.Name))
		s.Pods.Update(pod)
	}
}

// seen is the pod with the time when it came to the node.
func seen(pod *corev1.Pod, at time.Time) *corev1.Pod {
	pod = pod.DeepCopy()
	pod.Annotations[SeenAnnotation] = at.Format(time.RFC3339Nano)
	return pod
}

// ended is the pod as one that was deleted.
func ended(pod *corev1.Pod) *corev1.Pod {
	pod = pod.DeepCopy()
	now := metav1.Now()
	pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = &now, pod.Spec.TerminationGracePeriodSeconds
	return pod
}

// mirror does what the plan wants of the API, and tells whether all was done.
func (s *Source) mirror(ctx context.Context, p Plan) (ok bool) {
	ok = true
	for _, m := range p.Hide {
		if err := s.hide(ctx, m); err != nil {
			s.Log.Warn("mirror pod not deleted, trying again", zap.String("namespace", m.Namespace), zap.String("pod", m.Name), zap.Error(err))
			ok = false
		}
	}
	for _, pod := range p.Show {
		uid := s.NodeUID()
		if uid == "" {
			ok = false // the node is not registered yet
			continue
		}
		if err := s.show(ctx, Mirror(pod, uid)); err != nil {
			s.Log.Warn("mirror pod not made, trying again", zap.String("namespace", pod.Namespace), zap.String("pod", pod.Name), zap.Error(err))
			if apierrors.IsInvalid(err) || apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
				s.Events.Node(corev1.EventTypeWarning, "FailedMirrorPod", key(pod)+": "+err.Error())
			}
			ok = false
		}
	}
	return ok
}

func podsPath(namespace string) string {
	return "/api/v1/namespaces/" + url.PathEscape(namespace) + "/pods"
}

func (s *Source) show(ctx context.Context, m *corev1.Pod) error {
	ctx, cancel := context.WithTimeout(ctx, answerMost)
	defer cancel()
	_, err := apiclient.Create[corev1.Pod](ctx, s.API, podsPath(m.Namespace), m)
	if apierrors.IsAlreadyExists(err) {
		return nil // the watch is about to bring it, or it is somebody else's and stays unshown
	}
	return err
}

func (s *Source) hide(ctx context.Context, m *corev1.Pod) error {
	ctx, cancel := context.WithTimeout(ctx, answerMost)
	defer cancel()
	none := int64(0)
	err := apiclient.Delete(ctx, s.API, podsPath(m.Namespace)+"/"+url.PathEscape(m.Name), &metav1.DeleteOptions{GracePeriodSeconds: &none, Preconditions: &metav1.Preconditions{UID: &m.UID}})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}
