package resourcequota

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	resourcehelper "k8s.io/component-helpers/resource"

	"kubus.dev/services/controllers/internal/pod"
)

// Names under which mere numbers of objects are limited.
const (
	countPods     corev1.ResourceName = "count/pods"
	countServices corev1.ResourceName = "count/services"
	countClaims   corev1.ResourceName = "count/persistentvolumeclaims"
)

// ofStorageClass stands between a StorageClass and what is limited of it.
const ofStorageClass = ".storageclass.storage.k8s.io/"

var (
	podNames = []corev1.ResourceName{
		countPods, corev1.ResourcePods,
		corev1.ResourceCPU, corev1.ResourceRequestsCPU, corev1.ResourceLimitsCPU,
		corev1.ResourceMemory, corev1.ResourceRequestsMemory, corev1.ResourceLimitsMemory,
		corev1.ResourceEphemeralStorage, corev1.ResourceRequestsEphemeralStorage, corev1.ResourceLimitsEphemeralStorage,
	}
	serviceNames = []corev1.ResourceName{countServices, corev1.ResourceServices, corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers}
	claimNames   = []corev1.ResourceName{corev1.ResourcePersistentVolumeClaims, corev1.ResourceRequestsStorage}
)

func one() resource.Quantity         { return number(1) }
func number(n int) resource.Quantity { return *resource.NewQuantity(int64(n), resource.DecimalSI) }

func ofPods(name corev1.ResourceName) bool {
	return slices.Contains(podNames, name) || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) ||
		strings.HasPrefix(string(name), corev1.ResourceRequestsHugePagesPrefix) || extendedRequest(name)
}

func limitsPods(names []corev1.ResourceName) bool { return slices.ContainsFunc(names, ofPods) }

// extendedRequest is true of names such as requests.example.com/gpu.
func extendedRequest(name corev1.ResourceName) bool {
	rest, ok := strings.CutPrefix(string(name), corev1.DefaultResourceRequestsPrefix)
	return ok && (!native(name) || strings.HasPrefix(rest, resourcev1.ResourceDeviceClassPrefix))
}

// native resources are Kubernetes' own.
func native(name corev1.ResourceName) bool {
	return !strings.Contains(string(name), "/") || strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix)
}

// extended is true of the resources that pods may ask for beside the native ones.
func extended(name corev1.ResourceName) bool {
	if strings.HasPrefix(string(name), resourcev1.ResourceDeviceClassPrefix) {
		return true
	}
	return !native(name) && !strings.HasPrefix(string(name), corev1.DefaultResourceRequestsPrefix) &&
		len(validation.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+string(name))) == 0
}

// podUse is what a pod is charged: itself always, all else while it may run.
func podUse(p *corev1.Pod, now time.Time) corev1.ResourceList {
	use := corev1.ResourceList{countPods: one()}
	if !charged(p, now) {
		return use
	}
	use[corev1.ResourcePods] = one()
	options := resourcehelper.PodResourcesOptions{UseStatusResources: true}
	for name, amount := range resourcehelper.PodRequests(p, options) {
		switch {
		case name == corev1.ResourceCPU, name == corev1.ResourceMemory, name == corev1.ResourceEphemeralStorage,
			strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix):
			use[name], use[corev1.DefaultResourceRequestsPrefix+name] = amount, amount
		case extended(name):
			use[corev1.DefaultResourceRequestsPrefix+name] = amount
		}
	}
	for name, amount := range resourcehelper.PodLimits(p, options) {
		switch name {
		case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
			use["limits."+name] = amount
		}
	}
	return use
}

// charged is false of pods that have ended, and of those whose grace period is over:
// one that nobody can stop, its node being lost, shall not keep others out.
func charged(p *corev1.Pod, now time.Time) bool {
	if pod.Terminal(p) {
		return false
	}
	end, deleted := graceEnd(p)
	return !deleted || !now.After(end)
}

func graceEnd(p *corev1.Pod) (time.Time, bool) {
	if p.DeletionTimestamp == nil || p.DeletionGracePeriodSeconds == nil {
		return time.Time{}, false
	}
	return p.DeletionTimestamp.Add(time.Duration(*p.DeletionGracePeriodSeconds) * time.Second), true
}

// firstOverdue is how long until the first of the pods is charged no more, zero for never.
func firstOverdue(pods []*corev1.Pod, now time.Time) (wait time.Duration) {
	for _, p := range pods {
		if end, deleted := graceEnd(p); deleted && charged(p, now) {
			if left := end.Sub(now) + time.Millisecond; wait == 0 || left < wait {
				wait = left
			}
		}
	}
	return wait
}

func ofServices(name corev1.ResourceName) bool { return slices.Contains(serviceNames, name) }

// serviceUse counts node ports by what the Service asks for: they may not be given yet.
func serviceUse(s *corev1.Service) corev1.ResourceList {
	use := corev1.ResourceList{countServices: one(), corev1.ResourceServices: one()}
	switch s.Spec.Type {
	case corev1.ServiceTypeNodePort:
		use[corev1.ResourceServicesNodePorts] = number(len(s.Spec.Ports))
	case corev1.ServiceTypeLoadBalancer:
		ports := len(s.Spec.Ports)
		if allocate := s.Spec.AllocateLoadBalancerNodePorts; allocate != nil && !*allocate {
			ports = 0
			for i := range s.Spec.Ports {
				if s.Spec.Ports[i].NodePort != 0 {
					ports++
				}
			}
		}
		use[corev1.ResourceServicesNodePorts], use[corev1.ResourceServicesLoadBalancers] = number(ports), one()
	}
	return use
}

func ofClaims(name corev1.ResourceName) bool {
	return name == countClaims || slices.ContainsFunc(claimNames, func(of corev1.ResourceName) bool {
		return name == of || strings.HasSuffix(string(name), ofStorageClass+string(of))
	})
}

// claimUse counts the storage asked for, or allocated where that is more: a volume
// that grows, or that failed to and is asked to be smaller again.
func claimUse(c *corev1.PersistentVolumeClaim) corev1.ResourceList {
	use := corev1.ResourceList{countClaims: one(), corev1.ResourcePersistentVolumeClaims: one()}
	if asked, ok := c.Spec.Resources.Requests[corev1.ResourceStorage]; ok {
		asked = wholeBytes(asked)
		if allocated, ok := c.Status.AllocatedResources[corev1.ResourceStorage]; ok && allocated.Cmp(asked) > 0 {
			asked = wholeBytes(allocated)
		}
		use[corev1.ResourceRequestsStorage] = asked
	}
	if class := storageClass(c); class != "" {
		for _, name := range claimNames {
			if amount, ok := use[name]; ok {
				use[corev1.ResourceName(class+ofStorageClass)+name] = amount
			}
		}
	}
	return use
}

func wholeBytes(q resource.Quantity) resource.Quantity {
	q = q.DeepCopy()
	q.RoundUp(0)
	return q
}

func storageClass(c *corev1.PersistentVolumeClaim) string {
	if class, ok := c.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		return class
	}
	if c.Spec.StorageClassName != nil {
		return *c.Spec.StorageClassName
	}
	return ""
}
