package openapi

import (
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// Parts are what kinds made at run time, or other servers, add to the documents. A value never changes;
// another set of kinds is another value.
type Parts struct{ List []Part }

// Part is one kind in one version, or a whole group version of another server.
type Part struct {
	// Path is that of the v3 document which the part is in: "apis/example.com/v1".
	Path string
	// Hash is another where V2 or V3 would be.
	Hash string
	// V2 and V3 make whole documents, in JSON, with that kind alone; nil: there is none.
	// They may be slow and are called when somebody asks for the document.
	V2, V3 func() ([]byte, error)
}

// additions keep the documents of the present parts.
type additions struct {
	sources []func() *Parts

	mu   sync.Mutex
	made []*Parts // of what last was made, one a source
	last *merged
}

// now gives the documents as the parts are at present. What did not change is kept.
func (a *additions) now() *merged {
	parts := make([]*Parts, len(a.sources))
	for i, source := range a.sources {
		parts[i] = source()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.last == nil || !slices.Equal(a.made, parts) {
		var all []Part
		for _, p := range parts {
			all = append(all, p.List...)
		}
		a.last, a.made = newMerged(all, a.last), parts
	}
	return a.last
}

// merged are the documents of one set of parts. Each is made at its first use.
type merged struct {
	v2      *made
	v2Proto *made
	byPath  map[string]*made // v3 documents with parts
	index   func() []byte

	mu     sync.Mutex
	protos map[string]*made // v3 documents in their protobuf form, of those that were asked for
}

// made is a document, compressed, that is made once.
type made struct {
	hash   string // tells of what it is made
	etag   func() string
	packed func() ([]byte, error)
}

func newMerged(parts []Part, before *merged) *merged {
	m := &merged{byPath: map[string]*made{}, protos: map[string]*made{}}
	byPath := map[string][]Part{}
	for _, p := range parts {
		if p.V3 == nil {
			continue
		}
		byPath[p.Path] = append(byPath[p.Path], p)
	}
	for path, list := range byPath {
		hash := hashOf(list)
		if before != nil && before.byPath[path] != nil && before.byPath[path].hash == hash {
			m.byPath[path] = before.byPath[path]
			continue
		}
		m.byPath[path] = newMade(hash, func() ([]byte, error) { return mergeV3(path, list) })
	}
	if len(parts) == 0 {
		m.v2, m.v2Proto = embedded("v2.json.gz"), embedded("v2.pb.gz")
	} else {
		plain := sync.OnceValues(func() ([]byte, error) { return mergeV2(parts) })
		hash := hashOf(parts)
		m.v2 = newMade(hash, plain)
		m.v2Proto = newMade(hash, func() ([]byte, error) {
			data, err := mergeV2(parts)
			if err != nil {
				return nil, err
			}
			return toProto(data)
		})
	}
	m.index = sync.OnceValue(m.makeIndex)
	return m
}

func hashOf(parts []Part) string {
	sum := sha512.New()
	for _, p := range parts {
		fmt.Fprintf(sum, "%s %s\n", p.Path, p.Hash)
	}
	return fmt.Sprintf("%X", sum.Sum(nil))
}

// newMade is a document of which the hash is known before it is made.
func newMade(hash string, plain func() ([]byte, error)) *made {
	return &made{hash: hash, etag: func() string { return hash }, packed: sync.OnceValues(func() ([]byte, error) {
		data, err := plain()
		if err != nil {
			return nil, err
		}
		return pack(data)
	})}
}

// embedded is a document that was made when the program was.
func embedded(name string) *made {
	packed := func() ([]byte, error) { return documents.ReadFile("documents/" + name) }
	return &made{packed: packed, etag: sync.OnceValue(func() string {
		data, err := packed()
		if err != nil {
			panic("an embedded document is missing: " + err.Error())
		}
		return etagOf(data)
	})}
}

// v3 gives the document at a path; nil where there is none.
func (m *merged) v3(path string) *made {
	if doc := m.byPath[path]; doc != nil {
		return doc
	}
	if !hasEmbedded(path) {
		return nil
	}
	return embedded(v3Name(path))
}

// v3Proto gives the document at a path, which v3 gave, in its protobuf form.
func (m *merged) v3Proto(path string, doc *made) *made {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.protos[path] == nil {
		m.protos[path] = &made{hash: doc.hash, etag: doc.etag, packed: sync.OnceValues(func() ([]byte, error) {
			packed, err := doc.packed()
			if err != nil {
				return nil, err
			}
			plain, err := unpack(packed)
			if err != nil {
				return nil, err
			}
			data, err := toProtoV3(plain)
			if err != nil {
				return nil, err
			}
			return pack(data)
		})}
	}
	return m.protos[path]
}

func v3Name(path string) string { return "v3/" + strings.ReplaceAll(path, "/", "__") + ".json.gz" }

func hasEmbedded(path string) bool {
	_, err := fs.Stat(documents, "documents/"+v3Name(path))
	return err == nil
}

// makeIndex is the document of /openapi/v3: where each group version's is.
func (m *merged) makeIndex() []byte {
	type entry struct {
		ServerRelativeURL string `json:"serverRelativeURL"`
	}
	paths := map[string]entry{}
	add := func(path, etag string) {
		u := url.URL{Path: v3Prefix + path, RawQuery: url.Values{"hash": {etag}}.Encode()}
		paths[path] = entry{u.String()}
	}
	files, err := fs.ReadDir(documents, v3DirDocument)
	if err != nil {
		panic("the embedded documents are missing: " + err.Error())
	}
	for _, f := range files {
		path := strings.ReplaceAll(strings.TrimSuffix(f.Name(), ".json.gz"), "__", "/")
		add(path, embedded("v3/"+f.Name()).etag())
	}
	for path, doc := range m.byPath {
		add(path, doc.etag())
	}
	data, err := json.Marshal(map[string]any{"paths": paths})
	if err != nil {
		panic("the OpenAPI index cannot be encoded: " + err.Error())
	}
	return data
}
