package faults

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/tests/guest"
)

// event is what /api/v1/events tells of one; Stored means that it was
// acknowledged.
type event struct {
	Seq    uint64
	BootID string `json:"boot_id"`
	Kind   string
	Stored bool

	Severity, Message string
}

// checkpoint is what the guest had acknowledged when the log of its writes had
// a length.
type checkpoint struct {
	entries  int
	deviceID string
	limit    int // max_connections of the configuration on the data partition; 0 before there is one
	counter  int // of the writer
	events   []event
}

// phase is a part of the recording; cuts are spread over each alike.
type phase struct {
	name        string
	first, last int // entries of the log
}

// recording is a guest's life from its first boot on, write by write.
type recording struct {
	kit         *guest.Kit
	log         *Log
	phases      []phase
	checkpoints []checkpoint
	boot        time.Duration
	cycles      string // in the order of units, as the first boot found them
	storage     string // of the journal: volatile or persistent
	journal     int    // on the data partition after the flood, in KiB
	noEvents    string // why the events could not be recorded
}

// writer makes files and keeps, by way of two syncs, the number of the last
// one. What stands in /run/acked is on the disk. Its other files are never
// synchronised: something to lose.
const writer = `mkdir -p /data/w; n=0
while [ -e /run/writing ]; do
n=$((n+1)); head -c 20000 /dev/urandom >/data/w/junk-$((n % 30))
echo $n >/data/w/.new; sync; mv /data/w/.new /data/w/counter; sync; echo $n >/run/acked
done`

// firstLimit is the first max_connections that the recording configures; each
// round adds one. It is not the default.
const firstLimit = 100

// floodUnit starts a unit that writes as many messages as it can. Not with yes:
// that of busybox never ends when nobody reads and SIGPIPE is ignored, as it is
// in units.
func floodUnit(unit, messages int) string {
	return fmt.Sprintf(`systemd-run -q --unit=flood%d awk 'BEGIN { for (n = 0; n < %d; n++) printf "flood %%0200d\n", %d }'`, unit, messages, unit)
}

// floodEnds waits for those units.
const floodEnds = "while systemctl list-units --no-legend --plain 'flood*' | grep -q running; do sleep 1; done; journalctl --sync"

// sizeOf prints what a folder takes in KiB, 0 when it does not exist.
func sizeOf(folder string) string {
	return "du -sk " + folder + " 2>/dev/null | cut -f1 | grep . || echo 0"
}

// recorded is made by the first test that needs it.
var recorded = sync.OnceValues(record)

// record ends with a cut: nothing is shut down. Errors are for the tests that
// need the recording.
func record() (result *recording, err error) {
	logFile := filepath.Join(folder, "writes.log")
	scratch = append(scratch, logFile)
	var m *machine
	if *targetFlag == "image" {
		// A larger disk, so that the first boot has a partition to grow.
		k := sharedKit
		if k == nil {
			return nil, fmt.Errorf("no guest was started before: its disk is not known")
		}
		m, err = startKit(k, "recording", k.Base, "--log-writes", logFile, "--disk-size", fmt.Sprint(k.Size>>20+64))
	} else {
		m, err = startTarget("recording", "persistent", "--log-writes", logFile)
	}
	if err != nil {
		return nil, err
	}
	m.Disk = "" // the base is everybody's
	defer m.End(false)
	rec := &recording{boot: m.Boot}
	if rec.kit, err = m.Kit(keptInitrd("recording")); err != nil {
		return nil, err
	}
	file, err := os.Open(logFile)
	if err != nil {
		return nil, err
	}
	if err := m.Console.Login(guest.LoginTimeout); err != nil {
		return nil, err
	}
	sh := func(command string) string {
		if err != nil {
			return ""
		}
		var output string
		var status int
		if output, status, err = m.Console.Run(command, guest.RunTimeout); err == nil && status != 0 {
			err = fmt.Errorf("guest: %s: exit status %d\n%s", command, status, output)
		}
		return output
	}
	entries, limit := 0, 0
	position := func() int {
		// Super blocks that are written at the same time may overtake each other.
		for range 5 {
			n, _, e := logCount(file)
			if e != nil && err == nil {
				err = e
			}
			entries = max(entries, n)
			time.Sleep(20 * time.Millisecond)
		}
		return entries
	}
	check := func() {
		var c checkpoint
		if sh("cat /data/gin-edge-boot/machine-id 2>/dev/null || :") != "" {
			var e error
			if c.deviceID, e = m.deviceID(); e != nil && err == nil {
				err = e
			}
		}
		c.limit = limit
		_, _ = fmt.Sscan(sh("cat /run/acked 2>/dev/null || echo 0"), &c.counter)
		var answer struct {
			Events []event
			Log    struct{ Directory string }
		}
		code, e := m.Get("/api/v1/events?limit=1000&cursor=0", time.Minute, &answer)
		switch {
		case e != nil && err == nil:
			err = e
		case code == http.StatusNotFound:
			rec.noEvents = "the service has no /api/v1/events"
		case code == http.StatusOK && answer.Log.Directory == "":
			rec.noEvents = "the service keeps its events in memory: no storage.data in its configuration"
		}
		for _, e := range answer.Events {
			if e.Stored {
				c.events = append(c.events, e)
			}
		}
		c.entries = position() // behind everything that was acknowledged above
		rec.checkpoints = append(rec.checkpoints, c)
	}
	phaseEnds := func(name string) {
		first := 0
		if n := len(rec.phases); n > 0 {
			first = rec.phases[n-1].last
		}
		rec.phases = append(rec.phases, phase{name, first, position()})
		fmt.Printf("faults: recorded: %s, to entry %d\n", name, entries)
	}

	// Boot is over when the units have settled; the guest is not idle then.
	sh("systemctl is-system-running --wait; mountpoint /data")
	rec.storage = sh("sed -n s/^Storage=//p /usr/lib/systemd/journald.conf.d/20-gin-edge.conf")
	rec.cycles = sh("journalctl -b -q --no-pager -o cat | grep -ai 'ordering cycle' || :")
	check()
	phaseEnds("first boot")

	for _, line := range strings.Split(writer, "\n") {
		sh("echo '" + line + "' >>/run/writer.sh")
	}
	sh("touch /run/writing; sh /run/writer.sh >/dev/null 2>&1 &")
	rounds := 4
	if *setFlag == "full" {
		rounds = 20
	}
	const config = "/data/gin-edge/gin-edged.toml"
	for n := range rounds {
		limit = firstLimit + n
		sh(fmt.Sprintf("printf '[server]\\nmax_connections = %d\\n' >%s.new && sync && mv %s.new %s && sync", limit, config, config, config))
		sh("systemctl reload " + daemon)
		check()
		if err != nil {
			return nil, err
		}
	}
	phaseEnds("data writes")

	// The journal's limit of messages is for a unit: several of them.
	for unit := range 6 {
		sh(floodUnit(unit, 3000))
	}
	sh(floodEnds)
	check()
	phaseEnds("log flood")
	used := sh(sizeOf("/data/log/journal"))
	sh("rm /run/writing")
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Sscan(used, &rec.journal); err != nil {
		return nil, fmt.Errorf("du of the journal printed %q: %w", used, err)
	}

	m.End(false)
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if rec.log, err = ReadLog(file, info.Size()); err != nil {
		return nil, err
	}
	return rec, nil
}

// A flood is on the data partition, where the persistent profile puts the
// journal, and takes no more than that allows.
func TestJournalOnDisk(t *testing.T) {
	r := begin(t, "log flood", "18000 messages, persistent profile")
	rec := needRecording(t)
	if rec.storage != "persistent" {
		t.Skipf("the image was built with the log profile %s", rec.storage)
	}
	r.cause = fmt.Sprintf("journal %d KiB", rec.journal)
	if rec.journal < 256 || rec.journal > maxJournal>>10 {
		t.Errorf("the journal takes %d KiB on the data partition, want 256 to %d", rec.journal, maxJournal>>10)
	}
}

// maxJournal is SystemMaxUse= of the persistent profile, and a file that is
// being archived.
const maxJournal = 20 << 20

func needRecording(t *testing.T) *recording {
	t.Helper()
	if *targetFlag == "image" && sharedKit == nil {
		running(t)
	}
	rec, err := recorded()
	if err != nil {
		t.Fatalf("the recording: %v", err)
	}
	return rec
}

// disk makes an image of what a cut has left.
func (rec *recording) disk(t *testing.T, name string, cut int, seed uint64) (string, Outcome) {
	t.Helper()
	image := filepath.Join(folder, name+".raw")
	outcome, err := rec.log.Replay(rec.kit.Base, rec.kit.Size, cut, seed, image)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the disk: %s", image)
		} else {
			_ = os.Remove(image)
		}
	})
	return image, outcome
}

// acknowledged returns what a device has to know that lost its power there:
// the last checkpoint whose writes were all flushed by then.
func (rec *recording) acknowledged(cut int) checkpoint {
	known := checkpoint{}
	for _, c := range rec.checkpoints {
		if c.entries <= cut {
			known = c
		}
	}
	return known
}

// cutPoint chooses an entry: anywhere, or, half of the time, where the next
// flush would be, with the most to lose.
func (rec *recording) cutPoint(random *rand.Rand, p phase) int {
	cut := p.first + 1 + random.IntN(max(p.last-p.first, 1))
	if random.IntN(2) == 0 {
		for cut < p.last && rec.log.Entries[cut].Flags&flagFlush == 0 {
			cut++
		}
	}
	return min(cut, len(rec.log.Entries))
}

// Nothing is ever written to the partition of the root, from the first boot on.
func TestRootUntouched(t *testing.T) {
	r := begin(t, "none", "first boot, writes, flood: is / written?")
	rec := needRecording(t)
	r.took = fmt.Sprintf("first boot %.1f s", rec.boot.Seconds())
	if rec.cycles != "" {
		t.Errorf("ordering cycles:\n%s", rec.cycles)
	}
	base, err := os.Open(rec.kit.Base)
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	partitions, err := readPartitions(base)
	if err != nil {
		t.Fatal(err)
	}
	protected := 0
	for _, p := range partitions {
		if p.Name == "data" {
			continue
		}
		protected++
		for n, e := range rec.log.Entries {
			if e.writes() && e.Offset < p.Offset+p.Length && p.Offset < e.Offset+e.Length {
				t.Errorf("write %d changes partition %s: %d bytes at %d", n, p.Name, e.Length, e.Offset-p.Offset)
				break
			}
		}
	}
	if protected == 0 {
		t.Error("the disk has no partition of the root")
	}
	r.cause = fmt.Sprintf("%d writes, none to %d partitions", len(rec.log.Entries), protected)
}

func TestPowerCut(t *testing.T) {
	if *targetFlag == "" {
		t.Skip("no -target to attack")
	}
	rec := needRecording(t)
	// An idle guest, emulated, would still take its share of the processors.
	if shared != nil {
		shared.End(false)
		shared = nil
	}
	random := rand.New(rand.NewPCG(*seedFlag, 0))
	for n := range *cutsFlag {
		p := rec.phases[n%len(rec.phases)]
		cut, seed := rec.cutPoint(random, p), random.Uint64()
		t.Run(fmt.Sprintf("%03d", n), func(t *testing.T) {
			t.Parallel()
			rec.testCut(t, n, p, cut, seed)
		})
	}
}

func (rec *recording) testCut(t *testing.T, n int, p phase, cut int, seed uint64) {
	r := begin(t, "power cut, "+p.name, fmt.Sprintf("entry %d of %d", cut, len(rec.log.Entries)))
	name := fmt.Sprintf("cut-%03d", n)
	image, outcome := rec.disk(t, name, cut, seed)
	t.Log(outcome)
	m, err := startKit(rec.kit, name, image)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { m.End(t.Failed()) }()
	r.took = fmt.Sprintf("boot %.1f s", m.Boot.Seconds())
	known := rec.acknowledged(cut)
	// All of this is asked over HTTP: it costs no time.
	now := m.Status(t)
	r.cause = now.LastReset.Cause
	causes := []string{"power-loss"}
	if known.entries == 0 {
		causes = append(causes, "first-boot")
	}
	if !slices.Contains(causes, r.cause) {
		t.Errorf("the recorded cause is %q, want %v", r.cause, causes)
	}
	m.wantData(t, r, true)
	if id, err := m.deviceID(); err != nil || known.deviceID != "" && id != known.deviceID {
		t.Errorf("the device id was %s, is %s, %v", known.deviceID, id, err)
	}
	// The one that was being written at the cut may be there already.
	if limit := now.Connections.Limit; known.limit > 0 && limit != known.limit && limit != known.limit+1 {
		t.Errorf("the acknowledged configuration had max_connections = %d, in force is %d", known.limit, limit)
	}
	rec.wantEvents(t, r, m, known)
	// The rest needs a shell, which takes as long as the boot.
	if *setFlag == "full" && n%deepEvery != 0 {
		return
	}
	m.Login(t)
	m.WantHealthy(t)
	if known.counter > 0 {
		if counter := int(m.Number(t, "cat /data/w/counter")); counter < known.counter {
			t.Errorf("file %d was acknowledged, the last one is %d", known.counter, counter)
		}
	}
	if did, _ := m.Try(t, "cat /run/gin-edge-boot/data"); did != "" {
		t.Logf("gin-edge-data: %s", did)
		if known.entries > 0 && strings.Contains(did, "formatting") {
			t.Errorf("the data partition was formatted: %s", did)
		}
	}
}

// deepEvery is how many cuts of the full set go by until one is looked into with
// a shell.
const deepEvery = 10

// deviceID is derived from the machine id.
func (m *machine) deviceID() (string, error) {
	var device struct{ ID string }
	if code, err := m.Get("/api/v1/device", time.Minute, &device); err != nil || code != http.StatusOK {
		return "", fmt.Errorf("/api/v1/device: %d, %w", code, err)
	}
	return device.ID, nil
}

// events are all that the guest knows.
func (m *machine) events(t *testing.T) []event {
	t.Helper()
	var answer struct{ Events []event }
	if code, err := m.Get("/api/v1/events?limit=1000&cursor=0", time.Minute, &answer); err != nil || code != http.StatusOK {
		t.Fatalf("/api/v1/events: %d, %v", code, err)
	}
	return answer.Events
}

// wantEvents checks that the log of critical events lost nothing that was
// acknowledged.
func (rec *recording) wantEvents(t *testing.T, r *result, m *machine, known checkpoint) {
	t.Helper()
	if rec.noEvents != "" {
		r.unchecked(t, "acknowledged events: %s", rec.noEvents)
		return
	}
	now := m.events(t)
	for _, e := range known.events {
		if !slices.ContainsFunc(now, func(o event) bool {
			return o.Seq == e.Seq && o.Kind == e.Kind && o.BootID == e.BootID
		}) {
			t.Errorf("the acknowledged event %d (%s) is lost", e.Seq, e.Kind)
		}
	}
}
