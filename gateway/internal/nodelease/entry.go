package nodelease

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/google/uuid"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// Duration is how long a node may be silent, in seconds: kubelet's default.
const Duration = 40

// entry is the Lease that a kubelet would keep for the node. Its uid and
// creationTimestamp follow from the node's, so that all gateways and all times say
// the same. Nil for a node whose metadata cannot be read.
func entry(node *statelog.Entry, renewed time.Time, revision uint64) *statelog.Entry {
	offset, _ := node.Splice()
	if offset <= 0 {
		return nil
	}
	var meta struct {
		UID               types.UID   `json:"uid"`
		CreationTimestamp metav1.Time `json:"creationTimestamp"`
	}
	// The metadata object begins one byte before the splice point.
	if err := json.NewDecoder(bytes.NewReader(node.Data()[offset-1:])).Decode(&meta); err != nil {
		return nil
	}
	name := node.Key().Name
	data, err := json.Marshal(&coordinationv1.Lease{
		TypeMeta: metav1.TypeMeta{Kind: "Lease", APIVersion: coordinationv1.SchemeGroupVersion.String()},
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: corev1.NamespaceNodeLease, CreationTimestamp: meta.CreationTimestamp,
			UID:             types.UID(uuid.NewSHA1(uuid.NameSpaceOID, []byte("node lease "+meta.UID)).String()),
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: name, UID: meta.UID}},
		},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: &name, LeaseDurationSeconds: ptr.To[int32](Duration), RenewTime: &metav1.MicroTime{Time: renewed},
		},
	})
	if err != nil {
		return nil
	}
	key := proto.Key{GroupResource: proto.Leases, Namespace: corev1.NamespaceNodeLease, Name: name}
	return statelog.NewEntry(key, revision, data, false)
}
