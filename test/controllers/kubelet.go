package controllers

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"kubus.dev/test/differential"
)

// Kubelet is the nodes and the scheduler of one sequence on one side. It binds pods,
// tells that they run, and ends those that are deleted; what it does depends on
// nothing but the objects, so that two of them do the same.
//
// The annotation "play" of a pod says how it goes: "run" (the default), "unready",
// "pending", "succeed", "fail" or "fail:CODE"; "stuck" runs and never ends.
type Kubelet struct {
	server *differential.Server
	world  *World
	scope  string

	mu   sync.Mutex
	lost map[string]bool // nodes that do nothing
	last bool            // the sequence ends: nothing is stuck or lost any more
}

// heartbeat is how often a node renews its Lease; gracePeriod is the silence after
// which both sides' controllers call it lost.
const (
	heartbeat   = 4 * time.Second
	gracePeriod = 16 * time.Second
)

// ips makes addresses of pods: unlike, of no meaning.
var ips atomic.Uint32

// Run acts until ctx ends.
func (k *Kubelet) Run(ctx context.Context) {
	wake := k.world.Wake(k.scope)
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		again := k.act(ctx)
		var retry <-chan time.Time
		if again {
			retry = time.After(50 * time.Millisecond)
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-retry:
		case <-beat.C:
			k.beat(ctx)
		}
	}
}

// act does all that is to do now; again tells that something was refused.
func (k *Kubelet) act(ctx context.Context) (again bool) {
	objects, _ := k.world.Look(k.scope)
	pods := of(objects, "pods")
	nodes := of(objects, "nodes")
	slices.SortStableFunc(pods, func(a, b Object) int {
		return cmp.Or(strings.Compare(str(a, "metadata", "creationTimestamp"), str(b, "metadata", "creationTimestamp")),
			strings.Compare(base(a), base(b)), strings.Compare(str(a, "metadata", "name"), str(b, "metadata", "name")))
	})
	load := map[string]int{}
	for _, p := range pods {
		if !ended(p) {
			load[str(p, "spec", "nodeName")]++
		}
	}
	for _, p := range pods {
		var err error
		node := str(p, "spec", "nodeName")
		switch {
		case node == "":
			if str(p, "metadata", "deletionTimestamp") != "" || ended(p) {
				continue
			}
			to := choose(p, nodes, load)
			if to == "" || k.isLost(to) {
				continue
			}
			load[to]++
			err = k.bind(ctx, p, to)
		case k.isLost(node):
		case str(p, "metadata", "deletionTimestamp") != "":
			err = k.end(ctx, p)
		case phase(p) == "Pending":
			err = k.start(ctx, p)
		}
		again = again || err != nil
	}
	return again
}

// of gives the objects of a resource, by name.
func of(objects map[Key]Object, resource string) []Object {
	var out []Object
	for k, o := range objects {
		if k.Resource == resource {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b Object) int {
		return strings.Compare(str(a, "metadata", "name"), str(b, "metadata", "name"))
	})
	return out
}

func phase(pod Object) string { return str(pod, "status", "phase") }

func ended(pod Object) bool { return phase(pod) == "Succeeded" || phase(pod) == "Failed" }

// base is the part of a name that was chosen.
func base(o Object) string {
	return cmp.Or(str(o, "metadata", "generateName"), str(o, "metadata", "name"))
}

func play(pod Object) string { return str(pod, "metadata", "annotations", "play") }

// choose finds the node for a pod: the one its affinity names, otherwise of those
// that fit the one with the fewest pods.
func choose(pod Object, nodes []Object, load map[string]int) string {
	if len(list(pod, "spec", "schedulingGates")) > 0 {
		return ""
	}
	best := ""
	for _, n := range nodes {
		name := str(n, "metadata", "name")
		if !fits(pod, n) || best != "" && load[name] >= load[best] {
			continue
		}
		best = name
	}
	return best
}

func fits(pod, node Object) bool {
	labels := at(node, "metadata", "labels")
	selector, _ := at(pod, "spec", "nodeSelector").(map[string]any)
	for k, v := range selector {
		if at(labels, k) != v {
			return false
		}
	}
	terms := list(pod, "spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
	named := len(terms) == 0
	for _, t := range terms {
		for _, f := range list(t, "matchFields") {
			named = named || slices.Contains(list(f, "values"), any(str(node, "metadata", "name")))
		}
	}
	if !named {
		return false
	}
	for _, t := range list(node, "spec", "taints") {
		if str(t, "effect") != "PreferNoSchedule" && !tolerated(pod, t) {
			return false
		}
	}
	return true
}

func tolerated(pod Object, taint any) bool {
	for _, t := range list(pod, "spec", "tolerations") {
		if e := str(t, "effect"); e != "" && e != str(taint, "effect") {
			continue
		}
		if str(t, "operator") == "Exists" && (str(t, "key") == "" || str(t, "key") == str(taint, "key")) ||
			str(t, "key") == str(taint, "key") && str(t, "value") == str(taint, "value") {
			return true
		}
	}
	return false
}

func (k *Kubelet) bind(ctx context.Context, pod Object, node string) error {
	return k.send(ctx, "POST", podPath(pod)+"/binding", "application/json", Object{
		"apiVersion": "v1", "kind": "Binding", "metadata": Object{"name": str(pod, "metadata", "name"), "uid": str(pod, "metadata", "uid")},
		"target": Object{"apiVersion": "v1", "kind": "Node", "name": node},
	})
}

// start tells what became of a pod that was bound.
func (k *Kubelet) start(ctx context.Context, pod Object) error {
	switch way, code, _ := strings.Cut(play(pod), ":"); way {
	case "pending":
		return nil
	case "succeed":
		return k.finish(ctx, pod, 0)
	case "fail":
		n, err := strconv.Atoi(cmp.Or(code, "1"))
		if err != nil {
			panic(fmt.Sprintf("the annotation play of a pod is %q", play(pod)))
		}
		return k.finish(ctx, pod, n)
	case "unready":
		return k.running(ctx, pod, false)
	}
	return k.running(ctx, pod, true)
}

func (k *Kubelet) running(ctx context.Context, pod Object, ready bool) error {
	now := time.Now().UTC().Format(time.RFC3339)
	n := ips.Add(1)
	ip := fmt.Sprintf("10.200.%d.%d", n/250%250, n%250+1)
	if old := str(pod, "status", "podIP"); old != "" {
		ip = old
	}
	var containers []Object
	for _, c := range list(pod, "spec", "containers") {
		containers = append(containers, Object{
			"name": str(c, "name"), "image": str(c, "image"), "imageID": "", "ready": ready, "started": true, "restartCount": 0,
			"state": Object{"running": Object{"startedAt": now}},
		})
	}
	return k.status(ctx, pod, Object{
		"phase": "Running", "startTime": now, "podIP": ip, "podIPs": []Object{{"ip": ip}}, "hostIP": "192.0.2.1", "hostIPs": []Object{{"ip": "192.0.2.1"}},
		"containerStatuses": containers,
		"conditions":        conditions(now, "Initialized", true, "Ready", ready, "ContainersReady", ready, "PodScheduled", true),
	})
}

// finish tells that all containers of a pod ended with a code.
func (k *Kubelet) finish(ctx context.Context, pod Object, code int) error {
	now := time.Now().UTC().Format(time.RFC3339)
	phase, reason := "Succeeded", "Completed"
	if code != 0 {
		phase, reason = "Failed", "Error"
	}
	var containers []Object
	for _, c := range list(pod, "spec", "containers") {
		containers = append(containers, Object{
			"name": str(c, "name"), "image": str(c, "image"), "imageID": "", "ready": false, "started": false, "restartCount": 0,
			"state": Object{"terminated": Object{"exitCode": code, "reason": reason, "startedAt": now, "finishedAt": now}, "running": nil},
		})
	}
	return k.status(ctx, pod, Object{
		"phase": phase, "startTime": cmp.Or(str(pod, "status", "startTime"), now), "containerStatuses": containers,
		"conditions": conditions(now, "Initialized", true, "Ready", false, "ContainersReady", false, "PodScheduled", true),
	})
}

// end ends a pod that is being deleted.
func (k *Kubelet) end(ctx context.Context, pod Object) error {
	if play(pod) == "stuck" && !k.isLast() || num(pod, "metadata", "deletionGracePeriodSeconds") == 0 && len(list(pod, "metadata", "finalizers")) > 0 && ended(pod) {
		return nil
	}
	if !ended(pod) {
		if err := k.finish(ctx, pod, 137); err != nil {
			return err
		}
	}
	return k.send(ctx, "DELETE", podPath(pod), "application/json", Object{
		"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "preconditions": Object{"uid": str(pod, "metadata", "uid")},
	})
}

// conditions are given by type and status.
func conditions(now string, pairs ...any) []Object {
	var out []Object
	for i := 0; i < len(pairs); i += 2 {
		status := "False"
		if pairs[i+1] == true {
			status = "True"
		}
		out = append(out, Object{"type": pairs[i], "status": status, "lastTransitionTime": now})
	}
	return out
}

func podPath(pod Object) string {
	return path("pods", str(pod, "metadata", "namespace"), str(pod, "metadata", "name"))
}

func (k *Kubelet) status(ctx context.Context, pod Object, status Object) error {
	return k.send(ctx, "PATCH", podPath(pod)+"/status", "application/strategic-merge-patch+json",
		Object{"metadata": Object{"uid": str(pod, "metadata", "uid")}, "status": status})
}

// send writes; what is gone or was written since is looked at again with the next
// change.
func (k *Kubelet) send(ctx context.Context, method, path, contentType string, body Object) error {
	code, answer, err := call(ctx, k.server, method, path, contentType, body)
	if err != nil {
		return err
	}
	if code >= 300 && code != http.StatusNotFound && code != http.StatusConflict && str(answer, "reason") != "NotFound" {
		return fmt.Errorf("%s %s: %d %s", method, path, code, str(answer, "message"))
	}
	return nil
}

// call sends a document and reads the answer.
func call(ctx context.Context, server *differential.Server, method, path, contentType string, body Object) (int, Object, error) {
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			return 0, nil, err
		}
	}
	resp, err := server.Do(ctx, method, path, contentType, data)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	var answer Object
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return 0, nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return resp.StatusCode, answer, nil
}

func (k *Kubelet) isLost(node string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.lost[node] && !k.last
}

func (k *Kubelet) isLast() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.last
}

// finale lets everything end.
func (k *Kubelet) finale() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last = true
}

// lose silences a node, or lets it speak again.
func (k *Kubelet) lose(node string, lost bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lost[node] = lost
}

// beat renews the Leases of the nodes that are not lost.
func (k *Kubelet) beat(ctx context.Context) {
	objects, _ := k.world.Look(k.scope)
	for _, n := range of(objects, "nodes") {
		if name := str(n, "metadata", "name"); !k.isLost(name) {
			k.renew(ctx, name)
		}
	}
}

const leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"

func (k *Kubelet) renew(ctx context.Context, node string) {
	spec := Object{"holderIdentity": node, "leaseDurationSeconds": 40, "renewTime": time.Now().UTC().Format("2006-01-02T15:04:05.000000Z")}
	code, _, err := call(ctx, k.server, "PATCH", leases+"/"+node, "application/merge-patch+json", Object{"spec": spec})
	if err == nil && code == http.StatusNotFound {
		// One that cannot be made is made with the next beat.
		_, _, _ = call(ctx, k.server, "POST", leases, "application/json", Object{
			"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": Object{"name": node}, "spec": spec,
		})
	}
}

// ready tells that a node is.
func (k *Kubelet) ready(ctx context.Context, node string) error {
	now := time.Now().UTC().Format(time.RFC3339)
	condition := func(kind, status, reason, message string) Object {
		return Object{"type": kind, "status": status, "reason": reason, "message": message, "lastHeartbeatTime": now, "lastTransitionTime": now}
	}
	amounts := Object{"cpu": "64", "memory": "256Gi", "pods": "1000", "ephemeral-storage": "100Gi"}
	k.renew(ctx, node)
	return k.send(ctx, "PATCH", path("nodes", "", node)+"/status", "application/strategic-merge-patch+json", Object{"status": Object{
		"capacity": amounts, "allocatable": amounts,
		"conditions": []Object{
			condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
			condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
			condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
			condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
		},
	}})
}
