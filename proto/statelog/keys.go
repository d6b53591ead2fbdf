package statelog

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"

	"kubus.dev/proto"
	"kubus.dev/proto/bus"
)

// KeySize is the length of a signing key in bytes.
const KeySize = 32

// Keys tell what gateways wrote from what somebody else put into the log
// (docs/adr/0007-signed-log.md). Whoever has them can write, so only gateways do. The
// first signs, all are believed. Safe for concurrent use.
type Keys struct{ ring []*signingKey }

type signingKey struct {
	id   string
	macs sync.Pool // of hash.Hash
}

// NewKeys makes keys of KeySize bytes each, at least one.
func NewKeys(secrets ...[]byte) (*Keys, error) {
	if len(secrets) == 0 {
		return nil, errors.New("signing keys: there is none")
	}
	k := &Keys{}
	for _, secret := range secrets {
		if len(secret) != KeySize {
			return nil, fmt.Errorf("signing keys: want %d bytes, got %d", KeySize, len(secret))
		}
		secret = bytes.Clone(secret)
		sum := sha256.Sum256(append([]byte("kubus signing key "), secret...))
		key := &signingKey{id: hex.EncodeToString(sum[:4])}
		key.macs.New = func() any { return hmac.New(sha256.New, secret) }
		k.ring = append(k.ring, key)
	}
	return k, nil
}

// LoadKeys reads a file with a key in base64 on each line.
func LoadKeys(path string) (*Keys, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the signing keys: %w", err)
	}
	var secrets [][]byte
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		secret, err := base64.StdEncoding.DecodeString(line)
		if err != nil {
			return nil, fmt.Errorf("%s: a line that is no base64", path)
		}
		secrets = append(secrets, secret)
	}
	k, err := NewKeys(secrets...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

// LoadTrust is what follows from a file of keys, "" for none, and one whose being there
// tells that a log which nobody signed is to be adopted.
func LoadTrust(keyFile, adoptFile string) (t Trust, err error) {
	if keyFile == "" {
		return t, nil
	}
	if t.Keys, err = LoadKeys(keyFile); err != nil || adoptFile == "" {
		return t, err
	}
	_, err = os.Lstat(adoptFile)
	t.Adopt = err == nil
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return t, err
}

// Why a message is not believed.
var (
	errUnsigned   = errors.New("nobody signed it")
	errUnknownKey = errors.New("it is signed under a key that is none of ours")
	errForged     = errors.New("its signature is of something else")
	errReplayed   = errors.New("it was signed long before it was stored")
)

// sign puts into the header what proves that a gateway wrote this message, having seen
// the stream up to a sequence. The header is complete but for what a batch adds.
func (k *Keys) sign(subject string, h bus.Header, seen uint64, data []byte) {
	key := k.ring[0]
	mac := key.mac(subject, h, seen, data)
	h[proto.HeaderSignature] = []string{key.id + "." + strconv.FormatUint(seen, 10) + "." + base64.RawURLEncoding.EncodeToString(mac[:macSize])}
}

// verify gives how far the writer had seen the stream, and whether it used the first key.
func (k *Keys) verify(m *bus.StreamMsg) (seen uint64, current bool, _ error) {
	text := first(m.Header, proto.HeaderSignature)
	if text == "" {
		return 0, false, errUnsigned
	}
	id, rest, _ := strings.Cut(text, ".")
	number, encoded, _ := strings.Cut(rest, ".")
	seen, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return 0, false, errForged
	}
	for i, key := range k.ring {
		if key.id != id {
			continue
		}
		want := key.mac(m.Subject, m.Header, seen, m.Data)
		got, err := base64.RawURLEncoding.DecodeString(encoded)
		if err != nil || !hmac.Equal(got, want[:macSize]) {
			return 0, false, errForged
		}
		return seen, i == 0, nil
	}
	return 0, false, errUnknownKey
}

// macSize is how much of the HMAC-SHA256 is kept: 128 bits.
const macSize = 16

// signed are the headers that the signature is over: what the server does on their word
// (refuse, expire) and what views do.
var signed = [...]string{bus.HeaderExpectLastSubjectSeq, proto.HeaderOperation, bus.HeaderTTL, proto.HeaderRequestID}

func (k *signingKey) mac(subject string, h bus.Header, seen uint64, data []byte) (sum [sha256.Size]byte) {
	var space [256]byte
	head := appendField(append(space[:0], "kubus log 1 "...), subject)
	for _, name := range signed {
		head = appendField(head, first(h, name))
	}
	head = binary.BigEndian.AppendUint64(head, seen)
	mac := k.macs.Get().(hash.Hash)
	mac.Reset()
	_, _ = mac.Write(head)
	_, _ = mac.Write(data)
	mac.Sum(sum[:0])
	k.macs.Put(mac)
	return sum
}

func appendField(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}
