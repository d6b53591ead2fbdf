package statelog

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
)

func testKeys(t testing.TB, seeds ...byte) *Keys {
	t.Helper()
	var secrets [][]byte
	for _, b := range seeds {
		secrets = append(secrets, bytes.Repeat([]byte{b}, KeySize))
	}
	k, err := NewKeys(secrets...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// signedMessage is one that a gateway wrote.
func signedMessage(k *Keys) *bus.StreamMsg {
	m := &bus.StreamMsg{
		Subject: "state.core.pods.a.b", Data: []byte(`{"metadata":{}}`), Seq: 9, Time: time.Unix(1000, 0),
		Header: bus.Header{bus.HeaderExpectLastSubjectSeq: {"7"}, proto.HeaderOperation: {proto.OperationCreate}, proto.HeaderRequestID: {"abc"}, bus.HeaderTTL: {"1h"}},
	}
	k.sign(m.Subject, m.Header, 8, m.Data)
	return m
}

func TestASignatureIsOfEverythingThatViewsAndTheStoreActOn(t *testing.T) {
	t.Parallel()
	keys := testKeys(t, 1, 2)
	for name, c := range map[string]struct {
		change func(m *bus.StreamMsg)
		want   error
	}{
		"as it was":                     {func(*bus.StreamMsg) {}, nil},
		"other headers":                 {func(m *bus.StreamMsg) { m.Header[bus.HeaderBatchID] = []string{"x"} }, nil},
		"another object":                {func(m *bus.StreamMsg) { m.Subject = "state.core.pods.a.c" }, errForged},
		"another content":               {func(m *bus.StreamMsg) { m.Data = []byte(`{"metadata":{ }`) }, errForged},
		"another expectation":           {func(m *bus.StreamMsg) { m.Header[bus.HeaderExpectLastSubjectSeq] = []string{"8"} }, errForged},
		"no expectation":                {func(m *bus.StreamMsg) { delete(m.Header, bus.HeaderExpectLastSubjectSeq) }, errForged},
		"another operation":             {func(m *bus.StreamMsg) { m.Header[proto.HeaderOperation] = []string{proto.OperationDelete} }, errForged},
		"another life":                  {func(m *bus.StreamMsg) { m.Header[bus.HeaderTTL] = []string{"1s"} }, errForged},
		"another request":               {func(m *bus.StreamMsg) { m.Header[proto.HeaderRequestID] = []string{"abd"} }, errForged},
		"having seen more":              {func(m *bus.StreamMsg) { m.Header[proto.HeaderSignature][0] = replaceSeen(m, "9") }, errForged},
		"no signature":                  {func(m *bus.StreamMsg) { delete(m.Header, proto.HeaderSignature) }, errUnsigned},
		"half a signature":              {func(m *bus.StreamMsg) { s := m.Header[proto.HeaderSignature]; s[0] = s[0][:len(s[0])-3] }, errForged},
		"a key that is not ours":        {func(m *bus.StreamMsg) { testKeys(t, 3).sign(m.Subject, m.Header, 8, m.Data) }, errUnknownKey},
		"the second of our keys":        {func(m *bus.StreamMsg) { testKeys(t, 2).sign(m.Subject, m.Header, 8, m.Data) }, nil},
		"text moved between the fields": {func(m *bus.StreamMsg) { m.Subject += "1"; m.Header[bus.HeaderExpectLastSubjectSeq] = []string{""} }, errForged},
	} {
		m := signedMessage(keys)
		c.change(m)
		if _, _, err := keys.verify(m); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

func replaceSeen(m *bus.StreamMsg, seen string) string {
	s := m.Header[proto.HeaderSignature][0]
	return s[:9] + seen + s[10:]
}

// A creation is the only message that expects nothing: kept, it could bring a deleted
// object back when the store has forgotten the deletion.
func TestAMessageSignedLongBeforeItWasStoredIsReplayed(t *testing.T) {
	t.Parallel()
	start := time.Unix(1_000_000, 0)
	for name, c := range map[string]struct {
		between int           // messages since the writer looked
		after   time.Duration // when they were stored, and it was
		want    error
	}{
		"at once":                            {0, 0, nil},
		"after many messages in a moment":    {50_000, time.Second, nil},
		"after a long time without messages": {0, 1000 * time.Hour, nil},
		"after both":                         {1200, time.Hour, errReplayed},
		"with few messages between: it cannot be told, and clocks may be set": {800, time.Hour, nil},
	} {
		keys := testKeys(t, 1)
		v := newView(proto.StateStream, zaptest.NewLogger(t))
		v.beliefs.Keys = keys
		message := func(name string, seen, seq uint64, at time.Time) *bus.StreamMsg {
			m := &bus.StreamMsg{Subject: proto.Key{GroupResource: pods, Namespace: "a", Name: name}.Subject(), Data: []byte(`{}`), Seq: seq, Time: at, Header: bus.Header{}}
			keys.sign(m.Subject, m.Header, seen, m.Data)
			return m
		}
		v.take(message("first", 0, 1, start))
		for i := range c.between {
			seq := uint64(i + 2)
			v.take(message("other", seq-1, seq, start.Add(time.Second)))
		}
		v.take(&bus.StreamMsg{Subject: proto.BarrierSubject("STATE", "w"), Seq: uint64(c.between + 2), Time: start.Add(c.after / 2)})
		m := message("x", 1, uint64(c.between+3), start.Add(c.after))
		v.beliefs.ages.pass(m.Seq, m.Time)
		if err := v.beliefs.believe(m); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

func TestRefusedMessagesAreRememberedWithinABound(t *testing.T) {
	t.Parallel()
	b := &beliefs{found: &integrity{}}
	for seq := range uint64(3 * mostRefused) {
		b.refuse(&bus.StreamMsg{Subject: "state.core.pods.a.b", Seq: seq})
	}
	if _, last := b.refused[3*mostRefused-1]; len(b.refused) > mostRefused+1 || !last || len(b.standing) != 1 {
		t.Errorf("remembers %d, the last: %v", len(b.refused), last)
	}
}

func TestKeyFiles(t *testing.T) {
	t.Parallel()
	one := "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n"
	for name, c := range map[string]struct {
		text string
		keys int
	}{
		"one":                   {one, 1},
		"two, the new first":    {"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\n\n" + one, 2},
		"none":                  {"\n", 0},
		"one that is too short": {"AQEB\n", 0},
		"something else":        {"-----BEGIN\n", 0},
	} {
		file := filepath.Join(t.TempDir(), "log.key")
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		k, err := LoadKeys(file)
		if (err == nil) != (c.keys > 0) || err == nil && len(k.ring) != c.keys {
			t.Errorf("%s: got %v, %v", name, k, err)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	keys, data := testKeys(b, 1), make([]byte, 2048)
	h := bus.Header{bus.HeaderExpectLastSubjectSeq: {"123456"}, proto.HeaderRequestID: {"0123456789abcdef"}}
	b.ReportAllocs()
	for b.Loop() {
		keys.sign("state.core.configmaps.default.some-object", h, 123456, data)
	}
}

func BenchmarkVerify(b *testing.B) {
	keys := testKeys(b, 1)
	m := signedMessage(keys)
	m.Data = make([]byte, 2048)
	keys.sign(m.Subject, m.Header, 8, m.Data)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := keys.verify(m); err != nil {
			b.Fatal(err)
		}
	}
}
