package admission

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/admission"

	"kubus.dev/proto"
)

// registerIn makes the plugin known. One that waits for objects is put behind a
// lazy, unless the configuration has something to say to it at once.
func (p plugin) registerIn(plugins *admission.Plugins, o Options, initializers admission.PluginInitializer) {
	if len(p.after) == 0 {
		p.register(plugins)
		return
	}
	own := admission.NewPlugins()
	p.register(own)
	plugins.Register(p.name, func(config io.Reader) (admission.Interface, error) {
		if config != nil {
			data, err := io.ReadAll(config)
			if err != nil {
				return nil, err
			}
			return own.InitPlugin(p.name, bytes.NewReader(data), initializers)
		}
		l := &lazy{
			wanted: func() bool { return exist(o, p.after) },
			make: func() (admission.Interface, error) {
				made, err := own.InitPlugin(p.name, nil, initializers)
				if err != nil {
					return nil, err
				}
				return made, nil
			},
			tell: o.Informers.Tell,
		}
		return p.kind.wrap(l), nil
	})
}

// exist says whether there is an object of each of the resources.
func exist(o Options, all []proto.GroupResource) bool {
	for _, gr := range all {
		if o.View(gr).Snapshot(gr).Len() == 0 {
			return false
		}
	}
	return true
}

// lazy is a plugin that is made when it is wanted first, and stays.
type lazy struct {
	wanted func() bool
	make   func() (admission.Interface, error)
	// tell brings what the plugin listens to up to date.
	tell func()

	made atomic.Pointer[admission.Interface]
	mu   sync.Mutex // held while it is made
}

// Handles says whether the plugin is wanted, until it is made and says itself.
func (l *lazy) Handles(operation admission.Operation) bool {
	if made := l.made.Load(); made != nil {
		return (*made).Handles(operation)
	}
	return l.wanted()
}

// plugin makes the plugin. The error is of the server's own.
func (l *lazy) plugin() (admission.Interface, error) {
	if made := l.made.Load(); made != nil {
		return *made, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if made := l.made.Load(); made != nil {
		return *made, nil
	}
	made, err := l.make()
	if err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("starting admission: %w", err))
	}
	l.made.Store(&made)
	return made, nil
}

func (l *lazy) admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	made, err := l.plugin()
	if err != nil || !made.Handles(a.GetOperation()) {
		return err
	}
	l.tell()
	return made.(admission.MutationInterface).Admit(ctx, a, o) //nolint:forcetypeassert // of such a kind
}

func (l *lazy) validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	made, err := l.plugin()
	if err != nil || !made.Handles(a.GetOperation()) {
		return err
	}
	l.tell()
	return made.(admission.ValidationInterface).Validate(ctx, a, o) //nolint:forcetypeassert // of such a kind
}

// kind is what a plugin does; the chain asks by type.
type kind int

const (
	mutates kind = iota + 1
	validates
	both
)

func (k kind) wrap(l *lazy) admission.Interface {
	switch k {
	case mutates:
		return mutator{l}
	case validates:
		return validator{l}
	case both:
		return mutatorAndValidator{mutator{l}, l}
	}
	panic(fmt.Sprintf("a plugin of no kind: %d", k))
}

type mutator struct{ *lazy }

// Admit is upstream's admission.MutationInterface.
func (m mutator) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	return m.admit(ctx, a, o)
}

type validator struct{ *lazy }

// Validate is upstream's admission.ValidationInterface.
func (v validator) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	return v.validate(ctx, a, o)
}

type mutatorAndValidator struct {
	mutator
	l *lazy
}

// Validate is upstream's admission.ValidationInterface.
func (b mutatorAndValidator) Validate(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	return b.l.validate(ctx, a, o)
}
