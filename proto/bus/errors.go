package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Outcomes of a publish with expectations. Anything else wraps the server's error.
var (
	// ErrWrongSequence: the subject moved on; nothing was stored.
	ErrWrongSequence = errors.New("the subject has a newer message")
	// ErrBusy: a write of the subject is in flight; nothing was stored, try again shortly.
	ErrBusy = errors.New("the subject has a write in flight")
	// ErrUnknownOutcome: no answer came; the message may or may not be stored.
	ErrUnknownOutcome = errors.New("no answer from the store, the outcome is unknown")
	// ErrNoAnswerYet is an ErrUnknownOutcome that may still turn out.
	ErrNoAnswerYet = fmt.Errorf("%w yet", ErrUnknownOutcome)
	// ErrUnavailable: the store takes nothing at present; nothing was stored.
	ErrUnavailable = errors.New("the store is unavailable")
	// ErrDisconnected: the server went before it answered.
	ErrDisconnected = errors.New("the server is gone")
	// ErrNoStream: the store answers, and has no such stream.
	ErrNoStream = errors.New("there is no such stream")
)

const (
	codeWrongLastSequence     = 10071
	codeSubjectBusy           = 10164
	codeResources             = 10023
	codeTooManyInFlightBatch  = 10210
	codeTooManyIngest         = 10167
	codeStoreFailed           = 10077
	codeInsufficientResources = 10101
)

func classify(err error) error {
	var api *jetstream.APIError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &api):
		return apiError(api.Code, int(api.ErrorCode), api.Description)
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoStreamResponse),
		errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrConnectionClosed):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, nats.ErrTimeout),
		errors.Is(err, jetstream.ErrAsyncPublishTimeout), errors.Is(err, nats.ErrDisconnected), errors.Is(err, nats.ErrConnectionReconnecting):
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	return err
}

// apiError is for a refusal: whatever it is, nothing was stored.
func apiError(status, code int, description string) error {
	switch code {
	case codeWrongLastSequence:
		return fmt.Errorf("%w: %s", ErrWrongSequence, description)
	case codeSubjectBusy, codeTooManyInFlightBatch:
		return fmt.Errorf("%w: %s", ErrBusy, description)
	case codeResources, codeTooManyIngest, codeStoreFailed, codeInsufficientResources:
		return fmt.Errorf("%w: %s (code %d)", ErrUnavailable, description, code)
	}
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		return fmt.Errorf("%w: %s (code %d)", ErrUnavailable, description, code)
	}
	return fmt.Errorf("store: %s (code %d)", description, code)
}

func parseAck(data []byte) (uint64, error) {
	var ack struct {
		Seq   uint64 `json:"seq"`
		Error *struct {
			Status      int    `json:"code"`
			Code        int    `json:"err_code"`
			Description string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(data, &ack); err != nil {
		return 0, fmt.Errorf("%w: unreadable answer %q", ErrUnknownOutcome, data)
	}
	if ack.Error != nil {
		return 0, apiError(ack.Error.Status, ack.Error.Code, ack.Error.Description)
	}
	return ack.Seq, nil
}
