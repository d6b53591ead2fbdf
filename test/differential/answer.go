package differential

// Answer is what a side said to a step, without what no other could have said.
type Answer struct {
	Code   int               `json:"code"`
	Header map[string]string `json:"header,omitempty"`
	// Body is a document of maps, lists, strings, numbers (json.Number), booleans
	// and nil, whatever it was encoded as, or the text of what is no document.
	Body any `json:"body,omitempty"`
	// Events are those of a watch, in order.
	Events []any `json:"events,omitempty"`
	// Failed is set where there was no answer of HTTP at all.
	Failed string `json:"failed,omitempty"`
}

// compared are the headers whose values matter, present those of which only
// matters whether they are there.
var (
	compared = []string{"Content-Type", "Warning", "Retry-After", "Allow", "WWW-Authenticate", "Cache-Control",
		"X-Content-Type-Options", "Location", "Vary", "Content-Encoding", "Connection", "Transfer-Encoding"}
	present = []string{"Etag", "Audit-Id", "X-Kubernetes-Pf-Flowschema-Uid", "X-Kubernetes-Pf-Prioritylevel-Uid", "Last-Modified", "Content-Length"}
)
