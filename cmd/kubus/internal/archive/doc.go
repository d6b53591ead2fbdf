// Package archive is the file of a backup: all objects of a cluster at one point, and the
// keys without which they are of no use.
//
// It is one zstd frame of JSON lines, each with one field: first {"head":…}, then
// {"file":…} for each key and setting and {"object":…} for each object, last {"end":…} with
// the number of lines before it and their SHA-256. A reader knows only at the end that
// nothing is missing: read it through before anything is made of it (Verify).
//
// Who has the file has the cluster: it holds the authorities' keys and that of the Secrets.
package archive
