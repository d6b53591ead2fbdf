package profile

import (
	"slices"
	"strings"
	"testing"
	"time"

	"kubus.dev/services/scheduler/internal/shape"
)

const head = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"

func TestAFileByUpstreamsNames(t *testing.T) {
	set, err := Parse([]byte(head + `
leaderElection: {leaderElect: true}
clientConnection: {kubeconfig: /etc/kubernetes/scheduler.conf}
parallelism: 16
podMaxBackoffSeconds: 5
profiles:
- schedulerName: default-scheduler
- schedulerName: packed
  plugins:
    multiPoint: {disabled: [{name: ImageLocality}]}
    filter: {disabled: [{name: NodePorts}]}
    score:
      disabled: [{name: TaintToleration}]
      enabled: [{name: NodeResourcesFit, weight: 5}]
    postFilter: {disabled: [{name: "*"}]}
  pluginConfig:
  - name: NodeResourcesFit
    args:
      scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 3}, {name: example.com/gpu, weight: 1}]}
  - name: VolumeBinding
    args: {bindTimeoutSeconds: 60, shape: [{utilization: 0, score: 0}, {utilization: 100, score: 10}]}
  - name: NodeAffinity
    args:
      apiVersion: kubescheduler.config.k8s.io/v1
      kind: NodeAffinityArgs
      addedAffinity:
        requiredDuringSchedulingIgnoredDuringExecution:
          nodeSelectorTerms: [{matchExpressions: [{key: pool, operator: In, values: [batch]}]}]
  - name: PodTopologySpread
    args:
      defaultingType: List
      defaultConstraints: [{maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: ScheduleAnyway}]
`))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(set.Names(), " "); got != "default-scheduler packed" || set.Backoff != time.Second || set.MostBackoff != 5*time.Second {
		t.Errorf("profiles %s, back-off %s to %s", got, set.Backoff, set.MostBackoff)
	}
	p := set.Profiles[1]
	want := shape.Weights{NodeAffinity: 2, NodeResourcesFit: 5, BalancedAllocation: 1, VolumeBinding: 1, PodTopologySpread: 2, InterPodAffinity: 2}
	if p.Weights != want || p.Off != shape.NodePorts || p.Preempts || p.Strategy != shape.MostAllocated || p.System || len(p.Defaults) != 1 || p.Added == nil {
		t.Errorf("profile %+v", p)
	}
	if want := []shape.Point{{Utilization: 0, Score: 0}, {Utilization: 100, Score: 100}}; !slices.Equal(p.Storage, want) {
		t.Errorf("storage is scored by %v, want %v", p.Storage, want)
	}
	if len(p.Fit) != 2 || p.Fit[0] != (shape.Weighted{Name: "cpu", Weight: 3}) {
		t.Errorf("resources %v", p.Fit)
	}
	if d := set.Profiles[0]; d.Weights != shape.DefaultProfile("").Weights || !d.Preempts || !d.System {
		t.Errorf("the other profile is not the default: %+v", d)
	}
}

func TestWhatIsWrongIsToldAtOnce(t *testing.T) {
	_, err := Parse([]byte(head + `
extenders: [{urlPrefix: "http://127.0.0.1:1"}]
podInitialBackoffSeconds: 20
profiles:
- schedulerName: a
  plugins:
    score: {enabled: [{name: Mine, weight: 2}]}
    bind: {enabled: [{name: MyBinder}]}
  pluginConfig:
  - {name: NodeResourcesFit, args: {scoringStrategy: {type: Best}, ignoredResources: [example.com/x]}}
  - {name: Coscheduling, args: {}}
- schedulerName: a
`))
	if err == nil {
		t.Fatal("it was taken")
	}
	for _, want := range []string{
		"extenders: this scheduler calls no extenders", "podInitialBackoffSeconds", `profiles[0].plugins.score.enabled[0]: plugin "Mine" does not exist`,
		"profiles[0].plugins.bind", `scoringStrategy.type: "Best"`, "ignoredResources", "profiles[0].pluginConfig[1] (Coscheduling): the plugin does not exist",
		`profiles[1].schedulerName: "a" is another profile's`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("not told: %s\nbut %v", want, err)
		}
	}
	for _, unknown := range []string{"profile: []\n", "profiles: [{schedulerName: a, pluginConfig: [{name: NodeAffinity, args: {affinity: {}}}]}]\n"} {
		if _, err := Parse([]byte(head + unknown)); err == nil {
			t.Errorf("unknown keys are taken: %s", unknown)
		}
	}
}
