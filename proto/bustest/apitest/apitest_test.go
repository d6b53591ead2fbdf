package apitest

import (
	"context"
	"net/url"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/proto/apiclient"
)

type object struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     struct {
		NodeName string `json:"nodeName"`
	} `json:"spec"`
}

func on(node string) *object {
	o := &object{}
	o.Spec.NodeName = node
	return o
}

func TestAWatchFollowsWhatItsSelectorsName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := New()
		a.Put("/api/v1/namespaces/one/pods/a", on("n"))
		a.Put("/api/v1/namespaces/one/pods/b", on("other"))
		var got []string
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = apiclient.ListWatch(ctx, a.Client("me"), "/api/v1/pods", url.Values{"fieldSelector": {"spec.nodeName=n"}}, func(old, new *object) {
				switch {
				case new == nil:
					got = append(got, "-"+old.Metadata.Name)
				case old == nil:
					got = append(got, "+"+new.Metadata.Namespace+"/"+new.Metadata.Name)
				default:
					got = append(got, "~"+new.Metadata.Name)
				}
			}, nil)
		}()
		synctest.Wait()
		a.Put("/api/v1/namespaces/two/pods/c", on("n"))
		a.Put("/api/v1/namespaces/two/services/c", on("n"))
		a.Put("/api/v1/namespaces/one/pods/a", on("n"))
		synctest.Wait()
		a.Away(true)
		a.Delete("/api/v1/namespaces/one/pods/a")
		a.Away(false)
		time.Sleep(time.Minute) // the client tries again by itself
		cancel()
		<-done
		if want := []string{"+one/a", "+two/c", "~a", "-a"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestErrorsAreTheAPIsOwn(t *testing.T) {
	a := New()
	c := a.Client("me")
	if _, err := apiclient.Get[object](t.Context(), c, "/api/v1/namespaces/one/pods/a"); !apierrors.IsNotFound(err) {
		t.Errorf("an absent object: %v", err)
	}
	a.Away(true)
	if _, err := apiclient.Get[object](t.Context(), c, "/api/v1/namespaces/one/pods/a"); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("an API that is away: %v", err)
	}
}
