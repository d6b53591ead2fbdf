package roster

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kubus.dev/proto"
)

// named are the subjects by the names under which code uses them, as they stand in roles.
var named = map[string]string{
	"HeartbeatSubject": proto.HeartbeatSubject("n"), "HeartbeatSubjects": proto.HeartbeatSubjects,
	"PodReportSubject": proto.ReportSubjects("n"), "NodeReportSubject": proto.ReportSubjects("n"),
	"NodeTunnelSubject": proto.NodeTunnelSubject("n"), "NodeVolumeSubject": proto.NodeVolumeSubject("n"),
	"UsageSampleSubject": proto.UsageSampleSubject, "UsageSubject": proto.UsageSubject("n"), "UsageSubjects": proto.UsageSubjects,
	"UsageFreshSubject": proto.UsageFreshSubject, "MetricsRequestSubject": proto.MetricsRequestSubject,
	"SchedulerTakeSubject": proto.SchedulerTakeSubject(), "SchedulerDoneSubject": proto.SchedulerDoneSubject(),
	"SchedulerPlanSubject": proto.SchedulerPlanSubject(), "SchedulerReadySubject": proto.SchedulerReadySubject(),
	"ChangeSubject": "events.>",
}

// A role's subjects are those that its service's code names, and no others. Fences, the
// API and the log have their own tests; so have the groups of controllers.
func TestEachRoleMayUseTheSubjectsThatItsCodeNames(t *testing.T) {
	t.Parallel()
	for _, role := range proto.Roles("n") {
		if role.Name == "gateway" || role.Name == "automation" || strings.HasPrefix(role.Name, proto.ControllersRole("")) {
			continue
		}
		used := subjects(t, filepath.Join("../../../../services", role.Name))
		if role.Name == "status" { // the stream REPORTS has them, and agents' words on that subject
			delete(used, proto.ReportSubjects("n"))
		}
		if role.Name == "metrics" { // tells nodes apart by what they would have said
			delete(used, proto.UsageSubject("n"))
		}
		for subject := range used {
			if !slices.Contains(role.Publish, subject) && !slices.Contains(role.Subscribe, subject) {
				t.Errorf("%s uses %s and may not", role.Name, subject)
			}
		}
		for _, subject := range append(slices.Clone(role.Publish), role.Subscribe...) {
			leads := slices.ContainsFunc(role.Identities, func(user string) bool {
				fence, ok := strings.CutPrefix(subject, "heartbeat.leader.")
				return ok && proto.MayHold(user, fence)
			})
			answers := role.Name == "metrics" && subject == "_R_.>"
			changes := strings.HasPrefix(subject, proto.StreamAPI(role.Name)+".") && proto.StreamAPI(role.Name) != ""
			if !used[subject] && !leads && !answers && !changes {
				t.Errorf("%s may use %s and does not", role.Name, subject)
			}
		}
	}
}

// subjects are those that a folder's code names.
func subjects(t *testing.T, dir string) map[string]bool {
	t.Helper()
	used := map[string]bool{}
	err := filepath.WalkDir(dir, func(file string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && named[s.Sel.Name] != "" {
				used[named[s.Sel.Name]] = true
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return used
}
