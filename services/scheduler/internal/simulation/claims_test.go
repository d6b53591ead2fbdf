package simulation

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/volume"
	"kubus.dev/services/scheduler/internal/feed"
	"kubus.dev/services/scheduler/internal/planner"
)

// storage is the world's claims, and those who bind them.
type storage struct {
	*world
	claims map[string]*corev1.PersistentVolumeClaim // by namespace/name, as stored
	// provision is what becomes of a claim whose node was chosen: true binds it to a new
	// volume there, false is a node that says no.
	provision func(claim *corev1.PersistentVolumeClaim, node string) bool
	refused   int
}

func newStorage(t *testing.T, workers int) *storage {
	s := &storage{world: newWorld(t, workers), claims: map[string]*corev1.PersistentVolumeClaim{}}
	s.provision = func(*corev1.PersistentVolumeClaim, string) bool { return true }
	s.answer = s.prepare
	mode := storagev1.VolumeBindingWaitForFirstConsumer
	s.stored(func() {
		s.catalog.SetClass("local", &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "local", ResourceVersion: "1"}, Provisioner: volume.LocalProvisioner, VolumeBindingMode: &mode})
	})
	return s
}

// stored changes what the log holds of storage, and gives the pods that it matters to again.
func (w *world) stored(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.store(change)
}

func (w *world) store(change func()) {
	w.rev++
	change()
	b := feed.Batch{VolumeRevision: w.rev, VolumeSeen: w.rev}
	for _, p := range w.catalog.Changed() {
		w.pods[p.UID] = p
		b.Changes = append(b.Changes, feed.Change{Pod: p, Revision: p.Revision})
	}
	w.truth.Apply(b)
	for _, s := range w.sinks {
		s.Apply(b)
	}
}

// put stores a claim's new version; the lock is held by store.
func (s *storage) put(claim *corev1.PersistentVolumeClaim) {
	claim.ResourceVersion = fmt.Sprint(s.rev)
	s.claims[claim.Namespace+"/"+claim.Name] = claim
	s.catalog.SetClaim(claim.Namespace+"/"+claim.Name, claim)
}

func (s *storage) newClaim(name string, mode ...corev1.PersistentVolumeAccessMode) {
	class := "local"
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name)}}
	claim.Spec.StorageClassName = &class
	claim.Spec.AccessModes = append(mode, corev1.ReadWriteOnce)
	claim.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	s.stored(func() { s.put(claim) })
}

// prepare is the API for what is written into claims; world.Bind holds the lock.
func (s *storage) prepare(b planner.Binding) *planner.Verdict {
	if len(b.Claims) == 0 {
		return nil
	}
	for _, c := range b.Claims {
		key := c.Claim.Namespace + "/" + c.Claim.Name
		now := s.claims[key]
		if now == nil || now.ResourceVersion != c.Claim.ResourceVersion {
			s.refused++
			return &planner.Verdict{Outcome: planner.Refused, Error: "conflict"}
		}
		next := now.DeepCopy()
		metav1.SetMetaDataAnnotation(&next.ObjectMeta, volume.SelectedNode, b.Node)
		s.store(func() { s.put(next) })
		time.AfterFunc(50*time.Millisecond, func() { s.bind(key, b.Node) })
	}
	return &planner.Verdict{Outcome: planner.Prepared}
}

// bind is the controllers: a volume on the node, or another choice.
func (s *storage) bind(key, node string) {
	s.stored(func() {
		now := s.claims[key]
		if now == nil || now.Annotations[volume.SelectedNode] != node || volume.Bound(now) {
			return
		}
		next := now.DeepCopy()
		if !s.provision(now, node) {
			delete(next.Annotations, volume.SelectedNode)
			s.put(next)
			return
		}
		pv := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-" + now.Name, UID: types.UID("pv-" + now.Name)}}
		pv.Spec.ClaimRef = volume.Reference(now)
		pv.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}}}}}}
		s.catalog.SetVolume(pv.Name, pv)
		next.Spec.VolumeName, next.Status.Phase = pv.Name, corev1.ClaimBound
		metav1.SetMetaDataAnnotation(&next.ObjectMeta, volume.BindCompleted, "yes")
		s.put(next)
	})
}

// rest waits until claims and pods are settled.
func (s *storage) rest() {
	for range 40 {
		s.settle()
		time.Sleep(time.Second)
	}
	s.settle()
}

// withClaim asks for CPU and for claims.
func withClaim(claims ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		for _, c := range claims {
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: c, VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: c}}})
		}
	}
}

func TestS10PodsWithClaimsAreBoundWhereTheirVolumesAre(t *testing.T) {
	for _, workers := range []int{1, 3} {
		t.Run(fmt.Sprint(workers, " workers"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStorage(t, workers)
				for i := range 5 {
					s.change(feed.Change{Node: aNode(fmt.Sprintf("n%d", i), 1000)})
				}
				// Each node has room for one: while its claim is being bound, a pod keeps it.
				for i := range 5 {
					s.newClaim(fmt.Sprint("data-", i))
					s.change(feed.Change{Pod: aPod(fmt.Sprint("db-", i), "set", aShape(600, withClaim(fmt.Sprint("data-", i))))})
				}
				s.rest()
				if s.bound != 5 {
					t.Errorf("bound %d of 5 pods; %v", s.bound, s.told)
				}
				for i := range 5 {
					pod, claim := s.pods[fmt.Sprint("uid-db-", i)], s.claims[fmt.Sprint("default/data-", i)]
					if pod.NodeName == "" || pod.NodeName != claim.Annotations[volume.SelectedNode] {
						t.Errorf("%s runs on %q, its volume is on %q", pod, pod.NodeName, claim.Annotations[volume.SelectedNode])
					}
				}
				s.checkRoom()
			})
		})
	}
}

func TestOfTwoPodsThatAppearAtOnceOneGetsTheClaimForOne(t *testing.T) {
	for _, workers := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			s := newStorage(t, workers)
			for i := range 3 {
				s.change(feed.Change{Node: aNode(fmt.Sprint("n", i), 1000)})
			}
			s.newClaim("sole", corev1.ReadWriteOncePod)
			s.change(feed.Change{Pod: aPod("one", "a", aShape(100, withClaim("sole")))}, feed.Change{Pod: aPod("two", "b", aShape(200, withClaim("sole")))})
			s.rest()
			if s.bound != 1 {
				t.Fatalf("bound %d pods with a claim for one", s.bound)
			}
			for _, p := range s.pods {
				if p.NodeName != "" {
					s.change(feed.Change{Pod: p, Gone: true})
					break
				}
			}
			s.rest()
			if s.bound != 2 {
				t.Error("the other was not bound when the claim was free")
			}
		})
	}
}

func TestS10ANodeThatCannotMakeTheVolumeIsNotTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStorage(t, 1)
		tries := 0
		s.provision = func(_ *corev1.PersistentVolumeClaim, node string) bool { tries++; return tries > 2 }
		s.change(feed.Change{Node: aNode("n1", 1000)})
		s.newClaim("data")
		s.change(feed.Change{Pod: aPod("db", "", aShape(600, withClaim("data")))})
		s.rest()
		if s.bound != 1 || tries != 3 {
			t.Errorf("bound %d pods after %d tries", s.bound, tries)
		}
		if n := s.truth.Node(0); n.Used.MilliCPU != 600 || n.Pods != 1 {
			t.Errorf("the node holds %d m for %d pods", n.Used.MilliCPU, n.Pods)
		}
	})
}

func TestS10RoomIsGivenBackWhenAWaitingPodGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStorage(t, 1)
		s.answer = func(b planner.Binding) *planner.Verdict { // nobody provisions
			if len(b.Claims) == 0 {
				return nil
			}
			next := b.Claims[0].Claim.DeepCopy()
			metav1.SetMetaDataAnnotation(&next.ObjectMeta, volume.SelectedNode, b.Node)
			s.store(func() { s.put(next) })
			return &planner.Verdict{Outcome: planner.Prepared}
		}
		s.change(feed.Change{Node: aNode("n1", 1000)})
		s.newClaim("data")
		s.change(feed.Change{Pod: aPod("db", "", aShape(600, withClaim("data")))})
		s.rest()
		s.change(feed.Change{Pod: aPod("web", "", aShape(600))})
		s.rest()
		if s.bound != 0 {
			t.Fatal("the room of a pod whose claim is being bound was given away")
		}
		s.change(feed.Change{Pod: aPod("db", "", aShape(600, withClaim("data"))), Gone: true})
		s.rest()
		if s.bound != 1 || s.pods["uid-web"].NodeName != "n1" {
			t.Errorf("bound %d pods", s.bound)
		}
		s.checkAwake()
	})
}

func TestWhatStandsInTheWayOfAPodWithClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStorage(t, 1)
		s.change(feed.Change{Node: aNode("n1", 1000)})
		s.change(feed.Change{Pod: aPod("db", "", aShape(600, withClaim("data")))})
		s.rest()
		const want = `0/1 nodes are available: persistentvolumeclaim "data" not found. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.`
		if got := s.told["uid-db"]; got != want {
			t.Errorf("told %q", got)
		}
		s.newClaim("data")
		s.rest()
		if s.bound != 1 {
			t.Errorf("not bound after the claim was made: %q", s.told["uid-db"])
		}
		// Its node has no room when it comes back: nowhere else will do.
		s.change(feed.Change{Node: aNode("n2", 1000)}, feed.Change{Pod: s.pods["uid-db"], Gone: true}, feed.Change{Pod: aPod("filler", "", aShape(900, func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{corev1.LabelHostname: "n1"} }))})
		s.rest()
		s.change(feed.Change{Pod: aPod("db2", "", aShape(600, withClaim("data")))})
		s.rest()
		if got := s.told["uid-db2"]; !strings.Contains(got, "1 Insufficient cpu") || !strings.Contains(got, "1 node(s) didn't match PersistentVolume's node affinity") {
			t.Errorf("told %q", got)
		}
	})
}
