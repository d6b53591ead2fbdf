package chain

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/request"
)

func TestBusUsersHaveTheGroupsOfTheirNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][]string{
		"system:serviceaccount:kube-system:x": {"system:serviceaccounts", "system:serviceaccounts:kube-system", user.AllAuthenticated},
		"system:node:n":                       {user.NodesGroup, user.AllAuthenticated},
		"system:kube-scheduler":               {user.AllAuthenticated},
		AdminUser:                             {user.SystemPrivilegedGroup, user.AllAuthenticated},
	} {
		if got := BusUser(name).GetGroups(); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

func TestServicesWithoutAnAgentAreNamedAsTheirCounterparts(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"system:kube-scheduler":                                   "kube-scheduler",
		"system:serviceaccount:kube-system:kubus-status":          "kubelet",
		"system:node:n":                                           "kubelet",
		"system:serviceaccount:kube-system:deployment-controller": "kube-controller-manager",
		"system:serviceaccount:kube-system:cloud-provider":        "cloud-controller-manager",
		"system:serviceaccount:team:bot":                          "bot",
		AdminUser:                                                 "kube-apiserver",
		"":                                                        "",
	} {
		r := httptest.NewRequest("GET", "/", nil)
		nameAgent(r, BusUser(name))
		if got := r.UserAgent(); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
		r.Header.Set("User-Agent", "own/1")
		nameAgent(r, BusUser(name))
		if got := r.UserAgent(); got != "own/1" {
			t.Errorf("%q: the request's own agent became %q", name, got)
		}
	}
}

func TestTimeoutOf(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]time.Duration{
		"": requestTimeout, "timeout=5s": 5 * time.Second, "timeout=5h": requestTimeout, "timeout=0s": requestTimeout, "timeout=soon": 0,
	} {
		got, err := timeoutOf(httptest.NewRequest("GET", "/?"+query, nil))
		if got != want || (err != nil) != (want == 0) {
			t.Errorf("%q: got %v, %v", query, got, err)
		}
	}
}

func TestTheChain(t *testing.T) {
	t.Parallel()
	next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, _ := request.UserFrom(r.Context())
		switch r.URL.Path {
		case "/api/v1/panic":
			panic("on purpose")
		case "/api/v1/namespaces/default/pods":
			if _, ok := r.Context().Deadline(); !ok {
				t.Error("a short request has no deadline")
			}
		}
		_, _ = w.Write([]byte(u.GetName()))
	})
	c := New(Options{
		Next: next, Logger: zap.NewNop(),
		Authenticator: authenticator.RequestFunc(func(r *http.Request) (*authenticator.Response, bool, error) {
			name := r.Header.Get("Authorization")
			if name == "broken" {
				return nil, false, errors.New("broken")
			}
			return &authenticator.Response{User: &user.DefaultInfo{Name: name}}, name != "", nil
		}),
		Authorizer: authorizer.AuthorizerFunc(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
			switch a.GetUser().GetName() {
			case "friend":
				return authorizer.DecisionAllow, "", nil
			case "unlucky":
				return authorizer.DecisionNoOpinion, "", errors.New("no idea")
			}
			return authorizer.DecisionNoOpinion, "not you", nil
		}),
	})
	for _, s := range []struct {
		name, user, path string
		code             int
		body             string
	}{
		{"who is let in is served", "friend", "/api/v1/namespaces/default/pods", 200, "friend"},
		{"who says nothing is refused", "", "/api/v1/pods", 401, `"message":"Unauthorized"`},
		{"who lies as well, without details", "broken", "/api/v1/pods", 401, `"message":"Unauthorized"`},
		{"who may not is told what", "stranger", "/api/v1/namespaces/default/pods", 403, `pods is forbidden: User \"stranger\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\": not you`},
		{"a failing authorizer is an error", "unlucky", "/api/v1/pods", 500, "no idea"},
		{"a bad timeout is the client's fault", "friend", "/api/v1/pods?timeout=soon", 400, "invalid timeout specified in the request URL"},
		{"a panic ends one request", "friend", "/api/v1/panic", 500, "caused apiserver to panic"},
	} {
		t.Run(s.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", s.path, nil)
			r.Header.Set("Authorization", s.user)
			w := httptest.NewRecorder()
			c.ServeHTTP(w, r)
			if w.Code != s.code || !strings.Contains(w.Body.String(), s.body) {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
			if w.Header().Get("Audit-Id") == "" {
				t.Error("no audit id")
			}
		})
	}
	w := httptest.NewRecorder()
	c.ServeAs(BusUser("friend"), w, httptest.NewRequest("GET", "/api/v1/pods", nil))
	if w.Code != 200 {
		t.Errorf("over the bus: got %d %s", w.Code, w.Body)
	}
}

func TestStrangersDoNotFillTheLog(t *testing.T) {
	t.Parallel()
	core, seen := observer.New(zapcore.DebugLevel)
	c := New(Options{
		Authenticator: authenticator.RequestFunc(func(*http.Request) (*authenticator.Response, bool, error) {
			return nil, false, errors.New("invalid bearer token")
		}),
		Logger: zap.New(core),
	})
	for range 1000 {
		w := httptest.NewRecorder()
		c.ServeHTTP(w, httptest.NewRequest("GET", "/api", nil))
		if w.Code != http.StatusUnauthorized {
			t.Fatalf("got %d", w.Code)
		}
	}
	if n := seen.Len(); n == 0 || n > 20 { // a minute may end meanwhile
		t.Errorf("%d lines for 1000 requests", n)
	}
}

func TestABodyThatDoesNotComeEndsTheRequest(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	c := New(Options{
		Authenticator: authenticator.RequestFunc(func(*http.Request) (*authenticator.Response, bool, error) {
			return &authenticator.Response{User: &user.DefaultInfo{Name: "me"}}, true, nil
		}),
		Authorizer: authorizer.AuthorizerFunc(func(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
			return authorizer.DecisionAllow, "", nil
		}),
		Next: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, err := io.ReadAll(r.Body)
			ended <- err
		}),
		Logger: zap.NewNop(),
	})
	srv := httptest.NewServer(c)
	t.Cleanup(srv.Close)
	conn, err := net.Dial("tcp", strings.TrimPrefix(srv.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /api/v1/namespaces/a/pods?timeout=10ms HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("the request still waits for its body")
	}
}
