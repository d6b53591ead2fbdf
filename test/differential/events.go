package differential

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// pause is how long a watch may be silent before it counts as read: all that a step
// waits for happened before it began.
const pause = 400 * time.Millisecond

// events reads a watch until it ends or pauses.
func (s *session) events(resp *http.Response, cancel context.CancelFunc) []any {
	frames := make(chan []byte)
	go func() {
		defer close(frames)
		next := frameReader(resp)
		for frame := next(); frame != nil; frame = next() {
			frames <- frame
		}
	}()
	contentType := resp.Header.Get("Content-Type")
	var out []any
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case frame, ok := <-frames:
			if !ok {
				return out
			}
			doc := parseEvent(contentType, frame)
			if event, ok := doc.(map[string]any); ok {
				s.seen.learn(event["object"], false)
			}
			out = append(out, s.normal.document(doc))
			timer.Reset(pause)
		case <-timer.C:
			cancel()
			for range frames { // the reader ends with the connection
			}
			return out
		}
	}
}

// frameReader gives one frame a call, nil at the end.
func frameReader(resp *http.Response) func() []byte {
	mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	in := bufio.NewReader(resp.Body)
	if mediaType == "application/vnd.kubernetes.protobuf" {
		return func() []byte {
			var size [4]byte
			if _, err := io.ReadFull(in, size[:]); err != nil {
				return nil
			}
			frame := make([]byte, binary.BigEndian.Uint32(size[:]))
			if _, err := io.ReadFull(in, frame); err != nil {
				return nil
			}
			return frame
		}
	}
	if mediaType != "application/json" {
		return func() []byte {
			data, _ := io.ReadAll(in) // what is there is the frame
			if len(data) == 0 {
				return nil
			}
			return data
		}
	}
	dec := json.NewDecoder(in)
	return func() []byte {
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil
		}
		return raw
	}
}

func parseEvent(contentType string, frame []byte) any {
	mediaType, _, _ := mime.ParseMediaType(contentType)
	if mediaType != "application/vnd.kubernetes.protobuf" {
		return parse(contentType, frame)
	}
	var event metav1.WatchEvent
	if err := event.Unmarshal(bytes.TrimPrefix(frame, protobufMagic)); err != nil {
		return string(frame)
	}
	object, ok := parseProtobuf(event.Object.Raw)
	if !ok {
		object = "no protobuf"
	}
	return map[string]any{"type": event.Type, "object": object}
}
