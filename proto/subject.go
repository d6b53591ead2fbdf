package proto

import (
	"fmt"
	"strings"
)

// coreGroup and clusterScope stand for the empty group and the empty namespace
// in a subject, where no token may be empty. Neither can be a real value: API
// groups other than the core one hold a dot, namespaces no underscore.
const (
	coreGroup    = "core"
	clusterScope = "_"
)

// GroupResource names a collection. Group is empty for the core group; Resource
// is the lower-case plural, as in a URL.
type GroupResource struct {
	Group    string
	Resource string
}

func (gr GroupResource) String() string {
	if gr.Group == "" {
		return gr.Resource
	}
	return gr.Resource + "." + gr.Group
}

// Key names one object in the state log. Namespace is empty for
// cluster-scoped resources.
type Key struct {
	GroupResource
	Namespace string
	Name      string
}

func (k Key) String() string {
	if k.Namespace == "" {
		return k.GroupResource.String() + "/" + k.Name
	}
	return k.GroupResource.String() + "/" + k.Namespace + "/" + k.Name
}

// Subject is the literal subject that holds the object's versions:
// <class>.<group>.<resource>.<namespace>.<name>, every token escaped. The class
// is that of the stream which keeps the resource (StreamFor).
func (k Key) Subject() string {
	var b strings.Builder
	b.Grow(len(k.Group) + len(k.Resource) + len(k.Namespace) + len(k.Name) + 32)
	b.WriteString(StreamFor(k.GroupResource).Class)
	b.WriteByte('.')
	b.WriteString(groupToken(k.Group))
	b.WriteByte('.')
	appendToken(&b, k.Resource)
	b.WriteByte('.')
	if k.Namespace == "" {
		b.WriteString(clusterScope)
	} else {
		appendToken(&b, k.Namespace)
	}
	b.WriteByte('.')
	appendToken(&b, k.Name)
	return b.String()
}

// ResourceSubjects matches every object of gr.
func ResourceSubjects(gr GroupResource) string {
	return StreamFor(gr).Class + "." + groupToken(gr.Group) + "." + Token(gr.Resource) + ".>"
}

// ParseStateSubject is the inverse of Key.Subject.
func ParseStateSubject(subject string) (Key, error) {
	tokens := strings.Split(subject, ".")
	if len(tokens) != 5 {
		return Key{}, fmt.Errorf("subject %q: want 5 tokens, got %d", subject, len(tokens))
	}
	var parts [4]string
	for i, token := range tokens[1:] {
		part, err := Untoken(token)
		if err != nil {
			return Key{}, fmt.Errorf("subject %q: %w", subject, err)
		}
		parts[i] = part
	}
	if parts[0] == coreGroup {
		parts[0] = ""
	}
	if tokens[3] == clusterScope {
		parts[2] = ""
	}
	return Key{GroupResource{parts[0], parts[1]}, parts[2], parts[3]}, nil
}

// Subjects of the API over the bus. Identity is the Kubernetes user name that
// the credential pins; the gateway trusts it because the server enforces it.
func APIRequestSubject(identity string) string { return "api." + Token(identity) + ".request" }
func APIBulkSubject(identity string) string    { return "api." + Token(identity) + ".bulk" }
func APIFenceSubject(identity string) string   { return "api." + Token(identity) + ".fence" }
func APITunnelSubject(identity string) string  { return "api." + Token(identity) + ".tunnel" }

// APISubjects is what gateways subscribe to, in the queue group APIQueue.
const (
	APISubjects = "api.*.*"
	APIQueue    = "gateway"
)

// ParseAPISubject splits api.<identity>.<verb>.
func ParseAPISubject(subject string) (identity, verb string, err error) {
	tokens := strings.Split(subject, ".")
	if len(tokens) != 3 || tokens[0] != "api" {
		return "", "", fmt.Errorf("subject %q is none of the API", subject)
	}
	identity, err = Untoken(tokens[1])
	return identity, tokens[2], err
}

// Subjects on which gateways let a client read the log (package feed).
func LogStateSubject(client string) string { return "log." + Token(client) + ".state" }
func LogReadSubject(client string) string  { return "log." + Token(client) + ".read" }

// LogSubjects is what gateways subscribe to, in the queue group APIQueue.
const LogSubjects = "log.*.*"

// ParseLogSubject splits log.<client>.<verb>.
func ParseLogSubject(subject string) (client, verb string, err error) {
	tokens := strings.Split(subject, ".")
	if len(tokens) != 3 || tokens[0] != "log" {
		return "", "", fmt.Errorf("subject %q is none of the log", subject)
	}
	client, err = Untoken(tokens[1])
	return client, tokens[2], err
}

// GatewayHelloSubject: core, never stored; a gateway that begins to answer says so
// there, so that whoever spoke to the one before notices at once.
const GatewayHelloSubject = "hello.gateway"

// HeartbeatSubject: core, never stored. See message.Heartbeat.
func HeartbeatSubject(node string) string { return "heartbeat.node." + Token(node) }

// HeartbeatNode gives the node that a heartbeat's subject pins.
func HeartbeatNode(subject string) (string, error) {
	token, ok := strings.CutPrefix(subject, "heartbeat.node.")
	if !ok {
		return "", fmt.Errorf("subject %q is no heartbeat", subject)
	}
	return Untoken(token)
}

// HeartbeatSubjects matches the heartbeats of all nodes.
const HeartbeatSubjects = "heartbeat.node.*"

// LeaderSubject: core, never stored; the holder of a fence announces itself there.
func LeaderSubject(fence string) string { return "heartbeat.leader." + Token(fence) }

// PodReportSubject and NodeReportSubject: stream REPORTS, last per subject.
func PodReportSubject(node, namespace, name string) string {
	return "report." + Token(node) + ".pod." + Token(namespace) + "." + Token(name)
}
func NodeReportSubject(node string) string { return "report." + Token(node) + ".node" }

// ReportSubjects are all reports of a node.
func ReportSubjects(node string) string { return "report." + Token(node) + ".>" }

// ReportNode gives the node that a report's subject pins.
func ReportNode(subject string) (string, error) {
	tokens := strings.Split(subject, ".")
	if len(tokens) < 3 || tokens[0] != "report" {
		return "", fmt.Errorf("subject %q is no report", subject)
	}
	return Untoken(tokens[1])
}

// NodeTunnelSubject is where the agent of a node accepts tunnels.
func NodeTunnelSubject(node string) string { return "node." + Token(node) + ".tunnel" }

// UsageSampleSubject: core, never stored; the metrics service asks every agent to read
// what its node uses.
const UsageSampleSubject = "usage.sample"

// UsageSubject: core, never stored; the answer of a node. See message.NodeUsage.
func UsageSubject(node string) string { return "usage.node." + Token(node) }

// UsageSubjects matches those of all nodes.
const UsageSubjects = "usage.node.*"

// UsageNode gives the node that a usage message's subject pins.
func UsageNode(subject string) (string, error) {
	token, ok := strings.CutPrefix(subject, "usage.node.")
	if !ok {
		return "", fmt.Errorf("subject %q tells no usage", subject)
	}
	return Untoken(token)
}

// UsageFreshSubject: core, never stored; the metrics service has new samples of all nodes
// that answer.
const UsageFreshSubject = "usage.fresh"

// MetricsRequestSubject is where the metrics service answers requests to its part of the
// API, which a gateway has authorized; its instances share MetricsQueue.
const (
	MetricsRequestSubject = "metrics.request"
	MetricsQueue          = "metrics"
)

// NodeVolumeSubject is where the agent of a node makes and removes the folders of
// persistent volumes. See message.VolumeRequest.
func NodeVolumeSubject(node string) string { return "node." + Token(node) + ".volume" }

// WatermarkSubject: core; gateways announce there the newest revision of a
// stream that is known to be on disk.
func WatermarkSubject(stream string) string { return "watermark." + stream }

// FenceSubject holds a fence's present epoch and holder, in the STATE stream.
func FenceSubject(name string) string { return "state_fence." + Token(name) }

// ChangeSubject is where services/events announces one committed change; verb is
// added, modified or deleted.
func ChangeSubject(cluster string, k Key, verb string) string {
	ns := clusterScope
	if k.Namespace != "" {
		ns = Token(k.Namespace)
	}
	return "events." + Token(cluster) + "." + groupToken(k.Group) + "." + Token(k.Resource) + "." + ns + "." + Token(k.Name) + "." + verb
}

func groupToken(group string) string {
	if group == "" {
		return coreGroup
	}
	return Token(group)
}

// Token escapes s so that it is one subject token: letters, digits, '-' and '_'
// stand for themselves, every other byte is '=' and two upper-case hex digits.
// The empty string becomes "=".
func Token(s string) string {
	if s == "" {
		return "="
	}
	plain := true
	for i := 0; i < len(s); i++ {
		if !plainByte(s[i]) {
			plain = false
			break
		}
	}
	if plain {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	appendToken(&b, s)
	return b.String()
}

func appendToken(b *strings.Builder, s string) {
	const hex = "0123456789ABCDEF"
	if s == "" {
		b.WriteByte('=')
		return
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; plainByte(c) {
			b.WriteByte(c)
		} else {
			b.WriteByte('=')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
}

func plainByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c >= 'A' && c <= 'Z' || c == '_'
}

// Untoken is the inverse of Token.
func Untoken(token string) (string, error) {
	if token == "=" {
		return "", nil
	}
	if strings.IndexByte(token, '=') < 0 {
		if token == "" {
			return "", fmt.Errorf("empty token")
		}
		return token, nil
	}
	out := make([]byte, 0, len(token))
	for i := 0; i < len(token); i++ {
		c := token[i]
		if c != '=' {
			out = append(out, c)
			continue
		}
		if i+2 >= len(token) {
			return "", fmt.Errorf("token %q ends inside an escape", token)
		}
		hi, lo := unhex(token[i+1]), unhex(token[i+2])
		if hi < 0 || lo < 0 {
			return "", fmt.Errorf("token %q holds a bad escape", token)
		}
		out = append(out, byte(hi<<4|lo))
		i += 2
	}
	return string(out), nil
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
