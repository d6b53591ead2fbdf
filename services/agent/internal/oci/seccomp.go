package oci

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/moby/profiles/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// defaultSeccomp is the RuntimeDefault profile for what spec says: the one that Docker has, which the other container
// engines took over, by the capabilities of the process, the architecture and the running kernel's version. What it does
// not know is refused.
func defaultSeccomp(spec *specs.Spec) (*specs.LinuxSeccomp, error) {
	profile, err := seccomp.GetDefaultProfile(spec)
	if err != nil {
		return nil, fmt.Errorf("failed to load the default seccomp profile: %w", err)
	}
	return profile, nil
}

// localSeccomp reads a profile in the OCI's form from the node.
func localSeccomp(path string) (*specs.LinuxSeccomp, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("failed to load seccomp profile %q: %w", path, err)
	}
	profile := &specs.LinuxSeccomp{}
	if err := json.Unmarshal(data, profile); err != nil {
		return nil, fmt.Errorf("failed to load seccomp profile %q: %w", path, err)
	}
	if profile.DefaultAction == "" { // runc takes it for no profile at all
		return nil, fmt.Errorf("failed to load seccomp profile %q: it has no defaultAction", path)
	}
	return profile, nil
}
