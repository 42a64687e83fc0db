"""What BitBake says where it has no terminal (lib/bb/ui/knotty.py), and kas before it."""
import collections
import re
import time

RUNNING = re.compile(r"NOTE: Running (?:noexec )?task (\d+) of (\d+) \(")
SETSCENE = re.compile(r"NOTE: Running setscene task (\d+) of (\d+) \(")
TASK = re.compile(r"NOTE: recipe (\S+): task (do_\w+): (Started|Succeeded|Failed)$")
SSTATE = re.compile(r"Sstate summary: Wanted (\d+) Local (\d+) Mirrors (\d+) Missed (\d+) Current (\d+)")
SUMMARY = re.compile(r"NOTE: Tasks Summary: Attempted (\d+) tasks of which (\d+)")
FAILED_LOG = re.compile(r"ERROR: Logfile of failure stored in: (\S+)")
KAS = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d - (\w+) +- (.*)")


def duration(seconds):
    seconds = int(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


class Build:
    """What BitBake's lines have said so far."""

    def __init__(self, clock=time.monotonic):
        self.clock, self.began = clock, clock()
        self.phase = "starting"
        self.seen, self.total = 0, 0            # the number of the last task started; of all
        self.running = {}                       # recipe and task: when it started
        self.took = collections.Counter()       # recipe and task: seconds
        self.sstate = None                      # wanted, local, mirrors, missed, current
        self.attempted, self.kept = None, None
        self.logs, self.faults = [], []         # of failed tasks; the lines that tell of errors
        self.interrupted = 0

    def read(self, line):
        """Takes a line in; the text to show of it, or None."""
        if match := RUNNING.match(line):
            self.seen, self.total = max(self.seen, int(match[1])), int(match[2])
            self.phase = "building"
        elif match := SETSCENE.match(line):
            self.phase = f"taking results that are there: {match[1]} of {match[2]}"
        elif match := TASK.match(line):
            name = f"{match[1]} {match[2]}"
            if match[3] == "Started":
                self.running[name] = self.clock()
            elif name in self.running:
                self.took[name] = self.clock() - self.running.pop(name)
        elif match := SSTATE.search(line):      # behind "Initialising tasks..."
            self.sstate = [int(n) for n in match.groups()]
            return line[match.start():]
        elif match := SUMMARY.match(line):
            self.attempted, self.kept = int(match[1]), int(match[2])
        elif match := FAILED_LOG.match(line):
            self.logs.append(match[1])
        elif line.startswith(("ERROR: ", "FATAL: ", "CRITICAL: ")):
            self.faults.append(line)
            return line
        elif line.startswith("WARNING: "):
            return line
        elif line.startswith(("Loading cache", "Parsing recipes", "Initialising tasks")):
            self.phase = line.split("...")[0].split(":")[0].lower()
        elif match := KAS.match(line):
            if match[1] in ("ERROR", "CRITICAL"):
                self.faults.append(match[2])
            if match[1] != "INFO" or re.match(r"Cloning|Repository \S+ (cloned|updated)", match[2]):
                return f"kas: {match[2]}"
        return None

    def state(self):
        """One line."""
        took = duration(self.clock() - self.began)
        if not self.total:
            return f"{self.phase}, {took}"
        done = max(0, self.seen - len(self.running))
        return (f"{100 * done // self.total} %: {done} of {self.total} tasks done, {len(self.running)} running, "
                f"{self.total - done - len(self.running)} left, {took}")

    def longest(self):
        """The running tasks, the longest first, each with its seconds so far."""
        now = self.clock()
        return sorted(((now - since, name) for name, since in self.running.items()), reverse=True)
