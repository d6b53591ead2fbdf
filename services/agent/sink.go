package agent

import (
	"path/filepath"
	"strings"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/agent/internal/pod"
	"kubus.dev/services/agent/internal/probe"
	"kubus.dev/services/agent/internal/report"
)

// The agent is the source.PodSink: it hands pods to their manager.

// Update hands over a pod's newest version.
func (a *agent) Update(p *corev1.Pod) { a.pods.Update(p) }

// Remove says that the pod's object is gone.
func (a *agent) Remove(p *corev1.Pod) { a.pods.Remove(p) }

// Synced says that every pod of the node was handed over.
func (a *agent) Synced() {
	a.pods.Synced()
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

// probeEvents writes a container's Unhealthy Events.
func probeEvents(events *report.Events) probe.Events {
	return func(p *corev1.Pod, c *corev1.Container, reason, message string) {
		events.Pod(p, pod.FieldPath(p, c.Name), corev1.EventTypeWarning, reason, message)
	}
}
