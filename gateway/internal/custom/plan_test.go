package custom

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// definition is one of a group, made at a second of the test's clock.
func definition(second int, group, plural, kind string, shortNames ...string) *apiextensionsv1.CustomResourceDefinition {
	crd := &apiextensionsv1.CustomResourceDefinition{}
	crd.Name, crd.CreationTimestamp = plural+"."+group, metav1.NewTime(time.Unix(int64(second), 0))
	crd.Spec.Group = group
	crd.Spec.Names = apiextensionsv1.CustomResourceDefinitionNames{Plural: plural, Singular: strings.ToLower(kind), Kind: kind, ListKind: kind + "List", ShortNames: shortNames}
	return crd
}

func noBuiltIn(string) []string { return nil }

func conditionsOf(crd *apiextensionsv1.CustomResourceDefinition) string {
	var out []string
	for _, c := range crd.Status.Conditions {
		out = append(out, fmt.Sprintf("%s=%s %s: %s", c.Type, c.Status, c.Reason, c.Message))
	}
	return strings.Join(out, "; ")
}

const accepted = "NamesAccepted=True NoConflicts: no conflicts found; Established=True InitialNamesAccepted: the initial names have been accepted"

func TestNamesBelongToWhoeverCameFirst(t *testing.T) {
	for name, c := range map[string]struct {
		crds    []*apiextensionsv1.CustomResourceDefinition
		builtIn []string
		want    []string
	}{
		"a definition alone has its names and is served": {
			crds: []*apiextensionsv1.CustomResourceDefinition{definition(1, "a.example", "cats", "Cat", "c")}, want: []string{accepted}},
		"the same names in another group are others": {
			crds: []*apiextensionsv1.CustomResourceDefinition{definition(1, "a.example", "cats", "Cat"), definition(2, "b.example", "cats", "Cat")}, want: []string{accepted, accepted}},
		"the second to ask for a kind is refused": {
			crds: []*apiextensionsv1.CustomResourceDefinition{definition(2, "a.example", "cats", "Cat"), definition(1, "a.example", "lions", "Cat")},
			want: []string{`NamesAccepted=False ListKindConflict: "CatList" is already in use; Established=False NotAccepted: not all names are accepted`, accepted}},
		"a short name may not be somebody's plural": {
			crds: []*apiextensionsv1.CustomResourceDefinition{definition(1, "a.example", "cats", "Cat"), definition(2, "a.example", "dogs", "Dog", "d", "cats")},
			want: []string{accepted, `NamesAccepted=False ShortNamesConflict: "cats" is already in use; Established=False NotAccepted: not all names are accepted`}},
		"the resources of built-in kinds are taken": {
			crds: []*apiextensionsv1.CustomResourceDefinition{definition(1, "a.example", "cats", "Cat")}, builtIn: []string{"cats"},
			want: []string{`NamesAccepted=False PluralConflict: "cats" is already in use; Established=False NotAccepted: not all names are accepted`}},
		"a group of Kubernetes' own wants an approval": {
			crds: []*apiextensionsv1.CustomResourceDefinition{definition(1, "x.k8s.io", "cats", "Cat")},
			want: []string{accepted + `; KubernetesAPIApprovalPolicyConformant=False MissingAnnotation: protected groups must have approval annotation "api-approved.kubernetes.io", see https://github.com/kubernetes/enhancements/pull/1111`}},
	} {
		t.Run(name, func(t *testing.T) {
			got := plan(c.crds, func(string) []string { return c.builtIn })
			for i, crd := range got {
				if conditionsOf(crd) != c.want[i] {
					t.Errorf("%s: got %s\nwant %s", crd.Name, conditionsOf(crd), c.want[i])
				}
			}
			// Planned again, nothing is left to do.
			for i, crd := range plan(got, func(string) []string { return c.builtIn }) {
				if crd != got[i] {
					t.Errorf("%s: planned twice, got %s", crd.Name, conditionsOf(crd))
				}
			}
		})
	}
}

func TestANameThatIsGivenBackGoesToWhoeverWaits(t *testing.T) {
	first, second := definition(1, "a.example", "cats", "Cat", "c"), definition(2, "a.example", "cows", "Cow", "c")
	both := plan([]*apiextensionsv1.CustomResourceDefinition{first, second}, noBuiltIn)
	if apihelpers.IsCRDConditionTrue(both[1], apiextensionsv1.Established) {
		t.Fatalf("got %s", conditionsOf(both[1]))
	}
	alone := plan(both[1:], noBuiltIn)
	if !apihelpers.IsCRDConditionTrue(alone[0], apiextensionsv1.Established) || len(alone[0].Status.AcceptedNames.ShortNames) != 1 {
		t.Errorf("got %s", conditionsOf(alone[0]))
	}
}

func TestAnEstablishedKindStaysWhenANewNameIsRefused(t *testing.T) {
	crds := plan([]*apiextensionsv1.CustomResourceDefinition{definition(1, "a.example", "cats", "Cat", "c"), definition(2, "a.example", "cows", "Cow")}, noBuiltIn)
	cows := crds[1].DeepCopy()
	cows.Spec.Names.ShortNames = []string{"c"}
	got := plan([]*apiextensionsv1.CustomResourceDefinition{crds[0], cows}, noBuiltIn)[1]
	if !apihelpers.IsCRDConditionTrue(got, apiextensionsv1.Established) || apihelpers.IsCRDConditionTrue(got, apiextensionsv1.NamesAccepted) || len(got.Status.AcceptedNames.ShortNames) != 0 {
		t.Errorf("got %s with %v", conditionsOf(got), got.Status.AcceptedNames)
	}
}
