"""What scripts/build finds missing on a machine, and what it says about that."""
import os
import re
import unittest

from bench import NOBODY, ROOT, Machine


class Ready(Machine):
    def test_a_machine_that_has_everything(self):
        said = self.build("--check")
        self.assertIn("ready to build kas/qemu-arm64.yml:kas/opt/yocto-sstate.yml in " + str(self.work), said)
        self.assertNotIn("not ready", said)
        self.assertNotIn("good to know", said)

    def test_it_leaves_nothing_behind(self):
        self.build("--check")
        self.assertEqual(list(self.home.iterdir()), [])
        self.assertEqual(self.calls(), [])

    def test_print_checks_nothing(self):
        said = self.build("--print", "--image", "test", "raspberrypi3-64", "--with", "kas/opt/persistent-log.yml")
        self.assertIn(f"KAS_WORK_DIR={self.work} kas build kas/raspberrypi3-64.yml:kas/opt/test.yml:"
                      "kas/opt/persistent-log.yml:kas/opt/yocto-sstate.yml", said)
        self.assertEqual(self.asked() + self.asked("probed"), "")
        self.assertEqual(list(self.home.iterdir()), [])

    def test_names_of_machines_and_compositions(self):
        for name in "qemuarm64", "qemu-arm64", "qemu-arm64.yml", "kas/qemu-arm64.yml":
            self.assertIn("kas build kas/qemu-arm64.yml\n", self.build("--print", "--no-mirrors", name))


class Documentation(unittest.TestCase):
    def test_the_page_says_what_the_script_does(self):
        page = (ROOT / "docs/building.md").read_text()
        script = (ROOT / "scripts/lib-host.sh").read_text()
        packages = script.split('documented="')[1].split('"')[0].split()
        command = page.split("apt-get install --no-install-recommends ")[1].split("\necho")[0].replace("\\\n", " ").split()
        self.assertEqual(sorted(command), sorted(packages + ["pipx"]))
        self.assertIn(script.split("cat << 'END'\n")[1].split("END\n")[0], page)
        self.assertIn("kas==" + re.search(r"^kas==(\S+)", (ROOT / "tests/checks/requirements.txt").read_text(), re.M)[1], page)
        for option in (ROOT / "kas/opt").glob("*.yml"):
            self.assertIn(f"| `kas/opt/{option.name}` |", page)


class Usage(Machine):
    def test_what_is_refused(self):
        self.put("outside.yml", "header:\n  version: 19\n")
        for says, *args in (
                ("unknown option '--tset'", "--tset"),
                ("no composition for 'raspberrypi2'; there are: kas/qemu-arm64.yml kas/raspberrypi3-64.yml", "raspberrypi2"),
                ("--image is production or test, not 'dev'", "--image", "dev"),
                ("option --work needs a value", "--work"),
                ("kas/opt/tset.yml: no such file", "--with", "kas/opt/tset.yml"),
                ("kas takes all its files from one repository", "--with", self.folder / "outside.yml"),
                ("--lab-mirrors is for --lab", "--lab-mirrors", self.folder),
                ("one machine at a time", "qemuarm64", "raspberrypi5")):
            self.assertIn(says, self.build(*args, status=2))
        self.assertEqual(self.calls(), [])

    def test_help_names_every_option(self):
        said = self.build("--help")
        for option in re.findall(r"^    (--[a-z-]+)[ )|]", (self.checkout / "scripts/build").read_text(), re.M):
            self.assertIn(option, said)


class Missing(Machine):
    def test_all_of_it_in_one_go(self):
        self.hide("chrpath", "gawk", "pzstd")
        (self.host / "usr/include/crypt.h").unlink()
        for name, text in (("no-modules", "ensurepip"), ("locales", "C\nC.utf8\nde_DE.utf8\n"), ("userns", "1"),
                           ("gigabytes", "5"), ("unreachable", "git.openembedded.org: no route\n")):
            (self.stubs / name).write_text(text)
        said = self.build(status=1)
        self.assertIn("missing: chrpath gawk pzstd /usr/include/crypt.h python3:ensurepip", said)
        self.assertIn("no locale en_US.UTF-8", said)
        self.assertIn("user namespaces can be made and not used", said)
        self.assertIn("5 GB free on", said)
        self.assertIn("git.openembedded.org: no route", said)
        self.assertIn("apt-get update && apt-get install --no-install-recommends chrpath gawk libcrypt-dev python3-venv zstd\n", said)
        self.assertIn("echo 'en_US.UTF-8 UTF-8' >> /etc/locale.gen && locale-gen", said)
        # It has installed nothing, made nothing and started nothing.
        self.assertNotIn("apt-get", self.asked())
        self.assertEqual(list(self.home.iterdir()), [])
        self.assertEqual(self.calls(), [])

    def test_force_goes_on(self):
        self.hide("chrpath")
        self.output("success", files=["tmp/deploy/images/qemuarm64/gin-edge-image-qemuarm64.rootfs.wic"])
        self.assertIn("missing: chrpath", self.build("--force"))
        self.assertEqual(len(self.calls()), 1)

    def test_without_apt_it_names_the_documentation(self):
        self.hide("chrpath", "apt-get", "dpkg-query")
        said = self.build("--check", status=1)
        self.assertIn("https://docs.yoctoproject.org/ref-manual/system-requirements.html", said)
        self.assertNotIn("apt-get", said)

    def test_the_locale_under_either_name(self):
        for locale, status in ("en_US.utf8", 0), ("en_US.UTF-8", 0), ("en_US", 1), ("C.UTF-8", 1), ("en_US.utf8@x", 1):
            (self.stubs / "locales").write_text(f"C\n{locale}\n")
            self.build("--check", status=status)

    def test_folders_that_bitbake_refuses(self):
        for name in "with space", "a+b", "a@b", "a%b", "größe":
            self.assertIn(name, self.build("--check", "--work", self.folder / name, status=1))

    def test_a_system_that_yocto_does_not_test(self):
        self.put("host/etc/os-release", 'ID=debian\nVERSION_ID="10"\nPRETTY_NAME="Debian GNU/Linux 10 (buster)"\n')
        self.assertIn("Debian GNU/Linux 10 (buster) is none of the systems that Yocto tests", self.build("--check"))


class UserNamespaces(Machine):
    def setUp(self):
        super().setUp()
        self.put("host/etc/os-release", 'ID=ubuntu\nVERSION_ID="24.04"\nPRETTY_NAME="Ubuntu 24.04.4 LTS"\n')
        self.put("host/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n")

    def test_the_remedy_on_ubuntu(self):
        (self.stubs / "userns").write_text("1")
        said = self.build("--check", status=1)
        self.assertIn("AppArmor keeps user namespaces from BitBake (kernel.apparmor_restrict_unprivileged_userns = 1)", said)
        self.assertIn("cat > /etc/apparmor.d/bitbake << 'END' && apparmor_parser -r /etc/apparmor.d/bitbake\n"
                      "abi <abi/4.0>,\ninclude <tunables/global>\nprofile bitbake /**/bitbake/bin/bitbake flags=(unconfined) {\n"
                      "  userns,\n}\nEND\n", said)
        self.assertIn("sysctl -w kernel.apparmor_restrict_unprivileged_userns=0", said)

    def test_with_the_profile_there_the_restriction_does_not_matter(self):
        self.assertNotIn("AppArmor", self.build("--check"))
        path, uid = self.asked("probed").split()
        # AppArmor goes by the path, and root is never restricted.
        self.assertTrue(path.endswith("/bitbake/bin/bitbake"), path)
        self.assertEqual(int(uid), NOBODY if os.getuid() == 0 else os.getuid())

    def test_elsewhere_it_speaks_of_containers(self):
        self.put("host/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "0\n")
        (self.stubs / "userns").write_text("1")
        said = self.build("--check", status=1)
        self.assertIn("--security-opt apparmor=unconfined", said)
        self.assertNotIn("/etc/apparmor.d", said)

    def test_bitbake_goes_on_where_there_are_none(self):
        (self.stubs / "userns").write_text("2")
        self.assertIn("its tasks keep the network", self.build("--check"))


class Room(Machine):
    def test_disk(self):
        for gigabytes, status, says in (5, 1, "5 GB free"), (25, 0, "25 GB free"), (45, 0, "ready"):
            (self.stubs / "gigabytes").write_text(str(gigabytes))
            self.assertIn(says, self.build("--check", status=status))

    def test_disk_of_a_build_that_is_there(self):
        (self.work / "build/tmp").mkdir(parents=True)
        (self.stubs / "gigabytes").write_text("12")
        self.assertNotIn("GB free", self.build("--check"))
        (self.stubs / "gigabytes").write_text("3")
        self.assertIn("3 GB free", self.build("--check"))

    def test_inodes(self):
        (self.stubs / "inodes").write_text("150000")
        self.assertIn("150000 inodes free", self.build("--check"))

    def test_little_memory_makes_fewer_jobs(self):
        self.put("host/proc/meminfo", "MemTotal: 6291456 kB\nSwapTotal: 0 kB\n")
        (self.stubs / "processors").write_text("8")
        self.assertIn("6 GB of memory with swap for 8 processors: 3 jobs at a time", self.build("--check"))
        self.output("success", files=["tmp/deploy/images/qemuarm64/gin-edge-image-qemuarm64.rootfs.wic"])
        self.build()
        self.assertIn("BB_NUMBER_THREADS=3\nPARALLEL_MAKE=-j 3\n", (self.play / "environment").read_text())
        said = self.build(env={"BB_NUMBER_THREADS": "7"})
        self.assertNotIn("jobs at a time", said)
        self.assertIn("BB_NUMBER_THREADS=7\nPARALLEL_MAKE=\n", (self.play / "environment").read_text())


class Network(Machine):
    def test_the_layers_hosts(self):
        (self.stubs / "unreachable").write_text("git.yoctoproject.org: no route\n")
        said = self.build("--check", status=1)
        self.assertIn("the layers' hosts are not in reach: git.yoctoproject.org: no route", said)
        self.assertIn("--lab", said)
        # Not asked for where they are not needed.
        self.build("--check", env={"KAS_PREMIRRORS": "https://git.yoctoproject.org/ file:///mirror/"})
        (self.work / "openembedded-core").mkdir(parents=True)
        self.build("--check")

    def test_mirrors_only_when_they_answer(self):
        for setting, value, says in (
                ("websockets", "1", "need python3-websockets 10 or newer"),
                ("unreachable", "sstate.yoctoproject.org: no route\n", "sstate.yoctoproject.org: no route. Everything is built here")):
            with self.subTest(setting):
                (self.work / "openembedded-core").mkdir(parents=True, exist_ok=True)
                (self.stubs / setting).write_text(value)
                said = self.build("--check")
                self.assertIn(says, said)
                self.assertIn("ready to build kas/qemu-arm64.yml in", said)
            (self.stubs / "websockets").write_text("0")

    def test_mirrors_may_be_refused(self):
        self.assertIn("ready to build kas/qemu-arm64.yml in", self.build("--check", "--no-mirrors"))
        self.assertNotIn("sstate", self.asked())

    def test_the_hash_server_is_asked_past_the_proxy(self):
        self.build("--check")
        self.assertIn("--direct wss://hashserv.yoctoproject.org", self.asked())


class Lab(Machine):
    def test_it_says_what_the_lab_needs(self):
        self.assertIn("--lab-mirrors DIR", self.build("--lab", status=1))

    def test_it_belongs_to_builder(self):
        self.put("lab/env", f"export KAS_WORK_DIR={self.folder}/lab/work\n")
        self.assertIn("belongs to the user builder", self.build("--lab", status=1))


if __name__ == "__main__":
    unittest.main()
