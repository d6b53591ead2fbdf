package podautoscaler

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto"
	"kubus.dev/services/controllers/internal/event"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
)

// period is how often an autoscaler is looked at in any case, as upstream's.
const period = 15 * time.Second

// Controller keeps HorizontalPodAutoscalers.
func Controller() frame.Definition {
	return frame.Definition{
		Name: "horizontalpodautoscaler", User: "horizontal-pod-autoscaler",
		Make: func(e *frame.Env) (frame.Loop, error) {
			c := newController(e.World, e.Writer, e.Events, e.Logger)
			c.update = frame.Of(e, e.World.HorizontalPodAutoscalers).UpdateStatus
			q := frame.Keyed(e, c.reconcile, frame.On(e.World.HorizontalPodAutoscalers, c.changed), frame.Reads[types.NamespacedName](e.World.Pods))
			deaf, err := e.Bus.Hear(proto.UsageFreshSubject, func(string, []byte) { c.fresh(time.Now(), q.Add) })
			if err != nil {
				return nil, err
			}
			e.Until(deaf)
			return q, nil
		},
	}
}

type controller struct {
	world    *mirror.World
	api      API
	update   func(context.Context, *autoscalingv2.HorizontalPodAutoscaler) (*autoscalingv2.HorizontalPodAutoscaler, error)
	events   *event.Recorder
	logger   *zap.Logger
	settings Settings

	kinds     *kinds
	selectors *selectors

	mu   sync.Mutex
	past map[types.NamespacedName]*memory
}

// memory is what is remembered of one autoscaler.
type memory struct {
	uid types.UID
	history
	written time.Time // when its status was written last

	lost  int       // looks in a row that found no size; guarded by the controller's mu, as is
	until time.Time // before when it is not looked at for fresh numbers' sake
}

func newController(world *mirror.World, api API, events *event.Recorder, logger *zap.Logger) *controller {
	return &controller{
		world: world, api: api, events: events, logger: logger, settings: DefaultSettings, kinds: newKinds(api),
		selectors: &selectors{of: map[types.NamespacedName]labels.Selector{}}, past: map[types.NamespacedName]*memory{},
	}
}

// changed wakes an autoscaler when what is asked of it changes; its status is our own.
func (c *controller) changed(old, new *autoscalingv2.HorizontalPodAutoscaler, add func(types.NamespacedName)) {
	if old != nil && new != nil && old.UID == new.UID && old.Generation == new.Generation {
		return
	}
	frame.Self(old, new, add)
}

// fresh wakes those that read what pods use.
func (c *controller) fresh(now time.Time, add func(types.NamespacedName)) {
	for _, h := range c.world.HorizontalPodAutoscalers.List("") {
		if key := frame.KeyOf(h); ofPodsUse(h) && !c.backsOff(key, now) {
			add(key)
		}
	}
}

// backsOff tells whether an autoscaler found no size lately: fresh numbers may be what it
// lacked, but where they are not, it is looked at ever less often, until as often as in any case.
func (c *controller) backsOff(key types.NamespacedName, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.past[key]
	return m != nil && now.Before(m.until)
}

// note keeps whether a look found a size.
func (c *controller) note(m *memory, found bool, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if found {
		m.lost, m.until = 0, time.Time{}
		return
	}
	m.lost = min(m.lost+1, 4) // 1, 3, 7, 15 seconds
	m.until = now.Add(time.Duration(1<<m.lost-1) * time.Second)
}

func (c *controller) reconcile(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	shared := c.world.HorizontalPodAutoscalers.Get(key.Namespace, key.Name)
	if shared == nil {
		c.selectors.forget(key)
		c.mu.Lock()
		delete(c.past, key)
		c.mu.Unlock()
		return 0, nil
	}
	l := &look{controller: c, h: shared.DeepCopy(), past: c.remember(key, shared.UID), now: time.Now()}
	failure := l.run(ctx)
	c.note(l.past, !l.lost, l.now)
	if err := l.write(ctx, &shared.Status); err != nil {
		return 0, err
	}
	if failure != nil { // its condition and event say so; as upstream, it is tried at the next look
		c.logger.Warn("autoscaling", zap.String("namespace", key.Namespace), zap.String("name", key.Name), zap.Error(failure))
	}
	return period, nil
}

// remember gives what is known of an autoscaler; of one that was made anew, nothing.
func (c *controller) remember(key types.NamespacedName, uid types.UID) *memory {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.past[key]
	if m == nil || m.uid != uid {
		m = &memory{uid: uid}
		c.past[key] = m
	}
	return m
}

// look is one look at an autoscaler. Its error is what goes to the log: events and
// conditions are set by then.
type look struct {
	*controller
	h    *autoscalingv2.HorizontalPodAutoscaler
	past *memory
	now  time.Time
	lost bool // nobody knows what size there should be
}

func (l *look) about() event.Object {
	return event.Object{GroupVersionKind: l.world.HorizontalPodAutoscalers.GVK(), Meta: l.h}
}

func (l *look) set(kind autoscalingv2.HorizontalPodAutoscalerConditionType, holds bool, word, text string) {
	setCondition(&l.h.Status, kind, holds, reason{word, text}, l.now)
}

func (l *look) run(ctx context.Context) error {
	scales := scales{l.api, l.kinds}
	scale, at, why, told := scales.of(ctx, l.h.Namespace, l.h.Spec.ScaleTargetRef)
	if told != nil {
		l.lost = true
		l.events.Warning(l.about(), "FailedGetScale", "%s", why)
		l.set(autoscalingv2.AbleToScale, false, "FailedGetScale", fmt.Sprintf("the HPA controller was unable to get the target's current scale: %v", why))
		return told
	}
	l.set(autoscalingv2.AbleToScale, true, "SucceededGetScale", "the HPA controller was able to get the target's current scale")
	current := scale.Spec.Replicas
	l.past.begin(current, l.now)

	course, replicas, because := begin(l.h, current)
	var j judgement
	switch course {
	case courseStay:
		replicas = current
		l.set(autoscalingv2.ScalingActive, false, "ScalingDisabled", "scaling is disabled since the replica count of the target is zero")
	case courseMeasure:
		if j = l.measure(ctx, scale); j.nothing {
			l.lost = true
			l.status(current, l.h.Status.DesiredReplicas, j.statuses)
			l.events.Warning(l.about(), "FailedComputeMetricsReplicas", "%s", j.err)
			return fmt.Errorf("failed to compute desired number of replicas based on listed metrics for %s: %w", l.reference(), j.err)
		}
		replicas, because = resize(l.h, &l.past.history, current, j, l.settings, l.now)
	}
	if replicas == current {
		l.status(current, current, j.statuses)
		return j.err
	}
	if err := scales.set(ctx, at, scale, replicas); err != nil {
		l.events.Warning(l.about(), "FailedRescale", "New size: %d; reason: %s; error: %v", replicas, because, err)
		l.set(autoscalingv2.AbleToScale, false, "FailedUpdateScale", fmt.Sprintf("the HPA controller was unable to update the target scale: %v", err))
		l.status(current, l.h.Status.DesiredReplicas, j.statuses)
		return fmt.Errorf("failed to rescale %s: %w", l.reference(), err)
	}
	settle(l.h, current, replicas, l.now)
	l.events.Normal(l.about(), "SuccessfulRescale", "New size: %d; reason: %s", replicas, because)
	l.past.scaled(l.h.Spec.Behavior, current, replicas, l.now)
	l.logger.Info("rescaled", zap.String("namespace", l.h.Namespace), zap.String("name", l.h.Name), zap.String("reason", because), zap.Int32("from", current), zap.Int32("to", replicas))
	l.status(current, replicas, j.statuses)
	l.h.Status.LastScaleTime = &metav1.Time{Time: l.now}
	return j.err
}

func (l *look) reference() string {
	ref := l.h.Spec.ScaleTargetRef
	return ref.Kind + "/" + l.h.Namespace + "/" + ref.Name
}

// measure reads all metrics and weighs them.
func (l *look) measure(ctx context.Context, scale *autoscalingv1.Scale) judgement {
	t := targetOf(scale, l.settings.tolerances(l.h))
	selector, err := l.selector(scale.Status.Selector, &t)
	if err != nil {
		return judgement{err: err, nothing: true}
	}
	from := &source{api: l.api, kinds: l.kinds, namespace: l.h.Namespace, selector: selector}
	readings := make([]reading, len(l.h.Spec.Metrics))
	for i := range l.h.Spec.Metrics {
		readings[i] = from.read(ctx, &l.h.Spec.Metrics[i])
	}
	j := judge(l.h.Spec.Metrics, readings, t, l.settings, l.now)
	for _, r := range j.refused {
		l.events.Warning(l.about(), r.word, "%s", r.err)
	}
	if j.nothing {
		l.set(autoscalingv2.ScalingActive, false, j.refused[0].word, fmt.Sprintf("the HPA was unable to compute the replica count: %v", j.refused[0].err))
	} else {
		l.set(autoscalingv2.ScalingActive, true, "ValidMetricFound", "the HPA was able to successfully calculate a replica count from "+j.metric)
	}
	return j
}

// selector finds the target's pods, which must be this autoscaler's alone.
func (l *look) selector(text string, t *target) (labels.Selector, error) {
	refuse := func(word, told, condition string) error {
		l.events.Warning(l.about(), word, "%s", told)
		if word == "SelectorRequired" {
			word = "InvalidSelector"
		}
		l.set(autoscalingv2.ScalingActive, false, word, condition)
		return fmt.Errorf("%s", told)
	}
	if text == "" {
		return nil, refuse("SelectorRequired", "selector is required", "the HPA target's scale is missing a selector")
	}
	selector, err := labels.Parse(text)
	if err != nil {
		told := fmt.Sprintf("couldn't convert selector into a corresponding internal selector object: %v", err)
		return nil, refuse("InvalidSelector", told, told)
	}
	l.selectors.put(frame.KeyOf(l.h), selector)
	for _, p := range l.world.Pods.List(l.h.Namespace) {
		if selector.Matches(labels.Set(p.Labels)) {
			t.pods = append(t.pods, p)
		}
	}
	if others := l.selectors.selecting(l.h.Namespace, t.pods); len(others) > 1 {
		told := fmt.Sprintf("pods by selector %v are controlled by more than one HPA (e.g. %v)", text, others)
		return nil, refuse("AmbiguousSelector", told, told)
	}
	return selector, nil
}

// status notes the sizes and what was measured.
func (l *look) status(current, wanted int32, metrics []autoscalingv2.MetricStatus) {
	generation := l.h.Generation
	l.h.Status.CurrentReplicas, l.h.Status.DesiredReplicas = current, wanted
	l.h.Status.CurrentMetrics, l.h.Status.ObservedGeneration = metrics, &generation
}

// write writes the status where it says anything new.
func (l *look) write(ctx context.Context, old *autoscalingv2.HorizontalPodAutoscalerStatus) error {
	if !writable(old, &l.h.Status, l.past.written, l.now) {
		return nil
	}
	l.past.written = l.now
	_, err := l.update(ctx, l.h)
	if err != nil && !errors.As(err, new(*mirror.Behind)) {
		l.events.Warning(l.about(), "FailedUpdateStatus", "%s", err)
	}
	if err != nil {
		return fmt.Errorf("failed to update status for %s: %w", l.h.Name, err)
	}
	return nil
}
