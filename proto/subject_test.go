package proto

import (
	"strings"
	"testing"
)

func TestSubjectsOfObjects(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		key  Key
		want string
	}{
		{"a namespaced object of the core group", Key{GroupResource{"", "pods"}, "default", "web-1"}, "state.core.pods.default.web-1"},
		{"a cluster-scoped object", Key{GroupResource{"", "nodes"}, "", "n1"}, "state.core.nodes._.n1"},
		{"a group with dots", Key{GroupResource{"rbac.authorization.k8s.io", "roles"}, "a", "b"}, "state.rbac=2Eauthorization=2Ek8s=2Eio.roles.a.b"},
		{"a name with colons", Key{GroupResource{"rbac.authorization.k8s.io", "clusterroles"}, "", "system:node"}, "state.rbac=2Eauthorization=2Ek8s=2Eio.clusterroles._.system=3Anode"},
		{"a lease is in a class of its own", Key{Leases, "kube-system", "a"}, "state_leases.coordination=2Ek8s=2Eio.leases.kube-system.a"},
		{"an event too", Key{Events, "default", "web.17"}, "state_events.core.events.default.web=2E17"},
		{"wildcards are escaped", Key{GroupResource{"", "configmaps"}, "a", "*>"}, "state.core.configmaps.a.=2A=3E"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := tc.key.Subject(); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
			back, err := ParseStateSubject(tc.want)
			if err != nil || back != tc.key {
				t.Errorf("parsing %s gives %+v, %v; want %+v", tc.want, back, err, tc.key)
			}
		})
	}
}

func TestBrokenSubjectsAreRefused(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "state", "state.core.pods.default", "state.core.pods.default.a.b", "state.core.pods.default.=", "state.core.pods.default.=4", "state.core.pods.default.=zz", "state..pods.default.a"} {
		if k, err := ParseStateSubject(s); err == nil && k.Name != "" {
			t.Errorf("%q was parsed as %+v", s, k)
		}
	}
}

func FuzzTokenIsReversibleAndSafe(f *testing.F) {
	for _, s := range []string{"", "a", "a.b", "=", "==", "system:node:x", "\x00\xff", "日本"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		token := Token(s)
		if token == "" || strings.ContainsAny(token, ".*> \t\r\n\x00") {
			t.Fatalf("%q became %q, which is no subject token", s, token)
		}
		back, err := Untoken(token)
		if err != nil || back != s {
			t.Fatalf("%q became %q and came back as %q, %v", s, token, back, err)
		}
	})
}

func TestNoTwoStreamsShareASubject(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, s := range Streams() {
		for _, subject := range s.Subjects {
			class, _, _ := strings.Cut(subject, ".")
			if class == "state_barrier" {
				continue // separated by their second token
			}
			if other := seen[class]; other != "" && other != s.Name {
				t.Errorf("%s and %s both take %s", other, s.Name, class)
			}
			seen[class] = s.Name
		}
	}
}

func TestOnlyGatewaysMayWriteState(t *testing.T) {
	t.Parallel()
	for _, r := range Roles("n1") {
		for _, p := range r.Publish {
			if strings.HasPrefix(p, "state") && r.Name != "gateway" {
				t.Errorf("role %s may publish %s", r.Name, p)
			}
			if r.Name == "agent" && (p == ">" || strings.HasPrefix(p, "$JS")) {
				t.Errorf("an agent may publish %s", p)
			}
		}
	}
}
