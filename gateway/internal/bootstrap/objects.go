package bootstrap

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	scheduling "k8s.io/kubernetes/pkg/apis/scheduling/v1"

	"kubus.dev/gateway/internal/aggregate"
	"kubus.dev/gateway/internal/discovery"
	"kubus.dev/gateway/internal/resource"
	"kubus.dev/proto/volume"
)

// trackingConfigMap says since when uses of legacy tokens are noted, under trackingSince.
const (
	trackingConfigMap = "kube-apiserver-legacy-service-account-token-tracking"
	trackingSince     = "since"
)

func typed(kind string, gv schema.GroupVersion) metav1.TypeMeta {
	return metav1.TypeMeta{Kind: kind, APIVersion: gv.String()}
}

func namespaces() []runtime.Object {
	var out []runtime.Object
	for _, name := range []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease} {
		out = append(out, &corev1.Namespace{TypeMeta: typed("Namespace", corev1.SchemeGroupVersion), ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	return out
}

// registrations are the APIServices of the group versions that every gateway serves.
// As upstream, the group of APIServices has none.
func registrations() []runtime.Object {
	var out []runtime.Object
	for _, gv := range discovery.Versions(resource.NewRegistry(resource.BuiltIn()).Load()) {
		if gv.Group != "apiregistration.k8s.io" {
			s := aggregate.Registration(gv, resource.PriorityOf(gv))
			s.Labels = map[string]string{"kube-aggregator.kubernetes.io/automanaged": "onstart"}
			out = append(out, s)
		}
	}
	return out
}

func priorities() []runtime.Object {
	var out []runtime.Object
	for _, class := range scheduling.SystemPriorityClasses() {
		class.TypeMeta = typed("PriorityClass", schedulingv1.SchemeGroupVersion)
		out = append(out, class)
	}
	return out
}

// storageClasses is the class of folders on nodes, the default one of a new cluster. Who
// wants another as the default takes away its annotation, which stays so; a class that is
// deleted is made again when the next gateway starts.
func storageClasses() []runtime.Object {
	wait, remove, grow := storagev1.VolumeBindingWaitForFirstConsumer, corev1.PersistentVolumeReclaimDelete, true
	return []runtime.Object{&storagev1.StorageClass{
		TypeMeta: typed("StorageClass", storagev1.SchemeGroupVersion),
		ObjectMeta: metav1.ObjectMeta{Name: volume.LocalClass,
			Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}},
		Provisioner: volume.LocalProvisioner, VolumeBindingMode: &wait, ReclaimPolicy: &remove, AllowVolumeExpansion: &grow,
	}}
}

// authentication is what extension API servers trust clients by.
func (b *boot) authentication() []runtime.Object {
	if len(b.o.Authentication) == 0 {
		return nil
	}
	return []runtime.Object{&corev1.ConfigMap{
		TypeMeta:   typed("ConfigMap", corev1.SchemeGroupVersion),
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "extension-apiserver-authentication"},
		Data:       b.o.Authentication,
	}}
}

// tracking says since when uses of token Secrets are noted on them, by which the
// controllers go that remove those nobody uses.
func tracking(now time.Time) []runtime.Object {
	return []runtime.Object{&corev1.ConfigMap{
		TypeMeta:   typed("ConfigMap", corev1.SchemeGroupVersion),
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: trackingConfigMap},
		Data:       map[string]string{trackingSince: now.UTC().Format(time.DateOnly)},
	}}
}

// APIService says how workloads reach the API. Without an Address there is no
// endpoint; without a ClusterIP there is no Service either.
type APIService struct {
	ClusterIP string
	Address   string // IPv4 address of the gateways
	Port      int32
}

const (
	apiName     = "kubernetes"
	httpsPort   = int32(443)
	httpsName   = "https"
	providerKey = "provider"
)

func (s APIService) objects() []runtime.Object {
	if s.ClusterIP == "" {
		return nil
	}
	labels := map[string]string{"component": "apiserver", providerKey: apiName}
	at := metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: apiName, Labels: labels}
	single := corev1.IPFamilyPolicySingleStack
	out := []runtime.Object{&corev1.Service{
		TypeMeta: typed("Service", corev1.SchemeGroupVersion), ObjectMeta: at,
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: s.ClusterIP, ClusterIPs: []string{s.ClusterIP},
			IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}, IPFamilyPolicy: &single, SessionAffinity: corev1.ServiceAffinityNone,
			Ports: []corev1.ServicePort{{Name: httpsName, Protocol: corev1.ProtocolTCP, Port: httpsPort, TargetPort: intstr.FromInt32(s.Port)}},
		},
	}}
	if s.Address == "" {
		return out
	}
	return append(out, s.endpoints(), s.slice())
}

func (s APIService) endpoints() *corev1.Endpoints { //nolint:staticcheck // still what clients read
	return &corev1.Endpoints{ //nolint:staticcheck // still what clients read
		TypeMeta: typed("Endpoints", corev1.SchemeGroupVersion),
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: apiName,
			Labels: map[string]string{discoveryv1.LabelSkipMirror: "true"}},
		Subsets: []corev1.EndpointSubset{{ //nolint:staticcheck // still what clients read
			Addresses: []corev1.EndpointAddress{{IP: s.Address}}, //nolint:staticcheck // still what clients read
			Ports:     []corev1.EndpointPort{{Name: httpsName, Port: s.Port, Protocol: corev1.ProtocolTCP}},
		}},
	}
}

func (s APIService) slice() *discoveryv1.EndpointSlice {
	name, port, tcp, ready := httpsName, s.Port, corev1.ProtocolTCP, true
	return &discoveryv1.EndpointSlice{
		TypeMeta: typed("EndpointSlice", discoveryv1.SchemeGroupVersion),
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: apiName,
			Labels: map[string]string{discoveryv1.LabelServiceName: apiName}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{s.Address}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &tcp}},
	}
}
