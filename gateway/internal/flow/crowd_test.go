package flow

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authentication/user"
)

func TestWhoIsAloneMayHaveEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(2)
		for range 50 {
			if err := c.enter(t.Context(), "alone"); err != nil {
				t.Fatal(err)
			}
		}
		for range 50 {
			c.leave("alone")
		}
		if len(c.users) != 0 {
			t.Errorf("left over: %v", c.users)
		}
	})
}

func TestWhoIsNotAloneHasABoundedNumberInHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(2)
		enter := func(name string) {
			if err := c.enter(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		enter("polite")
		c.leave("polite")
		enter("greedy")
		enter("greedy")
		var entered atomic.Int32
		for range 10 {
			go func() {
				if c.enter(t.Context(), "greedy") == nil {
					entered.Add(1)
				}
			}()
		}
		synctest.Wait()
		if n := entered.Load(); n != 0 {
			t.Errorf("beyond the bound %d went", n)
		}
		enter("polite")
		c.leave("polite")
		c.leave("greedy")
		synctest.Wait()
		if n := entered.Load(); n != 1 {
			t.Errorf("one has ended and %d went", n)
		}
		time.Sleep(2 * aloneAfter) // some went meanwhile, since nothing moved
		c.leave("greedy")
		synctest.Wait()
		if n := entered.Load(); n != 10 {
			t.Errorf("nobody else is there and %d of 10 went", n)
		}
		for range entered.Load() {
			c.leave("greedy")
		}
		if len(c.users) != 0 {
			t.Errorf("left over: %v", c.users)
		}
	})
}

func TestTheCrowdRefusesWhoseTimeIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(1)
		for _, name := range []string{"polite", "greedy"} {
			if err := c.enter(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := c.enter(ctx, "greedy"); !apierrors.IsTooManyRequests(err) {
			t.Errorf("got %v", err)
		}
		c.leave("polite")
		c.leave("greedy")
		if len(c.users) != 0 {
			t.Errorf("left over: %v", c.users)
		}
	})
}

// What is in hand may wait for what would have to wait behind it.
func TestAUserWhoWaitsForItselfGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(1)
		if err := c.enter(t.Context(), "operator"); err != nil {
			t.Fatal(err)
		}
		stop := time.AfterFunc(stalled/2, func() { // somebody else asks all the time
			if c.try("other") {
				c.leave("other")
			}
		})
		defer stop.Stop()
		if c.try("other") {
			c.leave("other")
		}
		began := time.Now()
		if err := c.enter(t.Context(), "operator"); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < stalled || took > 3*stalled {
			t.Errorf("it waited for %v", took)
		}
		for range 2 {
			c.leave("operator")
		}
		if len(c.users) != 0 {
			t.Errorf("left over: %v", c.users)
		}
	})
}

func TestTheClustersOwnPartsAreNoCrowd(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		user user.DefaultInfo
		want bool
	}{
		"a person":                    {user.DefaultInfo{Name: "alice"}, true},
		"a pod's ServiceAccount":      {user.DefaultInfo{Name: "system:serviceaccount:default:default"}, true},
		"a controller's":              {user.DefaultInfo{Name: "system:serviceaccount:kube-system:job-controller"}, false},
		"the scheduler":               {user.DefaultInfo{Name: "system:kube-scheduler"}, false},
		"a node":                      {user.DefaultInfo{Name: "system:node:a", Groups: []string{user.NodesGroup}}, false},
		"who did not say who it is":   {user.DefaultInfo{Name: user.Anonymous}, true},
		"who is named like a part":    {user.DefaultInfo{Name: "kube-scheduler"}, true},
		"a person in a group of SAs'": {user.DefaultInfo{Name: "bob", Groups: []string{"system:serviceaccounts:kube-system"}}, true},
	} {
		if got := crowded(&c.user); got != c.want {
			t.Errorf("%s: got %t", name, got)
		}
	}
}
