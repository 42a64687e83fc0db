"""What the checks of kas files share. kas's own loader does the reading and validating."""
import logging
import pathlib
import re

from kas.includehandler import ConfigFile, IncludeHandler
from kas.kasusererror import KasUserError
from kas.repos import Repo

SUFFIXES = {".yml", ".yaml", ".json"}
# The names of distros and targets that this repository has: the firmware's, and the sample product's of the lab.
OURS = ("gin-edge", "acme")
COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


class Messages(logging.Handler):
    """Collects what kas logs while it reads: it warns where a path only works by accident."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.taken = []

    def emit(self, record):
        self.taken.append(" ".join(record.getMessage().split()))

    def take(self):
        taken, self.taken = self.taken, []
        return taken


MESSAGES = Messages()
logging.basicConfig(handlers=[MESSAGES], level=logging.WARNING)


def is_lock(file):
    return file.stem.endswith(".lock")


def files(root):
    found = sorted(f for f in (root / "kas").rglob("*") if f.suffix in SUFFIXES)
    return found + sorted(f for f in (root / "tests/lab").glob("*.yml"))


def load(file, faults):
    """One file, validated against kas's schema; None with a fault noted when it is not valid."""
    try:
        config = ConfigFile.load(str(file)).config
    except (KasUserError, OSError) as e:
        faults.append(f"{file}: {e}; " + "; ".join(MESSAGES.take()))
        return None
    faults += [f"{file}: {m}" for m in MESSAGES.take()]
    return config


def merge(parts, root, label, faults, others=None):
    """What kas builds from a colon-separated list of files, and whether it can; the configuration, or None.

    others are the folders of the repositories that are included from, by their names."""
    # kas asks git for the top folder of the includes; a copy under test need not be a repository.
    Repo.get_root_path = staticmethod(lambda path, fallback=True: str(root))
    try:
        config, missing = IncludeHandler([str(p) for p in parts]).get_config({name: str(folder) for name, folder in (others or {}).items()})
    except (KasUserError, OSError) as e:
        faults.append(f"{label}: {e}; " + "; ".join(MESSAGES.take()))
        return None
    faults += [f"{label}: {m}" for m in MESSAGES.take()]
    faults += [f"{label}: includes a file of the repository {m}, which this check cannot see" for m in missing]

    roots = [root, *(others or {}).values()]
    for key in ("machine", "distro", "target"):
        if not config.get(key):
            faults.append(f"{label}: key {key}: not set by any file")
    targets = config.get("target") or []
    for target in [targets] if isinstance(targets, str) else targets:
        recipe = target.split(":")[-1]
        if recipe.startswith(OURS) and not any(list(r.glob(f"**/recipes-*/*/{recipe}*.bb")) for r in roots):
            faults.append(f"{label}: key target: no recipe {recipe} in this repository")
    distro = str(config.get("distro"))
    if distro.startswith(OURS) and not any(list(r.glob(f"**/conf/distro/{distro}.conf")) for r in roots):
        faults.append(f"{label}: key distro: no conf/distro/{distro}.conf")

    overrides = config.get("overrides", {}).get("repos", {})
    repos = config.get("repos", {})
    for name in sorted(set(overrides) - set(repos)):
        faults.append(f"{label}: overrides.repos.{name}: no file defines this repository")
    for name, repo in repos.items():
        repo = repo or {}
        if repo.get("url"):
            commit = str(overrides.get(name, repo).get("commit", ""))
            if not COMMIT.fullmatch(commit):
                faults.append(f"{label}: repos.{name}: no lock file pins its commit (found: {commit or 'nothing'}); "
                              "run kas lock, or add it to the lock file beside the file that names the repository")
        else:
            for layer in repo.get("layers") or {}:
                if not (root / layer / "conf/layer.conf").is_file():
                    faults.append(f"{label}: repos.{name}.layers.{layer}: {pathlib.Path(layer, 'conf/layer.conf')} does not exist")
    return config
