# The recipe, its kernel cache and its tools are the release's; the tree is Debian's of the same series, without
# linux-yocto's own patches but for those that apply.
LINUX_VERSION = "6.18.15"
SRC_URI:remove = "git://git.yoctoproject.org/linux-yocto.git;name=machine;branch=${KBRANCH};protocol=https"
SRC_URI:prepend = "${DEBIAN_ARCHIVE}/pool/main/l/linux/linux_${LINUX_VERSION}.orig.tar.xz;name=machine;subdir=linux-${LINUX_VERSION};striplevel=1 "
SRC_URI[machine.sha256sum] = "fdf4c4d487c95b17a41cb38003faef86669e532a44fe702eb31a3390b6a60cca"
S = "${UNPACKDIR}/linux-${LINUX_VERSION}"
# No repository, no commit to look for in it.
SRCREV_machine:qemuarm64 = "AUTOINC"
# The audit's Kconfig parser, of the kern-tools at hand, is older than this tree; gin_edge_kernel_check stays.
KMETA_AUDIT = ""

# What linux-yocto's branch has and the kernel cache keeps as patches of the kernel type.
do_patch:append() {
    cd ${S}
    includes="-I${UNPACKDIR}/${KMETA}"
    scc --force -o ${WORKDIR}/lab-patches:patch --cmds patch $includes \
        $(spp $includes --find -DKMACHINE=${KMACHINE} -DKTYPE=${LINUX_KERNEL_TYPE}) || bbfatal "scc found no patches of the kernel type"
    applied=''
    while read -r patch rest; do
        patch=${WORKDIR}/lab-patches/$patch
        if git apply --check "$patch" 2> /dev/null; then
            git apply "$patch"
            applied=yes
            bbnote "kernel cache: applied $(basename "$patch")"
        else
            bbnote "kernel cache: left out $(basename "$patch")"
        fi
    done < ${WORKDIR}/lab-patches/patch.queue
    [ -n "$applied" ] || bbfatal "no patch of the kernel cache applies: not the tree that they are for"
    git add -A
    git commit -q -n -m "patches of the kernel cache"
}
