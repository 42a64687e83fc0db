# How a Go program of a gin-edge device is built, and what it is held to. gin-edge and, through gin-edge-service, a
# product's own service inherit it.
#
# GO_INSTALL                 packages of the commands (go.bbclass)
# GIN_EDGE_MAX_BYTES         limit of each, stripped (default 16 MB)
#
# do_gin_edge_binary_check runs after do_compile. It stops the build, with the culprit's name, when a command is not
# hardened, is too large, links what has no place in a service, or makes the linker keep all methods
# (lib/gin_edge/binary.py has the rules).

inherit go-mod go-mod-update-modules

# msgpack alone would double the binary. As GOFLAGS the tag holds for update_modules, too.
export GOFLAGS = "-tags=nomsgpack"
GOBUILDFLAGS:append = " -buildvcs=false"
# One binary: for most architectures the class would link to the shared Go runtime, and put its folder into the
# binary as a search path for libraries.
GO_LINKSHARED = ""
GO_RPATH = ""
GO_RPATH_LINK = ""
# The toolchain's own linker brings relro and immediate binding.
GO_LINKMODE = "-linkmode=external"
# The release's Go and the fetched modules, or an error: never a download from a build task.
export GOTOOLCHAIN = "local"
GOPROXY:task-compile = "off"
GOPROXY:task-gin-edge-binary-check = "off"

GIN_EDGE_MAX_BYTES ?= "16000000"

python do_gin_edge_binary_check() {
    import os
    import subprocess
    from gin_edge import binary

    go, readelf = d.getVar("GO"), d.getVar("READELF")
    source = d.expand("${B}/src/${GO_WORKDIR}")
    limit = int(d.getVar("GIN_EDGE_MAX_BYTES"))
    env = dict(os.environ, TMPDIR=d.getVar("GOTMPDIR"))

    def run(*command):
        done = subprocess.run(command, cwd=source, env=env, capture_output=True, text=True)
        if done.returncode:
            bb.fatal(f"{' '.join(command)}: {done.stderr.strip()[-2000:]}")
        return done

    faults = []
    for package in d.getVar("GO_INSTALL").split():
        name = os.path.basename(package)
        file = os.path.join(d.expand("${B}/${GO_BUILD_BINDIR}"), name)

        def elf(option):
            return run(readelf, "--wide", option, file).stdout

        found = binary.hardening(elf("--file-header"), elf("--dynamic"), elf("--program-headers"))
        size = binary.stripped_size(os.path.getsize(file), elf("--section-headers"))
        if size > limit:
            most = ", ".join(f"{name} {size // 1024} KiB" for size, name in
                             binary.largest_packages(run(go, "tool", "nm", "-size", file).stdout))
            found.append(f"{size} bytes stripped, more than GIN_EDGE_MAX_BYTES = {limit}; the largest packages: {most}")
        flags = [f for f in d.getVar("GOBUILDFLAGS").split() if f in ("-trimpath", "-buildvcs=false", "-buildmode=pie")]
        found += binary.forbidden_imports(run(go, "list", "-deps", package).stdout.split())
        # Go's own linker, as the external one is told nothing of methods: the same packages, the same graph.
        dump = run(go, "build", *flags, "-ldflags=-dumpdep", "-o", os.devnull, package).stderr
        try:
            found += binary.reflect_methods(dump)
        except ValueError as e:
            found.append(str(e))
        faults += [f"{name}: {fault}" for fault in found]
        bb.note(f"{name}: {size} bytes stripped, limit {limit}")
    if faults:
        bb.fatal("\n".join(faults))
}
do_gin_edge_binary_check[doc] = "Holds the commands to the rules of lib/gin_edge/binary.py"
do_gin_edge_binary_check[dirs] = "${GOTMPDIR}"
addtask gin_edge_binary_check after do_compile before do_install
