package apiclient

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"kubus.dev/proto/message"
)

// What a client says on the bus becomes a request of this gateway, or none.
func FuzzRequest(f *testing.F) {
	for _, r := range []*message.ApiRequest{
		{Method: "GET", Path: "/api/v1/pods?watch=1"},
		{Method: "POST", Path: "/api/v1/namespaces/a/pods", Body: []byte("{}"), Headers: []*message.Header{{Name: "Content-Type", Value: "application/json"}}},
		{Method: "GET", Path: "//elsewhere/api"}, {Method: "GET", Path: "@elsewhere/"}, {Method: "G T", Path: "/"}, {Path: "/%2e%2e/%zz"}, {Path: "/a\x00\r\nHost: b"},
	} {
		data, err := proto.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var r message.ApiRequest
		if proto.Unmarshal(data, &r) != nil {
			return
		}
		req, err := httpRequest(t.Context(), &r)
		if err != nil {
			return
		}
		if req.URL.Host != "gateway" || req.URL.User != nil || !strings.HasPrefix(req.URL.Path, "/") {
			t.Errorf("%q became %v", r.Path, req.URL)
		}
	})
}
