package shape

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kubus.dev/proto/skim"
)

// Pod is one version of a pod as the scheduler sees it. It is immutable and shared.
type Pod struct {
	Namespace string
	Name      string
	UID       string
	// Owner is the UID of the controlling owner, "" without one; Spreads says that its pods
	// are spread by default, as those of a ReplicaSet are.
	Owner   string
	Spreads bool
	Shape   *Shape
	// Gang is the pods, in its namespace, of which at least GangSize run or none; "" for none.
	Gang     string
	GangSize int
	Self     *Identity // what selectors of other pods see
	NodeName string    // spec.nodeName, "" while pending
	Created  time.Time
	Started  time.Time // status.startTime, zero before
	// Nominated is status.nominatedNodeName: where room is being made for the pod.
	Nominated string
	// Preempted: it goes because a scheduler wants its room.
	Preempted bool
	Deleting  bool // has a deletion timestamp
	Terminal  bool // phase Succeeded or Failed: takes no room any more
	Revision  uint64
	// Generation is metadata.generation; conditions say which one they are about.
	Generation int64
	// Unscheduled is the PodScheduled=False condition the pod shows, if any.
	Unscheduled Condition

	// resizing: what the pod's spec asks may not be what its containers have.
	resizing bool
}

// Condition is the part of a PodScheduled=False condition that matters here.
type Condition struct {
	Reason  string
	Message string
}

// Pending tells whether the pod waits for a scheduler to choose its node.
func (p *Pod) Pending() bool { return p.NodeName == "" && !p.Terminal && !p.Deleting }

// Occupies tells whether the pod takes room on a node.
func (p *Pod) Occupies() bool { return p.NodeName != "" && !p.Terminal }

func (p *Pod) String() string { return p.Namespace + "/" + p.Name }

// Parse reads a pod version from its JSON in the log.
func (t *Table) Parse(data []byte, revision uint64) (*Pod, error) {
	p := &Pod{Revision: revision}
	var spec, labels []byte
	err := skim.Object(data, func(key, value []byte) error {
		switch string(key) {
		case "metadata":
			return p.metadata(value, &labels)
		case "spec":
			spec = value
		case "status":
			return p.status(value)
		}
		return nil
	})
	if err == nil {
		p.Self, err = t.identity(p.Namespace, labels)
	}
	if err == nil {
		p.Shape, p.NodeName, err = t.shape(spec, p.Self, labels, p.Spreads)
	}
	if err == nil && p.NodeName != "" && (p.resizing || p.Generation > 1) {
		p.Shape, err = resized(data, p.Shape)
	}
	if err != nil {
		return nil, fmt.Errorf("reading pod at revision %d: %w", revision, err)
	}
	return p, nil
}

func (p *Pod) metadata(data []byte, labels *[]byte) error {
	return skim.Object(data, func(key, value []byte) error {
		switch string(key) {
		case "name":
			p.Name = skim.String(value)
		case "namespace":
			p.Namespace = skim.String(value)
		case "uid":
			p.UID = skim.String(value)
		case "generation":
			p.Generation, _ = strconv.ParseInt(string(value), 10, 64)
		case "deletionTimestamp":
			p.Deleting = string(value) != "null"
		case "creationTimestamp":
			p.Created, _ = time.Parse(time.RFC3339, skim.String(value))
		case "labels":
			*labels = value
		case "annotations":
			return p.annotations(value)
		case "ownerReferences":
			return skim.Array(value, p.owner)
		}
		return nil
	})
}

// Annotations that make pods a gang.
const (
	GangAnnotation     = "scheduling.kubus.dev/gang"      // its name
	GangSizeAnnotation = "scheduling.kubus.dev/gang-size" // how many must run, if any do
)

// annotations reads what makes the pod one of a gang. A size that is no number above 0 is 1.
func (p *Pod) annotations(data []byte) error {
	return skim.Object(data, func(key, value []byte) error {
		switch string(key) {
		case GangAnnotation:
			p.Gang = skim.String(value)
		case GangSizeAnnotation:
			n, _ := strconv.Atoi(skim.String(value))
			p.GangSize = max(n, 1)
		}
		return nil
	})
}

func (p *Pod) owner(ref []byte) error {
	var uid, kind string
	var controls bool
	err := skim.Object(ref, func(key, value []byte) error {
		switch string(key) {
		case "uid":
			uid = skim.String(value)
		case "kind":
			kind = skim.String(value)
		case "controller":
			controls = skim.True(value)
		}
		return nil
	})
	if controls {
		p.Owner = uid
		p.Spreads = kind == "ReplicaSet" || kind == "StatefulSet" || kind == "ReplicationController"
	}
	return err
}

func (p *Pod) status(data []byte) error {
	return skim.Object(data, func(key, value []byte) error {
		switch string(key) {
		case "phase":
			phase := corev1.PodPhase(skim.String(value))
			p.Terminal = phase == corev1.PodSucceeded || phase == corev1.PodFailed
		case "startTime":
			p.Started, _ = time.Parse(time.RFC3339, skim.String(value))
		case "nominatedNodeName":
			p.Nominated = skim.String(value)
		case "conditions":
			return skim.Array(value, p.condition)
		}
		return nil
	})
}

func (p *Pod) condition(data []byte) error {
	var kind, status []byte
	var c Condition
	err := skim.Object(data, func(key, value []byte) error {
		switch string(key) {
		case "type":
			kind = value
		case "status":
			status = value
		case "reason":
			c.Reason = skim.String(value)
		case "message":
			c.Message = skim.String(value)
		}
		return nil
	})
	if string(kind) == `"PodScheduled"` && string(status) == `"False"` {
		p.Unscheduled = c
	}
	if string(kind) == `"PodResizePending"` || string(kind) == `"PodResizeInProgress"` {
		p.resizing = true
	}
	if string(kind) == `"DisruptionTarget"` && string(status) == `"True"` && c.Reason == corev1.PodReasonPreemptionByScheduler {
		p.Preempted = true
	}
	return err
}

// resized reads the whole of a pod whose spec was changed: until a resize is done it takes the
// most of what its spec asks, what was allocated and what it has. The shapes of such pods are
// not shared, unless they take what their spec asks.
func resized(data []byte, as *Shape) (*Shape, error) {
	pod := &corev1.Pod{}
	if err := json.Unmarshal(data, pod); err != nil {
		return nil, err
	}
	s := *as
	s.requests(pod)
	if s.ScoreMilliCPU == as.ScoreMilliCPU && s.ScoreMemory == as.ScoreMemory && s.Requests.Equal(&as.Requests) {
		return as, nil
	}
	return &s, nil
}

// decodeSpec decodes only the members of a pod's spec that make its shape.
func decodeSpec(raw []byte) (*corev1.Pod, error) {
	pod := &corev1.Pod{}
	if err := json.Unmarshal(raw, &pod.Spec); err != nil {
		return nil, err
	}
	return pod, nil
}
