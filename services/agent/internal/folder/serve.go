package folder

import (
	"bytes"
	"context"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	kubus "kubus.dev/proto"
	"kubus.dev/proto/bus"
	"kubus.dev/proto/message"
)

const (
	atOnce  = 4  // requests that are answered at a time: a large volume takes its time to remove
	waiting = 64 // further ones that wait; beyond, whoever asks gets no answer and asks again
)

// Serve answers the volume binder until ctx ends.
func (s *Store) Serve(ctx context.Context, conn *bus.Conn, node string, log *zap.Logger) error {
	requests := make(chan *bus.Msg, waiting)
	sub, err := conn.Subscribe(kubus.NodeVolumeSubject(node), "", func(m *bus.Msg) {
		m.Data = bytes.Clone(m.Data) // good only until we return
		select {
		case requests <- m:
		default:
			log.Warn("too many requests for volumes")
		}
	})
	if err != nil {
		return err
	}
	defer sub.Stop()
	group, ctx := errgroup.WithContext(ctx)
	for range atOnce {
		group.Go(func() error {
			for {
				select {
				case <-ctx.Done():
					return nil
				case m := <-requests:
					s.respond(m, log)
				}
			}
		})
	}
	return group.Wait()
}

func (s *Store) respond(m *bus.Msg, log *zap.Logger) {
	answer := s.answer(m.Data)
	if answer.Error != "" {
		log.Warn("request for a volume", zap.String("reason", answer.Error))
	}
	data, err := proto.Marshal(answer)
	if err == nil {
		err = m.Respond(data)
	}
	if err != nil {
		log.Warn("answering a request for a volume", zap.Error(err))
	}
}

func (s *Store) answer(data []byte) *message.VolumeResponse {
	var request message.VolumeRequest
	if err := proto.Unmarshal(data, &request); err != nil {
		return &message.VolumeResponse{Error: "the request cannot be read: " + err.Error()}
	}
	var path string
	var err error
	switch request.Verb {
	case message.VolumeRequest_MAKE:
		path, err = s.Make(request.Name, request.Bytes)
	case message.VolumeRequest_REMOVE:
		err = s.Remove(request.Name)
	default:
		return &message.VolumeResponse{Error: "this node does not know how to " + request.Verb.String() + " a volume"}
	}
	if err != nil {
		return &message.VolumeResponse{Error: err.Error()}
	}
	return &message.VolumeResponse{Path: path}
}
