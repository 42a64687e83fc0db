"""What the distro's and the fragments' settings come to, by BitBake's own parser of configurations.

Needs the release's layers as the lab has them; nothing is built and no server started.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAYERS = pathlib.Path(os.environ.get("GIN_EDGE_LAB", "/var/cache/gin-edge-lab"), "work")
NAMES = "INHERIT RM_WORK_EXCLUDE BB_DISKMON_DIRS BB_HASHSERVE_UPSTREAM SSTATE_MIRRORS".split()


def probe():
    """In a process of its own, in a build folder: prints names and values."""
    sys.path.insert(0, str(LAYERS / "bitbake/lib"))
    import bb.cookerdata
    os.environ["BBPATH"] = os.getcwd()
    configuration = bb.cookerdata.CookerConfiguration()
    configuration.env = dict(os.environ)
    builder = bb.cookerdata.CookerDataBuilder(configuration, False)
    builder.parseBaseConfiguration()
    print("hash", builder.data_hash)
    for name in NAMES:
        print(name, builder.data.getVar(name) or "")
    recipe = builder.data.createCopy()
    recipe.setVar("PN", "os-release")
    # As the recipe and qemuboot.bbclass set them; `parsing` as the parser does, which keeps appends and removes.
    recipe.setVar("OS_RELEASE_FIELDS", "ID", parsing=True)
    recipe.setVar("EXTRA_IMAGEDEPENDS", "qemu-system-native qemu-helper-native:do_addto_recipe_sysroot other", parsing=True)
    print("EXTRA_IMAGEDEPENDS", recipe.getVar("EXTRA_IMAGEDEPENDS"))
    print("fields", recipe.getVar("OS_RELEASE_FIELDS"))
    print("BUILD_ID", recipe.getVar("BUILD_ID"))
    print("uncached", recipe.getVar("BB_DONT_CACHE"))


@unittest.skipUnless((LAYERS / "bitbake/lib/bb").is_dir() and (LAYERS / "meta-yocto/meta-poky").is_dir(),
                     f"the release's layers are not in {LAYERS}: the lab has built nothing yet")
class Settings(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="gin-edge-settings-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.layer = self.folder / "checkout"
        for part in "conf", "meta-gin-edge":
            shutil.copytree(ROOT / part, self.layer / part)
        (self.folder / "build/conf").mkdir(parents=True)
        (self.folder / "build/conf/bblayers.conf").write_text(
            'BBPATH = "${TOPDIR}"\nBBFILES ?= ""\n'
            f'BBLAYERS = "{LAYERS}/openembedded-core/meta {LAYERS}/meta-yocto/meta-poky {self.layer} {self.layer}/meta-gin-edge"\n')

    def git(self, *args):
        return subprocess.run(["git", "-C", self.layer, "-c", "user.name=a", "-c", "user.email=a@example.com", *args],
                              check=True, capture_output=True, text=True).stdout.strip()

    def settings(self, *fragments):
        (self.folder / "build/conf/local.conf").write_text(
            f'MACHINE = "qemuarm64"\nDISTRO = "gin-edge"\nCONF_VERSION = "2"\nOE_FRAGMENTS = "{" ".join(fragments)}"\n')
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "GIT_CEILING_DIRECTORIES": str(self.folder)}
        done = subprocess.run([sys.executable, "-B", __file__, "--probe"], cwd=self.folder / "build", env=environment |
                              {name: os.environ[name] for name in ("GIN_EDGE_LAB",) if name in os.environ}, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return dict(line.partition(" ")[::2] for line in done.stdout.splitlines())

    def test_build_id(self):
        self.assertEqual(self.settings()["BUILD_ID"], "unknown")
        self.git("init", "-q")
        self.git("add", "-A")
        self.git("commit", "-qm", "one")
        found = self.settings()
        first = self.git("rev-parse", "HEAD")
        self.assertEqual((found["BUILD_ID"], found["fields"]), (first, "ID BUILD_ID"))

        (self.layer / "conf/distro/other.conf").write_text("# a file that no build reads\n")
        self.git("add", "-A")
        self.assertEqual(self.settings()["BUILD_ID"], first + "-dirty")
        self.git("commit", "-qm", "two")
        again = self.settings()
        self.assertEqual(again["BUILD_ID"], self.git("rev-parse", "HEAD"))
        # The same configuration for BitBake, which therefore parses os-release anew and nothing else.
        self.assertEqual(again["hash"], found["hash"])
        self.assertEqual(again["uncached"], "1")

    def test_qemu_is_built_on_demand_only(self):
        self.assertEqual(self.settings()["EXTRA_IMAGEDEPENDS"].split(), ["other"])
        self.assertIn("qemu-system-native", self.settings("gin-edge-firmware/runqemu")["EXTRA_IMAGEDEPENDS"])

    def test_build_space(self):
        found = self.settings("gin-edge-firmware/build-space")
        self.assertIn("rm_work", found["INHERIT"].split())
        # scripts/test looks into the image's root file system.
        self.assertIn("gin-edge-image", found["RM_WORK_EXCLUDE"].split())
        for folder in "tmp", "downloads", "sstate-cache":
            self.assertIn(f"HALT,{self.folder}/build/{folder},100M,1K", found["BB_DISKMON_DIRS"])
        self.assertNotIn("rm_work", self.settings()["INHERIT"].split())

    def test_results_of_the_yocto_project(self):
        found = self.settings("core/yocto/sstate-mirror-cdn")
        self.assertEqual(found["BB_HASHSERVE_UPSTREAM"], "wss://hashserv.yoctoproject.org/ws")
        self.assertIn("http://sstate.yoctoproject.org/", found["SSTATE_MIRRORS"])
        # scripts/build asks for these two hosts.
        script = (ROOT / "scripts/build").read_text()
        self.assertIn("wss://hashserv.yoctoproject.org)", script)
        self.assertIn("http://sstate.yoctoproject.org &&", script)

    def test_hosttools_are_checked(self):
        # What bitbake.conf wants, and a Debian that has only what it calls essential lacks.
        text = (LAYERS / "openembedded-core/meta/conf/bitbake.conf").read_text()
        wanted = set(text.split('HOSTTOOLS += " \\\n')[1].split('"')[0].replace("\\", " ").split())
        table = (ROOT / "scripts/lib-host.sh").read_text().split("\ntools='\n")[1].split("\n'\n")[0]
        packages = {line.split()[0]: line.split()[1] for line in table.splitlines()}
        # The rest of a package that the table names by another of its commands.
        siblings = {"binutils": "as ld nm objcopy objdump ranlib readelf strings strip", "gcc": "cpp",
                    "bzip2": "bunzip2", "zstd": "unzstd", "diffutils": "cmp"}
        covered = set(packages) | {name for package in packages.values() for name in siblings.get(package, "").split()}
        essential = set("[ awk basename bash cat chgrp chmod chown comm cp cut date dd dirname du echo egrep env expand expr false "
                        "fgrep find getconf getopt grep gunzip gzip head iconv id install ldd ln ls md5sum mkdir mkfifo mknod mktemp mv "
                        "od pr printf pwd readlink realpath rm rmdir sed seq sh sha1sum sha224sum sha256sum sha384sum sha512sum "
                        "sleep sort split stat tail tar tee test touch tr true truncate uname uniq wc xargs".split())
        self.assertGreater(len(wanted), 80)
        self.assertEqual(sorted(wanted - covered - essential), [])


if __name__ == "__main__":
    if sys.argv[1:] == ["--probe"]:
        probe()
    else:
        unittest.main()
