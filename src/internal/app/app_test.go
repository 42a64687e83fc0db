package app

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/meta-gin-edge/meta-gin-edge/src/edge"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/config"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/device"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/events"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/log"
	"github.com/meta-gin-edge/meta-gin-edge/src/internal/servicetest"
)

// service is a running App with systemd's end of the notification socket.
type service struct {
	t      *testing.T
	app    *App
	notify *net.UnixConn
	file   string
	url    string
	logs   *servicetest.Buffer
	hangup chan os.Signal
	cancel context.CancelFunc
	done   chan error
}

func newLog(t *testing.T, w io.Writer) *log.Log {
	l := log.NewText(w)
	t.Cleanup(func() {
		if err := l.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return l
}

// wantLogged waits for a line of the log that has all texts.
func (s *service) wantLogged(texts ...string) {
	s.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		for line := range strings.Lines(s.logs.String()) {
			if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
				return
			}
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("no record with %q in the log: %s", texts, s.logs)
		}
	}
}

// takesBody is a resource that is busy until the body of its request has come.
var takesBody = edge.Route{
	Method: http.MethodGet, Path: "/body", Role: edge.Anyone, Body: 1 << 10, Summary: "Takes a body",
	Handle: func(c *gin.Context) {
		if _, err := io.Copy(io.Discard, c.Request.Body); err == nil {
			c.Status(http.StatusOK)
		}
	},
}

// launch starts the app and waits for READY.
func launch(t *testing.T, configuration string, above ...config.Layer) *service {
	t.Helper()
	return launchWith(t, configuration, []edge.Extension{{Name: "body", Routes: []edge.Route{takesBody}}}, above...)
}

func launchWith(t *testing.T, configuration string, extensions []edge.Extension, above ...config.Layer) *service {
	t.Helper()
	servicetest.NoLeaks(t)
	dir := t.TempDir()
	socket := filepath.Join(dir, "notify")
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", socket)
	ctx, cancel := context.WithCancel(context.Background())
	s := &service{
		t: t, notify: notify, file: filepath.Join(dir, "c.toml"), logs: &servicetest.Buffer{},
		hangup: make(chan os.Signal, 1), cancel: cancel, done: make(chan error, 1),
	}
	s.write(configuration)
	logs := newLog(t, s.logs)
	s.app, err = newApp(Options{
		Layers:     append([]config.Layer{{Path: s.file}}, above...),
		Product:    edge.Product{Name: "gin-edged", Version: "test"},
		Extensions: extensions,
		Log:        logs,
		Root:       os.DirFS("/"),
		Hangup:     s.hangup,
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() { s.done <- s.app.run(ctx) }()
	t.Cleanup(func() {
		s.stop()
		notify.Close()
	})
	// The very first datagram: nothing may be said before READY.
	if got := s.next(10 * time.Second); got != "READY=1" {
		t.Fatalf("first datagram %q, log %s", got, s.logs)
	}
	s.want("^STATUS=serving on ")
	s.url = "http://" + s.app.server.Addrs()[0].String()
	return s
}

func (s *service) write(configuration string) {
	s.t.Helper()
	if err := os.WriteFile(s.file, []byte(configuration), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *service) next(wait time.Duration) string {
	_ = s.notify.SetReadDeadline(time.Now().Add(wait))
	buf := make([]byte, 4096)
	n, _ := s.notify.Read(buf)
	return string(buf[:n])
}

// want reads datagrams until one matches; those of the watchdog are skipped, and
// STATUS unless it is asked for.
func (s *service) want(pattern string) {
	s.t.Helper()
	got := s.next(5 * time.Second)
	for got == "WATCHDOG=1" || strings.HasPrefix(got, "STATUS=") && !strings.HasPrefix(pattern, "^STATUS=") {
		got = s.next(5 * time.Second)
	}
	if !regexp.MustCompile(pattern).MatchString(got) {
		s.t.Fatalf("datagram %q, want %s\n%s", got, pattern, s.logs)
	}
}

// reload asks for one and waits until it has ended.
func (s *service) reload() {
	s.t.Helper()
	s.hangup <- syscall.SIGHUP
	s.want("^RELOADING=1")
	s.want("^READY=1")
}

func (s *service) stop() {
	s.cancel()
	if err, ok := <-s.done; ok {
		close(s.done)
		if err != nil {
			s.t.Errorf("run = %v", err)
		}
	}
}

func (s *service) get(path string) (int, string) {
	s.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	r, err := client.Get(s.url + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return r.StatusCode, string(body)
}

type status struct {
	Connections struct{ Active, Limit int }
	Config      struct {
		Generation uint64
		LastReload *struct {
			OK    bool
			Error string
		} `json:"last_reload"`
	}
	Watchdog struct {
		Enabled       bool
		FailuresTotal uint64 `json:"failures_total"`
		LastError     string `json:"last_error"`
	}
}

func (s *service) status() (v status) {
	s.t.Helper()
	_, body := s.get("/api/v1/system/status")
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		s.t.Fatal(err)
	}
	return v
}

const quick = "[server]\nlisten = [\"127.0.0.1:0\"]\ndrain_delay = \"0s\"\n"

func TestServesAfterReadyAndStops(t *testing.T) {
	s := launch(t, quick)
	for _, path := range []string{"/livez", "/readyz", "/api/v1/device", "/api/v1/system/status", "/api/v1/logs", "/openapi.json"} {
		if code, body := s.get(path); code != 200 {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	_, body := s.get("/api/v1/system/status")
	for _, loop := range []string{"loop/main", "loop/accept-http"} {
		if !strings.Contains(body, loop) {
			t.Errorf("%s is not in %s", loop, body)
		}
	}
	s.stop()
	s.want("^STOPPING=1\nEXTEND_TIMEOUT_USEC=20000000$")
}

// A limit that the unit declares and that is not there is told at the start, in
// the log and in the status.
func TestMissingLimit(t *testing.T) {
	t.Setenv(device.SandboxVariable, "no_such_limit")
	s := launch(t, "[server]\nlisten = [\"127.0.0.1:0\"]\n")
	s.wantLogged("level=warning", "no_such_limit is declared for this service and not in force: GIN_EDGE_SANDBOX does not know this word")
	if _, body := s.get("/api/v1/system/status"); !strings.Contains(body, `"missing":[{"limit":"no_such_limit","remedy":"`) {
		t.Errorf("status: %s", body)
	}
}

func TestReload(t *testing.T) {
	s := launch(t, quick)
	s.write(quick + "max_connections = 7\n")
	s.hangup <- syscall.SIGHUP
	s.want("^RELOADING=1\nMONOTONIC_USEC=[0-9]+$")
	s.want("^READY=1$")
	s.want("^STATUS=serving on 127.0.0.1:[0-9]+$")
	if v := s.status(); v.Connections.Limit != 7 || v.Config.Generation != 2 || !v.Config.LastReload.OK {
		t.Errorf("status after a good file: %+v", v)
	}

	s.write(quick + "max_connections = 9\nmax_bdoy_bytes = 1\n")
	s.hangup <- syscall.SIGHUP
	s.want("^RELOADING=1\n")
	s.want("^READY=1$")
	s.want("^STATUS=serving on .*last reload refused: .*c.toml:5: key server.max_bdoy_bytes: unknown key")
	if v := s.status(); v.Connections.Limit != 7 || v.Config.Generation != 2 || v.Config.LastReload.OK || !strings.Contains(v.Config.LastReload.Error, "c.toml:5: key server.max_bdoy_bytes") {
		t.Errorf("status after a bad file: %+v", v)
	}
	s.wantLogged("level=error", "key server.max_bdoy_bytes")

	// A port that is taken is found before the old generation is touched.
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s.write(fmt.Sprintf("server.listen = [\"127.0.0.2:0\", %q]\nserver.drain_delay = \"0s\"\n", taken.Addr()))
	s.hangup <- syscall.SIGHUP
	s.want("^RELOADING=1\n")
	s.want("^READY=1$")
	s.want("^STATUS=serving on 127.0.0.1:.*address already in use")
	if v := s.status(); v.Config.Generation != 2 {
		t.Errorf("status: %+v", v)
	}

	taken.Close()
	s.hangup <- syscall.SIGHUP
	s.want("^RELOADING=1\n")
	s.want("^READY=1$")
	s.want("^STATUS=serving on 127.0.0.2:[0-9]+, " + taken.Addr().String() + "$")
	s.url = "http://" + taken.Addr().String()
	if v := s.status(); v.Config.Generation != 3 || v.Connections.Limit != 256 {
		t.Errorf("status on the new address: %+v", v)
	}
}

func TestDrainFinishesARunningRequest(t *testing.T) {
	s := launch(t, strings.Replace(quick, `"0s"`, `"2s"`, 1))
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprint(conn, "GET /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n1"); err != nil {
		t.Fatal(err)
	}
	for s.status().Connections.Active < 2 { // this request and that of status
	}
	s.cancel()
	s.want("^STOPPING=1\n")
	s.want("^STATUS=draining: not ready")
	if code, body := s.get("/readyz"); code != 503 || body != `{"status":"failed"}` {
		t.Errorf("readyz while draining: %d %s", code, body)
	}
	if _, body := s.get("/api/v1/system/status"); !strings.Contains(body, `{"name":"state","ok":false,"detail":"draining"}`) {
		t.Errorf("status while draining: %s", body)
	}
	if code, _ := s.get("/livez"); code != 200 {
		t.Errorf("livez while draining: %d", code)
	}
	s.want("^STATUS=draining: running requests")
	if c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://")); err == nil {
		c.Close()
		t.Error("a connection was accepted after the delay")
	}
	select {
	case err := <-s.done:
		t.Fatalf("stopped with a request running: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	if _, err := fmt.Fprint(conn, "2"); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200 ") {
		t.Errorf("answer %q, %v", answer, err)
	}
}

// A stream of the log ends when the drain begins, long before running requests
// are cut off, and when a reload replaces its generation.
func TestLogStreamEnds(t *testing.T) {
	const slow = "[server]\nlisten = [\"127.0.0.1:0\"]\ndrain_delay = \"2s\"\ndrain_timeout = \"60s\"\n"
	s := launch(t, slow)
	follow := func() *http.Response {
		r, err := http.Get(s.url + "/api/v1/logs/stream")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Body.Close() })
		return r
	}
	r := follow()
	s.hangup <- syscall.SIGHUP
	s.want("^RELOADING=1\n")
	s.want("^READY=1$")
	if body, err := io.ReadAll(r.Body); err != nil || !strings.HasPrefix(string(body), "retry: ") {
		t.Errorf("after a reload: %q, %v", body, err)
	}
	r = follow()
	s.cancel()
	if _, err := io.ReadAll(r.Body); err != nil {
		t.Error(err)
	}
	// Still within drain_delay: the end was told at its beginning.
	if code, body := s.get("/readyz"); code != 503 {
		t.Errorf("readyz: %d %s", code, body)
	}
	begin := time.Now()
	s.stop()
	if d := time.Since(begin); d > 30*time.Second {
		t.Errorf("the drain took %v", d)
	}
}

func TestWatchdogIsNotFedWhenALoopStops(t *testing.T) {
	t.Setenv("WATCHDOG_USEC", "1500000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	s := launch(t, quick)
	if got := s.next(5 * time.Second); got != "WATCHDOG=1" {
		t.Fatalf("datagram %q", got)
	}
	loop := s.app.health.Loop("stuck", 10*time.Millisecond)
	s.want("^STATUS=watchdog not fed: loop/stuck: no beat for ")
	for end := time.Now().Add(1200 * time.Millisecond); time.Now().Before(end); {
		if got := s.next(100 * time.Millisecond); got == "WATCHDOG=1" {
			t.Fatal("fed with a loop that does not beat")
		}
	}
	if v := s.status(); !v.Watchdog.Enabled || v.Watchdog.FailuresTotal == 0 || !strings.Contains(v.Watchdog.LastError, "loop/stuck") {
		t.Errorf("status: %+v", v.Watchdog)
	}
	s.wantLogged("level=fatal", "loop/stuck")
	loop.End()
	for got := ""; got != "WATCHDOG=1"; {
		if got = s.next(5 * time.Second); got == "" {
			t.Fatal("not fed again")
		}
	}
}

func TestAcceptLoopThatEndsEndsTheService(t *testing.T) {
	s := launch(t, quick)
	s.app.failures <- io.ErrUnexpectedEOF
	if err := <-s.done; err != io.ErrUnexpectedEOF {
		t.Errorf("run = %v", err)
	}
	close(s.done)
}

func TestStartFailures(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	file := filepath.Join(t.TempDir(), "c.toml")
	for _, tc := range []struct{ configuration, want string }{
		{fmt.Sprintf("server.listen = [%q]", taken.Addr()), "another program holds port " + port + ": stop it or change server.listen in " + file},
		{"server.listen = 1", file + ":1: key server.listen: must be an array"},
	} {
		if err := os.WriteFile(file, []byte(tc.configuration), 0o600); err != nil {
			t.Fatal(err)
		}
		err := Run(context.Background(), Options{Layers: []config.Layer{{Path: file}}, Log: newLog(t, io.Discard), Root: os.DirFS("/")})
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("error %v, want %q", err, tc.want)
		}
	}
}

// dataLayer gives the running service a last layer on a data partition. The
// service has to be launched anew to read it.
func dataLayer(t *testing.T, text string) config.Layer {
	t.Helper()
	dir := t.TempDir()
	l := config.DefaultLayers()[3]
	l.OnData, l.Path, l.Good = false, filepath.Join(dir, "gin-edged.toml"), filepath.Join(dir, "state/good")
	if err := os.Mkdir(filepath.Dir(l.Good), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(l.Path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return l
}

// A wrong key on the data partition is said everywhere, and stops no start.
func TestStartWithABadDataLayer(t *testing.T) {
	layer := dataLayer(t, "[server]\nmax_conns = 5\n")
	const mistake = "data/gin-edged.toml:2: key server.max_conns: unknown key"
	s := launch(t, quick, layer)
	s.wantLogged("level=error", "started without a layer of the configuration", layer.Path+":2: key server.max_conns")
	if code, body := s.get("/readyz"); code != 200 || body != `{"status":"degraded"}` {
		t.Errorf("readyz: %d %s", code, body)
	}
	_, body := s.get("/api/v1/system/status")
	for _, want := range []string{`{"name":"config","ok":false,"degraded":true,"detail":"` + mistake, `"skipped":["` + mistake, `it is left out: mend the file and reload"`} {
		if !strings.Contains(body, want) {
			t.Errorf("%s is not in %s", want, body)
		}
	}
	if strings.Contains(body, filepath.Dir(layer.Path)) {
		t.Errorf("a path is in %s", body)
	}
	if items := s.events(); !slices.ContainsFunc(items, func(i item) bool {
		return i.Kind == events.ConfigSkipped && i.Severity == events.Error && strings.Contains(i.Message, mistake)
	}) {
		t.Errorf("events %+v", items)
	}
	// A reload is as strict as before, and says the same; mended, all is well.
	s.hangup <- syscall.SIGHUP
	s.want("^RELOADING=1\n")
	s.want("^READY=1$")
	s.want("^STATUS=serving on .*last reload refused: " + mistake + ".*; degraded: ")
	if v := s.status(); v.Config.LastReload.OK || v.Config.Generation != 1 {
		t.Errorf("%+v", v.Config)
	}
	if err := os.WriteFile(layer.Path, []byte("[server]\nmax_connections = 5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.hangup <- syscall.SIGHUP
	s.want("^RELOADING=1\n")
	s.want("^READY=1$")
	s.want("^STATUS=serving on 127.0.0.1:[0-9]+$")
	if code, body := s.get("/readyz"); code != 200 || body != `{"status":"ok"}` {
		t.Errorf("readyz: %d %s", code, body)
	}
	// It is kept, and in force at the next start, whatever becomes of the file.
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(layer.Good); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the good copy is not kept")
		}
	}
	s.stop()
	if err := os.WriteFile(layer.Path, []byte("[server"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = launch(t, quick, layer)
	if v := s.status(); v.Connections.Limit != 5 {
		t.Errorf("the last good copy is not in force: %+v", v)
	}
	if _, body := s.get("/api/v1/system/status"); !strings.Contains(body, "its last good copy data/gin-edged.toml.good is in force") {
		t.Error(body)
	}
}

// Neither a start, nor a reload, nor a stop waits for a medium that hangs.
func TestMediumThatHangs(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	layer := dataLayer(t, "")
	layer.Read = func() ([]byte, error) {
		<-release
		return nil, nil
	}
	begin := time.Now()
	s := launch(t, quick, layer)
	if took := time.Since(begin); took > config.ReadTimeout+10*time.Second {
		t.Errorf("the start took %v", took)
	}
	if _, body := s.get("/api/v1/system/status"); !strings.Contains(body, "data/gin-edged.toml: no answer from its medium within 2s; it is left out") {
		t.Error(body)
	}
	s.hangup <- syscall.SIGHUP
	s.want("^RELOADING=1\n")
	s.want("^READY=1$")
	s.want("^STATUS=.*last reload refused: .*no answer from its medium")
	// In the middle of a reload:
	s.hangup <- syscall.SIGHUP
	s.want("^RELOADING=1\n")
	begin = time.Now()
	s.stop()
	if took := time.Since(begin); took > config.ReadTimeout {
		t.Errorf("the stop took %v", took)
	}
}

func TestStopWhileTheConfigurationIsRead(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	reading := make(chan struct{})
	layer := dataLayer(t, "")
	layer.Read = func() ([]byte, error) {
		close(reading)
		<-release
		return nil, nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		ended <- Run(ctx, Options{Layers: []config.Layer{layer}, Log: newLog(t, io.Discard), Root: os.DirFS("/")})
	}()
	<-reading
	begin := time.Now()
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("a stop is no failure: %v", err)
	}
	if took := time.Since(begin); took > config.ReadTimeout {
		t.Errorf("it took %v", took)
	}
}

func TestRouteWithoutRoleDoesNotStart(t *testing.T) {
	open := takesBody
	open.Role = 0
	err := Run(context.Background(), Options{Log: newLog(t, io.Discard), Root: os.DirFS("/"), Extensions: []edge.Extension{{Name: "open", Routes: []edge.Route{open}}}})
	if err == nil || !strings.HasPrefix(err.Error(), "route GET /body: it does not say who may call it") {
		t.Errorf("error %v", err)
	}
}

func TestSecondInstance(t *testing.T) {
	dir := t.TempDir()
	unlock, err := lockRuntime(dir + ":/elsewhere")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("RUNTIME_DIRECTORY", dir)
	err = Run(context.Background(), Options{Log: newLog(t, io.Discard), Root: os.DirFS("/")})
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("another gin-edged (pid %d) is running", os.Getpid())) {
		t.Errorf("second instance: %v", err)
	}
	unlock()
	again, err := lockRuntime(dir)
	if err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	again()
	if _, err := lockRuntime(filepath.Join(dir, "missing")); err == nil {
		t.Error("a missing directory is no error")
	}
}
