# For this distro only: an OEM's kernel may well have its drivers as modules.
require ${@'gin-edge-image-kernel.inc' if 'gin-edge-distro' in d.getVar('DISTROOVERRIDES').split(':') else ''}
