package static

import (
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// setDefaults fills in what the API fills in, since no API has seen the pod
// (pkg/apis/core/v1/defaults.go).
func setDefaults(s *corev1.PodSpec) {
	def(&s.EnableServiceLinks, true)
	def(&s.TerminationGracePeriodSeconds, corev1.DefaultTerminationGracePeriodSeconds)
	set(&s.RestartPolicy, corev1.RestartPolicyAlways)
	set(&s.DNSPolicy, corev1.DNSClusterFirst)
	set(&s.SchedulerName, corev1.DefaultSchedulerName)
	if s.SecurityContext == nil {
		s.SecurityContext = &corev1.PodSecurityContext{}
	}
	for _, list := range [][]corev1.Container{s.InitContainers, s.Containers} {
		for i := range list {
			setContainer(&list[i], s.HostNetwork)
		}
	}
	for i := range s.Volumes {
		setVolume(&s.Volumes[i])
	}
}

func setContainer(c *corev1.Container, hostNetwork bool) {
	set(&c.ImagePullPolicy, pullPolicy(c.Image))
	set(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	set(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	for i := range c.Ports {
		set(&c.Ports[i].Protocol, corev1.ProtocolTCP)
		if hostNetwork {
			set(&c.Ports[i].HostPort, c.Ports[i].ContainerPort)
		}
	}
	for i := range c.Env {
		if from := c.Env[i].ValueFrom; from != nil {
			setField(from.FieldRef)
		}
	}
	if len(c.Resources.Limits) > 0 {
		requests := maps.Clone(c.Resources.Limits)
		maps.Copy(requests, c.Resources.Requests)
		c.Resources.Requests = requests
	}
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		if p != nil {
			set(&p.TimeoutSeconds, 1)
			set(&p.PeriodSeconds, 10)
			set(&p.SuccessThreshold, 1)
			set(&p.FailureThreshold, 3)
			setGet(p.HTTPGet)
			if p.GRPC != nil {
				def(&p.GRPC.Service, "")
			}
		}
	}
	if c.Lifecycle != nil {
		for _, h := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
			if h != nil {
				setGet(h.HTTPGet)
			}
		}
	}
}

func setGet(get *corev1.HTTPGetAction) {
	if get != nil {
		set(&get.Path, "/")
		set(&get.Scheme, corev1.URISchemeHTTP)
	}
}

func setField(f *corev1.ObjectFieldSelector) {
	if f != nil {
		set(&f.APIVersion, "v1")
	}
}

func setVolume(v *corev1.Volume) {
	const mode = int32(0o644)
	switch {
	case v.VolumeSource == corev1.VolumeSource{}:
		v.EmptyDir = &corev1.EmptyDirVolumeSource{}
	case v.HostPath != nil:
		def(&v.HostPath.Type, corev1.HostPathUnset)
	case v.Image != nil:
		set(&v.Image.PullPolicy, pullPolicy(v.Image.Reference))
	case v.DownwardAPI != nil:
		def(&v.DownwardAPI.DefaultMode, mode)
		setItems(v.DownwardAPI.Items)
	case v.Projected != nil:
		def(&v.Projected.DefaultMode, mode)
		for _, s := range v.Projected.Sources {
			setItems(s.DownwardAPI.Items)
		}
	}
}

func setItems(items []corev1.DownwardAPIVolumeFile) {
	for i := range items {
		setField(items[i].FieldRef)
	}
}

// pullPolicy is Always for an image without a tag, or with the tag latest.
func pullPolicy(image string) corev1.PullPolicy {
	name, _, digest := strings.Cut(image, "@")
	_, tag, tagged := strings.Cut(name[strings.LastIndex(name, "/")+1:], ":")
	if !digest && (!tagged || tag == "latest") {
		return corev1.PullAlways
	}
	return corev1.PullIfNotPresent
}

// set gives a field its default, unless it has a value.
func set[T comparable](field *T, value T) {
	var none T
	if *field == none {
		*field = value
	}
}

// def does so with a field that may be absent.
func def[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}
