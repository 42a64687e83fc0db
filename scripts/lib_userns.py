#!/usr/bin/env python3
"""Exits 1 where BitBake could not use user namespaces, for the reason that it looks for itself.

Linux may let unshare() succeed and refuse the map of user ids behind it: AppArmor does so on
Ubuntu since 24.04. BitBake stops there (check_userns in openembedded-core's sanity.bbclass).
Where unshare() itself is refused, BitBake goes on, and its tasks keep the network: exit 2.

AppArmor goes by the path: run it as .../bitbake/bin/bitbake to see what BitBake would see.
"""
import ctypes
import os
import sys

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
uid, gid = os.getuid(), os.getgid()
if ctypes.CDLL(None).unshare(CLONE_NEWNET | CLONE_NEWUSER):
    sys.exit(2)
try:
    for name, text in ("uid_map", f"{uid} {uid} 1"), ("setgroups", "deny"), ("gid_map", f"{gid} {gid} 1"):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
except OSError:
    pass
sys.exit(os.getuid() != uid)
