"""What the tests of scripts/build share: a machine of pretence to run it on, as nobody in particular."""
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
NOBODY = 65534

# Each command of a stub is a file in the stubs' folder that the test may change.
PYTHON = """#!/bin/sh
case ${1##*/} in
lib_reach.py) echo "$*" >> @S@/asked; if [ -e "@S@/unreachable" ]; then cat "@S@/unreachable"; exit 1; fi; exit 0 ;;
bitbake) echo "$1 $(id -u)" >> @S@/probed; exit "$(cat @S@/userns)" ;;
esac
case "$1 $2" in
"-c import sys, websockets"*) exit "$(cat @S@/websockets)" ;;
"-c import "*) case " $(cat @S@/no-modules) " in *" ${2#import } "*) exit 1 ;; esac; exit 0 ;;
"-m venv") mkdir -p "$3/bin"; cp @S@/pip "$3/bin/pip"; exit ;;
esac
exec @PYTHON@ "$@"
"""
STUBS = {
    "python3": PYTHON,
    "locale": "#!/bin/sh\ncat @S@/locales\n",
    "df": "#!/bin/sh\ncase $1 in -Pi) n=$(cat @S@/inodes) ;; *) n=$(($(cat @S@/gigabytes) * 1048576)) ;; esac\n"
          "echo head; echo dev 999999999 0 $n 0% /\n",
    "nproc": "#!/bin/sh\ncat @S@/processors\n",
    "dpkg-query": "#!/bin/sh\necho 'ii '\n",
    "apt-get": "#!/bin/sh\necho apt-get \"$@\" >> @S@/asked\n",
}
# What a script may take for granted; all of it is in packages that Debian calls essential, but git.
TOOLS = """awk bash basename cat chmod chown cp cut date dirname env false find getent git grep head id ln ls mkdir mktemp
    mv paste printf pwd realpath rm sed setpriv sh sleep sort stat tail tar tee touch tr true uname wc"""
# The pinned kas of Python's index, which the venv's pip brings.
PIP = """#!/bin/sh
echo "$*" >> @S@/pip-calls
[ ! -e @S@/pip-fails ] || exit 1
cp @KAS@ "$(dirname "$0")/kas"
"""
SETTINGS = {"userns": "0", "websockets": "0", "no-modules": "", "locales": "C\nen_US.utf8\n", "inodes": "9000000",
            "gigabytes": "200", "processors": "4"}


class Machine(unittest.TestCase):
    """A Debian 13 on which everything is as it should be, until a test changes it."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="gin-edge-build-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.folder.chmod(0o755)
        self.stubs, self.host, self.play = (self.folder / name for name in ("stubs", "host", "play"))
        self.home, self.tmp, self.work = (self.folder / name for name in ("home", "tmp", "home/gin-edge-work"))
        for folder in self.stubs, self.play, self.home, self.tmp:
            folder.mkdir()
        self.checkout = self.folder / "checkout"
        for part in "kas", "scripts", "tests/build", "tests/checks", "tests/lab":
            shutil.copytree(ROOT / part, self.checkout / part, ignore=shutil.ignore_patterns("__pycache__", "meta-lab"))
        for name, text in SETTINGS.items():
            (self.stubs / name).write_text(text)
        self.stub("pip", PIP)
        self.put("host/etc/os-release", 'ID=debian\nVERSION_ID="13"\nPRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n')
        self.put("host/proc/meminfo", "MemTotal: 16777216 kB\nSwapTotal: 0 kB\n")
        for name in "usr/include/crypt.h", "usr/include/stdlib.h", "etc/ssl/certs/ca-certificates.crt":
            self.put(f"host/{name}", "")
        # Those tools, and by name those that BitBake wants.
        self.bin = self.folder / "bin"
        self.bin.mkdir()
        for name, text in STUBS.items():
            self.stub(name, text, self.bin)
        for tool in TOOLS.split():
            (self.bin / tool).symlink_to(shutil.which(tool, path="/usr/bin:/bin:/usr/sbin:/sbin"))
        table = (ROOT / "scripts/lib-host.sh").read_text().split("\ntools='\n")[1].split("\n'\n")[0]
        for line in table.splitlines():
            if not line.startswith("/") and not os.path.lexists(self.bin / line.split()[0]):
                self.stub(line.split()[0], "#!/bin/sh\n", self.bin)
        self.stub("kas", (HERE / "kas").read_text(), self.bin)

    def put(self, name, text):
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def stub(self, name, text, folder=None):
        file = (folder or self.stubs) / name
        file.unlink(missing_ok=True)
        file.write_text(text.replace("@S@", str(self.stubs)).replace("@KAS@", str(HERE / "kas"))
                        .replace("@PYTHON@", shutil.which("python3", path="/usr/bin:/bin") or sys.executable))
        file.chmod(0o755)

    def hide(self, *tools):
        for tool in tools:
            (self.bin / tool).unlink()

    def output(self, name, status=0, files=()):
        """What BitBake is to print, and to leave in the build folder."""
        shutil.copy(HERE / "outputs" / f"{name}.txt", self.play / "output")
        (self.play / "status").write_text(str(status))
        (self.play / "files").write_text("\n".join(files))

    def start(self, *args, env=(), program="scripts/build", **options):
        if os.getuid() == 0:
            subprocess.run(["chown", "-hR", str(NOBODY), self.folder], check=True)
            options |= {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        environment = {"PATH": str(self.bin), "HOME": str(self.home), "TMPDIR": str(self.tmp), "LANG": "C.UTF-8",
                       "GIN_EDGE_HOST_ROOT": str(self.host), "GIN_EDGE_PLAY": str(self.play),
                       "GIN_EDGE_LAB": str(self.folder / "lab"), "PYTHONDONTWRITEBYTECODE": "1"} | dict(env)
        process = subprocess.Popen([self.checkout / program, *map(str, args)], env=environment, cwd=self.checkout,
                                   start_new_session=True, **options)
        self.addCleanup(self.end, process)
        return process

    def end(self, process):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for stream in process.stdin, process.stdout, process.stderr:
            if stream:
                stream.close()

    def build(self, *args, status=0, env=()):
        """Runs scripts/build; what it says, standard error first."""
        process = self.start(*args, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        out, err = process.communicate(timeout=900)
        self.assertEqual(process.returncode, status, err + out)
        self.assertEqual(list(self.tmp.iterdir()), [], "files left in the folder for temporary ones")
        return err + out

    def calls(self):
        """What kas was called for: user, command and arguments; `dump` and `--version` apart."""
        file = self.play / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line for line in lines if " dump " not in line]

    def asked(self, name="asked"):
        return (self.stubs / name).read_text() if (self.stubs / name).exists() else ""
