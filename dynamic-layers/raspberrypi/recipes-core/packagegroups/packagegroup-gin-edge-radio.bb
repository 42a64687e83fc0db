SUMMARY = "Firmware and kernel modules of the boards' radio chips"
DESCRIPTION = "What Wi-Fi and Bluetooth need below the network manager: which one that is, and its keys, are the product's."
HOMEPAGE = "https://github.com/meta-gin-edge/meta-gin-edge"
SECTION = "base"
LICENSE = "MIT"
CVE_PRODUCT = "meta-gin-edge:packagegroup-gin-edge-radio"

COMPATIBLE_MACHINE = "^rpi$"
# The firmware differs by board; packagegroup.bbclass wants to know before.
PACKAGE_ARCH = "${MACHINE_ARCH}"
inherit packagegroup

RDEPENDS:${PN} = "${@' '.join(p for p in d.getVar('MACHINE_EXTRA_RRECOMMENDS').split() if 'firmware-rpidistro' in p)}"
# Modules in the boards' own kernel; another may have them built in.
RRECOMMENDS:${PN} = "kernel-module-brcmfmac kernel-module-brcmfmac-cyw kernel-module-brcmfmac-wcc kernel-module-hci-uart"
