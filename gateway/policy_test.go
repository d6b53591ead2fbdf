package gateway

import (
	"fmt"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/proto/apiclient"
)

// soon repeats what is asked until it is right. Policies are compiled once a second,
// as upstream does it.
func soon(t *testing.T, ask func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

const onConfigMaps = `"matchConstraints":{"namespaceSelector":{"matchLabels":{"policed":"yes"}},"resourceRules":[{"apiGroups":[""],"apiVersions":["v1"],"operations":["CREATE","UPDATE"],"resources":["configmaps"]}]}`

func TestValidatingAdmissionPolicies(t *testing.T) {
	g := start(t)
	path, free := newNamespace(t, g, "policed", "policed", "yes")+"/configmaps", newNamespace(t, g, "free")+"/configmaps"
	must[corev1.ConfigMap](t, g, "POST", path, `{"metadata":{"name":"params","labels":{"exempt":"yes"}},"data":{"most":"3"}}`)
	must[map[string]any](t, g, "POST", registrations+"validatingadmissionpolicies", `{"metadata":{"name":"few"},"spec":{`+onConfigMaps+`,
		"paramKind":{"apiVersion":"v1","kind":"ConfigMap"},
		"matchConditions":[{"name":"not-exempt","expression":"!has(object.metadata.labels) || !('exempt' in object.metadata.labels)"}],
		"variables":[{"name":"count","expression":"has(object.data) ? size(object.data) : 0"},{"name":"most","expression":"int(params.data['most'])"}],
		"validations":[{"expression":"variables.count <= variables.most","messageExpression":"'at most ' + string(variables.most) + ' keys, not ' + string(variables.count)","reason":"Invalid"}]}}`)
	must[map[string]any](t, g, "POST", registrations+"validatingadmissionpolicybindings", `{"metadata":{"name":"few"},"spec":{"policyName":"few","validationActions":["Deny"],"paramRef":{"name":"params","namespace":"policed","parameterNotFoundAction":"Deny"}}}`)

	many := `{"metadata":{"generateName":"m-"},"data":{"a":"","b":"","c":"","d":""}}`
	t.Run("the first policy with a binding holds for the next request", func(t *testing.T) {
		g.fails(t, metav1.StatusReasonInvalid, "at most 3 keys, not 4", "POST", path, many)
		must[corev1.ConfigMap](t, g, "POST", free, many)
		must[corev1.ConfigMap](t, g, "POST", path, configMap("few"))
		g.fails(t, metav1.StatusReasonInvalid, "at most 3 keys, not 4", "PATCH", path+"/few", `{"data":{"b":"","c":"","d":""}}`, "application/merge-patch+json")
	})
	t.Run("whatever way an object comes in", func(t *testing.T) {
		few := must[corev1.ConfigMap](t, g, "GET", path+"/few", nil)
		few.Data = map[string]string{"a": "", "b": "", "c": "", "d": ""}
		for form, body := range map[string]string{
			apiclient.MergePatch:          `{"data":{"b":"","c":"","d":""}}`,
			apiclient.StrategicMergePatch: `{"data":{"b":"","c":"","d":""}}`,
			apiclient.JSONPatch:           `[{"op":"add","path":"/data","value":{"a":"","b":"","c":"","d":""}}]`,
			apiclient.ApplyPatch:          `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"few"},"data":{"b":"","c":"","d":""}}`,
		} {
			g.fails(t, metav1.StatusReasonInvalid, "at most 3 keys, not 4", "PATCH", path+"/few?fieldManager=t", body, form)
		}
		g.fails(t, metav1.StatusReasonInvalid, "at most 3 keys, not 4", "PUT", path+"/few", few)
		g.fails(t, metav1.StatusReasonInvalid, "at most 3 keys, not 4", "PATCH", path+"/applied?fieldManager=t",
			`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"applied"},"data":{"a":"","b":"","c":"","d":""}}`, apiclient.ApplyPatch)
	})
	t.Run("what its conditions leave out is free", func(t *testing.T) {
		must[corev1.ConfigMap](t, g, "POST", path, `{"metadata":{"name":"exempt","labels":{"exempt":"yes"}},"data":{"a":"","b":"","c":"","d":""}}`)
	})
	t.Run("parameters are read as they are now", func(t *testing.T) {
		must[corev1.ConfigMap](t, g, "PATCH", path+"/params", `{"data":{"most":"4"}}`, "application/merge-patch+json")
		must[corev1.ConfigMap](t, g, "POST", path, many)
	})
	t.Run("further policies hold soon, and end with their binding", func(t *testing.T) {
		must[map[string]any](t, g, "POST", registrations+"validatingadmissionpolicies", `{"metadata":{"name":"names"},"spec":{`+onConfigMaps+`,"validations":[{"expression":"!object.metadata.name.startsWith('bad')","message":"a bad name"}]}}`)
		must[map[string]any](t, g, "POST", registrations+"validatingadmissionpolicybindings", `{"metadata":{"name":"names"},"spec":{"policyName":"names","validationActions":["Deny"]}}`)
		soon(t, func() error {
			_, err := g.do(t, "POST", path+"?dryRun=All", configMap("bad-one"))
			if apierrors.IsInvalid(err) && strings.Contains(err.Error(), `ValidatingAdmissionPolicy 'names' with binding 'names' denied request: a bad name`) {
				return nil
			}
			return fmt.Errorf("got %v, want a refusal", err)
		})
		must[metav1.Status](t, g, "DELETE", registrations+"validatingadmissionpolicybindings/names", nil)
		soon(t, func() error {
			_, err := g.do(t, "POST", path+"?dryRun=All", configMap("bad-one"))
			return err
		})
	})
}

func TestMutatingAdmissionPolicies(t *testing.T) {
	g := start(t)
	path := newNamespace(t, g, "policed", "policed", "yes") + "/configmaps"
	must[map[string]any](t, g, "POST", registrations+"mutatingadmissionpolicies", `{"metadata":{"name":"apply"},"spec":{`+onConfigMaps+`,"reinvocationPolicy":"Never",
		"variables":[{"name":"by","expression":"request.userInfo.username"}],
		"mutations":[
			{"patchType":"ApplyConfiguration","applyConfiguration":{"expression":"Object{data: {'by': variables.by}}"}},
			{"patchType":"JSONPatch","jsonPatch":{"expression":"[JSONPatch{op: 'add', path: '/metadata/labels', value: {'patched': 'yes'}}]"}}]}}`)
	must[map[string]any](t, g, "POST", registrations+"mutatingadmissionpolicybindings", `{"metadata":{"name":"apply"},"spec":{"policyName":"apply"}}`)
	// The schemas that typed patches need are fetched when the first policy is there.
	soon(t, func() error {
		data, err := g.do(t, "POST", path+"?dryRun=All", configMap("probe"))
		if err == nil && !strings.Contains(string(data), `"by":`) {
			err = fmt.Errorf("got %s", data)
		}
		return err
	})
	made := must[corev1.ConfigMap](t, g, "POST", path, configMap("a"))
	if made.Data["by"] != AdminUser || made.Data["a"] != "1" || made.Labels["patched"] != "yes" {
		t.Errorf("got %+v", made)
	}
}

// TestPoliciesAreToldWhereTheirTypesDoNotFit follows upstream's status controller.
func TestPoliciesAreToldWhereTheirTypesDoNotFit(t *testing.T) {
	g := start(t)
	g.defined(t, definition("example.com", "widgets", "Widget", "Namespaced",
		version("v1", true, `{"type":"object","properties":{"spec":{"type":"object","properties":{"size":{"type":"integer"}}}}}`)))
	type policy = admissionv1.ValidatingAdmissionPolicy
	put := func(t *testing.T, method, name, group, resource, params, expression string) *policy {
		t.Helper()
		path := registrations + "validatingadmissionpolicies"
		made := must[policy](t, g, method, path, fmt.Sprintf(`{"metadata":{"name":%q},"spec":{%s"matchConstraints":{"resourceRules":[{"apiGroups":[%q],"apiVersions":["v1"],"operations":["CREATE"],"resources":[%q]}]},
			"validations":[{"expression":%q,"messageExpression":"'n' + string(object.metadata.name)"}]}}`, name, params, group, resource, expression))
		soon(t, func() error {
			made = must[policy](t, g, "GET", path+"/"+name, nil)
			if made.Status.ObservedGeneration != made.Generation {
				return fmt.Errorf("generation %d is not checked: %+v", made.Generation, made.Status)
			}
			return nil
		})
		return made
	}
	for name, c := range map[string]struct{ group, resource, params, expression, warning string }{
		"fits":           {"apps", "deployments", "", "object.spec.replicas > 1", ""},
		"no-such-field":  {"apps", "deployments", "", "object.spec.replica > 1", "undefined field 'replica'"},
		"another-type":   {"apps", "deployments", "", "object.spec.replicas > '1'", "found no matching overload"},
		"custom":         {"example.com", "widgets", "", "object.spec.sizes > 1", "undefined field 'sizes'"},
		"custom-fits":    {"example.com", "widgets", "", "object.spec.size > 1", ""},
		"params":         {"apps", "deployments", `"paramKind":{"apiVersion":"v1","kind":"ConfigMap"},`, "params.datum == 'x'", "undefined field 'datum'"},
		"nobody-knows":   {"example.org", "things", "", "object.anything == 1", ""},
		"everything":     {"*", "*", "", "object.anything == 1", ""},
		"not-an-integer": {"", "configmaps", "", "object.data.x > 1", "found no matching overload"},
	} {
		t.Run(name, func(t *testing.T) {
			got := put(t, "POST", name, c.group, c.resource, c.params, c.expression)
			var warnings []admissionv1.ExpressionWarning
			if got.Status.TypeChecking != nil {
				warnings = got.Status.TypeChecking.ExpressionWarnings
			}
			switch {
			case got.Status.TypeChecking == nil: // says that nobody checked
				t.Errorf("got %+v", got.Status)
			case c.warning == "" && len(warnings) == 0:
			case c.warning != "" && len(warnings) == 1 && warnings[0].FieldRef == "spec.validations[0].expression" && strings.Contains(warnings[0].Warning, c.warning):
			default:
				t.Errorf("got %+v, want %q", warnings, c.warning)
			}
		})
	}
	must[policy](t, g, "PATCH", registrations+"validatingadmissionpolicies/no-such-field", `{"spec":{"validations":[{"expression":"object.spec.replicas > 1"}]}}`, "application/merge-patch+json")
	soon(t, func() error {
		got := must[policy](t, g, "GET", registrations+"validatingadmissionpolicies/no-such-field", nil)
		if c := got.Status.TypeChecking; got.Status.ObservedGeneration != 2 || c != nil && len(c.ExpressionWarnings) != 0 {
			return fmt.Errorf("after it was mended: %+v", got.Status)
		}
		return nil
	})
}
