// Package local asks the agents of nodes for the folders that volumes of class local are.
package local

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"

	kubus "kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/message"
)

// patience is how long a node may take to answer; removing a large volume takes longer,
// and is then asked for again.
const patience = 20 * time.Second

// ErrRefused: the node answered, and the answer is no.
var ErrRefused = errors.New("refused")

// Bus sends a request to a node's agent (bus.Conn).
type Bus interface {
	Request(ctx context.Context, subject string, data []byte) ([]byte, error)
}

// Folders are the volumes of class local, on their nodes.
type Folders struct{ Bus Bus }

// Make makes a folder, or lets it grow, and gives its path.
func (f Folders) Make(ctx context.Context, node, name string, bytes int64) (string, error) {
	answer, err := f.ask(ctx, node, &message.VolumeRequest{Name: name, Verb: message.VolumeRequest_MAKE, Bytes: bytes})
	if err != nil {
		return "", err
	}
	return answer.Path, nil
}

// Remove removes a folder with all that is in it.
func (f Folders) Remove(ctx context.Context, node, name string) error {
	_, err := f.ask(ctx, node, &message.VolumeRequest{Name: name, Verb: message.VolumeRequest_REMOVE})
	return err
}

func (f Folders) ask(ctx context.Context, node string, request *message.VolumeRequest) (*message.VolumeResponse, error) {
	data, err := proto.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("encoding a request for a volume: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	body, err := f.Bus.Request(ctx, kubus.NodeVolumeSubject(node), data)
	switch {
	case errors.Is(err, bus.ErrNoResponders):
		return nil, fmt.Errorf("node %q: its agent is not there", node)
	case err != nil:
		return nil, fmt.Errorf("node %q: its agent does not answer", node)
	}
	var answer message.VolumeResponse
	if err := proto.Unmarshal(body, &answer); err != nil {
		return nil, fmt.Errorf("node %q: its answer cannot be read: %w", node, err)
	}
	if answer.Error != "" {
		return nil, refusal(fmt.Sprintf("node %q: %s", node, answer.Error))
	}
	return &answer, nil
}

// NodeOf finds the node that a local volume is on; nil when it is not there any more.
func NodeOf(pv *corev1.PersistentVolume, nodes []*corev1.Node) *corev1.Node {
	host := hostOf(pv)
	for _, node := range nodes {
		if Host(node) == host {
			return node
		}
	}
	return nil
}

// Host is the host name label that says of a volume where it is.
func Host(node *corev1.Node) string {
	if host := node.Labels[corev1.LabelHostname]; host != "" {
		return host
	}
	return node.Name
}

// hostOf is the host name label of the node that a local volume is on; "" when its
// affinity does not name exactly one.
func hostOf(pv *corev1.PersistentVolume) string {
	affinity := pv.Spec.NodeAffinity
	if affinity == nil || affinity.Required == nil || len(affinity.Required.NodeSelectorTerms) != 1 {
		return ""
	}
	for _, r := range affinity.Required.NodeSelectorTerms[0].MatchExpressions {
		if r.Key == corev1.LabelHostname && r.Operator == corev1.NodeSelectorOpIn && len(r.Values) == 1 {
			return r.Values[0]
		}
	}
	return ""
}

// refusal is the sentence of a node that said no.
type refusal string

func (r refusal) Error() string        { return string(r) }
func (r refusal) Is(target error) bool { return target == ErrRefused }
