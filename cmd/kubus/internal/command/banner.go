package command

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"kubus.dev/cmd/kubus/internal/instance"
	"kubus.dev/services/kit"
)

// banner is what `up` tells when the cluster is there.
type banner struct {
	i       *instance.Instance
	file    string // kubeconfig
	current bool   // whose current context is this cluster
	began   time.Time
	moved   []string
}

func (b banner) print(w io.Writer) {
	state := "node " + b.i.NodeName + " is Ready"
	if len(b.i.Further) > 0 {
		state = "nodes " + strings.Join(b.i.NodeNames(), ", ") + " are Ready"
	}
	if b.i.Nodes == 0 {
		state = "control plane only"
	}
	fmt.Fprintf(w, "kubus %s: %s, %s (%.1f s)\n", kit.Version, server(b.i), state, time.Since(b.began).Seconds())
	fmt.Fprintf(w, "  data        %s\n", b.i.Dir)
	for _, note := range b.moved {
		fmt.Fprintf(w, "  note        %s\n", note)
	}
	b.next(w)
}

func (b banner) next(w io.Writer) {
	context := fmt.Sprintf("context %q", b.i.Context)
	if !b.current {
		context += "; your current context was left as it is"
	}
	fmt.Fprintf(w, "  kubeconfig  %s, %s\n", b.file, context)
	kubectl := self() + " kubectl "
	if b.i.Dir != DefaultDataDir {
		kubectl += "--data-dir " + quote(b.i.Dir) + " "
	}
	fmt.Fprintln(w, "Next:")
	commands := []string{"get nodes -o wide", "get pods --all-namespaces", "create configmap hello --from-literal=who=world"}
	if b.i.Nodes == 0 {
		commands = []string{"cluster-info", "get namespaces", "create configmap hello --from-literal=who=world"}
	}
	for _, c := range commands {
		fmt.Fprintln(w, "  "+kubectl+c)
	}
}

// self is how the user can call this program again from where they are.
func self() string {
	name := os.Args[0]
	if strings.Contains(name, "/") {
		return quote(name)
	}
	if _, err := exec.LookPath(name); err == nil {
		return name
	}
	if path, err := executable(); err == nil {
		return quote(path)
	}
	return filepath.Base(name)
}

// quote makes a shell take the text as one word.
func quote(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:@%,=", r))
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
