package store

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"kubus.dev/proto"
)

// account is one of the server's: its users, what it lets others have, and what it has
// of others.
type account struct {
	name    string
	stream  string // the only one that it may keep; "" none
	users   []User
	exports []export
	imports []proto.Crossing
}

// export is a subject of an account for the accounts that are named, and for no others.
type export struct {
	subject  string
	answered bool
	to       []string
}

// accounts puts each credential in the account of its role and opens what is to cross.
func accounts(users []User) []*account {
	var list []*account
	find := func(name string) *account {
		for _, a := range list {
			if a.name == name {
				return a
			}
		}
		a := &account{name: name}
		list = append(list, a)
		return a
	}
	var roles []proto.Role
	for _, u := range users {
		a := find(u.Role.Account())
		a.users = append(a.users, u)
		a.stream = u.Role.Stream
		roles = append(roles, u.Role)
	}
	for _, c := range proto.Crossings(roles) {
		// Whoever answers exports a request, whoever speaks anything else.
		from, to := find(c.From), find(c.To)
		exporter, importer := from, to
		if c.Answered {
			exporter, importer = to, from
		}
		if slices.Contains(importer.imports, c) {
			continue // two credentials of one role
		}
		importer.imports = append(importer.imports, c)
		exporter.export(c, importer.name)
	}
	return list
}

func (a *account) export(c proto.Crossing, to string) {
	for i := range a.exports {
		if e := &a.exports[i]; e.subject == c.Arrives() && e.answered == c.Answered {
			e.to = append(e.to, to)
			return
		}
	}
	a.exports = append(a.exports, export{c.Arrives(), c.Answered, []string{to}})
}

// Kinds of export and import in the server's configuration.
func kind(answered bool) string {
	if answered {
		return "service"
	}
	return "stream"
}

// write gives the account in the server's configuration language.
func (a *account) write(w io.Writer) {
	fmt.Fprintf(w, "  %q: {\n", a.name)
	switch {
	case a.name == proto.LogAccount:
		fmt.Fprintf(w, "    jetstream: enabled\n")
	case a.stream != "":
		fmt.Fprintf(w, "    jetstream: { max_streams: 1 }\n")
	}
	fmt.Fprintf(w, "    users: [\n")
	for _, u := range a.users {
		publish, subscribe := Permissions(u.Role)
		fmt.Fprintf(w, "      { nkey: %q, permissions: {\n", u.PublicKey)
		fmt.Fprintf(w, "        publish: { allow: %s }\n        subscribe: { allow: %s }\n      } }\n", list(publish), list(subscribe))
	}
	fmt.Fprintf(w, "    ]\n    exports: [\n")
	for _, e := range a.exports {
		fmt.Fprintf(w, "      { %s: %q, accounts: %s }\n", kind(e.answered), e.subject, list(e.to))
	}
	fmt.Fprintf(w, "    ]\n    imports: [\n")
	for _, c := range a.imports {
		from := c.From
		if c.Answered {
			from = c.To
		}
		fmt.Fprintf(w, "      { %s: { account: %q, subject: %q }", kind(c.Answered), from, c.Arrives())
		if c.At != "" {
			fmt.Fprintf(w, ", to: %q", c.Subject)
		}
		fmt.Fprintf(w, " }\n")
	}
	fmt.Fprintf(w, "    ]\n  }\n")
}

func list(subjects []string) string {
	quoted := make([]string, len(subjects))
	for i, s := range subjects {
		quoted[i] = fmt.Sprintf("%q", s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
