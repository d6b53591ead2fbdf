package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto"
	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/message"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
)

// Cluster plays whole processes of the service, with all their controllers, their
// elections, views and mirrors, against a model of the API and its log.
//
// The processes run as they are, but each thing they say to somebody else waits at a
// gate until the play lets it through: one step at a time, chosen by the seed. So does
// each message of the log on its way to a process. What happens between two steps
// changes nothing that others see, so a seed is always the same play.
type Cluster struct {
	Rand *rand.Rand
	Odds Odds
	// Watch sees each change as it is made, before anybody else.
	Watch func(Change) error
	// Answer is what is there to answer requests on the bus.
	Answer func(subject string, data []byte) ([]byte, error)
	store

	t         *testing.T
	log       map[string][]*bus.StreamMsg // by the stream's name
	newest    map[string]uint64           // revision of a subject's newest message
	fences    map[string]*message.FenceState
	processes []*Process
	settings  frame.Settings
	groups    []frame.Group
	story     []string
	err       error
	served    int // writes that changed something
	started   int // processes

	mu    sync.Mutex
	calls []*call
	names map[string]int // how many names of a process have begun so
}

// Change is one change of an object; By is the controller's user, or "".
type Change struct {
	Resource string
	Key      types.NamespacedName
	Old, New object
	By       string
}

// As is a change's objects as they are for T, nil where there is none.
func As[T any](c Change) (old, new *T) { return typed[T](c.Old), typed[T](c.New) }

// NewCluster returns an empty cluster of which processes run the groups' controllers.
func NewCluster(t *testing.T, seed uint64, odds Odds, settings frame.Settings, groups []frame.Group) *Cluster {
	c := &Cluster{
		Rand: rand.New(rand.NewPCG(seed, 0)), Odds: odds, t: t, settings: settings, groups: groups,
		log: map[string][]*bus.StreamMsg{}, newest: map[string]uint64{}, fences: map[string]*message.FenceState{}, names: map[string]int{},
		Answer: func(string, []byte) ([]byte, error) { return nil, bus.ErrNoResponders },
	}
	c.changed = c.commit
	c.append(proto.StateStream.Name, &bus.StreamMsg{Subject: proto.BarrierSubject(proto.StateStream.Name, "sim")}) // as every stream begins
	return c
}

// Keep has the cluster keep a kind that controllers mirror.
func Keep[T any](c *Cluster, pick func(w *mirror.World) *mirror.Kind[T]) Collection[T] {
	return Collection[T]{&c.store, nil, keepMirrored(&c.store, pick(mirror.NewWorld()))}
}

// KeepOther has the cluster keep a kind that no controller mirrors.
func KeepOther[T any](c *Cluster, gvk schema.GroupVersionKind, resource string, namespaced bool) Collection[T] {
	return Collection[T]{&c.store, nil, keep[T](&c.store, gvk, resource, namespaced)}
}

// append adds a message that is no object's.
func (c *Cluster) append(stream string, m *bus.StreamMsg) {
	c.revision++
	m.Seq, m.Time, m.Header = c.revision, time.Now(), bus.Header{}
	c.newest[m.Subject] = m.Seq
	c.log[stream] = append(c.log[stream], m)
}

// commit appends a change to the log.
func (c *Cluster) commit(k *kind, key types.NamespacedName, old, new object, by string) {
	c.served++
	gr := proto.GroupResource{Group: k.gvk.Group, Resource: k.resource}
	subject := proto.Key{GroupResource: gr, Namespace: key.Namespace, Name: key.Name}.Subject()
	stream := proto.StreamFor(gr).Name
	m := &bus.StreamMsg{Subject: subject, Seq: c.revision, Time: time.Now(), Header: bus.Header{}}
	m.Header[bus.HeaderExpectLastSubjectSeq] = []string{fmt.Sprint(c.newest[subject])}
	kept := new
	switch {
	case new == nil:
		m.Header[proto.HeaderOperation] = []string{proto.OperationDelete}
		kept = old
	case old == nil:
		m.Header[proto.HeaderOperation] = []string{proto.OperationCreate}
	}
	kept = clone(kept)
	delete(meta(kept), "resourceVersion")
	m.Data, _ = json.Marshal(kept)
	c.newest[subject] = m.Seq
	c.log[stream] = append(c.log[stream], m)
	change := Change{k.resource, key, old, new, by}
	c.tell("%d %s %s %s", c.revision, by, k.resource, verdict(change))
	if err := c.Watch(change); err != nil && c.err == nil {
		c.err = fmt.Errorf("at revision %d, %s %s by %q: %w", c.revision, k.resource, key, by, err)
	}
}

func verdict(c Change) string {
	switch {
	case c.Old == nil:
		return "made " + c.Key.String()
	case c.New == nil:
		return "gone " + c.Key.String()
	}
	var fields []string
	for _, name := range []string{"spec", "status", "metadata"} {
		before, _ := json.Marshal(c.Old[name])
		after, _ := json.Marshal(c.New[name])
		if !bytes.Equal(before, after) && name != "metadata" {
			fields = append(fields, name+" "+string(after))
		} else if name == "metadata" && len(fields) == 0 {
			fields = append(fields, name+" "+string(after))
		}
	}
	return "changed " + c.Key.String() + " " + strings.Join(fields, " ")
}

func (c *Cluster) tell(format string, args ...any) {
	c.story = append(c.story, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// Tell adds a line to the story.
func (c *Cluster) Tell(format string, args ...any) { c.tell("    "+format, args...) }

// Story is what has happened.
func (c *Cluster) Story() []string { return c.story }

// Err is the first broken rule.
func (c *Cluster) Err() error { return c.err }

// Break notes a broken rule.
func (c *Cluster) Break(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(format, args...)
	}
}

// Changes is how many changes there were.
func (c *Cluster) Changes() int { return c.served }

// Processes are those that live.
func (c *Cluster) Processes() []*Process { return c.processes }

// Each calls f for every object there is, until the first error.
func (c *Cluster) Each(f func(resource string, o *metav1.PartialObjectMetadata) error) error {
	for _, k := range c.kinds {
		for _, key := range k.keys() {
			if err := f(k.resource, typed[metav1.PartialObjectMetadata](k.objects[key])); err != nil {
				return err
			}
		}
	}
	return nil
}

// Write is a request of somebody who is no controller.
func (c *Cluster) Write(r apiclient.Request) error {
	_, err := c.write(r, others)
	return err
}

func (c *Cluster) chance(odds float64) bool { return odds > 0 && c.Rand.Float64() < odds }

// Deliver brings some messages of the log, and of the bus, to a process.
func (c *Cluster) Deliver() {
	if len(c.processes) == 0 {
		return
	}
	p := c.processes[c.Rand.IntN(len(c.processes))]
	if p.paused {
		return
	}
	p.hear()
	for _, stream := range slices.Sorted(maps.Keys(p.feeds)) {
		p.deliver(stream, c.Rand.IntN(12))
	}
}

const settleStep = 4 * time.Second // shorter than the silence after which another leads

// Settle lets time pass in which nothing goes wrong any more: what waits goes through
// and all is delivered. step is called whenever all is quiet, every few seconds.
func (c *Cluster) Settle(d time.Duration, step func()) {
	c.Odds = Odds{}
	for _, p := range c.processes {
		p.paused = false
	}
	for end := time.Now().Add(d); time.Now().Before(end) && c.err == nil; {
		for turns := 0; c.busy(); turns++ {
			if turns > 5000 {
				c.Break("nothing comes to rest, at last: %s", strings.Join(c.story[max(0, len(c.story)-12):], "\n"))
				return
			}
		}
		step()
		time.Sleep(settleStep)
		synctest.Wait()
	}
}

// busy does all there is to do at this moment, and tells whether there was something.
func (c *Cluster) busy() bool {
	some := false
	for _, one := range c.waiting() {
		c.take(one)
		c.serve(one)
		synctest.Wait()
		some = true
	}
	for _, p := range c.processes {
		some = p.hear() || some
		for _, stream := range slices.Sorted(maps.Keys(p.feeds)) {
			some = p.deliver(stream, 1<<20) || some
		}
	}
	return some
}

// Publish is a message on the bus to all processes that hear it.
func (c *Cluster) Publish(subject string, data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.processes {
		p.inbox = append(p.inbox, note{subject, data})
	}
}

// suffix ends a name so that it depends on nothing but how many the process began like it.
func (p *Process) suffix(base string) string {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	p.c.names[p.Name+base]++
	return fmt.Sprintf("%s%04d", p.Name, p.c.names[p.Name+base])
}

// End ends all processes.
func (c *Cluster) End() {
	for len(c.processes) > 0 {
		c.processes[0].Kill()
	}
}
