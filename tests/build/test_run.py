"""What scripts/build does with a build: as whom, with which kas, what it shows, how it ends."""
import hashlib
import os
import pathlib
import pty
import pwd
import re
import signal
import subprocess
import sys
import time
import unittest

from bench import HERE, NOBODY, Machine

IMAGE = "tmp/deploy/images/qemuarm64/gin-edge-image-qemuarm64.rootfs.wic"


class Success(Machine):
    def test_image_checksum_and_next_command(self):
        self.output("success", files=[IMAGE, IMAGE + ".zst"])
        said = self.build(env={"TMPDIR": str(self.tmp)})
        image = self.work / "build" / IMAGE
        self.assertIn(f"gin-edge-image for qemuarm64:\n  {image}\n", said)
        self.assertIn(f"  {image.stat().st_size} bytes, sha256 {hashlib.sha256(image.read_bytes()).hexdigest()}\n", said)
        self.assertIn(f"start it:\n  scripts/boot --deploy {image.parent}\n", said)
        self.assertIn("3467 tasks, 2400 of them with nothing to do; results taken: 12 from here, 700 from mirrors; 300 built", said)
        self.assertIn("WARNING: gin-edge-0.1.0-r0 do_compile: a warning of a task", said)
        self.assertNotIn("NOTE: Running", said)
        # All of it is in a file.
        log, = (self.work / "log").iterdir()
        self.assertIn(f"output in {log}", said)
        self.assertEqual(log.read_text(), (HERE / "outputs/success.txt").read_text().replace("@BUILD@", str(self.work / "build")))

        call, = self.calls()
        self.assertEqual(call, f"{NOBODY if os.getuid() == 0 else os.getuid()} shell kas/qemu-arm64.yml:kas/opt/yocto-sstate.yml "
                         "-c exec bitbake -T 1 -c build gin-edge-image")
        environment = (self.play / "environment").read_text()
        self.assertIn("SHELL=/bin/sh\n", environment)
        # kas would hand it to BitBake, for which the name means something else.
        self.assertIn("TMPDIR=\n", environment)

    def test_test_image_and_options(self):
        self.output("success", files=[IMAGE.replace("image-", "image-test-", 1)])
        said = self.build("--image", "test", "--with", "kas/opt/persistent-log.yml", "--no-mirrors", "--work", self.folder / "elsewhere",
                          env={"KAS_WORK_DIR": "/nowhere", "HTTP_PROXY": "http://proxy.example.com:3128"})
        self.assertIn(f"gin-edge-image-test for qemuarm64:\n  {self.folder}/elsewhere/build/", said)
        self.assertIn("kas/qemu-arm64.yml:kas/opt/test.yml:kas/opt/persistent-log.yml -c exec", self.calls()[0])
        self.assertIn("http_proxy=http://proxy.example.com:3128\n", (self.play / "environment").read_text())

    def test_a_card(self):
        card = "tmp/deploy/images/raspberrypi4-64/gin-edge-image-raspberrypi4-64.rootfs.wic"
        self.output("success", files=[card, card + ".zst"])
        said = self.build("raspberrypi4-64")
        self.assertIn(f"bmaptool copy {self.work}/build/{card}.zst /dev/sdX\n", said)
        self.assertNotIn("scripts/boot", said)

    def test_success_without_an_image_is_none(self):
        self.output("success")
        self.assertIn("no image of gin-edge-image in it, though BitBake reports success", self.build(status=1))


class Failure(Machine):
    def test_the_log_of_the_task_and_the_remedy(self):
        self.output("compile", 1)
        log = "".join(f"line {n}\n" for n in range(500)) + "g++: fatal error: Killed signal terminated program cc1plus\n"
        self.put("home/gin-edge-work/build/log.do_compile.77", log)
        said = self.build(status=1)
        self.assertIn("ERROR: Task (/w/openembedded-core/meta/recipes-devtools/gcc/gcc-cross_15.3.bb:do_compile) failed", said)
        self.assertIn(f"the last lines of {self.work}/build/log.do_compile.77:\n    | line 471\n", said)
        self.assertIn("    | g++: fatal error: Killed signal", said)
        self.assertNotIn("every line of the log, thousands of them", said)
        self.assertIn("BB_NUMBER_THREADS=2 PARALLEL_MAKE='-j 2' scripts/build", said)
        self.assertNotIn("sha256", said)

    def test_layers_that_do_not_come(self):
        self.output("layers", 2)
        said = self.build(status=1)
        self.assertIn("kas: fetch repos failed: error code 128", said)
        self.assertIn("A host is not in reach", said)

    def test_a_message_that_nobody_knows(self):
        (self.play / "output").write_text("Traceback (most recent call last):\nAssertionError: 1 == 2\n")
        (self.play / "status").write_text("1")
        said = self.build(status=1)
        self.assertIn("    | AssertionError: 1 == 2\n", said)
        self.assertNotIn("what may help", said)

    def test_kas_that_cannot_read_its_files(self):
        self.stub("kas", '#!/bin/sh\n[ "$1" = --version ] && echo kas 5.5 || { echo bad file >&2; exit 2; }\n', self.bin)
        self.assertIn("kas cannot read kas/qemu-arm64.yml", self.build(status=1))

    def test_a_work_folder_of_somebody_else(self):
        name = pwd.getpwuid(NOBODY if os.getuid() == 0 else os.getuid()).pw_name
        self.assertIn(f"/: the user {name} cannot write there; chown -R {name}: /", self.build("--work", "/", status=1))


class Kas(Machine):
    def setUp(self):
        super().setUp()
        self.hide("kas")
        self.output("success", files=[IMAGE])

    def venv(self):
        return list((self.home / ".cache/gin-edge").glob("kas-5.5-*"))

    def test_it_comes_once_in_the_pinned_version(self):
        self.assertIn("getting kas 5.5 into", self.build())
        self.assertIn(f"-c {self.checkout}/tests/checks/requirements.txt kas==5.5", self.asked("pip-calls"))
        self.assertNotIn("getting kas", self.build())
        self.assertEqual(len(self.asked("pip-calls").splitlines()), 1)
        self.assertEqual(len(self.venv()), 1)

    def test_another_version_in_the_path_is_not_taken(self):
        self.stub("kas", "#!/bin/sh\necho kas 3.1\n", self.bin)
        self.assertIn("getting kas 5.5 into", self.build())

    def test_nothing_half_done_stays(self):
        (self.stubs / "pip-fails").touch()
        self.assertIn("https_proxy", self.build(status=1))
        self.assertEqual(self.venv(), [])
        (self.stubs / "pip-fails").unlink()
        self.build()


class Interrupt(Machine):
    def setUp(self):
        super().setUp()
        self.output("waiting")
        (self.play / "wait").touch()

    def playing(self):
        until = time.monotonic() + 600
        while not (self.play / "playing").exists():
            self.assertLess(time.monotonic(), until, "BitBake was not started")
            time.sleep(0.1)

    def read(self, terminal, until):
        said = ""
        while not re.search(until, said):
            try:
                part = os.read(terminal, 4096).decode()
            except OSError:     # what Linux says when the other side is closed
                part = ""
            self.assertTrue(part, f"ended without '{until}':\n{said}")
            said += part
        return said

    def on_terminal(self):
        """Starts a build on a terminal of its own; the terminal's other end."""
        master, slave = pty.openpty()
        self.addCleanup(os.close, master)
        # The way a terminal's Ctrl-C comes: to the foreground group of a session that has it.
        self.put("checkout/start", "#!/usr/bin/env python3\nimport fcntl, os, termios\n"
                 "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\nos.execv('scripts/build', ['scripts/build'])\n")
        (self.checkout / "start").chmod(0o755)
        process = self.start(program="start", env={"TERM": "xterm"}, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        return process, master

    def test_a_terminal_shows_state_and_slow_tasks_and_ctrl_c_ends_politely(self):
        process, terminal = self.on_terminal()
        said = self.read(terminal, r"do_compile [1-9]\d* s")
        self.assertIn("3 %: 119 of 3467 tasks done, 1 running, 3347 left", said)
        self.assertIn("  gcc-cross-aarch64-15.3.0-r0 do_compile", said)
        self.assertRegex(said, r"\x1b\[\d+A\x1b\[J")
        os.write(terminal, b"\x03")
        said = self.read(terminal, "what was finished is kept")
        self.assertIn("Ctrl-C again ends them", said)
        self.assertEqual(process.wait(60), 130)
        self.assertEqual((self.play / "ended").read_text(), "tasks done")

    def test_a_second_ctrl_c_ends_the_tasks(self):
        process, terminal = self.on_terminal()
        self.playing()
        os.write(terminal, b"\x03")
        self.read(terminal, "Ctrl-C again ends them")
        os.write(terminal, b"\x03")
        self.read(terminal, "what was finished is kept")
        self.assertEqual(process.wait(60), 130)
        self.assertEqual((self.play / "ended").read_text(), "second interrupt")

    def test_sigterm_does_not_wait_for_tasks_and_leaves_none(self):
        process = self.start(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.playing()
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=600)
        self.assertEqual(process.returncode, 130, out)
        self.assertEqual((self.play / "ended").read_text(), "second interrupt")
        for environment in pathlib.Path("/proc").glob("[0-9]*/environ"):
            try:
                self.assertNotIn(str(self.play).encode(), environment.read_bytes(), f"{environment} is left")
            except OSError:
                pass


@unittest.skipUnless(os.getuid() == 0, "needs root")
class Root(Machine):
    def test_bitbake_never_runs_as_root(self):
        self.output("success", files=[IMAGE])
        done = subprocess.run([sys.executable, "-B", self.checkout / "scripts/lib_progress.py", "--kas", self.bin / "kas", "kas/qemu-arm64.yml"],
                              env={"GIN_EDGE_PLAY": str(self.play), "KAS_WORK_DIR": str(self.work)}, capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("BitBake refuses root", done.stderr)
        self.assertEqual(self.calls(), [])

    def as_root(self, *args):
        try:
            self.builder = pwd.getpwnam("builder").pw_uid
        except KeyError:
            self.skipTest("no user builder; the step build-from-nothing makes one")
        self.output("success", files=[IMAGE])
        subprocess.run(["chown", "-R", "builder", self.play], check=True)
        done = subprocess.run([self.checkout / "scripts/build", "--force", *args], capture_output=True, text=True, env={
            "PATH": f"{self.bin}:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.home), "GIN_EDGE_HOST_ROOT": str(self.host),
            "GIN_EDGE_LAB": str(self.folder / "lab"), "GIN_EDGE_PLAY": str(self.play)})
        self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
        return done.stderr + done.stdout

    def test_root_builds_as_builder_from_a_checkout_that_builder_cannot_read(self):
        self.checkout.chmod(0o700)
        work = self.folder / "work"
        self.assertIn(f"builder cannot read {self.checkout}: building from the copy {work}/checkout", self.as_root("--work", work))
        call, = self.calls()
        self.assertTrue(call.startswith(f"{self.builder} shell kas/qemu-arm64.yml"), call)
        self.assertEqual({file.stat().st_uid for file in work.rglob("*")}, {self.builder})

    def test_the_lab_is_prepared_once_and_used(self):
        lab = self.folder / "lab"
        self.stub("prepare", f"#!/bin/sh\necho \"$@\" >> {self.stubs}/asked\nmkdir -p $2/work && chown builder $2/work\n"
                  "echo \"export KAS_WORK_DIR=$2/work DL_DIR=$2/work/downloads\" > $2/env\n", self.checkout / "tests/lab")
        self.as_root("--lab", "--lab-mirrors", self.host)
        self.assertIn(f"{self.host} {lab}\n", self.asked())
        said = self.as_root("--lab")
        self.assertEqual(self.asked().count(str(lab)), 1)
        self.assertIn(f"in {lab}/work/build, output", said)
        for call in self.calls():
            self.assertTrue(call.startswith(f"{self.builder} shell kas/qemu-arm64.yml:tests/lab/lab.yml -c"), call)
        # What needs no host does not ask for one.
        self.assertNotIn("yoctoproject", self.asked())


if __name__ == "__main__":
    unittest.main()
