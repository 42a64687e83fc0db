# Gated here and not in the file: even an empty append to SRC_URI would change signatures.
require ${@bb.utils.contains('DISTRO_FEATURES', 'gin-edge', 'gin-edge-kernel.inc', '', d)}
