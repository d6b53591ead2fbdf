package measure

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"kubus.dev/bench/internal/client"
)

// policies measures by how much longer one client's creates take when 100
// ValidatingAdmissionPolicies look at each.
func policies(ctx context.Context, e *Env) (Result, error) {
	ns, remove, err := e.namespace(ctx, "policies")
	if err != nil {
		return Result{}, err
	}
	defer remove()
	c := e.Config.New()
	defer c.Close()
	const long = 5 * time.Second
	if _, err := writesFor(ctx, c, ns, configMapWrites, "warm", long/5); err != nil {
		return Result{}, err
	}
	without, err := writesFor(ctx, c, ns, configMapWrites, "without", long)
	if err != nil {
		return Result{}, err
	}
	const api = "/apis/admissionregistration.k8s.io/v1/"
	n := e.amount(100)
	defer func() {
		ctx := context.WithoutCancel(ctx)
		for i := range n {
			for _, resource := range []string{"validatingadmissionpolicybindings/", "validatingadmissionpolicies/"} {
				if _, err := e.admin.Do(ctx, http.MethodDelete, api+resource+policyName(ns, i), nil); err != nil && !client.IsNotFound(err) {
					e.Log("removing policy %d: %v", i, err)
				}
			}
		}
	}()
	for i := range n {
		if err := e.policy(ctx, api, ns, i); err != nil {
			return Result{}, err
		}
	}
	// All are in force when the last one is.
	if err := e.until(ctx, time.Minute, func() (bool, error) {
		cm := configMaps.object(ns, "refused", fmt.Sprint("refused by ", n-1))
		_, err := c.Do(ctx, http.MethodPost, configMaps.in(ns)+"?dryRun=All", cm)
		return client.IsInvalid(err), nil
	}); err != nil {
		return Result{}, fmt.Errorf("waiting for the policies: %w", err)
	}
	if _, err := writesFor(ctx, c, ns, configMapWrites, "warm-with", long/5); err != nil {
		return Result{}, err
	}
	with, err := writesFor(ctx, c, ns, configMapWrites, "with", long)
	if err != nil {
		return Result{}, err
	}
	a, b := percentiles(without), percentiles(with)
	return Result{Value: b["p50_ms"] - a["p50_ms"], More: map[string]float64{
		"without_p50_ms": a["p50_ms"], "without_p99_ms": a["p99_ms"], "with_p50_ms": b["p50_ms"], "with_p99_ms": b["p99_ms"],
	}}, nil
}

func policyName(ns string, i int) string { return fmt.Sprintf("%s-%d", ns, i) }

// policy makes one and binds it to the namespace.
func (e *Env) policy(ctx context.Context, api, ns string, i int) error {
	p := object("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", "", policyName(ns, i))
	p["spec"] = fields{
		"failurePolicy":    "Fail",
		"matchConstraints": fields{"resourceRules": []fields{{"apiGroups": []string{""}, "apiVersions": []string{"v1"}, "operations": []string{"CREATE", "UPDATE"}, "resources": []string{"configmaps"}}}},
		"validations":      []fields{{"expression": fmt.Sprintf("!has(object.data) || object.data.all(k, object.data[k] != 'refused by %d')", i)}},
	}
	if _, err := e.admin.Do(ctx, http.MethodPost, api+"validatingadmissionpolicies", p); err != nil {
		return err
	}
	b := object("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding", "", policyName(ns, i))
	b["spec"] = fields{"policyName": policyName(ns, i), "validationActions": []string{"Deny"},
		"matchResources": fields{"namespaceSelector": fields{"matchLabels": fields{"kubernetes.io/metadata.name": ns}}}}
	_, err := e.admin.Do(ctx, http.MethodPost, api+"validatingadmissionpolicybindings", b)
	return err
}
