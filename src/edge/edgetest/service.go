// Package edgetest tests an extension as part of the whole service: in this
// process, with its own sockets, and with a clean end.
package edgetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/app"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/config"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/log"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/servicetest"
)

const (
	startLimit  = 30 * time.Second
	reloadLimit = 10 * time.Second
	stopLimit   = 30 * time.Second

	// An address of this host, a port that the kernel chooses, and an end without
	// the time that load balancers need.
	base = "[server]\nlisten = [\"127.0.0.1:0\"]\ndrain_delay = \"0s\"\n"
)

// Service is a service that runs.
type Service struct {
	URL    string // without a path
	Client *http.Client

	file   string
	logs   *servicetest.Buffer
	notify *net.UnixConn
	hangup chan os.Signal
	cancel context.CancelFunc
	done   chan error
}

// Start starts a service with the extensions, and with configuration (TOML) beside
// what a test needs. It stops with the test, which must not run in parallel with
// others: the service tells systemd of its state by the environment.
func Start(t *testing.T, configuration string, extensions ...edge.Extension) *Service {
	t.Helper()
	s, err := start(t, configuration, extensions...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func start(t testing.TB, configuration string, extensions ...edge.Extension) (*Service, error) {
	// Not of t: its path may be too long for the name of a socket.
	folder, err := os.MkdirTemp("", "edgetest")
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	socket := filepath.Join(folder, "notify")
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = notify.Close() })
	t.Setenv("NOTIFY_SOCKET", socket)
	ctx, cancel := context.WithCancel(context.Background())
	s := &Service{
		Client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{}},
		file:   filepath.Join(folder, "service.toml"), logs: &servicetest.Buffer{}, notify: notify,
		hangup: make(chan os.Signal, 1), cancel: cancel, done: make(chan error, 1),
	}
	if err := s.write(configuration); err != nil {
		return nil, err
	}
	logs := log.NewText(s.logs)
	go func() {
		err := app.Run(ctx, app.Options{
			Layers: []config.Layer{{Path: s.file}}, Product: edge.Product{Name: "edgetest", Version: "test"},
			Extensions: extensions, Log: logs, Root: os.DirFS("/"), Hangup: s.hangup,
		})
		closeCtx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s.done <- errors.Join(err, logs.Close(closeCtx))
	}()
	status, err := s.next("STATUS=serving on ", startLimit)
	if err != nil {
		cancel()
		return nil, err
	}
	address, _, _ := strings.Cut(strings.TrimPrefix(status, "STATUS=serving on "), ",")
	s.URL = "http://" + strings.TrimSpace(address)
	return s, nil
}

func (s *Service) write(configuration string) error {
	return os.WriteFile(s.file, []byte(base+configuration), 0o600)
}

// next waits for a datagram to systemd.
func (s *Service) next(prefix string, limit time.Duration) (string, error) {
	deadline := time.Now().Add(limit)
	buffer := make([]byte, 4096)
	for {
		select {
		case err := <-s.done:
			s.done <- err
			return "", fmt.Errorf("the service has ended: %w\n%s", err, s.Logs())
		default:
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("no %s within %v\n%s", prefix, limit, s.Logs())
		}
		_ = s.notify.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		n, _ := s.notify.Read(buffer)
		for line := range strings.SplitSeq(string(buffer[:n]), "\n") {
			if strings.HasPrefix(line, prefix) {
				return line, nil
			}
		}
	}
}

// Logs returns what the service has logged so far, as text.
func (s *Service) Logs() string { return s.logs.String() }

// Reload has the service take another configuration over, and returns why it was
// refused.
func (s *Service) Reload(configuration string) error {
	if err := s.write(configuration); err != nil {
		return err
	}
	s.hangup <- os.Interrupt // the value says nothing: each one asks for a reload
	for _, state := range []string{"RELOADING=1", "READY=1"} {
		if _, err := s.next(state, reloadLimit); err != nil {
			return err
		}
	}
	var status struct {
		Config struct {
			LastReload struct {
				OK    bool
				Error string
			} `json:"last_reload"`
		}
	}
	_, body, err := s.do(http.MethodGet, "/api/v1/system/status", "")
	if err == nil {
		err = json.Unmarshal(body, &status)
	}
	if err == nil && !status.Config.LastReload.OK {
		err = errors.New(status.Config.LastReload.Error)
	}
	return err
}

// Stop drains the service and waits for its end.
func (s *Service) Stop() error {
	s.Client.CloseIdleConnections()
	s.cancel()
	select {
	case err := <-s.done:
		s.done <- err
		return err
	case <-time.After(stopLimit):
		return fmt.Errorf("the service does not end within %v of being asked to", stopLimit)
	}
}

// do makes a request. header are pairs of name and value.
func (s *Service) do(method, path, body string, header ...string) (*http.Response, []byte, error) {
	request, err := http.NewRequest(method, s.URL+path, strings.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	if body == "" {
		request.Body = http.NoBody
	}
	for i := 0; i < len(header); i += 2 {
		switch header[i] {
		case "Host":
			request.Host = header[i+1]
			continue
		case "Transfer-Encoding":
			request.ContentLength = -1 // net/http sends chunks
			continue
		}
		request.Header.Set(header[i], header[i+1])
	}
	response, err := s.Client.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 16<<20))
	return response, answer, err
}
