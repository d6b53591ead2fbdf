package whatif

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto"
	"kubus.dev/services/scheduler"
)

var podResource = proto.GroupResource{Resource: "pods"}

// Outcome is what would become of one object that makes pods.
type Outcome struct {
	Object string
	// There are pods that it has already, and stay as they are.
	There int
	// Refused is what the API says against its pods, "" when nothing.
	Refused string
	Fates   []scheduler.Fate
}

// Placed tells whether all its pods would run.
func (o *Outcome) Placed() bool {
	return o.Refused == "" && !slices.ContainsFunc(o.Fates, func(f scheduler.Fate) bool { return f.Node == "" })
}

// Plan tells what would become of each object of a manifest that makes pods. Objects that
// decisions look at, such as nodes and claims, count as if they were there.
func Plan(ctx context.Context, api API, cfg scheduler.Config, manifest io.Reader, namespace string) ([]Outcome, error) {
	objects, err := read(manifest, namespace)
	if err != nil {
		return nil, fmt.Errorf("reading the manifest: %w", err)
	}
	p := &planning{api: api}
	if p.world, err = world(ctx, api); err != nil {
		return nil, err
	}
	if p.pods, err = decode[corev1.Pod](p.world[podResource]); err != nil {
		return nil, err
	}
	var makers []*workload
	for _, o := range objects {
		if gr, ok := parts[o.Kind]; ok {
			if err := p.part(ctx, gr, o); err != nil {
				return nil, err
			}
			continue
		}
		w, err := workloadOf(o)
		if err != nil {
			return nil, err
		}
		if w != nil {
			makers = append(makers, w)
		}
	}
	if len(makers) == 0 {
		return nil, errors.New("the manifest has no object that makes pods")
	}
	return p.decide(ctx, cfg, makers)
}

// planning is a plan in the making.
type planning struct {
	api    API
	world  scheduler.World
	pods   []corev1.Pod // that are there
	serial int
}

func decode[T any](list []json.RawMessage) ([]T, error) {
	out := make([]T, len(list))
	for i, data := range list {
		if err := json.Unmarshal(data, &out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (p *planning) uid() types.UID {
	p.serial++
	return types.UID(fmt.Sprintf("plan-%d", p.serial))
}

// part lets an object count as if it were there.
func (p *planning) part(ctx context.Context, gr proto.GroupResource, o object) error {
	data, err := dry(ctx, p.api, gr, o.Namespace, o.data)
	if err != nil {
		return fmt.Errorf("%s: %w", &o, err)
	}
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		return err
	}
	meta, _ := fields["metadata"].(map[string]any)
	if meta == nil {
		meta = map[string]any{}
		fields["metadata"] = meta
	}
	meta["name"], meta["uid"], meta["resourceVersion"] = o.Name, p.uid(), "0"
	if o.Namespace != "" {
		meta["namespace"] = o.Namespace
	}
	if data, err = json.Marshal(fields); err != nil {
		return err
	}
	same := func(have json.RawMessage) bool {
		var m metav1.PartialObjectMetadata
		return json.Unmarshal(have, &m) == nil && m.Name == o.Name && m.Namespace == o.Namespace
	}
	if !slices.ContainsFunc(p.world[gr], same) { // what is there stays as it is
		p.world[gr] = append(p.world[gr], data)
	}
	return nil
}

// decide makes the pods and asks the scheduler's code about all of them at once.
func (p *planning) decide(ctx context.Context, cfg scheduler.Config, makers []*workload) ([]Outcome, error) {
	outcomes := make([]Outcome, len(makers))
	var pods []*corev1.Pod
	of := map[types.UID]int{}
	for i, w := range makers {
		outcomes[i].Object = w.String()
		made, err := p.make(ctx, w, &outcomes[i])
		if err != nil {
			return nil, err
		}
		for _, pod := range made {
			of[pod.UID] = i
		}
		pods = append(pods, made...)
	}
	fates, err := scheduler.WhatIf(ctx, cfg, p.world, pods)
	if err != nil {
		return nil, err
	}
	for _, f := range fates {
		o := &outcomes[of[types.UID(f.UID)]]
		o.Fates = append(o.Fates, f)
	}
	return outcomes, nil
}

// make gives the pods that an object would make now.
func (p *planning) make(ctx context.Context, w *workload, o *Outcome) ([]*corev1.Pod, error) {
	taken := map[string]bool{} // nodes that have one
	for i := range p.pods {
		have := &p.pods[i]
		if have.Namespace != w.Namespace || have.DeletionTimestamp != nil || have.Status.Phase == corev1.PodSucceeded || have.Status.Phase == corev1.PodFailed {
			continue
		}
		if w.owner == "" && have.Name == w.Name || w.selector != nil && w.selector.Matches(labels.Set(have.Labels)) {
			o.There++
			taken[have.Spec.NodeName] = true
		}
	}
	var nodes []string
	count := w.count - o.There
	if w.each {
		list, err := decode[metav1.PartialObjectMetadata](p.world[parts["Node"]])
		if err != nil {
			return nil, err
		}
		for _, n := range list {
			if !taken[n.Name] {
				nodes = append(nodes, n.Name)
			}
		}
		count = len(nodes)
	}
	if count <= 0 {
		return nil, nil
	}
	sample, err := p.sample(ctx, w)
	if err != nil {
		o.Refused = err.Error()
		return nil, nil
	}
	owner, yes := p.uid(), true
	pods := make([]*corev1.Pod, count)
	for i := range pods {
		pod := sample.DeepCopy()
		pod.UID = p.uid()
		if w.owner != "" {
			pod.Name = fmt.Sprintf("%s-%d", w.Name, o.There+i)
			pod.OwnerReferences = []metav1.OwnerReference{{Kind: w.owner, Name: w.Name, UID: owner, Controller: &yes}}
		}
		if w.each {
			pinned(&pod.Spec, nodes[i])
			pod.Spec.Tolerations = append(pod.Spec.Tolerations, daemonTolerations...)
		}
		if err := p.claims(ctx, w, pod); err != nil {
			o.Refused = err.Error()
			return nil, nil
		}
		pods[i] = pod
	}
	return pods, nil
}

// sample is a pod of the object as the API would take it.
func (p *planning) sample(ctx context.Context, w *workload) (*corev1.Pod, error) {
	pod := &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: *w.template.ObjectMeta.DeepCopy(), Spec: *w.template.Spec.DeepCopy()}
	pod.Namespace = w.Namespace
	if w.owner != "" {
		pod.Name, pod.GenerateName = "", "plan-"
	}
	data, err := json.Marshal(pod)
	if err != nil {
		return nil, err
	}
	made, err := dry(ctx, p.api, podResource, w.Namespace, data)
	if err != nil {
		return nil, err
	}
	pod = &corev1.Pod{}
	if err := json.Unmarshal(made, pod); err != nil {
		return nil, err
	}
	pod.Namespace = w.Namespace
	if pod.Spec.SchedulerName == "" { // its namespace is not there yet
		pod.Spec.SchedulerName = corev1.DefaultSchedulerName
	}
	return pod, nil
}

// claims makes those of a StatefulSet's pod.
func (p *planning) claims(ctx context.Context, w *workload, pod *corev1.Pod) error {
	for i := range w.claims {
		claim := w.claims[i].DeepCopy()
		volume := claim.Name
		claim.Name, claim.Namespace = volume+"-"+pod.Name, w.Namespace
		claim.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"}
		data, err := json.Marshal(claim)
		if err != nil {
			return err
		}
		o := object{data: data}
		o.TypeMeta, o.ObjectMeta = claim.TypeMeta, claim.ObjectMeta
		if err := p.part(ctx, parts["PersistentVolumeClaim"], o); err != nil {
			return err
		}
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: volume, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim.Name}}})
	}
	return nil
}

// Print tells of the outcomes, and whether everything would run.
func Print(out io.Writer, outcomes []Outcome) (all bool) {
	all = true
	for i := range outcomes {
		o := &outcomes[i]
		all = all && o.Placed()
		o.print(out)
	}
	return all
}

func (o *Outcome) print(out io.Writer) {
	head := fmt.Sprintf("%s: %s", o.Object, pods(len(o.Fates)))
	if o.There > 0 {
		head += fmt.Sprintf(", beside %d that are there", o.There)
	}
	fmt.Fprintln(out, head)
	if o.Refused != "" {
		fmt.Fprintf(out, "  the API would refuse its pods: %s\n", o.Refused)
	}
	on, waits := map[string]int{}, map[string]int{}
	var clears []string
	for _, f := range o.Fates {
		switch {
		case f.Node == "":
			waits[f.Message]++
		case len(f.Victims) > 0:
			clears = append(clears, fmt.Sprintf("1 on %s, in the place of %s", f.Node, strings.Join(f.Victims, ", ")))
		default:
			on[f.Node]++
		}
	}
	for _, node := range slices.Sorted(maps.Keys(on)) {
		fmt.Fprintf(out, "  %d on %s\n", on[node], node)
	}
	for _, line := range clears {
		fmt.Fprintf(out, "  %s\n", line)
	}
	for _, message := range slices.Sorted(maps.Keys(waits)) {
		fmt.Fprintf(out, "  %s would wait: %s\n", pods(waits[message]), message)
	}
}

func pods(n int) string {
	if n == 1 {
		return "1 pod"
	}
	return fmt.Sprintf("%d pods", n)
}
