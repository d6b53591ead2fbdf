package runtime

import (
	"strings"
	"testing"
)

func TestFinding15AllPodsTogetherHaveALimit(t *testing.T) {
	n := newTestNode(t)
	img := n.pull(busybox(t))
	if err := n.LimitPods(200<<20, 64); err != nil {
		t.Fatal(err)
	}
	quiet := n.run(n.pod(nil), img, "sleep 1000", nil)
	forks := n.run(n.pod(nil), img, "for i in $(seq 200); do sleep 1000 & done", nil)
	if st := n.end(forks); st.ExitCode == 0 || !strings.Contains(n.log(forks), "can't fork") {
		t.Errorf("the one that forks: %+v\n%s", st, n.log(forks))
	}
	hungry := n.run(n.pod(nil), img, "dd if=/dev/zero of=/dev/null bs=400M count=1", func(c *ContainerSpec) { c.Resources.OOMScoreAdj = 1000 })
	if st := n.end(hungry); st.Reason != ReasonOOMKilled || st.ExitCode != 137 {
		t.Errorf("the hungry one: %+v", st)
	}
	if st := n.container0(quiet); st.State != ContainerRunning {
		t.Errorf("the quiet one: %+v", st)
	}
}
