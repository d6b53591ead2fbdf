package instance

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// sysctls are the settings that a node needs on and that everything on the host
// shares. The instance sets them itself: a service that did would put them back
// when it is purged, under the feet of another cluster.
var sysctls = []string{"net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables"}

const sysctlRoot = "/proc/sys"

// RememberSysctls keeps the host's settings as they are before the first start; an
// instance that runs beside another finds that one's memory.
func (i *Instance) RememberSysctls() error {
	if i.Sysctls != nil {
		return nil
	}
	others, err := Claims(i.ID)
	if err != nil {
		return err
	}
	i.Sysctls = map[string]string{}
	for _, c := range others {
		other, err := Load(c.Dir)
		if err == nil && other != nil && other.Sysctls != nil {
			i.Sysctls = other.Sysctls
			return nil
		}
	}
	for _, name := range sysctls {
		data, err := os.ReadFile(filepath.Join(sysctlRoot, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading a sysctl: %w", err)
		}
		i.Sysctls[name] = strings.TrimSpace(string(data))
	}
	return nil
}

// EnableSysctls switches on what a node needs.
func (i *Instance) EnableSysctls() error {
	for _, name := range sysctls {
		err := setSysctl(name, "1")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("switching on %s: %w", strings.ReplaceAll(name, "/", "."), err)
		}
	}
	return nil
}

func setSysctl(name, value string) error {
	file := filepath.Join(sysctlRoot, name)
	now, err := os.ReadFile(file)
	if err != nil || strings.TrimSpace(string(now)) == value {
		return err
	}
	return os.WriteFile(file, []byte(value), 0)
}

// RestoreSysctls puts the settings back, unless another instance needs them.
func (i *Instance) RestoreSysctls() error {
	others, err := Claims(i.ID)
	if err != nil || len(others) > 0 {
		return err
	}
	for name, value := range i.Sysctls {
		if err := setSysctl(name, value); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("putting %s back: %w", strings.ReplaceAll(name, "/", "."), err)
		}
	}
	return nil
}
