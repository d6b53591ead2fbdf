// Package admin speaks to an instance's API as its administrator, for the few
// questions of the operator's command: is it ready, which version, which nodes.
package admin

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Client is an administrator's connection to one API server.
type Client struct {
	http *http.Client
	base string
}

// New makes a client from the keys in pkiDir. server is an https URL.
func New(server, pkiDir string) (*Client, error) {
	ca, err := os.ReadFile(filepath.Join(pkiDir, "ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("reading the administrator's keys: %w", err)
	}
	cert, err := tls.LoadX509KeyPair(filepath.Join(pkiDir, "admin.crt"), filepath.Join(pkiDir, "admin.key"))
	if err != nil {
		return nil, fmt.Errorf("reading the administrator's keys: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return &Client{base: server, http: &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
		DialContext:     (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
	}}}, nil
}

// Close gives the connections back.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Get gives the body of a successful answer; any other is an error with its text.
func (c *Client) Get(ctx context.Context, path string) ([]byte, error) {
	body, err := c.open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

func (c *Client) open(ctx context.Context, path string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		return nil, fmt.Errorf("GET %s: %s: %s", path, resp.Status, strings.TrimSpace(string(text)))
	}
	return resp.Body, nil
}

// WaitReady returns when the API server says it is ready, or with the last reason
// why not when ctx ends. Before its port is open there is nothing to wait on but
// time, so it tries again, soon at first.
func (c *Client) WaitReady(ctx context.Context) error {
	for wait := 5 * time.Millisecond; ; wait = min(wait*5/4, 250*time.Millisecond) {
		_, err := c.Get(ctx, "/readyz")
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the API server is not ready: %w", err)
		case <-time.After(wait):
		}
	}
}

// Node is what the operator's command wants to know of a node.
type Node struct {
	Metadata struct {
		Name              string    `json:"name"`
		CreationTimestamp time.Time `json:"creationTimestamp"`
	} `json:"metadata"`
	Spec struct {
		PodCIDR       string `json:"podCIDR"`
		Unschedulable bool   `json:"unschedulable"`
	} `json:"spec"`
	Status struct {
		Addresses []struct {
			Type    string `json:"type"`
			Address string `json:"address"`
		} `json:"addresses"`
		Conditions []Condition `json:"conditions"`
		NodeInfo   struct {
			KubeletVersion          string `json:"kubeletVersion"`
			ContainerRuntimeVersion string `json:"containerRuntimeVersion"`
		} `json:"nodeInfo"`
	} `json:"status"`
}

// Condition is a node's condition.
type Condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// Ready gives the Ready condition; its status is empty before the agent reported.
func (n *Node) Ready() Condition {
	for _, c := range n.Status.Conditions {
		if c.Type == "Ready" {
			return c
		}
	}
	return Condition{Type: "Ready"}
}

// InternalIP is the node's address; empty before the agent reported.
func (n *Node) InternalIP() string {
	for _, a := range n.Status.Addresses {
		if a.Type == "InternalIP" {
			return a.Address
		}
	}
	return ""
}

// Nodes lists the nodes.
func (c *Client) Nodes(ctx context.Context) ([]Node, error) {
	data, err := c.Get(ctx, "/api/v1/nodes")
	if err != nil {
		return nil, err
	}
	var list struct {
		Items []Node `json:"items"`
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("reading the nodes: %w", err)
	}
	return list.Items, nil
}

// WaitNode returns when the node is Ready, or with the reason why not when ctx ends.
func (c *Client) WaitNode(ctx context.Context, name string) error {
	reason := errors.New("it has not registered yet")
	for {
		err := c.watchNode(ctx, name, func(n *Node) bool {
			ready := n.Ready()
			switch {
			case ready.Status == "True":
				return true
			case ready.Status == "":
				reason = errors.New("its agent has not reported yet")
			default:
				reason = fmt.Errorf("%s: %s", ready.Reason, ready.Message)
			}
			return false
		})
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("node %s is not Ready: %w", name, reason)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// watchNode returns nil when done says so of a version of the node, else an error.
func (c *Client) watchNode(ctx context.Context, name string, done func(*Node) bool) error {
	q := url.Values{"watch": {"1"}, "fieldSelector": {"metadata.name=" + name}}
	body, err := c.open(ctx, "/api/v1/nodes?"+q.Encode())
	if err != nil {
		return err
	}
	defer body.Close()
	lines := bufio.NewReader(body)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return err
		}
		var event struct {
			Type   string `json:"type"`
			Object Node   `json:"object"`
		}
		if err := json.Unmarshal(line, &event); err != nil {
			return fmt.Errorf("reading a watch event: %w", err)
		}
		if (event.Type == "ADDED" || event.Type == "MODIFIED") && done(&event.Object) {
			return nil
		}
	}
}
