#!/usr/bin/env python3
"""Runs a build through kas and shows how far it is; scripts/build calls it.

  lib_progress.py --kas KAS [--shown DIR] CONFIG

Reads what BitBake prints where it has no terminal, and of that shows on a terminal the state of
the build, elsewhere a line now and then. All of it goes to a file. At the end: the image, its
size, its checksum and the next command; or the log of the task that failed and what may help.

KAS_WORK_DIR names the work folder. Ctrl-C lets the running tasks end, a second one ends them.
Exit status: 0 built, 1 not built, 130 interrupted.
"""
import argparse
import fcntl
import hashlib
import json
import os
import pathlib
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time

import lib_remedies
from lib_bitbake import Build, duration

# What `kas dump` need not do to tell machine and targets: no folder is made, nothing fetched.
DUMP_SKIPS = ("setup_dir", "setup_home", "repo_setup_loop", "finish_setup_repos", "repos_checkout",
              "repos_apply_patches", "setup_environ")
QUIET_SECONDS = 30      # between two lines where there is no terminal
SLOW_TASKS = 5
LOG_TAIL = 30
LONGEST_LINE = 400


class Screen:
    """Lines that stay, and below them, on a terminal, the state that is written anew each second."""

    def __init__(self, out):
        self.out, self.height, self.last = out, 0, time.monotonic()
        self.terminal = out.isatty() and os.environ.get("TERM", "dumb") != "dumb"

    def clear(self):
        if self.height:
            self.out.write(f"\x1b[{self.height}A\x1b[J")
            self.height = 0

    def line(self, text):
        self.clear()
        # A failed fetch names the whole environment in one line; the log has all of it.
        print(text if len(text) <= LONGEST_LINE else text[:LONGEST_LINE] + " ...", file=self.out, flush=True)

    def state(self, build):
        if self.terminal:
            width = shutil.get_terminal_size().columns - 1
            lines = [build.state()] + [f"  {name} {duration(seconds)}" for seconds, name in build.longest()[:8]]
            self.clear()
            self.out.write("".join(line[:width] + "\n" for line in lines))
            self.out.flush()
            self.height = len(lines)
        elif time.monotonic() - self.last >= QUIET_SECONDS:
            self.last = time.monotonic()
            slow = "; ".join(f"{name} {duration(seconds)}" for seconds, name in build.longest()[:3])
            print(build.state() + (f": {slow}" if slow else ""), file=self.out, flush=True)


def run(command, log, build, screen):
    """Runs the command with its output to log, screen and build; its exit status."""
    def stop(signum, _):
        # A group of its own, with kas, its shell and BitBake's client in it. The first interrupt lets
        # the running tasks end. Whoever sends another signal will not wait for that.
        for _ in range(1 if signum == signal.SIGINT else 2):
            build.interrupted += 1
            try:
                os.killpg(process.pid, signal.SIGINT)
            except ProcessLookupError:
                pass
            if signum != signal.SIGINT:
                time.sleep(1)

    lines = queue.Queue()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True, errors="replace", start_new_session=True)
    for signum in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
        signal.signal(signum, stop)

    def pump():
        for line in process.stdout:
            lines.put(line.rstrip("\n"))
        lines.put(None)
    threading.Thread(target=pump, daemon=True).start()

    told = 0
    while True:
        if build.interrupted > told:
            told = build.interrupted
            screen.line("interrupted: waiting for the running tasks to end; Ctrl-C again ends them" if told == 1
                        else "interrupted again: ending the running tasks")
        try:
            line = lines.get(timeout=1)
        except queue.Empty:
            screen.state(build)
            continue
        if line is None:
            break
        print(line, file=log, flush=True)
        shown = build.read(line)
        if shown is not None:
            screen.line(shown)
        if lines.empty() or shown is not None:
            screen.state(build)
    status = process.wait()
    screen.clear()
    return status


def wait_for_server(build_dir):
    """BitBake's server outlives its client by a second or more, and holds this lock."""
    try:
        with open(build_dir / "bitbake.lock") as lock:
            for _ in range(60):
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                except BlockingIOError:
                    time.sleep(0.5)
    except OSError:
        return
    print(f"BitBake's server in {build_dir} has not ended yet", file=sys.stderr)


def artefact(deploy, target, machine):
    """The file to boot or to write to a card, or None."""
    suffixes = ("wic", "wic.zst") if machine.startswith("qemu") else ("wic.zst", "wic.xz", "wic.gz", "wic.bz2", "wic")
    for suffix in suffixes:
        for name in f"{target}-{machine}.rootfs.{suffix}", f"{target}-{machine}.{suffix}":
            if (deploy / name).is_file():
                return deploy / name
    return None


def results(targets, machine, build_dir, shown):
    """Prints what was built and the next command. False: an image is missing."""
    deploy, complete = build_dir / "tmp/deploy/images" / machine, True
    for target in targets:
        image = artefact(deploy, target, machine)
        if image is None:
            # A target that is no image leaves none.
            if "image" in target:
                print(f"{deploy}: no image of {target} in it, though BitBake reports success", file=sys.stderr)
                complete = False
            continue
        digest = hashlib.sha256()
        with open(image, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        print(f"\n{target} for {machine}:\n  {image}\n  {image.stat().st_size:,} bytes, sha256 {digest.hexdigest()}")
        boot = os.path.relpath(shown / "scripts/boot")
        if machine == "qemuarm64":
            print(f"start it:\n  {boot} --deploy {deploy}")
        elif machine.startswith("raspberrypi"):
            print(f"write it to a card or USB disk (/dev/sdX: look twice, everything on it is lost):\n"
                  f"  bmaptool copy {image} /dev/sdX")
            if machine == "raspberrypi3-64":
                print(f"or start it in QEMU:\n  {boot} --machine {machine} --deploy {deploy}")
    return complete


def figures(build):
    print(f"\ntook {duration(build.clock() - build.began)}", end="")
    if build.attempted is not None:
        print(f": {build.attempted} tasks, {build.kept} of them with nothing to do", end="")
    if build.sstate:
        _, local, mirrors, missed, current = build.sstate
        print(f"; results taken: {local + current} from here, {mirrors} from mirrors; {missed} built", end="")
    print()
    slow = build.took.most_common(SLOW_TASKS)
    if slow:
        print("longest: " + ", ".join(f"{name} {duration(seconds)}" for name, seconds in slow))


def failure(build, log_path):
    """Says why: the ends of the failed tasks' logs, or of BitBake's output, and what may help."""
    evidence = list(build.faults)
    for name in build.logs:
        try:
            text = pathlib.Path(name).read_text(errors="replace").splitlines()
        except OSError as e:
            text = [str(e)]
        evidence += text[-400:]
        print(f"\nthe last lines of {name}:")
        print("\n".join(f"    | {line}" for line in text[-LOG_TAIL:]))
    if not build.logs:
        text = log_path.read_text(errors="replace").splitlines()
        evidence += text[-100:]
        if not build.faults:
            print("\nthe last lines of the output:")
            print("\n".join(f"    | {line}" for line in text[-LOG_TAIL:]))
    for remedy in lib_remedies.find(evidence):
        print(f"\nwhat may help:\n{remedy}")
    print(f"\nall of the output: {log_path}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--kas", required=True, help="the program kas")
    p.add_argument("--shown", type=pathlib.Path, default=pathlib.Path.cwd(), help="the checkout in the commands that are printed")
    p.add_argument("config", help="kas files, separated by colons")
    args = p.parse_args()
    if os.getuid() == 0:
        sys.exit("BitBake refuses root; scripts/build runs it as the user builder")
    work = pathlib.Path(os.environ.get("KAS_WORK_DIR", ".")).absolute()
    build_dir = pathlib.Path(os.environ.get("KAS_BUILD_DIR", work / "build")).absolute()

    dump = subprocess.run([args.kas, "--log-level", "error", "dump", "--format", "json",
                           *[f"--skip={step}" for step in DUMP_SKIPS], args.config],
                          stdout=subprocess.PIPE, text=True, check=False)
    if dump.returncode:
        sys.exit(f"kas cannot read {args.config}")
    config = json.loads(dump.stdout)
    targets = config.get("target") or []
    targets = [targets] if isinstance(targets, str) else targets
    machine = config["machine"]

    logs = work / "log"
    logs.mkdir(parents=True, exist_ok=True)
    for old in sorted(logs.glob("build-*.log"))[:-9]:
        old.unlink()
    log_path = logs / time.strftime("build-%Y%m%d-%H%M%S.log")
    print(f"building {' '.join(targets)} for {machine}: {args.config}\nin {build_dir}, output in {log_path}", flush=True)

    build, screen = Build(), Screen(sys.stdout)
    # `kas shell`, not `kas build`: that one gives up on a line of more than 64 KiB, and a linker's may be.
    # -T: the server ends a second after its client, and the next build need not wait for it.
    command = f"exec bitbake -T 1 -c {config.get('task', 'build')} {' '.join(targets)}"
    with open(log_path, "w") as log:
        status = run([args.kas, "shell", args.config, "-c", command], log, build, screen)
    wait_for_server(build_dir)
    if build.interrupted:
        print("\ninterrupted. The same command goes on from here: what was finished is kept")
        sys.exit(130)
    if status:
        failure(build, log_path)
        figures(build)
        sys.exit(1)
    complete = results(targets, machine, build_dir, args.shown)
    figures(build)
    sys.exit(not complete)


if __name__ == "__main__":
    main()
