// Package differential asks two API servers the same and compares what they
// answer: the gateway, and kube-apiserver of the version that it stands for. It is
// there to find what nobody thought of.
//
// Start with Suites, which makes scenarios, and with Run, which plays them on two
// sides in lock step. A Scenario is a list of Steps, each one request. A Side gives
// an Answer to a step: Server asks over HTTPS, Recording knows what upstream said.
// What no two servers can have in common (uids, versions, times, generated names,
// addresses) is replaced in an Answer by what it stands for, so that answers can be
// compared field by field, and kept.
//
// Promises. A difference that testdata/known.yaml does not explain is a Finding;
// nothing else is. An explanation that explains nothing is reported as well, when
// all was run. Scenarios do not see each other's objects: names and namespaces are
// their own. The same seed makes the same scenarios from the same documents.
package differential
