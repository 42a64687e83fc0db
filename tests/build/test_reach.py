"""What scripts/build takes for a host in reach, with and without a proxy."""
import http.server
import pathlib
import socket
import subprocess
import sys
import threading
import unittest

REACH = pathlib.Path(__file__).resolve().parents[2] / "scripts/lib_reach.py"


class Proxy(http.server.BaseHTTPRequestHandler):
    """Answers everything with the server's `status`, and notes what was asked."""

    def answer(self):
        self.server.asked.append(f"{self.command} {self.path}")
        self.send_response(self.server.status)
        self.end_headers()
    do_HEAD = do_CONNECT = answer

    def log_message(self, *_):
        pass


class Reach(unittest.TestCase):
    def setUp(self):
        self.proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
        self.proxy.asked, self.proxy.status = [], 200
        threading.Thread(target=self.proxy.serve_forever, daemon=True).start()
        self.addCleanup(self.proxy.server_close)
        self.addCleanup(self.proxy.shutdown)
        self.there = f"127.0.0.1:{self.proxy.server_port}"
        # A port that nobody listens on: taken once, and given back.
        with socket.create_server(("127.0.0.1", 0)) as gone:
            self.nowhere = f"127.0.0.1:{gone.getsockname()[1]}"

    def reach(self, *args, status=0, **environment):
        done = subprocess.run([sys.executable, "-B", REACH, *args], env=environment, capture_output=True, text=True)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout

    def test_without_a_proxy(self):
        for scheme in "http", "https", "wss":
            self.assertEqual(self.reach(f"{scheme}://{self.there}/x"), "")
        self.assertRegex(self.reach(f"http://{self.there}", f"https://{self.nowhere}", status=1), r"^127\.0\.0\.1: .*refused")

    def test_a_name_that_leads_nowhere(self):
        self.assertRegex(self.reach("https://host.invalid", status=1), r"^host\.invalid: ")

    def test_through_a_proxy(self):
        # With and without a scheme, as people write it; the names need not resolve here.
        self.assertEqual(self.reach("http://a.invalid/x", "https://b.invalid", http_proxy=f"http://{self.there}", https_proxy=self.there), "")
        self.assertEqual(sorted(self.proxy.asked), ["CONNECT b.invalid:443", "HEAD http://a.invalid/x"])

    def test_a_proxy_that_refuses(self):
        for status, reached in (200, 0), (404, 0), (403, 1), (407, 1), (502, 1), (504, 1):
            self.proxy.status = status
            said = self.reach("https://b.invalid", status=reached, https_proxy=f"http://{self.there}")
            self.assertIn(f"answers {status}" if reached else "", said)
        self.assertIn(self.nowhere, self.reach("https://b.invalid", status=1, https_proxy=f"http://{self.nowhere}"))

    def test_past_the_proxy(self):
        self.reach("--direct", f"https://{self.there}", https_proxy=f"http://{self.nowhere}")
        self.reach("--direct", "https://b.invalid", status=1, https_proxy=f"http://{self.there}")
        self.reach(f"https://{self.there}", https_proxy=f"http://{self.nowhere}", no_proxy="127.0.0.1")
        self.assertEqual([line for line in self.proxy.asked if "CONNECT" in line], [])


if __name__ == "__main__":
    unittest.main()
