// Package change turns messages of the state log into CloudEvents for people's own
// automation. Start with Reader.
package change

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"strconv"
	"time"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/statelog"
)

// The verbs.
const (
	Added    = "added"
	Modified = "modified"
	Deleted  = "deleted"
)

// Headers of a CloudEvent in binary mode (CloudEvents 1.0, NATS binding) and our own.
const (
	headerVersion     = "ce-specversion"
	headerID          = "ce-id"
	headerSource      = "ce-source"
	headerType        = "ce-type"
	headerSubject     = "ce-subject"
	headerTime        = "ce-time"
	headerContentType = "ce-datacontenttype"
	// HeaderRevision is the object's resourceVersion.
	HeaderRevision = "Kubus-Revision"
	// HeaderCursor says how far each state stream has been announced with this message.
	HeaderCursor = "Kubus-Cursor"
)

// Event is one change, ready to be published.
type Event struct {
	Stream  string
	Seq     uint64
	Subject string
	Header  bus.Header
	Data    []byte
}

// Reader reads the messages of one state stream in order. It remembers which
// object it met last under each name, so that another one is announced as added
// even when its first version was replaced before it was read. Not safe for
// concurrent use.
type Reader struct {
	Cluster string
	Stream  string
	seed    maphash.Seed
	known   map[uint64]uint64 // hash of the subject → hash of the uid
}

// NewReader makes a reader of a state stream.
func NewReader(cluster, stream string) *Reader {
	return &Reader{Cluster: cluster, Stream: stream, seed: maphash.MakeSeed(), known: map[uint64]uint64{}}
}

// Read gives the event of a message, or nil when the message is no object's.
func (r *Reader) Read(m *bus.StreamMsg) (*Event, error) {
	key, err := proto.ParseStateSubject(m.Subject)
	if err != nil || len(m.Data) == 0 {
		return nil, nil // fences and barriers
	}
	entry := statelog.NewEntry(key, m.Seq, m.Data, false)
	verb := r.verb(m, uid(entry))
	data := entry.JSON()
	if key.GroupResource == secrets {
		if data, err = open(data); err != nil {
			return nil, fmt.Errorf("announcing %s at %d: %w", key, m.Seq, err)
		}
	}
	kind := "core." + key.Resource
	if key.Group != "" {
		kind = key.Group + "." + key.Resource
	}
	return &Event{
		Stream: r.Stream, Seq: m.Seq, Subject: proto.ChangeSubject(r.Cluster, key, verb), Data: data,
		Header: bus.Header{
			headerVersion:     {"1.0"},
			headerID:          {r.Stream + "-" + strconv.FormatUint(m.Seq, 10)},
			headerSource:      {"/kubus/" + r.Cluster},
			headerType:        {"dev.kubus." + kind + "." + verb},
			headerSubject:     {path(key)},
			headerTime:        {m.Time.UTC().Format(time.RFC3339Nano)},
			headerContentType: {"application/json"},
			HeaderRevision:    {strconv.FormatUint(m.Seq, 10)},
		},
	}, nil
}

// verb is the writer's word. Where the version that he said it of was missed,
// another uid under the same name tells, or that nothing was expected there.
func (r *Reader) verb(m *bus.StreamMsg, uid string) string {
	name := maphash.String(r.seed, m.Subject)
	operation := m.Header.Get(proto.HeaderOperation)
	if operation == proto.OperationDelete {
		delete(r.known, name)
		return Deleted
	}
	is := maphash.String(r.seed, uid)
	was, seen := r.known[name]
	r.known[name] = is
	if operation == proto.OperationCreate || seen && was != is || m.Header.Get(bus.HeaderExpectLastSubjectSeq) == "0" {
		return Added
	}
	return Modified
}

// uid gives the object's uid. It stands near the start of the metadata of most
// objects, so that the rest need not be parsed.
func uid(e *statelog.Entry) string {
	at, _ := e.Splice()
	data := e.Data()[at:]
	i := bytes.Index(data, uidKey)
	if i < 0 || bytes.Contains(data[:i], ownersKey) { // an owner's comes first
		return e.Meta().UID
	}
	data = data[i+len(uidKey):]
	return string(data[:max(0, bytes.IndexByte(data, '"'))])
}

var (
	uidKey    = []byte(`"uid":"`)
	ownersKey = []byte(`"ownerReferences"`)
)

var secrets = proto.GroupResource{Resource: "secrets"}

// open leaves of a Secret what the log shows in the clear. The ciphertext is of no
// use to anybody outside and would only tell when the content changed.
func open(data []byte) ([]byte, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, err
	}
	for key := range all {
		if key != "kind" && key != "apiVersion" && key != "metadata" && key != "type" {
			delete(all, key)
		}
	}
	return json.Marshal(all)
}

// path is the object's path in the API, without version: namespaces/NS/pods/NAME.
func path(k proto.Key) string {
	p := k.Resource + "/" + k.Name
	if k.Namespace != "" {
		p = "namespaces/" + k.Namespace + "/" + p
	}
	if k.Group != "" {
		p = k.Group + "/" + p
	}
	return p
}
