package source

import (
	"context"
	"net/url"

	corev1 "k8s.io/api/core/v1"

	"kubus.dev/proto/apiclient"
)

// PodSink is told of the node's pods, one call at a time.
type PodSink interface {
	// Update gives a pod's newest version. It is the receiver's to keep, not to change.
	Update(pod *corev1.Pod)
	// Remove says that the object is gone from the API.
	Remove(pod *corev1.Pod)
	// Synced says that every pod of the node has been given once.
	Synced()
}

// FollowPods watches the pods that are bound to the node until ctx ends.
func FollowPods(ctx context.Context, api *apiclient.Client, node string, sink PodSink) error {
	query := url.Values{"fieldSelector": {"spec.nodeName=" + node}}
	return apiclient.ListWatch(ctx, api, "/api/v1/pods", query, func(old, new *corev1.Pod) {
		if old != nil && (new == nil || new.UID != old.UID) {
			sink.Remove(old)
		}
		if new != nil {
			new.ManagedFields = nil
			sink.Update(new)
		}
	}, sink.Synced)
}
