package report

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	protobuf "google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/message"
)

// Publisher stores a message and gives its sequence (bus.Conn).
type Publisher interface {
	PublishStream(ctx context.Context, subject string, data []byte, header bus.Header) (uint64, error)
}

// Pods keeps the last report of every pod and publishes those that changed.
type Pods struct {
	node string
	out  Publisher
	log  *zap.Logger
	wake chan struct{}

	mu    sync.Mutex
	pods  map[types.UID]*entry
	own   []byte // the node's report
	dirty bool   // of the node's report
}

type entry struct {
	report message.PodReport // its names only
	gone   bool
	data   []byte
	dirty  bool
}

// NewPods has nothing to report; Run publishes.
func NewPods(node string, out Publisher, log *zap.Logger) *Pods {
	return &Pods{node: node, out: out, log: log, wake: make(chan struct{}, 1), pods: map[types.UID]*entry{}}
}

// Status reports a pod's status; gone says that nothing of the deleted pod is
// left. An equal report is not sent again.
func (p *Pods) Status(pod *corev1.Pod, status *corev1.PodStatus, gone bool) error {
	body, err := json.Marshal(status)
	if err != nil {
		return fmt.Errorf("reporting a pod: %w", err)
	}
	r := &message.PodReport{Namespace: pod.Namespace, Name: pod.Name, Uid: string(pod.UID), Status: body, Gone: gone}
	data, err := protobuf.Marshal(r)
	if err != nil {
		return fmt.Errorf("reporting a pod: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.pods[pod.UID]
	if e == nil {
		e = &entry{}
		p.pods[pod.UID] = e
	}
	if string(e.data) == string(data) {
		return nil
	}
	e.report.Namespace, e.report.Name = pod.Namespace, pod.Name
	e.gone = gone
	e.data, e.dirty = data, true
	p.kick()
	return nil
}

// Forget ends the reports of a pod whose object is gone.
func (p *Pods) Forget(uid types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.pods, uid)
}

// Node reports the node itself.
func (p *Pods) Node(node *corev1.Node, instance string) error {
	body, err := json.Marshal(node)
	if err != nil {
		return fmt.Errorf("reporting the node: %w", err)
	}
	data, err := protobuf.Marshal(&message.NodeReport{Name: node.Name, Node: body, Instance: instance})
	if err != nil {
		return fmt.Errorf("reporting the node: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if string(p.own) == string(data) {
		return nil
	}
	p.own, p.dirty = data, true
	p.kick()
	return nil
}

// Resend publishes everything again.
func (p *Pods) Resend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.pods {
		e.dirty = true
	}
	p.dirty = p.own != nil
	p.kick()
}

func (p *Pods) kick() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// resendEvery is after what time all is published again, asked or not: who reports without
// end pushes the reports of others out of the stream, which has a bound.
const resendEvery = 10 * time.Minute

// Run publishes until ctx ends, then once more what is left.
func (p *Pods) Run(ctx context.Context) error {
	again := time.NewTicker(resendEvery)
	defer again.Stop()
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	for wait := time.Duration(0); ; {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			p.flush(last)
			return nil
		case <-p.wake:
		case <-again.C:
			p.Resend()
		case <-retry.C:
		}
		if p.flush(ctx) {
			wait = 0
			continue
		}
		wait = min(max(2*wait, 100*time.Millisecond), 5*time.Second)
		retry.Reset(wait)
	}
}

type outgoing struct {
	subject string
	data    []byte
	header  bus.Header
	entry   *entry // nil: the node
}

// flush publishes what is dirty; what fails stays so. It tells whether all went out.
func (p *Pods) flush(ctx context.Context) bool {
	p.mu.Lock()
	var out []outgoing
	if p.dirty {
		out = append(out, outgoing{subject: proto.NodeReportSubject(p.node), data: p.own})
		p.dirty = false
	}
	for _, e := range p.pods {
		if e.dirty {
			o := outgoing{subject: proto.PodReportSubject(p.node, e.report.Namespace, e.report.Name), data: e.data, entry: e}
			if e.gone {
				o.header = bus.Header{bus.HeaderTTL: {proto.GoneTTL.String()}}
			}
			out = append(out, o)
			e.dirty = false
		}
	}
	p.mu.Unlock()
	if len(out) == 0 {
		return true
	}
	failed := make([]error, len(out))
	var wg sync.WaitGroup
	limit := make(chan struct{}, 32) // publishes on their way at once
	for i := range out {
		wg.Add(1)
		limit <- struct{}{}
		go func() {
			defer wg.Done()
			defer func() { <-limit }()
			one, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			_, failed[i] = p.out.PublishStream(one, out[i].subject, out[i].data, out[i].header)
		}()
	}
	wg.Wait()
	ok := true
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, err := range failed {
		if err == nil {
			continue
		}
		if ok {
			p.log.Warn("report not published, trying again", zap.String("subject", out[i].subject), zap.Error(err))
		}
		ok = false
		if out[i].entry != nil {
			out[i].entry.dirty = true
		} else {
			p.dirty = true
		}
	}
	return ok
}
