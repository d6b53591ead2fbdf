// Package seal keeps Secrets as ciphertext in the state log: whoever reads the
// stream learns names, labels and owners, never contents. Only gateways hold the
// key.
//
// A sealed document is a valid JSON object with kind, apiVersion, metadata (without
// managedFields and without annotations that repeat the content) and type in the
// clear, and the whole original document, encrypted, in its last field. Opening
// gives the original back byte for byte. The ciphertext is bound to the object's
// name, so that it cannot be moved to another object.
//
// Start with LoadKey, Key.Seal and Key.Open. All methods may be called from any
// goroutine.
package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"kubus.dev/proto"
)

// KeySize is the length of a key in bytes: AES-256.
const KeySize = 32

// lastApplied is where kubectl apply repeats an object's whole content.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

var (
	// ErrOpen: the document was changed, moved, or sealed under another key.
	ErrOpen = errors.New("the sealed document cannot be opened with this key")
	// ErrNotSealed: the document holds no ciphertext.
	ErrNotSealed = errors.New("the document is not sealed")
)

// Key seals and opens documents.
type Key struct {
	id   string
	aead cipher.AEAD
}

// NewKey makes a key of KeySize bytes.
func NewKey(secret []byte) (*Key, error) {
	if len(secret) != KeySize {
		return nil, fmt.Errorf("sealing key: want %d bytes, got %d", KeySize, len(secret))
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, fmt.Errorf("sealing key: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("sealing key: %w", err)
	}
	sum := sha256.Sum256(append([]byte("kubus sealing key "), secret...))
	return &Key{id: hex.EncodeToString(sum[:4]), aead: aead}, nil
}

// LoadKey reads a key file: KeySize bytes, raw or in base64.
func LoadKey(path string) (*Key, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the sealing key: %w", err)
	}
	if len(data) != KeySize {
		if raw, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(data))); err == nil {
			data = raw
		}
	}
	key, err := NewKey(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

type document struct {
	Kind       string                     `json:"kind"`
	APIVersion string                     `json:"apiVersion"`
	Metadata   map[string]json.RawMessage `json:"metadata"`
	Type       string                     `json:"type,omitempty"`
}

const field = `,"sealed":"`

// Seal encrypts the JSON document of the object named by key.
func (k *Key) Seal(key proto.Key, doc []byte) ([]byte, error) {
	var d document
	if err := json.Unmarshal(doc, &d); err != nil {
		return nil, fmt.Errorf("sealing %s: %w", key, err)
	}
	clearPart, err := d.shown()
	if err != nil {
		return nil, fmt.Errorf("sealing %s: %w", key, err)
	}
	nonce := make([]byte, k.aead.NonceSize(), k.aead.NonceSize()+len(doc)+k.aead.Overhead())
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("sealing %s: %w", key, err)
	}
	box := k.aead.Seal(nonce, nonce, doc, k.associated(key))
	out := make([]byte, 0, len(clearPart)+len(field)+len(k.id)+base64.StdEncoding.EncodedLen(len(box))+3)
	out = append(out, clearPart[:len(clearPart)-1]...)
	out = append(out, field...)
	out = append(out, k.id...)
	out = append(out, '.')
	out = base64.StdEncoding.AppendEncode(out, box)
	return append(out, `"}`...), nil
}

func (d *document) shown() ([]byte, error) {
	delete(d.Metadata, "managedFields")
	if raw, ok := d.Metadata["annotations"]; ok {
		var annotations map[string]string
		if err := json.Unmarshal(raw, &annotations); err != nil {
			return nil, err
		}
		delete(annotations, lastApplied)
		shown, err := json.Marshal(annotations)
		if err != nil {
			return nil, err
		}
		d.Metadata["annotations"] = shown
	}
	if d.Metadata == nil {
		d.Metadata = map[string]json.RawMessage{}
	}
	return json.Marshal(d)
}

// Open gives back the document that Seal was given. The errors are ErrOpen and
// ErrNotSealed, wrapped; neither goes away by trying again.
func (k *Key) Open(key proto.Key, sealed []byte) ([]byte, error) {
	end := len(sealed) - len(`"}`)
	start := bytes.LastIndex(sealed, []byte(field))
	if start < 0 || end < start+len(field) {
		return nil, fmt.Errorf("opening %s: %w", key, ErrNotSealed)
	}
	id, text, ok := bytes.Cut(sealed[start+len(field):end], []byte("."))
	if !ok || string(id) != k.id {
		return nil, fmt.Errorf("opening %s: sealed under key %q, ours is %q: %w", key, id, k.id, ErrOpen)
	}
	box, err := base64.StdEncoding.AppendDecode(nil, text)
	if err != nil || len(box) < k.aead.NonceSize() {
		return nil, fmt.Errorf("opening %s: %w", key, ErrOpen)
	}
	n := k.aead.NonceSize()
	doc, err := k.aead.Open(nil, box[:n], box[n:], k.associated(key))
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", key, ErrOpen)
	}
	return doc, nil
}

// associated binds a ciphertext to its object's place in the log.
func (k *Key) associated(key proto.Key) []byte { return []byte(key.Subject()) }
