package custom

import (
	"fmt"
	"reflect"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/sets"
)

// taken are the names that one group has given away.
type taken struct{ resources, kinds sets.Set[string] }

func newTaken(builtIn []string) taken {
	return taken{resources: sets.New(builtIn...), kinds: sets.New[string]()}
}

func (t taken) add(names apiextensionsv1.CustomResourceDefinitionNames) {
	t.resources.Insert(names.Plural, names.Singular)
	t.resources.Insert(names.ShortNames...)
	t.kinds.Insert(names.Kind, names.ListKind)
}

// accept decides on the names that a definition asks for: each is its own already,
// or free, or refused. What is refused keeps the name accepted before. The condition
// says the last refusal, as upstream's naming controller does.
func (t taken) accept(crd *apiextensionsv1.CustomResourceDefinition) (apiextensionsv1.CustomResourceDefinitionNames, apiextensionsv1.CustomResourceDefinitionCondition) {
	asked, have := crd.Spec.Names, crd.Status.AcceptedNames
	out := have
	condition := apiextensionsv1.CustomResourceDefinitionCondition{
		Type: apiextensionsv1.NamesAccepted, Status: apiextensionsv1.ConditionTrue, Reason: "NoConflicts", Message: "no conflicts found",
	}
	refuse := func(reason string, err error) {
		condition.Status, condition.Reason, condition.Message = apiextensionsv1.ConditionFalse, reason, err.Error()
	}
	settle := func(asked, have string, in sets.Set[string], out *string, reason string) {
		if err := free(asked, have, in); err != nil {
			refuse(reason, err)
			return
		}
		*out = asked
	}
	settle(asked.Plural, have.Plural, t.resources, &out.Plural, "PluralConflict")
	settle(asked.Singular, have.Singular, t.resources, &out.Singular, "SingularConflict")
	if !reflect.DeepEqual(asked.ShortNames, have.ShortNames) {
		if err := t.shortNames(asked.ShortNames, have.ShortNames); err != nil {
			refuse("ShortNamesConflict", err)
		} else {
			out.ShortNames = asked.ShortNames
		}
	}
	settle(asked.Kind, have.Kind, t.kinds, &out.Kind, "KindConflict")
	settle(asked.ListKind, have.ListKind, t.kinds, &out.ListKind, "ListKindConflict")
	out.Categories = asked.Categories
	return out, condition
}

func (t taken) shortNames(asked, have []string) error {
	mine := sets.New(have...)
	var errs []error
	for _, name := range asked {
		if mine.Has(name) {
			continue
		}
		if err := free(name, "", t.resources); err != nil {
			errs = append(errs, err)
		}
	}
	return utilerrors.NewAggregate(errs)
}

func free(asked, have string, in sets.Set[string]) error {
	if asked != have && in.Has(asked) {
		return fmt.Errorf("%q is already in use", asked)
	}
	return nil
}

// holds says that a definition has all the names it asks for.
func holds(crd *apiextensionsv1.CustomResourceDefinition) bool {
	return apihelpers.IsCRDConditionTrue(crd, apiextensionsv1.NamesAccepted)
}
