package controllers

import (
	"context"
	"errors"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/cluster"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/controllers/internal/feed"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/write"
)

// nowhere is a log and a bus that say nothing; it remembers what was listened to.
type nowhere struct{ heard []string }

func (*nowhere) StreamState(context.Context, string) (bus.StreamState, error) {
	return bus.StreamState{}, errors.New("nobody answers")
}

func (*nowhere) Read(ctx context.Context, _ statelog.Reading, _ statelog.Handler) error {
	<-ctx.Done()
	return ctx.Err()
}

func (n *nowhere) Hear(subject string, _ func(string, []byte)) (func(), error) {
	n.heard = append(n.heard, subject)
	return func() {}, nil
}

func (*nowhere) Request(context.Context, string, []byte) ([]byte, error) {
	return nil, bus.ErrNoResponders
}
func (*nowhere) Flush(context.Context) error { return nil }
func (*nowhere) OnReconnect(func()) func()   { return func() {} }

// asks is what the controllers of a group look at and listen to when they are made.
func asks(t *testing.T, g frame.Group) (reads []proto.GroupResource, all bool, heard []string) {
	t.Helper()
	settings := &frame.Settings{PodCIDR: "10.244.0.0/16", NodeMaskSize: 24, RootCA: "CA", SigningCertFile: "ca.crt", SigningKeyFile: "ca.key", NodeEvictionRate: 1, TerminatedPodThreshold: 1}
	world, n := mirror.NewWorld(), &nowhere{}
	views := statelog.OpenViewsFrom(t.Context(), n, zap.NewNop())
	every := feed.New(views.Stream(proto.StateStream), nil, zap.NewNop())
	for _, d := range g.Controllers {
		e := frame.NewEnv(d.Name, d.User, world, write.New(nil, nil), settings, zap.NewNop())
		e.Views, e.Feed, e.Bus = views, every, n
		loop, err := d.Make(e)
		if err != nil || loop == nil {
			t.Fatalf("%s: %v, %v", d.Name, loop, err)
		}
		t.Cleanup(e.End)
		reads = append(reads, e.Needs()...)
	}
	return append(reads, world.Followed()...), every.Subscribed(), n.heard
}

// A group's credential opens what the code of its controllers asks for, and nothing else:
// what is too much here fails as what is too little.
func TestTheCredentialOfAGroupOpensWhatItsControllersAskFor(t *testing.T) {
	t.Parallel()
	groups, roles := Groups(), proto.ControllerGroups()
	if len(groups) != len(roles) {
		t.Errorf("%d groups have %d credentials", len(groups), len(roles))
	}
	for _, g := range groups {
		i := slices.IndexFunc(roles, func(r proto.ControllerGroup) bool { return r.Name == g.Name })
		if i < 0 {
			t.Errorf("%s has no credential", g.Name)
			continue
		}
		role := roles[i]
		var users []string
		for _, d := range g.Controllers {
			users = append(users, d.User)
		}
		same(t, g.Name+" speaks as", sorted(users), sorted(role.Users))
		if !proto.MayHold(proto.ControllersLeader(g.Name), proto.ControllersFence(g.Name)) {
			t.Errorf("%s: %s may not take its fence", g.Name, proto.ControllersLeader(g.Name))
		}

		reads, all, heard := asks(t, g)
		var want, may []string
		for _, gr := range reads {
			if s := proto.StreamFor(gr); s.Name != proto.StateStream.Name {
				want = append(want, "all of "+s.Name)
			} else if !all {
				want = append(want, gr.String())
			}
		}
		if all {
			want = append(want, "all of "+proto.StateStream.Name)
		}
		for _, read := range role.Reads {
			if len(read.Resources) == 0 {
				may = append(may, "all of "+read.Stream)
			}
			for _, gr := range read.Resources {
				may = append(may, gr.String())
			}
		}
		same(t, g.Name+" reads", sorted(want), sorted(may))
		same(t, g.Name+" hears", sorted(heard), sorted(role.Subscribe))
		var publish []string
		if imports(t, g, "internal/volume/local") {
			publish = []string{"node.*.volume"}
		}
		same(t, g.Name+" publishes", publish, role.Publish)
	}
}

// Who reads all Secrets: two groups, by what they do.
func TestOnlyWhatHandlesEveryObjectMaySeeSecretsInTheLog(t *testing.T) {
	t.Parallel()
	for _, g := range proto.ControllerGroups() {
		may := proto.May(g.Reads, proto.StateStream.Name, proto.GroupResource{Resource: "secrets"})
		if want := g.Name == "objects" || g.Name == "credentials"; may != want {
			t.Errorf("%s: %v", g.Name, may)
		}
	}
}

func same(t *testing.T, what string, want, got []string) {
	t.Helper()
	for _, s := range want {
		if !slices.Contains(got, s) {
			t.Errorf("%s %s and may not", what, s)
		}
	}
	for _, s := range got {
		if !slices.Contains(want, s) {
			t.Errorf("%s %s by its credential, and does not need it", what, s)
		}
	}
}

func sorted(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// imports tells whether a package of the group's controllers, as groups.go has them, imports
// another.
func imports(t *testing.T, g frame.Group, path string) (found bool) {
	t.Helper()
	text, err := os.ReadFile("groups.go")
	if err != nil {
		t.Fatal(err)
	}
	_, own, _ := strings.Cut(string(text), `{Name: "`+g.Name+`"`)
	own, _, _ = strings.Cut(own, `{Name: "`)
	err = filepath.WalkDir("internal", func(file string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, i := range f.Imports {
			found = found || strings.HasSuffix(i.Path.Value, path+`"`) && strings.Contains(own, f.Name.Name+".")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestWhatAProcessConnectsWith(t *testing.T) {
	t.Parallel()
	names := func(options []cluster.Options) (names []string) {
		for _, o := range options {
			names = append(names, o.Name)
		}
		return names
	}
	for _, c := range []struct {
		run, parts []string
		whole      string
		logs       int // credentials that read the log of objects
	}{
		{run: []string{"*"}, whole: "controllers-objects", logs: 1,
			parts: []string{"controllers-workloads", "controllers-network", "controllers-lifecycle", "controllers-credentials", "controllers-storage", "controllers-nodes", "controllers-autoscaling"}},
		{run: []string{"objects"}, whole: "controllers-objects", logs: 1},
		{run: []string{"*", "-objects", "-credentials"}, whole: "controllers-workloads", logs: 6,
			parts: []string{"controllers-network", "controllers-lifecycle", "controllers-storage", "controllers-nodes", "controllers-autoscaling"}},
		{run: []string{"deployment", "replicaset"}, whole: "controllers-workloads", logs: 1},
	} {
		cfg := Default()
		cfg.Controllers, cfg.Bus.NkeySeedFile = c.run, "keys/controllers-*.nk"
		o := Options(&cfg)
		if o.Name != c.whole || !slices.Equal(names(o.Parts), c.parts) || o.NkeySeedFile != "keys/"+c.whole+".nk" {
			t.Errorf("%v: by %s (%s) and %v", c.run, o.Name, o.NkeySeedFile, names(o.Parts))
		}
		logs := 0
		for _, one := range append([]cluster.Options{o}, o.Parts...) {
			if !one.NoLog {
				logs++
			}
		}
		if logs != c.logs {
			t.Errorf("%v: %d read the log", c.run, logs)
		}
	}
}
