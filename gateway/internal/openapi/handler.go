package openapi

import (
	"compress/gzip"
	"crypto/sha512"
	"embed"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/munnerz/goautoneg"
)

//go:embed documents
var documents embed.FS

// read gives an embedded document, unpacked.
func read(name string) ([]byte, error) {
	f, err := documents.Open("documents/" + name)
	if err != nil {
		return nil, fmt.Errorf("embedded document: %w", err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("embedded document %s: %w", name, err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		return nil, fmt.Errorf("embedded document %s: %w", name, err)
	}
	return data, nil
}

// Media types of the protobuf forms, as clients ask for them and as answered.
const (
	v2ProtoAsked  = "com.github.proto-openapi.spec.v2@v1.0+protobuf"
	v2ProtoSent   = "com.github.proto-openapi.spec.v2.v1.0+protobuf"
	v3ProtoAsked  = "com.github.proto-openapi.spec.v3@v1.0+protobuf"
	v3ProtoSent   = "com.github.proto-openapi.spec.v3.v1.0+protobuf"
	jsonType      = "application/json"
	v3Prefix      = "/openapi/v3/"
	v3DirDocument = "documents/v3"
)

// Handler serves /openapi/v2, /openapi/v3 and what is below it. Each of sources gives
// what is to be added to the embedded documents.
func Handler(notFound http.HandlerFunc, sources ...func() *Parts) http.Handler {
	added := &additions{sources: sources}
	began := time.Now().UTC().Format(http.TimeFormat)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Last-Modified", began)
		switch path := r.URL.Path; {
		case path == "/openapi/v2":
			serveV2(w, r, added.now())
		case path == "/openapi/v3":
			data := added.now().index()
			serve(w, r, document{contentType: jsonType, etag: etagOf(data), plain: data})
		case strings.HasPrefix(path, v3Prefix):
			serveV3(w, r, path[len(v3Prefix):], added.now())
		default:
			w.Header().Del("Last-Modified")
			notFound(w, r)
		}
	})
}

func serveV2(w http.ResponseWriter, r *http.Request, all *merged) {
	w.Header().Add("Vary", "Accept")
	for _, accept := range accepted(r) {
		switch {
		case accept.Type == "*" || accept.Type == "application" && (accept.SubType == "json" || accept.SubType == "*"):
			serveMade(w, r, all.v2, jsonType)
			return
		case accept.Type == "application" && (accept.SubType == v2ProtoAsked || accept.SubType == v2ProtoSent):
			serveMade(w, r, all.v2Proto, "application/"+v2ProtoSent)
			return
		}
	}
	refuse(w, http.StatusNotAcceptable)
}

func serveV3(w http.ResponseWriter, r *http.Request, path string, all *merged) {
	doc := all.v3(path)
	if doc == nil {
		refuse(w, http.StatusNotFound)
		return
	}
	w.Header().Add("Vary", "Accept")
	for _, accept := range accepted(r) {
		switch {
		case accept.Type == "*" || accept.Type == "application" && (accept.SubType == "json" || accept.SubType == "*"):
			serveVersion(w, r, doc, jsonType)
			return
		case accept.Type == "application" && (accept.SubType == v3ProtoAsked || accept.SubType == v3ProtoSent):
			serveVersion(w, r, all.v3Proto(path, doc), "application/"+v3ProtoSent)
			return
		}
	}
	refuse(w, http.StatusNotAcceptable)
}

// refuse answers with a code alone, as upstream does here.
func refuse(w http.ResponseWriter, code int) {
	w.Header().Del("Last-Modified")
	w.WriteHeader(code)
}

func accepted(r *http.Request) []goautoneg.Accept {
	header := r.Header.Get("Accept")
	if header == "" {
		header = "*/*"
	}
	return goautoneg.ParseAccept(header)
}

// document is what is sent; one of plain and packed is set.
type document struct {
	contentType string
	etag        string
	plain       []byte
	packed      []byte // gzip
}

// moved leads a client that asks for a former version of a document, by its hash, to
// the present one; it says whether it did.
func moved(w http.ResponseWriter, r *http.Request, contentType, etag string) bool {
	hash := r.URL.Query().Get("hash")
	if hash == "" || hash == etag {
		return false
	}
	w.Header().Del("Last-Modified")
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("ETag", fmt.Sprintf("%q", etag))
	http.Redirect(w, r, r.URL.Path+"?"+url.Values{"hash": {etag}}.Encode(), http.StatusMovedPermanently)
	return true
}

// serveVersion is serveMade of a document of v3, whose URL may have its hash.
func serveVersion(w http.ResponseWriter, r *http.Request, m *made, contentType string) {
	if !moved(w, r, contentType, m.etag()) {
		serveMade(w, r, m, contentType)
	}
}

func serveMade(w http.ResponseWriter, r *http.Request, m *made, contentType string) {
	packed, err := m.packed()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	serve(w, r, document{contentType: contentType, etag: m.etag(), packed: packed})
}

// Tag tells a document from others.
func Tag(data []byte) string { return etagOf(data) }

func etagOf(data []byte) string { return fmt.Sprintf("%X", sha512.Sum512(data)) }

func serve(w http.ResponseWriter, r *http.Request, d document) {
	h := w.Header()
	h.Set("ETag", fmt.Sprintf("%q", d.etag))
	h.Set("Content-Type", d.contentType)
	h.Add("Vary", "Accept-Encoding")
	h.Set("Cache-Control", "no-cache, private")
	// A URL with the hash in it names this very version for ever.
	if hash := r.URL.Query().Get("hash"); hash == d.etag {
		h.Set("Cache-Control", "public, immutable")
	}
	if r.Header.Get("If-None-Match") == fmt.Sprintf("%q", d.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	body := d.plain
	var err error
	if d.packed != nil && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = d.packed
	} else if d.packed != nil {
		body, err = unpack(d.packed)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // a client that left has no use for it
	}
}
