package oci

import (
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"tags.cncf.io/container-device-interface/pkg/cdi"
)

// injectCDI edits a spec as the files in dirs, of which later ones win, say for devices of the Container Device
// Interface. The files are read each time: they change seldom, and containers with such devices are few.
func injectCDI(spec *specs.Spec, dirs, devices []string) error {
	cache, err := cdi.NewCache(cdi.WithSpecDirs(dirs...), cdi.WithAutoRefresh(false))
	if err != nil {
		return fmt.Errorf("failed to create CDI registry: %w", err)
	}
	if _, err := cache.InjectDevices(spec, devices...); err != nil {
		return fmt.Errorf("CDI device injection failed: %w", err)
	}
	return nil
}
