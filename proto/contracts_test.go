package proto

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the generated tables of docs/contracts.md")

const contracts = "../docs/contracts.md"

// The tables of docs/contracts.md between its markers are made from this package.
func TestContractsPageSaysWhatTheCodeSays(t *testing.T) {
	page, err := os.ReadFile(contracts)
	if err != nil {
		t.Fatal(err)
	}
	want := string(page)
	for name, table := range map[string]string{"streams": streamTable(), "roles": roleTable(), "subjects": subjectTable()} {
		begin, end := "<!-- "+name+": generated -->\n", "<!-- end -->"
		head, rest, ok := strings.Cut(want, begin)
		_, tail, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			t.Fatalf("%s has no section %q", contracts, name)
		}
		want = head + begin + table + end + tail
	}
	if want == string(page) {
		return
	}
	if !*update {
		t.Fatalf("%s is out of date; run: go test ./proto -run Contracts -update", contracts)
	}
	if err := os.WriteFile(contracts, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

func streamTable() string {
	var b strings.Builder
	b.WriteString("| stream | holds | subjects | kept |\n|---|---|---|---|\n")
	for _, s := range Streams() {
		kept := []string{"file, fsync before the acknowledgement"}
		switch {
		case s.Memory:
			kept = []string{"memory"}
		case s.Async:
			kept = []string{"file, fsync later"}
		}
		if s.State || s.LastPerSubject {
			kept = append(kept, "the last message of each subject")
		}
		if s.State {
			kept = append(kept, "no delete, no purge, refuses when full", "atomic batches", "message TTLs")
		}
		if s.MaxAge > 0 {
			kept = append(kept, "at most "+s.MaxAge.String())
		}
		if s.MaxBytes > 0 {
			kept = append(kept, fmt.Sprintf("at most %d MiB", s.MaxBytes>>20))
		}
		fmt.Fprintf(&b, "| `%s` | %s | `%s` | %s |\n", s.Name, s.Description, strings.Join(s.Subjects, "` `"), strings.Join(kept, "; "))
	}
	return b.String()
}

func roleTable() string {
	list := func(items []string) string {
		if len(items) == 0 {
			return "-"
		}
		return "`" + strings.Join(items, "` `") + "`"
	}
	var b strings.Builder
	b.WriteString("| role | speaks as | publishes | subscribes to | reads streams |\n|---|---|---|---|---|\n")
	for _, r := range Roles("NODE") {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", r.Name, list(r.Identities), list(r.Publish), list(r.Subscribe), list(r.Reads))
	}
	return b.String()
}

func subjectTable() string {
	pod := Key{GroupResource{"", "pods"}, "NAMESPACE", "NAME"}
	rows := [][4]string{
		{pod.Subject(), "gateway", "every view", "one version of an object; JSON without resourceVersion; header `" + HeaderOperation + ": " + OperationDelete + "` on a tombstone"},
		{FenceSubject("NAME"), "gateway", "every view of STATE", "who holds a fence; the sequence is its epoch"},
		{FenceUseSubject("NAME"), "gateway", "-", "touched by each fenced commit, which so checks the fence"},
		{BarrierSubject("STREAM", "WRITER"), "gateway", "-", "empty; its sequence is a read index (clusters only)"},
		{WatermarkSubject("STREAM"), "gateway", "views", "core; decimal sequence up to which the stream is on disk"},
		{APIRequestSubject("USER"), "services, agents, automation", "one gateway", "core request and reply; ApiRequest, ApiResponse"},
		{APIBulkSubject("USER"), "services", "one gateway", "core request and reply; BulkRequest, ApiResponse around BulkResponse"},
		{APIFenceSubject("USER"), "services", "one gateway", "core request and reply; AcquireFence, ApiResponse around FenceState"},
		{APITunnelSubject("USER"), "services, agents, automation", "one gateway", "opening of a tunnel (TunnelOpen); the response comes as HTTP/1.1 on channel 1"},
		{NodeTunnelSubject("NODE"), "gateway", "the node's agent", "opening of a tunnel for exec, attach, log, portforward, proxy (NodeRequest)"},
		{HeartbeatSubject("NODE"), "agent", "node controller, gateway", "core, every 10 s; Heartbeat; never stored"},
		{LeaderSubject("NAME"), "the holder of a fence", "its standbys", "core, every 2 s; never stored"},
		{PodReportSubject("NODE", "NAMESPACE", "NAME"), "agent", "status service", "PodReport: the whole status; sent again after a reconnect"},
		{NodeReportSubject("NODE"), "agent", "status service", "NodeReport: the node as the agent would create it"},
		{ChangeSubject("CLUSTER", pod, "VERB"), "events service", "automation", "CloudEvent 1.0, binary mode, of one committed change"},
		{SchedulerTakeSubject(), "scheduler workers elsewhere", "the active broker", "core request and reply; the answer waits until there is work"},
		{SchedulerDoneSubject(), "scheduler workers elsewhere", "the active broker", "core request and reply; what became of an evaluation"},
		{SchedulerPlanSubject(), "scheduler workers elsewhere", "the active planner", "core request and reply; the answer comes after the commit"},
		{SchedulerReadySubject(), "a new broker or planner", "scheduler workers elsewhere", "core; ask again, the old one may have died"},
	}
	var b strings.Builder
	b.WriteString("| subject | from | to | what |\n|---|---|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", r[0], r[1], r[2], r[3])
	}
	return b.String()
}
