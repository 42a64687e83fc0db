"""scripts/new-product, with a go of pretence: what it makes, and what it refuses."""
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

TOP = pathlib.Path(__file__).resolve().parents[2]
GO = """#!/bin/sh
case "$*" in
"env GOVERSION") echo go1.99 ;;
"mod tidy") exit ${GO_TIDY:-0} ;;
esac
"""


class Product(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        (self.folder / "bin").mkdir()
        (self.folder / "bin/go").write_text(GO)
        (self.folder / "bin/go").chmod(0o755)

    def make(self, *args, status=0, **env):
        path = f"{self.folder}/bin:{os.environ['PATH']}"
        done = subprocess.run([TOP / "scripts/new-product", *args], cwd=self.folder, capture_output=True, text=True,
                              env=dict(os.environ, PATH=path, **env))
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def test_what_it_makes(self):
        self.make("acme", "--name", "acme-gateway", "--commit", "0" * 40)
        made = self.folder / "acme"
        text = {file.relative_to(made): file.read_text() for file in made.rglob("*") if file.is_file() and ".git" not in file.parts}
        for file, content in text.items():
            self.assertIsNone(re.search("@[A-Z]+@", content + str(file)), f"{file} has a place that was not filled in")
        main = text[pathlib.Path("src/cmd/acme-gateway/main.go")]
        self.assertEqual(len(re.findall(r"^func .*", main, re.M)), 1)
        self.assertIn('func main() { edged.Main(edge.Product{Name: "acme-gateway"}, product.Extension()) }\n', main)
        recipe = text[pathlib.Path("meta-acme-gateway/recipes-acme-gateway/acme-gateway/acme-gateway_1.0.bb")]
        self.assertLessEqual(len([line for line in recipe.splitlines() if line]), 10)
        kas = text[pathlib.Path("kas/acme-gateway-qemu-arm64.yml")]
        self.assertLessEqual(len(kas.splitlines()), 15)
        self.assertIn(f'commit: "{"0" * 40}"', kas)
        base = re.search("^replace .* => (.*)$", text[pathlib.Path("src/go.mod")], re.M)[1]
        self.assertEqual((made / "src" / base).resolve(), TOP / "src")
        self.assertTrue((made / ".git").is_dir())
        self.assertTrue(os.access(made / ".ci/run", os.X_OK))

    def test_without_git(self):
        self.make("acme", "--name", "acme", "--commit", "0" * 40, "--no-git")
        self.assertFalse((self.folder / "acme/.git").exists())

    def test_names(self):
        for name in ("a", "A1", "1a", "-a", "a_b", "a b", "a/b", "", "abcdefghijklmnopq", "gin-edge", "gin-edged", "meta-gin-edge", "core"):
            with self.subTest(name):
                said = self.make("acme", "--name", name, status=1 if name else 2)
                if name:
                    self.assertIn("2 to 16 of a-z, 0-9 and -, with a letter first", said)
                self.assertFalse((self.folder / "acme").exists())

    def test_folders(self):
        (self.folder / "full").mkdir()
        (self.folder / "full/file").touch()
        for folder, says in (("full", "is not empty"), ("bin/go", "is no folder"), (TOP / "acme", "lies in this checkout"),
                             (TOP / "no/such/folder", "lies in this checkout")):
            with self.subTest(folder):
                self.assertIn(says, self.make(folder, "--name", "acme", status=1))
        self.assertTrue((self.folder / "full/file").exists())

    def test_usage(self):
        for says, *args in (("which folder?",), ("--name NAME", "acme"), ("one folder at a time", "a", "b"), ("unknown option", "-x"),
                            ("needs a value", "a", "--name")):
            with self.subTest(says):
                self.assertIn(says, self.make(*args, status=2))
        self.assertIn("a whole commit, 40 digits", self.make("acme", "--name", "acme", "--commit", "main", status=1))
        self.assertIn("Usage:", self.make("--help"))

    def test_nothing_is_left_behind(self):
        said = self.make("acme", "--name", "acme", "--commit", "0" * 40, status=1, GO_TIDY="1")
        self.assertIn("GOPROXY", said)
        self.assertFalse((self.folder / "acme").exists())


if __name__ == "__main__":
    unittest.main()
