package mirror

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"testing"
	"time"

	"go.uber.org/zap"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/statelog"
)

// BenchmarkMemory fills views and mirrors as a process of the controllers does, with 1,000
// nodes, 2,000 ReplicaSets of five pods each, bound, and says what is alive then, in MiB:
// go test -run - -bench Memory -benchtime 1x .
func BenchmarkMemory(b *testing.B) {
	log := crowd(b, 1000, 2000, 5)
	for range b.N {
		before := alive()
		ctx, cancel := context.WithCancel(b.Context())
		views := statelog.OpenViewsFrom(ctx, log, zap.NewNop())
		views.KeepLittle()
		if err := views.Ready(ctx, proto.GroupResource{Resource: "pods"}); err != nil {
			b.Fatal(err)
		}
		viewed := alive()
		world := NewWorld()
		world.Pods.Follow()
		world.ReplicaSets.Follow()
		world.Nodes.Follow()
		done := make(chan error, 1)
		go func() { done <- world.Run(ctx, views, zap.NewNop()) }()
		if err := world.Ready(ctx); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(viewed-before, "MiB-views")
		b.ReportMetric(alive()-viewed, "MiB-mirrors")
		cancel()
		if err := <-done; err != nil {
			b.Fatal(err)
		}
		runtime.KeepAlive(world)
	}
}

func alive() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / (1 << 20)
}

// stored is a log whose messages are there; each reader gets copies, as over a connection.
type stored []bus.StreamMsg

func (l stored) StreamState(context.Context, string) (bus.StreamState, error) {
	return bus.StreamState{FirstSeq: 1, LastSeq: uint64(len(l))}, nil
}

func (l stored) Read(ctx context.Context, _ statelog.Reading, h statelog.Handler) error {
	for i := range l {
		m := l[i]
		m.Data = append([]byte(nil), m.Data...)
		m.Subject = string(append([]byte(nil), m.Subject...))
		h.Message(&m)
	}
	h.Settled(uint64(len(l)))
	<-ctx.Done()
	return ctx.Err()
}

func crowd(tb testing.TB, nodes, sets, each int) (log stored) {
	put := func(group, kind string, o metav1.Object) {
		data, err := json.Marshal(o)
		if err != nil {
			tb.Fatal(err)
		}
		key := proto.Key{GroupResource: proto.GroupResource{Group: group, Resource: kind}, Namespace: o.GetNamespace(), Name: o.GetName()}
		log = append(log, bus.StreamMsg{Subject: key.Subject(), Data: data, Seq: uint64(len(log) + 1), Time: time.Now()})
	}
	now, yes, grace := metav1.NewTime(time.Unix(1767323045, 0)), true, int64(30)
	uid := func(i int) types.UID { return types.UID(fmt.Sprintf("0d5c3d32-35d4-4c3b-9a2f-%012d", i)) }
	for i := range nodes {
		n := &corev1.Node{TypeMeta: metav1.TypeMeta{Kind: "Node", APIVersion: "v1"}, ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("node-%04d", i), UID: uid(i), CreationTimestamp: now, Labels: map[string]string{
			corev1.LabelHostname: fmt.Sprintf("node-%04d", i), corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64", corev1.LabelTopologyZone: fmt.Sprint("z", i%3)}}}
		n.Spec.PodCIDR = fmt.Sprintf("10.%d.%d.0/24", i/256, i%256)
		n.Spec.PodCIDRs = []string{n.Spec.PodCIDR}
		n.Status.Capacity = corev1.ResourceList{"cpu": resource.MustParse("32"), "memory": resource.MustParse("64Gi"), "pods": resource.MustParse("110"), "ephemeral-storage": resource.MustParse("100Gi")}
		n.Status.Allocatable = n.Status.Capacity
		for _, kind := range []corev1.NodeConditionType{"MemoryPressure", "DiskPressure", "PIDPressure", "Ready"} {
			n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: kind, Status: "False", LastHeartbeatTime: now, LastTransitionTime: now, Reason: "KubeletHasSufficientMemory", Message: "kubelet has sufficient memory available"})
		}
		put("", "nodes", n)
	}
	for i := range sets {
		labels, replicas := map[string]string{"app": fmt.Sprintf("r%05d", i)}, int32(each)
		spec := corev1.PodSpec{
			Containers: []corev1.Container{{
				Name: "app", Image: "registry.example.com/app:v1", TerminationMessagePath: "/dev/termination-log", TerminationMessagePolicy: "File", ImagePullPolicy: "IfNotPresent",
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("10m"), "memory": resource.MustParse("16Mi")}, Limits: corev1.ResourceList{"memory": resource.MustParse("64Mi")}},
			}},
			RestartPolicy: "Always", TerminationGracePeriodSeconds: &grace, DNSPolicy: "ClusterFirst", SecurityContext: &corev1.PodSecurityContext{}, SchedulerName: "default-scheduler",
		}
		set := &appsv1.ReplicaSet{TypeMeta: metav1.TypeMeta{Kind: "ReplicaSet", APIVersion: "apps/v1"}, ObjectMeta: metav1.ObjectMeta{Namespace: "memory", Name: fmt.Sprintf("r%05d", i), UID: uid(1_000_000 + i), Generation: 1, CreationTimestamp: now}}
		set.Spec = appsv1.ReplicaSetSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec}}
		set.Status = appsv1.ReplicaSetStatus{Replicas: replicas, FullyLabeledReplicas: replicas, ObservedGeneration: 1}
		put("apps", "replicasets", set)
		for j := range each {
			p := &corev1.Pod{TypeMeta: metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"}, ObjectMeta: metav1.ObjectMeta{
				Namespace: "memory", Name: fmt.Sprintf("%s-%05d", set.Name, i*each+j), GenerateName: set.Name + "-", UID: uid(2_000_000 + i*each + j), Generation: 1, CreationTimestamp: now, Labels: labels,
				OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: set.Name, UID: set.UID, Controller: &yes, BlockOwnerDeletion: &yes}},
			}, Spec: *spec.DeepCopy()}
			p.Spec.NodeName, p.Spec.ServiceAccountName, p.Spec.DeprecatedServiceAccount = fmt.Sprintf("node-%04d", (i*each+j)%nodes), "default", "default"
			p.Spec.EnableServiceLinks, p.Spec.PreemptionPolicy = &yes, new(corev1.PreemptionPolicy)
			*p.Spec.PreemptionPolicy = corev1.PreemptLowerPriority
			p.Spec.Priority = new(int32)
			p.Spec.Tolerations = []corev1.Toleration{{Key: "node.kubernetes.io/not-ready", Operator: "Exists", Effect: "NoExecute", TolerationSeconds: &grace}, {Key: "node.kubernetes.io/unreachable", Operator: "Exists", Effect: "NoExecute", TolerationSeconds: &grace}}
			volume := fmt.Sprintf("kube-api-access-%05d", i*each+j)
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: volume, ReadOnly: true, MountPath: "/var/run/secrets/kubernetes.io/serviceaccount"}}
			seconds, mode := int64(3607), int32(420)
			p.Spec.Volumes = []corev1.Volume{{Name: volume, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{DefaultMode: &mode, Sources: []corev1.VolumeProjection{
				{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{ExpirationSeconds: &seconds, Path: "token"}},
				{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"}, Items: []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}}}},
				{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"}}}}},
			}}}}}
			p.Status = corev1.PodStatus{Phase: "Pending", QOSClass: "Burstable", Conditions: []corev1.PodCondition{{Type: "PodScheduled", Status: "True", LastTransitionTime: now, ObservedGeneration: 1}}}
			put("", "pods", p)
		}
	}
	return log
}
