package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const first = `<testsuites><testsuite>
<testcase name="[SynchronizedBeforeSuite]"></testcase>
<testcase name="[It] [sig-apps] Deployment should run [Conformance]"></testcase>
<testcase name="[It] [sig-apps] CronJob should replace jobs [Slow]"><failure message="[FAILED] creating cronjob in cronjob-1234: the server could not find the requested resource&#xA;more"></failure></testcase>
<testcase name="[It] [sig-apps] CronJob should list | jobs"><failure message=""> text only </failure></testcase>
<testcase name="[It] [sig-node] Pods should start"><failure message="timed out"></failure></testcase>
<testcase name="[It] [sig-node] Feature not selected"><skipped message="skipped"></skipped></testcase>
</testsuite></testsuites>`

const rerun = `<testsuites><testsuite>
<testcase name="[It] [sig-node] Pods should start"></testcase>
</testsuite></testsuites>`

func TestTablesOfARunAndItsRerun(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "parallel_junit_01.xml"), first)
	again := write(t, filepath.Join(t.TempDir(), "junit.xml"), rerun)
	page := write(t, filepath.Join(dir, "page.md"), "# Page\n"+begin+"\nold\n"+end+"\nrest\n")
	if err := run(page, []string{dir, again}, nil); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	want := "# Page\n" + begin + `
| area | passed | failed | tests |
|---|---|---|---|
| sig-apps | 1 | 2 | 3 |
| sig-node | 1 | 0 | 1 |
| **all** | 2 | 2 | 4 |

| what failed | failed of | the failure, or the most frequent one |
|---|---|---|
| sig-apps CronJob | 2 of 2 | creating cronjob in …: the server could not find the requested resource |
` + end + "\nrest\n"
	if string(got) != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestWhatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ name, report, page, want string }{
		{"no report", filepath.Join(dir, "none"), "", "no such file"},
		{"not XML", write(t, filepath.Join(dir, "bad.xml"), "<a"), "", "XML syntax error"},
		{"a folder without reports", t.TempDir(), "", "no results"},
		{"a page without markers", write(t, filepath.Join(dir, "r.xml"), rerun), write(t, filepath.Join(dir, "p.md"), "x"), "no markers"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := run(c.page, []string{c.report}, os.Stderr)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestSubject(t *testing.T) {
	for name, want := range map[string]string{
		"[sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] Scaling should happen in order": "StatefulSet Basic StatefulSet",
		"[sig-auth] [FeatureGate:X] ClusterTrustBundle API should support":                                         "ClusterTrustBundle API",
		"[sig-scheduling] nothing": "nothing",
	} {
		if got := subject(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
