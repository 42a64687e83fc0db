package blackbox

import (
	"bufio"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestReload(t *testing.T) {
	c := needControl(t)
	before := status(t)
	p := startProber(t)
	configure(t, limitConfig(101))
	path := ""
	for _, limit := range []int{102, 103} {
		path = c.writeConfig(t, limitConfig(limit))
		if outcome := reload(t, c); !outcome.OK {
			t.Fatalf("the configuration is refused: %s", outcome.Error)
		}
		now := status(t)
		if now.Connections.Limit != limit {
			t.Errorf("max_connections is %d in force, %d in the file", now.Connections.Limit, limit)
		}
		if now.Config.Generation <= before.Config.Generation {
			t.Errorf("generation %d after %d", now.Config.Generation, before.Config.Generation)
		}
		if now.Service.PID != before.Service.PID {
			t.Errorf("process %d became %d: that is no reload", before.Service.PID, now.Service.PID)
		}
		before = now
	}
	if sources := before.Config.Sources; len(sources) == 0 || sources[len(sources)-1] != label(path) {
		t.Errorf("sources %q do not end with %s", sources, label(path))
	}
	p.wantNoError(t, "the configuration was reloaded")
}

func limitConfig(limit int) string {
	return "[server]\nmax_connections = " + itoa(limit) + "\n"
}

func TestReloadBadFile(t *testing.T) {
	c := needControl(t)
	configure(t, limitConfig(111))
	before := status(t)
	p := startProber(t)
	for _, bad := range []struct{ text, want string }{
		{"[server]\nmax_connections = 112\nmax_bdoy_bytes = 1\n", ":3: key server.max_bdoy_bytes: unknown key"},
		{"[server]\n\nmax_connections = \"many\"\n", ":3: key server.max_connections: "},
		{"[server]\nmax_connections = 0\n", ":2: key server.max_connections: "},
		{"[server]\nmax_connections = 112\n[log]\nlevel = \"loud\"\n", ":4: key log.level: "},
		{"[server\nmax_connections = 112\n", ":1: "},
	} {
		path := c.writeConfig(t, bad.text)
		outcome := reload(t, c)
		if outcome.OK || !strings.HasPrefix(outcome.Error, label(path)+bad.want) {
			t.Errorf("file %q: last_reload is %+v, want an error that begins with %s%s", bad.text, outcome, label(path), bad.want)
		}
		eventually(t, 30*time.Second, path+bad.want+" in the log", func() bool { return c.logged(t, path+bad.want) })
		now := status(t)
		if now.Connections.Limit != 111 || now.Config.Generation != before.Config.Generation {
			t.Errorf("file %q: the old configuration is not in force any more: %+v", bad.text, now)
		}
	}
	p.wantNoError(t, "bad files were reloaded")
}

func TestCheckConfig(t *testing.T) {
	c := needControl(t)
	for _, test := range []struct {
		text   string
		status int
		want   string
	}{
		{"[server]\nmax_connections = 8\n", 0, "configuration is valid: FILE"},
		{"[server]\nmax_bdoy_bytes = 1\n", 1, "FILE:2: key server.max_bdoy_bytes: unknown key; did you mean server.max_body_bytes?"},
		{"[server]\nread_timeout = 30\n", 1, "FILE:2: key server.read_timeout: "},
		{"[server]\nread_timeout = \"30 parsecs\"\n", 1, "FILE:2: key server.read_timeout: "},
		{"[server]\nmax_header_bytes = 1\n", 1, "FILE:2: key server.max_header_bytes: "},
		{"[log]\nlevel = \"loud\"\n", 1, "FILE:2: key log.level: "},
		{"level = \n", 1, "FILE:1: "},
		{"\ufeff[log]\n", 1, "FILE:1: begins with a byte order mark"},
		{"[server]\nread_header_timeout = \"9s\"\nread_timeout = \"8s\"\n", 1, "FILE:2: key server.read_header_timeout: "},
		{"[server]\nlisten = [\":81\", \"0.0.0.0:81\"]\n", 1, "FILE:2: key server.listen: \":81\" and \"0.0.0.0:81\" overlap"},
	} {
		output, status := c.command(t, test.text, nil, "-check-config", "-config", fileArgument)
		if status != test.status || !strings.Contains(output, test.want) {
			t.Errorf("file %q: exit status %d and %q, want %d and %q", test.text, status, output, test.status, test.want)
		}
	}
	output, status := c.command(t, "", nil, "-check-config", "-config", "/no/such.toml")
	if status != 1 || !strings.Contains(output, "/no/such.toml") {
		t.Errorf("missing file: exit status %d and %q", status, output)
	}
	// A start with a bad file ends like the check.
	output, status = c.command(t, "[log]\nlevel = \"loud\"\n", nil, "-config", fileArgument)
	if status != 1 || !strings.Contains(output, "FILE:2: key log.level: ") {
		t.Errorf("start with a bad file: exit status %d and %q", status, output)
	}
}

func TestCommandLine(t *testing.T) {
	c := needControl(t)
	for _, test := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"-help"}, 0, "-check-config"},
		{[]string{"-print-config", "-config", fileArgument}, 0, "max_connections = 7"},
		{[]string{"-no-such-flag"}, 2, "no-such-flag"},
		{[]string{"argument"}, 2, "argument"},
	} {
		output, status := c.command(t, "[server]\nmax_connections = 7\n", nil, test.args...)
		if status != test.status || !strings.Contains(output, test.want) {
			t.Errorf("%q: exit status %d and %q, want %d and %q", test.args, status, output, test.status, test.want)
		}
	}
}

// The service's own port is one that is taken.
func TestPortTaken(t *testing.T) {
	c := needControl(t)
	address := must(url.Parse(target.url)).Host
	if g, ok := c.(*guestControl); ok {
		address = "127.0.0.1:" + g.port(t)
	}
	_, port, _ := strings.Cut(address, ":")
	output, status := c.command(t, "[server]\nlisten = [\""+address+"\"]\n", nil, "-config", fileArgument)
	want := "listen on " + address + ": address already in use; another program holds port " + port +
		": stop it or change server.listen in FILE"
	if status != 1 || !strings.Contains(output, want) || strings.Count(output, "\n") > 1 {
		t.Errorf("exit status %d and %q, want 1 and one line with %q", status, output, want)
	}
}

func TestSecondInstance(t *testing.T) {
	c := needControl(t)
	directory := runtimeDir
	if p, ok := c.(*processControl); ok {
		directory = p.path("runtime")
	}
	pid := status(t).Service.PID
	// On a port of its own: only the lock keeps it from starting.
	output, code := c.command(t, "[server]\nlisten = [\"127.0.0.1:0\"]\n", []string{"RUNTIME_DIRECTORY=" + directory}, "-config", fileArgument)
	if want := "another gin-edged (pid " + itoa(pid) + ") is running"; code != 1 || !strings.Contains(output, want) {
		t.Errorf("exit status %d and %q, want 1 and %q", code, output, want)
	}
	if got := status(t).Service.PID; got != pid {
		t.Errorf("process %d became %d", pid, got)
	}
}

// At level debug each request leaves a record with its id and its trace; at
// level info none does.
func TestRequestLog(t *testing.T) {
	c := needControl(t)
	const trace = "0af7651916cd43dd8448eb211c80319c"
	get(t, "/livez", "X-Request-Id", "unlogged-request", "traceparent", "00-"+trace+"-b7ad6b7169203331-01")
	configure(t, "[log]\nlevel = \"debug\"\n")
	get(t, "/livez", "X-Request-Id", "logged-request", "traceparent", "00-"+trace[1:]+"d-b7ad6b7169203331-01")
	eventually(t, 30*time.Second, "the record of a request", func() bool { return c.logged(t, "logged-request") })
	if !c.logged(t, trace[1:]+"d") {
		t.Error("the record has no trace id")
	}
	if c.logged(t, "unlogged-request") || c.logged(t, trace) {
		t.Error("a good request was logged at level info")
	}
}

// A stop lets a request finish that is still on its way, and says "not ready"
// before it closes the sockets.
func TestDrain(t *testing.T) {
	c := needControl(t)
	configure(t, "[server]\ndrain_delay = \"6s\"\ndrain_timeout = \"60s\"\nread_header_timeout = \"30s\"\n")
	pid := status(t).Service.PID

	conn := dial(t)
	write(t, conn, "GET /livez HTTP/1.1\r\nHost: test\r\nX-Request-Id: in-flight\r\n")
	// Its own connection and the one that asks.
	eventually(t, time.Minute, "the request to arrive", func() bool { return status(t).Connections.Active == 2 })

	c.beginStop(t)
	eventually(t, time.Minute, "/readyz to say 503", func() bool {
		// Why is in the status.
		return get(t, "/readyz").Status == http.StatusServiceUnavailable && strings.Contains(string(get(t, "/api/v1/system/status").Body), "draining")
	})
	if response := get(t, "/livez"); response.Status != http.StatusOK {
		t.Errorf("/livez says %d while the service drains: it is alive", response.Status)
	}
	// Longer than drain_delay: the sockets are closed now.
	time.Sleep(7 * time.Second)
	write(t, conn, "\r\n")
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("the request in flight was not answered: %v", err)
	}
	response := receive(t, "GET", "/livez", answer)
	if response.Status != http.StatusOK || response.Header.Get("X-Request-Id") != "in-flight" {
		t.Errorf("the request in flight was answered with status %d: %s", response.Status, response.Body)
	}
	if code := c.exitStatus(t); code != 0 {
		t.Errorf("exit status %d after a drain", code)
	}
	c.start(t)
	if now := status(t).Service.PID; now == pid {
		t.Errorf("process %d answers again: it had not stopped", now)
	}
}
