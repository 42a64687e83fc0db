#!/usr/bin/env python3
"""Says which of these URLs' hosts cannot be reached: one line each, with the reason.

  lib_reach.py [--direct] URL...

Goes through the proxies of the environment, as the build will; --direct: past them.
Asks for a connection only, for no page. Exit status 0: all can be reached.
"""
import http.client
import socket
import sys
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor

SECONDS = 8


def reach(url, direct):
    """The reason why the host of url cannot be reached, or None."""
    parts = urllib.parse.urlsplit(url)
    port = parts.port or {"http": 80, "ws": 80}.get(parts.scheme, 443)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if direct or urllib.request.proxy_bypass(parts.hostname):
        proxy = None
    try:
        if proxy is None:
            socket.create_connection((parts.hostname, port), SECONDS).close()
            return None
        through = urllib.parse.urlsplit(proxy if "//" in proxy else "//" + proxy)
        connection = http.client.HTTPConnection(through.hostname, through.port or 80, timeout=SECONDS)
        if parts.scheme == "http":
            connection.request("HEAD", url)
        else:
            connection.request("CONNECT", f"{parts.hostname}:{port}")
        answer = connection.getresponse()
        connection.close()
        return None if answer.status < 500 and answer.status not in (403, 407) else f"the proxy {proxy} answers {answer.status}"
    except (OSError, http.client.HTTPException) as e:
        return f"{e} (proxy {proxy})" if proxy else str(e)


def main():
    urls = sys.argv[1:]
    direct = urls[:1] == ["--direct"]
    urls = urls[direct:]
    if not urls or urls[0].startswith("-"):
        sys.exit(__doc__)
    with ThreadPoolExecutor(len(urls)) as pool:
        reasons = list(pool.map(lambda url: reach(url, direct), urls))
    for url, reason in zip(urls, reasons):
        if reason:
            print(f"{urllib.parse.urlsplit(url).hostname}: {reason}")
    sys.exit(any(reasons))


main()
