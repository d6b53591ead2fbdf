package pod

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/agent/internal/status"
)

// Stage is how far a thing of the pod has come.
type Stage int

// A stage starts at Missing; Failed things may be tried again at their RetryAt.
const (
	Missing Stage = iota
	Busy          // being made by a goroutine of ours
	Ready         // there; for a container: running
	Ended         // for a container: exited; for a sandbox: stopped or lost
)

// Thing is the sandbox or the volumes of a pod.
type Thing struct {
	Stage   Stage
	RetryAt time.Time // zero: at once
}

// Container is what the plan needs to know of one container.
type Container struct {
	Stage      Stage
	ExitCode   int32
	Started    bool // running, and started as probes and hooks see it
	Stopping   bool
	Kill       string    // why it must be stopped though the pod goes on; "" is no reason
	RetryAt    time.Time // not to be started before
	PostStart  bool      // has a hook that the containers after it wait for
	NoRestarts bool      // ephemeral containers run once
	Again      bool      // was stopped so as to start anew, however it ended
	Ephemeral  bool      // takes no part in a restart of all
}

// World is a pod's surroundings as observed.
type World struct {
	Sandbox    Thing
	Volumes    Thing
	Containers map[string]Container
	StartTime  time.Time
	Resize     Resize
	// Held: what the pod needs of the node is being sought; nothing of it is made meanwhile.
	Held bool
	// RestartAll: a container ended whose rule wants all to start anew.
	RestartAll bool
	// Terminating: the pod is deleted, rejected or failed; everything of it is to end.
	Terminating bool
	// Deleted: when all has ended, nothing of it may stay on the node.
	Deleted bool
	// Evicted: when all has ended, what it had is to be free, though its object stays.
	Evicted bool
}

// Resize tells how what runs differs from what the pod is granted.
type Resize struct {
	Wanted  bool // some cgroup is to be set
	Busy    bool // they are being set
	RetryAt time.Time
}

// Plan says what to do now. Everything in it may be begun at once; each step
// makes its thing Busy until it reports back.
type Plan struct {
	MakeVolumes   bool
	MakeSandbox   bool
	RemoveSandbox bool // the stopped one, before a new one is made
	Start         []string
	Stop          []Stop
	CancelStarts  bool // starts in flight are no longer wanted
	Resize        bool // set the cgroups of what runs; what is to start waits for that
	Reset         bool // nothing runs that is to start anew: remove all containers
	StopSandbox   bool
	// Done: nothing runs and nothing will; the phase may be final.
	Done bool
	// Remove: all has ended and the pod is deleted: remove the sandbox and the volumes.
	Remove bool
	// Free: all has ended and the pod was evicted: remove the sandbox, the volumes and the logs.
	Free bool
	// Expired: the active deadline has passed.
	Expired bool
	// WakeAt is when the plan may differ without anything else happening; zero: never.
	WakeAt time.Time
}

// Stop names a container to end and why; "" is the pod's own end.
type Stop struct {
	Name, Reason string
}

func (p *Plan) wake(at time.Time) {
	if !at.IsZero() && (p.WakeAt.IsZero() || at.Before(p.WakeAt)) {
		p.WakeAt = at
	}
}

// Decide is the whole of the pod's logic. It is pure and may be asked at any time.
func Decide(pod *corev1.Pod, w World, now time.Time) Plan {
	var p Plan
	if d := pod.Spec.ActiveDeadlineSeconds; d != nil && !w.Terminating && !w.StartTime.IsZero() {
		end := w.StartTime.Add(time.Duration(*d) * time.Second)
		if !now.Before(end) {
			p.Expired = true
			w.Terminating = true
		} else {
			p.wake(end)
		}
	}
	if !w.Terminating && w.Held {
		return p
	}
	if !w.Terminating && w.RestartAll {
		restartAll(&p, &w)
		return p
	}
	if w.Terminating || finished(pod, &w) {
		terminate(&p, pod, &w)
		return p
	}
	if w.Sandbox.Stage == Ended {
		replaceSandbox(&p, pod, &w)
		return p
	}
	wanted := desired(&p, pod, &w, now)
	if resizeFirst(&p, &w, now) {
		wanted = nil
	}
	for name, c := range w.Containers {
		if c.Stage == Ready && c.Kill != "" && !c.Stopping {
			p.Stop = append(p.Stop, Stop{name, c.Kill})
		}
	}
	if len(wanted) == 0 {
		if w.Sandbox.Stage == Ready && w.Volumes.Stage == Missing { // adopted: its volumes must stay fresh
			prepare(&p, &w, now)
		}
		return p
	}
	if !prepare(&p, &w, now) {
		return p
	}
	p.Start = wanted
	return p
}

// RestartAllReason says why containers end without any grace that did nothing wrong.
const RestartAllReason = "RestartAllContainers"

// restartAll ends what runs, at once; then all containers are removed, and the pod begins with its first init container.
func restartAll(p *Plan, w *World) {
	alive := false
	for name, c := range w.Containers {
		switch {
		case c.Ephemeral:
		case c.Stage == Busy:
			p.CancelStarts, alive = true, true
		case c.Stage == Ready:
			alive = true
			if !c.Stopping {
				p.Stop = append(p.Stop, Stop{name, RestartAllReason})
			}
		}
	}
	p.Reset = !alive && w.Sandbox.Stage != Busy
}

// resizeFirst begins a resize that is due. While one is under way nothing starts: the pod's group grows before what is
// in it.
func resizeFirst(p *Plan, w *World, now time.Time) bool {
	r := w.Resize
	switch {
	case r.Busy:
		return true
	case !r.Wanted:
		return false
	case now.Before(r.RetryAt):
		p.wake(r.RetryAt)
		return false
	}
	p.Resize = true
	return true
}

// prepare begins what containers need around them; false: that is backing off,
// so starting containers makes no sense yet.
func prepare(p *Plan, w *World, now time.Time) bool {
	ok := true
	for _, t := range []struct {
		thing Thing
		begin *bool
	}{{w.Volumes, &p.MakeVolumes}, {w.Sandbox, &p.MakeSandbox}} {
		if t.thing.Stage != Missing {
			continue
		}
		if now.Before(t.thing.RetryAt) {
			p.wake(t.thing.RetryAt)
			ok = false
			continue
		}
		*t.begin = true
	}
	if !ok {
		p.MakeSandbox = p.MakeSandbox && w.Volumes.Stage == Ready
	}
	return ok
}

// replaceSandbox takes down what is left in a lost sandbox; with that gone the
// next plan makes a new one and runs init containers again.
func replaceSandbox(p *Plan, pod *corev1.Pod, w *World) {
	for name, c := range w.Containers {
		if c.Stage == Busy {
			p.CancelStarts = true
			return
		}
		if c.Stage == Ready {
			if !c.Stopping {
				p.Stop = append(p.Stop, Stop{name, "Pod sandbox changed, it will be killed and re-created."})
			}
			return
		}
	}
	p.RemoveSandbox = true
}

// desired lists the containers to start now.
func desired(p *Plan, pod *corev1.Pod, w *World, now time.Time) []string {
	var start []string
	due := func(name string) bool {
		c := w.Containers[name]
		if now.Before(c.RetryAt) {
			p.wake(c.RetryAt)
			return false
		}
		return true
	}
	initialized := regularMade(pod, w)
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		k := w.Containers[c.Name]
		if status.Sidecar(c) {
			if (k.Stage == Missing || k.Stage == Ended) && due(c.Name) {
				start = append(start, c.Name)
			}
			if !initialized && !k.Started {
				return appendEphemeral(start, pod, w)
			}
			continue
		}
		if initialized || k.Stage == Ended && k.ExitCode == 0 {
			continue
		}
		if (k.Stage == Missing || k.Stage == Ended && status.InitRestarts(pod, c, k.ExitCode)) && due(c.Name) {
			start = append(start, c.Name)
		}
		return appendEphemeral(start, pod, w)
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		k := w.Containers[c.Name]
		switch k.Stage {
		case Busy:
			if k.PostStart {
				return appendEphemeral(start, pod, w) // its hook comes before the next container
			}
		case Missing, Ended:
			if (k.Stage == Missing || k.Again || status.Restarts(pod, c, k.ExitCode)) && due(c.Name) {
				start = append(start, c.Name)
				if k.PostStart {
					return appendEphemeral(start, pod, w)
				}
			}
		}
	}
	return appendEphemeral(start, pod, w)
}

func appendEphemeral(start []string, pod *corev1.Pod, w *World) []string {
	if w.Sandbox.Stage != Ready {
		return start
	}
	for i := range pod.Spec.EphemeralContainers {
		name := pod.Spec.EphemeralContainers[i].Name
		if w.Containers[name].Stage == Missing && w.Containers[name].RetryAt.IsZero() {
			start = append(start, name)
		}
	}
	return start
}

// regularMade tells whether a regular container exists in the sandbox: then init
// containers are over, and only sidecars may start again.
func regularMade(pod *corev1.Pod, w *World) bool {
	for i := range pod.Spec.Containers {
		if s := w.Containers[pod.Spec.Containers[i].Name].Stage; s == Ready || s == Ended {
			return true
		}
	}
	return false
}

// finished tells whether the pod's work is over by its restart policy.
func finished(pod *corev1.Pod, w *World) bool {
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		k := w.Containers[c.Name]
		if !status.Sidecar(c) && k.Stage == Ended && k.ExitCode != 0 && !status.InitRestarts(pod, c, k.ExitCode) {
			return true
		}
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		k := w.Containers[c.Name]
		if k.Stage != Ended || k.Again || status.Restarts(pod, c, k.ExitCode) {
			return false
		}
	}
	return len(pod.Spec.Containers) > 0
}

// terminate ends everything: regular containers first, then sidecars from the last to the first.
func terminate(p *Plan, pod *corev1.Pod, w *World) {
	alive := false
	var sidecars []string
	isSidecar := map[string]bool{}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		if status.Sidecar(c) {
			isSidecar[c.Name] = true
			sidecars = append(sidecars, c.Name)
		}
	}
	for name, c := range w.Containers {
		switch c.Stage {
		case Busy:
			p.CancelStarts, alive = true, true
		case Ready:
			if isSidecar[name] {
				continue
			}
			alive = true
			if !c.Stopping {
				p.Stop = append(p.Stop, Stop{Name: name})
			}
		}
	}
	for i := len(sidecars) - 1; i >= 0 && !alive; i-- {
		c := w.Containers[sidecars[i]]
		if c.Stage != Ready {
			continue
		}
		alive = true
		if !c.Stopping {
			p.Stop = append(p.Stop, Stop{Name: sidecars[i]})
		}
	}
	if w.Volumes.Stage == Busy {
		p.CancelStarts, alive = true, true
	}
	if alive || w.Sandbox.Stage == Busy {
		return
	}
	p.Done = true
	if w.Deleted {
		p.Remove = true
		return
	}
	if w.Evicted {
		p.Free = true
		return
	}
	p.StopSandbox = w.Sandbox.Stage == Ready
}

// Backoff is the delay between the attempts of one thing.
type Backoff struct {
	Delay   time.Duration
	Updated time.Time
}

// Back-off of crashing containers and of image pulls, as kubelet's.
const (
	backoffInitial = 10 * time.Second
	backoffMax     = 5 * time.Minute
	backoffReset   = 2 * backoffMax
)

// After gives the time before which a container that ended at the given time must
// not start again, and the back-off to remember once it starts. The first end
// has no delay; each further one doubles it, and a quiet time forgets it.
func (b Backoff) After(ended time.Time) time.Time {
	if b.Delay == 0 || ended.Sub(b.Updated) > backoffReset {
		return time.Time{}
	}
	return ended.Add(b.Delay)
}

// Next is the back-off after one more attempt.
func (b Backoff) Next(now time.Time) Backoff {
	if b.Delay == 0 || now.Sub(b.Updated) > backoffReset {
		return Backoff{backoffInitial, now}
	}
	return Backoff{min(2*b.Delay, backoffMax), now}
}

func crashLoopMessage(b Backoff, container, podName string) string {
	return fmt.Sprintf("back-off %s restarting failed container=%s pod=%s", b.Delay, container, podName)
}
