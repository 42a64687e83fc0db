"""What gin-edge asks of a kernel's configuration: reads fragments, fits them to a kernel, judges the result.

The class gin-edge-kernel calls this in the build, tests/checks/kernel-config without one: nothing of BitBake in here.
A symbol goes by its name without CONFIG_. Files that cannot be read raise OSError.
"""
import collections
import os
import re
import shutil

# What a fragment asks for: place is FILE:LINE, builtin whether a module would not do.
_Ask = collections.namedtuple("Ask", "value place required builtin")
_Verdict = collections.namedtuple("Verdict", "faults warnings modules unknown stale")

_LINE = re.compile(r"CONFIG_(\w+)=(.*)|# CONFIG_(\w+) is not set")
_ENTRY = re.compile(r"(?:menu)?config\s+(\w+)$")

# The file system of a read-only root, by the first part of its image type (erofs-lz4hc, squashfs-zst).
_ROOTS = {"erofs": "gin-edge-root-erofs", "squashfs": "gin-edge-root-squashfs"}


def names(text):
    """The symbols of a list such as "PANIC_TIMEOUT CONFIG_IPV6"."""
    return {name.removeprefix("CONFIG_") for name in (text or "").split()}


def root_fragments(fstype):
    """The fragments for a read-only root of this image type, as a list in a string; "" for none and for others."""
    return _ROOTS.get((fstype or "").split("-")[0], "")


def settings(file):
    """Yields line number, symbol and value of each line of a .config or fragment that sets one; "n" for "is not set"."""
    with open(file) as lines:
        for number, line in enumerate(lines, 1):
            match = _LINE.match(line.strip())
            if not match:
                continue
            value = match[2] or ""
            # Fragments of the kernel cache carry notes behind the value.
            yield number, match[1] or match[3], "n" if match[3] else value if value.startswith('"') else value.split("#")[0].strip()


def known(source, arch=None):
    """The symbols that a kernel's Kconfig files define, each with what its own entries say it depends on.

    source is the kernel's tree; of the folder arch/ only that of `arch` (the kernel's name of it, as in ARCH=) counts.
    """
    symbols = collections.defaultdict(list)
    for folder, folders, files in os.walk(source):
        if folder == source:
            folders[:] = [f for f in folders if f not in ("Documentation", "tools", ".git", "samples")]
        elif folder == os.path.join(source, "arch") and arch in folders:
            folders[:] = [arch]
        folders.sort()
        for file in sorted(files):
            if file.startswith("Kconfig"):
                read_kconfig(os.path.join(folder, file), symbols)
    return symbols


def statements(file):
    """Yields each statement of a Kconfig file: continued lines joined, without help texts and comments."""
    joined, help_indent, text_indent = "", None, None
    with open(file, errors="replace") as lines:
        for line in lines:
            text = line.strip()
            if not text:
                continue
            line = line.expandtabs()
            indent = len(line) - len(line.lstrip())
            if help_indent is not None:
                # A help text ends with a line that is indented less than its first.
                text_indent = text_indent or indent
                if indent >= text_indent > help_indent:
                    continue
                help_indent = text_indent = None
            if text.endswith("\\"):
                joined += text[:-1]
                continue
            text, joined = joined + text, ""
            if text in ("help", "---help---"):
                help_indent = indent
            elif not text.startswith("#"):
                yield text


def read_kconfig(file, symbols):
    """Adds the symbols of one Kconfig file, with the conditions of the entry and of the blocks around it."""
    blocks, entry = [], None
    for text in statements(file):
        word, rest = (text.split(None, 1) + [""])[:2]
        match = _ENTRY.match(text)
        if match:
            entry = match[1]
            symbols[entry].extend(b for b in blocks if b not in symbols[entry])
        elif word == "depends" and entry:
            symbols[entry].append(rest.partition("on")[2].strip())
        elif word == "if":
            blocks.append(rest)
        elif word == "endif" and blocks:
            blocks.pop()
        elif word in ("menu", "choice", "comment", "source", "endmenu", "endchoice"):
            entry = None


def find(name, folders):
    """The file NAME.cfg in the first of the folders that has it."""
    for folder in folders:
        file = os.path.join(folder, name + ".cfg")
        if os.path.exists(file):
            return file
    raise FileNotFoundError("no fragment %s.cfg in %s" % (name, " ".join(folders) or "any folder: GIN_EDGE_KERNEL_KMETA is empty"))


def asks(folders, required, recommended, builtin):
    """What the fragments ask for, by symbol. As in the merge, the last one to set a symbol has the say."""
    result = {}
    for name in recommended + required:
        for number, symbol, value in settings(find(name, folders)):
            result[symbol] = _Ask(value, "%s.cfg:%d" % (name, number), name in required, name in builtin)
    return result


def fit(folder, exempt, kernel):
    """Makes FOLDER/kernel-meta: the fragments of the folder without the symbols that are exempt or that this kernel
    (a result of known()) does not have. kernel-yocto looks there first, and its audit would tell of each of them.
    """
    target = os.path.join(folder, "kernel-meta")
    shutil.rmtree(target, ignore_errors=True)
    os.mkdir(target)
    for file in sorted(os.listdir(folder)):
        path = os.path.join(folder, file)
        if not os.path.isfile(path):
            continue
        drop = {}
        if file.endswith(".cfg"):
            for number, symbol, _ in settings(path):
                if symbol in exempt:
                    drop[number] = "# left out, exempt: %s\n" % symbol
                elif symbol not in kernel:
                    drop[number] = "# left out, not in this kernel: %s\n" % symbol
        with open(path) as lines, open(os.path.join(target, file), "w") as out:
            for number, line in enumerate(lines, 1):
                out.write(drop.get(number, line))


def combine(file, asked, exempt, kernel):
    """Writes one fragment of all that is asked for, without the symbols that fit() leaves out."""
    with open(file, "w") as out:
        for symbol, ask in asked.items():
            if symbol in kernel and symbol not in exempt:
                setting = "# CONFIG_%s is not set" % symbol if ask.value == "n" else "CONFIG_%s=%s" % (symbol, ask.value)
                out.write("# %s\n%s\n" % (ask.place, setting))


def same(want, have):
    """Whether two values are one; numbers may be written differently."""
    try:
        return int(want, 0) == int(have, 0)
    except ValueError:
        return want == have


def judge(config, asked, exempt, kernel):
    """Compares a final .config with what is asked for.

    Verdict: faults and warnings are sentences (required and recommended symbols that were lost); modules, unknown and
    stale are sorted symbols: served by a module, not in this kernel, and exempt though nobody asks for them.
    """
    have = {symbol: value for _, symbol, value in settings(config)}
    verdict = _Verdict([], [], [], [], sorted(exempt - asked.keys()))
    for symbol, ask in sorted(asked.items(), key=lambda item: item[1].place):
        got = have.get(symbol, "n")
        if symbol in exempt or same(ask.value, got) or (ask.value, got) == ("m", "y"):
            continue
        if symbol not in kernel:
            verdict.unknown.append(symbol)
            continue
        if (ask.value, got, ask.builtin) == ("y", "m", False):
            verdict.modules.append(symbol)
            continue
        text = "%s: %s=%s asked for, %s got" % (ask.place, symbol, ask.value, got)
        if (ask.value, got) == ("y", "m"):
            text += " (it must be built in)"
        elif ask.value != "n" and kernel[symbol]:
            text += " (it depends on %s)" % ", ".join(kernel[symbol])
        (verdict.faults if ask.required else verdict.warnings).append(text)
    verdict.modules.sort()
    verdict.unknown.sort()
    return verdict
