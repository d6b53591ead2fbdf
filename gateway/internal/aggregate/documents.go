package aggregate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"k8s.io/client-go/transport"

	"kubus.dev/gateway/internal/openapi"
)

// openAPIMost bounds one OpenAPI document of another server, in bytes.
const openAPIMost = 16 << 20

// described is what a server says of its types, as last heard. It never changes.
type described struct {
	// v3 is its document of the group version, v2 its part of the document of everything;
	// empty where the server has none.
	v3, v2 []byte
	// v3Hash and v2Tag tell these versions from others.
	v3Hash, v2Tag string
}

// documented asks a server for its OpenAPI documents of a remote's group version. What
// did not change since before is not sent again; what cannot be had is left out.
func (r *remote) documented(ctx context.Context, before *described) *described {
	if before == nil {
		before = &described{}
	}
	out := &described{}
	if err := r.readV3(ctx, before, out); err != nil {
		out.v3, out.v3Hash = nil, ""
	}
	if err := r.readV2(ctx, before, out); err != nil {
		out.v2, out.v2Tag = nil, ""
	}
	if out.v3Hash == before.v3Hash && out.v2Tag == before.v2Tag {
		return before
	}
	return out
}

// readV3 finds the group version in the server's index.
func (r *remote) readV3(ctx context.Context, before, out *described) error {
	var index struct {
		Paths map[string]struct {
			ServerRelativeURL string `json:"serverRelativeURL"`
		} `json:"paths"`
	}
	body, _, err := r.fetch(ctx, &url.URL{Path: "/openapi/v3"}, "")
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, &index); err != nil {
		return err
	}
	at, err := url.Parse(index.Paths[r.documentPath()].ServerRelativeURL)
	if err != nil || at.Path == "" || at.IsAbs() || at.Host != "" {
		return errors.New("the index lacks the group version")
	}
	if out.v3Hash = at.RequestURI(); out.v3Hash == before.v3Hash {
		out.v3 = before.v3
		return nil
	}
	out.v3, _, err = r.fetch(ctx, at, "")
	return err
}

func (r *remote) readV2(ctx context.Context, before, out *described) error {
	body, tag, err := r.fetch(ctx, &url.URL{Path: "/openapi/v2"}, before.v2Tag)
	if errors.Is(err, errUnchanged) {
		out.v2, out.v2Tag = before.v2, before.v2Tag
		return nil
	}
	if err != nil {
		return err
	}
	if tag == "" {
		tag = openapi.Tag(body)
	}
	out.v2Tag = tag
	out.v2, err = ownPart(body, "/"+r.documentPath())
	return err
}

// documentPath is where the group version is in OpenAPI documents: apis/GROUP/VERSION.
func (r *remote) documentPath() string { return "apis/" + r.gv.Group + "/" + r.gv.Version }

var errUnchanged = errors.New("not changed")

// fetch gets a document, unless it still has the tag: errUnchanged.
func (r *remote) fetch(ctx context.Context, at *url.URL, tag string) (body []byte, newTag string, _ error) {
	full := *at
	full.Scheme, full.Host = "https", r.host()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, full.String(), nil)
	if err != nil {
		return nil, "", err
	}
	req.Header.Set("Accept", "application/json")
	if tag != "" {
		req.Header.Set("If-None-Match", tag)
	}
	transport.SetAuthProxyHeaders(req, "system:aggregator", "", []string{"system:masters"}, nil)
	resp, err := r.transport.RoundTrip(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotModified && tag != "":
		return nil, "", errUnchanged
	case resp.StatusCode != http.StatusOK:
		return nil, "", fmt.Errorf("%s: status %d", full.Path, resp.StatusCode)
	}
	body, err = io.ReadAll(io.LimitReader(resp.Body, openAPIMost+1))
	if err == nil && len(body) > openAPIMost {
		err = fmt.Errorf("%s: longer than %d bytes", full.Path, openAPIMost)
	}
	return body, resp.Header.Get("ETag"), err
}

// ownPart narrows a document of version 2 to the paths below prefix and the types that
// they name: another server says nothing about what it does not serve.
func ownPart(document []byte, prefix string) ([]byte, error) {
	var in, out struct {
		Swagger     string                     `json:"swagger"`
		Info        json.RawMessage            `json:"info,omitempty"`
		Paths       map[string]json.RawMessage `json:"paths"`
		Definitions map[string]json.RawMessage `json:"definitions"`
	}
	if err := json.Unmarshal(document, &in); err != nil {
		return nil, err
	}
	out.Swagger, out.Info = in.Swagger, in.Info
	out.Paths, out.Definitions = map[string]json.RawMessage{}, map[string]json.RawMessage{}
	var named [][]byte
	for path, item := range in.Paths {
		if rest, ok := strings.CutPrefix(path, prefix); ok && (rest == "" || rest[0] == '/') {
			out.Paths[path] = item
			named = append(named, item)
		}
	}
	for len(named) > 0 {
		last := named[len(named)-1]
		named = named[:len(named)-1]
		for _, match := range reference.FindAllSubmatch(last, -1) {
			name := string(match[1])
			if definition, ok := in.Definitions[name]; ok && out.Definitions[name] == nil {
				out.Definitions[name] = definition
				named = append(named, definition)
			}
		}
	}
	return json.Marshal(out)
}

var reference = regexp.MustCompile(`"\$ref"\s*:\s*"#/definitions/([^"]+)"`)

// Documents gives the parts that other servers add to the OpenAPI documents. The value is
// another one after each change.
func (a *Aggregator) Documents() *openapi.Parts { return a.table.Load().parts }

// part is what a remote adds; false: nothing.
func (r *remote) part() (openapi.Part, bool) {
	d := r.described
	if d == nil || d.v3 == nil && d.v2 == nil {
		return openapi.Part{}, false
	}
	give := func(data []byte) func() ([]byte, error) {
		if data == nil {
			return nil
		}
		return func() ([]byte, error) { return data, nil }
	}
	return openapi.Part{Path: r.documentPath(), Hash: d.v3Hash + " " + d.v2Tag, V2: give(d.v2), V3: give(d.v3)}, true
}
