package usage

import (
	"os"
	"path/filepath"
	"testing"

	"kubus.dev/services/kit/kittest"
)

// tree writes files below a new folder.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestAGroupIsReadOnBothKindsOfHosts(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		v2    bool
		path  string
		files map[string]string
		want  counters
		err   bool
	}{
		{"v1: what lies idle in files is not in use", false, "/kubus/pod1/c", map[string]string{
			"cpuacct/kubus/pod1/c/cpuacct.usage":        "1500000000\n",
			"memory/kubus/pod1/c/memory.usage_in_bytes": "1000\n",
			"memory/kubus/pod1/c/memory.stat":           "inactive_file 1\ntotal_cache 5\ntotal_inactive_file 400\n",
		}, counters{1_500_000_000, 600}, false},
		{"v1: the machine is the root", false, "/", map[string]string{
			"cpuacct/cpuacct.usage": "7\n", "memory/memory.usage_in_bytes": "10\n", "memory/memory.stat": "total_inactive_file 3\n",
		}, counters{7, 7}, false},
		{"v1: statistics older than the usage never give less than nothing", false, "/c", map[string]string{
			"cpuacct/c/cpuacct.usage": "7\n", "memory/c/memory.usage_in_bytes": "10\n", "memory/c/memory.stat": "total_inactive_file 30\n",
		}, counters{7, 0}, false},
		{"v2: microseconds become nanoseconds", true, "/kubus/pod1/c", map[string]string{
			"kubus/pod1/c/cpu.stat":       "usage_usec 2500\nuser_usec 2000\n",
			"kubus/pod1/c/memory.current": "1000\n",
			"kubus/pod1/c/memory.stat":    "anon 500\nfile 500\ninactive_file 100\n",
		}, counters{2_500_000, 900}, false},
		{"v2: the root has no memory.current", true, "/", map[string]string{
			"cpu.stat": "usage_usec 1\n", "memory.stat": "anon 500\nfile 300\nkernel 9\ninactive_file 100\n",
		}, counters{1000, 700}, false},
		{"a group that is gone", false, "/gone", nil, counters{}, true},
		{"a file that is no number", false, "/c", map[string]string{"cpuacct/c/cpuacct.usage": "many\n"}, counters{}, true},
		{"a statistic that the kernel does not give", true, "/c", map[string]string{"c/cpu.stat": "user_usec 1\n"}, counters{}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := newReader(tree(t, tc.files), tc.v2).group(tc.path)
			if (err != nil) != tc.err || err == nil && got != tc.want {
				t.Errorf("got %+v, %v; want %+v, error %v", got, err, tc.want, tc.err)
			}
		})
	}
}

// The machine that runs the tests has groups of its own kind.
func TestTheHostItselfCanBeRead(t *testing.T) {
	t.Parallel()
	r := hostReader()
	first, err := r.group("/")
	if err != nil {
		kittest.Lack(t, "control groups: "+err.Error())
	}
	for range 1_000_000 {
		if again, err := r.group("/"); err != nil || again.cpu > first.cpu {
			if err != nil || again.memory == 0 {
				t.Errorf("got %+v, %v after %+v", again, err, first)
			}
			return
		}
	}
	t.Error("reading takes no CPU time")
}

func BenchmarkGroup(b *testing.B) {
	r := hostReader()
	for b.Loop() {
		if _, err := r.group("/"); err != nil {
			b.Skip(err)
		}
	}
}
