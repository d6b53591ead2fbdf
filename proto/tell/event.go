// Package tell makes what services tell people: Kubernetes Events. How often a service
// tells, and what it sums up, is its own business.
package tell

import (
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// messageMost is as long as the API lets a message be.
const messageMost = 1024

// Source is who tells.
type Source struct {
	Component string
	Host      string // a node, where it is one that tells; else empty
}

// Event tells once, at now, of an object; kind is corev1.EventTypeNormal or -Warning. It
// lies in the object's namespace, or in default where that has none. suffix must be
// unlike that of every other Event about an object of that name.
func Event(by Source, about *corev1.ObjectReference, suffix, kind, reason, message string, now time.Time) corev1.Event {
	namespace := about.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	at := metav1.NewTime(now)
	return corev1.Event{
		TypeMeta:       metav1.TypeMeta{APIVersion: "v1", Kind: "Event"},
		ObjectMeta:     metav1.ObjectMeta{Namespace: namespace, Name: about.Name + "." + suffix},
		InvolvedObject: *about,
		Type:           kind, Reason: reason, Message: Cut(message), Count: 1, FirstTimestamp: at, LastTimestamp: at,
		Source: corev1.EventSource{Component: by.Component, Host: by.Host}, ReportingController: by.Component, ReportingInstance: by.Host,
	}
}

// Cut takes the end of a message that is too long for the API, and no part of a letter.
func Cut(s string) string {
	if len(s) <= messageMost {
		return s
	}
	end := messageMost
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}
