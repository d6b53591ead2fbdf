package runtime

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// A time that is up while the process is being started, or just has been, ends it too.
func TestAnExecWhoseTimeIsUpLeavesNothingRunning(t *testing.T) {
	n := newTestNode(t)
	id := n.run(n.pod(nil), n.pull(busybox(t)), "sleep 1000", nil)
	for ms := range 40 {
		_, err := n.Exec(t.Context(), id, ExecOptions{Command: []string{"sleep", "2000"}, Timeout: time.Duration(ms+1) * time.Millisecond})
		if !errors.Is(err, ErrExecTimeout) {
			t.Fatalf("%d ms: %v", ms+1, err)
		}
	}
	until(t, "what was executed has ended", func() bool {
		out, code := n.exec(id, "ps")
		return code == 0 && !strings.Contains(out, "sleep 2000")
	})
}
