package statefulset

import (
	"maps"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/controllers/internal/podcontrol"
)

// split gives the set's name and the ordinal that a pod's name tells. A name that is
// no set's gives "" and -1; an ordinal beyond 32 bits is -1.
func split(name string) (set string, ordinal int) {
	at := strings.LastIndexByte(name, '-')
	if at < 0 || at == len(name)-1 || strings.Trim(name[at+1:], "0123456789") != "" {
		return "", -1
	}
	number, err := strconv.ParseInt(name[at+1:], 10, 32)
	if err != nil {
		number = -1
	}
	return name[:at], int(number)
}

func ordinal(p *corev1.Pod) int {
	_, number := split(p.Name)
	return number
}

// member tells whether a pod's name makes it one of the set's.
func member(set *appsv1.StatefulSet, p *corev1.Pod) bool {
	name, _ := split(p.Name)
	return name == set.Name
}

func podName(set *appsv1.StatefulSet, ordinal int) string {
	return set.Name + "-" + strconv.Itoa(ordinal)
}

// first is the lowest ordinal, spec.ordinals.start.
func first(set *appsv1.StatefulSet) int {
	if set.Spec.Ordinals == nil {
		return 0
	}
	return int(set.Spec.Ordinals.Start)
}

// wish is spec.replicas with the API's default.
func wish(set *appsv1.StatefulSet) int {
	if set.Spec.Replicas == nil {
		return 1
	}
	return int(*set.Spec.Replicas)
}

// inRange: the ordinal is one the set is to have.
func inRange(set *appsv1.StatefulSet, ordinal int) bool {
	return ordinal >= first(set) && ordinal < first(set)+wish(set)
}

// identified: the pod's name and labels are those of its ordinal.
func identified(set *appsv1.StatefulSet, p *corev1.Pod) bool {
	name, number := split(p.Name)
	return number >= 0 && name == set.Name && p.Name == podName(set, number) && p.Labels[appsv1.StatefulSetPodNameLabel] == p.Name
}

// identify gives a pod the name and labels of its ordinal.
func identify(set *appsv1.StatefulSet, p *corev1.Pod) {
	number := ordinal(p)
	p.Name = podName(set, number)
	p.Labels = maps.Clone(p.Labels)
	if p.Labels == nil {
		p.Labels = map[string]string{}
	}
	p.Labels[appsv1.StatefulSetPodNameLabel] = p.Name
	p.Labels[appsv1.PodIndexLabel] = strconv.Itoa(number)
}

// stored: the pod's volumes are the claims of its ordinal.
func stored(set *appsv1.StatefulSet, p *corev1.Pod) bool {
	number := ordinal(p)
	claims := make(map[string]string, len(p.Spec.Volumes))
	for i := range p.Spec.Volumes {
		if v := &p.Spec.Volumes[i]; v.PersistentVolumeClaim != nil {
			claims[v.Name] = v.PersistentVolumeClaim.ClaimName
		}
	}
	for i := range set.Spec.VolumeClaimTemplates {
		template := set.Spec.VolumeClaimTemplates[i].Name
		if claims[template] != claimName(set, template, number) {
			return false
		}
	}
	return number >= 0
}

// store puts the claims of the pod's ordinal in the place of volumes of their names.
func store(set *appsv1.StatefulSet, p *corev1.Pod) {
	number := ordinal(p)
	volumes := make([]corev1.Volume, 0, len(set.Spec.VolumeClaimTemplates)+len(p.Spec.Volumes))
	ours := map[string]bool{}
	for i := range set.Spec.VolumeClaimTemplates {
		template := set.Spec.VolumeClaimTemplates[i].Name
		ours[template] = true
		volumes = append(volumes, corev1.Volume{Name: template, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claimName(set, template, number)},
		}})
	}
	for i := range p.Spec.Volumes {
		if !ours[p.Spec.Volumes[i].Name] {
			volumes = append(volumes, p.Spec.Volumes[i])
		}
	}
	p.Spec.Volumes = volumes
}

// revisionOf is the name of the revision that a pod was made from.
func revisionOf(p *corev1.Pod) string { return p.Labels[appsv1.StatefulSetRevisionLabel] }

// newPod is an ordinal's pod as a revision's template has it.
func newPod(set *appsv1.StatefulSet, template *corev1.PodTemplateSpec, revision string, ordinal int) *corev1.Pod {
	p := podcontrol.FromTemplate(set, kind, template)
	p.Name = podName(set, ordinal)
	identify(set, p)
	p.Labels[appsv1.StatefulSetRevisionLabel] = revision
	p.Spec.Hostname, p.Spec.Subdomain = p.Name, set.Spec.ServiceName
	store(set, p)
	return p
}
