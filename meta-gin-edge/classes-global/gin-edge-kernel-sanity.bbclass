# Tells at parse time when the product's kernel has nothing of gin-edge. Inherited globally, see conf/layer.conf.
#
# With the distro feature gin-edge, the recipe that PREFERRED_PROVIDER_virtual/kernel names should inherit the class
# gin-edge-kernel. If it does not, the service runs with whatever that kernel happens to have. Where this is known and
# meant to be so: GIN_EDGE_KERNEL_SANITY = "0" (default "1").

GIN_EDGE_KERNEL_SANITY ??= "1"

addhandler gin_edge_kernel_sanity
gin_edge_kernel_sanity[eventmask] = "bb.event.RecipeParsed"
python gin_edge_kernel_sanity() {
    pn = d.getVar('PN')
    # linux-dummy stands for a kernel that is not ours to build.
    if pn != d.getVar('PREFERRED_PROVIDER_virtual/kernel') or pn == 'linux-dummy':
        return
    if not bb.utils.contains('DISTRO_FEATURES', 'gin-edge', True, False, d) or not bb.utils.to_boolean(d.getVar('GIN_EDGE_KERNEL_SANITY')):
        return
    if d.getVar('do_gin_edge_kernel_check', False) is None:
        bb.warn('%s: the distro feature gin-edge is on, but this kernel gets none of the options that the service, its '
                'watchdog and its firewall need, and nothing checks for them. Add to its bbappend: '
                'inherit gin-edge-kernel, or to the distro or the machine: KERNEL_CLASSES:append = " gin-edge-kernel". '
                'GIN_EDGE_KERNEL_SANITY = "0" silences this.' % pn)
}
