package admission

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"k8s.io/apiserver/pkg/admission"
)

// counted is a plugin that counts.
type counted struct {
	*admission.Handler
	admitted, validated atomic.Int32
}

func (c *counted) Admit(context.Context, admission.Attributes, admission.ObjectInterfaces) error {
	c.admitted.Add(1)
	return nil
}

func (c *counted) Validate(context.Context, admission.Attributes, admission.ObjectInterfaces) error {
	c.validated.Add(1)
	return nil
}

func attributes(operation admission.Operation) admission.Attributes {
	return operated{operation: operation}
}

type operated struct {
	admission.Attributes
	operation admission.Operation
}

func (o operated) GetOperation() admission.Operation { return o.operation }

func TestALazyPluginIsMadeOnceWhenItIsWanted(t *testing.T) {
	t.Parallel()
	var wanted atomic.Bool
	var made atomic.Int32
	inner := &counted{Handler: admission.NewHandler(admission.Create)}
	l := &lazy{
		wanted: wanted.Load,
		make:   func() (admission.Interface, error) { made.Add(1); return inner, nil },
		tell:   func() {},
	}
	p := both.wrap(l)
	if p.Handles(admission.Create) {
		t.Error("nobody wants it and it handles")
	}
	wanted.Store(true)
	if !p.Handles(admission.Create) || made.Load() != 0 {
		t.Errorf("it is wanted: handles is %v, made %d times", p.Handles(admission.Create), made.Load())
	}
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			if err := p.(admission.MutationInterface).Admit(t.Context(), attributes(admission.Create), nil); err != nil {
				t.Error(err)
			}
			if err := p.(admission.ValidationInterface).Validate(t.Context(), attributes(admission.Delete), nil); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	wanted.Store(false)
	if made.Load() != 1 || inner.admitted.Load() != 8 || inner.validated.Load() != 0 || p.Handles(admission.Delete) || !p.Handles(admission.Create) {
		t.Errorf("made %d times, admitted %d, validated %d of an operation that it does not handle", made.Load(), inner.admitted.Load(), inner.validated.Load())
	}
}

func TestALazyPluginThatCannotBeMadeRefuses(t *testing.T) {
	t.Parallel()
	l := &lazy{
		wanted: func() bool { return true },
		make:   func() (admission.Interface, error) { return nil, errors.New("no") },
		tell:   func() {},
	}
	if err := validates.wrap(l).(admission.ValidationInterface).Validate(t.Context(), attributes(admission.Create), nil); err == nil {
		t.Error("the request was let in")
	}
}
