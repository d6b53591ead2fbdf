package agent

import (
	"path/filepath"
	"strings"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/agent/internal/pod"
	"kubus.dev/services/agent/internal/probe"
	"kubus.dev/services/agent/internal/report"
	"kubus.dev/services/agent/internal/static"
)

// The agent is the source.PodSink: it hands pods to their manager, and mirrors to those that they stand for.

// Update hands over a pod's newest version.
func (a *agent) Update(p *corev1.Pod) {
	if static.IsMirror(p) {
		a.static.Update(p)
		return
	}
	a.pods.Update(static.FromAPI(p))
}

// Remove says that the pod's object is gone.
func (a *agent) Remove(p *corev1.Pod) {
	if static.IsMirror(p) {
		a.static.Remove(p)
		return
	}
	a.pods.Remove(p)
}

// Synced says that every pod of the node was handed over.
func (a *agent) Synced() {
	a.pods.Synced()
	a.static.Synced()
	a.synced.Store(true)
	folders, err := a.store.Folders()
	if err != nil {
		a.log.Warn("folders of pods that are gone not looked for", zap.Error(err))
		return
	}
	a.pods.Orphans(folders)
	if strings.HasPrefix(a.cfg.LogDir, a.cfg.DataDir+string(filepath.Separator)) { // elsewhere there may be others' logs
		a.pods.OrphanLogs()
	}
	if err := a.objects.Sweep(); err != nil {
		a.log.Warn("kept objects of no pod not removed", zap.Error(err))
	}
}

// found finds pods by the uid that they have in the API.
type found struct {
	*pod.Manager
	static *static.Source
}

// Find gives a pod of the node; a static one by its mirror's uid as well.
func (f found) Find(namespace, name string, uid types.UID) *pod.Snapshot {
	return f.Manager.Find(namespace, name, f.static.UID(uid))
}

// probeEvents writes a container's Unhealthy Events.
func probeEvents(events *report.Events) probe.Events {
	return func(p *corev1.Pod, c *corev1.Container, reason, message string) {
		events.Pod(p, pod.FieldPath(p, c.Name), corev1.EventTypeWarning, reason, message)
	}
}
