# The boards' firmware from Debian's raspi-firmware.
RPIFW_SRC_URI = "${DEBIAN_ARCHIVE}/pool/non-free-firmware/r/raspi-firmware/raspi-firmware_1.20260408+ds-1_all.deb;subdir=firmware"
SRC_URI[sha256sum] = "9e215abb588e9adadf69a67107736fc2fa108ef3f17fa93589919c5e66ffe209"
S = "${UNPACKDIR}/firmware/usr/lib/raspi-firmware"
LIC_FILES_CHKSUM = "file://../../share/doc/raspi-firmware/copyright;md5=3b9d134ba9dcb9fe1b0018e1123c0fe9"
