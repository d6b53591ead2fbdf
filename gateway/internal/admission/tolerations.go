package admission

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/admission"
	api "k8s.io/kubernetes/pkg/apis/core"
)

// tolerationSeconds is upstream's default for both taints.
const tolerationSeconds = int64(300)

// tolerations is DefaultTolerationSeconds: a pod stays five minutes on a node that
// is not ready or unreachable, unless it says otherwise.
type tolerations struct{}

func (tolerations) Handles(op admission.Operation) bool {
	return op == admission.Create || op == admission.Update
}

func (tolerations) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod := podOf(a)
	if pod == nil {
		return nil
	}
	for _, taint := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		if tolerates(pod.Spec.Tolerations, taint) {
			continue
		}
		seconds := tolerationSeconds
		pod.Spec.Tolerations = append(pod.Spec.Tolerations, api.Toleration{
			Key: taint, Operator: api.TolerationOpExists, Effect: api.TaintEffectNoExecute, TolerationSeconds: &seconds,
		})
	}
	return nil
}

func tolerates(all []api.Toleration, taint string) bool {
	for _, t := range all {
		if (t.Key == taint || t.Key == "") && (t.Effect == api.TaintEffectNoExecute || t.Effect == "") {
			return true
		}
	}
	return false
}
