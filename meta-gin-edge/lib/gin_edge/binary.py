"""What a service's binary must be: hardened, small, and without what has no place in it.

The same checks serve the cross-compiled binary in tests/checks, the one in an image, and the task of
gin-edge-go.bbclass, so that none can drift from another. Each function returns faults, one sentence each with its
remedy, and raises ValueError for a file or a dump that is not what it takes.
"""
import re

# Sections that `strip` removes and that never reach a device.
STRIPPED = re.compile(r"\.(z?debug_.*|symtab|strtab|gdb_index|gnu_debuglink)$")

# sonic: machine code made at run time, which MemoryDenyWriteExecute= forbids.
# pprof and expvar: register handlers that show the process from the inside.
# codec: msgpack, which the tag nomsgpack must keep out. plugin: code loaded at run time.
# testing: test helpers in production code. net/rpc and net/smtp: other ways in and out.
FORBIDDEN = (
    "github.com/bytedance/sonic",
    "github.com/cloudwego",
    "github.com/twitchyliquid64/golang-asm",
    "github.com/ugorji/go/codec",
    "net/http/pprof",
    "runtime/pprof",
    "expvar",
    "plugin",
    "testing",
    "net/rpc",
    "net/smtp",
    "os/user",
)


def stripped_size(size, sections):
    """The bytes of a file of that size without what strip takes away. sections: readelf --wide --section-headers."""
    # [Nr] Name Type Address Off Size ...
    for name, length in re.findall(r"^\s*\[\s*\d+\]\s+(\.\S+)\s+[A-Z_]+\s+[0-9a-f]+\s+[0-9a-f]+\s+([0-9a-f]+)\s",
                                   sections, re.M):
        if STRIPPED.match(name):
            size -= int(length, 16)
    return size


def hardening(header, dynamic, segments):
    """Faults of an executable. The arguments are what readelf --wide prints with --file-header, --dynamic and
    --program-headers."""
    if "ELF" not in header:
        raise ValueError("not an ELF file")
    flags = " ".join(re.findall(r"\(FLAGS\)\s+(.*)", dynamic)).split()
    flags_1 = " ".join(re.findall(r"\(FLAGS_1\)\s+Flags:(.*)", dynamic)).split()
    stack = re.search(r"^\s*GNU_STACK\s.*\s(R[W ][E ])\s+0x[0-9a-f]+$", segments, re.M)
    found = []

    def require(ok, fault):
        if not ok:
            found.append(fault)

    require(re.search(r"Type:\s+DYN\b", header),
            "not position-independent (ELF type is not DYN): build with -buildmode=pie")
    require("PIE" in flags_1, "the PIE flag is absent (DT_FLAGS_1): build with -buildmode=pie")
    require("BIND_NOW" in flags or "NOW" in flags_1 or "(BIND_NOW)" in dynamic,
            "symbols are bound lazily (no BIND_NOW): link with -z now (Go's own linker: -ldflags=-bindnow)")
    require("GNU_RELRO" in segments, "no GNU_RELRO segment: link with -z relro")
    require("(RPATH)" not in dynamic, "has an RPATH")
    require("(RUNPATH)" not in dynamic, "has a RUNPATH")
    require("(TEXTREL)" not in dynamic and "TEXTREL" not in flags, "has text relocations")
    require(stack and "E" not in stack.group(1), "the stack is executable, or GNU_STACK is absent")
    return found


def forbidden_imports(packages):
    """Faults among the packages that are linked: what `go list -deps` prints, by line."""
    return [f"links {package}, which has no place in the service; `go mod why {package}` says who brings it"
            for package in packages
            if any(package == name or package.startswith(name + "/") for name in FORBIDDEN)]


def reflect_methods(dump):
    """Faults in what Go's linker prints with -dumpdep. One reachable call of reflect's Method or MethodByName with a
    name that is unknown at link time, as text/template has, makes it keep every exported method of every reachable
    type."""
    # Every program has this edge: without it a count of 0 would mean nothing.
    if not re.search(r"-> main\.main\b", dump):
        raise ValueError("the linker printed no dependency graph: does this Go still know -ldflags=-dumpdep?")
    callers = sorted({line.split(" ")[0] for line in dump.splitlines() if "<ReflectMethod>" in line})
    return [f"{caller} calls reflect's Method with a name that the linker does not know, and so keeps all methods in "
            "the binary: do without it (text/template and html/template have it)" for caller in callers]


def largest_packages(symbols, count=5):
    """The packages with the most bytes, as (bytes, name). symbols: what `go tool nm -size` prints."""
    sizes = {}
    for size, name in re.findall(r"^\s*[0-9a-f]+\s+(\d+)\s+[TtRrDd]\s+(\S+)", symbols, re.M):
        # a/b.c/d.(*T).M, go:itab.…, type:…: a package ends at the first point behind its last slash.
        path, _, rest = name.rpartition("/")
        package = (path + "/" if path else "") + rest.split(".")[0]
        sizes[package] = sizes.get(package, 0) + int(size)
    return sorted(((size, name) for name, size in sizes.items()), reverse=True)[:count]
