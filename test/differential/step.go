package differential

import "strings"

// Step is one request.
type Step struct {
	// Name says what is tried; unique in its scenario.
	Name string
	// User is who asks: "" the administrator, Anonymous nobody, else the
	// administrator impersonates it.
	User string

	Method string
	// Path is sent as it is, query included. ${uid:NAME} and ${rv:NAME} stand for
	// those of the object of this name as the side showed it last, ${continue} for
	// the last token, ${rv} for the resourceVersion of the last list that Marks it.
	Path   string
	Header map[string]string
	// Body is sent, with the same replacements, unless Edit makes one.
	Body []byte
	// Edit makes the body from what the side showed before.
	Edit func(*Seen) []byte
	// Watch says that the answer is a stream of events, read until it pauses.
	Watch bool
	// Opaque says that only the code and the headers are compared.
	Opaque bool
	// Unmanaged says that managed fields are not compared.
	Unmanaged bool
	// Marks says that ${rv} is the resourceVersion of this list from here on.
	Marks bool
	// Until says whether an answer is the one to compare: others come first, while a
	// server does what it does in its own time. After some seconds any is.
	Until func(code int, doc any) bool
	// Await is asked before the step, until its Until says that it is time; nil: nothing
	// is. Its answers are not compared.
	Await *Step
	// Generates is what a name begins with that the answer may have made up.
	Generates string
}

// Anonymous is who shows no certificate.
const Anonymous = "anonymous"

// Scenario is a story of steps that build on each other.
type Scenario struct {
	// Name begins with the suite: "lifecycle/pods".
	Name string
	// Whole says that it looks at the whole server, not only at what it made.
	Whole bool
	Steps []Step
}

// Suite is the first part of the name.
func (s *Scenario) Suite() string {
	suite, _, _ := strings.Cut(s.Name, "/")
	return suite
}

// add appends a step.
func (s *Scenario) add(step Step) { s.Steps = append(s.Steps, step) }

// get, mark, send, patch and remove are the common steps.
func (s *Scenario) get(name, path string) { s.add(Step{Name: name, Method: "GET", Path: path}) }

// mark is get of a list whose resourceVersion is ${rv} from here on.
func (s *Scenario) mark(name, path string) {
	s.add(Step{Name: name, Method: "GET", Path: path, Marks: true})
}

func (s *Scenario) send(name, method, path string, body any) {
	s.add(Step{Name: name, Method: method, Path: path, Body: encode(body), Header: jsonBody()})
}

func (s *Scenario) patch(name, path, contentType string, body any) {
	s.add(Step{Name: name, Method: "PATCH", Path: path, Body: encode(body), Header: map[string]string{"Content-Type": contentType}})
}

func (s *Scenario) remove(name, path string) { s.add(Step{Name: name, Method: "DELETE", Path: path}) }

func jsonBody() map[string]string { return map[string]string{"Content-Type": "application/json"} }
