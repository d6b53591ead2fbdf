package shape

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
)

// comparisonOperators is alpha and off in v1.37.
const comparisonOperators = false

// tolerates is upstream's rule. The numeric operators Lt and Gt follow the gate
// TaintTolerationComparisonOperators, whose default the constant copies.
func tolerates(t *corev1.Toleration, taint *corev1.Taint) bool {
	return t.ToleratesTaint(klog.Logger{}, taint, comparisonOperators)
}
