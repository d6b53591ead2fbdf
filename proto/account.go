package proto

import "slices"

// Every credential has an account of its own. The server answers a client on any
// subject that the client names, and publishes the answer itself: not what the client
// may publish bounds what it can reach so, but what there is in its account. So there
// is nothing but what the client may say anyway (docs/adr/0006-accounts.md).
//
// LogAccount is that of the gateways and the operator; the state streams are there.
const LogAccount = "LOG"

// Account is where the role's clients are.
func (r Role) Account() string {
	if r.Name == gatewayName || r.Name == operatorName {
		return LogAccount
	}
	return r.Client()
}

// Crossing is a kind of message that goes from one account to another. There are no
// others: a client publishes Subject in From, and subscribers in To get it.
type Crossing struct {
	From, To string // accounts
	Subject  string // in From
	At       string // in To; "": the same
	// Answered: a request. The server leads its answer back to where the client asked
	// for it, in From, whatever that is; who answers sees a subject of the server's.
	Answered bool
}

// changesAPI is how the events service keeps its stream in the account of automation.
var changesAPI = []string{"STREAM.CREATE.", "STREAM.UPDATE.", "STREAM.INFO.", "STREAM.MSG.GET."}

// StreamAPI is the prefix under which a client with a key reaches JetStream where its
// stream is in another account; "" is the usual one. The server itself answers below the
// usual one in each account, be it that there is no JetStream.
func StreamAPI(client string) string {
	if client == eventsName {
		return "changes.api"
	}
	return ""
}

// Arrives is the subject in To.
func (c Crossing) Arrives() string {
	if c.At != "" {
		return c.At
	}
	return c.Subject
}

// Crossings lists what passes between the accounts of the roles.
func Crossings(roles []Role) []Crossing {
	var out []Crossing
	accounts := map[string]bool{}
	for _, r := range roles {
		accounts[r.Account()] = true
	}
	add := func(c Crossing) {
		if accounts[c.From] && accounts[c.To] {
			out = append(out, c)
		}
	}
	for _, r := range roles {
		own := r.Account()
		if own == LogAccount {
			continue
		}
		for _, identity := range r.Identities {
			add(Crossing{own, LogAccount, "api." + Token(identity) + ".*", "", true})
		}
		if len(r.Reads) > 0 {
			add(Crossing{own, LogAccount, "log." + Token(r.Client()) + ".*", "", true})
		}
		for _, peer := range r.Peers() {
			add(Crossing{own, LogAccount, GatewayInbox(peer) + ".>", "", false})
			add(Crossing{LogAccount, own, PeerInbox(peer) + ".>", "", false})
		}
		if len(r.Peers()) > 0 {
			add(Crossing{LogAccount, own, GatewayHelloSubject, "", false})
		}
		if r.Name == agentName {
			add(Crossing{LogAccount, own, NodeTunnelSubject(r.Node), "", true})
			for _, from := range who(roles, Role.publishes, "node.*.volume") {
				add(Crossing{from, own, NodeVolumeSubject(r.Node), "", true})
			}
			add(Crossing{own, statusName, "report." + Token(r.Node) + ".>", "", true})
			for _, to := range who(roles, Role.subscribes, HeartbeatSubjects) {
				add(Crossing{own, to, HeartbeatSubject(r.Node), "", false})
			}
			add(Crossing{metricsName, own, UsageSampleSubject, "", false})
			add(Crossing{own, metricsName, UsageSubject(r.Node), "", false})
		}
		if r.Name == metricsName {
			add(Crossing{LogAccount, own, MetricsRequestSubject, "", true})
			for _, to := range who(roles, Role.subscribes, UsageFreshSubject) {
				add(Crossing{own, to, UsageFreshSubject, "", false})
			}
		}
		if r.Name == eventsName {
			add(Crossing{own, automationName, "events.>", "", true})
			for _, request := range changesAPI {
				request += ChangesStream.Name
				add(Crossing{From: own, To: automationName, Subject: StreamAPI(eventsName) + "." + request, At: "$JS.API." + request, Answered: true})
			}
		}
	}
	return out
}

// who gives the accounts of the roles that use a subject.
func who(roles []Role, use func(Role, string) bool, subject string) (accounts []string) {
	for _, r := range roles {
		if use(r, subject) && !slices.Contains(accounts, r.Account()) {
			accounts = append(accounts, r.Account())
		}
	}
	return accounts
}

func (r Role) publishes(subject string) bool  { return slices.Contains(r.Publish, subject) }
func (r Role) subscribes(subject string) bool { return slices.Contains(r.Subscribe, subject) }
