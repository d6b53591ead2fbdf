package envtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"kubus.dev/services/kit/file"
)

// Names of the hidden commands behind the programs.
const (
	EtcdCommand      = "envtest-etcd"
	APIServerCommand = "envtest-apiserver"
)

// Write makes dir, if need be, and the programs etcd, kube-apiserver and kubectl in
// it. kubus and kubectl are the absolute paths of what they start.
func Write(dir, kubus, kubectl string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the folder of programs: %w", err)
	}
	for name, start := range map[string]string{
		"etcd": quoted(kubus) + " " + EtcdCommand, "kube-apiserver": quoted(kubus) + " " + APIServerCommand, "kubectl": quoted(kubectl),
	} {
		script := "#!/bin/sh\n# Written by kubus envtest.\nexec " + start + " \"$@\"\n"
		if err := file.Replace(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			return fmt.Errorf("writing %s: %w", name, err)
		}
	}
	return nil
}

// quoted is a word of the shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
