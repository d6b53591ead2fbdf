package e2e

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// line is an open connection to a container that counts what arrives.
type line struct {
	resp  *http.Response
	lines atomic.Int64
	ended atomic.Bool
}

func openLine(t *testing.T, url string) *line {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	l := &line{resp: resp}
	go func() { // ends with the connection
		scanner := bufio.NewScanner(resp.Body)
		for scanner.Scan() {
			l.lines.Add(1)
		}
		l.ended.Store(true)
	}()
	t.Cleanup(func() { resp.Body.Close() })
	return l
}

// flows fails unless the connection still brings lines.
func (l *line) flows(t *testing.T) {
	t.Helper()
	before := l.lines.Load()
	eventually(t, 5*time.Second, "the connection brings more", func() error {
		if l.ended.Load() {
			t.Fatal("the connection was cut")
		}
		if l.lines.Load() <= before {
			return fmt.Errorf("nothing came")
		}
		return nil
	})
}

func (j *job) kill(t *testing.T) {
	j.run(t, "rollout", "status", "deployment/web", "--timeout=60s")
	direct := openLine(t, "http://"+j.get(t, "pod/"+j.one(t, "app=web"), ".status.podIP")+":8080/stream")
	service := openLine(t, "http://"+j.clusterIP(t)+"/stream")
	pods, err := j.cluster.pods("app=web", ".status.containerStatuses[0].restartCount")
	if err != nil {
		t.Fatal(err)
	}
	s, err := j.status()
	if err != nil {
		t.Fatalf("%v: %+v", err, s)
	}
	names := []string{}
	for _, p := range s.Services {
		names = append(names, p.Name)
	}
	for n, name := range names {
		t.Run("kill -9 "+name, func(t *testing.T) {
			marker := fmt.Sprintf("before-%d", n)
			j.run(t, "create", "configmap", marker)
			j.killOne(t, name)
			direct.flows(t)
			service.flows(t)
			eventually(t, 30*time.Second, "the cluster is healthy again", func() error {
				s, err := j.status()
				if err != nil {
					return fmt.Errorf("%w: %v", err, s.Problems)
				}
				return nil
			})
			j.run(t, "get", "configmap", marker)
			pod := fmt.Sprintf("after-%d", n)
			j.run(t, "run", pod, "--image="+images.Address+"/busybox:1", "--restart=Never", "--", "echo", "works on")
			eventually(t, 30*time.Second, "a new pod runs to its end", func() error {
				if got := j.get(t, "pod/"+pod, ".status.phase"); got != "Succeeded" {
					return fmt.Errorf("it is %s", got)
				}
				return nil
			})
			eventually(t, 15*time.Second, "the node's Lease is shown", func() error {
				_, err := j.try("get", "lease", "-n", "kube-node-lease", j.node)
				return err
			})
			if got := j.run(t, "logs", pod); strings.TrimSpace(got) != "works on" {
				t.Errorf("its log is %q", got)
			}
		})
	}
	after, err := j.cluster.pods("app=web", ".status.containerStatuses[0].restartCount")
	if err != nil || fmt.Sprint(after) != fmt.Sprint(pods) {
		t.Errorf("pods and their restarts were %v, now %v, %v", pods, after, err)
	}
	for n := range names {
		if got := j.run(t, "logs", fmt.Sprintf("after-%d", n)); strings.TrimSpace(got) != "works on" {
			t.Errorf("the log of before is %q", got)
		}
		j.run(t, "get", "configmap", fmt.Sprintf("before-%d", n))
	}
	j.run(t, "delete", "pods", "-l", "run", "--now")
}

// killKeepers kills both keepers at once, which leaves everything else running, and
// lets `kubus up` find it.
func (j *job) killKeepers(t *testing.T) {
	before, err := j.status()
	if err != nil {
		t.Fatal(err)
	}
	pids := map[string]int{}
	for _, p := range before.Services {
		if strings.HasPrefix(p.Name, "keeper") {
			defer syscall.Kill(p.PID, syscall.SIGCONT)
			_ = syscall.Kill(p.PID, syscall.SIGSTOP) // neither may notice the other's end
		} else {
			pids[p.Name] = p.PID
		}
	}
	for _, p := range before.Services {
		if strings.HasPrefix(p.Name, "keeper") {
			_ = syscall.Kill(p.PID, syscall.SIGKILL)
		}
	}
	out, err := j.makeUp()
	if err != nil || !strings.Contains(out, "already up") {
		t.Fatalf("%v\n%s", err, out)
	}
	eventually(t, 10*time.Second, "the processes are kept again", func() error {
		after, err := j.status()
		if err != nil {
			return err
		}
		keepers := 0
		for _, p := range after.Services {
			if strings.HasPrefix(p.Name, "keeper") {
				keepers++
			} else if p.PID != pids[p.Name] {
				t.Errorf("%s was started again: %d, now %d", p.Name, pids[p.Name], p.PID)
			}
		}
		if keepers != 2 {
			return fmt.Errorf("%d keepers", keepers)
		}
		return nil
	})
}

func (j *job) killOne(t *testing.T, name string) {
	t.Helper()
	s, err := j.status()
	if err != nil {
		t.Fatalf("%v: %+v", err, s)
	}
	for _, p := range s.Services {
		if p.Name != name {
			continue
		}
		if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, 20*time.Second, name+" runs again", func() error {
			now, _ := j.status()
			if now == nil {
				return fmt.Errorf("no status")
			}
			for _, q := range now.Services {
				if q.Name == name && q.PID != p.PID && q.PID != 0 && q.Healthy {
					return nil
				}
			}
			return fmt.Errorf("%+v", now.Services)
		})
		return
	}
	t.Fatalf("no process %s in %+v", name, s.Services)
}
