package deployment

import (
	"math"
	"sort"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// Annotations through which kubectl and this controller know a rollout's past.
const (
	revisionAnnotation = "deployment.kubernetes.io/revision"
	historyAnnotation  = "deployment.kubernetes.io/revision-history"
	desiredAnnotation  = "deployment.kubernetes.io/desired-replicas"
	maxAnnotation      = "deployment.kubernetes.io/max-replicas"

	historyLength = 2000 // characters of the history annotation, about 100 revisions
)

// ownAnnotations are not copied from a deployment to its replica sets.
var ownAnnotations = map[string]bool{
	corev1.LastAppliedConfigAnnotation: true,
	revisionAnnotation:                 true,
	historyAnnotation:                  true,
	desiredAnnotation:                  true,
	maxAnnotation:                      true,
	appsv1.DeprecatedRollbackTo:        true,
	canaryReplicas:                     true,
	canaryPromote:                      true,
	canaryAutoPromote:                  true,
	canaryAutoRevert:                   true,
	canaryState:                        true,
}

// revision is a set's revision; zero when it has none, ok false when it is malformed.
func revision(set *appsv1.ReplicaSet) (number int64, ok bool) {
	value, found := set.Annotations[revisionAnnotation]
	if !found {
		return 0, true
	}
	number, err := strconv.ParseInt(value, 10, 64)
	return number, err == nil
}

func maxRevision(sets []*appsv1.ReplicaSet) int64 {
	newest := int64(0)
	for _, set := range sets {
		if number, ok := revision(set); ok {
			newest = max(newest, number)
		}
	}
	return newest
}

// lastRevision is the second newest; zero when there is none.
func lastRevision(sets []*appsv1.ReplicaSet) int64 {
	newest, second := int64(0), int64(0)
	for _, set := range sets {
		number, ok := revision(set)
		switch {
		case !ok:
		case number >= newest:
			newest, second = number, newest
		case number > second:
			second = number
		}
	}
	return second
}

// sameTemplate compares templates but for the hash label.
func sameTemplate(a, b *corev1.PodTemplateSpec) bool {
	a, b = a.DeepCopy(), b.DeepCopy()
	delete(a.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	delete(b.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	return equality.Semantic.DeepEqual(a, b)
}

// annotate brings a new set's annotations up to date: copies of the deployment's,
// the revision, its history, and for a set about to be created the sizes.
// It is true when something changed.
func annotate(d *appsv1.Deployment, set *appsv1.ReplicaSet, newest int64, exists bool) bool {
	changed := false
	if set.Annotations == nil {
		set.Annotations = map[string]string{}
	}
	for key, value := range d.Annotations {
		if present, found := set.Annotations[key]; ownAnnotations[key] || found && present == value {
			continue
		}
		set.Annotations[key] = value
		changed = true
	}
	before, had := set.Annotations[revisionAnnotation]
	number, err := strconv.ParseInt(before, 10, 64)
	if err != nil && before != "" { // somebody's own word: leave it
		return false
	}
	if number < newest {
		set.Annotations[revisionAnnotation] = strconv.FormatInt(newest, 10)
		changed = true
		if had { // a roll back to this set
			set.Annotations[historyAnnotation] = historyWith(set.Annotations[historyAnnotation], before)
			if set.Annotations[historyAnnotation] == "" {
				delete(set.Annotations, historyAnnotation)
			}
		}
	}
	if !exists && annotateSizes(d, set) {
		changed = true
	}
	return changed
}

// historyWith appends a revision, dropping the oldest beyond the length allowed.
func historyWith(revisions, latest string) string {
	if revisions == "" {
		return latest
	}
	past := strings.Split(revisions, ",")
	length := len(revisions) + len(latest) + 1
	start := 0
	for length > historyLength && start < len(past) {
		length -= len(past[start]) + 1
		start++
	}
	if length > historyLength {
		return revisions
	}
	return strings.Join(append(past[start:], latest), ",")
}

// annotateSizes notes what the set's size was a share of.
func annotateSizes(d *appsv1.Deployment, set *appsv1.ReplicaSet) bool {
	if set.Annotations == nil {
		set.Annotations = map[string]string{}
	}
	changed := false
	for key, value := range sizes(d) {
		if set.Annotations[key] != value {
			set.Annotations[key] = value
			changed = true
		}
	}
	return changed
}

func sizesCurrent(d *appsv1.Deployment, set *appsv1.ReplicaSet) bool {
	for key, value := range sizes(d) {
		if set.Annotations[key] != value {
			return false
		}
	}
	return true
}

func sizes(d *appsv1.Deployment) map[string]string {
	return map[string]string{
		desiredAnnotation: strconv.Itoa(int(*d.Spec.Replicas)),
		maxAnnotation:     strconv.Itoa(int(*d.Spec.Replicas + maxSurge(d))),
	}
}

// size reads one of the size annotations.
func size(set *appsv1.ReplicaSet, annotation string) (int32, bool) {
	value, err := strconv.ParseUint(set.Annotations[annotation], 10, 32)
	if err != nil || value > math.MaxInt32 {
		return 0, false
	}
	return int32(value), true
}

// byAge orders oldest first, by name where the age is equal.
func byAge(sets []*appsv1.ReplicaSet) {
	sort.SliceStable(sets, func(i, j int) bool { return older(sets[i], sets[j]) })
}

func older(a, b *appsv1.ReplicaSet) bool {
	if a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.Name < b.Name
	}
	return a.CreationTimestamp.Before(&b.CreationTimestamp)
}

// byRevision orders the lowest revision first.
func byRevision(sets []*appsv1.ReplicaSet) {
	sort.SliceStable(sets, func(i, j int) bool {
		a, aOK := revision(sets[i])
		b, bOK := revision(sets[j])
		if !aOK || !bOK || a == b {
			return older(sets[i], sets[j])
		}
		return a < b
	})
}

// bySize orders the largest first; of equal ones the newer or the older.
func bySize(sets []*appsv1.ReplicaSet, newerFirst bool) {
	sort.SliceStable(sets, func(i, j int) bool {
		a, b := *sets[i].Spec.Replicas, *sets[j].Spec.Replicas
		if a == b {
			if newerFirst {
				return older(sets[j], sets[i])
			}
			return older(sets[i], sets[j])
		}
		return a > b
	})
}
