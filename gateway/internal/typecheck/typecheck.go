// Package typecheck tells the author of a ValidatingAdmissionPolicy where its expressions
// do not fit the types that the policy is about: as warnings in the policy's status, never
// as a refusal. The check is upstream's, against the OpenAPI documents that the gateway
// serves, custom kinds and other servers' included.
//
// Start with Run.
//
// Promises. A policy is checked once for each generation; status.observedGeneration says
// which one the warnings are of. Every gateway follows the policies and looks again before
// it writes: whoever is late finds the work done, and two that are not write the same.
// A document is read once for all policies about a kind, and nothing of it is held once
// no policy has changed for a while.
package typecheck

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	applyv1 "k8s.io/client-go/applyconfigurations/admissionregistration/v1"
	"k8s.io/client-go/kubernetes"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// Policies is what is followed.
var Policies = proto.GroupResource{Group: admissionv1.GroupName, Resource: "validatingadmissionpolicies"}

// manager is upstream's name for who writes these statuses.
const manager = "validatingadmissionpolicy-status"

// A policy that could not be checked or written is tried again after retryFirst, doubling
// to retryMost.
const (
	retryFirst = time.Second
	retryMost  = time.Minute
)

// quiet is how long after the last change of a policy the types are remembered.
const quiet = time.Minute

// Options are what a check needs.
type Options struct {
	View *statelog.View
	// Client reads the documents and writes the statuses.
	Client kubernetes.Interface
	// Mapper knows the kinds that are served.
	Mapper meta.RESTMapper
	Logger *zap.Logger
}

// Run checks policies until ctx ends.
func Run(ctx context.Context, o Options) error {
	c := &checker{o: o, seen: map[string]uint64{}, schemas: newSchemas(o.Client.Discovery())}
	c.types = &validating.TypeChecker{SchemaResolver: c.schemas, RestMapper: o.Mapper}
	for retry := retryFirst; ; {
		changed := o.View.Changed(Policies)
		var again, forget <-chan time.Time
		if c.all(ctx) {
			retry = retryFirst
		} else {
			again, retry = time.After(retry), min(2*retry, retryMost)
		}
		if !c.schemas.empty() {
			forget = time.After(quiet)
		}
		select {
		case <-changed:
		case <-again:
		case <-forget:
			c.schemas.forget()
		case <-ctx.Done():
			return nil
		}
	}
}

type checker struct {
	o       Options
	schemas *schemas
	types   *validating.TypeChecker
	seen    map[string]uint64 // the revision at which a policy needed nothing
}

// all checks what needs it. It says whether nothing is left to do.
func (c *checker) all(ctx context.Context) bool {
	done := true
	there := map[string]bool{}
	policies := c.o.View.Snapshot(Policies)
	c.schemas.round() // after the policies: their types are at least as new
	policies.Ascend("", func(e *statelog.Entry) bool {
		name := e.Key().Name
		there[name] = true
		if c.seen[name] == e.Revision() {
			return true
		}
		if err := c.one(ctx, e); err != nil {
			done = false
			if ctx.Err() == nil {
				c.o.Logger.Warn("a policy's types cannot be checked", zap.String("name", name), zap.Error(err))
			}
			return ctx.Err() == nil
		}
		c.seen[name] = e.Revision()
		return true
	})
	for name := range c.seen {
		if !there[name] {
			delete(c.seen, name)
		}
	}
	return done
}

// one checks a policy if this generation was not, and writes what it found.
func (c *checker) one(ctx context.Context, e *statelog.Entry) error {
	policy, err := statelog.Decode[admissionv1.ValidatingAdmissionPolicy](e)
	if err != nil {
		return err
	}
	if !due(policy) {
		return nil
	}
	found, err := c.warnings(policy)
	if err != nil {
		return err
	}
	if now := c.o.View.Get(Policies, "", policy.Name); now == nil || now.Revision() != e.Revision() {
		return nil // another gateway was faster, or the author: the change is looked at next
	}
	_, err = c.o.Client.AdmissionregistrationV1().ValidatingAdmissionPolicies().ApplyStatus(ctx, status(policy, found), metav1.ApplyOptions{FieldManager: manager, Force: true})
	if apierrors.IsNotFound(err) {
		return nil // it has gone meanwhile
	}
	return err
}

// warnings are what the check has to say. A panic in the CEL library about what somebody
// wrote ends one check.
func (c *checker) warnings(policy *admissionv1.ValidatingAdmissionPolicy) (found []admissionv1.ExpressionWarning, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("checking the expressions: %v", r)
		}
	}()
	return c.types.Check(policy), nil
}

// due says that the policy's status is of an older generation.
func due(policy *admissionv1.ValidatingAdmissionPolicy) bool {
	return policy.Generation > policy.Status.ObservedGeneration
}

// status is what is written of a check.
func status(policy *admissionv1.ValidatingAdmissionPolicy, found []admissionv1.ExpressionWarning) *applyv1.ValidatingAdmissionPolicyApplyConfiguration {
	checking := applyv1.TypeChecking()
	for _, w := range found {
		checking.WithExpressionWarnings(applyv1.ExpressionWarning().WithFieldRef(w.FieldRef).WithWarning(w.Warning))
	}
	return applyv1.ValidatingAdmissionPolicy(policy.Name).
		WithStatus(applyv1.ValidatingAdmissionPolicyStatus().WithObservedGeneration(policy.Generation).WithTypeChecking(checking))
}
