package hostile

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/tests/service"
)

// process is the daemon on this machine under a manager that does what systemd
// does for its unit: it holds the socket, hears the notifications and sets the
// limits.
type process struct {
	service.Process
	binary, folder string
	unit           *unit
	port           string
	group          *cgroup // nil where none can be made

	socket *os.File
	notify *net.UnixConn
	heard  notes

	asked    atomic.Bool // its end was asked for
	stopped  chan struct{}
	watchers sync.WaitGroup
	dead     chan struct{} // closed when it has ended unasked

	mu   sync.Mutex
	cmd  int // PID of the run
	most peak
	how  string    // it ended unasked
	when time.Time // it did
}

// startProcess starts the daemon on a new socket. layers are the files of its
// configuration.
func startProcess(binary, folder string, u *unit, group *cgroup, layers ...string) (*process, error) {
	p := &process{binary: binary, folder: folder, unit: u, group: group, stopped: make(chan struct{}), dead: make(chan struct{})}
	// As a socket unit with ListenStream=80 does: both families in one.
	wanted := ":0"
	if ownNetwork {
		wanted = ":80"
	}
	ln, err := net.Listen("tcp", wanted)
	if err != nil {
		return nil, err
	}
	p.port = strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
	p.socket, err = ln.(*net.TCPListener).File()
	if err = errors.Join(err, ln.Close()); err != nil {
		return nil, err
	}
	path := filepath.Join(folder, "notify")
	_ = os.Remove(path) // of a process before this one
	if p.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"}); err != nil {
		return nil, errors.Join(err, p.socket.Close())
	}
	p.watchers.Go(func() { p.heard.listen(p.notify) })
	p.URL = "http://" + net.JoinHostPort(serviceAddress.String(), p.port)
	p.Command = func() *exec.Cmd { return p.command(layers) }
	if err := p.run(); err != nil {
		return nil, errors.Join(err, p.close())
	}
	p.watchers.Go(p.watch)
	return p, nil
}

func (p *process) attacker(number int, a attack) place {
	to := serviceAddress
	if a.v6 {
		to = serviceAddress6
	}
	return place{attackerAddress(number, a.v6, a.vanish), net.JoinHostPort(to.String(), p.port)}
}

func (p *process) at(from netip.Addr) place {
	return place{from, net.JoinHostPort(serviceAddress.String(), p.port)}
}

func (p *process) honest() place { return p.at(honestAddress) }
func (p *process) asking() place { return p.at(askingAddress) }

func (p *process) keeping(number int) place {
	from := keepingAddress
	for range number % 100 {
		from = from.Next()
	}
	return p.at(from)
}

// command runs the daemon as the unit does. The shell is what the manager does
// between fork and exec.
func (p *process) command(layers []string) *exec.Cmd {
	var script strings.Builder
	if p.group != nil {
		for _, folder := range p.group.folders {
			fmt.Fprintf(&script, "echo $$ >'%s/cgroup.procs' && ", folder)
		}
	}
	fmt.Fprintf(&script, `ulimit -n %d && LISTEN_PID=$$ exec "$@"`, p.unit.files)
	args := []string{"-c", script.String(), "sh", p.binary}
	for _, layer := range layers {
		args = append(args, "-config", layer)
	}
	cmd := exec.Command("/bin/sh", args...)
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + p.folder, "RUNTIME_DIRECTORY=" + p.folder,
		"NOTIFY_SOCKET=" + filepath.Join(p.folder, "notify"),
		"WATCHDOG_USEC=" + strconv.FormatInt(p.unit.watchdog.Microseconds(), 10),
		"LISTEN_FDS=1", "LISTEN_FDNAMES=http",
	}, p.unit.environment...)
	cmd.ExtraFiles = []*os.File{p.socket}
	// A daemon must not outlive tests that were killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// run starts the daemon and waits for READY.
func (p *process) run() error {
	before := p.heard.count(ready)
	if err := p.Run(); err != nil {
		return err
	}
	p.mu.Lock()
	p.cmd = p.PID()
	p.mu.Unlock()
	return p.hears(ready, before+1, answerLimit)
}

// hears waits until the daemon has said a line so many times in all.
func (p *process) hears(line string, times int, limit time.Duration) error {
	for deadline := time.Now().Add(limit); p.heard.count(line) < times; time.Sleep(5 * time.Millisecond) {
		select {
		case <-p.Done():
			return errors.New("the daemon has ended")
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no %s within %v", line, limit)
		}
	}
	return nil
}

// reload sends SIGHUP and waits for READY.
func (p *process) reload(int) (times int, err error) {
	before := p.heard.count(ready)
	if err := p.Signal(syscall.SIGHUP); err != nil {
		return 0, err
	}
	if err := p.hears(ready, before+1, 10*time.Second); err != nil {
		return 0, err
	}
	return 1, nil
}

// restart stops the daemon as systemctl restart does and starts it anew.
func (p *process) restart() error {
	p.asked.Store(true)
	defer p.asked.Store(false)
	return errors.Join(p.end(), p.run())
}

// end sends SIGTERM, and SIGKILL after TimeoutStopSec.
func (p *process) end() error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	var late error
	select {
	case <-p.Done():
	case <-time.After(p.unit.stop):
		late = fmt.Errorf("the daemon did not end within TimeoutStopSec=%v", p.unit.stop)
		_ = p.Signal(syscall.SIGKILL)
	}
	state, _ := p.Wait()
	if late == nil && state.ExitCode() != 0 {
		late = fmt.Errorf("the daemon ended with %v", state)
	}
	return late
}

// stop ends the daemon as systemctl stop does. One that has died is no error, and
// a second stop does nothing.
func (p *process) stop() error {
	if p.asked.Swap(true) {
		return nil
	}
	var err error
	select {
	case <-p.dead:
	default:
		err = p.end()
	}
	close(p.stopped)
	return errors.Join(err, p.close())
}

func (p *process) close() error {
	err := errors.Join(p.notify.Close(), p.socket.Close())
	p.watchers.Wait()
	return err
}

// watch looks until the daemon is stopped: for what it holds, and that nobody
// else has ended it.
func (p *process) watch() {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		now, _ := p.look() // gone: nothing
		p.mu.Lock()
		p.most.RSS, p.most.Sockets = max(p.most.RSS, now.RSS), max(p.most.Sockets, now.Sockets)
		p.most.Total = max(p.most.Total, now.RSS+now.Sockets)
		p.most.Threads = max(p.most.Threads, int(number(p.proc()+"/status", "Threads")))
		p.mu.Unlock()
		select {
		case <-p.stopped:
			return
		case <-tick.C:
		}
		if p.asked.Load() {
			continue
		}
		select {
		case <-p.Done():
			// It may have been asked meanwhile.
			if p.asked.Load() {
				continue
			}
			state, _ := p.Wait()
			p.mu.Lock()
			p.how, p.when = state.String(), time.Now()
			if p.group != nil && p.group.kills() > 0 {
				p.how += ", by the memory limit"
			}
			p.mu.Unlock()
			close(p.dead)
			return
		default:
		}
	}
}

func (p *process) died() <-chan struct{} { return p.dead }

func (p *process) obituary() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.how
}

// proc is the folder of the run. p.mu is held.
func (p *process) proc() string { return "/proc/" + strconv.Itoa(p.cmd) }

func (p *process) look() (sample, error) {
	p.mu.Lock()
	folder := p.proc()
	p.mu.Unlock()
	s := sample{RSS: number(folder+"/status", "VmRSS") << 10}
	if p.group != nil {
		s.Sockets = p.group.sockets()
	}
	files, err := os.ReadDir(folder + "/fd")
	s.Descriptors = len(files)
	return s, err
}

func (p *process) processor() (ran, waited time.Duration) {
	p.mu.Lock()
	folder := p.proc() + "/task"
	p.mu.Unlock()
	tasks, _ := os.ReadDir(folder) // gone: none
	for _, task := range tasks {
		// Nanoseconds, see Documentation/scheduler/sched-stats.rst of Linux.
		text, _ := os.ReadFile(filepath.Join(folder, task.Name(), "schedstat"))
		var run, wait int64
		if _, err := fmt.Sscan(string(text), &run, &wait); err == nil {
			ran, waited = ran+time.Duration(run), waited+time.Duration(wait)
		}
	}
	return ran, waited
}

func (p *process) peak() (peak, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// The kernel's own mark has seen what was between two looks.
	p.most.RSS = max(p.most.RSS, number(p.proc()+"/status", "VmHWM")<<10)
	return p.most, nil
}

func (p *process) gap() (func() (time.Duration, error), error) {
	begin := time.Now()
	return func() (time.Duration, error) {
		last := time.Now()
		p.mu.Lock()
		if p.how != "" {
			last = p.when
		}
		p.mu.Unlock()
		return p.heard.gap(begin, last), nil
	}, nil
}

// --- what the daemon tells its manager ------------------------------------------

const ready = "READY=1"

// notes are the datagrams of the daemon.
type notes struct {
	mu    sync.Mutex
	lines map[string]int
	beats []beat
}

// beat is one WATCHDOG=1, or the beginning or the end of the time in which some
// are due.
type beat struct {
	at  time.Time
	end bool
}

func (n *notes) listen(conn *net.UnixConn) {
	buffer := make([]byte, 64<<10)
	for {
		length, err := conn.Read(buffer)
		if err != nil {
			return // closed
		}
		n.hear(time.Now(), string(buffer[:length]))
	}
}

func (n *notes) hear(at time.Time, datagram string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.lines == nil {
		n.lines = map[string]int{}
	}
	for line := range strings.Lines(datagram) {
		line = strings.TrimSpace(line)
		n.lines[line]++
		switch line {
		case "WATCHDOG=1":
			// None is due between the end and the next beginning.
			if len(n.beats) == 0 || !n.beats[len(n.beats)-1].end {
				n.beats = append(n.beats, beat{at: at})
			}
		case ready:
			// Counts as a beat for systemd only at the start; so here.
			if len(n.beats) == 0 || n.beats[len(n.beats)-1].end {
				n.beats = append(n.beats, beat{at: at})
			}
		case "STOPPING=1":
			n.beats = append(n.beats, beat{at: at, end: true})
		}
	}
}

func (n *notes) count(line string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.lines[line]
}

// gap is the longest time between two beats that reaches into the time from
// begin until now, the open one included.
func (n *notes) gap(begin, now time.Time) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	var longest time.Duration
	for i, b := range n.beats {
		if b.end {
			continue
		}
		next := now
		if i+1 < len(n.beats) {
			next = n.beats[i+1].at
		}
		if next.After(begin) {
			longest = max(longest, next.Sub(b.at))
		}
	}
	return longest
}
