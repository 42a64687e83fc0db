# What the virtual machine has, and linux-yocto leaves out: a power button and a watchdog.
FILESEXTRAPATHS:prepend := "${THISDIR}/files:"
SRC_URI += "file://acme-machine.cfg"
