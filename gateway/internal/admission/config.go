package admission

import (
	"errors"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/apis/apiserver"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
)

// Config says which plugins run, beside those that do by default, and how.
type Config struct {
	Enable  []string
	Disable []string
	// File is an AdmissionConfiguration (apiserver.config.k8s.io/v1); empty: none.
	File string
}

// Validate reports every name that is wrong.
func (c Config) Validate() error {
	var errs []error
	for _, name := range slices.Concat(c.Enable, c.Disable) {
		if !known(name) {
			errs = append(errs, fmt.Errorf("there is no plugin %q", name))
		}
	}
	for _, name := range c.Enable {
		if slices.Contains(c.Disable, name) {
			errs = append(errs, fmt.Errorf("plugin %q is enabled and disabled", name))
		}
	}
	return errors.Join(errs...)
}

func known(name string) bool {
	return slices.ContainsFunc(chain, func(p plugin) bool { return p.name == name })
}

// names lists the plugins that run, in their order.
func (c Config) names() ([]string, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	var out []string
	for _, p := range chain {
		if (p.on || slices.Contains(c.Enable, p.name)) && !slices.Contains(c.Disable, p.name) {
			out = append(out, p.name)
		}
	}
	return out, nil
}

// settings reads the file.
func (c Config) settings(names []string) (admission.ConfigProvider, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(apiserver.AddToScheme(scheme), apiserverv1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	settings, err := admission.ReadAdmissionConfiguration(names, c.File, scheme)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration of plugins: %w", err)
	}
	return settings, nil
}
