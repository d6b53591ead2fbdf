package oracle

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/apis/config"
	"k8s.io/kubernetes/pkg/scheduler/apis/config/latest"
	schedulercache "k8s.io/kubernetes/pkg/scheduler/backend/cache"
	"k8s.io/kubernetes/pkg/scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/defaultpreemption"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/dynamicresources"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/names"
	"k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodevolumelimits"
	"k8s.io/kubernetes/pkg/scheduler/framework/preemption"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
	"k8s.io/kubernetes/pkg/scheduler/metrics"
	"k8s.io/kubernetes/pkg/scheduler/util/assumecache"

	resourceslicetracker "k8s.io/dynamic-resource-allocation/resourceslice/tracker"
)

var register = sync.OnceFunc(metrics.Register)

// upstream is kube-scheduler's framework over one cluster.
type upstream struct {
	ctx       context.Context
	framework framework.Framework
	snapshot  *schedulercache.Snapshot
	preempt   *defaultpreemption.DefaultPreemption
	budgets   []*policyv1.PodDisruptionBudget
}

func newUpstream(t testing.TB, c *Cluster) *upstream {
	register()
	ctx := klog.NewContext(t.Context(), klog.Logger{})
	ctx, cancel := context.WithCancel(ctx)
	t.Cleanup(cancel)
	client := fake.NewClientset(c.objects()...)
	factory := informers.NewSharedInformerFactory(client, 0)
	u := &upstream{ctx: ctx, snapshot: schedulercache.NewSnapshot(c.running(), c.Nodes), budgets: c.Budgets}

	registry := plugins.NewInTreeRegistry()
	inner := registry[names.DefaultPreemption]
	registry[names.DefaultPreemption] = func(ctx context.Context, args runtime.Object, h fwk.Handle) (fwk.Plugin, error) {
		p, err := inner(ctx, args, h)
		u.preempt, _ = p.(*defaultpreemption.DefaultPreemption)
		return p, err
	}
	claims := assumecache.NewAssumeCache(klog.Logger{}, factory.Resource().V1().ResourceClaims().Informer(), "ResourceClaim", "", nil)
	tracker, err := resourceslicetracker.StartTracker(ctx, resourceslicetracker.Options{SliceInformer: factory.Resource().V1().ResourceSlices(), KubeClient: client})
	if err != nil {
		t.Fatal(err)
	}
	u.framework, err = frameworkruntime.NewFramework(ctx, registry, c.profile(t),
		frameworkruntime.WithClientSet(client), frameworkruntime.WithInformerFactory(factory),
		frameworkruntime.WithSnapshotSharedLister(u.snapshot), frameworkruntime.WithMutableSnapshotLister(u.snapshot),
		frameworkruntime.WithEventRecorder(&events.FakeRecorder{}), frameworkruntime.WithParallelism(1),
		frameworkruntime.WithPodNominator(c.nominations()),
		frameworkruntime.WithSharedCSIManager(nodevolumelimits.NewCSIManager(factory.Storage().V1().CSINodes().Lister())),
		frameworkruntime.WithSharedDRAManager(dynamicresources.NewDRAManager(ctx, claims, tracker, factory)),
		frameworkruntime.WithWaitingPods(frameworkruntime.NewWaitingPodsMap()), frameworkruntime.WithPodsInPreBind(frameworkruntime.NewPodsInPreBindMap()),
		frameworkruntime.WithLogger(klog.Logger{}),
	)
	if err != nil {
		t.Fatal(err)
	}
	factory.Core().V1().Pods().Informer()
	factory.StartWithContext(ctx)
	if r := factory.WaitForCacheSyncWithContext(ctx); r.Err != nil {
		t.Fatal(r.Err)
	}
	cache.WaitFor(ctx, "", tracker.HasSyncedChecker())
	return u
}

// profile is the default one, with the cluster's changes.
func (c *Cluster) profile(t testing.TB) *config.KubeSchedulerProfile {
	cfg, err := latest.Default()
	if err != nil {
		t.Fatal(err)
	}
	if c.Tune != nil {
		c.Tune(&cfg.Profiles[0])
	}
	return &cfg.Profiles[0]
}

// nominator is a PodNominator that never changes.
type nominator map[string][]fwk.PodInfo

func (n nominator) AddNominatedPod(klog.Logger, fwk.PodInfo, *fwk.NominatingInfo) {}
func (n nominator) DeleteNominatedPodIfExists(*corev1.Pod)                        {}
func (n nominator) UpdateNominatedPod(klog.Logger, *corev1.Pod, fwk.PodInfo)      {}
func (n nominator) NominatedPodsForNode(node string) []fwk.PodInfo                { return n[node] }

// nominations are those of the cluster's pending pods, those in question too.
func (c *Cluster) nominations() nominator {
	n := nominator{}
	for _, p := range slices.Concat(c.Pods, c.Asks) {
		if at := p.Status.NominatedNodeName; at != "" && p.Spec.NodeName == "" {
			info, _ := framework.NewPodInfo(p)
			n[at] = append(n[at], info)
		}
	}
	return n
}

// answer is what upstream or we say of one pod.
type answer struct {
	Feasible []string // sorted
	// Reasons against the other nodes, and whether taking pods away may help.
	Reasons map[string]string
	// Message is what the pod's condition says; "" when there is a place.
	Message string
	// Node and Victims of the preemption, "" for none.
	Node    string
	Victims []string
}

// decision is upstream's, with what is needed to judge others.
type decision struct {
	answer
	state      fwk.CycleState
	nodes      []fwk.NodeInfo // feasible
	candidates map[string]preemption.Candidate
}

func (u *upstream) ask(t testing.TB, pod *corev1.Pod) decision {
	d := decision{state: framework.NewCycleState(), candidates: map[string]preemption.Candidate{}}
	d.Reasons = map[string]string{}
	all, err := u.snapshot.List()
	if err != nil {
		t.Fatal(err)
	}
	diagnosis := framework.Diagnosis{NodeToStatus: framework.NewDefaultNodeToStatus()}
	allowed, status, unscheduled := u.framework.RunPreFilterPlugins(u.ctx, d.state, pod)
	switch {
	case !status.IsSuccess():
		if !status.IsRejected() {
			t.Fatalf("%s: PreFilter: %v", pod.Name, status.AsError())
		}
		diagnosis.NodeToStatus.SetAbsentNodesStatus(status)
		diagnosis.PreFilterMsg = status.Message()
		for _, n := range all {
			d.Reasons[n.Node().Name] = "before any node: " + status.Message()
		}
	default:
		if !allowed.AllNodes() {
			diagnosis.NodeToStatus.SetAbsentNodesStatus(fwk.NewStatus(fwk.UnschedulableAndUnresolvable, "node(s) didn't satisfy plugin(s) "+fmt.Sprint(sets.List(unscheduled))))
		}
		for _, n := range all {
			name := n.Node().Name
			if !allowed.AllNodes() && !allowed.NodeNames.Has(name) {
				d.Reasons[name] = "not among the nodes of PreFilter"
				continue
			}
			s := u.framework.RunFilterPluginsWithNominatedPods(u.ctx, d.state, pod, n)
			if s.Code() == fwk.Error {
				t.Fatalf("%s on %s: Filter: %v", pod.Name, name, s.AsError())
			}
			if s.IsSuccess() {
				d.Feasible = append(d.Feasible, name)
				d.nodes = append(d.nodes, n)
				continue
			}
			diagnosis.NodeToStatus.Set(name, s)
			reasons := s.Reasons()
			slices.Sort(reasons) // some come in the order of a map
			d.Reasons[name] = s.Code().String() + ": " + strings.Join(reasons, ", ")
		}
	}
	slices.Sort(d.Feasible)
	if len(d.Feasible) > 0 {
		return d
	}
	u.postFilter(t, pod, &d, &diagnosis)
	d.Message = (&framework.FitError{Pod: pod, NumAllNodes: len(all), Diagnosis: diagnosis}).Error()
	return d
}

// postFilter is DefaultPreemption without its deeds, and without its random start.
func (u *upstream) postFilter(t testing.TB, pod *corev1.Pod, d *decision, diagnosis *framework.Diagnosis) {
	ok, text := u.preempt.Evaluator.PodEligibleToPreemptOthers(u.ctx, pod, diagnosis.NodeToStatus.Get(pod.Status.NominatedNodeName))
	if !ok {
		diagnosis.PostFilterMsg = "preemption: " + text
		return
	}
	nodes, err := diagnosis.NodeToStatus.NodesForStatusCode(u.snapshot.NodeInfos(), fwk.Unschedulable)
	if err != nil {
		t.Fatal(err)
	}
	statuses := framework.NewDefaultNodeToStatus()
	var candidates []preemption.Candidate
	if len(nodes) > 0 {
		candidates, statuses, err = u.preempt.Evaluator.DryRunPreemption(u.ctx, d.state, pod, nodes, u.budgets, 0, int32(len(nodes)))
		if err != nil && len(candidates) == 0 {
			t.Fatal(err)
		}
	}
	if len(candidates) == 0 {
		statuses.SetAbsentNodesStatus(fwk.NewStatus(fwk.UnschedulableAndUnresolvable, "Preemption is not helpful for scheduling"))
		all, _ := u.snapshot.List()
		failed := framework.FitError{Pod: pod, NumAllNodes: len(all), Diagnosis: framework.Diagnosis{NodeToStatus: statuses}}
		diagnosis.PostFilterMsg = "preemption: " + failed.Error()
		return
	}
	for _, c := range candidates {
		d.candidates[c.Name()] = c
	}
	best := u.preempt.Evaluator.SelectCandidate(u.ctx, candidates)
	d.Node, d.Victims = best.Name(), victims(best)
	diagnosis.PostFilterMsg = "preemption: "
}

func victims(c preemption.Candidate) []string {
	var out []string
	for _, p := range c.Victims().Pods {
		out = append(out, p.Name)
	}
	slices.Sort(out)
	return out
}

// scores gives what upstream makes of each feasible node.
func (u *upstream) scores(t testing.TB, pod *corev1.Pod, d *decision) map[string]fwk.NodePluginScores {
	if s := u.framework.RunPreScorePlugins(u.ctx, d.state, pod, d.nodes); !s.IsSuccess() {
		t.Fatalf("PreScore: %v", s.AsError())
	}
	list, s := u.framework.RunScorePlugins(u.ctx, d.state, pod, d.nodes)
	if !s.IsSuccess() {
		t.Fatalf("Score: %v", s.AsError())
	}
	out := map[string]fwk.NodePluginScores{}
	for _, n := range list {
		out[n.Name] = n
	}
	return out
}
