package api

import (
	"encoding/json"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/volume"
	"kubus.dev/services/scheduler/internal/planner"
	"kubus.dev/services/scheduler/internal/shape"
)

// claimRequest writes what was chosen for a claim: into the volume that is to serve it,
// or into the claim the node where one is to be made. It holds for the version that was
// looked at only.
func claimRequest(b shape.Binding, node string) (apiclient.Request, error) {
	path := "/api/v1/namespaces/" + b.Claim.Namespace + "/persistentvolumeclaims/" + b.Claim.Name
	patch := map[string]any{"metadata": condition(b.Claim, map[string]string{volume.SelectedNode: node})}
	if pv := b.Volume; pv != nil {
		bound, _ := volume.Referring(pv, b.Claim)
		path = "/api/v1/persistentvolumes/" + pv.Name
		patch = map[string]any{
			"metadata": condition(pv, bound.Annotations),
			"spec":     map[string]any{"claimRef": bound.Spec.ClaimRef},
		}
	}
	body, err := json.Marshal(patch)
	if err != nil {
		return apiclient.Request{}, fmt.Errorf("encoding what a claim gets: %w", err)
	}
	return apiclient.Request{Method: http.MethodPatch, Path: path, Body: body, ContentType: apiclient.MergePatch}, nil
}

// condition is the metadata of a patch that holds for this very version of an object.
func condition(object metav1.Object, annotations map[string]string) map[string]any {
	return map[string]any{"uid": object.GetUID(), "resourceVersion": object.GetResourceVersion(), "annotations": annotations}
}

// prepared reads the answers to what was written for one pod's claims. Where one was
// refused, others may be written: they are found in the log, and the pod is decided anew.
func prepared(results []apiclient.Result) planner.Verdict {
	verdict := planner.Verdict{Outcome: planner.Prepared}
	for _, r := range results {
		switch err := r.Err; {
		case err == nil:
		case apierrors.IsConflict(err), apierrors.IsNotFound(err), apierrors.IsForbidden(err), apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsUnauthorized(err):
			return planner.Verdict{Outcome: planner.Refused, Error: "binding volumes: " + err.Error()}
		default:
			verdict = planner.Verdict{Outcome: planner.Unknown}
		}
	}
	return verdict
}
