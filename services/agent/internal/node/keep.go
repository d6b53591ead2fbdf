package node

import (
	"encoding/json"
	"os"
	"path/filepath"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/kit/file"
)

// The node's last object stays on disk, with its pod CIDR and labels: the next run
// of the agent goes on from it, also when the cluster is away.

func (r *Reporter) file() string { return filepath.Join(r.dataDir, "agent", "node.json") }

func (r *Reporter) load() *corev1.Node {
	data, err := os.ReadFile(r.file())
	if err != nil {
		return nil
	}
	n := &corev1.Node{}
	if json.Unmarshal(data, n) != nil || n.Name != r.settings.Name {
		return nil
	}
	return n
}

func (r *Reporter) keep(n *corev1.Node) {
	n = n.DeepCopy()
	r.mu.Lock()
	n.Spec.PodCIDR = r.cidr
	if r.labels != nil {
		n.Labels = r.labels
	}
	r.mu.Unlock()
	data, err := json.Marshal(n)
	if err == nil {
		err = file.Replace(r.file(), data, 0o600)
	}
	if err != nil {
		r.log.Warn("node not kept on disk", zap.Error(err))
	}
}
