# A product's own service in the place of gin-edged: its main calls edged.Main of this repository's src/ with an
# extension (docs/your-service.md). A whole recipe:
#
#   SUMMARY = "acme's gateway"
#   DESCRIPTION = "What a person in a package list wants to know"
#   HOMEPAGE = "https://acme.example/gateway"
#   LICENSE = "MIT"
#   LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"
#   GO_IMPORT = "example.com/acme-gateway"
#   GIN_EDGE_SOURCE = "../../../src"
#   require ${BPN}-go-mods.inc
#   require ${BPN}-licenses.inc
#   inherit gin-edge-service
#
# and in the distro or the build's configuration, so that the image has it instead of gin-edged:
#
#   VIRTUAL-RUNTIME_gin-edge-service = "acme-gateway"
#
# GO_IMPORT          the module, as its go.mod names it
# GIN_EDGE_COMMAND   its command, a folder below cmd/ (default: the recipe's name)
# GIN_EDGE_SOURCE    the module's folder, from the recipe's, when it is not fetched otherwise. Else SRC_URI has it, with
#                    destsuffix=${GO_SRCURI_DESTSUFFIX} for git
# GIN_EDGE_MAX_BYTES limit of the binary, see gin-edge-go.bbclass, which also says what else the binary is held to
#
# The source of the base comes from the layer itself, by a `replace` in go.mod that is made here: layer and module
# cannot differ, and nothing has to be published. What go.mod says for work outside BitBake does not matter.
# Third-party modules and their licences are the product's, made by
#
#   bitbake -c update_modules acme-gateway
#
# after each change of go.mod; the base's licence is added here. The binary is /usr/bin/gin-edged, so that the unit, the
# sandbox and the tests are those of the base, and /usr/bin/NAME leads to it.

inherit gin-edge-go

GIN_EDGE_COMMAND ?= "${BPN}"
GIN_EDGE_SOURCE ?= ""
GIN_EDGE_BASE = "github.com/meta-gin-edge/meta-gin-edge/src"

SECTION ?= "net"
CVE_PRODUCT ?= "${BPN}"
GO_INSTALL = "${GO_IMPORT}/cmd/${GIN_EDGE_COMMAND}"
GO_EXTRA_LDFLAGS = "-X ${GIN_EDGE_BASE}/edged.version=${PV}"

# The base is MIT, as this layer is.
LICENSE:append = " & MIT"
LIC_FILES_CHKSUM:append = " file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302"

# files/gin-edge-base is a link to src/, as a name that no product has.
FILESEXTRAPATHS:append = "${GIN_EDGE_LAYERDIR}/files:${@gin_edge_source_folder(d)}"
SRC_URI:append = " file://gin-edge-base;subdir=${BP}${@gin_edge_source_uri(d)}"

# BitBake looks at no file below a link: without this a change of the base would build nothing anew.
do_fetch[file-checksums] += "${@os.path.normpath(d.getVar('GIN_EDGE_LAYERDIR') + '/../src')}:True"

def gin_edge_source(d):
    """The module's folder, or None."""
    import os
    source = d.getVar("GIN_EDGE_SOURCE")
    return source and os.path.normpath(os.path.join(os.path.dirname(d.getVar("FILE")), source))

def gin_edge_source_folder(d):
    import os
    source = gin_edge_source(d)
    return source and os.path.dirname(source) + ":" or ""

def gin_edge_source_uri(d):
    import os
    source = gin_edge_source(d)
    return source and f" file://{os.path.basename(source)};subdir=gin-edge-product" or ""

python gin_edge_service_unpack() {
    import os
    import shutil
    source = gin_edge_source(d)
    module = os.path.join(d.getVar("UNPACKDIR"), d.getVar("GO_SRCURI_DESTSUFFIX").rstrip("/"))
    if source:
        if not os.path.exists(os.path.join(source, "go.mod")):
            bb.fatal(f"GIN_EDGE_SOURCE leads to {source}, where no go.mod is: it is the folder of the Go module, "
                     "from the recipe's")
        bb.utils.mkdirhier(os.path.dirname(module))
        shutil.move(os.path.join(d.getVar("UNPACKDIR"), "gin-edge-product", os.path.basename(source)), module)
    if not os.path.exists(os.path.join(module, "go.mod")):
        bb.fatal(f"no go.mod in {module}: set GIN_EDGE_SOURCE, or fetch the module with destsuffix=${{GO_SRCURI_DESTSUFFIX}}")
    with open(os.path.join(module, "go.mod")) as f:
        name = next((line.split()[1] for line in f if line.startswith("module ")), "")
    if name != d.getVar("GO_IMPORT"):
        bb.fatal(f"go.mod names the module {name}, the recipe {d.getVar('GO_IMPORT')}: set GO_IMPORT to the former")
    if not os.path.isdir(os.path.join(module, "cmd", d.getVar("GIN_EDGE_COMMAND"))):
        bb.fatal(f"the module has no cmd/{d.getVar('GIN_EDGE_COMMAND')}: set GIN_EDGE_COMMAND to one of its commands")
}
gin_edge_service_unpack[doc] = "Puts a product's module where GO_IMPORT says"
do_unpack[postfuncs] += "gin_edge_service_unpack"

# The path gets into the binary, so it is relative: from the module, which go.bbclass shows below B as well.
GIN_EDGE_BASE_PATH = "${@os.path.relpath('gin-edge-base', os.path.join('src', d.getVar('GO_IMPORT')))}"
do_configure:append() {
    ln -snf ${S}/gin-edge-base ${B}/gin-edge-base
    cd ${UNPACKDIR}/${GO_SRCURI_DESTSUFFIX}
    ${GO} mod edit -replace=${GIN_EDGE_BASE}=${GIN_EDGE_BASE_PATH}
}

do_install() {
    install -D -m 0755 ${B}/${GO_BUILD_BINDIR}/${GIN_EDGE_COMMAND} ${D}${bindir}/gin-edged
    [ "${GIN_EDGE_COMMAND}" = gin-edged ] || ln -s gin-edged ${D}${bindir}/${GIN_EDGE_COMMAND}
}

RCONFLICTS:${PN} += "gin-edge-service"
