package flow

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

func post(body io.Reader, length int64) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/", body)
	r.ContentLength = length
	return r
}

func TestAHeldBodyIsReadAsItCame(t *testing.T) {
	t.Parallel()
	broken := errors.New("the client is gone")
	for name, c := range map[string]struct {
		body   io.Reader
		length int64
		want   int
		err    error
	}{
		"of a length":              {strings.NewReader(strings.Repeat("x", 1000)), 1000, 1000, nil},
		"of no known length":       {strings.NewReader(strings.Repeat("x", 1000)), -1, 1000, nil},
		"larger than what is held": {strings.NewReader(strings.Repeat("x", largestBody+1000)), largestBody + 1000, largestBody + 1000, nil},
		"that breaks off":          {io.MultiReader(strings.NewReader("xxx"), iotest.ErrReader(broken)), 1000, 3, broken},
	} {
		b := newBodies()
		r := post(c.body, c.length)
		free, err := b.hold(r, "somebody")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := io.ReadAll(r.Body)
		if len(got) != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: got %d bytes, %v", name, len(got), err)
		}
		free()
		if b.all != 0 || len(b.held) != 0 {
			t.Errorf("%s: left over: %d, %v", name, b.all, b.held)
		}
	}
}

func TestBodiesThatWaitAreBoundedByUserAndTogether(t *testing.T) {
	t.Parallel()
	b := newBodies()
	b.ofOne, b.ofAll = 10, 15
	hold := func(user string) error {
		_, err := b.hold(post(strings.NewReader("12345678"), 8), user)
		return err
	}
	if err := hold("greedy"); err != nil {
		t.Fatal(err)
	}
	if err := hold("greedy"); !apierrors.IsTooManyRequests(err) {
		t.Errorf("beyond what one may have: got %v", err)
	}
	if err := hold("other"); !apierrors.IsTooManyRequests(err) {
		t.Errorf("beyond what all may have: got %v", err)
	}
	b.ofAll = 20
	if err := hold("other"); err != nil {
		t.Errorf("another user pays for it: %v", err)
	}
}
