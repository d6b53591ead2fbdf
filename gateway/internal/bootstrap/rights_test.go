package bootstrap

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	"kubus.dev/proto"
)

// rights are what the roles give each user: "verb resource namespace".
func rights(t *testing.T) map[string]map[string]bool {
	t.Helper()
	objects, err := policies()
	if err != nil {
		t.Fatal(err)
	}
	rules := map[string][]rbacv1.PolicyRule{}
	for _, o := range objects {
		switch o := o.(type) {
		case *rbacv1.ClusterRole:
			rules["/"+o.Name] = o.Rules
		case *rbacv1.Role:
			rules[o.Namespace+"/"+o.Name] = o.Rules
		}
	}
	has := map[string]map[string]bool{}
	grant := func(subjects []rbacv1.Subject, namespace, role string) {
		for _, s := range subjects {
			user := s.Name
			if s.Kind == rbacv1.ServiceAccountKind {
				user = "system:serviceaccount:" + s.Namespace + ":" + s.Name
			}
			if has[user] == nil {
				has[user] = map[string]bool{}
			}
			for _, rule := range rules[role] {
				for _, verb := range rule.Verbs {
					for _, resource := range rule.Resources {
						if resource == "*" && !slices.Contains(rule.APIGroups, "*") && !slices.Contains(rule.APIGroups, "") {
							resource = "*." + rule.APIGroups[0] // all of groups that have no Secrets
						}
						has[user][verb+" "+resource+" "+namespace] = true
					}
				}
			}
		}
	}
	for _, o := range objects {
		switch o := o.(type) {
		case *rbacv1.ClusterRoleBinding:
			grant(o.Subjects, "", "/"+o.RoleRef.Name)
		case *rbacv1.RoleBinding:
			if o.Name == "system:controller:cloud-provider" {
				continue // upstream's, for its own cloud controllers of that name
			}
			role := "/" + o.RoleRef.Name
			if o.RoleRef.Kind == "Role" {
				role = o.Namespace + role
			}
			grant(o.Subjects, o.Namespace, role)
		}
	}
	return has
}

// A call is where the code asks the API for something, as it stands there, and the rights
// that it needs.
type call struct {
	text  string
	needs []string
}

// asking finds the places where a service asks the API for something.
var asking = regexp.MustCompile(`apiclient\.Request\{Method|apiclient\.Request\{$|\bencode\("|\bstatusPatch\(path, [a-z]+,|[^c] patch\("|:= patch\("|apiclient\.(Get|List|Create|Update|Patch|Delete)[\[(]|\.Watch\(ctx|t\.(objects|users)\.[A-Z][a-z]+\(ctx|t\.writer\.[A-Z][a-z]+\(ctx`)

// The rights of our own services follow from their code: each place that asks is known
// with what it needs, and what no place needs nobody has. They read by the log.
func TestOurOwnServicesHaveTheRightsOfTheirCallsAndNoOthers(t *testing.T) {
	t.Parallel()
	has := rights(t)
	for _, s := range []struct {
		user, dir string
		calls     []call
	}{
		{proto.StatusUser, "services/status", []call{
			{`encode("DELETE", path, &metav1.DeleteOptions{`, []string{"delete pods "}},
			{`statusPatch(path, pod, pod.Status, next)`, []string{"patch pods/status "}},
			{`in.api.Do(ctx, apiclient.Request{Method: "GET", Path: path})`, []string{"get pods "}},
			{`encode("POST", "/api/v1/nodes", node)`, []string{"create nodes "}},
			{`apiclient.Request{Method: "GET", Path: "/api/v1/nodes/"`, []string{"get nodes "}},
			{`statusPatch(path, present, present.Status, next)`, []string{"patch nodes/status "}},
			{`encode("PATCH", path, map[string]any{"metadata": metadata})`, []string{"patch nodes "}},
			{`encode("PATCH", path+"/status"`, nil},                            // statusPatch itself
			{`apiclient.Request{Method: method, Path: path, Body: data}`, nil}, // encode itself
		}},
		{proto.CloudUser, "services/cloud", []call{
			{`patch("/api/v1/nodes/"+n.Name, map`, []string{"patch nodes "}},
			{`patch("/api/v1/nodes/"+n.Name+"/status", map`, []string{"patch nodes/status "}},
			{`apiclient.Request{Method: http.MethodPost, Path: "/api/v1/namespaces/" + s.Namespace + "/events"`, []string{"create events "}},
			{`return &apiclient.Request{`, []string{"patch services/status "}},
			{`apiclient.Request{Method: http.MethodPatch, Path: path, Body: data`, nil}, // patch itself
		}},
		{proto.DNSUser, "services/dns", []call{
			{`apiclient.Create[corev1.Service]`, []string{"create services kube-system"}},
			{`apiclient.Create[discoveryv1.EndpointSlice]`, []string{"create endpointslices kube-system"}},
			{`apiclient.Update[discoveryv1.EndpointSlice]`, []string{"update endpointslices kube-system"}},
		}},
		{proto.ControllerUser("tokens-controller"), "services/controllers/internal/accounttoken", []call{
			{`t.objects.Patch(ctx, secret`, []string{"patch secrets "}},
			{`t.objects.Delete(ctx, secret`, []string{"delete secrets "}},
			{`t.writer.Exists(ctx, t.accounts.Path(`, []string{"get serviceaccounts "}},
			{`t.users.Update(ctx, without(account`, []string{"update serviceaccounts "}},
		}},
		{proto.EventsUser, "services/events", nil},
	} {
		needs := map[string]bool{}
		seen := make([]bool, len(s.calls))
		for _, line := range asks(t, filepath.Join("../../..", s.dir)) {
			i := slices.IndexFunc(s.calls, func(c call) bool { return strings.Contains(line, c.text) })
			if i < 0 {
				t.Errorf("%s: nobody knows which right this needs: %s", s.user, line)
				continue
			}
			seen[i] = true
			for _, right := range s.calls[i].needs {
				needs[right] = true
			}
		}
		for i, c := range s.calls {
			if !seen[i] {
				t.Errorf("%s: nothing in %s asks so any more: %s", s.user, s.dir, c.text)
			}
		}
		for right := range needs {
			if !has[s.user][right] {
				t.Errorf("%s may not %s, and asks for it", s.user, right)
			}
		}
		for right := range has[s.user] {
			if !needs[right] {
				t.Errorf("%s may %s, and never asks for it", s.user, right)
			}
		}
	}
}

// asks gives the lines of a folder's code that ask the API for something.
func asks(t *testing.T, dir string) (lines []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(file string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return err
		}
		data, err := os.ReadFile(file)
		for line := range strings.Lines(string(data)) {
			if line = strings.TrimSpace(line); asking.MatchString(line) && !strings.HasPrefix(line, "//") && !strings.HasPrefix(line, "func ") {
				lines = append(lines, line)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// The controllers speak as upstream's, with upstream's roles. What a stolen key opens is
// the sum of its group's: Secrets are beyond all but two groups, and only one of these may
// give rights that it does not have itself.
func TestOfTheControllersOnlyTwoGroupsReachSecrets(t *testing.T) {
	t.Parallel()
	has := rights(t)
	may := func(g proto.ControllerGroup, verbs []string, resources ...string) bool {
		for _, user := range g.Users {
			for right := range has[proto.ControllerUser(user)] {
				parts := strings.SplitN(right, " ", 3)
				if slices.Contains(verbs, parts[0]) && slices.Contains(resources, parts[1]) {
					return true
				}
			}
		}
		return false
	}
	for _, g := range proto.ControllerGroups() {
		secrets := may(g, []string{"get", "list", "watch", "create", "update", "patch", "*"}, "secrets", "*")
		if want := g.Name == "objects" || g.Name == "credentials"; secrets != want {
			t.Errorf("%s reaches Secrets: %v", g.Name, secrets)
		}
		if escalates := may(g, []string{"escalate", "bind", "impersonate", "*"}, "clusterroles", "roles", "users", "groups", "serviceaccounts", "*"); escalates != (g.Name == "credentials") {
			t.Errorf("%s gives rights: %v", g.Name, escalates)
		}
		for _, user := range g.Users {
			if len(has[proto.ControllerUser(user)]) == 0 {
				t.Errorf("%s: %s may nothing", g.Name, user)
			}
		}
	}
}
