package bootstrap

import (
	"testing"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	flowbootstrap "k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
	"k8s.io/kubernetes/pkg/apis/flowcontrol"
)

func TestFlowControlIsKeptAsItsAnnotationSays(t *testing.T) {
	t.Parallel()
	mandatory, suggested := runtime.Object(flowbootstrap.MandatoryFlowSchemaCatchAll), runtime.Object(flowbootstrap.SuggestedFlowSchemaProbes)
	right := func(want runtime.Object) flowcontrol.FlowSchemaSpec {
		var target flowcontrol.FlowSchema
		if err := defaulted(want, &target); err != nil {
			t.Fatal(err)
		}
		return target.Spec
	}
	const key = flowcontrolv1.AutoUpdateAnnotationKey
	for _, c := range []struct {
		name       string
		want       runtime.Object
		annotation string // "": none
		generation int64
		wrong      bool // the live spec is another
		changed    bool
		spec       bool   // the wanted spec is in place afterwards
		after      string // the annotation afterwards
	}{
		{"what is right stays", suggested, "true", 1, false, false, true, "true"},
		{"a suggested spec is kept up to date", suggested, "true", 3, true, true, true, "true"},
		{"unless people took it over", suggested, "false", 3, true, false, false, "false"},
		{"an annotation is added to what nobody changed", suggested, "", 1, true, true, true, "true"},
		{"what people changed becomes theirs", suggested, "", 2, true, true, false, "false"},
		{"a mandatory one is never theirs", mandatory, "false", 2, true, true, true, "true"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			live := &flowcontrol.FlowSchema{ObjectMeta: metav1.ObjectMeta{Name: c.want.(*flowcontrolv1.FlowSchema).Name, Generation: c.generation}, Spec: right(c.want)}
			if c.annotation != "" {
				live.Annotations = map[string]string{key: c.annotation}
			}
			if c.wrong {
				live.Spec.MatchingPrecedence = 4321
			}
			fixed, changed, err := corrected(live, c.want)
			if err != nil {
				t.Fatal(err)
			}
			got := fixed.(*flowcontrol.FlowSchema)
			if changed != c.changed || (got.Spec.MatchingPrecedence != 4321) != c.spec || got.Annotations[key] != c.after {
				t.Errorf("got changed %v, precedence %d, %v", changed, got.Spec.MatchingPrecedence, got.Annotations)
			}
		})
	}
}

func TestTheSharesOfTheExemptLevelArePeoples(t *testing.T) {
	t.Parallel()
	shares := int32(9)
	live := &flowcontrol.PriorityLevelConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "exempt", Annotations: map[string]string{flowcontrolv1.AutoUpdateAnnotationKey: "true"}},
		Spec: flowcontrol.PriorityLevelConfigurationSpec{Type: flowcontrol.PriorityLevelEnablementExempt,
			Exempt: &flowcontrol.ExemptPriorityLevelConfiguration{NominalConcurrencyShares: &shares}}}
	if fixed, changed, err := corrected(live, flowbootstrap.MandatoryPriorityLevelConfigurationExempt); err != nil || changed {
		t.Errorf("got %v, %v, %+v", err, changed, fixed)
	}
}
