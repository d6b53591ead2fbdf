package seal_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kubus.dev/gateway/internal/seal"
	"kubus.dev/proto"
)

var (
	object = proto.Key{GroupResource: proto.GroupResource{Resource: "secrets"}, Namespace: "default", Name: "db"}
	doc    = []byte(`{"kind":"Secret","apiVersion":"v1","metadata":{"name":"db","namespace":"default","uid":"u1","labels":{"a":"b"},"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"data\":{\"p\":\"aHVudGVyMg==\"}}","note":"kept"},"managedFields":[{"manager":"x"}]},"data":{"p":"aHVudGVyMg=="},"type":"Opaque"}`)
)

func key(t *testing.T, fill byte) *seal.Key {
	t.Helper()
	k, err := seal.NewKey(bytes.Repeat([]byte{fill}, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestOpeningGivesTheDocumentBackByteForByte(t *testing.T) {
	k := key(t, 1)
	sealed, err := k.Seal(object, doc)
	if err != nil {
		t.Fatal(err)
	}
	got, err := k.Open(object, sealed)
	if err != nil || !bytes.Equal(got, doc) {
		t.Fatalf("got %s, %v", got, err)
	}
}

func TestASealedDocumentShowsNamesAndHidesContent(t *testing.T) {
	sealed, err := key(t, 1).Seal(object, doc)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(sealed), "aHVudGVyMg") || strings.Contains(string(sealed), "managedFields") {
		t.Errorf("content is visible: %s", sealed)
	}
	var shown struct {
		Kind, APIVersion, Type string
		Metadata               struct {
			Name, Namespace, UID string
			Labels, Annotations  map[string]string
		}
	}
	if err := json.Unmarshal(sealed, &shown); err != nil {
		t.Fatal(err)
	}
	if shown.Kind != "Secret" || shown.Type != "Opaque" || shown.Metadata.UID != "u1" || shown.Metadata.Labels["a"] != "b" || shown.Metadata.Annotations["note"] != "kept" {
		t.Errorf("got %+v", shown)
	}
}

func TestWhatCannotBeOpened(t *testing.T) {
	k := key(t, 1)
	sealed, err := k.Seal(object, doc)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(sealed)
	flipped[len(flipped)-12] ^= 1
	moved := object
	moved.Name = "other"
	for name, c := range map[string]struct {
		key  *seal.Key
		at   proto.Key
		doc  []byte
		want error
	}{
		"under another key":       {key(t, 2), object, sealed, seal.ErrOpen},
		"moved to another object": {k, moved, sealed, seal.ErrOpen},
		"a changed byte":          {k, object, flipped, seal.ErrOpen},
		"never sealed":            {k, object, doc, seal.ErrNotSealed},
		"empty":                   {k, object, nil, seal.ErrNotSealed},
		"cut off":                 {k, object, sealed[:len(sealed)-20], seal.ErrOpen},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := c.key.Open(c.at, c.doc); !errors.Is(err, c.want) {
				t.Errorf("got %s, %v, want %v", got, err, c.want)
			}
		})
	}
}

func TestAKeyFileIsRawOrBase64(t *testing.T) {
	raw := bytes.Repeat([]byte{7}, seal.KeySize)
	dir := t.TempDir()
	for name, content := range map[string][]byte{"raw": raw, "text": []byte(base64.StdEncoding.EncodeToString(raw) + "\n")} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		k, err := seal.LoadKey(path)
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := key(t, 7).Seal(object, doc)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Open(object, sealed); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "short"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := seal.LoadKey(filepath.Join(dir, "short")); err == nil {
		t.Error("a short key was accepted")
	}
}

// FuzzSeal: what is sealed opens as it was; what somebody else made does not open.
func FuzzSeal(f *testing.F) {
	for _, seed := range []string{string(doc), `{}`, `null`, `{"metadata":null}`, `{"metadata":{"annotations":null}}`, `{"metadata":{"annotations":{"a":1}}}`, `{"sealed":"x.y"}`, `,"sealed":"`, `,"sealed":""}`, `{"a":1,"sealed":"00000000.AAAA"}`} {
		f.Add([]byte(seed))
	}
	k, err := seal.NewKey(bytes.Repeat([]byte{1}, seal.KeySize))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		if _, err := k.Open(object, document); err == nil {
			t.Errorf("%q opens", document)
		}
		sealed, err := k.Seal(object, document)
		if err != nil {
			return
		}
		if got, err := k.Open(object, sealed); err != nil || !bytes.Equal(got, document) {
			t.Errorf("%q: opened as %q, %v", document, got, err)
		}
		if !json.Valid(sealed) {
			t.Errorf("%q: sealed as %q", document, sealed)
		}
	})
}
