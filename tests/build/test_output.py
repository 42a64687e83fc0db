"""What is made of BitBake's lines: the state of a build, and the remedies when it fails."""
import io
import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "scripts"))

import lib_progress  # noqa: E402
import lib_remedies  # noqa: E402
from lib_bitbake import Build, duration  # noqa: E402


def lines(name):
    return (HERE / "outputs" / f"{name}.txt").read_text().splitlines()


class State(unittest.TestCase):
    def setUp(self):
        self.now = 0
        self.build = Build(lambda: self.now)

    def read(self, *texts):
        return [shown for text in texts if (shown := self.build.read(text)) is not None]

    def test_done_running_left_and_the_longest(self):
        self.assertEqual(self.build.state(), "starting, 0 s")
        self.read("NOTE: Running task 100 of 400 (/a.bb:do_compile)", "NOTE: recipe a-1-r0: task do_compile: Started")
        self.now = 3700
        self.read("NOTE: Running noexec task 101 of 400 (/c.bb:do_build)")
        self.read("NOTE: Running task 102 of 400 (/b.bb:do_compile)", "NOTE: recipe b-2-r0: task do_compile: Started")
        self.now = 3760
        self.assertEqual(self.build.state(), "25 %: 100 of 400 tasks done, 2 running, 298 left, 1 h 02 min")
        self.assertEqual(self.build.longest(), [(3760, "a-1-r0 do_compile"), (60, "b-2-r0 do_compile")])
        self.read("NOTE: recipe a-1-r0: task do_compile: Succeeded", "NOTE: recipe b-2-r0: task do_compile: Failed")
        self.assertEqual(self.build.longest(), [])
        self.assertEqual(self.build.took, {"a-1-r0 do_compile": 3760, "b-2-r0 do_compile": 60})

    def test_results_that_are_there(self):
        # BitBake writes it behind another text.
        shown = self.read("Initialising tasks...Sstate summary: Wanted 851 Local 3 Mirrors 5 Missed 843 Current 68 (0% match, 7% complete)")
        self.assertEqual(shown, ["Sstate summary: Wanted 851 Local 3 Mirrors 5 Missed 843 Current 68 (0% match, 7% complete)"])
        self.assertEqual(self.build.sstate, [851, 3, 5, 843, 68])
        self.read("NOTE: Running setscene task 12 of 71 (/a.bb:do_package_setscene)")
        self.assertEqual(self.build.state(), "taking results that are there: 12 of 71, 0 s")

    def test_what_is_shown(self):
        self.assertEqual(self.read("NOTE: Executing Tasks", "| a line of a log", "BB_VERSION = \"2.18.0\"", "WARNING: careful",
                                   "2026-03-01 10:00:00 - INFO     - Cloning repository bitbake",
                                   "2026-03-01 10:00:00 - INFO     - kas 5.5 started on Debian", "ERROR: wrong"),
                         ["WARNING: careful", "kas: Cloning repository bitbake", "ERROR: wrong"])
        self.assertEqual(self.build.faults, ["ERROR: wrong"])

    def test_plain_lines_come_now_and_then(self):
        out = io.StringIO()
        screen = lib_progress.Screen(out)
        self.assertFalse(screen.terminal)
        self.read("NOTE: Running task 100 of 400 (/a.bb:do_compile)", "NOTE: recipe a-1-r0: task do_compile: Started")
        screen.state(self.build)
        self.assertEqual(out.getvalue(), "")
        screen.last -= lib_progress.QUIET_SECONDS
        self.now = 90
        screen.state(self.build)
        screen.state(self.build)
        self.assertEqual(out.getvalue(), "24 %: 99 of 400 tasks done, 1 running, 300 left, 1 min 30 s: a-1-r0 do_compile 1 min 30 s\n")
        self.assertNotIn("\x1b", out.getvalue())

    def test_a_line_without_end_is_cut(self):
        out = io.StringIO()
        lib_progress.Screen(out).line("ERROR: " + "x" * 5000)
        self.assertLess(len(out.getvalue()), 500)

    def test_durations(self):
        self.assertEqual([duration(n) for n in (0, 59.9, 61, 3599, 3600, 86400)],
                         ["0 s", "59 s", "1 min 01 s", "59 min 59 s", "1 h 00 min", "24 h 00 min"])


class Remedies(unittest.TestCase):
    def test_each_failure_has_its_own(self):
        for name, first in (("kernel", "The kernel's final configuration"), ("userns", "keeps user namespaces from BitBake"),
                            ("disk", "The disk is full"), ("checksum", "What came is not what the recipe names"),
                            ("gomod", "GO_MOD_PROXY"), ("licence", "--with kas/opt/raspberrypi-radio.yml"),
                            ("server", "--no-mirrors"), ("fetch", "A host is not in reach"), ("layers", "A host is not in reach")):
            with self.subTest(name):
                found = lib_remedies.find(lines(name))
                self.assertTrue(found, "no remedy")
                self.assertIn(first, found[0])

    def test_memory(self):
        for text in ("g++: fatal error: Killed signal terminated program cc1plus", "x86_64-linux-gcc: fatal error: Killed",
                     "virtual memory exhausted: Cannot allocate memory"):
            self.assertIn("BB_NUMBER_THREADS=2", lib_remedies.find([text])[0])

    def test_no_remedy_is_made_up(self):
        self.assertEqual(lib_remedies.find(lines("success")), [])
        self.assertEqual(lib_remedies.find(["foo.c:12: error: expected ';'", "make: *** [Makefile:3: foo.o] Error 1"]), [])

    def test_every_pattern_is_reached(self):
        said = [line for file in (HERE / "outputs").glob("*.txt") for line in file.read_text().splitlines()] + [
            "g++: fatal error: Killed signal terminated program cc1plus", "ERROR: When reparsing x, the basehash value changed from a to b",
            "ERROR: Unable to start bitbake server", "Your system needs to support the en_US.UTF-8 locale.", "Do not use Bitbake as root."]
        found = lib_remedies.find(said, most=99)
        self.assertEqual(len(found), len(lib_remedies.TABLE))

    def test_options_that_it_names_exist(self):
        usage = (HERE.parents[1] / "scripts/build").read_text()
        for _, remedy in lib_remedies.TABLE:
            for word in remedy.replace("(", " ").replace(")", " ").replace(".", " ").split():
                if word.startswith("--"):
                    self.assertIn(word, usage)


if __name__ == "__main__":
    unittest.main()
