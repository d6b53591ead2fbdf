package openapi

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	openapiv2 "github.com/google/gnostic-models/openapiv2"
	openapiv3 "github.com/google/gnostic-models/openapiv3"
	"google.golang.org/protobuf/proto"
)

// Documents are merged by their first levels, the rest is not decoded: a name that is
// there stays as it is. Names of types that several documents have, such as ObjectMeta,
// mean the same in all of them, and paths are of different kinds.

type raw = map[string]json.RawMessage

// mergeV2 gives the embedded document with parts. One that cannot be made is left out,
// as upstream does.
func mergeV2(parts []Part) ([]byte, error) {
	base, err := read("v2.json.gz")
	if err != nil {
		return nil, err
	}
	var doc raw
	if err := json.Unmarshal(base, &doc); err != nil {
		return nil, fmt.Errorf("reading the embedded document: %w", err)
	}
	sections := map[string]raw{"paths": {}, "definitions": {}, "parameters": {}}
	if err := addSections(sections, doc); err != nil {
		return nil, err
	}
	for _, p := range parts {
		if p.V2 == nil {
			continue
		}
		if err := addDocument(sections, p.V2); err != nil {
			continue
		}
	}
	return withSections(doc, sections)
}

// mergeV3 gives the document at a path: parts, and the embedded one if there is one.
func mergeV3(path string, parts []Part) ([]byte, error) {
	var doc raw
	sections, schemas := map[string]raw{"paths": {}}, map[string]raw{"schemas": {}}
	add := func(data []byte) error {
		var part raw
		if err := json.Unmarshal(data, &part); err != nil {
			return err
		}
		if part == nil {
			return errors.New("the document is null")
		}
		var components raw
		if len(part["components"]) > 0 {
			if err := json.Unmarshal(part["components"], &components); err != nil {
				return err
			}
		}
		if doc == nil {
			doc = part
		}
		return errors.Join(addSections(sections, part), addSections(schemas, components))
	}
	if hasEmbedded(path) {
		data, err := read(v3Name(path))
		if err != nil {
			return nil, err
		}
		if err := add(data); err != nil {
			return nil, err
		}
	}
	var last error
	for _, p := range parts {
		data, err := p.V3()
		if err == nil {
			err = add(data)
		}
		if err != nil {
			last = err
		}
	}
	if doc == nil {
		return nil, last
	}
	components := raw{}
	if len(doc["components"]) > 0 {
		if err := json.Unmarshal(doc["components"], &components); err != nil {
			return nil, err
		}
	}
	if components == nil { // it says null
		components = raw{}
	}
	merged, err := withSections(components, schemas)
	if err != nil {
		return nil, err
	}
	doc["components"] = merged
	return withSections(doc, sections)
}

func addDocument(sections map[string]raw, make func() ([]byte, error)) error {
	data, err := make()
	if err != nil {
		return err
	}
	var doc raw
	if err := json.Unmarshal(data, &doc); err != nil {
		return err
	}
	return addSections(sections, doc)
}

// addSections adds what is new in the sections of a document.
func addSections(sections map[string]raw, doc raw) error {
	for name, have := range sections {
		if len(doc[name]) == 0 {
			continue
		}
		var more raw
		if err := json.Unmarshal(doc[name], &more); err != nil {
			return err
		}
		for key, value := range more {
			if _, ok := have[key]; !ok {
				have[key] = value
			}
		}
	}
	return nil
}

// withSections encodes a document with its sections in the place of its own.
func withSections(doc raw, sections map[string]raw) ([]byte, error) {
	for name, section := range sections {
		if len(section) == 0 {
			continue
		}
		data, err := json.Marshal(section)
		if err != nil {
			return nil, err
		}
		doc[name] = data
	}
	return json.Marshal(doc)
}

// toProto gives a v2 document in its protobuf form.
func toProto(data []byte) ([]byte, error) {
	doc, err := openapiv2.ParseDocument(data)
	if err != nil {
		return nil, fmt.Errorf("the OpenAPI document as protobuf: %w", err)
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(doc)
}

// toProtoV3 gives a v3 document in its protobuf form.
func toProtoV3(data []byte) ([]byte, error) {
	doc, err := openapiv3.ParseDocument(data)
	if err != nil {
		return nil, fmt.Errorf("the OpenAPI document as protobuf: %w", err)
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(doc)
}

func unpack(packed []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

func pack(data []byte) ([]byte, error) {
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(data); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
