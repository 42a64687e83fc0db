"""What may help when a build fails: patterns in BitBake's output and in the logs of its tasks."""
import re

# Pattern, remedy. The particular before the general: the first two that match are shown.
TABLE = (
    (r"do_gin_edge_kernel_check|The final kernel configuration .* is not what",
     "  The kernel's final configuration lacks what the service's sandbox, its watchdog chain, the read-only root\n"
     "  or the firewall asks for. The lines above name symbol and fragment; meta-gin-edge/README.md says\n"
     "  how a kernel gets them, and what it may go without."),
    (r"User namespaces are not usable by BitBake",
     "  The machine keeps user namespaces from BitBake. scripts/build --check names the commands; as root,\n"
     "  scripts/build runs them. On Ubuntu since 24.04 it is AppArmor."),
    (r"No space left on device|disk space monitor action",
     "  The disk is full, or was about to be (BB_DISKMON_DIRS). Free some: everything in build/tmp of the work\n"
     "  folder is made anew from build/sstate-cache in minutes. Or name a folder on a larger disk with --work DIR."),
    (r"Killed signal terminated program|fatal error: Killed|signal SIGKILL|Cannot allocate memory|out of memory|Killed +\S*(cc1|ld|as)\b",
     "  Memory ran out, and the kernel ended a compiler. Fewer jobs at a time:\n"
     "    BB_NUMBER_THREADS=2 PARALLEL_MAKE='-j 2' scripts/build"),
    (r"[Cc]hecksum mismatch|has \w+ checksum|checksum failure",
     "  What came is not what the recipe names. Often a proxy answered with a page of its own, or a download was\n"
     "  cut: delete the file and its .done in build/downloads (or $DL_DIR) and run the same command again. If it\n"
     "  stays so, upstream changed the file: do not change the checksum, report it."),
    (r"GO_MOD_PROXY|proxy\.golang\.org|\bgomod(git)?://",
     "  Go's modules come from the public Go module proxy. Behind a proxy set https_proxy; for a module proxy of your own,\n"
     "  in a kas file of yours (--with FILE), under local_conf_header:\n"
     "    GO_MOD_PROXY = \"goproxy.example.com\""),
    (r"restricted license|LICENSE_FLAGS",
     "  A recipe is under a licence that somebody has to accept. For the radio chips of the Raspberry Pi:\n"
     "    scripts/build --with kas/opt/raspberrypi-radio.yml MACHINE"),
    (r"hash equivalence server|websockets",
     "  BitBake cannot speak to the Yocto Project's hash server: install python3-websockets (10 or newer), or\n"
     "    scripts/build --no-mirrors"),
    (r"Unable to fetch URL|Fetcher failure|FetchError|Could not resolve host|unable to access '|Network is unreachable|"
     r"Temporary failure in name resolution|fetch repos failed|Connection (timed out|refused)",
     "  A host is not in reach. Behind a proxy set http_proxy and https_proxy. For mirrors of your own set\n"
     "  PREMIRRORS in a kas file (--with FILE), KAS_PREMIRRORS for the layers. A passing fault: run the same\n"
     "  command again, what has come is kept. With no upstream host at all, but Debian's archive: --lab."),
    (r"basehash value changed|taskhash mismatch",
     "  A file of the layers changed while BitBake ran. Run the same command again."),
    (r"bitbake\.lock|Unable to (start|connect to) bitbake server|server is still running",
     "  Another BitBake works in this build folder. Wait for its end, or name another folder with --work DIR."),
    (r"Your system needs to support the en_US\.UTF-8 locale|[Pp]lease install the following missing utilities|"
     r"following required tools .* appear to be unavailable",
     "  The machine lacks what BitBake needs. scripts/build --check says all of it and how to get it."),
    (r"Do not use Bitbake as root",
     "  BitBake refuses root. scripts/build runs it as the user builder; plain kas: call it as somebody else."),
)


def find(lines, most=2):
    """The remedies for what these lines tell, at most so many, the particular first."""
    text = "\n".join(lines)
    return [remedy for pattern, remedy in TABLE if re.search(pattern, text)][:most]
