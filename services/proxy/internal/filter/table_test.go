package filter

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	networkingv1 "k8s.io/api/networking/v1"

	"kubus.dev/services/proxy/internal/policy"
)

// table is a node "here" with pods a and b of namespace red, and c of blue elsewhere.
func table(t *testing.T) *Table {
	t.Helper()
	table := NewTable("here")
	table.SetRanges([]netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")})
	table.SetNamespace("red", labels.Set{"team": "red"}, true)
	table.SetNamespace("blue", labels.Set{"team": "blue"}, true)
	pod(table, "red/a", "here", "10.244.1.2", "app=a")
	pod(table, "red/b", "here", "10.244.1.3", "app=b")
	pod(table, "blue/c", "there", "10.244.2.2", "app=c")
	return table
}

func pod(table *Table, name, node, addr, set string) {
	l, _ := labels.ConvertSelectorToLabelsMap(set)
	table.SetPod(nameOf(name), &policy.Pod{Name: nameOf(name), Labels: l, Node: node, Addr: netip.MustParseAddr(addr),
		Ports: []policy.PodPort{{Name: "web", Protocol: policy.TCP, Number: 8080}}})
}

func nameOf(text string) policy.Name {
	namespace, name, _ := strings.Cut(text, "/")
	return policy.Name{Namespace: namespace, Name: name}
}

// say tells of a policy of red.
func say(t *testing.T, table *Table, name, spec string) {
	t.Helper()
	obj := &networkingv1.NetworkPolicy{}
	obj.Namespace, obj.Name = "red", name
	if err := yaml.UnmarshalStrict([]byte(spec), &obj.Spec); err != nil {
		t.Fatal(err)
	}
	p, problems := policy.FromObject(obj)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	table.SetPolicy(p.Name, p)
}

// told is a delta in lines.
func told(d *Delta) (lines []string) {
	for _, s := range d.NewSets {
		lines = append(lines, "set "+s.Name)
	}
	for _, c := range d.NewChains {
		lines = append(lines, "chain "+c)
	}
	for _, e := range d.Less {
		lines = append(lines, fmt.Sprintf("%s less %s", e.Set.Name, e.Key))
	}
	for _, e := range d.More {
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s more %s %s", e.Set.Name, e.Key, e.Verdict)))
	}
	for _, c := range d.Rules {
		for _, r := range c.Rules {
			lines = append(lines, c.Name+": "+r)
		}
	}
	for _, c := range d.OldChains {
		lines = append(lines, "no chain "+c)
	}
	for _, s := range d.OldSets {
		lines = append(lines, "no set "+s.Name)
	}
	return lines
}

func expect(t *testing.T, table *Table, what string, want ...string) {
	t.Helper()
	d := table.Delta()
	if got := told(d); !slices.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if d.Empty() != (len(want) == 0) {
		t.Errorf("%s: empty is %v", what, d.Empty())
	}
	table.Commit()
}

func TestOnlyWhatChangedIsWritten(t *testing.T) {
	t.Parallel()
	table := table(t)
	if table.Wanted() {
		t.Error("without a policy a table is wanted")
	}
	say(t, table, "p", "{podSelector: {matchLabels: {app: a}}, policyTypes: [Ingress], ingress: [{from: [{namespaceSelector: {matchLabels: {team: blue}}}], ports: [{port: web}, {port: 80}]}]}")
	table.Delta()
	table.Commit()
	chain, group := "in-"+hash("red/p"), "in-of-"+hash("red/p\n")

	expect(t, table, "nothing happened")
	pod(table, "blue/d", "there", "10.244.2.3", "app=d")
	expect(t, table, "a peer comes", chain+"-0-p more 10.244.2.3")
	pod(table, "blue/d", "there", "10.244.2.3", "app=e")
	expect(t, table, "its labels change, which the rule does not ask for")
	table.SetPod(nameOf("blue/d"), nil)
	expect(t, table, "it goes", chain+"-0-p less 10.244.2.3")
	pod(table, "red/b", "here", "10.244.1.3", "app=a")
	expect(t, table, "another pod is selected", "to less 10.244.1.3", "to more 10.244.1.3 goto "+group)
	table.SetNamespace("blue", labels.Set{"team": "green"}, true)
	expect(t, table, "the namespace of peers is another's", chain+"-0-p less 10.244.2.2")
	pod(table, "red/b", "there", "10.244.1.3", "app=a")
	expect(t, table, "a pod is on another node", "from less 10.244.1.3", chain+"-0-n less 10.244.1.3 . tcp . 8080", "self less 10.244.1.3 . 10.244.1.3", "to less 10.244.1.3")
	say(t, table, "p", "{podSelector: {matchLabels: {app: a}}, policyTypes: [Ingress], ingress: [{from: [{namespaceSelector: {matchLabels: {team: blue}}}]}]}")
	expect(t, table, "the rule is for all ports",
		chain+": ip saddr @"+chain+`-0-p accept comment "red/p ingress 0"`, "no set "+chain+"-0-n")
	table.SetPolicy(nameOf("red/p"), nil)
	expect(t, table, "the policy goes", "to less 10.244.1.2", "to more 10.244.1.2 accept",
		"no chain "+chain, "no chain "+group, "no set "+chain+"-0-p")
}

func TestWhatWasNotWrittenIsWrittenWhole(t *testing.T) {
	t.Parallel()
	table := table(t)
	say(t, table, "deny", "{podSelector: {matchLabels: {app: b}}, policyTypes: [Egress]}")
	say(t, table, "gone", "{podSelector: {}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {}}]}]}")
	table.Delta()
	table.Commit()
	table.SetPolicy(nameOf("red/gone"), nil)
	table.Forget()
	chain, group := "out-"+hash("red/deny"), "out-of-"+hash("red/deny\n")
	expect(t, table, "all",
		"set dns", "set from", "set self", "set to", "chain egress", "chain ingress", "chain "+chain, "chain "+group,
		"from more 10.244.1.2 accept", "from more 10.244.1.3 goto "+group,
		"self more 10.244.1.2 . 10.244.1.2", "self more 10.244.1.3 . 10.244.1.3",
		"to more 10.244.1.2 accept", "to more 10.244.1.3 accept",
		"egress: ct state established,related accept", "egress: ip saddr . ip daddr @self accept",
		"egress: ip daddr . meta l4proto . th dport @dns accept", "egress: ip saddr vmap @from",
		`egress: ip saddr 10.244.1.0/24 drop comment "a pod that is not known yet"`,
		"ingress: ct state established,related accept", "ingress: ip saddr . ip daddr @self accept", "ingress: ip daddr vmap @to",
		`ingress: ip daddr 10.244.1.0/24 drop comment "a pod that is not known yet"`,
		group+": jump "+chain, group+": drop")
}

func TestAnAddressIsThatOfTheLaterPod(t *testing.T) {
	t.Parallel()
	table := table(t)
	say(t, table, "p", "{podSelector: {matchLabels: {app: a}}, policyTypes: [Ingress]}")
	table.Delta()
	table.Commit()
	pod(table, "red/z", "here", "10.244.1.2", "app=z") // of a later name, made at the same time
	expect(t, table, "the address is another pod's", "to less 10.244.1.2", "to more 10.244.1.2 accept",
		"no chain in-"+hash("red/p"), "no chain in-of-"+hash("red/p\n"))
	table.SetPod(nameOf("red/a"), nil)
	expect(t, table, "the pod that had it goes")
}
