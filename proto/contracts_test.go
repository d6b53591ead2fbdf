package proto

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
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
	for name, table := range map[string]string{"streams": streamTable(), "roles": roleTable(), "subjects": subjectTable(), "crossings": crossingTable()} {
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
		if s.MaxMessages > 0 {
			kept = append(kept, fmt.Sprintf("at most %d messages", s.MaxMessages))
		}
		if s.MaxMessageBytes > 0 {
			kept = append(kept, fmt.Sprintf("none above %d KiB", s.MaxMessageBytes>>10))
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
	b.WriteString("| role | speaks as | publishes | subscribes to | reads of the log | its own stream |\n|---|---|---|---|---|---|\n")
	for _, r := range Roles("NODE") {
		var reads, streams []string
		for _, read := range r.Reads {
			if len(read.Resources) == 0 {
				reads = append(reads, read.Stream)
			}
			for _, gr := range read.Resources {
				reads = append(reads, gr.String())
			}
		}
		if r.Stream != "" {
			streams = append(streams, r.Stream)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", r.Name, list(r.Identities), list(r.Publish), list(r.Subscribe), list(reads), list(streams))
	}
	return b.String()
}

func crossingTable() string {
	var b strings.Builder
	b.WriteString("| from the account of | to that of | subject | answers |\n|---|---|---|---|\n")
	for _, c := range Crossings(Roles("NODE")) {
		answers := "-"
		if c.Answered {
			answers = "to where the request came from"
		}
		subject := "`" + c.Subject + "`"
		if c.At != "" {
			subject += ", there `" + c.At + "`"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", c.From, c.To, subject, answers)
	}
	return b.String()
}

func subjectTable() string {
	var b strings.Builder
	b.WriteString("| subject | from | to | what |\n|---|---|---|---|\n")
	for _, r := range Contract() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", r.Subject, r.From, r.To, r.What)
	}
	return b.String()
}

func TestEverySubjectIsInTheContract(t *testing.T) {
	contract, err := parser.ParseFile(token.NewFileSet(), "contract.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	ast.Inspect(contract, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Ident:
			named[n.Name] = true
		case *ast.SelectorExpr: // Key.Subject
			named[n.Sel.Name] = true
		}
		return true
	})
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && strings.HasSuffix(fn.Name.Name, "Subject") && !strings.HasPrefix(fn.Name.Name, "Parse") && fn.Name.IsExported() && !named[fn.Name.Name] {
				t.Errorf("%s of %s is no row of contract.go: say who uses it", fn.Name.Name, file)
			}
		}
	}
}
