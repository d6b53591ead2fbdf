package shim

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var logTime = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)

func TestOutputBecomesCRIRecords(t *testing.T) {
	t.Parallel()
	const stamp = "2026-01-02T03:04:05.000000006Z stdout "
	long := strings.Repeat("x", maxLine)
	for name, c := range map[string]struct {
		writes []string
		want   string
	}{
		"whole lines":                         {[]string{"a\nb\n"}, stamp + "F a\n" + stamp + "F b\n"},
		"a line in two writes":                {[]string{"a", "b\n"}, stamp + "F ab\n"},
		"an empty line":                       {[]string{"\n"}, stamp + "F \n"},
		"a last line without newline":         {[]string{"a\nb"}, stamp + "F a\n" + stamp + "P b\n"},
		"a line as long as a record":          {[]string{long + "\n"}, stamp + "F " + long + "\n"},
		"a line longer than a record":         {[]string{long + "yz\n"}, stamp + "P " + long + "\n" + stamp + "F yz\n"},
		"a long line that comes byte by byte": {strings.Split(long+"y\n", ""), stamp + "P " + long + "\n" + stamp + "F y\n"},
		"carriage returns and zeros stay":     {[]string{"a\r\x00\n"}, stamp + "F a\r\x00\n"},
		"nothing":                             {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := openLog(filepath.Join(t.TempDir(), "0.log"), 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			s := &stream{log: l, name: "stdout"}
			for _, w := range c.writes {
				s.write([]byte(w), logTime)
			}
			s.end(logTime)
			l.close()
			got, err := os.ReadFile(l.path)
			if err != nil || string(got) != c.want {
				t.Errorf("got %q, %v\nwant %q", got, err, c.want)
			}
		})
	}
}

func TestALogRotatesAndLosesNoRecordThatIsKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l, err := openLog(filepath.Join(dir, "0.log"), 4096, 3)
	if err != nil {
		t.Fatal(err)
	}
	s := &stream{log: l, name: "stdout"}
	for i := range 500 {
		s.write(fmt.Appendf(nil, "line %04d\n", i), logTime)
	}
	l.close()
	files, _ := filepath.Glob(filepath.Join(dir, "0.log*"))
	if len(files) != 3 {
		t.Fatalf("files: %v", files)
	}
	var all bytes.Buffer
	for _, f := range append(files[1:], files[0]) { // the oldest first, the one in use last
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if len(data) > 4096 {
			t.Errorf("%s has %d bytes", f, len(data))
		}
		all.Write(data)
	}
	numbers := regexp.MustCompile(`line (\d+)`).FindAllString(all.String(), -1)
	if last := numbers[len(numbers)-1]; last != "line 0499" {
		t.Errorf("last is %s", last)
	}
	for i := 1; i < len(numbers); i++ {
		if numbers[i] <= numbers[i-1] {
			t.Errorf("%s after %s", numbers[i], numbers[i-1])
		}
	}
	if len(numbers) < 150 {
		t.Errorf("only %d records are left", len(numbers))
	}
}

func BenchmarkLog(b *testing.B) {
	l, err := openLog(filepath.Join(b.TempDir(), "0.log"), 10<<20, 5)
	if err != nil {
		b.Fatal(err)
	}
	s := &stream{log: l, name: "stdout"}
	chunk := bytes.Repeat([]byte(strings.Repeat("x", 127)+"\n"), 512)
	b.SetBytes(int64(len(chunk)))
	for b.Loop() {
		s.write(chunk, logTime)
	}
}
