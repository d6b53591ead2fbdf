package service

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/registry/core/service/ipallocator"
	netutils "k8s.io/utils/net"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

var (
	services     = proto.GroupResource{Resource: "services"}
	addresses    = proto.GroupResource{Group: "networking.k8s.io", Resource: "ipaddresses"}
	serviceCIDRs = proto.GroupResource{Group: "networking.k8s.io", Resource: "servicecidrs"}
	// ports are the claims of node ports. No API serves them; a group without a dot
	// cannot be that of a custom resource.
	ports = proto.GroupResource{Group: "kubus", Resource: "nodeports"}
)

// Addresses is the collection of IPAddresses, whose deletion is RemoveAddress.
var Addresses = addresses

func addressKey(ip netip.Addr) proto.Key {
	return proto.Key{GroupResource: addresses, Name: ip.Unmap().String()}
}

func portKey(port int32) proto.Key {
	return proto.Key{GroupResource: ports, Name: strconv.Itoa(int(port))}
}

func serviceKey(namespace, name string) proto.Key {
	return proto.Key{GroupResource: services, Namespace: namespace, Name: name}
}

// portClaim is the record of a node port, in the form of an IPAddress.
type portClaim struct {
	Kind     string                     `json:"kind"`
	Metadata metav1.ObjectMeta          `json:"metadata"`
	Spec     networkingv1.IPAddressSpec `json:"spec"`
}

// claim is a record in the log: what is claimed, and the record's own id.
type claim struct {
	key proto.Key
	uid types.UID
}

func newClaim(key proto.Key) claim { return claim{key, uuid.NewUUID()} }

// write makes the record for a Service.
func (c claim) write(parent proto.Key) (statelog.Write, error) {
	data, err := c.document(parent)
	if err != nil {
		return statelog.Write{}, fmt.Errorf("claiming %s: %w", c.key, err)
	}
	return statelog.Write{Key: c.key, Data: data}, nil
}

func (c claim) document(parent proto.Key) ([]byte, error) {
	key := c.key
	meta := metav1.ObjectMeta{Name: key.Name, UID: c.uid, CreationTimestamp: metav1.Now()}
	spec := networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Resource: services.Resource, Namespace: parent.Namespace, Name: parent.Name}}
	if key.GroupResource == ports {
		return json.Marshal(portClaim{Kind: "NodePort", Metadata: meta, Spec: spec})
	}
	family := corev1.IPv4Protocol
	if netutils.IsIPv6String(key.Name) {
		family = corev1.IPv6Protocol
	}
	meta.Labels = map[string]string{networkingv1.LabelIPAddressFamily: string(family), networkingv1.LabelManagedBy: ipallocator.ControllerName}
	return json.Marshal(networkingv1.IPAddress{
		TypeMeta: metav1.TypeMeta{Kind: "IPAddress", APIVersion: "networking.k8s.io/v1"}, ObjectMeta: meta, Spec: spec,
	})
}

// parentOf gives the Service that a claim is for; false when it is for something
// else. ours says that no user made it.
func parentOf(e *statelog.Entry) (parent proto.Key, ours, ok bool) {
	c, err := statelog.Decode[networkingv1.IPAddress](e)
	if err != nil || c.Spec.ParentRef == nil || c.Spec.ParentRef.Group != "" || c.Spec.ParentRef.Resource != services.Resource {
		return proto.Key{}, false, false
	}
	ours = e.Key().GroupResource == ports || c.Labels[networkingv1.LabelManagedBy] == ipallocator.ControllerName
	return serviceKey(c.Spec.ParentRef.Namespace, c.Spec.ParentRef.Name), ours, true
}

// held lists what a Service holds, each once.
func held(svc *core.Service) []proto.Key {
	var out []proto.Key
	seen := map[proto.Key]bool{}
	add := func(k proto.Key) {
		if !seen[k] {
			seen[k] = true
			out = append(out, k)
		}
	}
	if svc.Spec.Type != core.ServiceTypeExternalName {
		for _, text := range svc.Spec.ClusterIPs {
			if ip, ok := netip.AddrFromSlice(netutils.ParseIPSloppy(text)); ok {
				add(addressKey(ip))
			}
		}
	}
	for i := range svc.Spec.Ports {
		if port := svc.Spec.Ports[i].NodePort; port != 0 {
			add(portKey(port))
		}
	}
	if port := svc.Spec.HealthCheckNodePort; port != 0 {
		add(portKey(port))
	}
	return out
}

// heldBy is held of a version in the log.
func heldBy(e *statelog.Entry) []proto.Key {
	svc, err := statelog.Decode[corev1.Service](e)
	if err != nil {
		return nil
	}
	spec := core.ServiceSpec{Type: core.ServiceType(svc.Spec.Type), ClusterIPs: svc.Spec.ClusterIPs, HealthCheckNodePort: svc.Spec.HealthCheckNodePort}
	for i := range svc.Spec.Ports {
		spec.Ports = append(spec.Ports, core.ServicePort{NodePort: svc.Spec.Ports[i].NodePort})
	}
	return held(&core.Service{Spec: spec})
}

// holders indexes Services by the names of what they hold: addresses and ports
// cannot be mistaken for each other.
const holders = "holds"

func holderNames(e *statelog.Entry) []string {
	keys := heldBy(e)
	out := make([]string, len(keys))
	for i, k := range keys {
		out[i] = k.Name
	}
	return out
}

// refused says that a write failed and will not happen later either: the log or
// the API said no. Anything else may still arrive.
func refused(err error) bool {
	var conflict *statelog.ConflictError
	var quota *statelog.QuotaError
	var status apierrors.APIStatus
	switch {
	case errors.As(err, &conflict), errors.As(err, &quota), errors.Is(err, statelog.ErrAborted), errors.Is(err, statelog.ErrFenced), errors.Is(err, statelog.ErrTooLarge):
		return true
	case errors.As(err, &status):
		return status.Status().Code < 500
	}
	return false
}

func wrongType(objs ...any) error {
	return apierrors.NewInternalError(fmt.Errorf("a hook of Services was given %T", objs))
}
