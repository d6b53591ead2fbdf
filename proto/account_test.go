package proto

import (
	"slices"
	"strings"
	"testing"
)

// JetStream's API crosses between no two accounts, but for four requests about one stream
// that has nothing of the log: no wildcard, no consumer, nothing that deletes.
func TestTheAPIOfStreamsCrossesForOneStreamOnly(t *testing.T) {
	t.Parallel()
	var api []string
	for _, c := range Crossings(append(Roles("node-1", "node-2"), Role{Name: operatorName})) {
		for _, subject := range []string{c.Subject, c.Arrives()} {
			first, _, _ := strings.Cut(subject, ".")
			if strings.ContainsAny(first, "*>") {
				t.Errorf("%s crosses from %s to %s: that is everything", subject, c.From, c.To)
			}
		}
		if !strings.HasPrefix(c.Subject, "$") && !strings.HasPrefix(c.Arrives(), "$") {
			continue
		}
		if c.From != eventsName || c.To != automationName || strings.HasPrefix(c.Subject, "$") || !c.Answered {
			t.Errorf("%s crosses from %s to %s as %s", c.Subject, c.From, c.To, c.Arrives())
		}
		api = append(api, c.Arrives())
	}
	want := []string{"$JS.API.STREAM.CREATE.CHANGES", "$JS.API.STREAM.UPDATE.CHANGES", "$JS.API.STREAM.INFO.CHANGES", "$JS.API.STREAM.MSG.GET.CHANGES"}
	if !slices.Equal(api, want) {
		t.Errorf("across accounts go\n%q, want\n%q", api, want)
	}
}

// Into the account of the log come requests to gateways and what peers say in their
// tunnels, each of one credential, and nothing that a state stream stores.
func TestNothingThatCrossesIsOfTheLog(t *testing.T) {
	t.Parallel()
	for _, c := range Crossings(append(Roles("node-1"), Role{Name: operatorName})) {
		if c.To != LogAccount {
			continue
		}
		tokens := strings.Split(c.Arrives(), ".")
		switch {
		case len(tokens) == 3 && (tokens[0] == "api" || tokens[0] == "log") && tokens[1] != "*" && tokens[2] == "*" && c.Answered:
		case strings.HasPrefix(c.Arrives(), "_INBOX.gateway.") && tokens[2] != "*" && tokens[2] != ">" && !c.Answered:
		case c.Arrives() == HeartbeatSubject("node-1") && c.From == AgentName("node-1") && !c.Answered:
		default:
			t.Errorf("%s comes from %s", c.Arrives(), c.From)
		}
		for _, s := range StateStreams() {
			for _, subject := range s.Subjects {
				stored, _, _ := strings.Cut(subject, ".")
				if tokens[0] == stored {
					t.Errorf("%s comes from %s, and %s stores %s", c.Arrives(), c.From, s.Name, subject)
				}
			}
		}
	}
}
