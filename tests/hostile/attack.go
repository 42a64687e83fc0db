package hostile

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// attack is a row of the table: connections that are held, or opened again and
// again, for as long as the row lasts.
type attack struct {
	name        string
	connections int // at a time
	sources     int // addresses that they come from
	// use is what happens on a connection. When it returns, or the service has
	// closed the connection, another one is opened after the pause.
	use   func(ctx context.Context, c *target) error
	pause time.Duration // 0: againPause
	tool  *slowTest     // makes the connections, instead of use

	small  bool          // windows, so that what is not read stays with the service
	over   bool          // more connections than the service takes are part of it
	v6     bool          // the sources are addresses of one IPv6 network of 64 bits
	vanish bool          // their addresses are gone after vanishTime
	hold   time.Duration // against a process; 0: what the set says
	full   bool          // left out of the short set

	// Instead of what the set says, where they are not 0.
	reloads int // against a process
	keepers int // keep-alive clients of each habit
}

const (
	againPause = 200 * time.Millisecond
	vanishTime = 2 * time.Second
)

// target is the service as an attack's connection sees it.
type target struct {
	*net.TCPConn
	number int // of the connection, from 0
	work   *assault
}

// assault is an attack that goes on.
type assault struct {
	attack
	opened, held, failed atomic.Int64

	mu     sync.Mutex
	heard  map[string]int // first lines of answers, and how connections ended
	faults map[string]int // answers that are wrong, whatever the attack does
	most   int64          // connections at a time

	stop context.CancelFunc
	done sync.WaitGroup
}

// begin starts the attack; the first connections are opened as fast as the
// service takes them.
func (a attack) begin(from func(number int) place) *assault {
	ctx, stop := context.WithCancel(context.Background())
	s := &assault{attack: a, stop: stop, heard: map[string]int{}, faults: map[string]int{}}
	if s.pause == 0 {
		s.pause = againPause
	}
	if a.tool != nil {
		s.done.Go(func() { s.useTool(ctx, from(0)) })
		return s
	}
	if a.vanish {
		s.done.Go(func() {
			sleep(ctx, vanishTime)
			// It stays away: with it back, the ends of the connections would arrive.
			if err := runCommand("ip addr del " + vanishing + " dev lo"); err != nil {
				s.fault("%v", err)
			}
		})
	}
	for n := range a.connections {
		s.done.Go(func() {
			for ctx.Err() == nil {
				s.connect(ctx, n, from(n%a.sources))
				sleep(ctx, s.pause)
			}
		})
	}
	return s
}

func (s *assault) useTool(ctx context.Context, p place) {
	r, err := s.tool.run(ctx, "http://"+p.service)
	if err != nil {
		s.fault("slowhttptest: %v", err)
		return
	}
	s.opened.Store(int64(r.connected + r.closed))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.most = int64(r.connected)
	s.heard["seconds"], s.heard["seconds in which its own probe was answered"] = r.seconds, r.available
	s.heard["connections that the service closed"] = r.closed
}

func (s *assault) connect(ctx context.Context, number int, p place) {
	conn, err := p.dial(ctx, s.small)
	if err != nil {
		if ctx.Err() == nil {
			s.failed.Add(1)
		}
		return
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	s.opened.Add(1)
	held := s.held.Add(1)
	s.mu.Lock()
	s.most = max(s.most, held)
	s.mu.Unlock()
	err = s.use(ctx, &target{conn, number, s})
	s.held.Add(-1)
	if ctx.Err() == nil && err != nil {
		s.hear(failureOf(err))
	}
	stop()
	_ = conn.Close()
}

// end closes all connections and waits for them.
func (s *assault) end() {
	s.stop()
	s.done.Wait()
}

func (s *assault) hear(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard[what]++
}

func (s *assault) fault(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[fmt.Sprintf(format, args...)]++
}

// --- what is done on a connection -----------------------------------------------

// send writes the whole text.
func (c *target) send(text string) error {
	_, err := io.WriteString(c, text)
	return err
}

// await reads what the service says until it closes the connection, and notes
// the first line of it.
func (c *target) await() error {
	reader := bufio.NewReaderSize(c, 256)
	line, err := reader.ReadString('\n')
	if line != "" {
		c.work.hear(strings.TrimSpace(line))
	}
	if err == nil {
		_, err = io.Copy(io.Discard, reader)
	}
	if err == nil {
		err = io.EOF
	}
	return err
}

// ignore reads nothing until the service has ended the connection.
func (c *target) ignore(ctx context.Context) error {
	for ctx.Err() == nil {
		if !c.established() {
			return io.EOF
		}
		sleep(ctx, 250*time.Millisecond)
	}
	return nil
}

// established asks the kernel, because a read would open the window.
func (c *target) established() bool {
	const tcpEstablished = 1
	var info [256]byte
	length := uint32(len(info))
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	ok := false
	_ = raw.Control(func(fd uintptr) {
		_, _, errno := syscall.Syscall6(syscall.SYS_GETSOCKOPT, fd, syscall.SOL_TCP, syscall.TCP_INFO,
			uintptr(unsafe.Pointer(&info[0])), uintptr(unsafe.Pointer(&length)), 0)
		ok = errno == 0 && info[0] == tcpEstablished
	})
	return ok
}

// drip sends a piece of the text at each tick, and returns what the service says
// when it has enough.
func (c *target) drip(ctx context.Context, every time.Duration, piece func(n int) string) error {
	said := make(chan error, 1)
	go func() { said <- c.await() }()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case err := <-said:
			return err
		case <-ctx.Done():
			_ = c.Close()
			<-said
			return nil
		case <-tick.C:
			if err := c.send(piece(n)); err != nil {
				return <-said
			}
		}
	}
}

// reset makes the next Close send RST.
func (c *target) reset() error {
	if err := c.SetLinger(0); err != nil {
		return err
	}
	return c.Close()
}
