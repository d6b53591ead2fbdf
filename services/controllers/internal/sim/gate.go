package sim

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing/synctest"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"kubus.dev/proto"
	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/message"
)

// call is something that a process says to others and waits for an answer to.
type call struct {
	from     *Process
	user     string
	text     string // sorts and tells
	bulk     *message.BulkRequest
	do       func() (any, error) // of what is no bulk
	answered chan answer
	outcome  answer
}

func (one *call) answer(a answer) {
	one.outcome = a
	one.answered <- a
}

type answer struct {
	value any
	err   error
}

// ask waits at the gate.
func (c *Cluster) ask(ctx context.Context, one *call) (any, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	one.answered = make(chan answer, 1)
	c.mu.Lock()
	c.calls = append(c.calls, one)
	c.mu.Unlock()
	select {
	case a := <-one.answered:
		return a.value, a.err
	case <-ctx.Done(): // the request is under way all the same
		return nil, ctx.Err()
	}
}

// waiting are the calls that may go through, in an order that does not depend on who
// came first.
func (c *Cluster) waiting() []*call {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*call
	for _, each := range c.calls {
		if !each.from.paused {
			out = append(out, each)
		}
	}
	slices.SortStableFunc(out, func(a, b *call) int { return cmp.Or(a.from.number-b.from.number, strings.Compare(a.text, b.text)) })
	return out
}

func (c *Cluster) take(one *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = slices.DeleteFunc(c.calls, func(other *call) bool { return other == one })
}

// Serve lets one of the calls through, if there is one.
func (c *Cluster) Serve() {
	waiting := c.waiting()
	if len(waiting) == 0 {
		return
	}
	one := waiting[c.Rand.IntN(len(waiting))]
	c.take(one)
	c.serve(one)
	for _, same := range waiting {
		// Who asks the same at the same time cannot be told apart, and hears the same.
		if same != one && same.from == one.from && same.text == one.text && one.bulk == nil {
			c.take(same)
			same.answered <- one.outcome
		}
	}
	synctest.Wait()
}

// fences is what a deposed leader's writes conflict with.
var fences = schema.GroupResource{Resource: "fences"}

var errNoAnswer = errors.New("no answer")

func (c *Cluster) serve(one *call) {
	dead := !slices.Contains(c.processes, one.from)
	if c.chance(c.Odds.LostRequest) || dead && c.Rand.IntN(2) == 0 {
		c.tell("%s never arrives", one)
		one.answer(answer{nil, errNoAnswer})
		return
	}
	if one.bulk == nil {
		value, err := one.do()
		c.tell("%s", one)
		one.answer(answer{value, err})
		return
	}
	last := len(one.bulk.Items)
	crash := !dead && c.chance(c.Odds.Crash)
	if crash {
		last = c.Rand.IntN(last + 1)
	}
	response := c.bulk(one, last)
	c.tell("%s: %s", one, codes(one.bulk, response))
	switch {
	case crash:
		c.tell("%s ends within a request", one.from.Name)
		one.from.Kill()
	case c.chance(c.Odds.LostAnswer):
		c.tell("%s hears no answer", one.from.Name)
		one.answer(answer{nil, errNoAnswer})
	default:
		one.answer(answer{response, nil})
	}
}

// String tells of a call without what it says in full.
func (one *call) String() string { return one.from.Name + " " + one.text[:min(len(one.text), 160)] }

// codes are those of the items that were carried out, in the order of inOrder.
func codes(bulk *message.BulkRequest, r *message.BulkResponse) string {
	var out []string
	for _, i := range inOrder(bulk) {
		if item := r.Items[i]; item != nil {
			out = append(out, fmt.Sprint(item.Code))
		}
	}
	return strings.Join(out, " ")
}

// inOrder is the items' order here: what mirrors list comes in any order.
func inOrder(bulk *message.BulkRequest) []int {
	order := make([]int, len(bulk.Items))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := bulk.Items[a], bulk.Items[b]
		return cmp.Or(strings.Compare(x.Path, y.Path), bytes.Compare(x.Body, y.Body))
	})
	return order
}

func (c *Cluster) bulk(one *call, last int) *message.BulkResponse {
	response := &message.BulkResponse{Items: make([]*message.ApiResponse, len(one.bulk.Items))}
	fence := one.bulk.Fence
	if fence == nil {
		c.Break("%s writes without a fence: %s", one.user, one.text)
		return response
	}
	held := c.fences[fence.Name]
	for _, i := range inOrder(one.bulk)[:last] {
		item := one.bulk.Items[i]
		if held == nil || held.Epoch != fence.Epoch {
			response.Items[i] = respond(nil, apierrors.NewConflict(fences, "", errors.New("another one leads")))
			continue
		}
		response.Items[i] = respond(c.item(item, one.user))
	}
	return response
}

func (c *Cluster) item(item *message.ApiRequest, user string) (object, error) {
	path, _, _ := strings.Cut(item.Path, "?")
	r := apiclient.Request{Method: item.Method, Path: path, Body: item.Body}
	for _, h := range item.Headers {
		if h.Name == "Content-Type" {
			r.ContentType = h.Value
		}
	}
	p, ok := c.find(path)
	if ok && p.objects[p.key] != nil && c.chance(c.Odds.Touch) {
		o := clone(p.objects[p.key])
		annotations := maps.Clone(field(meta(o), "annotations"))
		if annotations == nil {
			annotations = object{}
		}
		annotations["touched"] = fmt.Sprint(c.revision)
		meta(o)["annotations"] = annotations
		c.put(p.kind, p.key, o, others)
	}
	if ok && r.Method == http.MethodPost && p.resource == "pods" && c.chance(c.Odds.Refuse) {
		return nil, apierrors.NewForbidden(p.groupResource(), "", errors.New("exceeded quota"))
	}
	return c.write(r, user)
}

func respond(o any, err error) *message.ApiResponse {
	if err == nil {
		body, _ := json.Marshal(o)
		return &message.ApiResponse{Code: http.StatusOK, Body: body}
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		status = apierrors.NewInternalError(err)
	}
	s := status.Status()
	s.Kind, s.APIVersion = "Status", "v1"
	body, _ := json.Marshal(s)
	return &message.ApiResponse{Code: s.Code, Body: body}
}

// takeFence is what a gateway does.
func (c *Cluster) takeFence(r *message.AcquireFence) *message.FenceState {
	held := c.fences[r.Name]
	if held == nil && r.Epoch == 0 || held != nil && held.Epoch == r.Epoch {
		data, _ := json.Marshal(map[string]string{"holder": r.Holder})
		c.append(proto.StateStream.Name, &bus.StreamMsg{Subject: proto.FenceSubject(r.Name), Data: data})
		held = &message.FenceState{Name: r.Name, Holder: r.Holder, Epoch: c.revision}
		c.fences[r.Name] = held
		instance, _, _ := strings.Cut(r.Holder, "/")
		c.tell("%s leads %s", instance, r.Name)
	}
	return &message.FenceState{Name: r.Name, Holder: held.Holder, Epoch: held.Epoch}
}
