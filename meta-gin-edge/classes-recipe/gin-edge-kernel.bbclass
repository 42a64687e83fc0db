# What gin-edge asks of a kernel: hands its fragments over to the kernel's configuration so that they have the last
# word, and fails the build, with symbol, file and remedy, when the final configuration lacks something all the same.
#
# linux-yocto, its variants and linux-raspberrypi have this class by the distro feature gin-edge. Any other kernel gets
# it by one line, in the kernel's bbappend:
#
#   inherit ${@bb.utils.contains('DISTRO_FEATURES', 'gin-edge', 'gin-edge-kernel', '', d)}
#
# or in the distro or the machine:
#
#   KERNEL_CLASSES:append = " gin-edge-kernel"
#
# Kernels with kernel-yocto take the fragments as features behind their own; for others they are merged into the
# .config behind do_configure, with the kernel's own merge_config.sh.
#
# GIN_EDGE_PARTS               which parts of gin-edge the product has, see conf/layer.conf; set it in the distro.
# GIN_EDGE_ROOT_FSTYPE         image type of a read-only root, erofs* or squashfs*, if the kernel is to mount one by
#                              itself; set it in the distro. Default: none.
# GIN_EDGE_KERNEL_FRAGMENTS    required, in this order, the last one wins. Default: gin-edge-sandbox, the fragments that
#                              are called like the parts, gin-edge-firewall-ipv6 with the distro feature ipv6, and that
#                              of the root.
# GIN_EDGE_KERNEL_RECOMMENDED  recommended: any fragment of yours has more to say, and one that is lost is a warning.
# GIN_EDGE_KERNEL_BUILTIN      fragments of these lists in which =y means y. In all others a module will do.
# GIN_EDGE_KERNEL_EXEMPT       symbols, with or without CONFIG_, that are neither set nor checked.
# GIN_EDGE_KERNEL_KMETA        folders with the fragments, NAME.cfg and NAME.scc, found like any file of SRC_URI.
#
# A symbol that the kernel's Kconfig does not know (an older kernel, say) is left out and noted in the task's log.
#
# Example, in the bbappend: a shorter list, another policy, a fragment of one's own with the same guarantee
#
#   GIN_EDGE_KERNEL_EXEMPT = "PANIC_TIMEOUT"
#   FILESEXTRAPATHS:prepend := "${THISDIR}/files:"
#   GIN_EDGE_KERNEL_KMETA:append = " acme-kmeta"
#   GIN_EDGE_KERNEL_FRAGMENTS:append = " acme-gateway"
#   GIN_EDGE_KERNEL_BUILTIN:append = " acme-gateway"

GIN_EDGE_KERNEL_FRAGMENTS ??= "gin-edge-sandbox \
    ${@bb.utils.filter('GIN_EDGE_PARTS', 'gin-edge-data gin-edge-firewall gin-edge-watchdog', d)} \
    ${@'gin-edge-firewall-ipv6' if bb.utils.contains('GIN_EDGE_PARTS', 'gin-edge-firewall', True, False, d) \
        and bb.utils.contains('DISTRO_FEATURES', 'ipv6', True, False, d) else ''} \
    ${@gin_edge.kernel.root_fragments(d.getVar('GIN_EDGE_ROOT_FSTYPE'))}"
GIN_EDGE_KERNEL_RECOMMENDED ??= "gin-edge-sandbox-recommended \
    ${@bb.utils.contains('GIN_EDGE_PARTS', 'gin-edge-watchdog', 'gin-edge-watchdog-recommended', '', d)} \
    ${@'gin-edge-root-recommended' if d.getVar('GIN_EDGE_ROOT_FSTYPE') else ''}"
GIN_EDGE_KERNEL_BUILTIN ??= ""
GIN_EDGE_KERNEL_EXEMPT ??= ""
GIN_EDGE_KERNEL_KMETA ??= "gin-edge-kmeta"

FILESEXTRAPATHS:prepend := "${GIN_EDGE_LAYERDIR}/recipes-kernel/linux/files:"

# Behind the fragments of SRC_URI, which come before all features, and behind the recipe's and the distro's features.
# A bbappend of a layer with a higher priority still comes later.
KERNEL_FEATURES:append = " ${@' '.join(f + '.scc' for f in d.getVar('GIN_EDGE_KERNEL_FRAGMENTS').split())}"
SRC_URI:append = " ${@' '.join('file://%s;type=kmeta;destsuffix=%s' % (f, f) for f in d.getVar('GIN_EDGE_KERNEL_KMETA').split())}"
# Before every other fragment, the product's own above all.
SRC_URI:prepend = "${@'file://gin-edge-recommended.scc' if bb.data.inherits_class('kernel-yocto', d) \
    and d.getVar('GIN_EDGE_KERNEL_RECOMMENDED').split() else ''} "

def gin_edge_kernel_asks(d):
    """Folders with the fragments, what these ask for, the exempt symbols, the symbols of this kernel."""
    folders = [os.path.join(d.getVar('UNPACKDIR'), f) for f in d.getVar('GIN_EDGE_KERNEL_KMETA').split()]
    required, recommended = d.getVar('GIN_EDGE_KERNEL_FRAGMENTS').split(), d.getVar('GIN_EDGE_KERNEL_RECOMMENDED').split()
    try:
        asked = gin_edge.kernel.asks(folders, required, recommended, d.getVar('GIN_EDGE_KERNEL_BUILTIN').split())
    except OSError as e:
        bb.fatal('%s. GIN_EDGE_KERNEL_FRAGMENTS and GIN_EDGE_KERNEL_RECOMMENDED name fragments without .cfg, '
                 'GIN_EDGE_KERNEL_KMETA the folders that hold them.' % e)
    kernel = gin_edge.kernel.known(d.getVar('S'), d.getVar('ARCH'))
    return folders, asked, gin_edge.kernel.names(d.getVar('GIN_EDGE_KERNEL_EXEMPT')), kernel

# For kernel-yocto: what is handed over, without the symbols that are exempt or unknown.
python gin_edge_kernel_fit() {
    folders, asked, exempt, kernel = gin_edge_kernel_asks(d)
    for folder in folders:
        gin_edge.kernel.fit(folder, exempt, kernel)
    if folders:
        recommended = {symbol: ask for symbol, ask in asked.items() if not ask.required}
        gin_edge.kernel.combine(os.path.join(folders[0], 'kernel-meta', 'gin-edge-recommended.cfg'), recommended, exempt, kernel)
}

# For all others: one fragment of everything, for gin_edge_kernel_merge.
python gin_edge_kernel_combine() {
    folders, asked, exempt, kernel = gin_edge_kernel_asks(d)
    gin_edge.kernel.combine(d.expand('${WORKDIR}/gin-edge-kernel.cfg'), asked, exempt, kernel)
}

gin_edge_kernel_merge() {
    ${S}/scripts/kconfig/merge_config.sh -m -O ${B} ${B}/.config ${WORKDIR}/gin-edge-kernel.cfg
    ${KERNEL_CONFIG_COMMAND}
}

python () {
    if bb.data.inherits_class('kernel-yocto', d):
        d.appendVarFlag('do_kernel_metadata', 'prefuncs', ' gin_edge_kernel_fit')
    else:
        d.appendVarFlag('do_configure', 'postfuncs', ' gin_edge_kernel_combine gin_edge_kernel_merge')
}

# Kconfig drops what does not fit without a word: find it in the build, not on the device.
python do_gin_edge_kernel_check() {
    folders, asked, exempt, kernel = gin_edge_kernel_asks(d)
    config = d.expand('${B}/.config')
    verdict = gin_edge.kernel.judge(config, asked, exempt, kernel)
    bb.note('%d symbols asked for by %s, %s' % (len(asked), d.getVar('GIN_EDGE_KERNEL_FRAGMENTS'), d.getVar('GIN_EDGE_KERNEL_RECOMMENDED')))
    if verdict.modules:
        bb.note('Served by modules, which the image has to have: %s' % ' '.join(verdict.modules))
    if verdict.unknown:
        bb.note('Not asked for, as this kernel does not know them: %s' % ' '.join(verdict.unknown))
    if verdict.stale:
        bb.warn('GIN_EDGE_KERNEL_EXEMPT names what no fragment sets: %s' % ' '.join(verdict.stale))
    if verdict.warnings:
        bb.warn('The final kernel configuration %s is not what gin-edge recommends:\n  %s\n'
                'If it is meant to be so, name the symbols in GIN_EDGE_KERNEL_EXEMPT.' % (config, '\n  '.join(verdict.warnings)))
    if verdict.faults:
        bb.fatal('The final kernel configuration %s is not what the fragments ask for:\n  %s\n'
                 'Something that the symbol depends on is not set, another symbol selects it, or a fragment or feature '
                 'that comes later sets it otherwise: look it up with bitbake -c menuconfig %s (press /), and set what '
                 'it needs in a fragment of your own. What this kernel cannot or shall not have goes into '
                 'GIN_EDGE_KERNEL_EXEMPT; a whole part is left out through GIN_EDGE_PARTS.'
                 % (config, '\n  '.join(verdict.faults), d.getVar('PN')))
}
do_gin_edge_kernel_check[doc] = "Fails when the kernel's final configuration lacks a symbol that gin-edge requires"
addtask gin_edge_kernel_check after do_configure before do_compile
