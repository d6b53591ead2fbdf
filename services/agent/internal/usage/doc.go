// Package usage tells what the node and its containers use of CPU and memory: to the
// metrics service when that asks, and to those who read a node's own endpoints.
//
// Start with New. Ask has the next pass made and published; one pass reads every running
// container of the node, three small files each, and the machine. Nobody asks: nothing is
// read. Summary, Resource and Cadvisor are a kubelet's /stats/summary, /metrics/resource and /metrics/cadvisor.
//
// What is published is counters, not rates: whoever misses a message loses nothing but its
// moment, and the window is the reader's choice.
package usage
