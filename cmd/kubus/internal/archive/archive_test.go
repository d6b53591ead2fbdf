package archive

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"kubus.dev/cmd/kubus/internal/instance"
)

func written(t *testing.T) ([]byte, Head, []File, []Object) {
	t.Helper()
	head := Head{Version: "v1", Time: time.Unix(1_700_000_000, 0).UTC(), Instance: instance.Instance{ID: "abc", PodCIDR: "10.0.0.0/16"}, Streams: map[string]Stream{"STATE": {9, 2}}}
	files := []File{{"pki/ca.key", []byte("key\n")}, {"settings.yaml", nil}}
	var objects []Object
	for i := range 500 {
		objects = append(objects, Object{Group: "apps", Resource: "deployments", Namespace: "a", Name: fmt.Sprint(i), Revision: uint64(i), Stored: head.Time,
			Data: json.RawMessage(fmt.Sprintf(`{"metadata":{"name":"%d"},"text":%q}`, i, strings.Repeat("x", i*97%4096)))})
	}
	var out bytes.Buffer
	w, err := NewWriter(&out, head)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		err = errors.Join(err, w.File(f))
	}
	for _, o := range objects {
		err = errors.Join(err, w.Object(o))
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	head.Format = Format
	return out.Bytes(), head, files, objects
}

func TestABackupIsReadBackAsItWasWritten(t *testing.T) {
	data, head, files, objects := written(t)
	var gotHead Head
	var gotFiles []File
	var gotObjects []Object
	err := Read(bytes.NewReader(data), Visitor{
		Head:   func(h Head) error { gotHead = h; return nil },
		File:   func(f File) error { gotFiles = append(gotFiles, f); return nil },
		Object: func(o Object) error { gotObjects = append(gotObjects, o); return nil },
	})
	if err != nil || !reflect.DeepEqual(gotHead, head) || !reflect.DeepEqual(gotFiles, files) || !reflect.DeepEqual(gotObjects, objects) {
		t.Errorf("got %+v, %v, %d objects, %v", gotHead, gotFiles, len(gotObjects), err)
	}
}

func TestWhatIsNoWholeBackupIsRefused(t *testing.T) {
	data, _, _, _ := written(t)
	plain := func(text string) []byte {
		w, _ := zstd.NewWriter(nil)
		return w.EncodeAll([]byte(text), nil)
	}
	read, _ := zstd.NewReader(nil)
	text, err := read.DecodeAll(data, nil)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	without := strings.Join(append(append([]string{}, lines[:100]...), lines[101:]...), "")
	for name, c := range map[string]struct {
		data []byte
		want error
	}{
		"nothing":                         {nil, ErrForeign},
		"another file":                    {[]byte("kind: Pod\n"), ErrForeign},
		"a packed file of something else": {plain("{\"a\":1}\n"), ErrForeign},
		"a later format":                  {plain("{\"head\":{\"format\":2}}\n"), ErrForeign},
		"half of it":                      {data[:len(data)/2], ErrCutShort},
		"all but the last byte":           {data[:len(data)-1], ErrCutShort},
		"all but the last line":           {plain(strings.Join(lines[:len(lines)-2], "")), ErrCutShort},
		"without one object":              {plain(without), ErrAltered},
		"with another object's data":      {plain(strings.Replace(string(text), `"name":"7"}`, `"name":"8"}`, 1)), ErrAltered},
	} {
		if _, err := Verify(bytes.NewReader(c.data)); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	for at := 0; at < len(text); at += len(text)/200 + 1 {
		if _, err := Verify(bytes.NewReader(plain(string(turned(text, at))))); err == nil {
			t.Errorf("with byte %d of %d turned it is read", at, len(text))
		}
	}
}

func turned(data []byte, at int) []byte {
	out := bytes.Clone(data)
	out[at] ^= 0x40
	return out
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("{}"))
	w, _ := zstd.NewWriter(nil)
	f.Add(w.EncodeAll([]byte("{\"head\":{\"format\":1}}\n{\"end\":{\"lines\":1}}\n"), nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = Verify(bytes.NewReader(data))
	})
}
