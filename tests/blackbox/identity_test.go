package blackbox

import (
	"strings"
	"testing"
	"time"

	"github.com/meta-gin-edge/meta-gin-edge/tests/service"
)

// The user has the same number in every image, and so files that outlive an
// update keep their owner.
func TestNumberOfTheUser(t *testing.T) {
	g := needGuest(t)
	for _, option := range []string{"-u", "-g"} {
		if got := g.Run(t, "id "+option+" gin-edge"); got != *uidFlag {
			t.Errorf("id %s gin-edge says %s, want %s", option, got, *uidFlag)
		}
	}
}

// owners returns owner, group and mode of everything in the service's folder
// on the data partition.
func owners(t *testing.T, g *guestControl) map[string]string {
	t.Helper()
	all := map[string]string{}
	for line := range strings.Lines(g.Run(t, "cd "+*dataFlag+"/gin-edge && find . ! -name '*.probe' -exec stat -c '%n %u:%g %a' {} +")) {
		name, what, _ := strings.Cut(strings.TrimSpace(line), " ")
		all[strings.TrimPrefix(strings.TrimPrefix(name, "."), "/")] = what
	}
	return all
}

// A device whose files have another number, from an image that made the user
// otherwise, has them back after the boot: what the boot runs is run here.
func TestFilesOfAnotherNumber(t *testing.T) {
	g := needGuest(t)
	folder, own := *dataFlag+"/gin-edge", *uidFlag+":"+*uidFlag
	if _, status := g.Try(t, "mountpoint -q "+*dataFlag); status != 0 {
		t.Skip("this guest has no data partition")
	}
	const other = "998:998" // the first that useradd --system takes
	boot := func() string {
		output, _ := g.Try(t, "systemd-tmpfiles --create gin-edge-data.conf")
		return output
	}
	g.Run(t, "systemctl stop "+*unitFlag)
	t.Cleanup(func() {
		g.Run(t, "cd "+folder+" && rm -rf gin-edged.toml state/events/*.probe state/events/events.old state/events/events.corrupt")
		boot()
		g.Run(t, "systemctl start "+*unitFlag)
	})
	g.Run(t, "printf '[server]\\n' >"+folder+"/gin-edged.toml; chmod 600 "+folder+"/gin-edged.toml")
	g.Run(t, "echo x >"+folder+"/state/events/events.corrupt; chmod 600 "+folder+"/state/events/events.corrupt")
	g.Run(t, "chown -R "+other+" "+folder+" && chmod 750 "+folder+" "+folder+"/state "+folder+"/state/events")
	// A compromised service leaves a link to a file of root's, and a tree that
	// takes root long to walk.
	secret := *dataFlag + "/gin-edge-boot/machine-id"
	before := g.Run(t, "stat -c '%u:%g %a' "+secret)
	g.Run(t, "cd "+folder+"/state/events && rm -f events.old && ln -s "+secret+" events.old && mkdir -p tree.probe/a/b && chown -R "+other+" tree.probe")

	if output := boot(); output != "" {
		t.Errorf("systemd-tmpfiles: %s", output)
	}
	now := owners(t, g)
	for name, want := range map[string]string{
		"":                            "0:" + *uidFlag + " 750",
		"gin-edged.toml":              "0:" + *uidFlag + " 640",
		"state":                       "0:" + *uidFlag + " 750",
		"state/config":                "0:" + *uidFlag + " 770",
		"state/events":                "0:" + *uidFlag + " 770",
		"state/events/events":         own + " 600",
		"state/events/events.corrupt": own + " 600",
	} {
		if now[name] != want {
			t.Errorf("%s/%s: %s, want %s", folder, name, now[name], want)
		}
	}
	if after := g.Run(t, "stat -c '%u:%g %a' "+secret); after != before {
		t.Errorf("%s was %s and is %s: root followed the service's link", secret, before, after)
	}
	if got := g.Run(t, "stat -c %u:%g "+folder+"/state/events/tree.probe/a"); got != other {
		t.Errorf("root has walked the service's tree: it belongs to %s", got)
	}

	// And the service works with them.
	g.Run(t, "rm -f "+folder+"/state/events/events.old; systemctl start "+*unitFlag)
	eventually(t, time.Minute, "the start in the log on the disk", func() bool {
		all := events(t, "?limit=1000").Events
		for i := len(all) - 1; i >= 0; i-- {
			if all[i].Kind == "service_start" {
				return all[i].Stored
			}
		}
		return false
	})
}

// What those lines of tmpfiles.d stand on: the service can neither put
// something else in place of the folder of its events, nor a hard link to a
// file of root's in it.
func TestServiceCannotMislead(t *testing.T) {
	g := needGuest(t)
	folder := *dataFlag + "/gin-edge"
	if _, status := g.Try(t, "mountpoint -q "+*dataFlag); status != 0 {
		t.Skip("this guest has no data partition")
	}
	as := func(command string) int {
		_, status := g.Try(t, "systemd-run -q --collect --wait -p User=gin-edge -p Group=gin-edge sh -c "+service.Quote(command))
		return status
	}
	if status := as("touch " + folder + "/state/events/a.probe && rm " + folder + "/state/events/a.probe"); status != 0 {
		t.Fatalf("the service cannot write its events: status %d", status)
	}
	for _, command := range []string{
		"mv " + folder + "/state/events " + folder + "/state/b.probe",
		"mv " + folder + "/state/config " + folder + "/state/b.probe",
		"touch " + folder + "/c.probe",
		"touch " + folder + "/state/c.probe",
		"ln " + *dataFlag + "/gin-edge-boot/machine-id " + folder + "/state/events/d.probe",
	} {
		if status := as(command); status == 0 {
			t.Errorf("the service's user could: %s", command)
		}
	}
}
